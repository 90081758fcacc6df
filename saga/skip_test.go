package saga

import (
	"slices"
	"strings"
	"testing"
)

// target is what a skip of a frame's step is for.
func target(f *frame) *skipped {
	return &skipped{Frame: f.path, Step: f.Step, Undo: f.Undoing, Attempt: f.Attempt}
}

// skips gives an order to skip, and goes on.
func (b *bench) skips(at *skipped) {
	b.open(0)
	b.m.skip(at, "ann", "seen to", b.now)
	b.settle()
}

// refusal is why the last order was refused.
func (b *bench) refusal() string {
	for _, e := range slices.Backward(b.trace) {
		if e.Type == OrderRefused {
			return e.Error
		}
	}
	return ""
}

// A Parallel or a Map whose merge is skipped is over: the next step begins.
func TestSkipOfAJoin(t *testing.T) {
	for name, step := range map[string]*Step[int]{
		"a parallel": Parallel("X", Branch("a", Do("A", nothing)), Branch("b", Do("B", nothing))).Merge(func(*int, []int) error { return errFlaky }),
		"a map":      ForEach("X", func(*int) []int { return []int{1, 2} }, func(*int, []Item[int]) error { return errFlaky }, Do("A", nothing)),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(New("s", Do("P", nothing).Pivot(), step, Do("Z", nothing)).def)
			b.play(t, "done X:0=done X:1=done")
			if b.m.status() != Blocked {
				t.Fatalf("it is %s", b.m.status())
			}
			b.skips(target(b.m.root))
			if b.m.root.Step != "Z" || len(b.jobs) != 1 || b.m.root.Fork != nil || string(b.m.root.State) != "1" {
				t.Fatalf("it is at %+v with %d jobs", b.m.root, len(b.jobs))
			}
			b.play(t, "done")
			if b.m.status() != Completed {
				t.Errorf("it is %s", b.m.status())
			}
		})
	}
}

// What its branches did is undone all the same.
func TestSkipOfAJoinKeepsWhatIsToUndo(t *testing.T) {
	b := newBench(New("s", Parallel("X", Branch("a", compensable("A")), Branch("b", compensable("B"))).Merge(mergeNothing), Do("Z", nothing)).def)
	b.play(t, "X:0=done")
	f := b.job("X:1")
	b.m.answer(f, b.result(f, "done"), b.now)
	b.m.block(b.m.root, &Cause{Kind: CauseCrashes, Step: "X"}) // as its openings end while they merge
	b.settle()
	b.skips(target(b.m.root))
	b.play(t, "declined done done")
	if got, want := brief(b.trace), "undo-B.1 undone (done) undo-A.1 undone Compensated"; b.m.status() != Compensated || !strings.HasSuffix(got, want) {
		t.Errorf("%s: %s, want %s", b.m.status(), got, want)
	}
}

// A Map that has not begun all its items begins no others.
func TestSkipOfAMapBeginsNoMore(t *testing.T) {
	b := newBench(New("s", ForEach("X", func(*int) []int { return []int{1, 2, 3} }, nil, compensable("A")).Concurrency(2), Do("Z", nothing)).def)
	b.settle()
	b.m.block(b.m.root, &Cause{Kind: CauseCrashes, Step: "X"})
	b.m.skip(target(b.m.root), "ann", "", b.now)
	b.play(t, "X:0=done X:1=done")
	if b.m.root.Step != "Z" || len(b.jobs) != 1 {
		t.Fatalf("it is at %q with %d jobs", b.m.root.Step, len(b.jobs))
	}
	b.play(t, "crash wake declined done done")
	if b.m.status() != Compensated {
		t.Errorf("it is %s: %s", b.m.status(), brief(b.trace))
	}
}

// Without its choice a Choose leads nowhere, and the saga is not done.
func TestSkipOfAChoiceIsRefused(t *testing.T) {
	fails := func(*int) bool { panic("broken") }
	b := newBench(New("s", Do("P", nothing).Pivot().Next("C"), Do("Z", nothing).End(), Choose[int]("C").When("Z", fails)).def)
	b.play(t, "done")
	b.skips(target(b.m.root))
	if b.m.status() != Blocked || !strings.Contains(b.refusal(), "mend what it fails at and retry, or terminate") {
		t.Errorf("it is %s: %s", b.m.status(), b.refusal())
	}
	b = newBench(New("s", Do("P", nothing).Pivot(), Choose[int]("C").When("Z", fails).Otherwise("Z"), Do("Z", nothing)).def)
	b.play(t, "done")
	b.skips(target(b.m.root))
	if b.m.root.Step != "Z" {
		t.Errorf("it is at %q", b.m.root.Step)
	}
}

// An action that kept killing its workers may have had its effect. Who skips it
// knows, and may say so.
func TestSkippedActionIsUndone(t *testing.T) {
	for _, done := range []bool{false, true} {
		b := newBench(New("s", compensable("A"), compensable("B").Retry(endless), Do("C", nothing)).def)
		b.play(t, "done crash wake crash wake crash")
		at := target(b.m.root)
		at.Done = done
		b.skips(at)
		b.play(t, "declined")
		if len(b.jobs) == 0 {
			b.play(t, "wake") // no handler of B is at work by then
		}
		b.play(t, "done done")
		want := "(unknown) undo-B.1 undone (done) undo-A.1 undone Compensated"
		if done {
			want = "(done) undo-B.1 undone (done) undo-A.1 undone Compensated"
		}
		if got := brief(b.trace); b.m.status() != Compensated || !strings.HasSuffix(got, want) {
			t.Errorf("done=%t: %s, want %s", done, got, want)
		}
	}
}

