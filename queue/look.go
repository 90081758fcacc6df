package queue

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// ErrNoLook: the endpoint does not show messages without their being received.
// SQS itself does not.
var ErrNoLook = errors.New("messages cannot be looked at without receiving them")

// lookPath is where LocalStack and Waybill's emulator show the messages of a queue.
const lookPath = "/_aws/sqs/messages"

// maxLooked bounds what is read of one message, whose text may be escaped.
const maxLooked = 8 << 20

// Look returns the messages that can be received from the queue, in the order that
// the endpoint has them, without receiving them: nothing is hidden or counted, and
// they have no receipt. Waybill's emulator and LocalStack offer it; of all others the
// first and only error is [ErrNoLook]. After any error there is nothing more.
func (q *Queue) Look(ctx context.Context) iter.Seq2[RawMessage, error] {
	return func(yield func(RawMessage, error) bool) {
		next, first := "", true
		for first || next != "" {
			var err error
			before := next
			if next, err = q.lookPage(ctx, next, &first, yield); err != nil {
				if !errors.Is(err, errLookedEnough) {
					yield(RawMessage{}, err)
				}
				return
			}
			if next == before {
				return // it would go on for ever
			}
		}
	}
}

var errLookedEnough = errors.New("the caller has seen enough")

// lookPage yields the messages of a page, and returns the token of the next one.
// Until one has been seen that the endpoint has such pages, its errors are
// ErrNoLook.
func (q *Queue) lookPage(ctx context.Context, token string, first *bool, yield func(RawMessage, error) bool) (next string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(callTimeout, cancel)
	body, err := q.openLook(ctx, token)
	late.Stop() // the caller may take its time with the messages
	if err != nil {
		return "", q.lookError(err, *first)
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body, N: maxLooked}
	d := xml.NewDecoder(limited)
	for depth := 0; ; {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && depth == 0 && !*first {
			return next, nil
		}
		if err != nil {
			return "", q.lookError(err, *first)
		}
		start, ok := t.(xml.StartElement)
		if _, end := t.(xml.EndElement); end {
			depth--
		}
		if !ok {
			continue
		}
		switch depth++; {
		case depth == 1 && start.Name.Local != "ReceiveMessageResponse":
			return "", q.lookError(fmt.Errorf("the answer is a %s", start.Name.Local), *first)
		case depth == 1:
			*first = false
		case start.Name.Local == "Message":
			var m lookedMessage
			if err := d.DecodeElement(&m, &start); err != nil {
				return "", q.lookError(err, false)
			}
			depth--
			raw, err := m.raw()
			if err != nil {
				return "", q.lookError(err, false)
			}
			if !yield(raw, nil) {
				return "", errLookedEnough
			}
			limited.N = maxLooked
		case start.Name.Local == "NextToken":
			if err := d.DecodeElement(&next, &start); err != nil {
				return "", q.lookError(err, false)
			}
			depth--
		}
	}
}

func (q *Queue) lookError(err error, none bool) error {
	if none {
		return fmt.Errorf("queue: %q: %w: %w", q.Name, ErrNoLook, err)
	}
	return &Error{Op: "look", Endpoint: q.Endpoint.Name, URL: q.Endpoint.URL, Kind: ErrUnavailable, Err: err}
}

// openLook asks for a page.
func (q *Queue) openLook(ctx context.Context, token string) (io.ReadCloser, error) {
	client, ok := q.client.(interface{ Options() sqs.Options })
	if !ok {
		return nil, errors.New("the client is not the SDK's")
	}
	o := client.Options()
	q.opt(&o)
	if o.HTTPClient == nil || aws.ToString(o.BaseEndpoint) == "" {
		return nil, errors.New("the endpoint is AWS's")
	}
	base, err := url.Parse(*o.BaseEndpoint)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(base.Hostname(), ".amazonaws.com") {
		return nil, errors.New("the endpoint is AWS's")
	}
	query := url.Values{"QueueUrl": {q.URL}}
	if token != "" {
		query.Set("NextToken", token)
	}
	at := base.JoinPath(lookPath)
	at.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := o.HTTPClient.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("the endpoint answers %s", resp.Status)
	}
	return resp.Body, nil
}

// A lookedMessage is a message as the older protocol of SQS has it.
type lookedMessage struct {
	MessageID  string `xml:"MessageId"`
	MD5        string `xml:"MD5OfBody"`
	Body       string
	Attributes []struct{ Name, Value string } `xml:"Attribute"`
	Custom     []struct {
		Name  string
		Value struct {
			StringValue           *string
			BinaryValue, DataType string
		}
	} `xml:"MessageAttribute"`
}

func (l lookedMessage) raw() (RawMessage, error) {
	m := sqstypes.Message{
		MessageId: &l.MessageID, Body: &l.Body, MD5OfBody: &l.MD5,
		Attributes: map[string]string{}, MessageAttributes: map[string]sqstypes.MessageAttributeValue{},
	}
	for _, a := range l.Attributes {
		m.Attributes[a.Name] = a.Value
	}
	for _, a := range l.Custom {
		v := sqstypes.MessageAttributeValue{DataType: &a.Value.DataType, StringValue: a.Value.StringValue}
		if baseType(a.Value.DataType) == typeBinary {
			b, err := base64.StdEncoding.DecodeString(a.Value.BinaryValue)
			if err != nil {
				return RawMessage{}, fmt.Errorf("message %s: attribute %s: %w", l.MessageID, a.Name, err)
			}
			v.BinaryValue = b
		}
		m.MessageAttributes[a.Name] = v
	}
	if err := damage(m); err != nil {
		return RawMessage{}, fmt.Errorf("message %s: %w", l.MessageID, err)
	}
	return rawMessage(m), nil
}
