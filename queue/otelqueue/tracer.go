package otelqueue

import (
	"context"
	"fmt"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/queue"
)

// scope is the name of the instrumentation.
const scope = "github.com/waybill-dev/waybill/queue/otelqueue"

// A Config configures a [Tracer].
type Config struct {
	// TracerProvider makes the spans. Defaults to otel.GetTracerProvider().
	TracerProvider trace.TracerProvider

	// Propagator says what messages carry. Defaults to
	// otel.GetTextMapPropagator() as it is at the time of New, and where the
	// program has set none to W3C's trace context, without baggage.
	Propagator propagation.TextMapPropagator

	// NewTrace reports whether the handling of a received message begins a
	// trace of its own, which links to the one that the message was created
	// in. A message that has waited for a day does better so: few backends
	// show a trace that goes on after its end was written.
	//
	//	func(msg *message.Message) bool {
	//		d := queue.FromContext(msg.Context())
	//		return d.Age() > time.Hour || !d.Due.IsZero()
	//	}
	//
	// Defaults to never.
	NewTrace func(msg *message.Message) bool

	// NoCreate leaves out the span of each message that is published: it then
	// carries the span that Publish was called in, and nothing where there is
	// none.
	NoCreate bool
}

// A Tracer makes spans of what queue.Publisher and queue.Subscriber do: it is the
// Tracer of their configurations. It is safe for concurrent use, and needs no
// closing.
type Tracer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	fields     []string // of the metadata
	newTrace   func(*message.Message) bool
	noCreate   bool
}

var (
	_ queue.PublishTracer   = (*Tracer)(nil)
	_ queue.SubscribeTracer = (*Tracer)(nil)
)

// New returns a tracer.
func New(config Config) *Tracer {
	t := &Tracer{propagator: config.Propagator, newTrace: config.NewTrace, noCreate: config.NoCreate}
	if config.TracerProvider == nil {
		config.TracerProvider = otel.GetTracerProvider()
	}
	t.tracer = config.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	if t.propagator == nil {
		t.propagator = otel.GetTextMapPropagator()
		if len(t.propagator.Fields()) == 0 {
			t.propagator = propagation.TraceContext{}
		}
	}
	t.fields = append(propagation.TraceContext{}.Fields(), t.propagator.Fields()...)
	slices.Sort(t.fields)
	t.fields = slices.Compact(t.fields)
	if t.newTrace == nil {
		t.newTrace = func(*message.Message) bool { return false }
	}
	return t
}

// Middleware tells a Tracer more of what runs under watermill's Router, which
// does not say why it nacks, and publishes in no context: what the handler
// returns is published in the span of the message that it was for, with its
// baggage, and a failure says why. A pipeline does both by itself; there, Middleware among
// pipeline.Config.Middleware adds the failures that a retry in place has mended.
func (t *Tracer) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx := msg.Context()
		span, bag := trace.SpanFromContext(ctx), baggage.FromContext(ctx)
		outs, err := h(msg)
		recordError(span, err)
		queue.FromContext(ctx).Failed(err)
		for _, out := range outs {
			if out == nil || spanContext(out.Context()).IsValid() {
				continue
			}
			its := trace.ContextWithSpan(out.Context(), span)
			if baggage.FromContext(its).Len() == 0 {
				its = baggage.ContextWithBaggage(its, bag)
			}
			out.SetContext(its)
		}
		return outs, err
	}
}

// recordError is the span's RecordError, with a bound to the text: errors quote
// what they are about.
func recordError(span trace.Span, err error) {
	if err == nil || !span.IsRecording() {
		return
	}
	span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(
		semconv.ExceptionType(fmt.Sprintf("%T", err)), semconv.ExceptionMessage(short(err.Error())),
	))
}

// A key of what a context carries.
type key int

const (
	publishKey key = iota // what is known of a message that is published
	arrivalKey            // its arrival, of one that is received
)

// An arrival is what is known of a received message.
type arrival struct {
	created trace.SpanContext
	receive trace.SpanContext
}

func spanContext(ctx context.Context) trace.SpanContext { return trace.SpanContextFromContext(ctx) }
