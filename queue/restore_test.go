package queue

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"
)

// moved returns the message as package pipeline moves it to the queue of a
// dead-letter endpoint: received, and published with a record.
func moved(t interface{ Fatal(...any) }, m RawMessage, f Failure) RawMessage {
	msg, _ := m.Decode()
	delete(msg.Metadata, KeyFailure)
	f.MessageID = m.ID
	if err := f.Encode(msg); err != nil {
		t.Fatal(err)
	}
	w, err := encode(msg, pinnedKeys(Endpoint{}))
	if err != nil {
		t.Fatal(err)
	}
	dead := RawMessage{ID: "dead", Group: msg.Metadata.Get(KeyGroup)}
	dead.setWire(w)
	return dead
}

var anyQueue = &Queue{Endpoint: Endpoint{Name: "q", URL: "sqs://q"}}

// TestRestored checks that a message, of any writer and readable or not, is
// restored as it was before it was moved, to the type of each attribute, with a
// UUID where it had none and there is room.
func TestRestored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawRaw(t)
		delete(m.Attributes, KeyFailure)
		if rapid.Bool().Draw(t, "undecodable") && len(m.Attributes) < maxAttributes {
			m.Attributes[AttrMetadata] = rapid.SampledFrom([]RawAttribute{
				{"String", "{"}, {"String", `{"v":2,"s":["a"]}`}, {"Binary", "\xff"}, {"String.json", "[]"},
			}).Draw(t, "metadata")
		}
		// What the editor of a dead letter sees has gone through encode, which
		// is not so with messages of some Waybill that had a record.
		if msg, err := m.Decode(); err == nil && m.Attributes[AttrUUID].Value != "" {
			w, err := encode(msg, pinnedKeys(Endpoint{}))
			if err != nil {
				t.Fatal(err)
			}
			m.setWire(w)
		}
		got := moved(t, m, NewFailure(ReasonPermanent, fmt.Errorf("declined"))).Restored(anyQueue)
		want := maps.Clone(m.Attributes)
		if _, ok := want[AttrUUID]; !ok && len(want) < maxAttributes {
			want[AttrUUID] = RawAttribute{typeString, m.ID}
		}
		if got.Body != m.Body || got.Group != m.Group || !maps.Equal(got.Attributes, want) {
			t.Fatalf("restored\n%q %q %v\nwant\n%q %q %v", got.Body, got.Group, got.Attributes, m.Body, m.Group, want)
		}
		if again := got.Restored(anyQueue); !maps.Equal(again.Attributes, want) {
			t.Fatalf("restored twice: %v, want %v", again.Attributes, want)
		}
	})
}

