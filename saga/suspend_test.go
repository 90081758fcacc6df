package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/storetest"
)

func (w *world) order(give func(context.Context, string, saga.Order) error) {
	w.Helper()
	if err := give(w.Context(), "1", saga.Order{By: "ann"}); err != nil {
		w.Fatal(err)
	}
	time.Sleep(2 * time.Second) // for a sweep
}

// What was under way when a saga was suspended may finish, here and elsewhere,
// and is heard; a signal is kept. Nothing follows from it before the saga is
// resumed, and no deadline passes meanwhile.
func TestSuspendWhileOthersAreAtWork(t *testing.T) {
	for n, way := range outside {
		for _, answered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, answered=%t", way.name, answered), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, send := awaitOutside(t, n) // for a minute
					time.Sleep(30 * time.Second)
					w.order(w.client.Suspend)
					time.Sleep(time.Hour)
					if answered {
						if err := send(); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Hour)
					}
					x, err := w.client.Get(t.Context(), "1")
					if err != nil || x.Status != saga.Running || x.Undoing || x.Waiting != (!answered || way.name == "signal") || x.UnreadMail > 0 || !x.HeldUntil.IsZero() {
						t.Errorf("suspended as %+v (%v)", x, err)
					}
					if got := w.provider.lines(); !slices.Equal(got, []string{"do A"}) {
						t.Errorf("suspended after %q", got)
					}
					w.order(w.client.Resume)
					if !answered {
						time.Sleep(20 * time.Second) // some of its minute is left
						if err := send(); err != nil {
							t.Fatal(err)
						}
					}
					if x := w.wait(); x.Status != saga.Completed || string(x.State) != `{"Log":["A","W","B"]}` {
						t.Errorf("it is %s with %s", x.Status, x.State)
						logHistory(t, w.client)
					}
				})
			})
		}
	}
}

// A saga that is suspended while it is undone finishes the compensation that
// runs, and goes on with the others when it is resumed.
func TestSuspendWhileItIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: abcd}
		w.provider.plan("D", plan{err: errNo})
		w.provider.plan("undo B", plan{takes: 10 * time.Second})
		w.work("one", w.store)
		w.start()
		time.Sleep(5 * time.Second)
		w.order(w.client.Suspend)
		time.Sleep(time.Hour)
		if got, want := w.provider.lines(), []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)"}; !slices.Equal(got, want) {
			t.Errorf("suspended after %q, want %q", got, want)
		}
		w.order(w.client.Resume)
		if x := w.wait(); x.Status != saga.Compensated {
			t.Errorf("it is %s", x.Status)
		}
		w.provider.audit(t, w.def, "1")
	})
}

// Branches stop together: the one whose handler runs finishes its step, and none
// begins another.
func TestSuspendOfBranches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
			return saga.New("trip", saga.Parallel("P",
				saga.Branch("x", p.step(w, "X1"), p.step(w, "X2")),
				saga.Branch("y", p.step(w, "Y1"), p.step(w, "Y2")),
			).Merge(func(*trip, []trip) error { return nil }), p.do(w, "Z"))
		}}
		w.provider.plan("X1", plan{takes: 15 * time.Second})
		w.provider.plan("Y1", plan{takes: 19 * time.Second})
		w.work("one", w.store)
		w.start()
		time.Sleep(12 * time.Second) // the renewal at 10s hands no mail over; the commit at 15s does
		w.order(w.client.Suspend)
		time.Sleep(time.Hour)
		got := w.provider.lines()
		slices.Sort(got)
		if want := []string{"do X1", "do Y1"}; !slices.Equal(got, want) {
			t.Errorf("suspended after %q, want %q", got, want)
		}
		w.order(w.client.Resume)
		if x := w.wait(); x.Status != saga.Completed {
			t.Errorf("it is %s", x.Status)
		}
		w.provider.audit(t, w.def, "1")
	})
}

// Orders are followed while a saga is suspended, and what they ask for begins
// when it is resumed; but an end is an end.
func TestOrdersWhileSuspended(t *testing.T) {
	for _, tt := range []struct {
		name  string
		order func(w *world) func(context.Context, string, saga.Order) error
		then  saga.Status // while it is suspended
		end   saga.Status
		lines []string
	}{
		{"cancel", func(w *world) func(context.Context, string, saga.Order) error { return w.client.Cancel },
			saga.Running, saga.Compensated, []string{"do A", "do B", "undo A (done)"}},
		{"retry", func(w *world) func(context.Context, string, saga.Order) error { return w.client.Retry },
			saga.Running, saga.Completed, []string{"do A", "do B", "do B", "do C", "do D"}},
		{"terminate", func(w *world) func(context.Context, string, saga.Order) error { return w.client.Terminate },
			saga.Terminated, saga.Terminated, []string{"do A", "do B"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
					return saga.New("trip", p.step(w, "A"), p.step(w, "B").Retry(saga.Retry{Initial: time.Hour, Jitter: -1}), p.step(w, "C"), p.do(w, "D"))
				}}
				w.provider.plan("B", plan{err: errors.New("flaky")})
				w.work("one", w.store)
				w.start()
				time.Sleep(time.Second)
				w.order(w.client.Suspend)
				time.Sleep(time.Hour)
				w.order(tt.order(w))
				time.Sleep(3 * time.Hour)
				x, err := w.client.Get(t.Context(), "1")
				if err != nil || x.Status != tt.then {
					t.Errorf("it is %+v (%v), want it %s", x, err, tt.then)
				}
				if got := w.provider.lines(); !slices.Equal(got, []string{"do A", "do B"}) {
					t.Errorf("suspended after %q", got)
				}
				if tt.then == saga.Running {
					w.order(w.client.Resume)
					if x = w.wait(); time.Since(w.begun) > 4*time.Hour+time.Minute {
						t.Errorf("it took %s", time.Since(w.begun))
					}
				}
				if got := w.provider.lines(); x.Status != tt.end || !slices.Equal(got, tt.lines) {
					t.Errorf("it is %s after %q, want %s after %q", x.Status, got, tt.end, tt.lines)
				}
				w.provider.audit(t, w.def, "1")
			})
		})
	}
}

