package otelqueue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/otelqueue"
)

// w3c carries all that W3C has.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// A bench is a server of SQS, and perhaps SNS, with what records spans.
type bench struct {
	*testing.T
	name     string
	aws      aws.Config
	sqs      *sqs.Client
	sns      *sns.Client      // nil without SNS
	emulator *emulator.Server // nil for others
	spans    *tracetest.SpanRecorder
	provider *sdk.TracerProvider
}

// newBench returns one on the emulator, which runs in a bubble of virtual time.
func newBench(t *testing.T) *bench {
	e := emulator.New(emulator.Config{NoCooldowns: true})
	b := benchAt(t, "emulator", "http://emulator.test")
	b.aws.HTTPClient, b.emulator = e.Client(), e
	b.sqs, b.sns = sqs.NewFromConfig(b.aws), sns.NewFromConfig(b.aws)
	return b
}

func benchAt(t *testing.T, name, url string) *bench {
	b := &bench{T: t, name: name, spans: tracetest.NewSpanRecorder()}
	b.provider = sdk.NewTracerProvider(sdk.WithSpanProcessor(b.spans))
	b.aws = aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(url),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   queue.NewHTTPClient(),
	}
	b.sqs, b.sns = sqs.NewFromConfig(b.aws), sns.NewFromConfig(b.aws)
	return b
}

// on runs the test on the emulator and on each server that is configured.
func on(t *testing.T, test func(*testing.T, *bench)) {
	t.Run("emulator", func(t *testing.T) { test(t, newBench(t)) })
	for name, server := range map[string]func(testing.TB) (string, bool){
		"localstack": testserver.LocalStack, "elasticmq": testserver.ElasticMQ, "moto": testserver.Moto,
	} {
		url, ok := server(t)
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := benchAt(t, name, url)
			if name == "elasticmq" {
				b.sns = nil
			}
			test(t, b)
		})
	}
}

// queue creates a queue of a new name, and returns its URL.
func (b *bench) queue(attributes ...string) (name, url string) {
	b.Helper()
	name = testserver.Namespace(b)
	in := &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{}}
	for i := 0; i < len(attributes); i += 2 {
		in.Attributes[attributes[i]] = attributes[i+1]
	}
	out, err := b.sqs.CreateQueue(b.Context(), in)
	if err != nil {
		b.Fatal(err)
	}
	return name, *out.QueueUrl
}

func (b *bench) arn(url string) string {
	b.Helper()
	out, err := b.sqs.GetQueueAttributes(b.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	if err != nil {
		b.Fatal(err)
	}
	return out.Attributes["QueueArn"]
}

func (b *bench) redrivePolicy(deadLetterURL string, most int) string {
	b.Helper()
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, b.arn(deadLetterURL), most)
}

// receive receives a message as a plain client does.
func (b *bench) receive(url string) sqstypes.Message {
	b.Helper()
	out, err := b.sqs.ReceiveMessage(b.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: &url, WaitTimeSeconds: 5,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
	})
	if err != nil {
		b.Fatal(err)
	}
	if len(out.Messages) != 1 {
		b.Fatalf("received %d messages, want 1", len(out.Messages))
	}
	return out.Messages[0]
}

func (b *bench) tracer(options ...func(*otelqueue.Config)) *otelqueue.Tracer {
	cfg := otelqueue.Config{TracerProvider: b.provider, Propagator: w3c}
	for _, o := range options {
		o(&cfg)
	}
	return otelqueue.New(cfg)
}

func (b *bench) publisher(tracer *otelqueue.Tracer, options ...func(*queue.PublisherConfig)) *queue.Publisher {
	b.Helper()
	cfg := queue.PublisherConfig{AWS: b.aws}
	if tracer != nil {
		cfg.Tracer = tracer
	}
	for _, o := range options {
		o(&cfg)
	}
	p, err := queue.NewPublisher(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close() })
	return p
}

