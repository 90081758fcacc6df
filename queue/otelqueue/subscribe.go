package otelqueue

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/queue"
)

// TraceReceive makes the span of a receive, the root of a trace that links to the
// contexts of all messages, and gives each message its context.
func (t *Tracer) TraceReceive(r queue.Received) {
	arrivals := make([]arrival, len(r.Messages))
	var links []trace.Link
	for i, msg := range r.Messages {
		ctx, created := t.created(msg.Context(), msg.Metadata, queue.FromContext(msg.Context()))
		t.strip(ctx, msg.Metadata, created)
		msg.SetContext(ctx)
		if arrivals[i].created = created; created.IsValid() {
			links = append(links, trace.Link{SpanContext: created, Attributes: linked(msg)})
		}
	}
	name, _ := r.Endpoint.Resource()
	_, span := t.tracer.Start(context.Background(), "receive "+name, trace.WithTimestamp(r.Began),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(links...),
		attributesOf(r.Endpoint, name, "receive", semconv.MessagingOperationTypeReceive,
			semconv.MessagingBatchMessageCount(len(r.Messages)), semconv.AWSSQSQueueURL(r.QueueURL)))
	fail(span, r.Err, "")
	span.End(trace.WithTimestamp(r.Ended))
	for i, msg := range r.Messages {
		arrivals[i].receive = span.SpanContext()
		msg.SetContext(context.WithValue(msg.Context(), arrivalKey, arrivals[i]))
	}
}

// linked tells the links of a receive apart.
func linked(msg *message.Message) []attribute.KeyValue {
	d := queue.FromContext(msg.Context())
	if d == nil {
		return nil
	}
	return []attribute.KeyValue{semconv.MessagingMessageID(d.MessageID)}
}

// StartProcess begins the span of a message's handling: a child of the message's
// context, or the root of a trace, with links to that context and to the receive.
func (t *Tracer) StartProcess(msg *message.Message) context.Context {
	ctx := msg.Context()
	a, _ := ctx.Value(arrivalKey).(arrival)
	var links []trace.Link
	for _, sc := range []trace.SpanContext{a.created, a.receive} {
		if sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	d := queue.FromContext(ctx)
	name, _ := d.Endpoint.Resource()
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		attributesOf(d.Endpoint, name, "process", semconv.MessagingOperationTypeProcess, aboutMessage(msg,
			semconv.MessagingMessageID(d.MessageID), semconv.AWSSQSQueueURL(d.QueueURL), attribute.Int(attrReceiveCount, d.ReceiveCount))...)}
	if t.newTrace(msg) {
		options = append(options, trace.WithNewRoot())
	}
	ctx, _ = t.tracer.Start(ctx, "process "+name, options...)
	return ctx
}

// EndProcess ends the span of a message's handling. It has failed if the message
// was not acked, and also if it was acked for a dead letter.
func (t *Tracer) EndProcess(ctx context.Context, p queue.Processed) {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(attribute.String(attrSettlement, string(p.Settlement)))
	if p.Lost {
		span.SetAttributes(attribute.Bool(attrLost, true))
	}
	reason := p.Reason
	if reason == "" {
		reason = string(p.Settlement)
	}
	if p.Settlement == queue.Acked || p.Settlement == queue.Undelivered {
		reason = ""
	}
	fail(span, p.Err, reason)
	span.End()
}
