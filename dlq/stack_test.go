package dlq_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// A server is an SQS to run a test on, with queues of the test's own.
type server struct {
	testing.TB
	name     string
	aws      aws.Config
	seeing   aws.Config // with what the server has beside SQS
	sqs      *sqs.Client
	emulator *emulator.Server // of the embedded one
	ns       string
}

// embedded returns the emulator, for a test in a bubble of virtual time.
func embedded(t testing.TB) *server {
	e := emulator.New(emulator.Config{NoCooldowns: true})
	s := newServer(t, "emulator", "http://emulator.test", e.Client())
	s.emulator = e
	return s
}

func newServer(t testing.TB, name, url string, client aws.HTTPClient) *server {
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(url), HTTPClient: asSQS{client},
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
	seeing := cfg
	seeing.HTTPClient = client
	return &server{TB: t, name: name, aws: cfg, seeing: seeing, sqs: sqs.NewFromConfig(cfg), ns: testserver.Namespace(t)}
}

// asSQS shows no messages without their being received, as SQS does not.
type asSQS struct{ aws.HTTPClient }

func (c asSQS) Do(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/_aws/") {
		return &http.Response{Status: "404 Not Found", StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
	}
	return c.HTTPClient.Do(r)
}

// whole sends each request from a copy of its body. The SDK closes the body when
// the answer begins, which on loopback may be before net/http is through with it:
// then a request fails that was carried out, and a message is sent twice.
type whole struct{ *http.Client }

func (w whole) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return w.Client.Do(r)
}

// on runs a test on the emulator and on the real servers that are configured.
func on(t *testing.T, test func(*server)) {
	t.Run("emulator", func(t *testing.T) { test(embedded(t)) })
	for name, find := range map[string]func(testing.TB) (string, bool){
		"localstack": testserver.LocalStack, "elasticmq": testserver.ElasticMQ, "moto": testserver.Moto,
	} {
		if url, ok := find(t); ok {
			t.Run(name, func(t *testing.T) {
				client := &http.Client{Transport: &http.Transport{}}
				t.Cleanup(client.CloseIdleConnections)
				test(newServer(t, name, url, whole{client}))
			})
		}
	}
}

// queue makes a queue in the test's namespace. With a dead-letter queue, it has
// a redrive policy.
func (s *server) queue(name, deadLetter string, maxReceives int) {
	s.Helper()
	attributes := map[string]string{}
	if deadLetter != "" {
		attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, s.attribute(deadLetter, "QueueArn"), maxReceives)
	}
	if _, err := s.sqs.CreateQueue(s.Context(), &sqs.CreateQueueInput{QueueName: aws.String(s.full(name)), Attributes: attributes}); err != nil {
		s.Fatal(err)
	}
}

func (s *server) full(name string) string { return s.ns + "-" + name }

func (s *server) url(name string) *string {
	s.Helper()
	out, err := s.sqs.GetQueueUrl(s.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String(s.full(name))})
	if err != nil {
		s.Fatal(err)
	}
	return out.QueueUrl
}

func (s *server) attribute(name, attribute string) string {
	s.Helper()
	out, err := s.sqs.GetQueueAttributes(s.Context(), &sqs.GetQueueAttributesInput{QueueUrl: s.url(name), AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	if err != nil {
		s.Fatal(err)
	}
	return out.Attributes[attribute]
}

// left returns how many messages a queue holds, visible or not.
func (s *server) left(name string) int {
	s.Helper()
	n := 0
	for _, attribute := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"} {
		var k int
		if _, err := fmt.Sscan(s.attribute(name, attribute), &k); err != nil {
			s.Fatal(err)
		}
		n += k
	}
	return n
}

// visible returns how many messages can be received.
func (s *server) visible(name string) string {
	return s.attribute(name, "ApproximateNumberOfMessages")
}

// send sends bodies as a client in any language would.
func (s *server) send(name string, bodies ...string) {
	s.Helper()
	for _, body := range bodies {
		if _, err := s.sqs.SendMessage(s.Context(), &sqs.SendMessageInput{QueueUrl: s.url(name), MessageBody: &body}); err != nil {
			s.Fatal(err)
		}
	}
}

// sendMarked sends a message that carries a job's id, as one that was redriven
// and failed again does.
func (s *server) sendMarked(name, job string) {
	s.Helper()
	if _, err := s.sqs.SendMessage(s.Context(), &sqs.SendMessageInput{
		QueueUrl: s.url(name), MessageBody: aws.String("{}"),
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{queue.KeyRedriveID: {DataType: aws.String("String"), StringValue: &job}},
	}); err != nil {
		s.Fatal(err)
	}
}

// bury sends a dead letter as package pipeline writes it, which failed in the
// endpoint's queue.
func (s *server) bury(name, uuid, body, source string, edit ...func(*queue.Failure)) {
	s.Helper()
	f := queue.NewFailure(queue.ReasonPermanent, fmt.Errorf("card declined"))
	f.Filter, f.Source = "charge", "sqs://"+s.full(source)
	for _, e := range edit {
		e(&f)
	}
	msg := message.NewMessage(uuid, []byte(body))
	msg.Metadata.Set("colour", "red")
	queue.SetNumber(msg, "amount", 7)
	if err := f.Encode(msg); err != nil {
		s.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws, Linger: -1})
	if err != nil {
		s.Fatal(err)
	}
	defer pub.Close()
	if err := pub.Publish("sqs://"+s.full(name), msg); err != nil {
		s.Fatal(err)
	}
}

