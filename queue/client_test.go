package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// doFunc is an HTTP client.
type doFunc func(*http.Request) (*http.Response, error)

func (f doFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

// TestBufferedClient holds that the body which is sent does not depend on the
// body that the SDK closes while it is sent.
func TestBufferedClient(t *testing.T) {
	var sent *http.Request
	client := queueHTTPClient(doFunc(func(r *http.Request) (*http.Response, error) {
		sent = r
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	}))
	body := &closable{Reader: strings.NewReader("body")}
	req, err := http.NewRequest("POST", "http://127.0.0.1/", body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(req); err != nil {
		t.Fatal(err)
	}
	if !body.closed {
		t.Error("the SDK's body is not closed")
	}
	for range 2 {
		got, err := io.ReadAll(sent.Body)
		if err != nil || string(got) != "body" || sent.ContentLength != 4 {
			t.Errorf("sent %q of length %d, %v", got, sent.ContentLength, err)
		}
		if sent.Body, err = sent.GetBody(); err != nil { // as for a redirect
			t.Fatal(err)
		}
	}
	if req.Body != io.ReadCloser(body) {
		t.Error("the caller's request was changed")
	}

	broken := errors.New("broken")
	req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(nil), readFunc(func([]byte) (int, error) { return 0, broken })))
	if _, err := client.Do(req); !errors.Is(err, broken) {
		t.Errorf("a body that cannot be read gives %v", err)
	}
	req.Body = nil
	if _, err := client.Do(req); err != nil || sent.Body != nil {
		t.Errorf("without a body: %v", err)
	}
}

type closable struct {
	io.Reader
	closed bool
}

func (c *closable) Close() error {
	c.closed = true
	return nil
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestHTTPClient(t *testing.T) {
	client := NewHTTPClient()
	if aws.HTTPClient(queueHTTPClient(client)) != client {
		t.Error("a client of NewHTTPClient is wrapped again")
	}
	own := &http.Client{}
	if queueHTTPClient(own).client != aws.HTTPClient(own) {
		t.Error("the user's own client is not used")
	}
	small := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.MaxIdleConns, tr.MaxIdleConnsPerHost = 3, 1000 })
	for name, c := range map[string]aws.HTTPClient{"default": awshttp.NewBuildableClient(), "small": small} {
		tr := queueHTTPClient(c).client.(*http.Client).Transport.(*http.Transport)
		if tr.MaxIdleConnsPerHost < maxIdleConnsPerHost || tr.MaxIdleConns < maxIdleConnsPerHost {
			t.Errorf("%s: %d idle connections a host, %d in all", name, tr.MaxIdleConnsPerHost, tr.MaxIdleConns)
		}
	}
}

// topics is an SNS of the given topics, two to a page.
type topics struct {
	SNSPublisher
	arns  []string
	calls int
}

func (c *topics) ListTopics(_ context.Context, in *sns.ListTopicsInput, _ ...func(*sns.Options)) (*sns.ListTopicsOutput, error) {
	c.calls++
	out := &sns.ListTopicsOutput{}
	at := len(aws.ToString(in.NextToken)) // the token is as long as the index
	for i := at; i < min(at+2, len(c.arns)); i++ {
		out.Topics = append(out.Topics, snstypes.Topic{TopicArn: aws.String(c.arns[i])})
	}
	if at+2 < len(c.arns) {
		out.NextToken = aws.String(strings.Repeat("x", at+2))
	}
	return out, nil
}

