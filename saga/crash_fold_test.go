package saga_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// folded leaves frames folded wherever one branch or item is under way.
func folded(of func(p *provider, w string) *saga.Saga[trip]) func(p *provider, w string) *saga.Saga[trip] {
	return func(p *provider, w string) *saga.Saga[trip] {
		s := of(p, w)
		saga.SetFoldFrom(s, 1)
		return s
	}
}

func three(*trip) []trip { return make([]trip, 3) }

// crowd has items that wait for a service, and then do what is theirs.
func crowd(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", p.step(w, "A"), saga.ForEach("M", three, nil, p.remoteStep("I"), p.step(w, "L")), p.do(w, "D"))
}

// idle has items that wait for a person, a time and a service, one after the other.
func idle(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip",
		saga.ForEach("M", three, nil, p.callback(w, "C"), saga.Wait[trip]("W", 20*time.Second), p.remoteStep("I")), p.do(w, "D"))
}

// crowded has items in the branches of items.
func crowded(p *provider, w string) *saga.Saga[trip] {
	two := func(*trip) []trip { return make([]trip, 2) }
	return saga.New("trip", saga.ForEach("M", two, nil, p.remoteStep("I"), saga.ForEach("N", two, nil, p.remoteStep("J")), p.step(w, "L")), p.do(w, "D"))
}

// brood has items that wait for children, which wait for a service.
func brood(p *provider, w string) *saga.Saga[trip] {
	child := saga.New("child", p.remoteStep("X"))
	p.kin = map[string]*saga.Definition{"1/M:0,Sub": child.Definition(), "1/M:1,Sub": child.Definition(), "1/M:2,Sub": child.Definition()}
	return saga.New("trip", saga.ForEach("M", three, nil, saga.Child("Sub", child, hand, take)), p.do(w, "D"))
}

// hearing has items that wait for signals, and a service for another.
func hearing(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", p.step(w, "A"),
		saga.Parallel("P",
			saga.Branch("x", saga.Receive[trip, int]("S", "go", nil), p.step(w, "L")),
			saga.Branch("y", p.remoteStep("I")),
			saga.Branch("z", p.remoteStep("J")),
		).Merge(func(*trip, []trip) error { return nil }),
		p.do(w, "D"))
}

// eager has items that wait for signals.
func eager(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", saga.ForEach("M", three, nil, saga.Receive[trip, int]("S", "go", nil), p.step(w, "L")), p.do(w, "D"))
}

// signals sends the signal "go" some times.
func (w *world) signals(n int, apart time.Duration) {
	for i := range n {
		time.Sleep(apart)
		body := fmt.Sprintf(`{"waybill": 1, "signal": "go", "execution": "1", "id": "s%d", "payload": 7}`, i)
		if err := w.handle([]byte(body)); err != nil && !errors.Is(err, store.ErrEnded) {
			w.Error(err)
		}
	}
}

// staggered are answers that come one by one.
func staggered(step string) func(p *provider) {
	return func(p *provider) {
		p.plan(step, plan{takes: 4 * time.Second}, plan{takes: 9 * time.Second}, plan{takes: 14 * time.Second})
	}
}

// lines are sorted, of calls that are made n times each.
func times(n int, calls ...string) (all []string) {
	for _, c := range calls {
		all = append(all, slices.Repeat([]string{c}, n)...)
	}
	return all
}

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

