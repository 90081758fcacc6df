package queue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// A carelessTracer panics when it is told of a receive.
type carelessTracer struct{}

func (carelessTracer) TraceReceive(queue.Received)                             { panic("oh") }
func (carelessTracer) StartProcess(msg *message.Message) context.Context       { return msg.Context() }
func (carelessTracer) EndProcess(ctx context.Context, settled queue.Processed) {}

// A tracer that panics keeps no message from its handler.
func TestCarelessTracer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		s.send(t, q.url, "x")
		began := time.Now()
		log := new(recorder)
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Tracer: carelessTracer{}, Logger: log.logger()}), "sqs://"+q.name)
		msg := next(t, ch)
		msg.Ack()
		if d := time.Since(began); d > time.Second || log.count("the tracer panicked") != 1 {
			t.Errorf("delivered after %v, with %q", d, log.lines)
		}
	})
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
