package saga_test

import (
	"errors"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// accountLock is a lock on the same account for all.
func accountLock(wait time.Duration) *saga.Resource[trip] {
	return saga.Lock("account", func(*trip) string { return "7" }).Wait(wait)
}

const account7 = "account/7"

// locked does B, and all after it, under a lock for which it waits that long.
func locked(wait time.Duration) func(p *provider, w string) *saga.Saga[trip] {
	return func(p *provider, w string) *saga.Saga[trip] {
		p.locked = map[string]string{"B": account7, "C": account7, "D": account7}
		s := saga.New("trip", p.step(w, "A"), p.step(w, "B").Lock(accountLock(wait)), p.step(w, "C").Timeout(5*time.Minute), p.do(w, "D"))
		p.kin = map[string]*saga.Definition{"2": s.Definition()}
		return s
	}
}

// lockedFamily has a child, and parts of a ForEach, under the lock of their
// parent.
func lockedFamily(p *provider, w string) *saga.Saga[trip] {
	p.locked = map[string]string{"A": account7, "X": account7, "I": account7, "D": account7}
	child := saga.New("child", p.step(w, "X").Lock(accountLock(time.Hour)))
	items := func(*trip) []trip { return make([]trip, 3) }
	p.kin = map[string]*saga.Definition{"1/Sub": child.Definition()}
	s := saga.New("trip", p.step(w, "A"), saga.Child("Sub", child, hand, take),
		saga.ForEach("M", items, nil, p.step(w, "I").Lock(accountLock(time.Hour))), p.do(w, "D")).Lock(accountLock(time.Hour))
	saga.SetMapSize(s, 2, 2)
	return s
}

// unlocked checks that no lock is left.
func unlocked(t *testing.T, st *memstore.Store) {
	t.Helper()
	left, err := st.ListLocks(t.Context(), 0, 10)
	if err != nil || len(left) > 0 {
		t.Errorf("locks are left: %q, %v", left, err)
	}
	for _, resource := range left {
		l, err := st.InspectLock(t.Context(), resource, 10)
		t.Logf("%+v, %v", l, err)
	}
}

// startOther starts execution 2, which gets to the lock before execution 1 is
// started.
func (w *world) startOther() {
	_, err := w.first.saga.Start(w.Context(), w.client, "2", trip{})
	if err != nil {
		w.Fatal(err)
	}
	for range 1000 {
		l, err := w.client.Lock(w.Context(), account7)
		if err != nil {
			w.Fatal(err)
		}
		x, err := w.client.Get(w.Context(), "2")
		if err != nil {
			w.Fatal(err)
		}
		if l.Holder != nil || x.Status.Ended() { // or has waited in vain
			return
		}
		time.Sleep(time.Second)
	}
	w.Fatal("execution 2 does not get to its lock")
}

// waitOther waits until execution 2 has ended.
func (w *world) waitOther() {
	for range 1000 {
		r, err := w.store.Get(w.Context(), "2")
		if err != nil {
			w.Fatal(err)
		}
		if r.Ended {
			return
		}
		time.Sleep(5 * time.Second)
	}
	w.Error("execution 2 has not ended")
}

func (w *world) terminateAfter(d time.Duration) {
	time.Sleep(d)
	if err := w.client.Terminate(w.Context(), "1", saga.Order{By: "ann"}); err != nil && !errors.Is(err, store.ErrEnded) {
		w.Error(err)
	}
}

// lockedWithin takes a lock for branches, and another within one of them, which is
// asked for as soon as the first is granted.
func lockedWithin(p *provider, w string) *saga.Saga[trip] {
	p.locked = map[string]string{"X1": account7, "Y1": "other/8"}
	other := saga.Lock("other", func(*trip) string { return "8" }).Wait(time.Hour)
	return saga.New("trip",
		saga.Parallel("P", saga.Branch("x", p.step(w, "X1")), saga.Branch("y", p.step(w, "Y1").Lock(other))).
			Merge(func(*trip, []trip) error { return nil }).Lock(accountLock(time.Hour)),
		p.do(w, "D"))
}

var lockScenarios = []scenario{
	{
		name: "takes a lock within a lock", saga: lockedWithin, end: saga.Completed, loose: true,
		lines: []string{"do D", "do X1", "do Y1"},
	},
	{
		// After a crash it does not come to the second lock again.
		name: "takes a lock within a lock, and is terminated", saga: lockedWithin, end: saga.Terminated, loose: true,
		plan:  func(p *provider) { p.plan("X1", plan{takes: 15 * time.Second}) },
		drive: func(w *world) { w.terminateAfter(2 * time.Second) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do X1", "do Y1"},
	},
	{
		name: "takes a lock", saga: locked(time.Hour), end: saga.Completed,
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "is undone under its lock", saga: locked(time.Hour), end: saga.Compensated,
		plan:  func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "is blocked under its lock", saga: locked(time.Hour), end: saga.Compensated,
		plan: func(p *provider) {
			p.plan("D", plan{err: errNo}, plan{err: errNo})
			p.plan("undo C", plan{err: errNo})
		},
		ends:  []saga.Status{saga.Completed},
		drive: (*world).retryWhenBlocked,
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "waits for a lock", saga: locked(time.Hour), end: saga.Completed,
		plan:  func(p *provider) { p.plan("C", plan{takes: 40 * time.Second}) },
		early: (*world).startOther, drive: (*world).waitOther,
		lines: []string{"do A", "do B", "do C", "do A", "do D", "do B", "do C", "do D"},
	},
	{
		name: "waits for a lock in vain", saga: locked(20 * time.Second), end: saga.Compensated,
		plan:  func(p *provider) { p.plan("C", plan{takes: 2 * time.Minute}) },
		early: (*world).startOther, drive: (*world).waitOther,
		ends:  []saga.Status{saga.Completed}, // when the other is late
		lines: []string{"do A", "do B", "do C", "do A", "undo A (done)", "do D"},
	},
	{
		name: "is cancelled while it waits for a lock", saga: locked(time.Hour), end: saga.Compensated,
		plan:  func(p *provider) { p.plan("C", plan{takes: 2 * time.Minute}) },
		early: (*world).startOther, drive: func(w *world) { w.cancelAfter(20 * time.Second); w.waitOther() },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do C", "do A", "undo A (done)", "do D"},
	},
	{
		name: "is terminated while it waits for a lock", saga: locked(time.Hour), end: saga.Terminated,
		plan:  func(p *provider) { p.plan("C", plan{takes: 2 * time.Minute}) },
		early: (*world).startOther, drive: func(w *world) { w.terminateAfter(20 * time.Second); w.waitOther() },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do C", "do A", "do D"},
	},
	{
		name: "shares a lock with its family", saga: lockedFamily, end: saga.Completed, loose: true,
		lines: []string{"do A", "do D", "do I", "do I", "do I", "do X"},
	},
	{
		name: "is undone with its family under a lock", saga: lockedFamily, end: saga.Compensated, loose: true,
		plan: func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends: []saga.Status{saga.Completed},
		lines: []string{"do A", "do D", "do I", "do I", "do I", "do X",
			"undo A (done)", "undo I (done)", "undo I (done)", "undo I (done)", "undo X (done)"},
	},
}
