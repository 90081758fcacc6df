package otelqueue

import (
	"context"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/queue"
)

func TestParseXRay(t *testing.T) {
	const root, parent = "Root=1-5759e988-bd862e3fe1be46a994272793", "Parent=53995c3f42cd8ad8"
	for header, want := range map[string]string{
		root + ";" + parent + ";Sampled=1":                 "01",
		root + ";" + parent + ";Sampled=0":                 "00",
		root + ";" + parent + ";Sampled=?":                 "00",
		root + ";" + parent:                                "00",
		parent + "; Sampled=1; " + root:                    "01",
		root + ";" + parent + ";Sampled=1;Lineage=a:1|b:2": "01",
		"Self=1-2-3;" + root + ";" + parent + ";Sampled=1": "01",
		"":                                 "",
		root:                               "",
		parent:                             "",
		root + ";Parent=":                  "",
		root + ";" + parent[:12]:           "",
		root + ";" + root + ";" + parent:   "",
		"Root=2" + root[6:] + ";" + parent: "",
		strings.ReplaceAll(root, "-", "") + ";" + parent:      "",
		strings.ToUpper(root) + ";" + parent:                  "",
		"Root=1-00000000-000000000000000000000000;" + parent:  "",
		root + ";Parent=0000000000000000":                     "",
		"Root=1-5759e988-bd862e3fe1be46a99427279é;" + parent:  "",
		root + ";" + parent + ";" + strings.Repeat("x", 1000): "",
	} {
		sc, ok := parseXRay(header)
		if ok != (want != "") {
			t.Errorf("%q: %v, %v", header, sc, ok)
		}
		if ok && (sc.TraceID().String() != "5759e988bd862e3fe1be46a994272793" || sc.SpanID().String() != "53995c3f42cd8ad8" || sc.TraceFlags().String() != want || !sc.IsRemote()) {
			t.Errorf("%q: %+v", header, sc)
		}
	}
}

// FuzzXRay holds that what is taken for a header of X-Ray's is one, and is read
// right: written anew, it is read again as it was.
func FuzzXRay(f *testing.F) {
	f.Add("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
	f.Add("Root=1-5759e988-bd862e3fe1be46a994272793")
	f.Add(";;=;Root;Parent==;Sampled=?")
	f.Fuzz(func(t *testing.T, header string) {
		sc, ok := parseXRay(header)
		if !ok {
			return
		}
		id := sc.TraceID().String()
		sampled := "0"
		if sc.IsSampled() {
			sampled = "1"
		}
		again, ok := parseXRay("Root=1-" + id[:8] + "-" + id[8:] + ";Parent=" + sc.SpanID().String() + ";Sampled=" + sampled)
		if !ok || !again.Equal(sc) || !sc.IsValid() {
			t.Errorf("%q was read as %+v, and that as %+v", header, sc, again)
		}
	})
}

// FuzzCreated holds that whatever a message carries is read without a panic, and
// within bounds: what is found can be sent on, and is read again as it was.
func FuzzCreated(f *testing.F) {
	f.Add("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01", "a=1,b=2", "tenant=acme;p=1", "")
	f.Add("00-x", "=", "2 bags", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8")
	f.Add("cc-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-what", strings.Repeat("a=1,", 40), strings.Repeat("k=v,", 3000), "x")
	t := New(Config{Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})})
	f.Fuzz(func(tb *testing.T, parent, state, bag, header string) {
		metadata := message.Metadata{keyTraceParent: parent, keyTraceState: state, keyBaggage: bag}
		ctx, sc := t.created(context.Background(), metadata, &queue.Delivery{Trace: header})
		if !sc.Equal(trace.SpanContextFromContext(ctx)) {
			tb.Fatalf("the context has %+v, and not %+v", trace.SpanContextFromContext(ctx), sc)
		}
		t.strip(ctx, metadata, sc)
		if _, left := metadata[keyTraceParent]; left == sc.IsValid() {
			tb.Fatalf("read %+v, and left %q", sc, metadata)
		}
		carrier := t.inject(ctx, nil)
		size := 0
		for _, value := range carrier {
			size += len(value)
		}
		if size > 2*maxCarried+100 {
			tb.Fatalf("%d bytes are carried on", size)
		}
		again, got := t.created(context.Background(), message.Metadata(carrier), nil)
		if !got.Equal(sc) && sc.IsValid() {
			tb.Fatalf("%+v was carried on as %+v", sc, got)
		}
		if got, want := baggage.FromContext(again).Len(), baggage.FromContext(ctx).Len(); got != want {
			tb.Fatalf("a baggage of %d was carried on as one of %d", want, got)
		}
	})
}
