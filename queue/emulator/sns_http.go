package emulator

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// httpTimeout is how long an endpoint of http has to answer: SNS developer guide, "Amazon SNS message delivery
// retries".
const httpTimeout = 15 * time.Second

// httpDeliveries is how many deliveries to one endpoint are under way at once; the others wait. AWS tells no number.
const httpDeliveries = 64

// maxHTTPAnswer is how much of an answer is read, so that its connection can be used again.
const maxHTTPAnswer = 64 << 10

// httpEndpoint is an endpoint of http or https.
type httpEndpoint struct {
	client *http.Client
	url    string
	sub    *subscription
	slots  chan struct{} // one for each delivery under way
}

// newHTTPClient returns a client that follows no redirects, as SNS does not.
func newHTTPClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: httpTimeout},
		Timeout:       httpTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func httpEndpointFault(protocol, endpoint string) *Error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != protocol || u.Host == "" {
		return errInvalidParameter("Endpoint must match the specified protocol")
	}
	return nil
}

// take posts a letter, with the headers that the SNS developer guide shows ("HTTP/HTTPS headers").
func (e *httpEndpoint) take(ctx context.Context, l *letter) (err error, again bool) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return ctx.Err(), true
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, strings.NewReader(l.body))
	if err != nil {
		return err, false
	}
	r.Header.Set("Content-Type", e.sub.contentType())
	r.Header.Set("User-Agent", "Amazon Simple Notification Service Agent")
	r.Header.Set("X-Amz-Sns-Message-Type", l.kind)
	r.Header.Set("X-Amz-Sns-Message-Id", l.id)
	r.Header.Set("X-Amz-Sns-Topic-Arn", e.sub.topic.key.arn())
	if l.kind != kindConfirmation {
		r.Header.Set("X-Amz-Sns-Subscription-Arn", e.sub.arn)
	}
	if l.raw {
		r.Header.Set("X-Amz-Sns-Rawdelivery", "true")
	}
	resp, err := e.client.Do(r)
	if err != nil {
		return err, true
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxHTTPAnswer) // what it says is of no interest
	if err := resp.Body.Close(); err != nil {
		return err, true
	}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil, false
	default:
		// A client error is for good, but for 429.
		return fmt.Errorf("the endpoint answered %s", resp.Status), code >= 500 || code == http.StatusTooManyRequests
	}
}
