package queue

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A PublishTracer is told what a [Publisher] does, and makes spans of it. Package
// queue/otelqueue has one for OpenTelemetry.
//
// It keeps its spans in the contexts that it returns, which descend from those
// that it is given. Its methods are called by many goroutines at once, on the way
// of each message: they must not wait. That one panics is logged; it is then told
// of no end of what it did not begin.
type PublishTracer interface {
	// StartPublish begins what EndPublish ends once the message is accepted or
	// refused: with the context that StartPublish returned. The carrier is
	// metadata that the message takes along to its receivers, beside its own or
	// in its place. If it has one key it becomes an attribute like other
	// metadata, the first to be packed where ten are not enough; if it has more,
	// all are packed. So it takes one attribute at most. A message that would
	// be too large with it goes without.
	StartPublish(ctx context.Context, to Endpoint, msg *message.Message) (context.Context, map[string]string)
	EndPublish(ctx context.Context, p Published)

	// StartSend begins one request to the service, and EndSend ends it. The
	// messages are the contexts that StartPublish returned for those in the
	// request, which those of several calls of Publish may share. A message is
	// in another request when it is sent again.
	StartSend(ctx context.Context, to Endpoint, messages []context.Context) context.Context
	EndSend(ctx context.Context, r Requested)
}

// A Published is what became of a message.
type Published struct {
	// MessageID is the service's id of the message, or empty if it did not
	// accept it.
	MessageID string

	Err error
}

// A Requested is what became of a request to publish.
type Requested struct {
	// Address is the URL of the queue or the ARN of the topic, or empty if it
	// was not found.
	Address string

	// Errs are the errors of the messages in the order of StartSend's, with
	// nil for those that were accepted. They are all the same if the request
	// failed as a whole.
	Errs []error
}

// A SubscribeTracer is told what a [Subscriber] does, and makes spans of it. What
// is said of [PublishTracer] holds here as well.
type SubscribeTracer interface {
	// TraceReceive is told of a receive that brought messages or failed, before
	// any of them is delivered. It may take what is its own off their metadata,
	// and give them contexts that descend from theirs.
	TraceReceive(Received)

	// StartProcess begins the handling of a message, right before it is
	// delivered with the context that StartProcess returns, and EndProcess ends
	// it when the message is acked or nacked. Messages that are never delivered,
	// such as those that are not due, have neither.
	StartProcess(msg *message.Message) context.Context
	EndProcess(ctx context.Context, p Processed)
}

// A Received is what came of one receive.
type Received struct {
	Endpoint Endpoint
	QueueURL string

	// Began and Ended are when the request was sent and answered.
	Began, Ended time.Time

	Messages []*message.Message
	Err      error
}

// A Processed is how the handling of a message ended.
type Processed struct {
	Settlement Settlement

	// Lost is set if another receiver may have the message, too.
	Lost bool

	// Err is what [Delivery.Failed] was told, and Reason what [Delivery.Retry]
	// was.
	Err    error
	Reason string
}

// A Settlement is how a subscription is done with a message.
type Settlement string

// Settlements.
const (
	Acked       Settlement = "acked"
	Nacked      Settlement = "nacked"
	Abandoned   Settlement = "abandoned"   // the handler did not end in the time of the drain
	Undelivered Settlement = "undelivered" // nobody took the message before the subscription ended
)

// A publishSpan is what a tracer is to be told of one message.
type publishSpan struct {
	tracer PublishTracer
	ctx    context.Context // that of StartPublish
	id     string          // which the service gave the message
}

// end tells the tracer what became of the message.
func (s *publishSpan) end(err error) {
	if s == nil {
		return
	}
	p := Published{Err: err}
	if err == nil {
		p.MessageID = s.id
	}
	s.tracer.EndPublish(s.ctx, p)
}

// sentAs notes the service's id of the message.
func (s *publishSpan) sentAs(id *string) {
	if s != nil && id != nil {
		s.id = *id
	}
}

// The metadata of W3C's trace context and baggage, by which others know it too.
const (
	keyTraceParent = "traceparent"
	keyTraceState  = "tracestate"
	keyBaggage     = "baggage"
)

// carried returns what a tracer had a message carry packed: an edit or a redrive
// must not make several attributes of it.
func (p *packed) carried() map[string]string {
	if p == nil {
		return nil
	}
	carrier := map[string]string{}
	for _, key := range []string{keyTraceParent, keyTraceState, keyBaggage} {
		if value, ok := p.Text[key]; ok {
			carrier[key] = value
		}
	}
	if _, ok := carrier[keyTraceParent]; len(carrier) == 1 && ok {
		return nil // packed because there was no room
	}
	return carrier
}

// prepareTraced prepares the message, and tells the tracer.
func (o *outlet) prepareTraced(msg *message.Message) (*outgoing, error) {
	ctx, carrier := o.tracer.StartPublish(msg.Context(), o.endpoint, msg)
	span := &publishSpan{tracer: o.tracer, ctx: ctx}
	out, err := o.prepare(ctx, msg, carrier)
	if err != nil {
		span.end(err)
		return nil, err
	}
	out.span = span
	return out, nil
}

// request sends the batch once.
func (o *outlet) request(ctx context.Context, batch []*outgoing) ([]error, error) {
	if o.tracer == nil {
		return o.target.send(ctx, batch)
	}
	messages := make([]context.Context, len(batch))
	for i, out := range batch {
		messages[i] = out.span.ctx
	}
	ctx = o.tracer.StartSend(ctx, o.endpoint, messages)
	errs, err := o.target.send(ctx, batch)
	r := Requested{Address: o.target.where(), Errs: errs}
	if err != nil {
		r.Errs = make([]error, len(batch))
		for i := range r.Errs {
			r.Errs[i] = err
		}
	}
	o.tracer.EndSend(ctx, r)
	return errs, err
}

// traceReceive tells the tracer of a receive.
func (s *subscription) traceReceive(began, ended time.Time, all []*held, err error) {
	if s.tracer == nil || len(all) == 0 && err == nil {
		return
	}
	r := Received{Endpoint: s.endpoint, QueueURL: *s.url.Load(), Began: began, Ended: ended, Err: err}
	if ended.IsZero() {
		r.Ended = time.Now()
	}
	for _, h := range all {
		r.Messages = append(r.Messages, h.message)
	}
	s.tracer.TraceReceive(r)
}

// startProcess tells the tracer that a message is about to be delivered.
func (s *subscription) startProcess(h *held) {
	if s.tracer == nil {
		return
	}
	ctx := s.tracer.StartProcess(h.message)
	h.process = &ctx
	h.message.SetContext(ctx)
}

// endProcess tells the tracer how a message is settled.
func (s *subscription) endProcess(h *held, how Settlement) {
	if h.process == nil {
		return
	}
	p := Processed{Settlement: how, Lost: h.lost.Load()}
	p.Reason, p.Err = h.delivery.told()
	s.tracer.EndProcess(*h.process, p)
	h.process = nil
}
