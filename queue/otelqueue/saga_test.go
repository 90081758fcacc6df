package otelqueue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

type fare struct{ Charge string }

// A command of a saga and its reply are one trace, in which the participant's
// work is.
func TestSaga(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		payments, _ := b.queue()
		replies, _ := b.queue()
		endpoints := b.endpoints(queue.Endpoint{Name: "payments", URL: "sqs://" + payments}, queue.Endpoint{Name: "replies", URL: "sqs://" + replies})
		tracer := b.tracer()
		pub := b.publisher(tracer, func(c *queue.PublisherConfig) { c.Endpoints = endpoints })
		sub := b.subscriber(tracer, func(c *queue.SubscriberConfig) { c.Endpoints = endpoints })

		var at trace.SpanContext
		participant, err := saga.NewParticipant(saga.ParticipantConfig{
			Records: memstore.New(memstore.Config{}), Publisher: pub,
			Steps: []saga.Served{saga.Serve("Charge", func(ctx context.Context, in fare) (string, error) {
				at = trace.SpanContextFromContext(ctx)
				return "ch-1", nil
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		def := saga.New("fare", saga.Remote("Charge", "payments", func(f *fare) (fare, error) { return *f, nil },
			func(f *fare, id string) error { f.Charge = id; return nil }).ReadOnly())
		coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
			Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{def}, Publisher: pub, ReplyTo: "replies",
		})
		if err != nil {
			t.Fatal(err)
		}
		pipe, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		pipe.Handle("payments", pipeline.Consume(participant.Handle), pipeline.From("payments"))
		pipe.Handle("replies", pipeline.Consume(func(msg *message.Message) error { return coordinator.HandleMessage(msg) }), pipeline.From("replies"))

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- coordinator.Run(ctx) }()
		go func() { done <- pipe.Run(ctx) }()
		got, err := def.Run(ctx, coordinator.Client(), "ride-1", fare{})
		if err != nil || got.Charge != "ch-1" {
			t.Fatalf("%+v, %v", got, err)
		}
		cancel()
		if err := errors.Join(<-done, <-done, sub.Close()); err != nil {
			t.Fatal(err)
		}
		command, work := b.one("create "+payments), b.one("process "+payments)
		b.childOf(work, command.SpanContext())
		if at.SpanID() != work.SpanContext().SpanID() {
			t.Errorf("the participant worked in %v", at)
		}
		reply := b.one("create " + replies)
		b.childOf(reply, work.SpanContext())
		b.childOf(b.one("process "+replies), reply.SpanContext())
		b.ended()
	})
}
