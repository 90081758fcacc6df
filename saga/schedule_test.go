package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
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

// With short leases a dead coordinator's share of the partitions is taken over
// as soon as its executions are.
func TestShareOfADeadCoordinatorIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var dead atomic.Bool
		split := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
			if dead.Load() {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})
		s := saga.New("trip", saga.Do("A", nothing))
		cfg := saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Lease: 2 * time.Second, Sweep: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
		cfg.Store, cfg.Name = split, "dies"
		_, stopOne := run(t, cfg)
		cfg.Store, cfg.Name = st, "lives"
		_, stopTwo := run(t, cfg)
		time.Sleep(5 * time.Second)
		dead.Store(true)
		died := time.Now()
		client := outsider(t, st)
		for i := range 64 {
			if _, err := s.Start(t.Context(), client, strconv.Itoa(i), trip{}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 64 {
			if _, err := s.Wait(t.Context(), client, strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(died); took > 4*time.Second {
			t.Errorf("the last execution was done %s after the coordinator died, want it within two leases of 2s", took)
		}
		if err := errors.Join(stopOne(), stopTwo()); err != nil {
			t.Error(err)
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
