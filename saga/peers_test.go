package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// The tests in this file hold sagas to what other engines get wrong, each named
// after the failure.

// Restate's sample undoes forward, and Camunda 8 calls all handlers at once.
func TestPeersUndoOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		step := func(name string) *saga.Step[trip] {
			return saga.Do(name, nothing).Undo(func(context.Context, *trip, saga.Outcome) error {
				j.add("begin %s", name)
				time.Sleep(5 * time.Second)
				j.add("end %s", name)
				return nil
			})
		}
		s := saga.New("trip", step("A"), step("B"), step("C"), saga.Do("D", func(context.Context, *trip) error { return errRefused }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		want := []string{"begin C", "end C", "begin B", "end B", "begin A", "end A"}
		if got := j.all(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Eventuate ends the saga and skips the earlier compensations, Camel logs and
// forgets, and MassTransit's slip stops.
func TestPeersFailingCompensationSkipsTheOthers(t *testing.T) {
	for _, failure := range []error{errors.New("flaky"), errRefused} {
		t.Run(failure.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				broken := true
				s := saga.New("trip",
					saga.Do("A", nothing).Undo(j.undo("A")),
					saga.Do("B", nothing).Undo(func(context.Context, *trip, saga.Outcome) error {
						if broken {
							return failure
						}
						j.add("undo B")
						return nil
					}).UndoRetry(saga.Retry{Attempts: 3}),
					saga.Do("C", nothing).Undo(j.undo("C")),
					saga.Do("D", func(context.Context, *trip) error { return errRefused }),
				)
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
				_, err := s.Run(t.Context(), c, "1", trip{})
				var failed *saga.FailedError
				if !errors.As(err, &failed) || failed.Status != saga.Blocked || failed.Cause.Step != "B" || !failed.Cause.Undo {
					t.Fatalf("got %v, want it blocked at the undo of B", err)
				}
				time.Sleep(time.Hour)
				if got, want := j.all(), []string{"undo C done []"}; !slices.Equal(got, want) {
					t.Errorf("undone %q, want %q: nothing is skipped", got, want)
				}
				broken = false
				if err := c.Retry(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
					t.Fatal(err)
				}
				_, err = s.Wait(t.Context(), c, "1")
				if !errors.As(err, &failed) || failed.Status != saga.Compensated || failed.Cause.Step != "D" {
					t.Errorf("got %v, want it compensated because of D", err)
				}
				if got, want := j.all(), []string{"undo C done []", "undo B", "undo A done []"}; !slices.Equal(got, want) {
					t.Errorf("undone %q, want %q", got, want)
				}
			})
		})
	}
}

// dtm tried a failing compensation about 80 times a second, without cap and
// jitter.
func TestPeersCompensationRetriesWithoutCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		var mu sync.Mutex
		at := make(map[string][]time.Time)
		s := saga.New("trip",
			saga.Do("A", nothing).Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error {
				mu.Lock()
				defer mu.Unlock()
				id := saga.StepFrom(ctx).Execution
				at[id] = append(at[id], time.Now())
				return errors.New("flaky")
			}),
			saga.Do("B", func(context.Context, *trip) error { return errRefused }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		for i := range n {
			if _, err := s.Start(t.Context(), c, fmt.Sprint(i), trip{}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			if _, err := s.Wait(t.Context(), c, fmt.Sprint(i)); !errors.Is(err, saga.ErrBlocked) {
				t.Errorf("%d: %v", i, err)
			}
		}
		time.Sleep(time.Hour)
		second := make(map[time.Time]bool)
		for id, tries := range at {
			if len(tries) != 10 {
				t.Errorf("%s: %d tries, want 10", id, len(tries))
			}
			if took := tries[len(tries)-1].Sub(tries[0]); took < 30*time.Second {
				t.Errorf("%s: %d tries in %s", id, len(tries), took)
			}
			second[tries[1]] = true
		}
		if len(second) < n/2 {
			t.Errorf("the second tries of %d sagas came at %d different times", n, len(second))
		}
	})
}

