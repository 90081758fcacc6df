package otelqueue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/otelqueue"
)

// A redrive, also one that edits, keeps the trace, in one attribute, and so does
// the move to the dead-letter queue, be it SQS's own or a pipeline's.
func TestRedrive(t *testing.T) {
	for _, tt := range []struct{ move, edit bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("moved %v, edited %v", tt.move, tt.edit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				dead, deadURL := b.queue()
				in, url := b.queue("RedrivePolicy", b.redrivePolicy(deadURL, 1), "VisibilityTimeout", "0")
				tracer := b.tracer()
				msg := newMessage("m")
				msg.Metadata = headers(2)
				b.publish(b.publisher(tracer), laden(t, t.Context()), in, msg)
				if tt.move {
					b.bury(tracer, in, dead)
				} else {
					b.receive(url)
					if out, err := b.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url}); err != nil || len(out.Messages) > 0 {
						t.Fatal(out, err)
					}
				}
				before := b.peek(deadURL).MessageAttributes
				b.redrive(dead, tt.edit)
				if _, err := b.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"RedrivePolicy": ""}}); err != nil {
					t.Fatal(err)
				}
				after := b.receive(url).MessageAttributes
				for _, key := range []string{"traceparent", "tracestate", "baggage"} {
					_, native := after[key]
					was := packed(t, before[queue.AttrMetadata])[key]
					if got := packed(t, after[queue.AttrMetadata])[key]; native || got == "" || got != was {
						t.Errorf("the redriven message has the %s %q packed, and as an attribute: %v; it was %q", key, got, native, was)
					}
				}
				got := b.take(tracer, in, 1)[0]
				if tt.edit != (string(got.Payload) == "mended") {
					t.Errorf("the body is %s", got.Payload)
				}
				all := b.named("process " + in)
				from := b.one("create " + in)
				if tt.move {
					from = b.one("create " + dead)
				}
				b.childOf(all[len(all)-1], from.SpanContext())
				if baggage.FromContext(got.Context()).Len() != 2 || trace.SpanContextFromContext(got.Context()).TraceID().String() != traceID {
					t.Error("the redriven message has lost its trace")
				}
			})
		})
	}
}

// bury has a pipeline move a message to the dead-letter queue.
func (b *bench) bury(tracer *otelqueue.Tracer, in, dead string) {
	b.Helper()
	endpoints := b.endpoints(queue.Endpoint{Name: "in", URL: "sqs://" + in, DeadLetter: "sqs://" + dead})
	b.run(endpoints, tracer, func(p *pipeline.Pipeline) {
		p.Handle("f", pipeline.Sink(func(context.Context, string) error { return pipeline.Permanent(errors.New("no")) }), pipeline.From("in"))
	}, func(message.Publisher) {}, time.Minute)
}

// peek receives a message and gives it back.
func (b *bench) peek(url string) sqstypes.Message {
	b.Helper()
	m := b.receive(url)
	if _, err := b.sqs.ChangeMessageVisibility(b.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
		b.Fatal(err)
	}
	return m
}

func (b *bench) redrive(dead string, edit bool) {
	b.Helper()
	queues, err := queue.NewAdmin(queue.AdminConfig{AWS: b.aws})
	if err != nil {
		b.Fatal(err)
	}
	c, err := dlq.New(dlq.Config{Queues: queues})
	if err != nil {
		b.Fatal(err)
	}
	o := dlq.Options{From: dead}
	if edit {
		o.Edit = func(_ context.Context, l *dlq.Letter) error { l.Body = []byte("mended"); return nil }
	}
	if report, err := c.Redrive(b.Context(), o); err != nil || report.Sent != 1 {
		b.Fatalf("%+v, %v", report, err)
	}
}

// packed returns what is packed as text.
func packed(t *testing.T, a sqstypes.MessageAttributeValue) map[string]string {
	t.Helper()
	var v struct{ S map[string]string }
	if err := json.Unmarshal([]byte(aws.ToString(a.StringValue)), &v); err != nil {
		t.Fatal(err)
	}
	return v.S
}

// A message that is delayed by hours is handled once, though it came to the
// subscription often; by choice in a trace of its own.
func TestLongDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		tracer := b.tracer(func(c *otelqueue.Config) {
			c.NewTrace = func(msg *message.Message) bool { return !queue.FromContext(msg.Context()).Due.IsZero() }
		})
		late, soon := newMessage("late"), newMessage("soon")
		queue.SetDelay(late, 3*time.Hour)
		root := b.within("enter", func(ctx context.Context) { b.publish(b.publisher(tracer), ctx, name, late, soon) })
		began := time.Now()
		s := b.subscriber(tracer)
		ch, err := s.Subscribe(t.Context(), "sqs://"+name)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			(<-ch).Ack()
		}
		if d := time.Since(began); d < 3*time.Hour {
			t.Errorf("both came within %v", d)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		all := b.named("process")
		if len(all) != 2 {
			t.Fatalf("%d spans of handling, want 2", len(all))
		}
		if all[0].SpanContext().TraceID() != root.TraceID() {
			t.Error("what came soon is of another trace")
		}
		if all[1].SpanContext().TraceID() == root.TraceID() || all[1].Parent().IsValid() {
			t.Error("what came hours later goes on with the trace")
		}
		var linked bool
		for _, l := range all[1].Links() {
			linked = linked || l.SpanContext.TraceID() == root.TraceID()
		}
		if !linked {
			t.Error("what came hours later does not link to the trace")
		}
		b.ended()
	})
}
