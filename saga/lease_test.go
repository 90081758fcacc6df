package saga_test

import (
	"context"
	"errors"
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

// A lease is reckoned from when its renewal was sent, not from when that was
// answered: the store may have done it at once.
func TestLeaseIsReckonedFromTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var renewals atomic.Int64
		slow := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			switch {
			case c.Op != "Renew":
				return storetest.Fault{}
			case renewals.Add(1) == 1: // at 10s: it holds until 40s
				return storetest.Fault{Late: 15 * time.Second}
			}
			return storetest.Fault{Before: storetest.ErrInjected}
		})
		ended := make(chan time.Duration, 10)
		begin := time.Now()
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			<-ctx.Done()
			ended <- time.Since(begin)
			return ctx.Err()
		}).Timeout(time.Hour))
		c, stop := run(t, saga.CoordinatorConfig{Store: slow, Sagas: []saga.Definer{s}, Lease: 30 * time.Second})
		if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if got := <-ended; got > 37*time.Second {
			t.Errorf("the handler's context ended after %s, want 37s: 3s before the lease that was renewed at 10s", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Past the pivot the saga's time is over for nobody but whoever reads the alert.
func TestSagaWithinDoesNotCutAttemptsAfterThePivot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip",
			saga.Do("P", nothing).Pivot(),
			saga.Do("Z", func(ctx context.Context, _ *trip) error {
				select {
				case <-time.After(30 * time.Second):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})).Within(10 * time.Second)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if n := count(t, c, "1", saga.TaskTimedOut); n != 0 {
			t.Errorf("%d attempts were cut, want none", n)
		}
	})
}

// A worker loses its lease while a handler runs: the handler's context ends, and
// what it answers does not count. The next worker takes the attempt for lost
// and tries again under the same key.
func TestLeaseLostWhileAHandlerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var cut atomic.Bool
		split := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
			if cut.Load() {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})
		var mu sync.Mutex
		keys := make(map[string][]int)
		var j journal
		var ended time.Duration
		begin := time.Now()
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, s *trip) error {
			info := saga.StepFrom(ctx)
			mu.Lock()
			keys[info.Key] = append(keys[info.Key], info.Attempt)
			mu.Unlock()
			if info.Attempt > 1 {
				j.add("attempt 2")
				s.Log = append(s.Log, "second")
				return nil
			}
			<-ctx.Done()
			ended = time.Since(begin)
			s.Log = append(s.Log, "first")
			return nil // it claims to be done
		}).Timeout(time.Hour))
		one, stopOne := run(t, saga.CoordinatorConfig{Store: split, Sagas: []saga.Definer{s}, Name: "one", Lease: 30 * time.Second})
		if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		cut.Store(true)
		two, stopTwo := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: "two", Lease: 30 * time.Second})
		got, err := s.Wait(t.Context(), two.Client(), "1")
		if err != nil || !slices.Equal(got.Log, []string{"second"}) {
			t.Errorf("%v, %v", got, err)
		}
		synctest.Wait() // the first handler has ended
		if ended == 0 || ended > 40*time.Second {
			t.Errorf("the first handler's context ended after %s, want it before the lease did, at 40s", ended)
		}
		if len(keys) != 1 || !slices.Equal(keys["1/1//A/1/do"], []int{1, 2}) {
			t.Errorf("keys and attempts %v", keys)
		}
		if err := errors.Join(stopOne(), stopTwo()); err != nil {
			t.Error(err)
		}
	})
}

// A worker that cannot renew its lease stops its handler while the lease still
// holds, so that the next worker's does not run beside it.
func TestHandlerIsStoppedBeforeItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		hangs := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			if c.Op == "Renew" {
				return storetest.Fault{Delay: time.Hour}
			}
			return storetest.Fault{}
		})
		ended := make(chan time.Duration, 10)
		begin := time.Now()
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			<-ctx.Done()
			ended <- time.Since(begin)
			return ctx.Err()
		}).Timeout(time.Hour))
		c, stop := run(t, saga.CoordinatorConfig{Store: hangs, Sagas: []saga.Definer{s}, Lease: 30 * time.Second})
		if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if got := <-ended; got != 27*time.Second {
			t.Errorf("the handler's context ended after %s, want a tenth of the lease of 30s before its end", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// One renewal that fails is no reason to stop a handler: it is tried again while
// the lease holds. The same goes for a commit.
func TestRenewalIsTriedAgain(t *testing.T) {
	for _, op := range []string{"Renew", "Commit"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				var failures atomic.Int64
				flaky := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
					if c.Op == op && failures.Add(1) <= 8 {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				})
				var runs atomic.Int64
				s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
					runs.Add(1)
					select {
					case <-time.After(time.Minute):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}).Timeout(time.Hour))
				c := coordinate(t, saga.CoordinatorConfig{Store: flaky, Sagas: []saga.Definer{s}})
				if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				if n := runs.Load(); n != 1 || failures.Load() < 8 {
					t.Errorf("the handler ran %d times, want once; %d failures", n, failures.Load())
				}
			})
		})
	}
}

// A wait in place is longer than the lease: it is renewed, and the wait is not
// taken for a crash.
func TestWaitInPlaceRenewsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			if attempts.Add(1) < 4 {
				return errors.New("flaky")
			}
			return nil
		}).Retry(saga.Retry{Initial: 900 * time.Millisecond, Factor: 1, Jitter: -1}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Lease: 100 * time.Millisecond})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if n := attempts.Load(); n != 4 {
			t.Errorf("%d attempts, want 4", n)
		}
	})
}

// A worker that slept through its lease wakes up and commits: that is refused,
// and changes nothing.
func TestZombieCommitIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		begin := time.Now()
		slow := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			if c.Op == "Commit" && time.Since(begin) < time.Second {
				// The delay heeds no deadline, as a stopped process would not.
				time.Sleep(45 * time.Second)
			}
			return storetest.Fault{}
		})
		p := newProvider(st)
		build := func(w string) *saga.Saga[trip] { return saga.New("trip", p.step(w, "A"), p.do(w, "B")) }
		s := build("one")
		one, stopOne := run(t, saga.CoordinatorConfig{Store: slow, Sagas: []saga.Definer{s}, Name: "one"})
		if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		two, stopTwo := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{build("two")}, Name: "two"})
		if x, err := two.Client().Wait(t.Context(), "1"); err != nil || x.Status != saga.Completed {
			t.Errorf("%+v, %v", x, err)
		}
		time.Sleep(time.Minute)
		p.audit(t, s.Definition(), "1")
		if err := errors.Join(stopOne(), stopTwo()); err != nil {
			t.Error(err)
		}
	})
}
