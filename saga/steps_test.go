package saga_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// Delays grow from Initial by Factor up to Max, within the jitter, and the step
// is tried as often as Attempts says and never more.
func TestRetryPolicy(t *testing.T) {
	tests := []struct {
		name  string
		retry saga.Retry
		want  []time.Duration // without jitter
		// jitter is by how much of itself a delay may differ.
		jitter float64
	}{
		{"defaults", saga.Retry{}, []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond}, 0.5},
		{"once", saga.Once(), nil, 0},
		{"exponential", saga.Exponential(time.Second, 5*time.Second, 5), []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second}, 0.5},
		{"no jitter", saga.Retry{Attempts: 4, Initial: 500 * time.Millisecond, Factor: 4, Jitter: -1}, []time.Duration{500 * time.Millisecond, 2 * time.Second, 8 * time.Second}, 0},
		{"constant", saga.Retry{Attempts: 3, Initial: 10 * time.Second, Factor: 1, Jitter: -1}, []time.Duration{10 * time.Second, 10 * time.Second}, 0},
		{"beyond the default cap", saga.Retry{Attempts: 3, Initial: time.Hour, Jitter: -1}, []time.Duration{time.Hour, time.Hour}, 0},
		{"capped at a minute", saga.Retry{Attempts: 4, Initial: 40 * time.Second, Jitter: -1}, []time.Duration{40 * time.Second, time.Minute, time.Minute}, 0},
	}
	for _, undo := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/undo=%t", tt.name, undo), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var at []time.Time
					flaky := func(context.Context, *trip) error {
						at = append(at, time.Now())
						return errors.New("flaky")
					}
					s := saga.New("trip", saga.Do("A", flaky).Retry(tt.retry))
					if undo {
						s = saga.New("trip",
							saga.Do("A", nothing).UndoRetry(tt.retry).Undo(func(ctx context.Context, s *trip, _ saga.Outcome) error { return flaky(ctx, s) }),
							saga.Do("B", func(context.Context, *trip) error { return errRefused }),
						)
					}
					c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
					_, err := s.Run(t.Context(), c, "1", trip{})
					if want := map[bool]error{false: saga.ErrCompensated, true: saga.ErrBlocked}[undo]; !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
					if len(at) != len(tt.want)+1 {
						t.Fatalf("it ran %d times, want %d", len(at), len(tt.want)+1)
					}
					for i, want := range tt.want {
						got := at[i+1].Sub(at[i])
						least := time.Duration(float64(want) * (1 - tt.jitter))
						// A delay over a second is a wake-up, which the sweep sees
						// a second late at most.
						most := time.Duration(float64(want)*(1+tt.jitter)) + time.Second + time.Millisecond
						if want <= 600*time.Millisecond {
							most -= time.Second
						}
						if got < least || got > most {
							t.Errorf("delay %d is %s, want %s to %s", i+1, got, least, most)
						}
					}
				})
			})
		}
	}
}

// Sagas that failed together do not come back together.
func TestRetryJitterSpreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		seen := make(map[time.Duration]int)
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			if saga.StepFrom(ctx).Attempt == 1 {
				return errors.New("flaky")
			}
			mu.Lock()
			defer mu.Unlock()
			seen[time.Since(begin)]++
			return nil
		}).Retry(saga.Retry{Initial: 500 * time.Millisecond}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Concurrency: 1000})
		for i := range 100 {
			if _, err := s.Start(t.Context(), c, fmt.Sprint(i), trip{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(seen) < 50 {
			t.Errorf("100 sagas came back at %d different times: %v", len(seen), seen)
		}
	})
}

func TestRetryForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
			if tries++; tries < 60 {
				return errors.New("flaky")
			}
			return nil
		}).Retry(saga.Retry{Attempts: saga.Forever}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Sweep: 10 * time.Second})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil || tries != 60 {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
}

func TestPermanentIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", j.fail("B", fmt.Errorf("charge: %w", saga.Permanent(errors.New("declined"))))).Retry(saga.Retry{Attempts: 9}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		state, err := s.Run(t.Context(), c, "1", trip{})
		var failed *saga.FailedError
		if !errors.As(err, &failed) || failed.Status != saga.Compensated || failed.Cause.Step != "B" || failed.Cause.Error != "charge: declined" || failed.Cause.Kind != saga.CauseFailed {
			t.Errorf("got %v", err)
		}
		// The state is that from before the failure.
		if !slices.Equal(state.Log, []string{"A"}) {
			t.Errorf("the state is %v", state.Log)
		}
		if got, want := j.all(), []string{"do A", "fail B", "undo A done [A]"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
	})
}

