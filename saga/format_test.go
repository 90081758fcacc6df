package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// golden checks that v is written as want, and that want is read as v.
func golden[T any](t *testing.T, v T, want string) {
	t.Helper()
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%T is written as\n%s, want\n%s", v, got, want)
	}
	var back T
	if err := json.Unmarshal([]byte(want), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, v) {
		t.Errorf("%s is read as\n%+v, want\n%+v", want, back, v)
	}
}

func TestFormatOfFrames(t *testing.T) {
	golden(t, frame{Step: "Charge", Attempt: 1, State: json.RawMessage(`{"fare":2000}`), Entries: 1},
		`{"s":"Charge","a":1,"d":{"fare":2000},"h":1}`)
	golden(t, frame{
		Step: "Charge", Entered: 1700000000000, Pending: true, Attempt: 3, Tries: 2, TriesOn: []int{0, 1}, Lost: 1, At: 1700000000500, Order: 9,
		Unknown: true, Unheard: []int{1, 2}, Doubt: true, StillRunning: 1700000090000, Visits: map[string]int{"Charge": 2}, Undoing: true, Blocked: true,
		Scope:  &scope{Keep: 1, Then: "Look", Again: 1700000000600, Cause: &Cause{Kind: CauseFailed, Step: "Credit", Error: "closed account"}},
		Fork:   &fork{Step: "Both", Visit: 2, Size: 12, Begun: 11, Ended: bits{5, 4}, Failures: 1, Undoing: true},
		Caught: &Cause{Kind: CauseFailed, Step: "Look", Frame: "Both:1", Name: "NoSeats", Error: "sold out"},
		Failed: &Cause{Kind: CauseFailed, Step: "Look"},
		State:  json.RawMessage(`{"fare":2000}`), Changed: true,
		Undo: []undoRecord{
			{Step: "Look", Entry: stateInMeta},
			{Step: "Register", Visit: 2, Order: 4, Entry: 3, Nth: 1, Attempt: 2},
			{Step: "Both", Order: 7, Fork: &fork{Step: "Both", Size: 2, Begun: 2, Undoing: true}},
			{Step: "Charge", Unknown: true, NotUntil: 1700000090000},
			{Step: "Sign", Unknown: true, Unheard: []int{3}, Doubt: true, Token: "secret"},
			{Step: "Sign", After: json.RawMessage(`{"fare":2}`)},
			{Step: "Credit", Unsure: true, Edited: &edited{N: 1, After: 10, Input: json.RawMessage(`{"fare":1}`)}},
		},
		Parked: 4, Entries: 5, Orders: 9, Pivoted: true, Overdue: true, Spent: []string{"mark"},
		Trouble: &Cause{Kind: CauseFailed, Step: "Charge", Undo: true, Error: "no answer", By: "ann", Note: "see 42"},
	}, `{"s":"Charge","t":1700000000000,"y":true,"a":3,"n":2,"i":[0,1],"l":1,"b":1700000000500,"q":9,"u":true,"N":[1,2],"R":true,"r":1700000090000,`+
		`"V":{"Charge":2},"x":true,"k":true,"o":{"k":1,"n":"Look","a":1700000000600,"c":{"kind":"failed","step":"Credit","error":"closed account"}},`+
		`"f":{"s":"Both","v":2,"n":12,"b":11,"e":"BQQ=","f":1,"u":true},`+
		`"c":{"kind":"failed","step":"Look","frame":"Both:1","name":"NoSeats","error":"sold out"},"j":{"kind":"failed","step":"Look"},`+
		`"d":{"fare":2000},"g":true,"z":[{"s":"Look","h":-1},{"s":"Register","v":2,"q":4,"h":3,"i":1,"a":2},`+
		`{"s":"Both","q":7,"f":{"s":"Both","n":2,"b":2,"u":true}},{"s":"Charge","u":true,"t":1700000090000},{"s":"Sign","u":true,"n":[3],"r":true,"k":"secret"},{"s":"Sign","d":{"fare":2}},{"s":"Credit","w":true,"e":{"n":1,"a":10,"d":{"fare":1}}}],`+
		`"e":4,"h":5,"Q":9,"p":true,"v":true,"sp":["mark"],`+
		`"m":{"kind":"failed","step":"Charge","undo":true,"error":"no answer","by":"ann","note":"see 42"}}`)
}

