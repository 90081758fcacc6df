package dlq

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

const goodLine = `{"v":1,"id":"m1","message_id":"sqs-1","encoding":"text","body":"b","attributes":{"colour":{"type":"String","encoding":"text","value":"red"}}}`

// What a line says comes back as it was.
func TestLineExact(t *testing.T) {
	sent := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for _, raw := range []queue.RawMessage{
		{ID: "1", Body: "plain", Attributes: map[string]queue.RawAttribute{}},
		{ID: "2", Body: "\xff\x00binary", Attributes: map[string]queue.RawAttribute{
			"b": {Type: "Binary.x", Value: "\x00\xfe"}, "s": {Type: "String.y", Value: "<&>\u2028\n\""}, "n": {Type: "Number", Value: "1e9"}, "odd": {Type: "String", Value: "\xff"},
		}},
		{
			ID: "3", Body: `{"json":[1]}`, Attributes: map[string]queue.RawAttribute{}, Group: "g", Deduplication: "d", Sequence: "18850000000000000001", Trace: "Root=1",
			ReceiveCount: 4, SentAt: sent, FirstReceivedAt: sent.Add(time.Second), DeadLetterSource: "arn:aws:sqs:eu-west-1:1:q",
		},
	} {
		text, err := encodeLine("q", read(raw))
		if err != nil || bytes.Count(text, []byte("\n")) != 1 {
			t.Fatalf("%q, %v", text, err)
		}
		if _, got, err := decodeLine(text); err != nil || !reflect.DeepEqual(got, raw) {
			t.Errorf("got %+v, %v; want %+v", got, err, raw)
		}
	}
}

// The record of a failure is in a line as it is, also one that cannot be read.
func TestLineFailure(t *testing.T) {
	for record, want := range map[string]string{
		`{"v":9,"new":[1]}`: `"failure":{"v":9,"new":[1]}`,
		`{"v":1,`:           `"failure":"{\"v\":1,"`,
	} {
		raw := queue.RawMessage{ID: "1", Body: "b", Attributes: map[string]queue.RawAttribute{queue.KeyFailure: {Type: "String", Value: record}}}
		text, err := encodeLine("q", read(raw))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("got %s, %v; want %s", text, err, want)
		}
		if _, got, err := decodeLine(text); err != nil || !reflect.DeepEqual(got, raw) {
			t.Errorf("got %+v, %v; want %+v", got, err, raw)
		}
	}
}

// Errors name the field that is wrong.
func TestLineErrors(t *testing.T) {
	if _, _, err := decodeLine([]byte(goodLine)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, field, want string }{
		{`"v":1`, `"v":2`, "v", "it is 2, and this release reads 1"},
		{`"v":1`, `"v":2,"newer":1`, "v", "it is 2"},
		{`"v":1,`, ``, "v", "it is missing"},
		{`"id":"m1"`, `"identity":"m1"`, "identity", "no such field"},
		{`"id":"m1"`, `"id":7`, "id", "JSON number"},
		{`"sqs-1"`, `""`, "message_id", "missing or empty"},
		{`"sqs-1"`, `"` + strings.Repeat("x", 513) + `"`, "message_id", "513 bytes"},
		{`"body":"b"`, `"body":""`, "body", "missing or empty"},
		{`"body":"b"`, `"body":"` + strings.Repeat("x", 1<<20) + `"`, "body", "and SQS takes 1048576"},
		{`"encoding":"text","body":"b"`, `"encoding":"base64","body":"b"`, "body", "illegal base64"},
		{`"encoding":"text","body":"b"`, `"body":"b"`, "body", `its encoding is "", want "text" or "base64"`},
		{`"type":"String"`, `"type":"Text"`, "attributes.colour.type", `it is "Text", want String, Number or Binary`},
		{`"type":"String"`, `"type":"Binary"`, "attributes.colour.encoding", `want "base64"`},
		{`"value":"red"`, `"value":""`, "attributes.colour.value", "missing or empty"},
		{`"value":"red"`, `"valeur":"red"`, "valeur", "no such field"},
		{`"colour":`, `"":`, "attributes", "a name has 0 bytes"},
		{`"v":1`, `"v":1,"group":"` + strings.Repeat("x", 129) + `"`, "group", "129 bytes"},
		{`"v":1`, `"v":1,"receive_count":-1`, "receive_count", "want 0 or more"},
		{`"v":1`, `"v":1,"sent_at":"yesterday"`, "sent_at", "want a time"},
		{`}}}`, `}}`, "", "it is cut off"},
		{`}}}`, `}}} {}`, "", "there is more"},
		{`"b"`, "\"\xff\"", "", "not UTF-8"},
		{`{"v"`, `["v"`, "", "not a message in JSON"},
	} {
		text := strings.Replace(goodLine, tt.old, tt.new, 1)
		_, _, err := decodeLine([]byte(text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.new[:min(len(tt.new), 40)], err, tt.want)
			continue
		}
		if e := newLineError(7, err); e.Field != tt.field || !strings.HasPrefix(e.Error(), "line 7: ") {
			t.Errorf("%s: got the field %q, want %q: %v", tt.new[:min(len(tt.new), 40)], e.Field, tt.field, e)
		}
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	r := newLineReader(strings.NewReader("a\n\n  \r\nb\r\n" + long + "\nlast"))
	for _, want := range []struct {
		text   string
		number int
	}{{"a", 1}, {"b", 4}, {long, 5}, {"last", 6}} {
		text, number, err := r.next()
		if err != nil || string(text) != want.text || number != want.number {
			t.Fatalf("got %.20q, %d, %v; want %.20q, %d", text, number, err, want.text, want.number)
		}
	}
	if _, _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	r = newLineReader(io.MultiReader(strings.NewReader("a\n"), endless{}))
	_, _, _ = r.next()
	if _, _, err := r.next(); err == nil || !strings.Contains(err.Error(), "line 2 has more than") || cap(r.line) > 4*MaxLine {
		t.Errorf("got %v, and it holds %d bytes", err, cap(r.line))
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// No line brings the decoder down, and what it takes it writes alike.
func FuzzLine(f *testing.F) {
	f.Add([]byte(goodLine))
	f.Add([]byte(`{"v":1,"message_id":"1","encoding":"base64","body":"AP8=","attributes":{"n":{"type":"Binary.x","encoding":"base64","value":"AA=="}},"group":"g","sent_at":"2026-01-02T03:04:05.006Z","failure":{"v":1}}`))
	f.Add([]byte(`{"v":2,"new":true}`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, raw, err := decodeLine(text)
		if err != nil {
			if newLineError(1, err).Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		if x.Version != ExportVersion || raw.ID == "" || raw.Body == "" || raw.Size() > maxLineMessage {
			t.Fatalf("took %+v", raw)
		}
		if raw.SentAt.Year() < 0 || raw.SentAt.Year() > 9999 || raw.FirstReceivedAt.Year() < 0 || raw.FirstReceivedAt.Year() > 9999 {
			return // in UTC
		}
		again, err := encodeLine("q", read(raw))
		if err != nil {
			t.Fatalf("cannot write %+v: %v", raw, err)
		}
		_, got, err := decodeLine(again)
		if err != nil {
			t.Fatalf("%v in %s", err, again)
		}
		if !reflect.DeepEqual(got, raw) {
			t.Errorf("got %+v, want %+v", got, raw)
		}
	})
}
