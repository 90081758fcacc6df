package saga

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"
)

// What version 1 writes into the store and into messages cannot be taken back:
// executions of one release are read by the next. A change that breaks one of
// these tests needs a new version of the format, and a reader of the old one.

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
	golden(t, frame{Step: "Charge", Attempt: 1, Tries: 1, Epoch: 1, State: json.RawMessage(`{"fare":2000}`), Entries: 1},
		`{"s":"Charge","a":1,"n":1,"e":1,"d":{"fare":2000},"h":1}`)
	golden(t, frame{
		Step: "Charge", Entered: 1700000000000, Attempt: 3, Tries: 2, Epoch: 4, At: 1700000000500,
		Unknown: true, StillRunning: 1700000090000, Undoing: true, Blocked: true, Pivoted: true, Overdue: true,
		Cause:   &Cause{Kind: CauseFailed, Step: "Credit", Error: "closed account"},
		Trouble: &Cause{Kind: CauseFailed, Step: "Charge", Undo: true, Error: "no answer", By: "ann", Note: "see 42"},
		State:   json.RawMessage(`{"fare":2000}`), Entries: 5, Changed: true,
		Undo: []undoRecord{{Step: "Look", Entry: stateInMeta}, {Step: "Register", Entry: 3}, {Step: "Charge", Unknown: true, NotUntil: 1700000090000}},
	}, `{"s":"Charge","t":1700000000000,"a":3,"n":2,"e":4,"b":1700000000500,"u":true,"r":1700000090000,"x":true,"k":true,"p":true,"o":true,`+
		`"c":{"kind":"failed","step":"Credit","error":"closed account"},`+
		`"m":{"kind":"failed","step":"Charge","undo":true,"error":"no answer","by":"ann","note":"see 42"},`+
		`"d":{"fare":2000},"h":5,"g":true,"z":[{"s":"Look","h":-1},{"s":"Register","h":3},{"s":"Charge","u":true,"t":1700000090000}]}`)
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
	r, err := c.startRequest(s.def, "ride-1", []byte(`{"fare":2000}`), startOptions{delay: time.Minute})
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
	if got, want := string(r.Root), `{"s":"A","a":1,"n":1,"e":1,"d":{"fare":2000},"h":1}`; got != want {
		t.Errorf("root frame %s, want %s", got, want)
	}
	var e entry
	if err := json.Unmarshal(r.History, &e); err != nil {
		t.Fatal(err)
	}
	golden(t, e, `{"t":0,"e":[{"c":1},{"c":101,"s":"A"}]}`)
}

// noStore is a Store for what does not get that far.
type noStore struct{ Store }

