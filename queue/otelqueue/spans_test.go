package otelqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/otelqueue"
)

// The spans are named, of the kind, and with the attributes that the conventions
// have.
func TestConventions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, url := b.queue()
		tracer := b.tracer()
		msg := newMessage("m")
		msg.Metadata[queue.KeyCorrelation] = "order-1"
		root := b.within("enter", func(ctx context.Context) { b.publish(b.publisher(tracer), ctx, name, msg) })
		b.take(tracer, name, 1)

		create, send, receive, process := b.one("create "+name), b.one("send "+name), b.one("receive "+name), b.one("process "+name)
		for s, kind := range map[sdk.ReadOnlySpan]trace.SpanKind{
			create: trace.SpanKindProducer, send: trace.SpanKindClient, receive: trace.SpanKindClient, process: trace.SpanKindConsumer,
		} {
			if s.SpanKind() != kind || s.Status().Code != codes.Unset || attributeOf(s, "error.type") != "" {
				t.Errorf("%q is of kind %v with status %v", s.Name(), s.SpanKind(), s.Status())
			}
			b.has(s, "messaging.system=aws_sqs", "messaging.destination.name="+name)
		}
		id := attributeOf(process, "messaging.message.id")
		b.has(create, "messaging.operation.name=create", "messaging.operation.type=create", "messaging.message.id="+id,
			"messaging.message.conversation_id=order-1", "waybill.message.uuid=m", "messaging.batch.message_count=")
		b.has(send, "messaging.operation.name=send", "messaging.operation.type=send", "messaging.batch.message_count=1", "aws.sqs.queue.url="+url)
		b.has(receive, "messaging.operation.name=receive", "messaging.operation.type=receive", "messaging.batch.message_count=1", "aws.sqs.queue.url="+url)
		b.has(process, "messaging.operation.name=process", "messaging.operation.type=process", "messaging.aws_sqs.message.receive_count=1",
			"messaging.message.conversation_id=order-1", "waybill.settlement=acked", "aws.sqs.queue.url="+url, "messaging.batch.message_count=")
		b.childOf(create, root)
		b.childOf(send, root)
		b.linksTo(send, create.SpanContext())
		if receive.Parent().IsValid() {
			t.Error("the receive has a parent")
		}
		b.linksTo(receive, create.SpanContext())
		b.linksTo(process, create.SpanContext(), receive.SpanContext())
		if scope := process.InstrumentationScope(); scope.Name == "" || scope.SchemaURL == "" {
			t.Errorf("the scope is %+v", scope)
		}
	})
}

// A request that messages of several spans share is of none of them.
func TestSharedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		p := b.publisher(b.tracer())
		var all []*message.Message
		for i := range 10 {
			b.within("enter", func(ctx context.Context) {
				msg := newMessage(fmt.Sprint(i))
				msg.SetContext(ctx)
				all = append(all, msg)
			})
		}
		if err := p.Publish("sqs://"+name, all...); err != nil {
			t.Fatal(err)
		}
		send := b.one("send")
		if send.Parent().IsValid() {
			t.Errorf("the request has the parent %v", send.Parent())
		}
		b.linksTo(send, contexts(b.named("create"))...)
		b.has(send, "messaging.batch.message_count=10")
	})
}

// What fails to be published says so: the message, with the request that it was
// in, and each request that was made again.
func TestPublishFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		p := b.publisher(b.tracer())

		// Before a request.
		bad := newMessage("bad")
		bad.Metadata[queue.KeyDelay] = "soon"
		if err := p.Publish("sqs://"+name, bad); err == nil {
			t.Fatal("a message with a delay of soon was published")
		}
		b.has(b.one("create"), "error.type=invalid", "messaging.message.id=")

		// The request as a whole, after the SDK's own attempts.
		if err := p.Publish("sqs://missing", newMessage("m")); !errors.Is(err, queue.ErrNotFound) {
			t.Fatal(err)
		}
		for _, name := range []string{"create missing", "send missing"} {
			s := b.one(name)
			b.has(s, "error.type=not_found")
			if s.Status().Code != codes.Error || s.Status().Description == "" {
				t.Errorf("%q has the status %+v", name, s.Status())
			}
		}

		// A message in it.
		faults := 1
		b.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "SendMessageBatch" {
				return emulator.Fault{}
			}
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				if e.Body != `"x"` || faults == 0 {
					return nil
				}
				faults--
				return &emulator.Error{Code: "InternalError", Message: "on purpose"}
			}}
		})
		if err := p.Publish("sqs://"+name, newMessage("x"), newMessage("y")); err != nil {
			t.Fatal(err)
		}
		sends := b.named("send " + name)
		if len(sends) != 2 {
			t.Fatalf("%d requests, want 2", len(sends))
		}
		b.has(sends[0], "error.type=unavailable", "waybill.batch.failed_count=1", "messaging.batch.message_count=2")
		b.has(sends[1], "error.type=", "waybill.batch.failed_count=", "messaging.batch.message_count=1")
		for _, s := range b.named("create " + name)[1:] {
			b.has(s, "error.type=")
		}

		// After Close.
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		_ = p.Publish("sqs://"+name, newMessage("z"))
		b.ended()
	})
}

// What a FIFO group holds back ends its span, too.
func TestHeldMessagesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.fifoQueue()
		var all []*message.Message
		for i := range 3 {
			msg := newMessage(fmt.Sprint(i))
			msg.Metadata[queue.KeyGroup] = "g"
			all = append(all, msg)
		}
		all[1].Metadata[queue.KeyDelay] = "1s" // which FIFO refuses
		if err := b.publisher(b.tracer()).Publish("sqs://"+name, all...); !errors.Is(err, queue.ErrHeld) {
			t.Fatal(err)
		}
		var kinds []string
		for _, s := range b.named("create") {
			kinds = append(kinds, attributeOf(s, "waybill.message.uuid")+" "+attributeOf(s, "error.type"))
		}
		slices.Sort(kinds)
		if got := fmt.Sprint(kinds); got != "[0  1 invalid 2 held]" {
			t.Errorf("the messages ended with %s", got)
		}
		b.ended()
	})
}

