package saga

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestMachine(t *testing.T) {
	plain := New("plain", compensable("A"), compensable("B"), compensable("C")).def
	last := New("last", compensable("A"), Do("B", nothing).Retry(twice)).def
	mixed := New("mixed", compensable("A"), Do("B", nothing).ReadOnly().Retry(twice),
		Do("C", nothing).Irreversible().Retry(twice), compensable("D")).def
	pivot := New("pivot", compensable("A"), Do("P", nothing).Pivot().Retry(twice), Do("Z", nothing).Retry(twice)).def
	timed := New("timed", compensable("A"), compensable("B")).Within(time.Minute).def
	timedPivot := New("timed", compensable("A"), Do("P", nothing).Pivot().Retry(twice), Do("Z", nothing).Retry(Retry{Attempts: Forever, Initial: time.Second, Jitter: -1})).Within(time.Minute).def
	forever := New("forever", compensable("A"), compensable("B").Retry(endless).UndoRetry(endless), Do("C", nothing)).def
	within := New("within", compensable("A").Within(1500*time.Millisecond).Retry(Retry{Attempts: 9, Initial: time.Second, Factor: 1, Jitter: -1})).def

	tests := []struct {
		name string
		def  *Definition
		ops  string
		want string
	}{
		{"completes", plain, "done done done", "A.1 ok B.1 ok C.1 ok Succeeded"},
		{"keeps a state that did not change", plain, "same same same", "A.1 ok B.1 ok C.1 ok Succeeded"},
		{"undoes what is done in reverse", plain, "done done declined done done",
			"A.1 ok B.1 ok C.1 failed Failed (done) undo-B.1 undone (done) undo-A.1 undone Compensated"},
		{"ends at once where nothing was done", plain, "declined", "A.1 failed Failed Compensated"},
		{"retries", plain, "flaky wake done done done", "A.1 failed A.2 ok B.1 ok C.1 ok Succeeded"},
		{"gives up after the last attempt", plain, "done flaky wake flaky done",
			"A.1 ok B.1 failed B.2 failed Failed (done) undo-A.1 undone Compensated"},
		{"undoes a step whose outcome is unknown", plain, "done unknown! done done",
			"A.1 ok B.1 unknown Failed (unknown) undo-B.1 undone (done) undo-A.1 undone Compensated"},
		{"joins the outcomes of attempts: unknown stays", plain, "unknown wake declined done",
			"A.1 unknown A.2 failed Failed (unknown) undo-A.1 undone Compensated"},
		{"joins the outcomes of attempts: done wins", plain, "unknown wake done declined done",
			"A.1 unknown A.2 ok B.1 failed Failed (done) undo-A.1 undone Compensated"},
		{"a last step without an Undo may be unknown", last, "done unknown! done",
			"A.1 ok B.1 unknown Failed (done) undo-A.1 undone Compensated"},
		{"passes over what has nothing to undo", mixed, "done done done unknown! done done",
			"A.1 ok B.1 ok C.1 ok D.1 unknown Failed (unknown) undo-D.1 undone (done) undo-A.1 undone Compensated"},
		{"a read that is unknown needs no undo", mixed, "done unknown! done",
			"A.1 ok B.1 unknown Failed (done) undo-A.1 undone Compensated"},

		{"a lost worker leaves an unknown attempt", plain, "crash wake done done done",
			"A.1 unknown A.2 ok B.1 ok C.1 ok Succeeded"},
		{"a worker lost in a compensation tries it again", plain, "done declined crash wake done",
			"A.1 ok B.1 failed Failed (done) undo-A.1 failed undo-A.2 undone Compensated"},
		{"a worker lost while parked loses no attempt", plain, "flaky +0s wake done done done",
			"A.1 failed A.2 ok B.1 ok C.1 ok Succeeded"},

		{"a step that kills its workers blocks, however patient it is", forever, "done crash wake crash wake crash",
			"A.1 ok B.1 unknown B.2 unknown B.3 unknown Blocked"},
		{"an answer in between tells that it does not", forever, "done crash wake crash wake flaky wake crash wake crash wake done done",
			"A.1 ok B.1 unknown B.2 unknown B.3 failed B.4 unknown B.5 unknown B.6 ok C.1 ok Succeeded"},
		{"a retry lets it kill as many again", forever, "done crash wake crash wake crash retry crash wake crash wake crash",
			"A.1 ok B.1 unknown B.2 unknown B.3 unknown Blocked Redriven B.4 unknown B.5 unknown B.6 unknown Blocked"},
		{"what it may have done is undone by a cancel", forever, "done crash wake crash wake crash cancel wake done done",
			"A.1 ok B.1 unknown B.2 unknown B.3 unknown Blocked Aborted (unknown) undo-B.1 undone (done) undo-A.1 undone Compensated"},
		{"a compensation that kills its workers blocks", forever, "done done declined crash wake crash wake crash",
			"A.1 ok B.1 ok C.1 failed Failed (done) undo-B.1 failed undo-B.2 failed undo-B.3 failed Blocked"},
		{"a policy that gives up first undoes", plain, "done crash wake crash wake done done",
			"A.1 ok B.1 unknown B.2 unknown Failed (unknown) undo-B.1 undone (done) undo-A.1 undone Compensated"},

		{"blocks at a compensation, and skips none", plain, "done done declined flaky wake flaky",
			"A.1 ok B.1 ok C.1 failed Failed (done) undo-B.1 failed undo-B.2 failed Blocked"},
		{"retries the compensation that blocks", plain, "done done declined declined retry done done",
			"A.1 ok B.1 ok C.1 failed Failed (done) undo-B.1 failed Blocked Redriven undo-B.2 undone (done) undo-A.1 undone Compensated"},
		{"a retry brings all attempts again", plain, "done declined declined retry flaky wake flaky",
			"A.1 ok B.1 failed Failed (done) undo-A.1 failed Blocked Redriven undo-A.2 failed undo-A.3 failed Blocked"},
		{"a retry hurries a wait", plain, "flaky retry done done done",
			"A.1 failed A.2 Redriven A.2 ok B.1 ok C.1 ok Succeeded"},
		{"a retry of what runs is refused", plain, "retry done done done", "A.1 RetryRefused ok B.1 ok C.1 ok Succeeded"},

		{"cancels before anything is done", plain, "cancel", "A.1 Aborted Compensated"},
		{"cancels in the middle", plain, "done cancel done", "A.1 ok B.1 Aborted (done) undo-A.1 undone Compensated"},
		{"cancels while it waits", plain, "done flaky cancel done", "A.1 ok B.1 failed B.2 Aborted (done) undo-A.1 undone Compensated"},
		{"cancels what may have happened", plain, "unknown cancel done", "A.1 unknown A.2 Aborted (unknown) undo-A.1 undone Compensated"},
		{"a cancel of what is being undone is noted", plain, "done declined cancel done",
			"A.1 ok B.1 failed Failed (done) undo-A.1 CancelRefused undone Compensated"},

		{"the pivot drops the compensations", pivot, "done done done", "A.1 ok P.1 ok Z.1 ok Succeeded"},
		{"a pivot that fails is undone around", pivot, "done declined done", "A.1 ok P.1 failed Failed (done) undo-A.1 undone Compensated"},
		{"after the pivot a step blocks", pivot, "done done flaky wake flaky", "A.1 ok P.1 ok Z.1 failed Z.2 failed Blocked"},
		{"after the pivot an unknown step blocks", pivot, "done done unknown!", "A.1 ok P.1 ok Z.1 unknown Blocked"},
		{"after the pivot a retry goes on", pivot, "done done declined retry done", "A.1 ok P.1 ok Z.1 failed Blocked Redriven Z.2 ok Succeeded"},
		{"an unknown pivot is retried", pivot, "done unknown wake done done", "A.1 ok P.1 unknown P.2 ok Z.1 ok Succeeded"},
		{"an unknown pivot blocks, never undone", pivot, "done unknown wake declined", "A.1 ok P.1 unknown P.2 failed Blocked"},
		{"an unknown pivot stays unknown after a retry", pivot, "done unknown! retry declined", "A.1 ok P.1 unknown Blocked Redriven P.2 failed Blocked"},
		{"a cancel after the pivot is refused", pivot, "done done cancel done", "A.1 ok P.1 ok Z.1 CancelRefused ok Succeeded"},
		{"a cancel of a blocked step after the pivot is refused", pivot, "done done declined cancel", "A.1 ok P.1 ok Z.1 failed Blocked CancelRefused"},
		{"a cancel of an unknown pivot is refused", pivot, "done unknown! cancel", "A.1 ok P.1 unknown Blocked CancelRefused"},
		{"a cancel before the pivot has run is heeded", pivot, "done cancel done", "A.1 ok P.1 Aborted (done) undo-A.1 undone Compensated"},
		{"a worker lost in the pivot leaves it unknown", pivot, "done crash cancel wake done done", "A.1 ok P.1 unknown P.2 CancelRefused ok Z.1 ok Succeeded"},

		{"runs out of time between attempts", timed, "done +59s flaky +1s done", "A.1 ok B.1 failed B.2 TimedOut (done) undo-A.1 undone Compensated"},
		{"running out of time undoes the unknown", timed, "+59s unknown +1s done", "A.1 unknown A.2 TimedOut (unknown) undo-A.1 undone Compensated"},
		{"undoing has no deadline", timed, "done declined +2m done", "A.1 ok B.1 failed Failed (done) undo-A.1 undone Compensated"},
		{"after the pivot running out of time is an alert, once", timedPivot, "done done +2m flaky wake done", "A.1 ok P.1 ok Z.1 Overdue failed Z.2 ok Succeeded"},
		{"an unknown pivot that runs out of time is not undone", timedPivot, "done unknown +2m done done", "A.1 ok P.1 unknown P.2 Overdue ok Z.1 ok Succeeded"},
		{"a step runs out of its own time", within, "flaky wake flaky", "A.1 failed A.2 failed Failed Compensated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(tt.def)
			b.play(t, tt.ops)
			if got := brief(b.trace); got != tt.want {
				t.Errorf("the history is\n\t%s\nwant\n\t%s", got, tt.want)
			}
		})
	}
}

