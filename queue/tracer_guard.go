package queue

import (
	"context"
	"log/slog"
	"runtime/debug"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A guard keeps a tracer that panics from what is traced: messages are sent, and
// those that are held must be delivered and settled.
type guard struct{ log *slog.Logger }

// recovered is deferred.
func (g guard) recovered() {
	if r := recover(); r != nil {
		g.log.Error("the tracer panicked", "panic", r, "stack", string(debug.Stack()))
	}
}

// An unbegun context is that of what a tracer did not begin: it is not told of its
// end.
type unbegun struct{ context.Context }

func begun(ctx context.Context) bool {
	_, not := ctx.(unbegun)
	return !not
}

// A publishGuard is a tracer of a publisher that does not panic.
type publishGuard struct {
	guard
	tracer PublishTracer
}

func guardPublish(t PublishTracer, log *slog.Logger) PublishTracer {
	if t == nil {
		return nil
	}
	return publishGuard{guard{log}, t}
}

func (g publishGuard) StartPublish(ctx context.Context, to Endpoint, msg *message.Message) (its context.Context, carrier map[string]string) {
	defer g.recovered()
	its = unbegun{ctx}
	return g.tracer.StartPublish(ctx, to, msg)
}

func (g publishGuard) EndPublish(ctx context.Context, p Published) {
	defer g.recovered()
	if begun(ctx) {
		g.tracer.EndPublish(ctx, p)
	}
}

func (g publishGuard) StartSend(ctx context.Context, to Endpoint, messages []context.Context) (its context.Context) {
	defer g.recovered()
	its = unbegun{ctx}
	return g.tracer.StartSend(ctx, to, messages)
}

func (g publishGuard) EndSend(ctx context.Context, r Requested) {
	defer g.recovered()
	if begun(ctx) {
		g.tracer.EndSend(ctx, r)
	}
}

// A subscribeGuard is a tracer of a subscriber that does not panic.
type subscribeGuard struct {
	guard
	tracer SubscribeTracer
}

func guardSubscribe(t SubscribeTracer, log *slog.Logger) SubscribeTracer {
	if t == nil {
		return nil
	}
	return subscribeGuard{guard{log}, t}
}

func (g subscribeGuard) TraceReceive(r Received) {
	defer g.recovered()
	g.tracer.TraceReceive(r)
}

func (g subscribeGuard) StartProcess(msg *message.Message) (ctx context.Context) {
	defer g.recovered()
	ctx = unbegun{msg.Context()}
	return g.tracer.StartProcess(msg)
}

func (g subscribeGuard) EndProcess(ctx context.Context, p Processed) {
	defer g.recovered()
	if begun(ctx) {
		g.tracer.EndProcess(ctx, p)
	}
}