// A receive that fails has a span, and one that brings nothing has none.
func TestReceiveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		faults := 0
		b.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "ReceiveMessage" {
				return emulator.Fault{}
			}
			if faults++; faults > 3 {
				return emulator.Fault{}
			}
			return emulator.Fault{Err: &emulator.Error{Code: "AccessDenied", Status: 403, Message: "on purpose"}}
		})
		s := b.subscriber(b.tracer())
		if _, err := s.Subscribe(t.Context(), "sqs://"+name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		all := b.named("receive")
		if len(all) != 3 {
			t.Fatalf("%d spans, want 3", len(all))
		}
		b.has(all[0], "error.type=access", "messaging.batch.message_count=0")
		b.ended()
	})
}

// Without a span of each message, they carry the span that they were published
// in.
func TestNoCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		tracer := b.tracer(func(c *otelqueue.Config) { c.NoCreate = true })
		p := b.publisher(tracer)
		root := b.within("enter", func(ctx context.Context) { b.publish(p, ctx, name, newMessage("m")) })
		b.publish(p, t.Context(), name, newMessage("in no span"))
		b.take(tracer, name, 2)
		if n := len(b.named("create")); n > 0 {
			t.Errorf("%d spans of messages", n)
		}
		for _, s := range b.named("process") {
			if attributeOf(s, "waybill.message.uuid") == "m" {
				b.childOf(s, root)
			} else if s.Parent().IsValid() {
				t.Errorf("a message that was published in no span was handled in %v", s.Parent())
			}
		}
		b.ended()
	})
}

// A trace that is not sampled stays so, and a program without a provider passes
// on what it gets.
func TestUnsampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": "00-" + traceID + "-" + spanID + "-00"})
		tracer := b.tracer()
		b.publish(b.publisher(tracer), ctx, name, newMessage("m"))
		got := trace.SpanContextFromContext(b.take(tracer, name, 1)[0].Context())
		if got.TraceID().String() != traceID || got.IsSampled() {
			t.Errorf("handled in %v", got)
		}

		off := otelqueue.New(otelqueue.Config{TracerProvider: noop.NewTracerProvider()})
		b.publish(b.publisher(off), ctx, name, newMessage("m"))
		got = trace.SpanContextFromContext(b.take(off, name, 1)[0].Context())
		if got.TraceID().String() != traceID || got.SpanID().String() != spanID {
			t.Errorf("without a provider handled in %v", got)
		}
	})
}

// A handler that never ends, and a message that nobody takes, end their spans
// with the subscription.
func TestDrainEndsSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		tracer := b.tracer()
		b.publish(b.publisher(tracer), t.Context(), name, newMessage("1"), newMessage("2"))
		s := b.subscriber(tracer)
		ch, err := s.Subscribe(t.Context(), "sqs://"+name)
		if err != nil {
			t.Fatal(err)
		}
		<-ch
		time.Sleep(time.Second)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		settled := map[string]codes.Code{}
		for _, s := range b.named("process") {
			settled[attributeOf(s, "waybill.settlement")] = s.Status().Code
		}
		if got := fmt.Sprint(settled); got != "map[abandoned:Error undelivered:Unset]" {
			t.Errorf("settled %s", got)
		}
		b.ended()
	})
}

// A message that two receivers have says so.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		tracer := b.tracer()
		b.publish(b.publisher(tracer), t.Context(), name, newMessage("m"))
		b.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			return emulator.Fault{DropRequest: r.Operation == "ChangeMessageVisibilityBatch"}
		})
		s := b.subscriber(tracer)
		ch, err := s.Subscribe(t.Context(), "sqs://"+name)
		if err != nil {
			t.Fatal(err)
		}
		msg := <-ch
		<-msg.Context().Done()
		msg.Nack()
		synctest.Wait()
		b.has(b.named("process")[0], "waybill.visibility_lost=true", "waybill.settlement=nacked")
		b.emulator.SetFault(nil)
		(<-ch).Ack()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		b.ended()
	})
}

// TestTexts holds that texts of strangers are short, and UTF-8: an exporter refuses
// all spans of a request for one text that is not.
func TestTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		tracer := b.tracer()
		p := b.publisher(tracer)
		msg := newMessage(strings.Repeat("u", 10_000))
		msg.Metadata[queue.KeyCorrelation] = strings.Repeat("\xff", 10_000)
		b.publish(p, t.Context(), name, msg)
		if err := p.Publish("sqs://"+name, message.NewMessage("\xff", []byte("x"))); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("published with %v", err)
		}
		ch, err := b.subscriber(tracer).Subscribe(t.Context(), "sqs://"+name)
		if err != nil {
			t.Fatal(err)
		}
		got := <-ch
		queue.FromContext(got.Context()).Failed(errors.New("not \xff"))
		got.Ack()
		synctest.Wait()
		for _, prefix := range []string{"create", "process"} {
			for _, s := range b.named(prefix) {
				texts := map[string]string{"status": s.Status().Description}
				for _, a := range s.Attributes() {
					texts[string(a.Key)] = a.Value.String()
				}
				for key, text := range texts {
					if !utf8.ValidString(text) || len(text) > 1100 {
						t.Errorf("%s: %s has %d bytes, which begin with %.10q", s.Name(), key, len(text), text)
					}
				}
			}
		}
	})
}
