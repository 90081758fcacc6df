package saga_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// What blocks needs a person: it is logged as an error.
func TestBlockedIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		s := saga.New("trip", saga.Do("P", nothing).Pivot(), saga.Do("Z", func(context.Context, *trip) error { return errRefused }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Logger: logTo(&log)})
		if _, err := s.Run(t.Context(), c, "ride-1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Error(err)
		}
		for _, want := range []string{"level=ERROR", "execution=ride-1", "step=Z", "error=refused"} {
			if strings.Count(log.String(), "blocked") != 1 || !strings.Contains(log.String(), want) {
				t.Errorf("the log wants %s once:\n%s", want, log.String())
			}
		}
	})
}

// The history counts a panic as unknown, with the stack, and keeps the process
// alive. Compensations may panic too.
func TestPanicsAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var panics = map[string]any{"value": "boom", "error": errors.New("boom"), "nil": (*int)(nil)}
		for name, value := range panics {
			s := saga.New("trip",
				saga.Do("A", nothing).Undo(func(ctx context.Context, _ *trip, outcome saga.Outcome) error {
					if saga.StepFrom(ctx).Attempt == 1 {
						panic(value)
					}
					return nil
				}),
				saga.Do("B", func(ctx context.Context, _ *trip) error {
					panic(value)
				}).Retry(saga.Once()).Undo(func(_ context.Context, _ *trip, outcome saga.Outcome) error {
					if outcome != saga.Unknown {
						t.Errorf("%s: undone as %s", name, outcome)
					}
					return nil
				}),
			)
			c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
			if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) || !strings.Contains(err.Error(), "panic: ") {
				t.Errorf("%s: %v", name, err)
			}
			h, err := c.History(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			stacks := 0
			for _, e := range h {
				if e.Stack != "" {
					stacks++
					if !strings.Contains(e.Stack, "saga_test.TestPanicsAreFailures") {
						t.Errorf("%s: %s has the stack\n%s, want it to name the handler", name, e.Type, e.Stack)
					}
				}
			}
			if stacks != 2 {
				t.Errorf("%s: %d stacks in the history, want the action's and the undo's", name, stacks)
			}
		}
	})
}

// A handler may end its goroutine, as a test's FailNow does: that is a failure
// like others, and nothing hangs.
func TestGoexitIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			if saga.StepFrom(ctx).Attempt == 1 {
				goexit()
			}
			return nil
		}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		begin := time.Now()
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %s to find out", took)
		}
	})
}

// MaxState bounds what a step may leave: the step fails for good, and what it
// did is undone.
func TestMaxState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		undone := false
		grow := func(n int) saga.Action[trip] {
			return func(_ context.Context, s *trip) error {
				s.Log = []string{strings.Repeat("x", n-len(`{"Log":[""]}`))}
				return nil
			}
		}
		s := saga.New("trip",
			saga.Do("Fits", grow(1000)).Undo(undoNothing),
			saga.Do("TooLarge", grow(1001)).Undo(func(_ context.Context, s *trip, outcome saga.Outcome) error {
				undone = outcome == saga.Unknown
				return nil
			}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, MaxState: 1000})
		_, err := s.Run(t.Context(), c, "1", trip{})
		if !errors.Is(err, saga.ErrCompensated) || !strings.Contains(err.Error(), `state after step "TooLarge" has 1001 bytes, at most 1000 are allowed`) {
			t.Error(err)
		}
		if !undone {
			t.Error("what the step did was not undone as unknown")
		}
	})
}

// A state that cannot be written is the step's failure, and what the step did
// is undone as unknown.
func TestStateThatCannotBeEncoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type chaotic struct{ N any }
		var outcome saga.Outcome
		s := saga.New("trip", saga.Do("A", func(_ context.Context, s *chaotic) error {
			s.N = func() {}
			return nil
		}).Undo(func(_ context.Context, _ *chaotic, o saga.Outcome) error {
			outcome = o
			return nil
		}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", chaotic{})
		if !errors.Is(err, saga.ErrCompensated) || !strings.Contains(err.Error(), "encode the state after the step") || outcome != saga.Unknown {
			t.Errorf("%v, undone as %q", err, outcome)
		}
	})
}
