package otelqueue

import (
	"errors"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// maxXRay bounds the X-Ray header that is read: AWS's own have under 200 bytes.
const maxXRay = 1 << 10

// parseXRay reads an X-Ray trace header, as in
//
//	Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1
//
// It returns false for one that is malformed, and for one without a parent. A
// trace that X-Ray has not decided on ("?") is not sampled: a context of
// OpenTelemetry's knows nothing between.
func parseXRay(header string) (trace.SpanContext, bool) {
	if header == "" || len(header) > maxXRay {
		return trace.SpanContext{}, false
	}
	var c trace.SpanContextConfig
	seen := map[string]bool{}
	for field := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Root", "Parent", "Sampled":
			if seen[name] {
				return trace.SpanContext{}, false
			}
			seen[name] = true
		}
		var err error
		switch name {
		case "Root":
			c.TraceID, err = xrayTraceID(value)
		case "Parent":
			c.SpanID, err = trace.SpanIDFromHex(value)
		case "Sampled":
			c.TraceFlags = c.TraceFlags.WithSampled(value == "1")
		}
		if err != nil {
			return trace.SpanContext{}, false
		}
	}
	c.Remote = true
	sc := trace.NewSpanContext(c)
	return sc, sc.IsValid()
}

// xrayTraceID reads the version, the time and the number of a trace. The last two
// are OpenTelemetry's id.
func xrayTraceID(root string) (trace.TraceID, error) {
	id, ok := strings.CutPrefix(root, "1-")
	if !ok || len(id) != 33 || id[8] != '-' {
		return trace.TraceID{}, errXRay
	}
	return trace.TraceIDFromHex(id[:8] + id[9:])
}

var errXRay = errors.New("not 1-, 8 digits, - and 24 digits")
