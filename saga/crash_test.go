package saga_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A scenario is one saga's way through its life, to be run with a failure at
// every call that its worker makes to the store.
type scenario struct {
	name  string
	saga  func(p *provider, worker string) *saga.Saga[trip]
	plan  func(p *provider)
	early func(w *world) // comes before the start
	drive func(w *world) // orders, given while the saga runs
	start []saga.StartOption
	// end is where it ends without a failure, and ends where it may end with
	// one.
	end   saga.Status
	ends  []saga.Status
	lines []string // what the provider sees without a failure
	loose bool     // in any order: steps begin at once
	bell  bool     // a notice is due
	twice bool     // replies come twice
	mute  bool     // no reply comes
	folds bool     // frames are left folded
}

var errNo = saga.Permanent(errors.New("no"))

func abcd(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", p.step(w, "A"), p.step(w, "B"), p.step(w, "C"), p.do(w, "D"))
}

// forked has branches, in one of them items, and a step after them.
func forked(p *provider, w string) *saga.Saga[trip] {
	items := func(*trip) []trip { return make([]trip, 2) }
	return saga.New("trip", p.step(w, "A"),
		saga.Parallel("P",
			saga.Branch("x", p.step(w, "X1"), saga.ForEach("M", items, nil, p.step(w, "I"))),
			saga.Branch("y", p.step(w, "Y1"), p.step(w, "Y2")),
		).Merge(func(*trip, []trip) error { return nil }),
		p.do(w, "D"))
}

// family has a child between two steps, and a grandchild in a branch of it.
func withChildren(p *provider, w string) *saga.Saga[trip] {
	grandchild := saga.New("grandchild", p.step(w, "G"))
	child := saga.New("child", p.step(w, "X"),
		saga.Parallel("P", saga.Branch("b", saga.Child("Grand", grandchild, hand, take))).Merge(func(*trip, []trip) error { return nil }),
		p.step(w, "Y"))
	p.kin = map[string]*saga.Definition{"1/Sub": child.Definition(), "1/Sub/P:0,Grand": grandchild.Definition()}
	return saga.New("trip", p.step(w, "A"), saga.Child("Sub", child, hand, take), p.step(w, "B"), p.do(w, "D"))
}

// parted has a ForEach whose items are shared out to executions of their own.
func parted(p *provider, w string) *saga.Saga[trip] {
	items := func(*trip) []trip { return make([]trip, 5) }
	s := saga.New("trip", p.step(w, "A"), saga.ForEach("M", items, nil, p.step(w, "I")).Concurrency(2), p.step(w, "B"), p.do(w, "D"))
	saga.SetMapSize(s, 3, 2)
	return s
}

func pivoted(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", p.step(w, "A"), p.do(w, "P").Pivot(), p.do(w, "Z"))
}

