package saga

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// slowRemote is a step that a participant does, and that is tried twice.
func slowRemote(name string) *Step[int] {
	return Remote(name, "payments", func(n *int) (int, error) { return *n, nil }, func(n *int, r int) error { *n = r; return nil }).
		Timeout(time.Minute).Retry(twice)
}

// crashes blocks what the execution is at, as openings do that end without a commit.
func (b *bench) crashes() {
	b.open(0)
	b.m.block(b.m.root, &Cause{Kind: CauseCrashes, Step: b.m.root.Step, Undo: b.m.root.Undoing})
	b.settle()
}

// replied brings a participant's reply.
func (b *bench) replied(step, what string, attempt int, outcome Outcome) {
	if b.parked {
		b.open(0)
	}
	b.m.hearReply(&replyMessage{Reply: what, Step: step, Visit: 1, Attempt: attempt, Outcome: outcome, Result: json.RawMessage("9")}, b.now)
	b.settle()
}

// orders gives an order that is mail.
func (b *bench) orders(give func(m *machine)) {
	b.open(0)
	give(b.m)
	b.settle()
}

// An attempt that is under way elsewhere while its execution is blocked is one whose
// outcome nobody knows: whoever edits has to say so, and nobody waits for it then.
func TestEditOfWhatIsUnderWay(t *testing.T) {
	edit := func(e inputEdit) func(*machine) {
		return func(m *machine) { m.edit(&e, "ann", "", m.clock(m.start)) }
	}
	t.Run("an action", func(t *testing.T) {
		b := newBench(New("s", slowRemote("A").UndoRemote(), Do("Z", nothing)).def)
		b.settle()
		b.crashes()
		if p := b.m.root.position("1"); !p.Blocked || !p.Unsure {
			t.Errorf("it is at %+v, want it unsure", p)
		}
		b.orders(edit(inputEdit{Step: "A", Attempt: 1, Input: []byte("3")}))
		if got := brief(b.trace); !strings.HasSuffix(got, "RetryRefused") {
			t.Fatalf("without a word of the command that is out, it is edited: %s", got)
		}
		b.sent = nil
		b.orders(edit(inputEdit{Step: "A", Attempt: 1, Input: []byte("3"), Confirmed: true}))
		if len(b.sent) != 1 || b.sent[0].Attempt != 2 || b.sent[0].Visit != 2 || string(b.sent[0].Input) != "3" || !b.m.root.Waiting {
			t.Errorf("%d commands are sent, such as %+v: %s", len(b.sent), b.sent, brief(b.trace))
		}
	})
	t.Run("a compensation", func(t *testing.T) {
		b := newBench(New("s", slowRemote("A").UndoRemote(), Do("Z", nothing)).def)
		b.settle()
		b.replied("A", "do", 1, Done)
		b.play(t, "declined")
		b.crashes()
		if p := b.m.root.position("1"); !p.Blocked || !p.Undoing || !p.Unsure {
			t.Errorf("it is at %+v, want it unsure", p)
		}
		b.sent = nil
		b.orders(edit(inputEdit{Step: "A", Undo: true, Attempt: 1, Input: []byte("3"), Confirmed: true}))
		if len(b.sent) != 1 || b.sent[0].Attempt != 2 || b.sent[0].edits != 1 {
			t.Errorf("%d commands are sent, such as %+v: %s", len(b.sent), b.sent, brief(b.trace))
		}
		b.replied("A", "undo", 1, Done) // of the other input
		b.replied("A", "undo", 2, Done)
		if b.m.status() != Compensated {
			t.Errorf("it is %s: %s", b.m.status(), brief(b.trace))
		}
	})
}

// A compensation that is skipped while its command is out is not waited for: the one
// before it follows.
func TestSkipOfAnUndoThatIsUnderWay(t *testing.T) {
	b := newBench(New("s", compensable("L"), slowRemote("A").UndoRemote(), Do("Z", nothing)).def)
	b.play(t, "done")
	b.replied("A", "do", 1, Done)
	b.play(t, "declined")
	b.crashes()
	b.skips(target(b.m.root))
	b.play(t, "crash wake done")
	if got, want := brief(b.trace), "CompensationSkipped (done) undo-L.1 failed undo-L.2 undone Compensated"; !strings.HasSuffix(got, want) || b.m.status() != Compensated {
		t.Errorf("%s: %s, want %s", b.m.status(), got, want)
	}
}

// An action that is skipped while its command is out may be done still. What comes
// of its earlier attempts does not tell.
func TestSkipOfAnActionThatIsUnderWay(t *testing.T) {
	for name, tt := range map[string]struct {
		replies []int // attempts that have done nothing
		undone  bool
	}{
		"nothing is heard":          {nil, true},
		"of the attempt before":     {[]int{1}, true},
		"of the one that was out":   {[]int{2}, true},
		"that nothing was done":     {[]int{1, 2}, false},
		"that nothing was, in turn": {[]int{2, 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(New("s", slowRemote("A").UndoRemote(), Do("Z", nothing)).def)
			b.play(t, "+1m +1s")
			if f := b.m.root; !f.Waiting || f.Attempt != 2 {
				t.Fatalf("it is at %+v", f)
			}
			b.crashes()
			b.skips(target(b.m.root))
			for _, n := range tt.replies {
				b.replied("A", "do", n, NotDone)
			}
			b.sent = nil
			b.play(t, "declined")
			if undone := len(b.sent) == 1 && b.sent[0].Command == commandUndo; undone != tt.undone {
				t.Errorf("it is undone: %t, want %t: %s", undone, tt.undone, brief(b.trace))
			}
		})
	}
}

