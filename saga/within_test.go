package saga

import (
	"testing"
	"time"
)

func TestDeadlineWhileAnItemIsBlocked(t *testing.T) {
	once := func(name string) *Step[int] {
		return Do(name, nothing).Undo(undoNothing).Retry(Once()).UndoRetry(Once())
	}
	def := New("s", ForEach("M", func(*int) []int { return []int{1, 2} }, nil, once("A"), once("B")).Tolerate(1)).Within(time.Minute).def
	t.Run("another item fails", func(t *testing.T) {
		b := newBench(def)
		b.play(t, "M:0=done M:1=done M:0=declined M:0=flaky")
		b.now = b.now.Add(2 * time.Minute)
		f := b.job("M:1")
		b.m.answer(f, b.result(f, "flaky"), b.now)
		b.settle()
		if f := b.job("M:1"); f != nil && !f.Undoing {
			t.Errorf("attempt %d of %s, which has failed, is run again", f.Attempt, f.Step)
		}
		if b.m.root.Scope == nil || b.m.root.Scope.Cause.Kind != CauseTimedOut {
			t.Fatalf("the saga is not undone for its time: %s", brief(b.trace))
		}
		b.play(t, "M:1=done M:0=done")
		if got := b.m.status(); got != Compensated {
			t.Errorf("%s, want it compensated: %s", got, brief(b.trace))
		}
	})
	t.Run("nothing else is under way", func(t *testing.T) {
		b := newBench(def)
		b.play(t, "M:0=done M:1=done M:0=declined M:0=flaky M:1=done")
		if got := b.m.status(); got != Blocked || !b.wake.Equal(b.start.Add(time.Minute)) {
			t.Fatalf("%s until %s, want it blocked until its time is over", got, b.wake.Sub(b.start))
		}
		b.play(t, "wake M:1=done M:1=done M:0=flaky")
		if got := b.m.status(); got != Blocked {
			t.Errorf("%s, want it blocked again by what cannot be undone: %s", got, brief(b.trace))
		}
	})
}
