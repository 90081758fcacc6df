package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// A carelessTracer panics whatever it is told of, or only at the ends, and counts
// what it was told.
type carelessTracer struct {
	atEnd bool
	told  atomic.Int64
}

func (c *carelessTracer) panic(end bool) {
	c.told.Add(1)
	if end || !c.atEnd {
		panic("oh")
	}
}

func (c *carelessTracer) StartPublish(ctx context.Context, _ queue.Endpoint, _ *message.Message) (context.Context, map[string]string) {
	c.panic(false)
	return ctx, nil
}
func (c *carelessTracer) EndPublish(context.Context, queue.Published) { c.panic(true) }
func (c *carelessTracer) StartSend(ctx context.Context, _ queue.Endpoint, _ []context.Context) context.Context {
	c.panic(false)
	return ctx
}
func (c *carelessTracer) EndSend(context.Context, queue.Requested) { c.panic(true) }
func (c *carelessTracer) TraceReceive(queue.Received)              { c.panic(true) }
func (c *carelessTracer) StartProcess(msg *message.Message) context.Context {
	c.panic(false)
	return msg.Context()
}
func (c *carelessTracer) EndProcess(context.Context, queue.Processed) { c.panic(true) }

// A tracer that panics keeps no message from its queue, nor from its handler, and is
// told of no end of what it did not begin.
func TestCarelessTracer(t *testing.T) {
	for atEnd, told := range map[bool]int64{false: 4, true: 7} {
		synctest.Test(t, func(t *testing.T) {
			s := embedded(t)
			q := newQueue(t, s)
			log, tracer := new(recorder), &carelessTracer{atEnd: atEnd}
			p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Tracer: tracer, Logger: log.logger()})
			if err := p.Publish("sqs://"+q.name, message.NewMessage("u", []byte("x"))); err != nil {
				t.Fatal(err)
			}
			sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Tracer: tracer, Logger: log.logger()})
			began := time.Now()
			next(t, subscribe(t, sub, "sqs://"+q.name)).Ack()
			if d := time.Since(began); d > time.Second {
				t.Errorf("delivered after %v", d)
			}
			if err := sub.Close(); err != nil {
				t.Fatal(err)
			}
			if got := s.depth(t, q.url); got != "0 visible, 0 in flight" {
				t.Error(got)
			}
			if n := tracer.told.Load(); n != told || log.count("the tracer panicked") != 4 {
				t.Errorf("told %d times, want %d, with %q", n, told, log.lines)
			}
		})
	}
}

// Failed may be called on the delivery of a message of another transport.
func TestFailedWithoutDelivery(t *testing.T) {
	queue.FromContext(t.Context()).Failed(context.Canceled)
}

// A closingTracer closes the publisher that tells it of a message.
type closingTracer struct {
	publisher *queue.Publisher
	ended     []error
}

func (c *closingTracer) StartPublish(ctx context.Context, _ queue.Endpoint, _ *message.Message) (context.Context, map[string]string) {
	_ = c.publisher.Close()
	return ctx, nil
}
func (c *closingTracer) EndPublish(_ context.Context, p queue.Published) {
	c.ended = append(c.ended, p.Err)
}
func (c *closingTracer) StartSend(ctx context.Context, _ queue.Endpoint, _ []context.Context) context.Context {
	return ctx
}
func (c *closingTracer) EndSend(context.Context, queue.Requested) {}

// What a tracer was told of has an end, also if the publisher is closed meanwhile.
func TestTracerIsToldOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		tracer := new(closingTracer)
		tracer.publisher = newPublisher(t, queue.PublisherConfig{AWS: s.aws, Tracer: tracer})
		err := tracer.publisher.Publish("sqs://"+q.name, message.NewMessage("u", []byte("x")))
		if !errors.Is(err, queue.ErrClosed) || len(tracer.ended) != 1 || !errors.Is(tracer.ended[0], queue.ErrClosed) {
			t.Errorf("published with %v, and the tracer was told of %v", err, tracer.ended)
		}
	})
}