var scenarios = []scenario{
	{
		name: "completes", saga: abcd, end: saga.Completed,
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "fails at the last step", saga: abcd, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends:  []saga.Status{saga.Completed}, // when the answer that refused is lost twice
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "fails with an unknown outcome after the effect", saga: abcd, end: saga.Compensated,
		plan: func(p *provider) {
			garbled := plan{err: saga.Permanent(saga.Uncertain(errors.New("garbled"))), anyway: true}
			p.plan("C", garbled, garbled)
		},
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do C", "undo C (unknown)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "fails with an unknown outcome without an effect", saga: abcd, end: saga.Compensated,
		plan: func(p *provider) {
			p.plan("C", slices.Repeat([]plan{{takes: time.Minute}}, 7)...)
		},
		lines: []string{"do A", "do B", "do C", "do C", "do C", "do C", "do C", "do C", "undo C (unknown)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "retries with waits in place and in the store", saga: abcd, end: saga.Completed,
		plan: func(p *provider) {
			p.plan("B", plan{err: errors.New("flaky")}, plan{err: errors.New("flaky")})
		},
		lines: []string{"do A", "do B", "do B", "do B", "do C", "do D"},
	},
	{
		name: "panics", saga: abcd, end: saga.Completed,
		plan:  func(p *provider) { p.plan("B", plan{panics: "boom"}) },
		lines: []string{"do A", "do B", "do B", "do C", "do D"},
	},
	{
		name: "passes its pivot", saga: pivoted, end: saga.Completed,
		plan:  func(p *provider) { p.plan("Z", plan{err: errors.New("flaky")}) },
		lines: []string{"do A", "do P", "do Z", "do Z"},
	},
	{
		name: "fails at its pivot", saga: pivoted, end: saga.Compensated,
		plan: func(p *provider) { p.plan("P", plan{err: errNo}) },
		// A pivot whose refusal is lost may be done: nothing is undone then.
		ends:  []saga.Status{saga.Completed},
		drive: (*world).retryWhenBlocked,
		lines: []string{"do A", "do P", "undo A (done)"},
	},
	{
		name: "blocks after its pivot", saga: pivoted, end: saga.Completed,
		plan:  func(p *provider) { p.plan("Z", plan{err: errNo}) },
		drive: (*world).retryWhenBlocked,
		lines: []string{"do A", "do P", "do Z", "do Z"},
	},
	{
		name: "blocks in a compensation", saga: abcd, end: saga.Compensated,
		plan: func(p *provider) {
			p.plan("D", plan{err: errNo}, plan{err: errNo})
			p.plan("undo B", plan{err: errNo})
		},
		ends:  []saga.Status{saga.Completed},
		drive: (*world).retryWhenBlocked,
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "has the input of a compensation edited", saga: abcd, end: saga.Compensated,
		plan: func(p *provider) {
			p.plan("D", plan{err: errNo}, plan{err: errNo})
			p.plan("undo B", plan{err: errNo}, plan{err: errLost})
		},
		ends:  []saga.Status{saga.Completed},
		drive: (*world).editWhenBlocked,
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)", "undo B (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "has the input of a step edited", saga: pivoted, end: saga.Completed,
		plan:  func(p *provider) { p.plan("Z", plan{err: errNo}); p.edited = "Z" },
		drive: (*world).editWhenBlocked,
		lines: []string{"do A", "do P", "do Z", "do Z"},
	},
	{
		name: "is cancelled in the middle of a step", saga: abcd, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("B", plan{takes: 5 * time.Second}) },
		drive: func(w *world) { w.cancelAfter(2 * time.Second) },
		lines: []string{"do A", "do B", "undo B (done)", "undo A (done)"},
	},
	{
		name: "is terminated in the middle of a step", saga: abcd, end: saga.Terminated,
		plan: func(p *provider) {
			p.plan("B", plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second})
		},
		drive: func(w *world) { w.terminateAfter(2 * time.Second) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B"},
	},
	{
		name: "is terminated in the middle of a compensation", saga: abcd, end: saga.Terminated, bell: true,
		start: []saga.StartOption{saga.NotifyTo("ends")},
		plan: func(p *provider) {
			p.plan("D", plan{err: errNo}, plan{err: errNo})
			p.plan("undo B", plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second})
		},
		drive: func(w *world) { w.terminateAfter(2 * time.Second) },
		ends:  []saga.Status{saga.Completed, saga.Compensated},
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)"},
	},
	{
		name: "is terminated while branches and the handlers of children are at work", saga: func(p *provider, w string) *saga.Saga[trip] {
			child := saga.New("child", p.step(w, "X"))
			p.kin = map[string]*saga.Definition{"1/P:0,Sub": child.Definition()}
			return saga.New("trip", p.step(w, "A"),
				saga.Parallel("P", saga.Branch("x", saga.Child("Sub", child, hand, take)), saga.Branch("y", p.step(w, "Y"))).
					Merge(func(*trip, []trip) error { return nil }))
		},
		end: saga.Terminated,
		plan: func(p *provider) {
			p.plan("X", plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second})
			p.plan("Y", plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second}, plan{takes: 15 * time.Second})
		},
		drive: func(w *world) { w.terminateAfter(2 * time.Second); time.Sleep(40 * time.Second) },
		ends:  []saga.Status{saga.Completed}, loose: true,
		lines: []string{"do A", "do X", "do Y"},
	},
	{
		name: "is cancelled while it waits", saga: abcd, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("B", slices.Repeat([]plan{{err: errors.New("flaky")}}, 4)...) },
		drive: func(w *world) { w.cancelAfter(5 * time.Second) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do B", "do B", "undo A (done)"},
	},
	{
		name: "is cancelled in its last step", saga: abcd, end: saga.Completed,
		plan:  func(p *provider) { p.plan("D", plan{takes: 5 * time.Second}) },
		drive: func(w *world) { w.cancelAfter(4 * time.Second) },
		ends:  []saga.Status{saga.Compensated}, // the step was lost, and the cancel came first
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "runs longer than its lease", saga: func(p *provider, w string) *saga.Saga[trip] {
			return saga.New("trip", p.step(w, "A"), p.step(w, "B").Timeout(5*time.Minute), p.do(w, "C"))
		},
		end:   saga.Completed,
		plan:  func(p *provider) { p.plan("B", plan{takes: 2 * time.Minute}) },
		lines: []string{"do A", "do B", "do C"},
	},
	{
		name: "runs out of its time", saga: func(p *provider, w string) *saga.Saga[trip] {
			const own = 10 * time.Second
			return saga.New("trip", p.step(w, "A").Timeout(own), p.step(w, "B").Timeout(own), p.do(w, "C").Timeout(own)).Within(own)
		},
		end:   saga.Compensated,
		plan:  func(p *provider) { p.plan("B", plan{takes: time.Minute}) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "undo B (unknown)", "undo A (done)"},
	},
	{
		name: "runs branches", saga: forked, end: saga.Completed, loose: true,
		plan:  func(p *provider) { p.plan("Y1", plan{takes: time.Second}); p.plan("I", plan{takes: 3 * time.Second}) },
		lines: []string{"do A", "do D", "do I", "do I", "do X1", "do Y1", "do Y2"},
	},
	{
		name: "undoes branches", saga: forked, end: saga.Compensated, loose: true,
		plan: func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends: []saga.Status{saga.Completed},
		lines: []string{"do A", "do D", "do I", "do I", "do X1", "do Y1", "do Y2",
			"undo A (done)", "undo I (done)", "undo I (done)", "undo X1 (done)", "undo Y1 (done)", "undo Y2 (done)"},
	},
	{
		name: "a branch fails while others are at work", saga: forked, end: saga.Compensated, loose: true,
		plan: func(p *provider) {
			p.plan("Y1", plan{takes: time.Second, err: errNo}, plan{err: errNo}, plan{err: errNo})
			p.plan("I", plan{takes: 5 * time.Second}, plan{takes: 5 * time.Second, err: saga.Uncertain(errors.New("garbled"))})
		},
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do I", "do I", "do X1", "do Y1", "undo A (done)", "undo I (done)", "undo I (unknown)", "undo X1 (done)"},
	},
	{
		name: "runs children", saga: withChildren, end: saga.Completed,
		lines: []string{"do A", "do X", "do G", "do Y", "do B", "do D"},
	},
	{
		name: "undoes children", saga: withChildren, end: saga.Compensated,
		plan: func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends: []saga.Status{saga.Completed},
		lines: []string{"do A", "do X", "do G", "do Y", "do B", "do D",
			"undo B (done)", "undo Y (done)", "undo G (done)", "undo X (done)", "undo A (done)"},
	},
	{
		name: "a child fails", saga: withChildren, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("Y", plan{err: errNo}, plan{err: errNo}) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do X", "do G", "do Y", "undo G (done)", "undo X (done)", "undo A (done)"},
	},
	{
		name: "is cancelled while a child is at work", saga: withChildren, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("X", plan{takes: 5 * time.Second}) },
		drive: func(w *world) { w.cancelAfter(2 * time.Second) },
		ends:  []saga.Status{saga.Completed},
		// What X brought is committed, and begun, before the cancel is heard.
		lines: []string{"do A", "do X", "do G", "undo G (done)", "undo X (done)", "undo A (done)"},
	},
	{
		name: "runs the parts of a ForEach", saga: parted, end: saga.Completed, loose: true,
		plan:  func(p *provider) { p.plan("I", plan{takes: 3 * time.Second}) },
		lines: []string{"do A", "do B", "do D", "do I", "do I", "do I", "do I", "do I"},
	},
	{
		name: "undoes the parts of a ForEach", saga: parted, end: saga.Compensated, loose: true,
		plan: func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends: []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do D", "do I", "do I", "do I", "do I", "do I", "undo A (done)", "undo B (done)",
			"undo I (done)", "undo I (done)", "undo I (done)", "undo I (done)", "undo I (done)"},
	},
	{
		name: "begins later", saga: abcd, end: saga.Completed,
		start: []saga.StartOption{saga.After(time.Minute)},
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "tells of its end", saga: abcd, end: saga.Completed, bell: true,
		start: []saga.StartOption{saga.NotifyTo("ends")},
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "is cancelled, and tells of its end", saga: abcd, end: saga.Compensated, bell: true,
		start: []saga.StartOption{saga.NotifyTo("ends")},
		plan:  func(p *provider) { p.plan("B", plan{takes: 5 * time.Second}) },
		drive: func(w *world) { w.cancelAfter(2 * time.Second) },
		lines: []string{"do A", "do B", "undo B (done)", "undo A (done)"},
	},
}

