package saga

import (
	"testing"
	"time"
)

// redriven is a bench whose saga is blocked at the step after its pivot, which
// was broken, and which an operator has tried again.
func redriven(t *testing.T, broken *bool, step *Step[int], ops string) *bench {
	t.Helper()
	*broken = true
	b := newBench(New("s", Do("P", nothing).Pivot(), step, Do("Z", nothing)).def)
	b.play(t, "done "+ops)
	if b.m.status() != Blocked || b.m.root.Step != step.state.Name {
		t.Fatalf("it is %s at %q", b.m.status(), b.m.root.Step)
	}
	*broken = false
	b.play(t, "retry")
	return b
}

// A retry enters a blocked step anew, if that is no task: it has no attempts that
// could be dispatched.
func TestRetryEntersWhatIsNoTask(t *testing.T) {
	var broken bool
	flaky := func() error {
		if broken {
			return errFlaky
		}
		return nil
	}
	for name, step := range map[string]*Step[int]{
		"a pass": Pass("X", func(*int) error { return flaky() }),
		"a choice": Choose[int]("X").When("Z", func(*int) bool {
			if broken {
				panic("broken")
			}
			return true
		}),
		"a map that lists its items": ForEach("X", func(*int) []int {
			if broken {
				panic("broken")
			}
			return nil
		}, nil, Do("A", nothing)),
		"a map that collects": ForEach("X", func(*int) []int { return nil }, func(*int, []Item[int]) error { return flaky() }, Do("A", nothing)),
		"a wait for a past day": WaitUntil("X", func(*int) time.Time {
			if broken {
				panic("broken")
			}
			return time.UnixMilli(1)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			b := redriven(t, &broken, step, "")
			if b.m.root.Step != "Z" || len(b.jobs) != 1 {
				t.Fatalf("it is at %q with %d jobs: %s", b.m.root.Step, len(b.jobs), brief(b.trace))
			}
			b.play(t, "done")
			if b.m.status() != Completed {
				t.Errorf("it is %s", b.m.status())
			}
		})
	}
}

// What is still broken blocks again, and the execution is parked.
func TestRetryOfAFailBlocksAgain(t *testing.T) {
	var broken bool
	b := redriven(t, &broken, Fail[int]("X", "Bad", "so it is"), "")
	if b.m.status() != Blocked || !b.parked || !b.wake.IsZero() {
		t.Errorf("it is %s, parked %t until %s: %s", b.m.status(), b.parked, b.wake, brief(b.trace))
	}
}

func TestRetryOfAReceiveWaitsForTheSignal(t *testing.T) {
	var broken bool
	b := redriven(t, &broken, Receive[int, int]("R", "go", nil).Timeout(time.Minute), "+1m")
	if f := b.m.root; f.Step != "R" || !f.Waiting || b.wake.Sub(b.now) != time.Minute {
		t.Fatalf("it is at %+v until %s", f, b.wake)
	}
	b.play(t, "+59s")
	b.m.signal(signal{Name: "go", Data: []byte("1")}, b.now)
	b.play(t, "done")
	if b.m.status() != Completed {
		t.Errorf("it is %s at %q", b.m.status(), b.m.root.Step)
	}
}

func TestRetryOfAWaitWaits(t *testing.T) {
	var broken bool
	day := time.UnixMilli(1_000_000).Add(24 * time.Hour)
	b := redriven(t, &broken, WaitUntil("W", func(*int) time.Time {
		if broken {
			panic("broken")
		}
		return day
	}), "")
	if b.m.root.Step != "W" || !b.wake.Equal(day) {
		t.Fatalf("it is at %q, to be woken at %s", b.m.root.Step, b.wake)
	}
	b.play(t, "wake done")
	if b.m.status() != Completed {
		t.Errorf("it is %s", b.m.status())
	}
}

// An execution that its openings do not get on with is blocked wherever it is: a
// retry starts no wait again that it is in.
func TestRetryLetsAWaitGoOn(t *testing.T) {
	b := newBench(New("s", Wait[int]("W", time.Hour), Do("Z", nothing)).def)
	b.play(t, "+20m")
	b.m.block(b.m.root, &Cause{Kind: CauseCrashes, Step: "W"})
	b.play(t, "retry")
	if left := b.wake.Sub(b.now); b.m.root.Step != "W" || left != 40*time.Minute {
		t.Errorf("it is at %q for %s", b.m.root.Step, left)
	}
}