// die has every message of a queue received as often as its redrive policy
// allows, so that SQS itself moves it, and waits until the dead-letter queue
// holds that many: some servers take a message off one queue before they put it
// into the other.
func (s *server) die(name, deadLetters string, want int) {
	s.Helper()
	for range 30 {
		if _, err := s.sqs.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url(name), MaxNumberOfMessages: 10, VisibilityTimeout: 1}); err != nil {
			s.Fatal(err)
		}
		if s.left(name) == 0 && s.visible(deadLetters) == strconv.Itoa(want) {
			return
		}
		sleepSecond()
	}
	s.Fatalf("%s still holds %d messages, and %s shows %s, want %d", name, s.left(name), deadLetters, s.visible(deadLetters), want)
}

// A found is a message as it is in a queue.
type found struct {
	id, body   string
	attributes map[string]string
	types      map[string]string
	group      string
	receives   string
	trace      string
}

func (f found) uuid() string { return f.attributes[queue.AttrUUID] }

// take receives and deletes what can be received from a queue now.
func (s *server) take(name string) []found {
	s.Helper()
	var all []found
	for {
		out, err := s.sqs.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: s.url(name), MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
		})
		if err != nil {
			s.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return all
		}
		for _, m := range out.Messages {
			f := found{*m.MessageId, *m.Body, map[string]string{}, map[string]string{}, m.Attributes["MessageGroupId"], m.Attributes["ApproximateReceiveCount"], m.Attributes["AWSTraceHeader"]}
			for key, a := range m.MessageAttributes {
				f.attributes[key], f.types[key] = aws.ToString(a.StringValue), *a.DataType
				if strings.HasPrefix(*a.DataType, "Binary") {
					f.attributes[key] = string(a.BinaryValue)
				}
			}
			all = append(all, f)
			if _, err := s.sqs.DeleteMessage(s.Context(), &sqs.DeleteMessageInput{QueueUrl: s.url(name), ReceiptHandle: m.ReceiptHandle}); err != nil {
				s.Fatal(err)
			}
		}
	}
}

// client returns a client with the endpoints, which are in the test's
// namespace.
func (s *server) client(endpoints ...queue.Endpoint) *dlq.Client {
	s.Helper()
	return s.clientVia(s.aws, endpoints...)
}

func (s *server) clientVia(cfg aws.Config, endpoints ...queue.Endpoint) *dlq.Client {
	s.Helper()
	set, err := queue.NewEndpoints(s.ns, endpoints...)
	if err != nil {
		s.Fatal(err)
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWS: cfg, Endpoints: set})
	if err != nil {
		s.Fatal(err)
	}
	c, err := dlq.New(dlq.Config{Queues: admin})
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// faulty makes requests fail for which the hook returns a fault.
func (s *server) faulty(hook func(operation, queueName string, number int64) emulator.Fault) {
	s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
		return hook(r.Operation, strings.TrimPrefix(r.Resource, s.ns+"-"), r.Number)
	})
}

var errInternal = &emulator.Error{Code: "InternalError", Receiver: true}

func bodies(all []found) []string {
	b := make([]string, len(all))
	for i, f := range all {
		b[i] = f.body
	}
	slices.Sort(b)
	return b
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sendWith sends a body with an attribute.
func (s *server) sendWith(name, body, key, value string) {
	s.Helper()
	if _, err := s.sqs.SendMessage(s.Context(), &sqs.SendMessageInput{
		QueueUrl: s.url(name), MessageBody: &body,
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{key: {DataType: aws.String("String"), StringValue: &value}},
	}); err != nil {
		s.Fatal(err)
	}
}
