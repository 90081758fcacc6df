package saga_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// What is no command, or none for here, is an error that no retry cures, and
// reaches neither the records nor a handler.
func TestParticipantRefusesPoison(t *testing.T) {
	untouched := storetest.NewFaulty(memstore.New(memstore.Config{}), func(storetest.Call) storetest.Fault { return storetest.Fault{} })
	d := newDesk(t, untouched, func(cfg *saga.ParticipantConfig) {
		cfg.MaxCommand, cfg.ReplyTo = 6000, []string{"replies", "others"}
	})
	set := func(field string, value any) *message.Message {
		return do(1, func(c map[string]any) { c[field] = value })
	}
	without := func(field string) *message.Message {
		return do(1, func(c map[string]any) { delete(c, field) })
	}
	tests := map[string]struct {
		msg  *message.Message
		want string
	}{
		"nothing":                 {message.NewMessage("m-1", nil), "command m-1: unexpected end of JSON"},
		"no JSON":                 {message.NewMessage("m-1", []byte("charge!")), "command m-1: invalid character"},
		"more than one":           {message.NewMessage("m-1", append(do(1).Payload, '{')), "command m-1: invalid character '{' after"},
		"a list":                  {message.NewMessage("m-1", []byte("[]")), "command m-1: json: cannot unmarshal array"},
		"a start":                 {message.NewMessage("m-1", []byte(`{"waybill":1,"start":"fare","id":"1","input":{}}`)), `"command" is "", want "do" or "undo"`},
		"no version":              {without("waybill"), `"waybill" is 0, want 1`},
		"a later version":         {set("waybill", 2), `"waybill" is 2, want 1`},
		"a later form":            {message.NewMessage("m-1", []byte(`{"waybill":2,"attempt":"first"}`)), `"waybill" is 2, want 1`},
		"another command":         {set("command", "redo"), `"command" is "redo"`},
		"a wrong type":            {set("attempt", "first"), "command m-1: json: cannot unmarshal string"},
		"no key":                  {without("key"), `"key" has 0 bytes, want 1 to 4096`},
		"too long a key":          {set("key", strings.Repeat("x", 4097)), `"key" has 4097 bytes, want 1 to 4096`},
		"a key that nobody types": {set("key", "a\x00b"), "control characters"},
		"no execution":            {without("execution"), `"execution", "definition" and "step" are required`},
		"no definition":           {without("definition"), `"execution", "definition" and "step" are required`},
		"no step":                 {without("step"), `"execution", "definition" and "step" are required`},
		"no attempt":              {without("attempt"), `"attempt" is 0, want 1 or more`},
		"too high an attempt":     {set("attempt", store.LastAttempt), `"attempt" is 2147483647, want 1 or more`},
		"no visit":                {without("visit"), `"visit" is 0`},
		"no time":                 {without("notAfter"), `"notAfter" is 0, want milliseconds since 1970`},
		"no input":                {without("input"), `"input" is missing`},
		"too deep an input":       {set("input", nested(1001)), `"input" is nested 1001 levels deep, at most 1000 are allowed`},
		"nowhere to reply":        {without("replyTo"), `"replyTo" is empty`},
		"another place to reply":  {set("replyTo", "sqs://salaries"), `"replyTo" is "sqs://salaries", want replies or others`},
		"an unknown step":         {set("step", "Discharge"), `the step "Discharge" is not done here, only Charge, Look`},
		"too large":               {set("input", strings.Repeat("x", 6000)), "bytes, at most 6000 are allowed"},
		"an undo of nothing":      {undo(1, func(c map[string]any) { delete(c, "undoes") }), `"undoes" has 0 bytes`},
		"an undo of what is not done": {undo(1, func(c map[string]any) { c["outcome"] = "not done" }),
			`"outcome" of what is to be undone is "not done", want "done" or "unknown"`},
		"an undo where there is none": {undo(1, func(c map[string]any) { c["step"] = "Look" }), `the step "Look" is not undone here: it was served without Undo`},
	}
	for name, tt := range tests {
		err := d.Handle(tt.msg)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "command m-1: ") || !permanent(err) {
			t.Errorf("%s: got %v, want %q, permanently", name, err, tt.want)
		}
	}
	d.expect("poison", nil, nil)
	if n := untouched.Calls(); n != 0 {
		t.Errorf("%d calls of the store", n)
	}
}

// Input that does not fit is the saga's failure, and not the queue's.
func TestParticipantRefusesInputThatDoesNotFit(t *testing.T) {
	d := newDesk(t, memstore.New(memstore.Config{}))
	wrong := func(c map[string]any) { c["input"] = map[string]any{"Cents": "seven"} }
	const cause = " for good [States.Runtime]: decode the input into saga_test.chargeRequest: json: cannot unmarshal string into Go struct field chargeRequest.Cents of type int"
	d.handle(do(1, wrong))
	d.handle(undo(1, wrong))
	d.expect("wrong input", nil, []string{"do 1: not done" + cause, "undo 1: not done" + cause})
}

// A result of another release may not be what this one can read.
func TestParticipantRefusesARecordThatDoesNotFit(t *testing.T) {
	st := memstore.New(memstore.Config{})
	d := newDesk(t, st, func(cfg *saga.ParticipantConfig) {
		cfg.Steps = []saga.Served{saga.Serve("Charge", func(context.Context, chargeRequest) (string, error) { return "ch-1", nil })}
	})
	d.handle(do(1))
	d = newDesk(t, st)
	d.handle(undo(1))
	d.expect("an undo", nil, []string{"undo 1: not done for good [States.Runtime]: " +
		"decode what the action returned into saga_test.chargeResult: json: cannot unmarshal string into Go value of type saga_test.chargeResult"})

	for stored, want := range map[string]string{`{"v":2,"o":"done"}`: "its version is 2, and this program reads 1 to 1", `{`: "unexpected end of JSON"} {
		st := memstore.New(memstore.Config{})
		if err := st.Complete(t.Context(), store.Completion{
			Key: "saga/fare/ride-1/1/Both:1/Charge/2/do", Token: "t", Result: []byte(stored), Retention: time.Hour,
		}); err != nil {
			t.Fatal(err)
		}
		// Another process may be of the release that wrote it.
		d := newDesk(t, st)
		if err := d.Handle(do(1)); err == nil || !strings.Contains(err.Error(), want) || permanent(err) {
			t.Errorf("%s: got %v, want %q", stored, err, want)
		}
	}
}