// Each attempt works on a copy of its own: what a failed one changed is gone,
// for the next attempt and for the compensation.
func TestFailedAttemptsLeaveNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		tries := 0
		s := saga.New("trip",
			saga.Do("A", func(_ context.Context, s *trip) error {
				j.add("A sees %v", s.Log)
				s.Log = append(s.Log, "A")
				if tries++; tries < 3 {
					return errors.New("flaky")
				}
				return nil
			}).Undo(func(_ context.Context, s *trip, _ saga.Outcome) error {
				j.add("undo A sees %v", s.Log)
				s.Log = append(s.Log, "undone")
				return nil
			}),
			saga.Do("B", func(_ context.Context, s *trip) error {
				s.Log = append(s.Log, "half B")
				return saga.Permanent(saga.Uncertain(errors.New("garbled")))
			}).Undo(func(_ context.Context, s *trip, outcome saga.Outcome) error {
				j.add("undo B sees %v, %s", s.Log, outcome)
				s.Log = append(s.Log, "undone")
				return nil
			}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		state, err := s.Run(t.Context(), c, "1", trip{Log: []string{"in"}})
		if !errors.Is(err, saga.ErrCompensated) {
			t.Fatal(err)
		}
		want := []string{"A sees [in]", "A sees [in]", "A sees [in]", "undo B sees [in A], unknown", "undo A sees [in A]"}
		if got := j.all(); !slices.Equal(got, want) {
			t.Errorf("handlers saw\n%q, want\n%q", got, want)
		}
		if !slices.Equal(state.Log, []string{"in", "A"}) {
			t.Errorf("compensations changed the state: %v", state.Log)
		}
	})
}

// An attempt ends with its timeout: it is unknown, and tried again; the step is
// undone as unknown.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		s := saga.New("trip",
			saga.Do("A", func(ctx context.Context, _ *trip) error {
				begin := time.Now()
				if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != 7*time.Second {
					t.Errorf("the context ends in %s (%t), want 7s", time.Until(deadline), ok)
				}
				<-ctx.Done()
				took = append(took, time.Since(begin))
				return errors.New("what the handler makes of it does not matter")
			}).Undo(func(ctx context.Context, _ *trip, outcome saga.Outcome) error {
				if outcome != saga.Unknown {
					t.Errorf("undone as %s", outcome)
				}
				if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != 7*time.Second {
					t.Errorf("the undo's context ends in %s (%t), want 7s", time.Until(deadline), ok)
				}
				return nil
			}).Timeout(7*time.Second).Retry(saga.Retry{Attempts: 2}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		if !slices.Equal(took, []time.Duration{7 * time.Second, 7 * time.Second}) {
			t.Errorf("attempts took %v", took)
		}
	})
}

// A handler that answers after its timeout is heard all the same: what it did
// is done.
func TestLateDoneCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, s *trip) error {
			tries++
			time.Sleep(20 * time.Second)
			if ctx.Err() == nil {
				t.Error("the context has not ended")
			}
			s.Log = append(s.Log, "A")
			return nil
		}).Timeout(5*time.Second))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		got, err := s.Run(t.Context(), c, "1", trip{})
		if err != nil || tries != 1 || !slices.Equal(got.Log, []string{"A"}) {
			t.Errorf("%v, %v after %d tries", got, err, tries)
		}
	})
}

// A handler that goes on for a lease after its timeout is given up; no undo
// runs beside it before.
func TestDeafHandlerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var undone time.Duration
		release := make(chan struct{})
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
			<-release
			return nil
		}).Timeout(5*time.Second).Retry(saga.Once()).Undo(func(_ context.Context, _ *trip, outcome saga.Outcome) error {
			undone = time.Since(begin)
			if outcome != saga.Unknown {
				t.Errorf("undone as %s", outcome)
			}
			return nil
		}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Lease: 30 * time.Second})
		_, err := s.Run(t.Context(), c, "1", trip{})
		if !errors.Is(err, saga.ErrCompensated) || !strings.Contains(err.Error(), "has not returned 30s after its timeout of 5s") {
			t.Error(err)
		}
		if undone < 35*time.Second {
			t.Errorf("undone after %s, want its timeout and a lease, 35s", undone)
		}
		close(release)
	})
}

