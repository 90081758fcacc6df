package queue

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"
)

type declined struct{ code string }

func (e *declined) Error() string { return "card declined: " + e.code }

func sampleFailure() Failure {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("CET", 3600))
	f := NewFailure(ReasonExhausted, fmt.Errorf("charge ride r-1: %w", &declined{"do-not-honour"}))
	f.Filter, f.Attempts, f.ReceiveCount = "charge", 15, 5
	f.FirstFailure, f.LastFailure, f.SentAt = at, at.Add(time.Minute), at.Add(-time.Minute)
	f.Endpoint, f.Source, f.MessageID = "fares", "sqs://dev-fares", "8c8c"
	return f
}

// TestFailureFormat holds the format of the record, which other languages and
// later versions read.
func TestFailureFormat(t *testing.T) {
	msg := message.NewMessage("u", nil)
	if err := sampleFailure().Encode(msg); err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"reason":"exhausted","message":"charge ride r-1: card declined: do-not-honour",` +
		`"chain":["*fmt.wrapError: charge ride r-1: card declined: do-not-honour","*queue.declined: card declined: do-not-honour"],` +
		`"filter":"charge","attempts":15,"receive_count":5,"first_failure":"2026-01-02T02:04:05.678Z","last_failure":"2026-01-02T02:05:05.678Z",` +
		`"endpoint":"fares","source":"sqs://dev-fares","message_id":"8c8c","sent_at":"2026-01-02T02:03:05.678Z"}`
	if got := msg.Metadata.Get("Waybill-Failure"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got, ok, err := DecodeFailure(msg.Metadata)
	if !ok || err != nil || got.FirstFailure.Unix() != sampleFailure().FirstFailure.Unix() || got.Reason != ReasonExhausted || len(got.Chain) != 2 {
		t.Errorf("read back %+v, %t, %v", got, ok, err)
	}
}

func TestDecodeFailure(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                            "decode failure from Waybill-Failure",
		`{}`:                           "it has no version",
		`{"v":2}`:                      "its version is 2, and this program reads up to 1",
		`{"v":1,"reason":"something"}`: "",
	} {
		_, ok, err := DecodeFailure(message.Metadata{KeyFailure: text})
		if !ok || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %t, %v; want %q", text, ok, err, want)
		}
	}
	if _, ok, err := DecodeFailure(message.Metadata{}); ok || err != nil {
		t.Errorf("none: %t, %v", ok, err)
	}
}

func TestErrorChain(t *testing.T) {
	inner := errors.New("inner")
	err := fmt.Errorf("outer: %w", errors.Join(fmt.Errorf("left: %w", inner), &declined{"x"}))
	want := []string{
		"*fmt.wrapError: outer: left: inner\ncard declined: x",
		"*errors.joinError: left: inner\ncard declined: x",
		"*fmt.wrapError: left: inner",
		"*errors.errorString: inner",
		"*queue.declined: card declined: x",
	}
	if got := ErrorChain(err); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	deep := inner
	for range 100 {
		deep = fmt.Errorf("%s: %w", strings.Repeat("x", 100), deep)
	}
	got := ErrorChain(deep)
	if len(got) != 32 {
		t.Errorf("%d links, want at most 32", len(got))
	}
	for _, link := range got {
		if len(link) > 1024 {
			t.Errorf("a link of %d bytes", len(link))
		}
	}
	if ErrorChain(nil) != nil {
		t.Error("no error has a chain")
	}
}

// TestFailureFit holds that a record is cut to any limit that is possible, and
// keeps the most telling parts longest.
func TestFailureFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringN(0, 300, -1), rapid.SampledFrom([]string{"", strings.Repeat("\x00", 200), strings.Repeat("\xff", 200), strings.Repeat("\"", 200), strings.Repeat("✓", 100)}))
		f := sampleFailure()
		f.Message, f.Stack, f.Chain = text.Draw(t, "message"), text.Draw(t, "stack"), rapid.SliceOfN(text, 0, 40).Draw(t, "chain")
		limit := rapid.IntRange(0, 8000).Draw(t, "limit")
		before := len(f.Chain)
		got, ok := f.Fit(limit)
		if len(f.Chain) != before || f.Cut {
			t.Fatal("Fit changed the original")
		}
		shortest := Failure{Reason: f.Reason, Cut: true}
		switch {
		case ok != (got.Size() <= limit):
			t.Fatalf("%d bytes with a limit of %d, and Fit says %t", got.Size(), limit, ok)
		case !ok && shortest.Size() <= limit:
			t.Fatalf("did not fit %d bytes, though %d are possible", limit, shortest.Size())
		case f.Size() <= limit && !reflect.DeepEqual(got, f):
			t.Fatalf("cut although it fits")
		case !got.Cut && !reflect.DeepEqual(got, f):
			t.Fatalf("cut, and does not say so")
		}
		if !ok {
			return
		}
		// What is given up goes in this order, and not before it must.
		kept := []bool{
			f.Stack != "" && got.Stack == f.Stack, len(f.Chain) > 0 && len(got.Chain) > 0,
			got.MessageID == f.MessageID && got.SentAt.Equal(f.SentAt), got.Endpoint == f.Endpoint,
			got.FirstFailure.Equal(f.FirstFailure) && got.LastFailure.Equal(f.LastFailure),
			got.Attempts == f.Attempts && got.ReceiveCount == f.ReceiveCount, got.Filter == f.Filter, got.Source == f.Source,
		}
		for i := range kept[:len(kept)-1] {
			if kept[i] && slices.Contains(kept[max(i+1, 2):], false) {
				t.Fatalf("gave up %d before %d: %+v", i+1, i, got)
			}
		}
		known := Failure{Reason: f.Reason, Source: f.Source, Cut: true}
		if known.Size() <= limit && got.Source != f.Source || got.Reason != f.Reason {
			t.Fatalf("lost what must be kept: %+v", got)
		}
	})
}

func TestFailureFitOrder(t *testing.T) {
	f := sampleFailure()
	f.Stack = strings.Repeat("s", 1000)
	f.Chain = []string{"outermost", strings.Repeat("a", 1000), strings.Repeat("b", 1000), "root cause"}
	got, ok := f.Fit(2200)
	if !ok || got.Stack != "" || len(got.Chain) != 3 || got.Chain[0] != "outermost" || got.Chain[2] != "root cause" || got.Message != f.Message {
		t.Errorf("to 2200 bytes: %t, %+v", ok, got)
	}
	for limit, want := range map[int]string{
		290: "message, times, counts, filter, source",
		240: "message, counts, filter, source",
		170: "message, counts, filter, source",
		130: "message, filter, source",
		110: "filter, source",
		95:  "source",
		70:  "",
	} {
		got, ok := f.Fit(limit)
		var left []string
		for _, field := range []struct {
			name  string
			there bool
		}{
			{"message", got.Message != ""}, {"id", got.MessageID != "" || !got.SentAt.IsZero()}, {"endpoint", got.Endpoint != ""},
			{"times", !got.FirstFailure.IsZero() || !got.LastFailure.IsZero()}, {"counts", got.Attempts > 0 || got.ReceiveCount > 0},
			{"filter", got.Filter != ""}, {"source", got.Source != ""},
		} {
			if field.there {
				left = append(left, field.name)
			}
		}
		if text := strings.Join(left, ", "); !ok || text != want || got.Reason != f.Reason {
			t.Errorf("to %d bytes: %t, %s, want %s", limit, ok, text, want)
		}
	}
	got, ok = f.Fit(700)
	if !ok || len(got.Chain) != 2 || got.Chain[1] != "root cause" || got.Message != f.Message {
		t.Errorf("to 700 bytes: %t, %+v", ok, got)
	}
}

// TestAttach holds that a message with its record keeps within the limit, at
// every size of the message.
func TestAttach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := 4096
		msg := message.NewMessage("u", []byte(strings.Repeat("x", rapid.IntRange(1, 4000).Draw(t, "body"))))
		for i := range rapid.IntRange(0, 14).Draw(t, "keys") {
			msg.Metadata.Set(fmt.Sprint("k", i), strings.Repeat("\"", rapid.IntRange(0, 30).Draw(t, "value")))
		}
		f := sampleFailure()
		f.Stack = rapid.StringN(0, 2000, -1).Draw(t, "stack")
		before := msg.Copy()
		to := Endpoint{Name: "dlq", URL: "sqs://dlq", MaxMessageSize: limit}
		err := f.Attach(msg, to)
		if err != nil {
			if !errors.Is(err, ErrTooLarge) || !msg.Equals(before) {
				t.Fatalf("%v; the message must be as it was", err)
			}
			return
		}
		w, err := encode(msg, pinnedKeys(to))
		if n, _ := to.Size(before); n > limit { // as it was sent, too
			w, err = encodeClaim(msg, newClaim(msg.Payload), pinnedKeys(to), nil)
		}
		if err != nil || w.size() > limit {
			t.Fatalf("%d bytes, %v", w.size(), err)
		}
		if _, ok, err := DecodeFailure(msg.Metadata); !ok || err != nil {
			t.Fatalf("no record: %v", err)
		}
		if w.attributes.value(KeyFailure) == "" {
			t.Fatal("the record is not an attribute of its own")
		}
	})
}

// TestAttachFull holds the case of a message that has no room left.
func TestAttachFull(t *testing.T) {
	msg := message.NewMessage("u", []byte(strings.Repeat("x", DefaultMaxQueueMessage-80)))
	err := sampleFailure().Attach(msg, Endpoint{Name: "dlq", URL: "sqs://dlq"})
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), `that endpoint "dlq" allows`) {
		t.Errorf("got %v", err)
	}
	msg = message.NewMessage("u", []byte(strings.Repeat("x", DefaultMaxQueueMessage-1000)))
	f := sampleFailure()
	f.Stack = strings.Repeat("stack\n", 1000)
	if err := f.Attach(msg, Endpoint{Name: "dlq", URL: "sqs://dlq"}); err != nil {
		t.Error(err)
	}
}

// TestAttachToClaim holds that a message which only a claim check can send has its
// record, whatever makes it too large: its payload, what that takes encoded, or its
// metadata.
func TestAttachToClaim(t *testing.T) {
	to := Endpoint{Name: "dlq", URL: "sqs://dlq", MaxMessageSize: 4096}
	for name, payload := range map[string]string{
		"payload": strings.Repeat("x", 4097), "encoded": strings.Repeat("\xff", 3500), "metadata": strings.Repeat("x", 3900),
	} {
		msg := message.NewMessage("u", []byte(payload))
		msg.Metadata.Set("k", strings.Repeat("v", 500))
		if err := sampleFailure().Attach(msg, to); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		w, err := encodeClaim(msg, newClaim(msg.Payload), pinnedKeys(to), nil)
		if _, ok, _ := DecodeFailure(msg.Metadata); err != nil || !ok || w.size() > to.MaxMessageSize {
			t.Errorf("%s: a record: %t; %d bytes, %v", name, ok, w.size(), err)
		}
	}
}