// Temporal's Go sample, cancelled while a deposit runs, never undoes it.
func TestPeersCancelForgetsTheRunningStep(t *testing.T) {
	for name, answer := range map[string]error{
		"done": nil, "unknown": saga.Uncertain(errors.New("garbled")), "not done": errors.New("flaky"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				s := saga.New("trip",
					saga.Do("Withdraw", nothing).Undo(j.undo("Withdraw")),
					saga.Do("Deposit", func(context.Context, *trip) error {
						time.Sleep(10 * time.Second)
						return answer
					}).Undo(j.undo("Deposit")),
					saga.Do("Tell", j.do("Tell")),
				)
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				if err := c.Cancel(t.Context(), "1", saga.Order{}); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
				want := []string{"undo Deposit " + name + " []", "undo Withdraw done []"}
				if name == "not done" {
					want = want[1:]
				}
				if got := j.all(); !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
			})
		})
	}
}

// A compensation that is registered after its action is lost with the action's
// answer. Here the worker dies right after the effect, or right before it: the
// next one undoes the action in either case, told that it is unknown.
func TestPeersCompensationLostWithTheAnswer(t *testing.T) {
	for _, happened := range []bool{true, false} {
		t.Run(fmt.Sprintf("happened=%t", happened), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: abcd}
				var dead atomic.Bool
				w.work("one", storetest.NewFaulty(w.store, func(storetest.Call) storetest.Fault {
					if dead.Load() {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				}))
				w.provider.plan("B", plan{takes: 10 * time.Second, err: errors.New("lost"), anyway: happened})
				w.start()
				time.Sleep(5 * time.Second)
				if !happened {
					w.provider.kill("one")
				}
				dead.Store(true)
				time.Sleep(6 * time.Second)
				w.provider.kill("one")
				w.stop("one")
				if err := w.client.Cancel(t.Context(), "1", saga.Order{}); err != nil {
					t.Fatal(err)
				}
				w.work("two", w.store)
				if x := w.wait(); x.Status != saga.Compensated {
					t.Errorf("it is %s", x.Status)
				}
				want := []string{"do A", "do B", "undo B (unknown)", "undo A (done)"}
				if got := w.provider.lines(); !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
				w.provider.audit(t, w.def, "1")
			})
		})
	}
}

// An undo that nothing preceded must be able to run: it sees the state from
// before the action, where the identifiers that it needs were made.
func TestPeersEmptyCompensation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip",
			saga.Do("Prepare", func(_ context.Context, s *trip) error {
				s.Log = append(s.Log, "charge-1")
				return nil
			}).ReadOnly(),
			saga.Do("Charge", func(ctx context.Context, s *trip) error {
				s.Log = append(s.Log, "answer")
				<-ctx.Done()
				return ctx.Err()
			}).Timeout(5*time.Second).Retry(saga.Once()).Undo(j.undo("Charge")),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		if got, want := j.all(), []string{"undo Charge unknown [charge-1]"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// An action whose worker lost its lease may still be at work: its undo waits
// until it must have ended, so that it does not come after it.
func TestPeersHangingAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
			return saga.New("trip", p.step(w, "A").Timeout(2*time.Minute).Retry(saga.Once()), p.do(w, "B"))
		}}
		var cut atomic.Bool
		w.work("one", storetest.NewFaulty(w.store, func(storetest.Call) storetest.Fault {
			if cut.Load() {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		}))
		// It heeds no context, and has its effect late.
		w.provider.plan("A", plan{takes: 110 * time.Second, stubborn: true})
		w.start()
		time.Sleep(time.Second)
		cut.Store(true)
		w.work("two", w.store)
		if x := w.wait(); x.Status != saga.Compensated {
			t.Errorf("it is %s", x.Status)
		}
		w.provider.audit(t, w.def, "1") // complains of an effect after its undo
	})
}

// With dtm on Redis an aborting saga vanished with a key that expired: only what
// has ended may expire.
func TestPeersRunningSagasExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{Partitions: 1})
		broken := true
		var j journal
		s := saga.New("trip",
			saga.Do("A", nothing).Undo(func(context.Context, *trip, saga.Outcome) error {
				if broken {
					return errRefused
				}
				j.add("undo A")
				return nil
			}),
			saga.Do("B", func(context.Context, *trip) error { return errRefused }),
		)
		c := coordinate(t, saga.CoordinatorConfig{
			Store: st, Sagas: []saga.Definer{s}, Retention: time.Minute, Tombstone: time.Minute,
		})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // many times the retention
		if x, err := c.Get(t.Context(), "1"); err != nil || x.Status != saga.Blocked {
			t.Fatalf("after two hours: %+v, %v", x, err)
		}
		broken = false
		if err := c.Retry(t.Context(), "1", saga.Order{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) || len(j.all()) != 1 {
			t.Errorf("%v after %q", err, j.all())
		}
	})
}
