package queue

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"
)

// TestWireRoundTrip checks that every message survives its wire form, and that
// the wire form is one that SQS takes.
func TestWireRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringN(0, 40, -1),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }),
			rapid.SampledFrom([]string{"", " ", "\x00", "\ufffe", "\uffff", "\ufffd", "\xff", "(empty)", "a\r\n\tb", `"\<&>`}),
		)
		key := rapid.OneOf(
			rapid.StringMatching(`[a-zA-Z0-9_.-]{1,12}`),
			text,
			rapid.SampledFrom([]string{AttrUUID, AttrEncoding, AttrMetadata, KeyFailure, "AWS.x", "amazon.y", ".a", "a.", "a..b", strings.Repeat("k", 256)}),
		)
		msg := message.NewMessage(rapid.StringMatching(`[!-~]{1,40}`).Draw(t, "uuid"), []byte(text.Draw(t, "payload")))
		msg.Metadata = rapid.MapOfN(key, text, 0, 20).Draw(t, "metadata")
		for _, k := range []string{KeyTypes, KeyDelay, KeyGroup, KeyDeduplication} {
			delete(msg.Metadata, k)
		}
		types := map[string]string{}
		for _, k := range slices.Sorted(maps.Keys(msg.Metadata)) {
			if !nativeName(k) || !rapid.Bool().Draw(t, "typed") {
				continue
			}
			types[k] = rapid.SampledFrom([]string{"Number", "Number.int", "Binary", "String.uuid"}).Draw(t, "type")
			if baseType(types[k]) == typeNumber {
				msg.Metadata[k] = fmt.Sprint(rapid.Float64().Draw(t, "number"))
			}
		}
		if len(types) > 0 {
			msg.Metadata[KeyTypes] = formatTypes(types)
		}
		pinned := rapid.SliceOfN(key, 0, 3).Draw(t, "pinned")

		w, err := encode(msg, pinned)
		if err != nil {
			t.Fatal(err)
		}
		checkWire(t, w)
		got, err := decode(w, "other", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equals(msg) {
			t.Fatalf("got\n%q %q %q\nwant\n%q %q %q", got.UUID, got.Payload, got.Metadata, msg.UUID, msg.Payload, msg.Metadata)
		}
	})
}

var wireName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)

// checkWire checks what SQS demands of a message.
func checkWire(t interface{ Fatalf(string, ...any) }, w wireMessage) {
	if w.body == "" || !allowedText(w.body) {
		t.Fatalf("body %q", w.body)
	}
	if len(w.attributes) > maxAttributes {
		t.Fatalf("%d attributes: %q", len(w.attributes), w.attributes)
	}
	names := map[string]bool{}
	for _, a := range w.attributes {
		name := a.name
		if names[name] {
			t.Fatalf("there are two attributes %q", name)
		}
		names[name] = true
		if !wireName.MatchString(name) || strings.Contains(name, "..") || strings.Trim(name, ".") != name ||
			strings.HasPrefix(strings.ToLower(name), "aws.") || strings.HasPrefix(strings.ToLower(name), "amazon.") {
			t.Fatalf("attribute name %q", name)
		}
		if a.value == "" || !typeRule.MatchString(a.dataType) || !a.binary() && !allowedText(a.value) {
			t.Fatalf("attribute %s: %q", name, a)
		}
	}
}