// The UUID that a message had of its own stays, also where attributes are
// packed for it.
func TestRestoredKeepsTheUUID(t *testing.T) {
	msg := message.NewMessage("u", []byte("body"))
	for i := range 10 {
		msg.Metadata.Set(fmt.Sprint("key", i), "v")
	}
	w, err := encode(msg, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := RawMessage{ID: "id"}
	m.setWire(w)
	got := moved(t, m, NewFailure(ReasonPermanent, fmt.Errorf("declined"))).Restored(anyQueue)
	if !maps.Equal(got.Attributes, m.Attributes) || got.Attributes[AttrUUID].Value != "u" {
		t.Errorf("got %v, want %v", got.Attributes, m.Attributes)
	}
}

// TestRestoredClaim holds that a reference to a payload is one again, with the
// metadata of its message, whatever that has and its dead letter carries.
func TestRestoredClaim(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msg := message.NewMessage("u", []byte("payload"))
		for i := range rapid.IntRange(0, 14).Draw(t, "metadata") {
			msg.Metadata.Set(fmt.Sprint(rapid.SampledFrom([]string{"zone", "Waybill-X", "Alpha"}).Draw(t, "key"), i), rapid.SampledFrom([]string{"v", "", "\xff"}).Draw(t, "value"))
		}
		w, err := encodeClaim(msg, newClaim(msg.Payload), pinnedKeys(Endpoint{}), nil)
		if err != nil {
			t.Fatal(err)
		}
		m := RawMessage{ID: "id"}
		m.setWire(w)
		letter, err := m.Decode()
		if err == nil {
			t.Fatal("decoded")
		}
		if err := NewFailure(ReasonUndecodable, err).Encode(letter); err != nil {
			t.Fatal(err)
		}
		var carrier map[string]string
		if rapid.Bool().Draw(t, "traced") {
			carrier = map[string]string{keyTraceParent: "00-1", keyBaggage: "a=1"}
		}
		if w, err = encodeCarrying(letter, pinnedKeys(Endpoint{}), carrier); err != nil {
			t.Fatal(err)
		}
		dead := RawMessage{ID: "dead"}
		dead.setWire(w)
		got := dead.Restored(anyQueue)
		var e *claimedError
		back, err := got.Decode()
		if !errors.As(err, &e) || got.Body != m.Body || e.claim != newClaim(msg.Payload) {
			t.Fatalf("restored %q with %v", got.Body, got.Attributes)
		}
		delete(back.Metadata, KeyRawEncoding)
		for key := range carrier {
			delete(back.Metadata, key)
		}
		if !maps.Equal(back.Metadata, msg.Metadata) {
			t.Fatalf("restored %q, want %q; attributes %q", back.Metadata, msg.Metadata, got.Attributes)
		}
	})
}

// TestRestoredUndecodable holds that a message which could not be decoded is restored
// with what it could not be decoded by, whatever its dead letter carries for a tracer
// and however many attributes it has.
func TestRestoredUndecodable(t *testing.T) {
	trace := map[string]string{keyTraceParent: "00-1"}
	for name, carrier := range map[string]map[string]string{
		"untraced": nil, "traced": trace, "with baggage": {keyTraceParent: "00-1", keyBaggage: "a=1"},
	} {
		for more := range maxAttributes - 2 {
			m := RawMessage{ID: "id", Body: "{}", Attributes: map[string]RawAttribute{
				AttrUUID: {typeString, "u"}, AttrMetadata: {typeString, `{"v":2,"s":["x"]}`},
			}}
			for i := range more {
				m.Attributes[fmt.Sprint("key", i)] = RawAttribute{typeString, "v"}
			}
			msg, err := m.Decode()
			if err == nil {
				t.Fatal("decoded")
			}
			if err := NewFailure(ReasonUndecodable, err).Encode(msg); err != nil {
				t.Fatal(err)
			}
			w, err := encodeCarrying(msg, pinnedKeys(Endpoint{}), carrier)
			if err != nil {
				t.Fatal(err)
			}
			dead := RawMessage{ID: "dead"}
			dead.setWire(w)
			got := dead.Restored(anyQueue)
			delete(got.Attributes, keyTraceParent) // which takes room that there is
			if !maps.Equal(got.Attributes, m.Attributes) {
				t.Errorf("%s, %d more: restored %v, want %v", name, more, got.Attributes, m.Attributes)
			}
		}
	}
}

// An envelope of SNS's that could not be opened is one again.
func TestRestoredEnvelope(t *testing.T) {
	m := RawMessage{ID: "id", Attributes: map[string]RawAttribute{}, Body: `{"Type":"Notification","MessageId":"m1","TopicArn":"arn:aws:sns:us-east-1:123456789012:t","Message":"hello","Timestamp":"2026-01-01T00:00:00Z","MessageAttributes":{"photo":{"Type":"Binary","Value":"!"}}}`}
	_, before := m.Decode()
	got := moved(t, m, NewFailure(ReasonUndecodable, before)).Restored(anyQueue)
	if got.Body != m.Body || len(got.Attributes) != 0 {
		t.Fatalf("got %v", got.Attributes)
	}
	if _, err := got.Decode(); err == nil || err.Error() != before.Error() || !strings.Contains(err.Error(), "photo") {
		t.Errorf("it now reads with %v, and did with %v", err, before)
	}
}
