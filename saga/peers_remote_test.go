package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/storetest"
)

// What other engines get wrong, see peers_test.go, where steps are done by others
// and in branches.

// Camunda 8 calls all compensation handlers at once. Branches are undone one step
// after the other, in reverse of the order in which all of them began, here and
// elsewhere.
func TestPeersUndoOutOfOrderInBranches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: farForked}
		for _, step := range []string{"X1", "I", "Y1", "Y2"} {
			w.provider.plan(step, plan{takes: 2 * time.Second})
			w.provider.plan("undo "+step, plan{takes: 3 * time.Second}, plan{takes: 3 * time.Second})
		}
		w.provider.plan("D", plan{err: errNo})
		w.work("one", w.store)
		w.start()
		if x := w.wait(); x.Status != saga.Compensated {
			t.Errorf("it is %s", x.Status)
		}
		w.provider.audit(t, w.def, "1")
		var began []string // as the history has it
		h, err := w.client.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h {
			if e.Type == saga.TaskScheduled && e.Step != "D" {
				began = append(began, e.Frame+"/"+e.Step)
			}
		}
		slices.Reverse(began)
		var undone []string
		var last time.Time
		for _, c := range w.provider.calls {
			if !c.undo {
				continue
			}
			undone = append(undone, c.frame+"/"+c.step)
			if gap := c.at.Sub(last); gap < 3*time.Second {
				t.Errorf("the undo of %s/%s begins %s after the one before it, which took 3s", c.frame, c.step, gap)
			}
			last = c.at
		}
		if !slices.Equal(undone, began) {
			t.Errorf("undone %q, want %q", undone, began)
		}
	})
}

// A participant that cannot undo its step blocks the saga there. Nothing before
// it is skipped, in whichever branch; Eventuate would end the saga.
func TestPeersFailingCompensationElsewhereSkipsTheOthers(t *testing.T) {
	for name, failure := range map[string]error{"refused": errNo, "flaky": errors.New("flaky"), "not heard of": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: farForked}
				w.provider.plan("D", plan{err: errNo})
				w.provider.plan("X1", plan{takes: time.Second}) // Y2 is the second to begin
				broken := true
				w.service.hold = func(c sentCommand) bool {
					return broken && failure == nil && c.Command == "undo" && c.Step == "Y2"
				}
				if failure != nil {
					w.provider.plan("undo Y2", slices.Repeat([]plan{{err: failure}}, 10)...)
				}
				w.work("one", w.store)
				w.start()
				x := w.wait()
				if x.Status != saga.Blocked || x.Trouble.Step != "Y2" || !x.Trouble.Undo {
					t.Fatalf("it is %s, because of %+v, want it blocked at the undo of Y2", x.Status, x.Trouble)
				}
				time.Sleep(3 * time.Hour)
				for _, line := range w.provider.lines() {
					if line == "undo Y1 (done)" || line == "undo X1 (done)" || line == "undo A (done)" {
						t.Errorf("%s, although it is blocked before", line)
					}
				}
				broken = false
				clear(w.provider.plans)
				w.order(w.client.Retry)
				if x := w.wait(); x.Status != saga.Compensated {
					t.Errorf("it is %s after a retry", x.Status)
				}
				got := w.provider.lines()
				slices.Sort(got)
				got = slices.Compact(got)
				var want []string
				for _, step := range []string{"A", "I", "X1", "Y1", "Y2"} {
					want = append(want, fmt.Sprintf("undo %s (done)", step))
				}
				if got = slices.DeleteFunc(got, func(l string) bool { return strings.HasPrefix(l, "do ") }); !slices.Equal(got, want) {
					t.Errorf("undone %q, want %q", got, want)
				}
				w.provider.audit(t, w.def, "1")
			})
		})
	}
}

// Temporal's sample forgets the step that a cancel finds running. Here a
// participant has it, and answers in every way, or never.
func TestPeersCancelForgetsTheRunningStepElsewhere(t *testing.T) {
	for name, tt := range map[string]struct {
		plan plan
		mute bool
		want string // what becomes of it
	}{
		"done":     {plan: plan{takes: 10 * time.Second}, want: "undo C (done)"},
		"not done": {plan: plan{takes: 10 * time.Second, err: errors.New("flaky")}},
		"unknown":  {plan: plan{takes: 10 * time.Second, err: errors.New("garbled"), anyway: true}, want: "undo C (unknown)"},
		"no reply": {plan: plan{takes: 10 * time.Second}, mute: true, want: "undo C (unknown)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: far}
				w.provider.plan("C", tt.plan)
				w.work("one", w.store)
				w.start()
				time.Sleep(5 * time.Second)
				w.service.silence(tt.mute)
				w.cancelAfter(0)
				time.Sleep(20 * time.Second)
				w.service.silence(false)
				if x := w.wait(); x.Status != saga.Compensated {
					t.Errorf("it is %s", x.Status)
				}
				want := []string{"do A", "do B", "do C"}
				if tt.want != "" {
					want = append(want, tt.want)
				}
				want = append(want, "undo B (done)", "undo A (done)")
				if got := w.provider.lines(); !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
				w.provider.audit(t, w.def, "1")
			})
		})
	}
}

