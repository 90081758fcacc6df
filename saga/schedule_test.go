package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// between wraps a store so that f runs just before the nth call of a method.
func between(st storetest.Store, op string, n int64, f func()) storetest.Store {
	var calls atomic.Int64
	return storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
		if c.Op == op && calls.Add(1) == n {
			f()
		}
		return storetest.Fault{}
	})
}

func types(t *testing.T, c *saga.Client, id string) (types []saga.EventType) {
	t.Helper()
	h, err := c.History(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h {
		types = append(types, e.Type)
	}
	return types
}

// Every commit is made twice, as by a client that lost the first answer: the
// history has everything once.
func TestCommitAnsweredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		twice := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			return storetest.Fault{Twice: c.Op == "Commit" || c.Op == "Start" || c.Op == "Open"}
		})
		var j journal
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", func(ctx context.Context, _ *trip) error {
				if saga.StepFrom(ctx).Attempt == 1 {
					return errors.New("flaky")
				}
				return errRefused
			}).Retry(saga.Retry{Initial: 5 * time.Second, Jitter: -1}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Store: twice, Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		want := []saga.EventType{
			saga.ExecutionStarted, saga.TaskStateEntered, saga.TaskScheduled, saga.TaskSucceeded, saga.TaskStateExited,
			saga.TaskStateEntered, saga.TaskScheduled, saga.TaskFailed, saga.TaskScheduled, saga.TaskFailed, saga.ExecutionFailed,
			saga.CompensationEntered, saga.CompensationTried, saga.CompensationDone, saga.ExecutionCompensated,
		}
		if got := types(t, c, "1"); !slices.Equal(got, want) {
			t.Errorf("the history is %v, want %v", got, want)
		}
		if got, want := j.all(), []string{"do A", "undo A done [A]"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
	})
}

// Redis is gone for a while, in the middle of many sagas, and comes back: all
// of them end as if nothing had been, save for attempts that nobody answered.
func TestRedisGoneAndBack(t *testing.T) {
	for _, outage := range []time.Duration{2 * time.Second, 20 * time.Second, 5 * time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				begin := time.Now()
				away := func() bool { return time.Since(begin) > 3*time.Second && time.Since(begin) < 3*time.Second+outage }
				gone := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
					if away() {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				})
				p := newProvider(st)
				sagas := make(map[string]*saga.Saga[trip])
				const n = 60
				for _, w := range []string{"one", "two"} {
					step := func(name string) *saga.Step[trip] { return p.step(w, name).Retry(saga.Retry{Attempts: 20}) }
					sagas[w] = saga.New("trip", step("A"), step("B"), step("C"), p.do(w, "D"))
					_, stop := run(t, saga.CoordinatorConfig{Store: gone, Sagas: []saga.Definer{sagas[w]}, Name: w})
					defer func() {
						if err := stop(); err != nil {
							t.Error(err)
						}
					}()
				}
				for range n { // steps take a second, so that the outage finds them everywhere
					for _, name := range []string{"A", "B", "C", "D"} {
						p.plan(name, plan{takes: time.Second})
					}
				}
				p.plan("D", slices.Repeat([]plan{{err: errNo}}, n)...)
				client := outsider(t, st)
				for i := range n {
					if _, err := sagas["one"].Start(t.Context(), client, fmt.Sprint(i), trip{}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(50 * time.Millisecond)
				}
				for i := range n {
					x, err := client.Wait(t.Context(), fmt.Sprint(i))
					if err != nil || !x.Status.Ended() {
						t.Errorf("%+v, %v", x, err)
					}
				}
				time.Sleep(2 * time.Minute)
				for i := range n {
					p.audit(t, sagas["one"].Definition(), fmt.Sprint(i))
				}
				audited(t, st, client, "trip")
				if took := time.Since(begin); took > outage+5*time.Minute {
					t.Errorf("it took %s with an outage of %s", took, outage)
				}
			})
		})
	}
}

// An execution whose openings keep ending without a commit is blocked, with its
// step as the suspect, and goes on when an operator says so.
func TestCrashingExecutionIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var j journal
		s := saga.New("trip", saga.Do("A", j.do("A")))
		var opens atomic.Int64
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, MaxOpenings: 3, Store: storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			switch {
			case c.Op == "Open":
				opens.Add(1)
			case c.Op == "Commit" && opens.Load() < 3:
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})})
		_, err := s.Run(t.Context(), c, "1", trip{})
		var failed *saga.FailedError
		if !errors.As(err, &failed) || failed.Status != saga.Blocked || failed.Cause.Kind != saga.CauseCrashes || failed.Cause.Step != "A" ||
			!strings.Contains(failed.Cause.Error, "3 openings in a row ended without a commit") {
			t.Fatalf("got %v", err)
		}
		if got := opens.Load(); got != 3 { // and the start, which opens too
			t.Errorf("it was opened %d times after its start, want 3", got)
		}
		ran := len(j.all())
		time.Sleep(time.Hour)
		if got := len(j.all()); got != ran {
			t.Errorf("it ran while it was blocked: %q", j.all())
		}
		if err := c.Retry(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), c, "1"); err != nil {
			t.Error(err)
		}
	})
}

// The store's clock counts: workers whose clocks are wrong do no harm.
func TestClocksDiffer(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, time.Hour, -30 * 365 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{Now: func() time.Time { return time.Now().Add(skew) }})
				var at []time.Duration
				begin := time.Now()
				s := saga.New("trip", saga.Do("A", nothing).Undo(undoNothing), saga.Do("B", func(ctx context.Context, _ *trip) error {
					at = append(at, time.Since(begin))
					return errors.New("flaky")
				}).Retry(saga.Retry{Attempts: 3, Initial: 500 * time.Millisecond, Factor: 20, Jitter: -1})).Within(time.Minute)
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
				if len(at) != 3 || at[1] != 500*time.Millisecond || at[2] < 10500*time.Millisecond || at[2] > 12*time.Second {
					t.Errorf("attempts at %v", at)
				}
				h, err := c.History(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				for i, e := range h {
					if i > 0 && e.Time.Before(h[i-1].Time) {
						t.Errorf("event %d, %s, is at %s, before the one before it at %s", e.ID, e.Type, e.Time, h[i-1].Time)
					}
				}
			})
		})
	}
}

// Openings count only while none of them commits: an execution that gets on is
// not blocked, however often its workers die.
func TestOpeningsThatCommitDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var steps []*saga.Step[trip]
		for i := range 12 {
			steps = append(steps, saga.Do(fmt.Sprint("S", i), nothing).ReadOnly().Retry(saga.Retry{Attempts: 20}))
		}
		s := saga.New("trip", steps...)
		// Of three openings in a row two commit nothing. The third takes the attempt of
		// the first as lost, does the step, and loses the next one's answer.
		var opening, commits atomic.Int64
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, MaxOpenings: 3, Store: storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			switch {
			case c.Op == "Open":
				opening.Add(1)
				commits.Store(0)
			case c.Op == "Commit" && (opening.Load()%3 != 0 || commits.Add(1) > 2):
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Error(err)
		}
		if n := opening.Load(); n < 30 {
			t.Errorf("it was opened %d times, want three for each of twelve steps", n)
		}
	})
}