// Within bounds all attempts together: the last one is cut short, and none
// begins after it.
func TestStepWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var ends []time.Duration
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			deadline, _ := ctx.Deadline()
			ends = append(ends, deadline.Sub(begin))
			<-ctx.Done()
			return ctx.Err()
		}).Timeout(4*time.Second).Within(10*time.Second).Retry(saga.Retry{Attempts: saga.Forever, Initial: 500 * time.Millisecond, Factor: 1, Jitter: -1}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		if want := []time.Duration{4 * time.Second, 8500 * time.Millisecond, 10 * time.Second}; !slices.Equal(ends, want) {
			t.Errorf("attempts were to end at %v, want %v", ends, want)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// The saga's own time compensates before the pivot, and cuts a running attempt
// short.
func TestSagaWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		begin := time.Now()
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", func(ctx context.Context, _ *trip) error {
				<-ctx.Done()
				j.add("B ends after %s", time.Since(begin))
				return ctx.Err()
			}).Undo(j.undo("B")),
			saga.Do("C", j.do("C")),
		).Within(10 * time.Second)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", trip{})
		var failed *saga.FailedError
		if !errors.As(err, &failed) || failed.Cause.Kind != saga.CauseTimedOut || failed.Cause.Step != "B" {
			t.Errorf("got %v, want the cause %q", err, saga.CauseTimedOut)
		}
		if got, want := j.all(), []string{"do A", "B ends after 10s", "undo B unknown [A]", "undo A done [A]"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
	})
}

// It wakes the saga from a wait.
func TestSagaWithinEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { return errors.New("flaky") }).
			Retry(saga.Retry{Initial: time.Hour})).Within(10 * time.Second)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", trip{})
		if !errors.Is(err, saga.ErrCompensated) || time.Since(begin) > 12*time.Second {
			t.Errorf("%v after %s, want it compensated after 10s", err, time.Since(begin))
		}
	})
}

// After the pivot the saga goes on when its time has run out, and an alert is
// logged, once.
func TestSagaWithinAfterThePivotIsAnAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		s := saga.New("trip",
			saga.Do("P", nothing).Pivot(),
			saga.Do("Z", func(ctx context.Context, _ *trip) error {
				if saga.StepFrom(ctx).Attempt < 4 {
					return errors.New("flaky")
				}
				return nil
			}).Retry(saga.Retry{Initial: 8 * time.Second, Jitter: -1}),
		).Within(10 * time.Second)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Logger: logTo(&log)})
		if _, err := s.Run(t.Context(), c, "ride-1", trip{}); err != nil {
			t.Error(err)
		}
		alerts := strings.Count(log.String(), "has run out of its time")
		if alerts != 1 || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "execution=ride-1") {
			t.Errorf("%d alerts, want one, with the execution:\n%s", alerts, log.String())
		}
		if n := count(t, c, "ride-1", saga.ExecutionOverdue); n != 1 {
			t.Errorf("%d times in the history, want once", n)
		}
	})
}

// The key is the same in all attempts of an action, in the compensation it is
// another, and no other step or execution has it.
func TestStepFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := saga.StepFrom(t.Context()); !reflect.DeepEqual(got, saga.StepInfo{}) {
			t.Errorf("outside of a handler: %+v", got)
		}
		seen := make(map[string][]saga.StepInfo)
		see := func(ctx context.Context) int {
			info := saga.StepFrom(ctx)
			seen[info.Key] = append(seen[info.Key], info)
			return info.Attempt
		}
		step := func(name string) *saga.Step[trip] {
			return saga.Do(name, func(ctx context.Context, _ *trip) error {
				if see(ctx) < 3 {
					return errors.New("flaky")
				}
				return nil
			}).Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error {
				if see(ctx) < 3 {
					return errors.New("flaky")
				}
				return nil
			})
		}
		s := saga.New("trip", step("A"), step("B"), saga.Do("C", func(context.Context, *trip) error { return errRefused }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		for _, id := range []string{"1", "2"} {
			if _, err := s.Run(t.Context(), c, id, trip{}); !errors.Is(err, saga.ErrCompensated) {
				t.Fatal(err)
			}
		}
		if len(seen) != 8 { // two steps, done and undone, in two executions
			t.Errorf("%d keys, want 8", len(seen))
		}
		for key, infos := range seen {
			for i, info := range infos {
				want := saga.StepInfo{
					Execution: infos[0].Execution, Definition: "trip", Step: infos[0].Step, Visit: 1,
					Attempt: i + 1, Undo: strings.HasSuffix(key, "/undo"), Key: key, Cause: info.Cause,
					ActionKey: strings.TrimSuffix(strings.TrimSuffix(key, "undo"), "do") + "do",
				}
				if want.Undo {
					want.Outcome = saga.Done
				}
				if !reflect.DeepEqual(info, want) {
					t.Errorf("%+v, want %+v", info, want)
				}
			}
			if len(infos) != 3 {
				t.Errorf("%s: %d attempts, want 3", key, len(infos))
			}
		}
	})
}