// A worker that dies with a suspended saga loses the attempt that was at work, and
// none that was not: while it is suspended nothing is begun, whoever opens it and
// dies.
func TestCrashWhileSuspended(t *testing.T) {
	for name, tt := range map[string]struct {
		a, p  plan          // of the first attempts
		dies  time.Duration // the worker, after the start
		again bool          // and another one
		lines []string
	}{
		"at work":                 {plan{}, plan{takes: 15 * time.Second}, 8 * time.Second, false, []string{"do A", "do P", "do P"}},
		"before a retry":          {plan{}, plan{err: errors.New("flaky")}, 8 * time.Second, true, []string{"do A", "do P", "do P"}},
		"with a step that is due": {plan{takes: 6 * time.Second}, plan{}, 20 * time.Second, true, []string{"do A", "do P"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
					return saga.New("trip", p.step(w, "A"), p.do(w, "P").Pivot().Retry(saga.Retry{Initial: 2 * time.Second, Jitter: -1, Attempts: 9}), p.do(w, "Z"))
				}}
				w.provider.plan("A", tt.a)
				w.provider.plan("P", tt.p)
				var dead atomic.Bool
				mortal := func() saga.Store {
					return storetest.NewFaulty(w.store, func(c storetest.Call) storetest.Fault {
						if dead.Load() {
							return storetest.Fault{Before: storetest.ErrInjected}
						}
						return storetest.Fault{}
					})
				}
				w.work("one", mortal())
				w.start()
				time.Sleep(time.Second)
				w.order(w.client.Suspend)
				time.Sleep(time.Until(w.begun.Add(tt.dies)))
				dead.Store(true)
				w.provider.kill("one")
				w.stop("one")
				time.Sleep(time.Hour)
				if tt.again {
					// It opens the execution for an order, and dies before it commits.
					dead.Store(false)
					var opened atomic.Bool
					w.work("two", storetest.NewFaulty(w.store, func(c storetest.Call) storetest.Fault {
						if c.Op == "Open" || c.Op == "Deliver" {
							opened.Store(true)
						}
						if c.Op == "Commit" {
							dead.Store(true)
						}
						if dead.Load() {
							return storetest.Fault{Before: storetest.ErrInjected}
						}
						return storetest.Fault{}
					}))
					w.order(w.client.Suspend) // which is refused
					time.Sleep(time.Minute)
					w.provider.kill("two")
					w.stop("two")
					if !opened.Load() || !dead.Load() {
						t.Error("worker two did not open it and die")
					}
					time.Sleep(time.Hour)
				}
				w.work("three", w.store)
				time.Sleep(time.Hour)
				want := 1
				if name != "at work" {
					want = 0
				}
				if got := count(t, w.client, "1", saga.TaskTimedOut); got != want {
					t.Errorf("%d attempts are taken for lost, want %d", got, want)
				}
				resumed := time.Now()
				w.order(w.client.Resume)
				if x := w.wait(); x.Status != saga.Completed || time.Since(resumed) > time.Minute {
					t.Errorf("it is %s %s after it was resumed", x.Status, time.Since(resumed))
				}
				if got := w.provider.lines(); !slices.Equal(got, append(tt.lines, "do Z")) {
					t.Errorf("%q, want %q", got, tt.lines)
				}
				if t.Failed() {
					logHistory(t, w.client)
				}
				w.provider.audit(t, w.def, "1")
			})
		})
	}
}

// The same beside a branch whose handler is at work: that attempt alone is lost.
func TestCrashOfABranchWhileSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
			return saga.New("trip", saga.Parallel("P",
				saga.Branch("x", p.step(w, "X").Retry(saga.Retry{Initial: 20 * time.Second, Jitter: -1})),
				saga.Branch("y", p.step(w, "Y").Timeout(time.Hour)),
			).Merge(func(*trip, []trip) error { return nil }), p.do(w, "Z"))
		}}
		w.provider.plan("X", plan{err: errors.New("flaky")})
		w.provider.plan("Y", plan{takes: 30 * time.Minute})
		var dead atomic.Bool
		w.work("one", storetest.NewFaulty(w.store, func(c storetest.Call) storetest.Fault {
			if dead.Load() {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		}))
		w.start()
		time.Sleep(time.Second)
		w.order(w.client.Suspend)
		time.Sleep(12 * time.Second) // a renewal brings it
		dead.Store(true)
		w.provider.kill("one")
		w.stop("one")
		w.work("two", w.store)
		time.Sleep(time.Hour)
		h, err := w.client.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		var lost []string
		for _, e := range h {
			if e.Type == saga.TaskTimedOut {
				lost = append(lost, e.Step)
			}
		}
		if !slices.Equal(lost, []string{"Y"}) || count(t, w.client, "1", saga.ExecutionSuspended) != 1 {
			t.Errorf("attempts of %q are taken for lost, want that of Y alone", lost)
			logHistory(t, w.client)
		}
		w.order(w.client.Resume)
		if x := w.wait(); x.Status != saga.Completed {
			t.Errorf("it is %s", x.Status)
		}
		w.provider.audit(t, w.def, "1")
	})
}