func TestLookupTopic(t *testing.T) {
	client := &topics{arns: []string{"arn:aws:sns:r:1:a", "arn:aws:sns:r:1:not-fares", "arn:aws:sns:r:1:c", "arn:aws:sns:r:1:fares", "arn:aws:sns:r:1:e"}}
	tests := []struct {
		url, region string
		want        string
		calls       int
		err         string
	}{
		{"sns://fares", "", "arn:aws:sns:r:1:fares", 2, ""},
		{"sns://missing", "", "", 3, "queue or topic does not exist"},
		{"sns://123456789012/fares", "eu-west-1", "arn:aws:sns:eu-west-1:123456789012:fares", 0, ""},
		{"sns://123456789012/fares", "cn-north-1", "arn:aws-cn:sns:cn-north-1:123456789012:fares", 0, ""},
		{"sns://123456789012/fares", "us-gov-east-1", "arn:aws-us-gov:sns:us-gov-east-1:123456789012:fares", 0, ""},
		{"sns://123456789012/fares", "", "", 0, "set Region"},
	}
	for _, tt := range tests {
		t.Run(tt.url+" "+tt.region, func(t *testing.T) {
			client.calls = 0
			got, err := lookupTopic(t.Context(), client, Endpoint{Name: "fares", URL: tt.url}, tt.region, nil)
			if got != tt.want || client.calls != tt.calls || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v after %d calls; want %q, %q after %d", got, err, client.calls, tt.want, tt.err, tt.calls)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	tests := []struct {
		code, message string
		want          error
	}{
		{"AWS.SimpleQueueService.NonExistentQueue", "", ErrNotFound},
		{"QueueDoesNotExist", "", ErrNotFound},
		{"SignatureDoesNotMatch", "", ErrAccess},
		{"AWS.SimpleQueueService.BatchRequestTooLong", "", ErrTooLarge},
		{"InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes.", ErrTooLarge},
		{"InvalidParameter", "Invalid parameter: Message too long", ErrTooLarge},
		{"InvalidParameterValue", "Value x for parameter Y is invalid.", ErrInvalid},
		{"RequestThrottled", "", ErrThrottled},
		{"InternalError", "", ErrUnavailable},
		{"KmsDisabled", "", ErrAccess},
		{"KMSDisabledException", "", ErrAccess},
		{"KmsInvalidState", "", ErrAccess},
		{"KmsInvalidKeyUsage", "", ErrAccess},
		{"KMS.NotFoundException", "", ErrAccess},
		{"KmsOptInRequired", "", ErrAccess},
		{"KMSAccessDenied", "", ErrAccess},
		{"KmsThrottled", "", ErrThrottled},
		{"KMSThrottling", "", ErrThrottled},
		{"InvalidAddress", "", ErrUnavailable},
		{"UnsupportedOperation", "", ErrUnavailable},
		{"SomethingNew", "", ErrUnavailable},
	}
	for _, tt := range tests {
		if got := kindOf(tt.code, tt.message); got != tt.want {
			t.Errorf("kind of %s (%q): %v, want %v", tt.code, tt.message, got, tt.want)
		}
	}
}

func TestNewErrorOfContext(t *testing.T) {
	err := newError("ReceiveMessage", Endpoint{Name: "q", URL: "sqs://q"}, context.Canceled)
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Errorf("a call that its caller ended is %v", err)
	}
	if want := `queue: ReceiveMessage: endpoint "q" (sqs://q): context canceled`; err.Error() != want {
		t.Errorf("got %s, want %s", err, want)
	}
}

// TestCloseIdle holds that the connections of a client that this package made
// do not outlive it, and that those of the user's do.
func TestCloseIdle(t *testing.T) {
	for name, tt := range map[string]struct {
		client func(*http.Client) aws.HTTPClient
		open   int64
	}{
		"made": {func(*http.Client) aws.HTTPClient { return nil }, 0},
		"user": {func(c *http.Client) aws.HTTPClient { return c }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var open atomic.Int64
			web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusBadRequest)
			}))
			changed := make(chan struct{}, 100)
			web.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					open.Add(1)
				case http.StateClosed:
					open.Add(-1)
				}
				changed <- struct{}{}
			}
			web.Start()
			defer web.Close()
			users := &http.Client{Transport: &http.Transport{}}
			p, err := NewPublisher(PublisherConfig{AWS: aws.Config{Region: "r", BaseEndpoint: &web.URL, HTTPClient: tt.client(users),
				Credentials: aws.AnonymousCredentials{}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Publish("sqs://q", message.NewMessage("u", []byte("x"))); err == nil {
				t.Error("published to a server that refuses all")
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			for open.Load() != tt.open {
				select {
				case <-changed:
				case <-time.After(10 * time.Second):
					t.Fatalf("%d connections are open after Close, want %d", open.Load(), tt.open)
				}
			}
			users.CloseIdleConnections()
		})
	}
}