func TestEncode(t *testing.T) {
	metadata := func(n int) message.Metadata {
		m := message.Metadata{}
		for i := range n {
			m[fmt.Sprintf("key-%02d", i)] = "value"
		}
		return m
	}
	with := func(m message.Metadata, kv ...string) message.Metadata {
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	tests := []struct {
		name     string
		payload  string
		metadata message.Metadata
		pinned   []string
		body     string
		native   []string // some of the attributes that there are
		absent   []string
		count    int
	}{
		{name: "plain", payload: "hello", metadata: metadata(2), body: "hello", native: []string{AttrUUID, "key-00", "key-01"}, count: 3},
		{name: "nine fit", payload: "x", metadata: metadata(9), body: "x", native: []string{"key-08"}, absent: []string{AttrMetadata}, count: 10},
		{name: "ten do not", payload: "x", metadata: metadata(10), body: "x", native: []string{"key-07", AttrMetadata}, absent: []string{"key-08", "key-09"}, count: 10},
		{name: "pinned", payload: "x", metadata: metadata(12), pinned: []string{"key-11"}, body: "x", native: []string{"key-11", "key-06"}, absent: []string{"key-07"}, count: 10},
		{name: "numbers before others", payload: "x", metadata: with(metadata(12), "zfare", "50", KeyTypes, "zfare=Number"), body: "x", native: []string{"zfare"}, absent: []string{"key-07", KeyTypes}, count: 10},
		{name: "own keys give way", payload: "x", metadata: with(metadata(8), KeyRedriveID, "r", KeyCausation, "c"), body: "x", native: []string{"key-07", AttrMetadata}, absent: []string{KeyRedriveID, KeyCausation}, count: 10},
		{name: "a failure does not", payload: "x", metadata: with(metadata(12), KeyFailure, "{}"), pinned: pinnedKeys(Endpoint{}), body: "x", native: []string{KeyFailure}, count: 10},
		{name: "empty", metadata: metadata(9), body: "(empty)", native: []string{AttrEncoding, AttrMetadata}, count: 10},
		{name: "binary", payload: "\x00\xff", body: "AP8=", native: []string{AttrEncoding}, count: 2},
		{name: "refused character", payload: "a\ufffeb", body: "Ye+/vmI=", native: []string{AttrEncoding}, count: 2},
		{name: "empty value", payload: "x", metadata: message.Metadata{"a": "", "b": "c"}, body: "x", native: []string{"b", AttrMetadata}, absent: []string{"a"}, count: 3},
		{name: "parameters are not sent", payload: "x", metadata: message.Metadata{KeyDelay: "5s", KeyGroup: "g", KeyDeduplication: "d"}, body: "x", count: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := message.NewMessage("u", []byte(tt.payload))
			msg.Metadata = tt.metadata
			w, err := encode(msg, tt.pinned)
			if err != nil {
				t.Fatal(err)
			}
			checkWire(t, w)
			if w.body != tt.body || len(w.attributes) != tt.count {
				t.Fatalf("body %q and %d attributes, want %q and %d: %q", w.body, len(w.attributes), tt.body, tt.count, w.attributes)
			}
			for _, name := range tt.native {
				if !w.attributes.has(name) {
					t.Errorf("no attribute %s: %q", name, w.attributes)
				}
			}
			for _, name := range tt.absent {
				if w.attributes.has(name) {
					t.Errorf("attribute %s: %q", name, w.attributes)
				}
			}
		})
	}
}