// What an opening that leaves frames folded goes by.
func TestFormatOfOutlines(t *testing.T) {
	golden(t, frame{Step: "Each", Parked: 4, Rest: true, Entries: 5, Fork: &fork{
		Step: "Each", Size: 70, Begun: 66, Due: dues{1700000060000, 0, 1700000000000, 1700000000001, 0}, Late: bits{4}, Ears: map[string]bits{"go": {9}},
	}}, `{"s":"Each","f":{"s":"Each","n":70,"b":66,"d":"loyw3v28 1aao  0 1 ","l":"BA==","r":{"go":"CQ=="}},"e":4,"rs":true,"h":5}`)
	for _, damaged := range []string{`""`, `"x!"`, `"1 !"`, `"1 2 99999999999999999"`} {
		var d dues
		if err := json.Unmarshal([]byte(damaged), &d); err == nil {
			t.Errorf("%s is read as %v", damaged, d)
		}
	}
}

func TestFormatOfLocks(t *testing.T) {
	golden(t, frame{
		Step: "Credit", Entered: 1700000000000, Pending: true, At: 1700000060000, Until: 1700000060000, State: json.RawMessage(`1`),
		Locks: []lockNeed{{Resource: "account/7", Wait: 60000}, {Resource: "till/1", Wait: 1000}}, Entries: 2, First: true,
		Locked: []heldLock{
			{Resource: "account/7", Request: "r1", Since: 1700000000000},
			{Resource: "till/1", Request: "r2", Fence: 1700000000000000, Since: 1700000000001, Broken: true},
		},
	}, `{"s":"Credit","t":1700000000000,"y":true,"b":1700000060000,"U":1700000060000,`+
		`"I":[{"r":"account/7","w":60000},{"r":"till/1","w":1000}],"d":1,"h":2,"F":true,`+
		`"L":[{"r":"account/7","q":"r1","t":1700000000000},{"r":"till/1","q":"r2","f":1700000000000000,"t":1700000000001,"x":true}]}`)
	golden(t, frame{Step: "Credit", Pending: true, Locks: untold}, `{"s":"Credit","y":true,"I":[{"r":""}]}`)
	golden(t, parentRef{Execution: "ride-1/Sub", Step: "Sub", Visit: 1, Root: "ride-1"}, `{"x":"ride-1/Sub","s":"Sub","v":1,"o":"ride-1"}`)
	golden(t, mail{Kind: mailLock, Lock: &lockMail{Resource: "account/7", Request: "r1", Fence: 1700000000000000}},
		`{"k":"lock","l":{"r":"account/7","q":"r1","f":1700000000000000}}`)
	golden(t, mail{Kind: mailLock, By: "ann", Note: "it hangs", Lock: &lockMail{Resource: "account/7", Request: "r1", Broken: true}},
		`{"k":"lock","b":"ann","n":"it hangs","l":{"r":"account/7","q":"r1","x":true}}`)
	golden(t, letter{Kind: letterUnlock, ID: "r1", To: "account/7"}, `{"k":"unlock","id":"r1","to":"account/7"}`)
	golden(t, command{
		Waybill: 1, Command: "do", Key: "k", Execution: "ride-1", Definition: "fare", Step: "Charge", Visit: 1, Attempt: 1,
		Input: json.RawMessage(`1`), NotAfter: 1700000000000, ReplyTo: "replies", Commit: "c.3", Locks: map[string]int64{"account/7": 1700000000000000},
	}, `{"waybill":1,"command":"do","key":"k","execution":"ride-1","definition":"fare","step":"Charge","visit":1,"attempt":1,`+
		`"input":1,"notAfter":1700000000000,"replyTo":"replies","commit":"c.3","locks":{"account/7":1700000000000000}}`)
	data, err := encodeEntry(nil, time.UnixMilli(1700000000000), []Event{
		{Type: LockRequested, Frame: "Both:1", Step: "Credit", Lock: "account/7"},
		{Type: LockAcquired, Lock: "account/7", Fence: 1700000000000000},
		{Type: LockTimedOut, Step: "Credit", Lock: "account/7", Error: "not to be had"},
		{Type: LockBroken, Lock: "account/7", Fence: 1700000000000000, By: "ann", Note: "it hangs"},
	}, nil)
	want := `{"t":1700000000000,"e":[{"c":58,"f":"Both:1","s":"Credit","l":"account/7"},{"c":59,"l":"account/7","z":1700000000000000},` +
		`{"c":60,"s":"Credit","x":"not to be had","l":"account/7"},{"c":61,"l":"account/7","z":1700000000000000,"b":"ann","n":"it hangs"}]}`
	if err != nil || string(data) != want {
		t.Errorf("an entry is written as\n%s, %v, want\n%s", data, err, want)
	}
	c, err := NewClient(ClientConfig{Store: noStore{}})
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]*Saga[int]{
		`{"s":"A","y":true,"d":1,"h":1}`:          New("fare", compensable("A").Lock(on("7"))),
		`{"s":"A","y":true,"d":1,"h":1,"F":true}`: New("fare", compensable("A")).Lock(on("7")),
	} {
		r, _, err := c.startRequest(s.def, "ride-1", []byte(`1`), startOptions{})
		if err != nil || string(r.Root) != want {
			t.Errorf("it begins with %s, %v, want %s", r.Root, err, want)
		}
	}
}