func (b *bench) subscriber(tracer *otelqueue.Tracer, options ...func(*queue.SubscriberConfig)) *queue.Subscriber {
	b.Helper()
	cfg := queue.SubscriberConfig{AWS: b.aws, DeliverUndecodable: true, DeleteLinger: -1, ReceiveGrace: time.Millisecond}
	if tracer != nil {
		cfg.Tracer = tracer
	}
	for _, o := range options {
		o(&cfg)
	}
	s, err := queue.NewSubscriber(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// take returns the next n messages of a queue, acked, once their spans have
// ended.
func (b *bench) take(tracer *otelqueue.Tracer, name string, n int) []*message.Message {
	b.Helper()
	s := b.subscriber(tracer)
	ch, err := s.Subscribe(b.Context(), "sqs://"+name)
	if err != nil {
		b.Fatal(err)
	}
	var all []*message.Message
	for range n {
		select {
		case msg := <-ch:
			all = append(all, msg)
			msg.Ack()
		case <-time.After(30 * time.Second):
			b.Fatalf("%d messages in 30 s, want %d", len(all), n)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return all
}

// within runs what is to be traced in a span.
func (b *bench) within(name string, f func(ctx context.Context)) trace.SpanContext {
	ctx, span := b.provider.Tracer("test").Start(b.Context(), name)
	f(ctx)
	span.End()
	return span.SpanContext()
}

func (b *bench) publish(p message.Publisher, ctx context.Context, name string, messages ...*message.Message) {
	b.Helper()
	for _, msg := range messages {
		msg.SetContext(ctx)
	}
	if err := p.Publish("sqs://"+name, messages...); err != nil {
		b.Fatal(err)
	}
}

// named returns the spans whose names begin so, in the order of their beginning.
func (b *bench) named(prefix string) []sdk.ReadOnlySpan {
	var all []sdk.ReadOnlySpan
	for _, s := range b.spans.Ended() {
		if strings.HasPrefix(s.Name(), prefix) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(x, y sdk.ReadOnlySpan) int { return x.StartTime().Compare(y.StartTime()) })
	return all
}

// one returns the only span whose name begins so.
func (b *bench) one(prefix string) sdk.ReadOnlySpan {
	b.Helper()
	all := b.named(prefix)
	if len(all) != 1 {
		b.Fatalf("%d spans %q, want 1; there are: %v", len(all), prefix, names(b.spans.Ended()))
	}
	return all[0]
}

// ended checks that each span that was begun has ended.
func (b *bench) ended() {
	b.Helper()
	if begun, ended := len(b.spans.Started()), len(b.spans.Ended()); begun != ended {
		b.Errorf("%d spans were begun, and %d have ended", begun, ended)
	}
}

func names(spans []sdk.ReadOnlySpan) (all []string) {
	for _, s := range spans {
		all = append(all, s.Name())
	}
	return all
}

// childOf checks the parent of a span.
func (b *bench) childOf(child sdk.ReadOnlySpan, parent trace.SpanContext) {
	b.Helper()
	if child.Parent().SpanID() != parent.SpanID() || child.SpanContext().TraceID() != parent.TraceID() {
		b.Errorf("%q has the parent %s in trace %s, want %s in %s", child.Name(), child.Parent().SpanID(), child.SpanContext().TraceID(), parent.SpanID(), parent.TraceID())
	}
}

// linksTo checks the links of a span, in any order.
func (b *bench) linksTo(s sdk.ReadOnlySpan, want ...trace.SpanContext) {
	b.Helper()
	key := func(c trace.SpanContext) string { return c.TraceID().String() + "/" + c.SpanID().String() }
	var got, wanted []string
	for _, l := range s.Links() {
		got = append(got, key(l.SpanContext))
	}
	for _, c := range want {
		wanted = append(wanted, key(c))
	}
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		b.Errorf("%q links to %v, want %v", s.Name(), got, wanted)
	}
}

// has checks attributes of a span, given as name=value; name= is for none.
func (b *bench) has(s sdk.ReadOnlySpan, want ...string) {
	b.Helper()
	got := map[string]string{}
	for _, a := range s.Attributes() {
		got[string(a.Key)] = a.Value.String()
	}
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		if got[name] != value {
			b.Errorf("%q has %s=%q, want %q", s.Name(), name, got[name], value)
		}
	}
}

func contexts(spans []sdk.ReadOnlySpan) (all []trace.SpanContext) {
	for _, s := range spans {
		all = append(all, s.SpanContext())
	}
	return all
}

func attributeOf(s sdk.ReadOnlySpan, key string) string {
	for _, a := range s.Attributes() {
		if a.Key == attribute.Key(key) {
			return a.Value.String()
		}
	}
	return ""
}

func newMessage(id string) *message.Message {
	return message.NewMessage(id, []byte(`"`+id+`"`))
}
