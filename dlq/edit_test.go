package dlq_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

func letter(body string) *dlq.Letter {
	return &dlq.Letter{
		ID: "m1", MessageID: "s1", Body: []byte(body), ReceiveCount: 2, SentAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Source: "sqs://fares",
		Metadata: message.Metadata{"colour": "red", queue.KeyFailure: `{"v":1}`},
		Failure:  &queue.Failure{Version: 1, Reason: queue.ReasonPermanent, Attempts: 3},
	}
}

// TestEdit holds what an expression makes of a letter: what it does not change
// stays as it was written.
func TestEdit(t *testing.T) {
	const record = `{"v":1}`
	same := map[string]string{"colour": "red"}
	for _, tt := range []struct {
		edit, body, want string
		attributes       map[string]string
	}{
		{`.`, `{ "b" : 1, "a" : 1.0 }`, `{ "b" : 1, "a" : 1.0 }`, same},
		{`.body.a = 2`, `{ "b" : 1.0, "a" : 1, "n": 12345678901234567890123 }`, `{"a":2,"b":1.0,"n":12345678901234567890123}`, same},
		{`.body.amount |= fabs`, `{"amount":-3,"text":"<&>"}`, `{"amount":3,"text":"<&>"}`, same},
		{`.body |= fromjson`, `"{\"a\":1}"`, `{"a":1}`, same},
		{`.body = "x"`, `{}`, `"x"`, same},
		{`.body = null`, `{}`, `null`, same},
		{`.body |= sub("a"; "b")`, `a text`, `b text`, same},
		{`.body = {a: .body}`, `a text`, `{"a":"a text"}`, same},
		{`.body = ""`, `a text`, ``, same},
		{`.body |= sub("^$"; "x")`, ``, `x`, same},
		{`.body |= (.[0:2] + "8=")`, "\xff\xfe", "\xff\xff", same},
		{`.`, "\xff\xfe", "\xff\xfe", same},
		{`.body = "aGk="`, "\xff\xfe", "hi", same},
		{`.body = [.body]`, "\xff\xfe", `["//4="]`, same},
		{`.attributes.tenant = "acme"`, `x`, `x`, map[string]string{"colour": "red", "tenant": "acme"}},
		{`del(.attributes.colour)`, `x`, `x`, map[string]string{}},
		{`.attributes.attempts = (.failure.attempts | tostring)`, `x`, `x`, map[string]string{"colour": "red", "attempts": "3"}},
		{`.body.n += 1, halt`, `{"n":1}`, `{"n":2}`, same},
	} {
		e, err := dlq.ParseEdit(tt.edit)
		if err != nil {
			t.Errorf("%s: %v", tt.edit, err)
			continue
		}
		l := letter(tt.body)
		if err := e.Apply(t.Context(), l); err != nil {
			t.Errorf("%s of %q: %v", tt.edit, tt.body, err)
			continue
		}
		if l.Metadata[queue.KeyFailure] != record {
			t.Errorf("%s: the record is %q", tt.edit, l.Metadata[queue.KeyFailure])
		}
		delete(l.Metadata, queue.KeyFailure)
		if string(l.Body) != tt.want || !maps.Equal(l.Metadata, tt.attributes) || l.ID != "m1" {
			t.Errorf("%s of %q: %q, %v; want %q, %v", tt.edit, tt.body, l.Body, l.Metadata, tt.want, tt.attributes)
		}
	}
}

