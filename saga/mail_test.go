package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// Mail that comes just before a worker parks is not left lying: the commit
// writes nothing, and the worker takes the mail in.
func TestMailDuringPark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		client := outsider(t, st)
		s := saga.New("trip",
			saga.Do("A", nothing).Undo(undoNothing),
			saga.Do("B", func(context.Context, *trip) error { return errors.New("flaky") }).Retry(saga.Retry{Initial: time.Hour}),
		)
		// Commits: A done; then B failed, and park.
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Store: between(st, "Commit", 2, func() {
			if err := client.Cancel(t.Context(), "1", saga.Order{}); err != nil {
				t.Error(err)
			}
		})})
		begin := time.Now()
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) || time.Since(begin) > 0 {
			t.Errorf("%v after %s, want it compensated at once", err, time.Since(begin))
		}
	})
}

// The same for mail that comes while a worker gives an execution back because
// its process ends.
func TestMailDuringDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		client := outsider(t, st)
		s := saga.New("trip",
			saga.Do("A", func(context.Context, *trip) error { time.Sleep(5 * time.Second); return nil }).Undo(undoNothing),
			saga.Do("B", nothing),
		)
		c, stop := run(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Store: between(st, "Commit", 1, func() {
			if err := client.Cancel(t.Context(), "1", saga.Order{}); err != nil {
				t.Error(err)
			}
		})})
		if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := stop(); err != nil { // waits for A; its commit finds the mail
			t.Error(err)
		}
		x, err := client.Get(t.Context(), "1")
		if err != nil || x.UnreadMail != 0 || !x.Undoing || !x.HeldUntil.IsZero() {
			t.Errorf("left as %+v (%v), want it on its way back", x, err)
		}
		coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Wait(t.Context(), client, "1"); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
	})
}

// A cancel and the end meet. Whoever comes first wins, and the other is told.
func TestCancelAgainstCompletion(t *testing.T) {
	t.Run("the cancel is there before the commit that ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := memstore.New(memstore.Config{})
			client := outsider(t, st)
			s := saga.New("trip", saga.Do("A", nothing).Undo(undoNothing))
			c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Store: between(st, "Commit", 1, func() {
				if err := client.Cancel(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
					t.Error(err)
				}
			})})
			if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
				t.Errorf("Run: %v, want it completed: its last step was done", err)
			}
			if n := count(t, c, "1", saga.CancelRefused); n != 1 {
				t.Errorf("the refusal is %d times in the history, want once", n)
			}
		})
	})
	t.Run("the commit that ends is there before the cancel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := memstore.New(memstore.Config{})
			s := saga.New("trip", saga.Do("A", nothing).Undo(undoNothing))
			c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
			late, err := saga.NewClient(saga.ClientConfig{Store: between(st, "Post", 1, func() {
				if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
					t.Error(err)
				}
			})})
			if err != nil {
				t.Fatal(err)
			}
			if err := late.Cancel(t.Context(), "1", saga.Order{}); !errors.Is(err, store.ErrEnded) {
				t.Errorf("Cancel: %v, want ErrEnded", err)
			}
		})
	})
	t.Run("the last step is still to be retried", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := memstore.New(memstore.Config{})
			client := outsider(t, st)
			s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { return errors.New("flaky") }).Undo(undoNothing))
			c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Store: between(st, "Commit", 1, func() {
				if err := client.Cancel(t.Context(), "1", saga.Order{}); err != nil {
					t.Error(err)
				}
			})})
			if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
				t.Error(err)
			}
			if n := count(t, c, "1", saga.TaskScheduled); n > 2 {
				t.Errorf("%d attempts, want none after the cancel", n)
			}
		})
	})
}

