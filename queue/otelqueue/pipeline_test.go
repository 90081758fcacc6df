package otelqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/otelqueue"
)

// run runs a pipeline with a tracer until the messages that enter are done, and
// returns when it has stopped.
func (b *bench) run(endpoints *queue.Endpoints, tracer *otelqueue.Tracer, handle func(*pipeline.Pipeline), enter func(message.Publisher), d time.Duration) {
	b.Helper()
	with := func(c *queue.PublisherConfig) { c.Endpoints = endpoints }
	pub := b.publisher(tracer, with)
	sub := b.subscriber(tracer, func(c *queue.SubscriberConfig) { c.Endpoints = endpoints })
	p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints})
	if err != nil {
		b.Fatal(err)
	}
	handle(p)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	enter(pub)
	time.Sleep(d) // virtual
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(sub.Close(), pub.Close()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) endpoints(all ...queue.Endpoint) *queue.Endpoints {
	b.Helper()
	e, err := queue.NewEndpoints("", all...)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// What goes through filters is one trace a message: each span of a message is the
// child of what made it, and the requests, which messages share, link to it.
func TestPipelineIsOneTrace(t *testing.T) {
	const n = 23
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var queues [3]string
		for i := range queues {
			queues[i], _ = b.queue()
		}
		endpoints := b.endpoints(
			queue.Endpoint{Name: "a", URL: "sqs://" + queues[0], Concurrency: 30},
			queue.Endpoint{Name: "b", URL: "sqs://" + queues[1], Concurrency: 30},
			queue.Endpoint{Name: "c", URL: "sqs://" + queues[2], Concurrency: 30})
		pass := pipeline.Func(func(_ context.Context, in string) (string, error) { return in, nil })
		var roots []trace.SpanContext
		b.run(endpoints, b.tracer(), func(p *pipeline.Pipeline) {
			p.Handle("first", pass, pipeline.From("a"), pipeline.To("b"))
			p.Handle("second", pass, pipeline.From("b"), pipeline.To("c"))
			p.Handle("third", pipeline.Sink(func(context.Context, string) error { return nil }), pipeline.From("c"))
		}, func(pub message.Publisher) {
			var batch []*message.Message
			for i := range n {
				roots = append(roots, b.within("enter", func(ctx context.Context) {
					msg := newMessage(fmt.Sprint(i))
					msg.SetContext(ctx)
					batch = append(batch, msg)
				}))
			}
			if err := pub.Publish("a", batch...); err != nil {
				t.Error(err)
			}
		}, time.Minute)
		b.ended()

		byTrace := map[trace.TraceID][]sdk.ReadOnlySpan{}
		for _, s := range b.spans.Ended() {
			byTrace[s.SpanContext().TraceID()] = append(byTrace[s.SpanContext().TraceID()], s)
		}
		for i, root := range roots {
			at := root
			for hop, q := range queues {
				create := only(t, byTrace[root.TraceID()], "create "+q)
				b.childOf(create, at)
				process := only(t, byTrace[root.TraceID()], "process "+q)
				b.childOf(process, create.SpanContext())
				if hop == 0 {
					b.has(create, fmt.Sprintf("waybill.message.uuid=%d", i), "waybill.endpoint=a")
				}
				at = process.SpanContext()
			}
		}
		for _, q := range queues {
			for _, request := range []string{"send ", "receive "} {
				spans := b.named(request + q)
				if len(spans) == 0 || len(spans) >= n {
					t.Errorf("%d spans %q for %d messages", len(spans), request+q, n)
				}
				var linked []trace.SpanContext
				for _, s := range spans {
					b.has(s, fmt.Sprintf("messaging.batch.message_count=%d", len(s.Links())))
					for _, l := range s.Links() {
						linked = append(linked, l.SpanContext)
					}
				}
				if len(linked) != n {
					t.Errorf("the spans %q link to %d messages, want %d", request+q, len(linked), n)
				}
				all := map[trace.SpanID]bool{}
				for _, c := range contexts(b.named("create " + q)) {
					all[c.SpanID()] = true
				}
				for _, l := range linked {
					if !all[l.SpanID()] {
						t.Errorf("%q links to %s, which is no message's", request+q, l.SpanID())
					}
					delete(all, l.SpanID())
				}
			}
		}
	})
}

func only(t *testing.T, spans []sdk.ReadOnlySpan, name string) (found sdk.ReadOnlySpan) {
	t.Helper()
	for _, s := range spans {
		if s.Name() == name {
			if found != nil {
				t.Fatalf("two spans %q in one trace", name)
			}
			found = s
		}
	}
	if found == nil {
		t.Fatalf("no span %q in the trace; there are %v", name, names(spans))
	}
	return found
}

