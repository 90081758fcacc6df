package otelqueue

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/queue"
)

// StartPublish begins the span of a message, whose context it carries. One whose
// metadata has a context already keeps that, and gets no span.
func (t *Tracer) StartPublish(ctx context.Context, to queue.Endpoint, msg *message.Message) (context.Context, map[string]string) {
	parent := spanContext(ctx)
	if t.carries(msg.Metadata) {
		if _, own := t.created(ctx, msg.Metadata, nil); own.IsValid() {
			return context.WithValue(trace.ContextWithRemoteSpanContext(ctx, own), publishKey, published{parent: parent}), nil
		}
	}
	p := published{parent: parent}
	if !t.noCreate {
		name, _ := to.Resource()
		ctx, p.span = t.tracer.Start(ctx, "create "+name, trace.WithSpanKind(trace.SpanKindProducer),
			attributesOf(to, name, "create", semconv.MessagingOperationTypeCreate, aboutMessage(msg)...))
	}
	return context.WithValue(ctx, publishKey, p), t.inject(ctx, msg.Metadata)
}

// published is what is known of a message that is published.
type published struct {
	parent trace.SpanContext // in which Publish was called
	span   trace.Span        // the message's own, or nil
}

// EndPublish ends the span of a message.
func (t *Tracer) EndPublish(ctx context.Context, p queue.Published) {
	own, _ := ctx.Value(publishKey).(published)
	if own.span == nil {
		return
	}
	if p.MessageID != "" {
		own.span.SetAttributes(semconv.MessagingMessageID(p.MessageID))
	}
	fail(own.span, p.Err, "")
	own.span.End()
}

// StartSend begins the span of a request. It links to the contexts of all its
// messages. It is a child of the span that they were all published in, or the
// root of a trace where there is no such span.
func (t *Tracer) StartSend(ctx context.Context, to queue.Endpoint, messages []context.Context) context.Context {
	var links []trace.Link
	var parent trace.SpanContext
	for i, m := range messages {
		if created := spanContext(m); created.IsValid() {
			links = append(links, trace.Link{SpanContext: created})
		}
		own, _ := m.Value(publishKey).(published)
		if i == 0 {
			parent = own.parent
		} else if !parent.Equal(own.parent) {
			parent = trace.SpanContext{}
		}
	}
	operation := "send"
	if to.IsTopic() {
		operation = "publish"
	}
	name, _ := to.Resource()
	ctx, _ = t.tracer.Start(trace.ContextWithSpanContext(ctx, parent), operation+" "+name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(links...),
		attributesOf(to, name, operation, semconv.MessagingOperationTypeSend, semconv.MessagingBatchMessageCount(len(messages))))
	return ctx
}

// EndSend ends the span of a request. It has failed if one of its messages has.
func (t *Tracer) EndSend(ctx context.Context, r queue.Requested) {
	span := trace.SpanFromContext(ctx)
	var failed []error
	for _, err := range r.Errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	if r.Address != "" {
		span.SetAttributes(address(r.Address))
	}
	if len(failed) > 0 {
		span.SetAttributes(attribute.Int(attrFailed, len(failed)))
		fail(span, failed[0], "")
	}
	span.End()
}

// fail marks a span as failed where there is an error or a reason.
func fail(span trace.Span, err error, reason string) {
	switch {
	case err != nil:
		span.SetAttributes(errorType(err))
		span.SetStatus(codes.Error, short(err.Error()))
	case reason != "":
		span.SetAttributes(semconv.ErrorTypeOther)
		span.SetStatus(codes.Error, short(reason))
	}
}
