package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
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

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// A stack is an emulator with the queues of some endpoints, and what a process
// needs to use them. It runs inside a synctest bubble.
type stack struct {
	*testing.T
	server    *emulator.Server
	sqs       *sqs.Client
	sns       *sns.Client
	endpoints *queue.Endpoints
	urls      map[string]string // of queues by name
}

// endpoint returns the configuration of an endpoint with a dead-letter queue
// that takes messages after three receives.
func endpoint(name string) queue.Endpoint {
	return queue.Endpoint{Name: name, URL: "sqs://" + name, DeadLetter: "sqs://" + name + "-dlq", MaxReceiveCount: 3}
}

func newStack(t *testing.T, endpoints ...queue.Endpoint) *stack {
	t.Helper()
	s := &stack{T: t, server: emulator.New(emulator.Config{}), urls: map[string]string{}}
	s.sqs = sqs.NewFromConfig(s.aws(nil))
	s.sns = sns.NewFromConfig(s.aws(nil))
	var err error
	if s.endpoints, err = queue.NewEndpoints("", endpoints...); err != nil {
		t.Fatal(err)
	}
	for e := range s.endpoints.All() {
		name, _ := e.Resource()
		if e.IsTopic() {
			if _, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		attributes := map[string]string{}
		if e.DeadLetter != "" {
			dead, _, _ := queue.ParseURL(e.DeadLetter)
			s.createQueue(dead, nil)
			attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:%s:%s","maxReceiveCount":%d}`, emulator.DefaultAccount, dead, e.MaxReceiveCount)
		}
		s.createQueue(name, attributes)
	}
	return s
}

func (s *stack) createQueue(name string, attributes map[string]string) {
	s.Helper()
	if strings.HasSuffix(name, ".fifo") {
		fifo := map[string]string{"FifoQueue": "true"}
		maps.Copy(fifo, attributes)
		attributes = fifo
	}
	out, err := s.sqs.CreateQueue(s.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		s.Fatal(err)
	}
	s.urls[name] = *out.QueueUrl
}

// aws returns a configuration that reaches the emulator, through a transport if
// there is one.
func (s *stack) aws(transport http.RoundTripper) aws.Config {
	client := s.server.Client()
	if transport != nil {
		client = &http.Client{Transport: transport}
	}
	return aws.Config{
		Region:       emulator.DefaultRegion,
		BaseEndpoint: aws.String("http://emulator"),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   client,
	}
}

// A process is a publisher and a subscriber of its own.
type process struct {
	*stack
	pub *queue.Publisher
	sub *queue.Subscriber
	log *logs
}

func (s *stack) process() *process { return s.processVia(nil) }

func (s *stack) processVia(transport http.RoundTripper) *process {
	s.Helper()
	p := &process{stack: s, log: &logs{t: s.T}}
	cfg := s.aws(transport)
	var err error
	if p.pub, err = queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Endpoints: s.endpoints}); err != nil {
		s.Fatal(err)
	}
	if p.sub, err = queue.NewSubscriber(queue.SubscriberConfig{
		AWS: cfg, Endpoints: s.endpoints, DeliverUndecodable: true,
		Backoff: func(n int) time.Duration { return time.Duration(n) * 10 * time.Second },
	}); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { // after the pipelines, which begin later
		if err := errors.Join(p.sub.Close(), p.pub.Close()); err != nil {
			s.Error(err)
		}
	})
	return p
}

func (p *process) config() pipeline.Config {
	return pipeline.Config{
		Publisher: p.pub, Subscriber: p.sub, Endpoints: p.endpoints,
		Logger: slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// pipeline returns a pipeline of the process, with some configuration changed.
func (p *process) pipeline(edit ...func(*pipeline.Config)) *pipeline.Pipeline {
	p.Helper()
	cfg := p.config()
	for _, e := range edit {
		e(&cfg)
	}
	line, err := pipeline.New(cfg)
	if err != nil {
		p.Fatal(err)
	}
	return line
}

// start runs filters until the returned function is called or the test ends.
func (s *stack) start(line *pipeline.Pipeline, names ...string) (stop func() error) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- line.Run(ctx, names...) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	s.Cleanup(func() {
		if err := stop(); err != nil {
			s.Errorf("Run: %v", err)
		}
	})
	return stop
}

// send sends a message as a client in any language would.
func (s *stack) send(queueName, body string, attributes ...string) string {
	s.Helper()
	in := &sqs.SendMessageInput{QueueUrl: aws.String(s.urls[queueName]), MessageBody: &body, MessageAttributes: map[string]sqstypes.MessageAttributeValue{}}
	for i := 0; i < len(attributes); i += 2 {
		in.MessageAttributes[attributes[i]] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &attributes[i+1]}
	}
	out, err := s.sqs.SendMessage(s.Context(), in)
	if err != nil {
		s.Fatal(err)
	}
	return *out.MessageId
}