// The undo of an action that nobody answered for waits until its handler must
// have ended: its attempt may have begun just before the lease expired.
func TestMachineWaitsForAHandlerThatMayRun(t *testing.T) {
	def := New("s", compensable("A").Timeout(10*time.Second)).def
	b := newBench(def)
	b.play(t, "crash cancel")
	if !b.parked {
		t.Fatalf("the undo is dispatched at once: %s", brief(b.trace))
	}
	if earliest := b.start.Add(benchLease + 10*time.Second); b.wake.Before(earliest) {
		t.Errorf("the undo may run %s after the dispatch, want %s at least", b.wake.Sub(b.start), earliest.Sub(b.start))
	}

	// An operator's retry does not shorten that.
	wake := b.wake
	b.play(t, "retry")
	if !b.parked || b.wake.Before(wake) {
		t.Errorf("a retry moved the undo from %s to %s after the dispatch", wake.Sub(b.start), b.wake.Sub(b.start))
	}
	b.play(t, "wake done")
	if got := b.m.status(); got != Compensated {
		t.Errorf("status %q: %s", got, brief(b.trace))
	}
}

// The same where the attempt waited long for a worker: it begins when it is
// opened, not when it was due.
func TestMachineWaitsForAHandlerThatBeganLate(t *testing.T) {
	def := New("s", compensable("A").Timeout(10*time.Second)).def
	b := newBench(def)
	b.play(t, "flaky +1h crash cancel") // the second attempt began after an hour
	began := b.start.Add(time.Hour)
	if !b.parked {
		t.Fatalf("the undo is dispatched at once, %s after an attempt of %s began", b.now.Sub(began), 10*time.Second)
	}
	if earliest := began.Add(benchLease + 10*time.Second); b.wake.Before(earliest) {
		t.Errorf("the undo may run %s after the attempt began, want %s at least", b.wake.Sub(began), earliest.Sub(began))
	}
}