// TestEditSkips holds that no result leaves the letter.
func TestEditSkips(t *testing.T) {
	for _, text := range []string{`empty`, `select(.body.a == 2)`, `halt`} {
		e, err := dlq.ParseEdit(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Apply(t.Context(), letter(`{"a":1}`)); !errors.Is(err, dlq.ErrSkip) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestEditRefuses holds that an edit which does not fit a letter leaves it as it
// was, and names what is wrong.
func TestEditRefuses(t *testing.T) {
	for _, tt := range []struct{ edit, body, want string }{
		{`.failure.reason = "x"`, `{}`, "message m1: the edit changes .failure; only .body and .attributes may change"},
		{`.id = "m2"`, `{}`, "the edit changes .id"},
		{`.receive_count += 1`, `{}`, "the edit changes .receive_count"},
		{`.source = null`, `{}`, "the edit changes .source"},
		{`del(.failure)`, `{}`, "the edit removes .failure; only"},
		{`{body: 1}`, `{}`, "the edit removes .attributes"},
		{`del(.body)`, `{}`, "the edit removes .body"},
		{`.bdy = 1`, `{}`, "the edit adds .bdy; only"},
		{`.body`, `{}`, "the edit removes .attributes"},
		{`.body`, `[1]`, "the result of the edit is an array; want an object"},
		{`.id`, `{}`, "the result of the edit is a string"},
		{`1`, `{}`, "the result of the edit is a number"},
		{`null`, `{}`, "the result of the edit is null"},
		{`true`, `{}`, "the result of the edit is a boolean"},
		{`., .`, `{}`, "the edit has more than one result; want one, or none"},
		{`., error("late")`, `{}`, "late"},
		{`.body + 1`, `{}`, "cannot add"},
		{`halt_error`, `{}`, "halt error"},
		{`.attributes = []`, `{}`, "the edit changes .attributes to an array; want an object"},
		{`.attributes.n = 1`, `{}`, `the edit changes .attributes["n"] to a number; want a string, or del(.attributes["n"])`},
		{`.attributes.colour = null`, `{}`, `the edit changes .attributes["colour"] to null`},
		{`.attributes[""] = "x"`, `{}`, "an attribute without a name"},
		{`.attributes["Waybill-Failure"] = "x"`, `{}`, `the edit adds .attributes["Waybill-Failure"], the record of the failure`},
		{`.body = "*"`, "\xff\xfe", "the edit changes .body, which is not text, to what is no base64"},
		{`.body.a = 1`, "{\"b\":\"\xff\"}", "whose text is not all UTF-8"},
		{`.body = reduce range(100) as $i (0; [., .])`, `{}`, "the result of the edit is too large"},
		{`.body = "x" * 1e12`, `{}`, "message m1"},
	} {
		e, err := dlq.ParseEdit(tt.edit)
		if err != nil {
			t.Errorf("%s: %v", tt.edit, err)
			continue
		}
		l := letter(tt.body)
		err = e.Apply(t.Context(), l)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s of %q: got %v, want an error with %q", tt.edit, tt.body, err, tt.want)
		}
		if string(l.Body) != tt.body || l.Metadata["colour"] != "red" || len(l.Metadata) != 2 {
			t.Errorf("%s of %q left %q, %v", tt.edit, tt.body, l.Body, l.Metadata)
		}
	}
	for _, text := range []string{`.body ==`, `no_such_function`, `$x`, `input`} {
		var bad *dlq.EditError
		if _, err := dlq.ParseEdit(text); !errors.As(err, &bad) || bad.Edit != text || !strings.HasPrefix(err.Error(), "dlq: edit ") {
			t.Errorf("%s: %v, want an EditError", text, err)
		}
	}
}

// TestEditOfAReference holds that a body which is not seen is not changed.
func TestEditOfAReference(t *testing.T) {
	e, err := dlq.ParseEdit(`.body.a = 1`)
	if err != nil {
		t.Fatal(err)
	}
	l := letter(`{"sha256":"x"}`)
	l.Stored = true
	if err := e.Apply(t.Context(), l); !errors.Is(err, queue.ErrPayloadStored) {
		t.Errorf("got %v", err)
	}
	if e, err = dlq.ParseEdit(`.attributes.a = "1"`); err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(t.Context(), l); err != nil || l.Metadata["a"] != "1" {
		t.Errorf("of an attribute: %v", err)
	}
}

// TestEditThatNeverEnds holds that an edit does not keep the job.
func TestEditThatNeverEnds(t *testing.T) {
	e, err := dlq.ParseEdit(`def f: f; f`)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(t.Context(), letter(`{}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// FuzzEdit holds that no body and no expression make an edit panic or take long,
// and that what it refuses or does not change stays as it was.
func FuzzEdit(f *testing.F) {
	for _, edit := range []string{`.`, `.body.a = 1`, `.body |= tostring`, `.attributes.a = .body`, `del(.body)`, `empty`, `.body[3] = .`, `.body |= fromjson`} {
		for _, body := range []string{`{"a":{"b":[1,2.50,null]}}`, `text`, "\xff\xfe", `"x"`, ``, `1e999`, `{"a":"\ud800"}`} {
			f.Add(edit, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		e, err := dlq.ParseEdit(text)
		if err != nil {
			return
		}
		l := letter(string(body))
		began := time.Now()
		err = e.Apply(t.Context(), l)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s of %q took %v", text, body, took)
		}
		if (err != nil || text == ".") && string(l.Body) != string(body) {
			t.Errorf("%s of %q left %q, %v", text, body, l.Body, err)
		}
		if l.ID != "m1" || l.Source != "sqs://fares" || l.Metadata[queue.KeyFailure] == "" {
			t.Errorf("%s of %q changed %+v", text, body, l)
		}
	})
}