// A command that never arrives is undone all the same, by a compensation that
// nothing preceded; and when it arrives after that, late, it is refused, so that
// its effect does not stay for ever.
func TestPeersEmptyAndHangingElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var held []sentCommand
		w.service.hold = func(c sentCommand) bool {
			if c.Command == "do" && c.Step == "A" {
				held = append(held, c)
				return true
			}
			return false
		}
		w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
			return saga.New("trip", p.remoteStep("A").Retry(saga.Once()).Timeout(10*time.Second), p.do(w, "B"))
		}}
		w.work("one", w.store)
		w.start()
		if x := w.wait(); x.Status != saga.Compensated {
			t.Errorf("it is %s", x.Status)
		}
		if len(held) == 0 {
			t.Fatal("no command was held back")
		}
		for _, c := range held { // it comes late; its time is over, or the service's clock is wrong
			w.service.deliver(c)
			c.NotAfter = time.Now().Add(time.Hour).UnixMilli()
			w.service.deliver(c)
		}
		w.errands.Wait()
		if got, want := w.provider.lines(), []string{"undo A (unknown)"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		w.provider.audit(t, w.def, "1")
	})
}

// No other engine has a point of no return. Past it nothing that can go wrong has
// a compensation run; nor does anything while it may be past.
func TestPeersNoPointOfNoReturn(t *testing.T) {
	for name, tt := range map[string]struct {
		plan   func(p *provider)
		cancel time.Duration // after the start
		worker bool          // dies after 5s
		end    saga.Status
	}{
		"a step fails":                   {plan: func(p *provider) { p.plan("Z", plan{err: errNo}) }, end: saga.Blocked},
		"a step is not heard of":         {plan: func(p *provider) { p.plan("Z", slices.Repeat([]plan{{takes: time.Hour}}, 9)...) }, end: saga.Blocked},
		"it is cancelled":                {plan: func(p *provider) { p.plan("Z", plan{takes: 10 * time.Second}) }, cancel: 5 * time.Second, end: saga.Completed},
		"it runs out of its time":        {plan: func(p *provider) { p.plan("Z", slices.Repeat([]plan{{err: errors.New("flaky")}}, 4)...) }, end: saga.Completed},
		"its worker dies":                {plan: func(p *provider) { p.plan("Z", plan{takes: 10 * time.Second}) }, worker: true, end: saga.Completed},
		"its pivot is unknown":           {plan: func(p *provider) { p.plan("P", plan{err: saga.Permanent(saga.Uncertain(errors.New("garbled")))}) }, end: saga.Blocked},
		"its worker dies in the pivot":   {plan: func(p *provider) { p.plan("P", plan{takes: 10 * time.Second}, plan{err: errNo}) }, worker: true, end: saga.Blocked},
		"it is cancelled with the pivot": {plan: func(p *provider) { p.plan("P", plan{takes: 10 * time.Second}) }, cancel: 5 * time.Second, end: saga.Completed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] { return pivoted(p, w).Within(25 * time.Second) }}
				tt.plan(w.provider)
				var dead atomic.Bool
				w.work("one", storetest.NewFaulty(w.store, func(storetest.Call) storetest.Fault {
					if dead.Load() {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				}))
				w.start()
				if tt.cancel > 0 {
					w.cancelAfter(tt.cancel)
				}
				if tt.worker {
					time.Sleep(5 * time.Second)
					dead.Store(true)
					w.provider.kill("one")
					w.stop("one")
					w.work("two", w.store)
				}
				if x := w.wait(); x.Status != tt.end {
					t.Errorf("it is %s, want %s", x.Status, tt.end)
				}
				time.Sleep(time.Hour)
				if got := w.provider.lines(); slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "undo") }) {
					t.Errorf("something was undone: %q", got)
				}
			})
		})
	}
}

// dtm's retries of a compensation are those of its actions, without a cap. A
// participant that fails to undo is asked again ever less often, and not all
// sagas at once.
func TestPeersCompensationElsewhereRetriesWithoutCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const n = 20
		var mu sync.Mutex
		at := make(map[string][]time.Time)
		w.service.hold = func(c sentCommand) bool {
			mu.Lock()
			defer mu.Unlock()
			if c.Command == "undo" {
				at[c.Execution] = append(at[c.Execution], time.Now())
			}
			return false
		}
		w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
			return saga.New("trip", p.remoteStep("A"), p.do(w, "B").Retry(saga.Once()))
		}}
		w.provider.plan("B", slices.Repeat([]plan{{err: errNo}}, n)...)
		w.provider.plan("undo A", slices.Repeat([]plan{{err: errors.New("flaky")}}, 100*n)...)
		w.work("one", w.store)
		s := w.workers["one"].saga
		for i := range n {
			if _, err := s.Start(t.Context(), w.client, fmt.Sprint(i), trip{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		second := make(map[time.Time]bool)
		for id, tries := range at {
			if len(tries) != 10 || tries[9].Sub(tries[0]) < 30*time.Second {
				t.Errorf("%s: %d tries in %s, want 10 in more than half a minute", id, len(tries), tries[len(tries)-1].Sub(tries[0]))
			}
			second[tries[1]] = true
			if x, err := w.client.Get(context.Background(), id); err != nil || x.Status != saga.Blocked {
				t.Errorf("%s: %+v, %v", id, x, err)
			}
		}
		if len(at) != n || len(second) < n/2 {
			t.Errorf("%d sagas; the second tries came at %d different times", len(at), len(second))
		}
	})
}