// A message that fails and comes again has a span for each time, which says how
// often it came and why it failed; so has one that goes to the dead-letter queue,
// where the trace goes on.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		dead, deadURL := b.queue()
		in, _ := b.queue("RedrivePolicy", b.redrivePolicy(deadURL, 5))
		endpoints := b.endpoints(
			queue.Endpoint{Name: "in", URL: "sqs://" + in, DeadLetter: "sqs://" + dead, MaxReceiveCount: 5},
			queue.Endpoint{Name: "dead", URL: "sqs://" + dead})
		tries := 0
		tracer := b.tracer()
		var root trace.SpanContext
		b.run(endpoints, tracer, func(p *pipeline.Pipeline) {
			p.Handle("f", pipeline.Sink(func(context.Context, string) error {
				if tries++; tries < 3 {
					return errors.New("the provider is down")
				}
				return pipeline.Permanent(errors.New("no such fare"))
			}), pipeline.From("in"), pipeline.Retries(pipeline.Retry{Attempts: 1}))
		}, func(pub message.Publisher) {
			root = b.within("enter", func(ctx context.Context) {
				msg := newMessage("m")
				msg.SetContext(ctx)
				if err := pub.Publish("in", msg); err != nil {
					t.Error(err)
				}
			})
		}, time.Hour)
		create := b.one("create " + in)
		all := b.named("process " + in)
		if len(all) != 3 {
			t.Fatalf("%d spans of handling, want 3: %v", len(all), names(b.spans.Ended()))
		}
		for i, s := range all {
			b.childOf(s, create.SpanContext())
			b.has(s, fmt.Sprintf("messaging.aws_sqs.message.receive_count=%d", i+1), "messaging.message.id="+attributeOf(create, "messaging.message.id"))
			want, settled, kind := "the provider is down", "nacked", "errors.errorString"
			if i == 2 {
				want, settled, kind = "no such fare", "acked", "pipeline.permanentError"
			}
			b.has(s, "waybill.settlement="+settled)
			if s.Status().Code != codes.Error || s.Status().Description != want || attributeOf(s, "error.type") == "" {
				t.Errorf("time %d has the status %+v and error.type %q, want %q and %s", i+1, s.Status(), attributeOf(s, "error.type"), want, kind)
			}
		}
		letter := b.one("create " + dead)
		b.childOf(letter, all[2].SpanContext())

		b.take(tracer, dead, 1)
		last := b.one("process " + dead)
		b.childOf(last, letter.SpanContext())
		if last.SpanContext().TraceID() != root.TraceID() {
			t.Error("the dead letter is of another trace")
		}
		b.ended()
	})
}

// Under watermill's Router the middleware has what a handler returns published in
// the span of its message, with its baggage, and tells why a message failed, as
// shortly as a status does.
func TestMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		in, _ := b.queue()
		out, _ := b.queue()
		tracer := b.tracer()
		pub := b.publisher(tracer)
		router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
		if err != nil {
			t.Fatal(err)
		}
		router.AddMiddleware(tracer.Middleware)
		tries := 0
		router.AddHandler("hop", "sqs://"+in, b.subscriber(tracer), "sqs://"+out, pub, func(msg *message.Message) ([]*message.Message, error) {
			if tries++; tries == 1 {
				return nil, errors.New("not yet: " + strings.Repeat("x", 1<<20))
			}
			return message.Messages{msg.Copy()}, nil
		})
		done := make(chan error, 1)
		go func() { done <- router.Run(context.Background()) }()
		b.publish(b.publisher(tracer), laden(t, t.Context()), in, newMessage("m"))
		time.Sleep(time.Minute)
		if err := errors.Join(router.Close(), <-done); err != nil {
			t.Fatal(err)
		}
		all := b.named("process " + in)
		if len(all) != 2 || !strings.HasPrefix(all[0].Status().Description, "not yet") || len(all[0].Events()) != 1 || all[1].Status().Code != codes.Unset {
			t.Fatalf("handled in %v", all)
		}
		said := map[string]string{}
		for _, a := range all[0].Events()[0].Attributes {
			said[string(a.Key)] = a.Value.AsString()
		}
		if text := said["exception.message"]; said["exception.type"] == "" || !strings.HasPrefix(text, "not yet") || len(text) > 1100 {
			t.Errorf("the event has the type %q, and a message of %d bytes", said["exception.type"], len(text))
		}
		b.childOf(b.one("create "+out), all[1].SpanContext())
		if bag := baggage.FromContext(b.take(tracer, out, 1)[0].Context()); bag.Len() != 2 {
			t.Errorf("passed on with the baggage %q", bag)
		}
		b.ended()
	})
}