// A found is a message as it is in a queue.
type found struct {
	id, body   string
	attributes map[string]string
}

func (f found) uuid() string { return f.attributes[queue.AttrUUID] }

// failure returns the record of a dead letter.
func (f found) failure(t *testing.T) queue.Failure {
	t.Helper()
	record, ok, err := queue.DecodeFailure(message.Metadata(f.attributes))
	if err != nil || !ok {
		t.Fatalf("the dead letter has no record: %v; its attributes are %v", err, f.attributes)
	}
	return record
}

// take receives and deletes what can be received from a queue now.
func (s *stack) take(queueName string) []found {
	s.Helper()
	var all []found
	for {
		out, err := s.sqs.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: aws.String(s.urls[queueName]), MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
		})
		if err != nil {
			s.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return all
		}
		for _, m := range out.Messages {
			f := found{*m.MessageId, *m.Body, map[string]string{}}
			for name, a := range m.MessageAttributes {
				f.attributes[name] = aws.ToString(a.StringValue)
			}
			all = append(all, f)
			if _, err := s.sqs.DeleteMessage(s.Context(), &sqs.DeleteMessageInput{QueueUrl: aws.String(s.urls[queueName]), ReceiptHandle: m.ReceiptHandle}); err != nil {
				s.Fatal(err)
			}
		}
	}
}

// one takes the only message of a queue.
func (s *stack) one(queueName string) found {
	s.Helper()
	all := s.take(queueName)
	if len(all) != 1 {
		s.Fatalf("%s holds %d messages, want 1: %v", queueName, len(all), all)
	}
	return all[0]
}

// left returns how many messages a queue holds, visible or not.
func (s *stack) left(queueName string) int {
	s.Helper()
	out, err := s.sqs.GetQueueAttributes(s.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(s.urls[queueName]), AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	if err != nil {
		s.Fatal(err)
	}
	n := 0
	for _, name := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"} {
		var k int
		fmt.Sscan(out.Attributes[name], &k)
		n += k
	}
	return n
}

// bodies returns the bodies, sorted.
func bodies(all []found) []string {
	var b []string
	for _, f := range all {
		b = append(b, f.body)
	}
	slices.Sort(b)
	return b
}

// logs collects what a process logs.
type logs struct {
	t  *testing.T
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// faulty makes operations on a queue fail as long as the returned function is
// not called.
func (s *stack) faulty(operation, queueName string, f emulator.Fault) (mend func()) {
	s.server.SetFault(func(r emulator.Request) emulator.Fault {
		if r.Operation == operation && r.Resource == queueName {
			return f
		}
		return emulator.Fault{}
	})
	return func() { s.server.SetFault(nil) }
}

var errInternal = &emulator.Error{Code: "InternalError", Message: "We encountered an internal error.", Status: 500}

// A plug is the connection of a process that dies: after some requests, nothing
// gets through any more.
type plug struct {
	next http.RoundTripper
	// after is how many requests get through. The last one is carried out;
	// whether its answer arrives, answered says.
	after    int
	answered bool

	mu     sync.Mutex
	n      int
	pulled chan struct{}
}

func (p *plug) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.n++
	n := p.n
	if n == p.after {
		close(p.pulled)
	}
	p.mu.Unlock()
	if n > p.after {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("the process is dead: %w", io.ErrUnexpectedEOF)
	}
	resp, err := p.next.RoundTrip(r)
	if n == p.after && !p.answered && err == nil {
		resp.Body.Close()
		return nil, fmt.Errorf("the process is dead: %w", io.ErrUnexpectedEOF)
	}
	return resp, err
}

type fare struct {
	ID     string `json:"id"`
	Amount int    `json:"amount"`
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var errDeclined = errors.New("card declined")

func deleteQueue(url string) *sqs.DeleteQueueInput { return &sqs.DeleteQueueInput{QueueUrl: &url} }

func (s *stack) setAttribute(queueName, name, value string) {
	s.Helper()
	if _, err := s.sqs.SetQueueAttributes(s.Context(), &sqs.SetQueueAttributesInput{
		QueueUrl: aws.String(s.urls[queueName]), Attributes: map[string]string{name: value},
	}); err != nil {
		s.Fatal(err)
	}
}
