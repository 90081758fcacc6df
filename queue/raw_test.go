package queue

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"
)

// TestWithMetadata checks, on messages of any writer, that changed metadata
// reads as it was set, that everything else reads as before, and that the
// message stays one that SQS takes.
func TestWithMetadata(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawRaw(t)
		before, _ := m.Decode()
		changes := rapid.MapOf(
			rapid.SampledFrom([]string{AttrUUID, KeyFailure, KeyRedriveID, KeyRedriveGeneration, "user0", "user1", "packed0"}),
			rapid.SampledFrom([]string{"", "x", "01ARZ3NDEKTSV4RRFFQ69G5FAV"}),
		).Draw(t, "changes")

		after, left := m.WithMetadata(changes)
		if after.Body != m.Body {
			t.Fatal("the body was changed")
		}
		if len(after.Attributes) > maxAttributes {
			t.Fatalf("%d attributes", len(after.Attributes))
		}
		want := maps.Clone(before.Metadata)
		uuid := before.UUID
		for key, value := range changes {
			switch {
			case value != "" && slices.Contains(left, key):
				if len(m.Attributes) < maxAttributes-len(changes) {
					t.Fatalf("no room for %s beside %d attributes", key, len(m.Attributes))
				}
				value = "" // it is not there
				fallthrough
			default:
				if key == AttrUUID {
					uuid = value
				} else if delete(want, key); value != "" {
					want[key] = value
				}
			}
		}
		got, err := after.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if uuid == "" {
			uuid = m.ID
		}
		if got.UUID != uuid {
			t.Fatalf("UUID %q, want %q", got.UUID, uuid)
		}
		forgetTypesOf(want, changes)
		forgetTypesOf(got.Metadata, changes)
		if !maps.Equal(got.Metadata, want) {
			t.Fatalf("metadata\n got %q\nwant %q", got.Metadata, want)
		}
		for name, a := range m.Attributes {
			if _, changed := changes[name]; changed || strings.HasPrefix(name, reservedPrefix) {
				continue
			}
			if after.Attributes[name] != a {
				t.Fatalf("attribute %s became %v, and was %v", name, after.Attributes[name], a)
			}
		}
	})
}

// forgetTypesOf takes changed keys off the list of types: they are Strings now.
func forgetTypesOf(metadata message.Metadata, changes map[string]string) {
	types, err := parseTypes(metadata[KeyTypes])
	if err != nil {
		panic(err)
	}
	for key := range changes {
		delete(types, key)
	}
	delete(metadata, KeyTypes)
	if text := formatTypes(types); text != "" {
		metadata[KeyTypes] = text
	}
}

// drawRaw draws a message of some writer: Waybill's, with much metadata or
// little, or another's.
func drawRaw(t *rapid.T) RawMessage {
	m := RawMessage{ID: "id", Group: rapid.SampledFrom([]string{"", "g"}).Draw(t, "group")}
	n := rapid.IntRange(0, 10).Draw(t, "attributes")
	if rapid.Bool().Draw(t, "foreign") {
		m.Body = "body"
		m.Attributes = map[string]RawAttribute{}
		for i := range n {
			m.Attributes[fmt.Sprint("user", i)] = rapid.SampledFrom([]RawAttribute{{"String", "v"}, {"Number.int", "7"}, {"Binary", "\xff\x00"}}).Draw(t, "attribute")
		}
		return m
	}
	msg := message.NewMessage("uuid", []byte(rapid.SampledFrom([]string{"body", "", "\xff"}).Draw(t, "body")))
	for i := range n {
		msg.Metadata.Set(fmt.Sprint("user", i), "v")
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "packed") {
		msg.Metadata.Set(fmt.Sprint("packed", i), rapid.SampledFrom([]string{"", "\xff"}).Draw(t, "value"))
	}
	for _, key := range []string{KeyFailure, KeyCausation, KeyRedriveID, KeyRedriveGeneration} {
		if rapid.Bool().Draw(t, key) {
			msg.Metadata.Set(key, "1")
		}
	}
	SetNumber(msg, "user0", 5)
	w, err := encode(msg, []string{KeyFailure})
	if err != nil {
		t.Fatal(err)
	}
	m.setWire(w)
	return m
}

// Ten attributes of another writer leave no room, and are not touched.
func TestWithMetadataHasNoRoom(t *testing.T) {
	m := RawMessage{ID: "id", Body: "body", Attributes: map[string]RawAttribute{}}
	for i := range maxAttributes {
		m.Attributes[fmt.Sprint("user", i)] = RawAttribute{"String", "v"}
	}
	after, left := m.WithMetadata(map[string]string{KeyRedriveID: "1", AttrUUID: "u"})
	if !maps.Equal(after.Attributes, m.Attributes) || !slices.Equal(left, []string{AttrUUID, KeyRedriveID}) {
		t.Errorf("left %q, attributes %v", left, after.Attributes)
	}
	// One place goes to the UUID, which cannot be packed.
	delete(m.Attributes, "user9")
	after, left = m.WithMetadata(map[string]string{KeyRedriveID: "1", AttrUUID: "u"})
	if after.Attributes[AttrUUID].Value != "u" || !slices.Equal(left, []string{KeyRedriveID}) {
		t.Errorf("left %q, attributes %v", left, after.Attributes)
	}
}

// SNS's envelope is known by the absence of attributes, so it gets none.
func TestWithMetadataLeavesEnvelopes(t *testing.T) {
	m := RawMessage{ID: "id", Body: `{"Type":"Notification","MessageId":"m1","TopicArn":"arn:aws:sns:us-east-1:123456789012:t","Message":"hello","Timestamp":"2026-01-01T00:00:00Z"}`}
	after, left := m.WithMetadata(map[string]string{KeyRedriveID: "1", KeyFailure: ""})
	if len(after.Attributes) != 0 || !slices.Equal(left, []string{KeyRedriveID}) {
		t.Errorf("left %q, attributes %v", left, after.Attributes)
	}
	if msg, err := after.Decode(); err != nil || string(msg.Payload) != "hello" || msg.UUID != "m1" {
		t.Errorf("%v, %v", msg, err)
	}
}

// An attribute of packed metadata that cannot be read is left as it is.
func TestWithMetadataKeepsWhatItCannotRead(t *testing.T) {
	m := RawMessage{ID: "id", Body: "body", Attributes: map[string]RawAttribute{AttrMetadata: {"String", `{"v":99}`}}}
	after, left := m.WithMetadata(map[string]string{KeyRedriveID: "1"})
	if after.Attributes[AttrMetadata] != m.Attributes[AttrMetadata] || after.Attributes[KeyRedriveID].Value != "1" || len(left) > 0 {
		t.Errorf("left %q, attributes %v", left, after.Attributes)
	}
}