func TestFormatOfLosses(t *testing.T) {
	golden(t, frame{
		Step: "Charge", Attempt: 1, Waiting: true, Sent: "3.ABC.2", Suspended: 1700000000000,
		Quarantine: &quarantine{Why: "a reply", Suspended: true},
	}, `{"s":"Charge","a":1,"w":true,"J":"3.ABC.2","X":1700000000000,"Z":{"w":"a reply","s":true}}`)
	golden(t, mail{Kind: mailRelease, By: "ann"}, `{"k":"release","b":"ann"}`)
	id := commitID{epoch: 3, nonce: "ABC", seq: 2}
	if got := id.String(); got != "3.ABC.2" {
		t.Errorf("a commit is named %q", got)
	}
	for text, want := range map[string]commitID{"3.ABC.2": id, "ABC": {nonce: "ABC"}} {
		if got, ok := parseCommit(text); !ok || got != want {
			t.Errorf("%q is read as %+v, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "ABC.2", "x.ABC.2", "3.ABC.x", "3.ABC.2.1"} {
		if got, ok := parseCommit(text); ok {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestFormatOfMeta(t *testing.T) {
	golden(t, meta{Definition: "fare", Version: "0123456789ab", Input: json.RawMessage(`{"fare":2000}`)},
		`{"d":"fare","v":"0123456789ab","i":{"fare":2000}}`)
	golden(t, meta{Definition: "fare", Version: "0123456789ab", Input: json.RawMessage(`1`), ReplyTo: "fares", Delay: 1500},
		`{"d":"fare","v":"0123456789ab","i":1,"r":"fares","w":1500}`)
}

func TestFormatOfStarts(t *testing.T) {
	c, err := NewClient(ClientConfig{Store: noStore{}})
	if err != nil {
		t.Fatal(err)
	}
	s := New("fare", compensable("A"))
	r, _, err := c.startRequest(s.def, "ride-1", []byte(`{"fare":2000}`), startOptions{delay: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	// Match is the name, and half of the input's SHA-256.
	if want := "fare/d985d1cb003be280f0a3e2abcdff7fbf"; r.Match != want {
		t.Errorf("Match %q, want %q", r.Match, want)
	}
	if r.ID != "ride-1" || r.Status != "running" || r.Index != "running:fare" || r.Wake != time.Minute {
		t.Errorf("start request %+v", r)
	}
	if got, want := string(r.Root), `{"s":"A","a":1,"d":{"fare":2000},"h":1}`; got != want {
		t.Errorf("root frame %s, want %s", got, want)
	}
	var e entry
	if err := json.Unmarshal(r.History, &e); err != nil {
		t.Fatal(err)
	}
	golden(t, e, `{"t":0,"e":[{"c":1},{"c":101,"s":"A"}]}`)
}

// What a start hands to its coordinator is what another would decode.
func TestBeginningIsAsDecoded(t *testing.T) {
	c, err := NewClient(ClientConfig{Store: noStore{}})
	if err != nil {
		t.Fatal(err)
	}
	act := func(context.Context, *map[string]int) error { return nil }
	take := func(*map[string]int, int) error { return nil }
	for name, s := range map[string]*Saga[map[string]int]{
		"a task":     New("fare", Do("A", act).ReadOnly()),
		"a deadline": New("fare", Do("A", act).ReadOnly()).Within(time.Hour),
		"a wait":     New("fare", Wait[map[string]int]("A", time.Second)),
		"a callback": New("fare", Callback("A", act, take).ReadOnly()),
		"a lock":     New("fare", Do("A", act).ReadOnly().Lock(Lock("acc", func(*map[string]int) string { return "7" }))),
		"its lock":   New("fare", Do("A", act).ReadOnly()).Lock(Lock("acc", func(*map[string]int) string { return "7" })),
	} {
		if err := s.Validate(); err != nil {
			t.Fatal(name, err)
		}
		r, b, err := c.startRequest(s.def, "ride-1", []byte(`{"fare":2000}`), startOptions{delay: time.Minute, replyTo: "fares"})
		if err != nil {
			t.Fatal(name, err)
		}
		root, err := decodeFrame(nil, r.Root, s.def, s.def.root, "")
		if err != nil {
			t.Fatal(name, err)
		}
		if !reflect.DeepEqual(b.root, root) {
			t.Errorf("%s: it begins with the frame\n%+v, and its record has\n%+v", name, b.root, root)
		}
		var m meta
		if err := decodeJSON(nil, r.Meta, &m); err != nil || !reflect.DeepEqual(b.meta, m) {
			t.Errorf("%s: it begins with\n%+v, and its record has\n%+v, %v", name, b.meta, m, err)
		}
	}
}

// noStore is a Store for what does not get that far.
type noStore struct{ Store }

func TestFormatOfHistory(t *testing.T) {
	want := []EventType{
		"ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskSucceeded", "TaskFailed", "TaskTimedOut", "TaskStateExited",
		"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut", "ExecutionRedriven",
		"CompensationStateEntered", "CompensationScheduled", "CompensationSucceeded", "CompensationFailed", "ExecutionCompensated",
		"ExecutionBlocked", "CancelRefused", "RetryRefused", "ExecutionOverdue", "MailDiscarded",
		"ChoiceStateEntered", "ChoiceStateExited", "PassStateEntered", "PassStateExited", "WaitStateEntered", "WaitStateExited",
		"SucceedStateEntered", "SucceedStateExited", "FailStateEntered",
		"ParallelStateEntered", "ParallelStateStarted", "ParallelStateSucceeded", "ParallelStateFailed", "ParallelStateExited",
		"MapStateEntered", "MapStateStarted", "MapStateSucceeded", "MapStateFailed", "MapStateExited",
		"MapIterationStarted", "MapIterationSucceeded", "MapIterationFailed", "ErrorCaught",
		"TaskSubmitted", "SignalReceived",
		"TaskSkipped", "CompensationSkipped", "ExecutionTerminated", "ExecutionSuspended", "ExecutionResumed", "OrderRefused", "ExecutionReverted",
		"TaskInputEdited", "CompensationInputEdited", "TaskHeardLate",
		"LockRequested", "LockAcquired", "LockTimedOut", "LockBroken", "TaskStateAborted", "TaskDoneLate", "ExecutionQuarantined", "ExecutionReleased",
	}
	if !slices.Equal(codes, want) { // codes begin at 1
		t.Errorf("the types are stored under the numbers of\n%q, want\n%q: add a new one at the end", codes, want)
	}
	for i, e := range codes {
		if eventCodes[e] != i+1 {
			t.Errorf("%s is stored as %d, want %d", e, eventCodes[e], i+1)
		}
	}

	at := time.UnixMilli(1700000000000)
	data, err := encodeEntry(nil, at, []Event{
		{Type: TaskFailed, Step: "Charge", Attempt: 2, Outcome: NotDone, Name: "Declined", Error: "declined", Stack: "goroutine 1"},
		{Type: TaskStateExited, Step: "Charge", changed: true},
		{Type: ExecutionAborted, Step: "Charge", By: "ann", Note: "asked for"},
		{Type: TaskSucceeded, Step: "Charge", Attempt: 3},
		{Type: TaskStateExited, Step: "Charge", changed: true},
		{Type: TaskStateEntered, Step: "Credit"},
		{Type: TaskScheduled, Step: "Credit", Attempt: 1},
		{Type: CompensationEntered, Step: "Credit", Outcome: Unknown},
		{Type: CompensationTried, Step: "Credit", Attempt: 1},
		{Type: CompensationEntered, Step: "Credit", Outcome: Done},
		{Type: CompensationTried, Step: "Credit", Attempt: 2},
		{Type: ErrorCaught, Frame: "Both:1", Step: "Credit", Next: "Look", Error: "sold out"},
		{Type: CompensationEdited, Step: "Credit", Outcome: Unknown, By: "ann", State: json.RawMessage(`{"fare":7}`)},
	}, map[string][]json.RawMessage{"": {json.RawMessage(`{"fare":1}`)}, "Both:1": {json.RawMessage(`7`), json.RawMessage(`8`)}})
	if err != nil {
		t.Fatal(err)
	}
	wantData := `{"t":1700000000000,"e":[{"c":5,"s":"Charge","a":2,"o":"not done","m":"Declined","x":"declined","k":"goroutine 1"},` +
		`{"c":7,"s":"Charge","g":true},{"c":10,"s":"Charge","b":"ann","n":"asked for"},` +
		`{"c":102,"s":"Charge","a":3,"g":true},{"c":101,"s":"Credit"},{"c":103,"s":"Credit","o":"unknown"},` +
		`{"c":13,"s":"Credit","o":"done"},{"c":14,"s":"Credit","a":2},{"c":45,"f":"Both:1","s":"Credit","w":"Look","x":"sold out"},{"c":56,"s":"Credit","o":"unknown","b":"ann","i":{"fare":7}}],` +
		`"d":{"fare":1},"f":{"Both:1":[7,8]}}`
	if string(data) != wantData {
		t.Errorf("an entry is written as\n%s, want\n%s", data, wantData)
	}
	events, err := decodeEntries(nil, [][]byte{data, []byte(`{"t":1700000000001,"e":[{"c":99,"s":"Charge"}]}`)},
		json.RawMessage(`{"fare":0}`), map[string]json.RawMessage{"": json.RawMessage(`{"fare":2}`)})
	if err != nil {
		t.Fatal(err)
	}
	wantEvents := []Event{
		{ID: 1, Time: at, Type: TaskFailed, Step: "Charge", Attempt: 2, Outcome: NotDone, Name: "Declined", Error: "declined", Stack: "goroutine 1"},
		{ID: 2, Time: at, Type: TaskStateExited, Step: "Charge", State: json.RawMessage(`{"fare":1}`), changed: true},
		{ID: 3, Time: at, Type: ExecutionAborted, Step: "Charge", By: "ann", Note: "asked for"},
		{ID: 4, Time: at, Type: TaskSucceeded, Step: "Charge", Attempt: 3},
		{ID: 5, Time: at, Type: TaskStateExited, Step: "Charge", State: json.RawMessage(`{"fare":2}`), changed: true},
		{ID: 6, Time: at, Type: TaskStateEntered, Step: "Credit"},
		{ID: 7, Time: at, Type: TaskScheduled, Step: "Credit", Attempt: 1},
		{ID: 8, Time: at, Type: CompensationEntered, Step: "Credit", Outcome: Unknown},
		{ID: 9, Time: at, Type: CompensationTried, Step: "Credit", Attempt: 1},
		{ID: 10, Time: at, Type: CompensationEntered, Step: "Credit", Outcome: Done},
		{ID: 11, Time: at, Type: CompensationTried, Step: "Credit", Attempt: 2},
		{ID: 12, Time: at, Type: ErrorCaught, Frame: "Both:1", Step: "Credit", Next: "Look", Error: "sold out"},
		{ID: 13, Time: at, Type: CompensationEdited, Step: "Credit", Outcome: Unknown, By: "ann", State: json.RawMessage(`{"fare":7}`)},
		{ID: 14, Time: at.Add(time.Millisecond), Type: "Unknown(99)", Step: "Charge"}, // of a later release
	}
	if !reflect.DeepEqual(events, wantEvents) {
		t.Errorf("read as\n%+v, want\n%+v", events, wantEvents)
	}
}

func TestFormatOfMessages(t *testing.T) {
	golden(t, mail{Kind: mailCancel, By: "ann", Note: "asked for"}, `{"k":"cancel","b":"ann","n":"asked for"}`)
	golden(t, mail{Kind: mailRetry}, `{"k":"retry"}`)
	golden(t, mail{Kind: mailEdit, By: "ann", Edit: &inputEdit{
		Frame: "Both:1", Step: "Charge", Undo: true, Attempt: 10, Input: json.RawMessage(`{"fare":1}`), Confirmed: true,
	}}, `{"k":"edit","b":"ann","i":{"f":"Both:1","s":"Charge","u":true,"a":10,"d":{"fare":1},"c":true}}`)
	golden(t, mail{Kind: mailSkip, Skip: &skipped{Frame: "Both:1", Step: "Charge", Undo: true, Attempt: 10, Done: true}},
		`{"k":"skip","p":{"f":"Both:1","s":"Charge","u":true,"a":10,"d":true}}`)
	golden(t, mail{Kind: mailSuspend, By: "saga ride-1", Parent: true}, `{"k":"suspend","b":"saga ride-1","h":true}`)
	golden(t, frame{
		Step: "Charge", Blocked: true, Why: &Cause{Kind: CauseFailed, Error: "declined"}, Halts: 2, Halted: true, Fork: &fork{Step: "Charge", Size: 1, Skipped: true},
	}, `{"s":"Charge","k":true,"A":{"kind":"failed","error":"declined"},"f":{"s":"Charge","n":1,"k":true},"P":2,"T":true}`)
	golden(t, letter{ID: "ride-1.end", To: "fares", Body: json.RawMessage(`{"waybill":1}`)},
		`{"id":"ride-1.end","to":"fares","body":{"waybill":1}}`)
	golden(t, letter{ID: "k/2", To: "payments", Body: json.RawMessage(`{"waybill":1}`), Frame: "Both:1", Step: "Charge", Undo: true, Attempt: 2},
		`{"id":"k/2","to":"payments","body":{"waybill":1},"f":"Both:1","s":"Charge","u":true,"a":2}`)
	golden(t, command{
		Waybill: 1, Command: "undo", Key: "k", Execution: "ride-1", Definition: "fare", Frame: "Both:1", Step: "Charge", Visit: 1, Attempt: 2,
		Undoes: "j", Outcome: Unknown, Input: json.RawMessage(`{"cents":2000}`), NotAfter: 1700000000000, ReplyTo: "replies", Commit: "c.3",
	}, `{"waybill":1,"command":"undo","key":"k","execution":"ride-1","definition":"fare","frame":"Both:1","step":"Charge","visit":1,"attempt":2,`+
		`"undoes":"j","outcome":"unknown","input":{"cents":2000},"notAfter":1700000000000,"replyTo":"replies","commit":"c.3"}`)
	golden(t, replyMessage{
		Waybill: 1, Reply: "do", Key: "k", Execution: "ride-1", Frame: "Both:1", Step: "Charge", Visit: 1, Attempt: 2, Commit: "c.3",
		Outcome: NotDone, Result: json.RawMessage(`{"id":"ch-1"}`), Error: "Declined", Cause: "no money", Permanent: true,
	}, `{"waybill":1,"reply":"do","key":"k","execution":"ride-1","frame":"Both:1","step":"Charge","visit":1,"attempt":2,"commit":"c.3",`+
		`"outcome":"not done","result":{"id":"ch-1"},"error":"Declined","cause":"no money","permanent":true}`)
	golden(t, answer{Version: 1, Outcome: Done, Result: json.RawMessage(`{"id":"ch-1"}`)}, `{"v":1,"o":"done","r":{"id":"ch-1"}}`)
	golden(t, answer{Version: 1, Outcome: NotDone, Name: "Declined", Cause: "no money", Permanent: true},
		`{"v":1,"o":"not done","n":"Declined","c":"no money","p":true}`)
	golden(t, notice{
		Waybill: 1, Execution: "ride-1", Definition: "fare", Status: Compensated, State: json.RawMessage(`{"fare":2000}`),
		Cause: &Cause{Kind: CauseFailed, Step: "Charge", Error: "declined"},
	}, `{"waybill":1,"execution":"ride-1","definition":"fare","status":"compensated","state":{"fare":2000},`+
		`"cause":{"kind":"failed","step":"Charge","error":"declined"}}`)
	golden(t, startMessage{Waybill: 1, Start: "fare", ID: "ride-1", Input: json.RawMessage(`{"fare":2000}`), ReplyTo: "fares"},
		`{"waybill":1,"start":"fare","id":"ride-1","input":{"fare":2000},"replyTo":"fares"}`)
}

func TestFormatOfStatuses(t *testing.T) {
	if got, want := fmt.Sprint(Statuses()), "[running blocked quarantined completed compensated terminated]"; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(CauseFailed, ",", CauseCancelled, ",", CauseTimedOut, ",", CauseCrashes), "failed,cancelled,timed out,crashes"; got != want {
		t.Errorf("causes %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(Done, ",", Unknown, ",", NotDone), "done,unknown,not done"; got != want {
		t.Errorf("outcomes %s, want %s", got, want)
	}
}

func TestFormatOfKeys(t *testing.T) {
	tests := []struct {
		info StepInfo
		want string
	}{
		{StepInfo{Execution: "ride-1", Visit: 1}, "ride-1/1//Charge/1/do"},
		{StepInfo{Execution: "ride-1", Visit: 1, Undo: true}, "ride-1/1//Charge/1/undo"},
		{StepInfo{Execution: "ride-1", Visit: 1, Undo: true, Edits: 1}, "ride-1/1//Charge/1/undo/2"},
		{StepInfo{Execution: "ride-1", Visit: 3}, "ride-1/1//Charge/3/do"},
		{StepInfo{Execution: "ride-1", Visit: 1, Frame: "Both@2:1,Items:12"}, "ride-1/1/Both@2:1,Items:12/Charge/1/do"},
		{StepInfo{Execution: "a/b", Visit: 1}, "a%2Fb/1//Charge/1/do"},
		{StepInfo{Execution: "a%2Fb", Visit: 1}, "a%252Fb/1//Charge/1/do"},
		{StepInfo{Execution: "50%", Visit: 1}, "50%25/1//Charge/1/do"},
		{StepInfo{Execution: "ünï code", Visit: 1}, "ünï code/1//Charge/1/do"},
	}
	seen := make(map[string]bool)
	for _, tt := range tests {
		tt.info.Step = "Charge"
		got := idempotencyKey(tt.info)
		if got != tt.want {
			t.Errorf("the key of %+v is %q, want %q", tt.info, got, tt.want)
		}
		if seen[got] {
			t.Errorf("%+v has the key of another", tt.info)
		}
		seen[got] = true
	}
	f := &frame{path: "Both@2:1"}
	if got := f.below(&fork{Step: "Items"}, 12); got != "Both@2:1,Items:12" {
		t.Errorf("an item's path is %q", got)
	}
	if got := new(frame).below(&fork{Step: "Both", Visit: 2}, 1); got != "Both@2:1" {
		t.Errorf("a branch's path is %q", got)
	}
}

func TestFormatOfRecordKeys(t *testing.T) {
	long := strings.Repeat("x", 500)
	for _, tt := range [][3]string{
		{"fare", "ride-1/1//Charge/1/do", "saga/fare/ride-1/1//Charge/1/do"},
		{"a/b", "ride-1/1//Charge/1/undo", "saga/a%2Fb/ride-1/1//Charge/1/undo"},
		{"fare", long + "xx", "saga/fare/" + long + "xx"},
		{"fare", long + "xxx", "saga/sha256:ae1b2807252c26e376c4ca80d599ca8ed327619ba2cd716dc3feab80e2c5b8e3"},
	} {
		if got := recordKey(tt[0], tt[1]); got != tt[2] {
			t.Errorf("the record of %q of %q is under %q, want %q", tt[1], tt[0], got, tt[2])
		}
	}
}

func TestFormatOfDefinitions(t *testing.T) {
	s := New("fare",
		Do("Register", nothing).Undo(undoNothing),
		Do("Charge", nothing).Undo(undoNothing).Retry(Exponential(time.Second, 10*time.Second, 3)).UndoRetry(Once()).Timeout(5*time.Second).Within(time.Minute),
		Do("Look", nothing).ReadOnly(),
		Do("Announce", nothing).Pivot().Retry(Retry{Attempts: Forever, Jitter: -1, Factor: 1.5}),
		Do("Clean", nothing).Irreversible(),
	).Within(time.Hour)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(s.Definition(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/definition.json")
	if err != nil {
		t.Fatal(err)
	}
	if got = append(got, '\n'); !bytes.Equal(got, want) {
		t.Errorf("the graph is written as\n%s, want\n%s", got, want)
	}
}

func TestCodecErrorsAreErrors(t *testing.T) {
	broken := codecFunc(func([]byte) ([]byte, error) { return nil, errors.New("no key") })
	if _, err := encodeJSON(broken, 1); err == nil {
		t.Error("a codec that fails to encode: no error")
	}
	var v int
	if err := decodeJSON(broken, []byte("1"), &v); err == nil {
		t.Error("a codec that fails to decode: no error")
	}
}

type codecFunc func([]byte) ([]byte, error)

func (f codecFunc) Encode(b []byte) ([]byte, error) { return f(b) }

func (f codecFunc) Decode(b []byte) ([]byte, error) { return f(b) }