// A worker that is lost before an attempt was due cannot have begun it.
func TestMachineDoesNotCountAnAttemptThatWasNotDue(t *testing.T) {
	def := New("s", compensable("A"), Do("P", nothing).Pivot().Retry(Retry{Initial: time.Hour, Max: time.Hour, Jitter: -1})).def
	b := newBench(def)
	b.play(t, "done flaky")
	b.open(time.Minute) // for mail, say
	b.crash()
	b.play(t, "")
	if got, want := brief(b.trace), "A.1 ok P.1 failed P.2"; got != want {
		t.Errorf("the history is %q, want %q", got, want)
	}
	b.play(t, "cancel done")
	if got, want := brief(b.trace), "A.1 ok P.1 failed P.2 Aborted (done) undo-A.1 undone Compensated"; got != want {
		t.Errorf("the history is %q, want %q", got, want)
	}
}

// Whoever opens the execution next knows from the frame alone that the action
// may have happened, and what to undo: the frame was there before it.
func TestMachineRecordsTheCompensationBeforeTheAction(t *testing.T) {
	def := New("s", compensable("A"), compensable("B")).def
	b := newBench(def)
	b.play(t, "done")
	b.crash()
	b.m.cancel("ann", "", b.now)
	want := []undoRecord{{Step: "A"}, {Step: "B", Unknown: true}}
	got := slices.Clone(b.m.root.Undo)
	for i := range got {
		got[i].NotUntil = 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("to be undone: %+v, want %+v", got, want)
	}
}