// TestPackedFormat holds the format of the packed attribute, which other
// languages read.
func TestPackedFormat(t *testing.T) {
	msg := message.NewMessage("u", []byte("x"))
	msg.Metadata = message.Metadata{"empty": "", "two words": "<&>\u2028\x01", "raw": "\xff", "photo": "", KeyTypes: "photo=Binary"}
	w, err := encode(msg, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"s":{"empty":"","photo":""},"b":{"cmF3":"/w==","dHdvIHdvcmRz":"PCY+4oCoAQ=="},"t":{"photo":"Binary"}}`
	if got := w.attributes.value(AttrMetadata); got != want {
		t.Fatalf("packed\n%s\nwant\n%s", got, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		name     string
		uuid     string
		metadata message.Metadata
		want     string
	}{
		{"uuid", "a\x00", nil, "UUID"},
		{"not a number", "u", message.Metadata{"fare": "$20", KeyTypes: "fare=Number"}, `metadata fare is declared a Number in Waybill-Types, and "$20" is none`},
		{"types", "u", message.Metadata{KeyTypes: "fare"}, `"fare" does not give an attribute's type; want for example fare=Number`},
		{"unknown type", "u", message.Metadata{KeyTypes: "fare=Decimal"}, `"fare=Decimal"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := message.NewMessage(tt.uuid, []byte("x"))
			msg.Metadata = tt.metadata
			_, err := encode(msg, nil)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestDecodeBroken(t *testing.T) {
	str := func(kv ...string) attributes {
		all := attributes{{AttrUUID, attribute{typeString, "u"}}, {"key", attribute{typeString, "value"}}}
		for i := 0; i < len(kv); i += 2 {
			all.add(kv[i], attribute{typeString, kv[i+1]})
		}
		return all
	}
	tests := []struct {
		name string
		wire wireMessage
		want string
		raw  message.Metadata
	}{
		{"base64", wireMessage{"!!", str(AttrEncoding, "base64")}, "Waybill-Encoding", message.Metadata{KeyRawEncoding: "base64"}},
		{"base64 with line break", wireMessage{"AP8=\n\n ", str(AttrEncoding, "base64")}, "Waybill-Encoding", message.Metadata{KeyRawEncoding: "base64"}},
		{"empty that is not", wireMessage{"{}", str(AttrEncoding, "empty")}, "not (empty)", message.Metadata{KeyRawEncoding: "empty"}},
		{"unknown encoding", wireMessage{"x", str(AttrEncoding, "zstd")}, `"zstd"; want base64, empty or claim`, message.Metadata{KeyRawEncoding: "zstd"}},
		{"packed is not JSON", wireMessage{"x", str(AttrMetadata, "{")}, "Waybill-Metadata", message.Metadata{KeyRawMetadata: "{"}},
		{"packed without version", wireMessage{"x", str(AttrMetadata, "{}")}, "version is 0", message.Metadata{KeyRawMetadata: "{}"}},
		{"packed later version", wireMessage{"x", str(AttrMetadata, `{"v":2}`)}, "version is 2", message.Metadata{KeyRawMetadata: `{"v":2}`}},
		{"packed base64 key", wireMessage{"x", str(AttrMetadata, `{"v":1,"b":{"!":""}}`)}, `key "!"`, message.Metadata{KeyRawMetadata: `{"v":1,"b":{"!":""}}`}},
		{"packed base64 value", wireMessage{"x", str(AttrMetadata, `{"v":1,"b":{"YQ==":"!"}}`)}, `value of "a"`, message.Metadata{KeyRawMetadata: `{"v":1,"b":{"YQ==":"!"}}`}},
		{"body and packed", wireMessage{"!!", str(AttrEncoding, "base64", AttrMetadata, "{")}, "Waybill-Encoding", message.Metadata{KeyRawEncoding: "base64", KeyRawMetadata: "{"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg, err := decode(tt.wire, "id", nil)
			if !errors.Is(err, ErrUndecodable) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want ErrUndecodable with %q", err, tt.want)
			}
			want := message.Metadata{"key": "value"}
			maps.Copy(want, tt.raw)
			if string(msg.Payload) != tt.wire.body || !maps.Equal(msg.Metadata, want) || msg.UUID != "u" {
				t.Fatalf("got %s %q %q, want the body as it came and %q", msg.UUID, msg.Payload, msg.Metadata, want)
			}
			// It can be sent on as it is, to a dead-letter queue.
			w, err := encode(msg, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkWire(t, w)
			if again, err := decode(w, "", nil); err != nil || !again.Equals(msg) {
				t.Fatalf("sent on, it arrives as %q %q, %v", again.Payload, again.Metadata, err)
			}
		})
	}
}

// TestDecodeForeign checks messages of senders that know nothing of this
// package.
func TestDecodeForeign(t *testing.T) {
	w := wireMessage{"body", attributes{
		{"text", attribute{typeString, "t"}},
		{"fare", attribute{typeNumber, "20.5"}},
		{"photo", attribute{typeBinary, "\xff\x00"}},
		{"labelled", attribute{"String.uuid", "u"}},
		{KeyDelay, attribute{typeString, "10s"}},
	}}
	msg, err := decode(w, "message-id", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := message.Metadata{"text": "t", "fare": "20.5", "photo": "\xff\x00", "labelled": "u",
		KeyTypes: "fare=Number,labelled=String.uuid,photo=Binary"}
	if msg.UUID != "message-id" || !maps.Equal(msg.Metadata, want) {
		t.Fatalf("got %s %q, want %q", msg.UUID, msg.Metadata, want)
	}
	again, err := encode(msg, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.attributes.remove(KeyDelay)
	w.attributes.set(AttrUUID, attribute{typeString, "message-id"})
	byName := func(a, b namedAttribute) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(w.attributes, byName)
	slices.SortFunc(again.attributes, byName)
	if !slices.Equal(again.attributes, w.attributes) {
		t.Fatalf("sent on with %q, want the types kept: %q", again.attributes, w.attributes)
	}
}

func TestSetNumber(t *testing.T) {
	msg := message.NewMessage("u", nil)
	SetNumber(msg, "fare", 50.25)
	SetNumber(msg, "distance", 1<<62)
	SetNumber(msg, "large", 1e21)
	want := message.Metadata{"fare": "50.25", "distance": "4611686018427387904", "large": "1000000000000000000000",
		KeyTypes: "distance=Number,fare=Number,large=Number"}
	if !maps.Equal(msg.Metadata, want) {
		t.Fatalf("got %q, want %q", msg.Metadata, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("body", "base64", `{"v":1,"s":{"a":"b"},"b":{"YQ==":"Yg=="},"t":{"a":"Number"}}`, "k", "v", "String")
	f.Add("(empty)", "empty", "", "fare", "1", "Number")
	f.Add(`{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:r:1:t","Message":"x","Timestamp":"t","MessageAttributes":{"a":{"Type":"Binary","Value":"!"}}}`, "", "", "", "", "")
	f.Fuzz(func(t *testing.T, body, encoding, metadata, key, value, dataType string) {
		w := wireMessage{body: body}
		for name, a := range map[string]attribute{AttrEncoding: {typeString, encoding}, AttrMetadata: {typeString, metadata}, key: {dataType, value}} {
			if a.value != "" && name != "" {
				w.attributes.set(name, a)
			}
		}
		w, _, _, damage := openEnvelope(w)
		msg, err := decode(w, "id", damage)
		if msg == nil {
			t.Fatal("no message")
		}
		if err != nil && (!errors.Is(err, ErrUndecodable) || string(msg.Payload) != w.body) {
			t.Fatalf("payload %q and error %v, want the raw body and ErrUndecodable", msg.Payload, err)
		}
		// Whatever came can be sent on, unless it claims to be a number.
		again, encodeErr := encode(msg, nil)
		if encodeErr != nil {
			if !errors.Is(encodeErr, ErrInvalid) {
				t.Fatal(encodeErr)
			}
			return
		}
		checkWire(t, again)
		back, err := decode(again, "", nil)
		if err != nil || !back.Equals(msg) {
			t.Fatalf("%q %q, %v; want %q %q", back.Payload, back.Metadata, err, msg.Payload, msg.Metadata)
		}
	})
}