// The scenarios of executions whose frames are left folded, but for those that an
// answer is about.
var foldScenarios = []scenario{
	{
		name: "answers come to items that are folded", saga: folded(crowd), end: saga.Completed, loose: true, folds: true,
		plan:  staggered("I"),
		lines: sorted(times(1, "do A", "do D"), times(3, "do I", "do L")),
	},
	{
		name: "answers come at once to items that are folded", saga: folded(crowd), end: saga.Completed, loose: true, folds: true,
		plan:  func(p *provider) { p.plan("I", slices.Repeat([]plan{{takes: 4 * time.Second}}, 3)...) },
		lines: sorted(times(1, "do A", "do D"), times(3, "do I", "do L")),
	},
	{
		name: "answers come twice to items that are folded", saga: folded(crowd), end: saga.Completed, loose: true, folds: true, twice: true,
		plan:  staggered("I"),
		lines: sorted(times(1, "do A", "do D"), times(3, "do I", "do L")),
	},
	{
		name: "items that are folded are undone", saga: folded(crowd), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			staggered("I")(p)
			p.plan("D", plan{err: errNo}, plan{err: errNo})
			p.plan("undo I", plan{takes: 3 * time.Second}, plan{takes: 3 * time.Second}, plan{takes: 3 * time.Second})
		},
		ends: []saga.Status{saga.Completed},
		lines: sorted(times(1, "do A", "do D", "undo A (done)"),
			times(3, "do I", "do L", "undo L (done)", "undo I (done)")),
	},
	{
		name: "an item fails while others are folded", saga: folded(crowd), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("I", plan{takes: 4 * time.Second}, plan{takes: 9 * time.Second, err: errNo}, plan{takes: 14 * time.Second}, plan{err: errNo}, plan{err: errNo}, plan{err: errNo})
		},
		ends:  []saga.Status{saga.Completed}, // when the answer that refused is lost
		lines: sorted(times(1, "do A", "do L", "undo A (done)", "undo L (done)"), times(3, "do I"), times(2, "undo I (done)")),
	},
	{
		name: "an item's step fails while others are folded", saga: folded(crowd), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			staggered("I")(p)
			p.plan("L", plan{err: errNo}, plan{err: errNo})
		},
		ends:  []saga.Status{saga.Completed},
		lines: sorted(times(1, "do A", "do L", "undo A (done)"), times(3, "do I", "undo I (done)")),
	},
	{
		name: "folded items hear nothing in time", saga: folded(crowd), end: saga.Completed, loose: true, folds: true,
		// One answers late, when it has been asked again.
		plan: func(p *provider) {
			p.plan("I", plan{takes: 4 * time.Second}, plan{takes: 25 * time.Second}, plan{takes: 9 * time.Second})
		},
		lines: sorted(times(1, "do A", "do D"), times(3, "do I", "do L")),
	},
	{
		name: "an item is flaky while others are folded", saga: folded(crowd), end: saga.Completed, loose: true, folds: true,
		plan: func(p *provider) {
			flaky := errors.New("flaky")
			p.plan("I", plan{takes: 3 * time.Second, err: flaky}, plan{takes: 7 * time.Second}, plan{takes: 15 * time.Second}, plan{err: flaky}, plan{err: flaky})
		},
		lines: sorted(times(1, "do A", "do D"), times(2, "do I"), times(4, "do I"), times(3, "do L")),
	},
	{
		name: "is cancelled while items are folded", saga: folded(crowd), end: saga.Compensated, loose: true, folds: true,
		plan:  staggered("I"),
		drive: func(w *world) { w.cancelAfter(6 * time.Second) },
		lines: sorted(times(1, "do A", "do L", "undo A (done)", "undo L (done)"), times(3, "do I", "undo I (done)")),
	},
	{
		name: "is terminated while items are folded", saga: folded(crowd), end: saga.Terminated, loose: true, folds: true,
		plan:  staggered("I"),
		drive: func(w *world) { w.terminateAfter(6 * time.Second) },
		ends:  []saga.Status{saga.Completed},
		lines: sorted(times(1, "do A", "do L"), times(3, "do I")),
	},
	{
		name: "is suspended while items are folded", saga: folded(crowd), end: saga.Completed, loose: true, folds: true,
		plan:  staggered("I"),
		drive: func(w *world) { w.suspendFor(6*time.Second, 30*time.Second) },
		lines: sorted(times(1, "do A", "do D"), times(3, "do I", "do L")),
	},
	{
		name: "people and clocks come to items that are folded", saga: folded(idle), end: saga.Completed, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("C", plan{}, plan{takes: 5 * time.Second}, plan{takes: 15 * time.Second})
			p.plan("I", plan{takes: 3 * time.Second}, plan{takes: 6 * time.Second}, plan{takes: 2 * time.Second})
		},
		lines: sorted(times(1, "do D"), times(3, "do C", "do I")),
	},
	{
		name: "what people have done to folded items is undone", saga: folded(idle), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("C", plan{}, plan{takes: 5 * time.Second}, plan{takes: 15 * time.Second})
			p.plan("I", slices.Repeat([]plan{{takes: 3 * time.Second, err: errNo}}, 9)...)
		},
		lines: sorted(times(1, "do I"), times(3, "do C"), times(3, "undo C (done)")),
	},
	{
		name: "answers come to folded items of folded items", saga: folded(crowded), end: saga.Completed, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("I", plan{takes: 3 * time.Second}, plan{takes: 6 * time.Second})
			p.plan("J", plan{takes: 5 * time.Second}, plan{takes: 8 * time.Second}, plan{takes: 11 * time.Second}, plan{takes: 7 * time.Second})
		},
		lines: sorted(times(1, "do D"), times(2, "do I", "do L"), times(4, "do J")),
	},
	{
		name: "folded items of folded items are undone", saga: folded(crowded), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("I", plan{takes: 3 * time.Second}, plan{takes: 6 * time.Second})
			p.plan("J", plan{takes: 5 * time.Second}, plan{takes: 8 * time.Second}, plan{takes: 11 * time.Second}, plan{takes: 7 * time.Second})
			p.plan("D", plan{err: errNo}, plan{err: errNo})
		},
		ends:  []saga.Status{saga.Completed},
		lines: sorted(times(1, "do D"), times(2, "do I", "do L", "undo I (done)", "undo L (done)"), times(4, "do J", "undo J (done)")),
	},
	{
		name: "children report to items that are folded", saga: folded(brood), end: saga.Completed, loose: true, folds: true,
		plan:  staggered("X"),
		lines: sorted(times(1, "do D"), times(3, "do X")),
	},
	{
		name: "children of folded items are undone", saga: folded(brood), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			staggered("X")(p)
			p.plan("D", plan{err: errNo}, plan{err: errNo})
		},
		ends:  []saga.Status{saga.Completed},
		lines: sorted(times(1, "do D"), times(3, "do X", "undo X (done)")),
	},
	{
		name: "a signal comes to a branch that is folded", saga: folded(hearing), end: saga.Completed, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("I", plan{takes: 4 * time.Second})
			p.plan("J", plan{takes: 14 * time.Second})
		},
		drive: func(w *world) { w.signalAfter(9 * time.Second) },
		lines: sorted(times(1, "do A", "do D", "do I", "do J", "do L")),
	},
	{
		name: "signals come to items that are folded", saga: folded(eager), end: saga.Completed, loose: true, folds: true,
		drive: func(w *world) { w.signals(3, 5*time.Second) },
		lines: sorted(times(1, "do D"), times(3, "do L")),
	},
	{
		name: "signals come at once to items that are folded", saga: folded(eager), end: saga.Completed, loose: true, folds: true,
		drive: func(w *world) { time.Sleep(5 * time.Second); w.look(); w.signals(3, 0) },
		lines: sorted(times(1, "do D"), times(3, "do L")),
	},
	{
		name: "asks a service to undo branches that are folded", saga: folded(farForked), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("D", plan{err: errNo}, plan{err: errNo})
			p.plan("X1", plan{takes: 8 * time.Second})
			p.plan("I", plan{takes: 6 * time.Second}, plan{takes: 9 * time.Second})
			p.plan("Y2", plan{takes: 30 * time.Second})
		},
		ends: []saga.Status{saga.Completed},
		lines: []string{"do A", "do D", "do I", "do I", "do X1", "do Y1", "do Y2",
			"undo A (done)", "undo I (done)", "undo I (done)", "undo X1 (done)", "undo Y1 (done)", "undo Y2 (done)"},
	},
	{
		name: "a branch fails while others are folded", saga: folded(farForked), end: saga.Compensated, loose: true, folds: true,
		plan: func(p *provider) {
			p.plan("Y2", plan{takes: 7 * time.Second, err: errNo}, plan{err: errNo}, plan{err: errNo}, plan{err: errNo})
			p.plan("I", plan{takes: 5 * time.Second}, plan{takes: 16 * time.Second, err: errors.New("garbled"), anyway: true})
		},
		lines: []string{"do A", "do I", "do I", "do X1", "do Y1", "do Y2",
			"undo A (done)", "undo I (done)", "undo I (unknown)", "undo X1 (done)", "undo Y1 (done)"},
	},
}

// rests reports whether the execution as it is stored lets the next opening leave
// frames folded.
func rests(r *store.Record) bool {
	var root struct {
		Rest bool `json:"rs"`
	}
	return json.Unmarshal(r.Root, &root) == nil && root.Rest
}

// suspendFor suspends the execution after a while, and resumes it after another.
func (w *world) suspendFor(after, d time.Duration) {
	time.Sleep(after)
	w.look()
	for i, order := range []func() error{
		func() error { return w.client.Suspend(w.Context(), "1", saga.Order{By: "ann"}) },
		func() error { return w.client.Resume(w.Context(), "1", saga.Order{By: "ann"}) },
	} {
		if err := order(); err != nil && !errors.Is(err, store.ErrEnded) {
			w.Errorf("order %d: %v", i+1, err)
		}
		time.Sleep(d)
	}
}