// TestEveryCallToTheStore plays each scenario once without a failure, and then
// with each mishap at each call that its worker makes to the store.
func TestEveryCallToTheStore(t *testing.T) {
	for i, sc := range slices.Concat(scenarios, farScenarios, lockScenarios, foldScenarios) {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			calls := sc.play(t, mishap{}, 0)
			if t.Failed() {
				return
			}
			for j, m := range mishaps {
				t.Run(m.name, func(t *testing.T) {
					// Under the race detector, which is slow, every third call is
					// enough: what races does so at more than one.
					first, step := 1, 1
					if raceDetector {
						first, step = 1+(i+j)%3, 3
					}
					for k := first; k <= calls && !t.Failed(); k += step {
						t.Run(fmt.Sprint(k), func(t *testing.T) { sc.play(t, m, k) })
					}
				})
			}
		})
	}
}

// play plays the scenario with a mishap at the kth call, and returns how many
// calls there were.
func (sc *scenario) play(t *testing.T, m mishap, k int) (calls int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = sc
		w.service.twice, w.service.mute = sc.twice, sc.mute
		if sc.plan != nil {
			sc.plan(w.provider)
		}
		hit := make(chan struct{})
		meter := &meter{mishap: m, k: k, hit: hit}
		w.faults = meter.fault
		w.work("one", storetest.NewFaulty(w.store, meter.fault))
		if m.peer {
			w.work("two", w.store)
		}
		over := make(chan struct{})
		var killer sync.WaitGroup
		if m.kills {
			killer.Go(func() {
				select {
				case <-hit:
				case <-over:
					return
				}
				w.provider.kill("one")
				w.stop("one")
				w.work("two", w.store)
			})
		}
		if sc.early != nil {
			sc.early(w)
		}
		w.start()
		if sc.drive != nil {
			sc.drive(w)
		}
		x := w.wait()
		w.errands.Wait()
		time.Sleep(3 * time.Minute) // for what comes late, the kth call with it
		close(over)
		killer.Wait()
		w.provider.audit(t, w.def, "1")
		audited(t, w.store, w.client, "")
		unlocked(t, w.store)
		if left := w.provider.left(); x.Status == saga.Compensated && len(left) > 0 {
			t.Errorf("the saga was compensated, and these are done still: %v", left)
		}
		if k == 0 && w.rested != sc.folds {
			t.Errorf("frames are left folded: %t, want %t", w.rested, sc.folds)
		}
		for id, def := range w.provider.kin {
			if _, err := w.store.Get(t.Context(), id); err == nil {
				w.provider.audit(t, def, id)
			}
		}
		switch {
		case k == 0 || m.twice:
			got := w.provider.lines()
			if sc.loose {
				slices.Sort(got)
			}
			if x.Status != sc.end || !slices.Equal(got, sc.lines) {
				t.Errorf("%s after %q, want %s after %q", x.Status, got, sc.end, sc.lines)
			}
		case m.peer && x.Status == saga.Completed: // before the start was answered, and what came then
		case x.Status != sc.end && !slices.Contains(sc.ends, x.Status):
			t.Errorf("it is %s, want %s", x.Status, sc.end)
		}
		if got := w.bell.count(); got < 1 && sc.bell || got > 0 && !sc.bell {
			t.Errorf("%d notices of the end", got)
		}
		calls = meter.count()
	})
	return calls
}