// A compensation sees the state as it was committed after a done action, and
// before one that is unknown.
func TestMachineKeepsReplacedStates(t *testing.T) {
	def := New("s", compensable("A"), compensable("B"), compensable("C"), compensable("D")).def
	b := newBench(def)
	b.play(t, "done same done unknown!")
	want := []undoRecord{
		{Step: "A", Entry: 3}, {Step: "B", Entry: 3}, {Step: "C"}, {Step: "D", Unknown: true},
	}
	if got := b.m.root.Undo; !reflect.DeepEqual(got, want) {
		t.Errorf("to be undone: %+v, want %+v", got, want)
	}
}

// Running out of the saga's time in the middle of the last attempt is reported
// as that.
func TestMachineTellsTheSagasTimeFromTheSteps(t *testing.T) {
	def := New("s", Do("A", nothing).Retry(Once())).Within(time.Minute).def
	b := newBench(def)
	b.settle()
	b.now = b.now.Add(time.Minute)
	b.m.answer(b.m.root, result{err: context.DeadlineExceeded, outcome: Unknown}, b.now)
	b.settle()
	if c := b.m.root.cause(); c == nil || c.Kind != CauseTimedOut {
		t.Errorf("the cause is %+v, want %q", c, CauseTimedOut)
	}
}

// An earlier attempt whose worker was lost may be at work still, although a
// later one is done: the undo waits for it. So it does where a later attempt
// ended unknown with nothing at work.
func TestMachineWaitsForEarlierAttempts(t *testing.T) {
	def := New("s", compensable("A").Timeout(time.Hour).Retry(Retry{Attempts: 3, Initial: time.Second, Jitter: -1}), compensable("B")).def
	for _, ops := range []string{"crash wake done declined", "crash wake unknown! "} {
		b := newBench(def)
		b.play(t, ops)
		if !b.parked || b.wake.Before(b.start.Add(time.Hour)) {
			t.Errorf("%s: the undo is due %s after the lost attempt began, want the hour that its handler may take", ops, b.wake.Sub(b.start))
		}
	}
}

// A saga that is blocked waits for an operator: that its own time runs out is no
// reason to wake up, again and again.
func TestMachineThatIsBlockedHasNoDeadline(t *testing.T) {
	crashes := New("s", compensable("A").Retry(endless), Do("B", nothing)).Within(10 * time.Minute).def
	pivot := New("s", Do("P", nothing).Pivot().Retry(twice), Do("Z", nothing).Retry(twice)).Within(10 * time.Minute).def
	for _, tt := range []struct {
		def       *Definition
		ops, want string
	}{
		{crashes, "crash wake crash wake crash +1h", "A.1 unknown A.2 unknown A.3 unknown Blocked"},
		{crashes, "crash wake crash wake crash +1h retry", "A.1 unknown A.2 unknown A.3 unknown Blocked Redriven A.4 TimedOut (unknown) undo-A.1"},
		{pivot, "unknown! +1h", "P.1 unknown Blocked"},
		{pivot, "done declined +1h", "P.1 ok Z.1 failed Blocked"},
		{pivot, "done declined +1h retry done", "P.1 ok Z.1 failed Blocked Redriven Z.2 Overdue ok Succeeded"},
	} {
		b := newBench(tt.def)
		b.play(t, tt.ops)
		if got := brief(b.trace); got != tt.want {
			t.Errorf("%s: the history is\n\t%s\nwant\n\t%s", tt.ops, got, tt.want)
		}
		if b.m.status() == Blocked && !b.wake.IsZero() {
			t.Errorf("%s: it wakes up %s after it was opened", tt.ops, b.wake.Sub(b.now))
		}
	}
}

// failingOnce is a codec whose first call fails.
type failingOnce struct{ calls int }

func (f *failingOnce) Encode(p []byte) ([]byte, error) {
	if f.calls++; f.calls == 1 {
		return nil, errors.New("throttled")
	}
	return p, nil
}

func (*failingOnce) Decode(p []byte) ([]byte, error) { return p, nil }

// A frame that cannot be encoded stops the commit, whatever comes after it.
func TestFieldsStopAtAFailingCodec(t *testing.T) {
	b := newBench(New("s", Parallel("X", Branch("a", compensable("A"))).Merge(func(s *int, _ []int) error { *s = 7; return nil }), Do("Z", nothing)).def)
	b.settle()
	f := b.job("X:0")
	b.m.answer(f, b.result(f, "done"), b.now)
	b.m.advance(b.now)
	if set, _, err := b.m.fields(new(failingOnce)); err == nil {
		t.Errorf("the fields are %q, want an error", set)
	}
}