func TestFormatOfHistory(t *testing.T) {
	codes := []EventType{
		ExecutionStarted, TaskStateEntered, TaskScheduled, TaskSucceeded, TaskFailed, TaskTimedOut, TaskStateExited,
		ExecutionSucceeded, ExecutionFailed, ExecutionAborted, ExecutionTimedOut, ExecutionRedriven,
		CompensationEntered, CompensationTried, CompensationDone, CompensationFailed, ExecutionCompensated,
		ExecutionBlocked, CancelRefused, RetryRefused, ExecutionOverdue, MailDiscarded,
	}
	for i, e := range codes {
		if got := eventCodes[e]; got != i+1 {
			t.Errorf("%s is stored as %d, want %d", e, got, i+1)
		}
	}
	if len(eventCodes) != len(codes) || len(eventTypes) != len(codes) {
		t.Errorf("%d codes for %d types, want %d of each: list a new type here, under a new number", len(eventTypes), len(eventCodes), len(codes))
	}

	at := time.UnixMilli(1700000000000)
	data, err := encodeEntry(nil, at, []Event{
		{Type: TaskFailed, Step: "Charge", Attempt: 2, Outcome: NotDone, Error: "declined", Stack: "goroutine 1"},
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
	}, []byte(`{"fare":1}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"t":1700000000000,"e":[{"c":5,"s":"Charge","a":2,"o":"not done","x":"declined","k":"goroutine 1"},` +
		`{"c":7,"s":"Charge","g":true},{"c":10,"s":"Charge","b":"ann","n":"asked for"},` +
		`{"c":102,"s":"Charge","a":3,"g":true},{"c":101,"s":"Credit"},{"c":103,"s":"Credit","o":"unknown"},` +
		`{"c":13,"s":"Credit","o":"done"},{"c":14,"s":"Credit","a":2}],"d":{"fare":1}}`
	if string(data) != want {
		t.Errorf("an entry is written as\n%s, want\n%s", data, want)
	}
	events, err := decodeEntries(nil, [][]byte{data, []byte(`{"t":1700000000001,"e":[{"c":99,"s":"Charge"}]}`)},
		json.RawMessage(`{}`), json.RawMessage(`{"fare":2}`))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents := []Event{
		{ID: 1, Time: at, Type: TaskFailed, Step: "Charge", Attempt: 2, Outcome: NotDone, Error: "declined", Stack: "goroutine 1"},
		{ID: 2, Time: at, Type: TaskStateExited, Step: "Charge", State: json.RawMessage(`{"fare":2}`), changed: true},
		{ID: 3, Time: at, Type: ExecutionAborted, Step: "Charge", By: "ann", Note: "asked for"},
		{ID: 4, Time: at, Type: TaskSucceeded, Step: "Charge", Attempt: 3},
		{ID: 5, Time: at, Type: TaskStateExited, Step: "Charge", State: json.RawMessage(`{"fare":2}`), changed: true},
		{ID: 6, Time: at, Type: TaskStateEntered, Step: "Credit"},
		{ID: 7, Time: at, Type: TaskScheduled, Step: "Credit", Attempt: 1},
		{ID: 8, Time: at, Type: CompensationEntered, Step: "Credit", Outcome: Unknown},
		{ID: 9, Time: at, Type: CompensationTried, Step: "Credit", Attempt: 1},
		{ID: 10, Time: at, Type: CompensationEntered, Step: "Credit", Outcome: Done},
		{ID: 11, Time: at, Type: CompensationTried, Step: "Credit", Attempt: 2},
		{ID: 12, Time: at.Add(time.Millisecond), Type: "Unknown(99)", Step: "Charge"}, // of a later release
	}
	if !reflect.DeepEqual(events, wantEvents) {
		t.Errorf("read as\n%+v, want\n%+v", events, wantEvents)
	}
}

func TestFormatOfMessages(t *testing.T) {
	golden(t, mail{Kind: mailCancel, By: "ann", Note: "asked for"}, `{"k":"cancel","b":"ann","n":"asked for"}`)
	golden(t, mail{Kind: mailRetry}, `{"k":"retry"}`)
	golden(t, outbox{ID: "ride-1.end", To: "fares", Body: json.RawMessage(`{"waybill":1}`)},
		`{"id":"ride-1.end","to":"fares","body":{"waybill":1}}`)
	golden(t, notice{
		Waybill: 1, Execution: "ride-1", Definition: "fare", Status: Compensated, State: json.RawMessage(`{"fare":2000}`),
		Cause: &Cause{Kind: CauseFailed, Step: "Charge", Error: "declined"},
	}, `{"waybill":1,"execution":"ride-1","definition":"fare","status":"compensated","state":{"fare":2000},`+
		`"cause":{"kind":"failed","step":"Charge","error":"declined"}}`)
	golden(t, startMessage{Waybill: 1, Start: "fare", ID: "ride-1", Input: json.RawMessage(`{"fare":2000}`), ReplyTo: "fares"},
		`{"waybill":1,"start":"fare","id":"ride-1","input":{"fare":2000},"replyTo":"fares"}`)
}

func TestFormatOfStatuses(t *testing.T) {
	if got, want := fmt.Sprint(Statuses()), "[running blocked completed compensated]"; got != want {
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
		execution, step string
		undo            bool
		want            string
	}{
		{"ride-1", "Charge", false, "ride-1/1//Charge/1/do"},
		{"ride-1", "Charge", true, "ride-1/1//Charge/1/undo"},
		{"a/b", "Charge", false, "a%2Fb/1//Charge/1/do"},
		{"a%2Fb", "Charge", false, "a%252Fb/1//Charge/1/do"},
		{"50%", "Charge", false, "50%25/1//Charge/1/do"},
		{"ünï code", "Charge", false, "ünï code/1//Charge/1/do"},
	}
	seen := make(map[string]string)
	for _, tt := range tests {
		got := idempotencyKey(tt.execution, tt.step, 1, tt.undo)
		if got != tt.want {
			t.Errorf("the key of %q is %q, want %q", tt.execution, got, tt.want)
		}
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q have the same key", tt.execution, other)
		}
		seen[got] = tt.execution
	}
}

func TestFormatOfDefinitions(t *testing.T) {
	s := NewWithin("fare", time.Hour,
		Do("Register", nothing).Undo(undoNothing),
		Do("Charge", nothing).Undo(undoNothing).Retry(Exponential(time.Second, 10*time.Second, 3)).UndoRetry(Once()).Timeout(5*time.Second).Within(time.Minute),
		Do("Look", nothing).ReadOnly(),
		Do("Announce", nothing).Pivot().Retry(Retry{Attempts: Forever, Jitter: -1, Factor: 1.5}),
		Do("Clean", nothing).Irreversible(),
	)
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

// What the store hands over is decoded with care: bytes that nobody of ours
// wrote may be refused, and never bring a worker down.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"s":"A","a":1,"n":1,"e":1,"d":{"fare":2000}}`))
	f.Add([]byte(`{"s":"A","t":1700000000000,"a":3,"n":2,"e":1,"b":1,"u":true,"r":1,"d":1,"f":2,"z":[{"s":"A","o":"done","f":1}]}`))
	f.Add([]byte(`{"s":"A","e":1,"x":true,"d":1,"z":[{"s":"A","o":"unknown","f":1,"t":9}]}`))
	f.Add([]byte(`{"s":"P","e":1,"p":true,"k":true,"m":{"kind":"failed"},"d":1}`))
	f.Add([]byte(`{"s":"A","x":true,"z":[]}`))
	f.Add([]byte(`{"s":"Nobody"}`))
	f.Add([]byte(`{"e":1,"x":true,"c":{"kind":"cancelled"}}`))
	def := New("s", compensable("A"), Do("P", nothing).Pivot().Retry(twice), Do("Z", nothing).Retry(twice)).def
	f.Fuzz(func(t *testing.T, data []byte) {
		fr, err := decodeFrame(nil, data, def)
		if err != nil {
			return
		}
		b := &bench{def: def, epoch: fr.Epoch + 1, now: time.UnixMilli(1_000_000), start: time.UnixMilli(1_000_000), committed: data}
		b.resume()
		for range 20 {
			switch b.settle() {
			case runUndo, runAction:
				b.m.answer(result{outcome: Done, state: []byte("1")}, b.now)
			case wait:
				b.open(max(b.wake.Sub(b.now), 0))
			case stop:
				if b.m.status().Ended() {
					return
				}
				b.m.retry("", "", b.now)
			}
		}
		t.Errorf("%s does not end: %s", data, brief(b.trace))
	})
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"t":1700000000000,"e":[{"c":1},{"c":101,"s":"A"}],"d":{"fare":1}}`))
	f.Add([]byte(`{"t":-1,"e":[{"c":-1,"a":-1},{"c":0},{"c":102,"g":true}]}`))
	f.Add([]byte(`{"e":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := decodeEntries(nil, [][]byte{data, data}, json.RawMessage(`1`), json.RawMessage(`2`))
		if err != nil {
			return
		}
		for i, e := range events {
			if e.ID != i+1 || e.Type == "" {
				t.Errorf("event %d of %s is %+v", i+1, data, e)
			}
		}
		if _, err := encodeEntry(nil, time.Now(), events, nil); err != nil {
			t.Errorf("%s cannot be written again: %v", data, err)
		}
	})
}