// An order that a worker read and did not commit is not lost with the worker.
func TestMailOfALostWorkerIsReadAgain(t *testing.T) {
	for _, n := range []int64{1, 2, 3} {
		t.Run(fmt.Sprint("commit ", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				client := outsider(t, st)
				s := saga.New("trip",
					saga.Do("A", nothing).Undo(undoNothing),
					saga.Do("B", func(context.Context, *trip) error { return errors.New("flaky") }).Retry(saga.Retry{Initial: time.Hour}),
				)
				if _, err := s.Start(t.Context(), client, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				if err := client.Cancel(t.Context(), "1", saga.Order{}); err != nil {
					t.Fatal(err)
				}
				var commits atomic.Int64
				coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Store: storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
					if c.Op == "Commit" && commits.Add(1) <= n {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				})})
				if _, err := s.Wait(t.Context(), client, "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
				if got := count(t, client, "1", saga.ExecutionAborted); got != 1 {
					t.Errorf("it was cancelled %d times", got)
				}
			})
		})
	}
}

// Mail that came before a deadline did, and is read after it, counts first.
func TestMailBeforeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { return errors.New("flaky") }).
			Retry(saga.Retry{Initial: time.Hour, Max: time.Hour})).Within(time.Minute)
		one, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		client := outsider(t, st)
		if err := client.Cancel(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute) // nobody is there at the deadline
		coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		x, err := client.Wait(t.Context(), "1")
		if err != nil || x.Cause == nil || x.Cause.Kind != saga.CauseCancelled || x.Cause.By != "ann" {
			t.Errorf("%+v (%v), want it cancelled by ann", x, err)
		}
	})
}

// Mail for an execution whose handler runs for long comes with the renewal of the
// lease, where nothing else is to be committed.
func TestMailComesWithARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		client := outsider(t, st)
		heard := make(chan time.Time, 1)
		s := saga.New("trip", saga.Parallel("P",
			saga.Branch("x", saga.Do("X", func(context.Context, *trip) error { time.Sleep(10 * time.Minute); return nil }).ReadOnly().Timeout(time.Hour)),
			saga.Branch("y", saga.Receive[trip, int]("Y", "go", nil), saga.Do("Z", func(context.Context, *trip) error {
				heard <- time.Now()
				return nil
			}).ReadOnly()),
		).Merge(func(*trip, []trip) error { return nil }))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Lease: 30 * time.Second})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second) // not when a renewal is due
		signalled := time.Now()
		if err := client.Signal(t.Context(), "1", "go", "s", 7); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), c, "1"); err != nil {
			t.Error(err)
		}
		if took := (<-heard).Sub(signalled); took > 10*time.Second {
			t.Errorf("the signal was heard after %s, want a third of a lease at most", took)
		}
	})
}

// Mail that comes while a worker gives an execution back, because it has not its
// definition, is not left lying until the next wake-up: there may be none.
func TestMailDuringRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		client := outsider(t, st)
		s := saga.New("trip", saga.Receive[trip, int]("A", "go", nil), saga.Do("B", nothing))
		stranger := saga.New("trip", saga.Do("Other", nothing))
		_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: "its own"})
		if _, err := s.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// The stranger opens it for a first mail, and the signal comes as it releases.
		signalled := false
		if err := client.Retry(t.Context(), "1", saga.Order{}); err != nil {
			t.Fatal(err)
		}
		_, stopStranger := run(t, saga.CoordinatorConfig{
			Sagas: []saga.Definer{stranger}, Logger: slog.New(slog.DiscardHandler),
			Store: storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
				if c.Op == "Release" && !signalled {
					signalled = true
					if err := client.Signal(t.Context(), "1", "go", "s", 7); err != nil {
						t.Error(err)
					}
				}
				return storetest.Fault{}
			}),
		})
		time.Sleep(time.Hour)
		if err := stopStranger(); err != nil { // who may come first, as long as it is there
			t.Error(err)
		}
		back := time.Now()
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Wait(t.Context(), c, "1"); err != nil {
			t.Error(err)
		}
		if took := time.Since(back); !signalled || took > 2*time.Minute {
			t.Errorf("it took %s with its own worker there, want two leases at most", took)
		}
	})
}