// Its compensation here waits until the participant may not begin it any more.
func TestSkippedActionIsUndoneWhenItsTimeIsOver(t *testing.T) {
	b := newBench(New("s", slowRemote("A").Undo(undoNothing), Do("Z", nothing)).def)
	b.settle()
	begun := b.now
	b.crashes()
	b.skips(target(b.m.root))
	b.play(t, "declined")
	if want := begun.Add(time.Minute + benchLease); len(b.jobs) > 0 || !b.wake.Equal(want) {
		t.Errorf("%d handlers are to run, and the next at %s, want %s: %s", len(b.jobs), b.wake, want, brief(b.trace))
	}
	b.play(t, "wake done")
	if b.m.status() != Compensated {
		t.Errorf("it is %s: %s", b.m.status(), brief(b.trace))
	}
}

// A child that is at work goes on, whatever its parent makes of it: so that is not
// skipped.
func TestSkipOfAChildAtWorkIsRefused(t *testing.T) {
	child := New("c", compensable("X"))
	b := newBench(New("s", Child("C", child, func(n *int) (int, error) { return *n, nil }, nil), Do("Z", nothing)).def)
	b.settle()
	b.crashes()
	b.skips(target(b.m.root))
	if want := "step C waits for another execution"; !strings.Contains(b.refusal(), want) || b.m.root.Step != "C" || !b.m.root.Waiting {
		t.Errorf("it is at %+v, refused with %q, want %q", b.m.root, b.refusal(), want)
	}
	b.play(t, "retry")
	b.open(0)
	b.m.hearChild(&childReport{Step: "C", Status: Completed, State: []byte("4")}, b.now)
	b.settle()
	if b.m.root.Step != "Z" {
		t.Errorf("it is at %q: %s", b.m.root.Step, brief(b.trace))
	}
}

// A late "not done" takes away what is to be undone of its step, and moves nothing
// else: what an error that is caught leaves as it is, and what it has undone.
func TestLateNotDoneBesideACaughtError(t *testing.T) {
	b := newBench(New("s", slowRemote("A").UndoRemote(),
		compensable("B").Retry(Once()).Catch("D").Next("D"), compensable("D")).def)
	b.play(t, "+1m +1s")
	b.crashes()
	b.skips(target(b.m.root))
	b.play(t, "unknown!") // B's undo is dispatched
	for _, attempt := range []int{1, 2} {
		f := b.m.root
		f.running = true
		b.m.hearReply(&replyMessage{Reply: "do", Step: "A", Visit: 1, Attempt: attempt, Outcome: NotDone}, b.now)
		f.running = false
	}
	b.settle()
	b.play(t, "flaky +1s done done")
	if got, want := brief(b.trace), "(unknown) undo-B.1 TaskHeardLate failed undo-B.2 undone ErrorCaught D.1 ok Succeeded"; b.m.status() != Completed || !strings.HasSuffix(got, want) {
		t.Errorf("%s: %s, want %s", b.m.status(), got, want)
	}
}

// A child that has completed and is held can always be undone, also when nothing
// of it was done after all.
func TestLateNotDoneOfAHeldChild(t *testing.T) {
	b := newBench(New("c", slowRemote("A").UndoRemote(), Do("Z", nothing).ReadOnly()).def)
	b.play(t, "+1m +1s")
	b.crashes()
	b.skips(target(b.m.root))
	b.m.child = true
	b.play(t, "done")
	if !b.m.root.Held {
		t.Fatalf("it is %s, and not held", b.m.status())
	}
	for _, attempt := range []int{1, 2} {
		b.open(0)
		b.m.child = true
		b.m.hearReply(&replyMessage{Reply: "do", Step: "A", Visit: 1, Attempt: attempt, Outcome: NotDone}, b.now)
		b.settle()
	}
	b.open(0)
	b.m.child, b.sent = true, nil
	b.m.revert("saga 1", "", b.now)
	b.settle()
	if b.m.status() != Compensated {
		b.replied("A", "undo", 1, Done)
	}
	if b.m.status() != Compensated {
		t.Errorf("it is %s: %s", b.m.status(), brief(b.trace))
	}
}

// An edit of a step that waits for the saga's own locks begins nothing without them.
func TestEditBeforeTheSagasLocks(t *testing.T) {
	b := newBench(New("s", compensable("A"), Do("Z", nothing)).Lock(on("1")).def)
	b.withLocks("me", newLockStore(func() time.Time { return b.now }), nil)
	b.locks.take("acc/1")
	b.settle()
	b.crashes()
	b.orders(func(m *machine) { m.edit(&inputEdit{Step: "A", Input: []byte("3")}, "ann", "", b.now) })
	b.play(t, "free:acc/1 done done")
	if got, want := brief(b.trace), "LockRequested Blocked TaskInputEdited LockRequested LockAcquired A.1 ok Z.1 ok Succeeded"; got != want || b.m.status() != Completed {
		t.Errorf("%s: %s, want %s", b.m.status(), got, want)
	}
}
