package queue

import (
	"fmt"
	"maps"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"
)

// TestCarrier holds what a message carries for a tracer to one attribute: with it
// there is at most one more, and all of it and of the metadata arrives.
func TestCarrier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msg := message.NewMessage("u", []byte(rapid.SampledFrom([]string{"body", "", "\xff"}).Draw(t, "body")))
		values := []string{"v"}
		if rapid.Bool().Draw(t, "odd") {
			values = []string{"v", "7", "", "\xff"}
		}
		for i := range rapid.IntRange(0, 12).Draw(t, "metadata") {
			msg.Metadata.Set(fmt.Sprint("zone", i), rapid.SampledFrom(values).Draw(t, "value"))
		}
		var pinned []string
		if rapid.Bool().Draw(t, "pinned") {
			pinned = []string{"zone11", "zone0"}
		}
		if rapid.Bool().Draw(t, "typed") {
			msg.Metadata.Set(KeyTypes, keyTraceParent+"=Binary")
		}
		carrier := map[string]string{keyTraceParent: "00-1"}
		for _, key := range []string{keyTraceState, keyBaggage} {
			if rapid.Bool().Draw(t, key) {
				carrier[key] = rapid.SampledFrom([]string{"a=1", "a=\x01"}).Draw(t, key+" value")
			}
		}
		before, err := encode(msg, pinned)
		if err != nil {
			t.Fatal(err)
		}
		after, err := encodeCarrying(msg, pinned, carrier)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(after.attributes); n > maxAttributes || n > len(before.attributes)+1 {
			t.Fatalf("%d attributes, and %d without the trace: %q", n, len(before.attributes), after.attributes)
		}
		if a, ok := after.attributes.get(keyTraceParent); ok && (len(carrier) > 1 || a.dataType != typeString) {
			t.Fatalf("an attribute of type %s with %q", a.dataType, carrier)
		}
		displaced := 0
		for _, a := range before.attributes {
			if !after.attributes.has(a.name) {
				displaced++
			}
		}
		if displaced > 1 {
			t.Fatalf("the trace has displaced %d attributes of %q", displaced, before.attributes)
		}
		for _, key := range pinned {
			if before.attributes.has(key) && !after.attributes.has(key) {
				t.Fatalf("the trace has displaced %s, which something filters on", key)
			}
		}
		got, err := decode(after, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		want := withCarrier(msg.Metadata, carrier)
		delete(want, KeyTypes)
		if !maps.Equal(got.Metadata, want) {
			t.Fatalf("decoded %q, want %q", got.Metadata, want)
		}
	})
}

// What is pinned stays an attribute, even if a tracer carries it with more.
func TestPinnedCarrier(t *testing.T) {
	w, err := encodeCarrying(message.NewMessage("u", []byte("x")), []string{keyTraceParent}, map[string]string{keyTraceParent: "00-1", keyBaggage: "a=1"})
	if err != nil {
		t.Fatal(err)
	}
	if a := w.attributes; len(a) != 3 || !a.has(AttrMetadata) || !a.has(AttrUUID) || !a.has(keyTraceParent) {
		t.Errorf("the attributes are %q", a)
	}
}
