package otelqueue

import (
	"context"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/queue"
)

// maxCarried bounds each value that is read from a message: W3C's limit of a
// baggage, which is the longest.
const maxCarried = 8 << 10

// Metadata of W3C's.
const (
	keyTraceParent = "traceparent"
	keyTraceState  = "tracestate"
	keyBaggage     = "baggage"
)

// A bounded carrier reads metadata and hides what is too long.
type bounded message.Metadata

func (m bounded) Get(key string) string {
	if value := m[key]; len(value) <= maxCarried {
		return value
	}
	return ""
}

func (m bounded) Set(key, value string) { m[key] = value }

func (m bounded) Keys() []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// inject returns what a message with that metadata carries of the context.
func (t *Tracer) inject(ctx context.Context, metadata message.Metadata) map[string]string {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	if len(carrier[keyTraceState]) > maxCarried || len(carrier[keyBaggage]) > maxCarried {
		delete(carrier, keyTraceState)
		delete(carrier, keyBaggage)
	}
	if _, ok := metadata[keyBaggage]; ok {
		delete(carrier, keyBaggage) // the word means other things, too
	}
	return carrier
}

// created returns ctx with the context that a message was created in, and that
// span, which is not valid if the message tells of none. What the propagator
// finds wins over a plain traceparent, and that over the header of X-Ray, which
// what is between may have written anew.
func (t *Tracer) created(ctx context.Context, metadata message.Metadata, d *queue.Delivery) (context.Context, trace.SpanContext) {
	// A span of whoever subscribed is not the message's.
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	ctx = baggage.ContextWithoutBaggage(ctx)
	if len(metadata) > 0 {
		ctx = t.propagator.Extract(ctx, bounded(metadata))
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		return ctx, sc
	}
	if metadata[keyTraceParent] != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, bounded(metadata))
		if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
			return ctx, sc
		}
	}
	if d == nil {
		return ctx, trace.SpanContext{}
	}
	if sc, ok := parseXRay(d.Trace); ok {
		return trace.ContextWithRemoteSpanContext(ctx, sc), sc
	}
	return ctx, trace.SpanContext{}
}

// carries reports whether the metadata may have a context.
func (t *Tracer) carries(metadata message.Metadata) bool {
	return len(metadata) > 0 && slices.ContainsFunc(t.fields, func(key string) bool { return key != keyBaggage && metadata[key] != "" })
}

// strip takes off a message what created has read, so that a message which is
// made of its metadata gets a context of its own. What only looks like it stays.
func (t *Tracer) strip(ctx context.Context, metadata message.Metadata, read trace.SpanContext) {
	for _, key := range t.fields {
		switch {
		case key == keyBaggage && baggage.FromContext(ctx).Len() == 0:
		case key != keyBaggage && !read.IsValid():
		default:
			delete(metadata, key)
		}
	}
}