// A skip is for one frame, as it was looked at.
func TestSkipIsForOneFrame(t *testing.T) {
	b := newBench(New("s", ForEach("M", func(*int) []int { return []int{1, 2} }, nil,
		Do("A", nothing).Undo(undoNothing).UndoRetry(Once())).UndoTogether(), Do("Z", nothing)).def)
	b.play(t, "M:0=done M:1=done declined M:0=flaky M:1=flaky")
	b.skips(nil) // as an earlier release orders it
	if want := "it is blocked at A in M:0, A in M:1: say which one is meant"; b.refusal() != want {
		t.Errorf("refused with %q, want %q", b.refusal(), want)
	}
	stale := target(b.m.frameAt("M:0"))
	b.play(t, "retry M:0=flaky M:1=flaky")
	b.skips(stale)
	if want := "step A was tried again since, as attempt 2: look at what came of that"; b.refusal() != want {
		t.Errorf("refused with %q, want %q", b.refusal(), want)
	}
	b.skips(target(b.m.frameAt("M:0")))
	if f := b.m.frameAt("M:1"); b.m.status() != Blocked || f == nil || !f.Blocked {
		t.Fatalf("it is %s: %s", b.m.status(), brief(b.trace))
	}
	b.skips(nil)
	if b.m.status() != Compensated {
		t.Errorf("it is %s", b.m.status())
	}
	b.m.skip(nil, "ann", "", b.now)
	if e := b.m.events; len(e) == 0 || e[len(e)-1].Error != "nothing is blocked" {
		t.Errorf("it is refused with %+v", e)
	}
}

// What an execution is blocked by is always what is blocked.
func TestTroubleIsOfWhatIsBlocked(t *testing.T) {
	b := newBench(New("s", ForEach("M", func(*int) []int { return []int{1, 2} }, nil,
		Do("A", nothing).Undo(undoNothing).UndoRetry(Once()), Do("B", nothing).Undo(undoNothing)).UndoTogether(), Do("Z", nothing)).def)
	b.play(t, "M:0=done M:1=done M:0=done M:1=done declined M:0=done M:1=done M:0=flaky M:1=declined")
	blocked := func(frame, err string) {
		t.Helper()
		if c := b.m.root.Trouble; c == nil || c.Frame != frame || c.Error != err || !c.Undo || c.Step != "A" {
			t.Errorf("its trouble is %+v, want %q in %s", c, err, frame)
		}
	}
	blocked("M:0", "flaky")
	b.open(0) // and it is so on record
	b.m.edit(&inputEdit{Frame: "M:0", Step: "A", Undo: true, Attempt: 1, Input: []byte("3")}, "ann", "", b.now)
	b.settle()
	blocked("M:1", "declined")
	b.play(t, "M:0=declined")
	blocked("M:1", "declined")
	b.skips(target(b.m.frameAt("M:1")))
	blocked("M:0", "declined")
	b.m.frameAt("M:0").Why = nil
	b.skips(target(b.m.frameAt("M:0")))
	if b.m.status() != Compensated || b.m.root.Trouble != nil {
		t.Errorf("it is %s with %+v", b.m.status(), b.m.root.Trouble)
	}
}

// A signal that comes while the saga is suspended is kept: nothing begins.
func TestSignalToASuspendedSagaIsKept(t *testing.T) {
	ran := false
	b := newBench(New("s", Receive("R", "go", func(s *int, n int) error { *s = n; return nil }),
		Pass("X", func(*int) error { ran = true; return nil }), Do("Z", nothing)).def)
	b.play(t, "suspend")
	b.open(0)
	b.m.signal(signal{Name: "go", Data: []byte(`"no number"`)}, b.now)
	b.m.signal(signal{Name: "go", Data: []byte("5")}, b.now)
	b.m.signal(signal{Name: "go", Data: []byte("6")}, b.now)
	b.settle()
	if b.m.root.Step != "R" || ran {
		t.Errorf("it is at %q while it is suspended", b.m.root.Step)
	}
	b.play(t, "resume")
	if b.m.root.Step != "Z" || string(b.m.root.State) != "5" || !ran || len(b.m.root.Signals) != 1 {
		t.Errorf("resumed it is at %q with %s and %d signals", b.m.root.Step, b.m.root.State, len(b.m.root.Signals))
	}
}

// The items of a part that is skipped are as they began.
func TestSkipOfAPart(t *testing.T) {
	var got []Item[int]
	def := New("s", Do("P", nothing).Pivot(), ForEach("M", func(*int) []int { return []int{7, 8, 9} },
		func(_ *int, items []Item[int]) error { got = items; return nil }, Do("A", nothing)), Do("Z", nothing)).def
	def.mapSize = mapSize{2, 2}
	b := newBench(def)
	b.play(t, "done")
	b.open(0)
	b.m.hearChild(&childReport{Frame: "M:0", Step: "M[]", Status: Compensated}, b.now)
	b.m.hearChild(&childReport{Frame: "M:1", Step: "M[]", Status: Completed, State: []byte(`[{"s":90}]`)}, b.now)
	b.settle()
	if b.m.status() != Blocked {
		t.Fatalf("it is %s", b.m.status())
	}
	b.skips(target(b.m.frameAt("M:0")))
	if b.m.root.Step != "Z" || !slices.EqualFunc(got, []int{7, 8, 90}, func(i Item[int], n int) bool { return i.State == n && i.Failed == nil }) {
		t.Errorf("it is at %q with %+v: %v", b.m.root.Step, got, b.m.root.Trouble)
	}
}
