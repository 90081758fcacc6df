package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// A server is an SQS, and perhaps SNS, to run a test on.
type server struct {
	name string
	aws  aws.Config
	sqs  *sqs.Client
	sns  *sns.Client // nil if the server has no SNS

	// emulator is set on the embedded one.
	emulator *emulator.Server
}

// embedded returns the emulator without a socket: it can run in a bubble of
// virtual time.
func embedded(t testing.TB) *server {
	t.Helper()
	e := emulator.New(emulator.Config{NoCooldowns: true})
	s := newServer("emulator", "http://emulator.test")
	s.aws.HTTPClient = e.Client()
	s.emulator = e
	s.sqs, s.sns = sqs.NewFromConfig(s.aws), sns.NewFromConfig(s.aws)
	return s
}

// behindSocket returns an emulator that is reached through a loopback socket.
func behindSocket(t testing.TB) *server {
	t.Helper()
	e := emulator.New(emulator.Config{NoCooldowns: true})
	web := httptest.NewServer(e)
	t.Cleanup(web.Close)
	s := newServer("emulator", web.URL)
	s.emulator = e
	return s
}

// servers returns the emulator and the real servers that are configured.
func servers(t testing.TB) []*server {
	t.Helper()
	all := []*server{embedded(t)}
	if url, ok := testserver.LocalStack(t); ok {
		all = append(all, newServer("localstack", url))
	}
	if url, ok := testserver.ElasticMQ(t); ok {
		s := newServer("elasticmq", url)
		s.sns = nil
		all = append(all, s)
	}
	if url, ok := testserver.Moto(t); ok {
		all = append(all, newServer("moto", url))
	}
	return all
}

func newServer(name, url string) *server {
	cfg := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(url),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   queue.NewHTTPClient(),
	}
	return &server{name: name, aws: cfg, sqs: sqs.NewFromConfig(cfg), sns: sns.NewFromConfig(cfg)}
}

// on runs the test on each server.
func on(t *testing.T, test func(*testing.T, *server)) {
	for _, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) { test(t, s) })
	}
}

// createQueue creates a queue and returns its URL.
func (s *server) createQueue(t testing.TB, name string, attributes ...string) string {
	t.Helper()
	in := &sqs.CreateQueueInput{QueueName: aws.String(name), Attributes: map[string]string{}}
	for i := 0; i < len(attributes); i += 2 {
		in.Attributes[attributes[i]] = attributes[i+1]
	}
	out, err := s.sqs.CreateQueue(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.QueueUrl)
}

// createTopic creates a topic that delivers to queues, and returns its ARN.
func (s *server) createTopic(t testing.TB, name string, attributes map[string]string, queueURLs ...string) string {
	t.Helper()
	out, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(name)})
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range queueURLs {
		_, err := s.sns.Subscribe(t.Context(), &sns.SubscribeInput{
			TopicArn:   out.TopicArn,
			Protocol:   aws.String("sqs"),
			Endpoint:   aws.String(s.queueARN(t, url)),
			Attributes: maps.Clone(attributes),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return aws.ToString(out.TopicArn)
}

func (s *server) queueARN(t testing.TB, url string) string {
	t.Helper()
	return s.attribute(t, url, sqstypes.QueueAttributeNameQueueArn)
}

func (s *server) attribute(t testing.TB, url string, name sqstypes.QueueAttributeName) string {
	t.Helper()
	out, err := s.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(url), AttributeNames: []sqstypes.QueueAttributeName{name},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attributes[string(name)]
}

// depth returns the numbers of messages that can be received and that are in
// flight.
func (s *server) depth(t testing.TB, url string) string {
	t.Helper()
	return fmt.Sprintf("%s visible, %s in flight",
		s.attribute(t, url, sqstypes.QueueAttributeNameApproximateNumberOfMessages),
		s.attribute(t, url, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible))
}

// redrivePolicy returns the attribute that sends messages to a dead-letter
// queue.
func (s *server) redrivePolicy(t testing.TB, deadLetterURL string, maxReceiveCount int) string {
	t.Helper()
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, s.queueARN(t, deadLetterURL), maxReceiveCount)
}

// send sends bodies as a plain client does.
func (s *server) send(t testing.TB, url string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(url), MessageBody: aws.String(body)}); err != nil {
			t.Fatal(err)
		}
	}
}

// receive receives a message as a plain client does, and leaves it in flight.
func (s *server) receive(t testing.TB, url string) sqstypes.Message {
	t.Helper()
	out, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl:                    aws.String(url),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
		WaitTimeSeconds:             5,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Messages) != 1 {
		t.Fatalf("received %d messages, want 1", len(out.Messages))
	}
	return out.Messages[0]
}

func newPublisher(t testing.TB, cfg queue.PublisherConfig) *queue.Publisher {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLogger(t)
	}
	p, err := queue.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func newSubscriber(t testing.TB, cfg queue.SubscriberConfig) *queue.Subscriber {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLogger(t)
	}
	s, err := queue.NewSubscriber(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func subscribe(t testing.TB, s *queue.Subscriber, endpoint string) <-chan *message.Message {
	t.Helper()
	ch, err := s.Subscribe(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// next returns the next message, and fails the test if there is none in time.
func next(t testing.TB, ch <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg, ok := <-ch:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return msg
	case <-time.After(30 * time.Second):
		t.Fatal("no message for 30 s")
	}
	return nil
}

// testLogger logs to the test.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

var background = context.Background()

// A testQueue is a queue of one test, on a server that other tests share.
type testQueue struct {
	*server
	name, url string
}

// newQueue creates a queue of a new name.
func newQueue(t testing.TB, s *server, attributes ...string) testQueue {
	t.Helper()
	name := testserver.Namespace(t)
	return testQueue{s, name, s.createQueue(t, name, attributes...)}
}

// endpoints returns a set in which the queue is the endpoint "q".
func (q testQueue) endpoints(t testing.TB, e queue.Endpoint) *queue.Endpoints {
	t.Helper()
	e.Name, e.URL = "q", "sqs://"+q.name
	set, err := queue.NewEndpoints("", e)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// bodies returns the bodies of the messages that are visible, sorted, and
// takes them.
func (s *server) bodies(t testing.TB, name string) []string {
	t.Helper()
	out, err := s.sqs.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String(name)})
	if err != nil {
		t.Fatal(err)
	}
	bodies := []string{}
	for {
		received, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: out.QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 60})
		if err != nil {
			t.Fatal(err)
		}
		if len(received.Messages) == 0 {
			slices.Sort(bodies)
			return bodies
		}
		for _, m := range received.Messages {
			bodies = append(bodies, aws.ToString(m.Body))
		}
	}
}

// A recorder keeps what is logged.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(p))
	return len(p), nil
}

// count returns how many lines contain the text.
func (r *recorder) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
