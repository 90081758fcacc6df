package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A family notes what parents and children do.
type family struct {
	mu    sync.Mutex
	lines []string
	plans map[string]func(context.Context) error // by step, or "undo " and step
}

func (f *family) note(ctx context.Context, what string) error {
	f.mu.Lock()
	f.lines = append(f.lines, what)
	plan := f.plans[what]
	f.mu.Unlock()
	if plan != nil {
		return plan(ctx)
	}
	return nil
}

func (f *family) plan(what string, plan func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plans == nil {
		f.plans = make(map[string]func(context.Context) error)
	}
	f.plans[what] = plan
}

func (f *family) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, ", ")
}

// do is a step, and step one that can be undone.
func (f *family) do(name string) *saga.Step[trip] {
	return saga.Do(name, func(ctx context.Context, s *trip) error {
		s.Log = append(s.Log, name)
		return f.note(ctx, name)
	})
}

func (f *family) step(name string) *saga.Step[trip] {
	return f.do(name).Undo(func(ctx context.Context, _ *trip, o saga.Outcome) error { return f.note(ctx, "undo "+name) })
}

func hand(s *trip) (trip, error) { return *s, nil }

func take(s *trip, child trip) error { *s = child; return nil }

func no(context.Context) error { return errNo }

func after(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A home is a store with one coordinator, on virtual time.
type home struct {
	*testing.T
	*family
	store  *memstore.Store
	c      *saga.Coordinator
	client *saga.Client
	def    *saga.Saga[trip]
	stop   func() error
}

func athome(t *testing.T, build func(f *family) *saga.Saga[trip], play func(h *home)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &home{T: t, family: &family{}, store: memstore.New(memstore.Config{Partitions: 8})}
		h.def = build(h.family)
		if err := h.def.Validate(); err != nil {
			t.Fatal(err)
		}
		h.c, h.stop = run(t, saga.CoordinatorConfig{Store: h.store, Sagas: []saga.Definer{h.def}})
		h.client = h.c.Client()
		play(h)
		if err := h.stop(); err != nil {
			t.Error(err)
		}
	})
}

// ends starts the saga and checks how it ends, and what was done.
func (h *home) ends(want saga.Status, lines string) *saga.Execution {
	h.Helper()
	if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
		h.Fatal(err)
	}
	return h.waits(want, lines)
}

func (h *home) waits(want saga.Status, lines string) *saga.Execution {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 100*24*time.Hour)
	defer cancel()
	x, err := h.client.Wait(ctx, "1")
	if err != nil {
		h.Fatal(err)
	}
	if got := h.family.String(); x.Status != want || got != lines {
		h.Errorf("it is %s after\n\t%s\nwant %s after\n\t%s\nfor %v", x.Status, got, want, lines, x.Err())
	}
	return x
}

// closed checks that nothing is left open, of the whole family.
func (h *home) closed() {
	h.Helper()
	time.Sleep(2 * time.Second)
	audited(h.T, h.store, h.client, "")
}

func (h *home) get(id string) *saga.Execution {
	h.Helper()
	x, err := h.client.Get(h.Context(), id)
	if err != nil {
		h.Fatal(err)
	}
	return x
}

// parent is a saga with a child between two steps, which has two steps itself.
func parent(f *family) *saga.Saga[trip] {
	child := saga.New("child", f.step("X"), f.step("Y"))
	return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, take), f.do("D"))
}

func TestChild(t *testing.T) {
	athome(t, parent, func(h *home) {
		x := h.ends(saga.Completed, "A, X, Y, D")
		if got := string(x.State); got != `{"Log":["A","X","Y","D"]}` {
			t.Errorf("state %s", got)
		}
		child := h.get("1/Sub")
		if child.Parent != "1" || child.Definition != "child" || child.Status != saga.Completed {
			t.Errorf("the child is %+v", child)
		}
		h.closed()
	})
}

// What a child did is undone in its place, in reverse.
func TestChildThatHadSucceededIsUndone(t *testing.T) {
	athome(t, parent, func(h *home) {
		h.plan("D", no)
		h.ends(saga.Compensated, "A, X, Y, D, undo Y, undo X, undo A")
		child := h.get("1/Sub")
		if child.Status != saga.Compensated || child.Cause == nil || child.Cause.Kind != saga.CauseReverted || child.Cause.By != "saga 1" {
			t.Errorf("the child is %s, %+v", child.Status, child.Cause)
		}
		h.closed()
	})
}

// A child of which nothing can be undone is through when it has completed.
func TestChildWithNothingToUndo(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.do("X").ReadOnly())
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil), f.do("D"))
	}, func(h *home) {
		h.plan("D", func(ctx context.Context) error {
			if r, err := h.store.Get(ctx, "1/Sub"); err != nil || !r.Ended {
				t.Errorf("the child is %+v, %v", r, err)
			}
			return errNo
		})
		h.ends(saga.Compensated, "A, X, D, undo A")
		h.closed()
	})
}

func TestChildFails(t *testing.T) {
	athome(t, parent, func(h *home) {
		h.plan("Y", func(context.Context) error { return saga.Named("NoSeats", errNo) })
		x := h.ends(saga.Compensated, "A, X, Y, undo X, undo A")
		if c := x.Cause; c == nil || c.Step != "Sub" || c.Name != "NoSeats" || !strings.Contains(c.Error, "Y failed") {
			t.Errorf("the cause is %+v", x.Cause)
		}
		h.closed()
	})
}

func TestChildFailureIsCaught(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"), f.step("Y"))
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil).Catch("H", "NoSeats").End(), f.do("H"))
	}, func(h *home) {
		h.plan("Y", func(context.Context) error { return saga.Named("NoSeats", errNo) })
		h.ends(saga.Completed, "A, X, Y, undo X, H")
		h.closed()
	})
}

// Each attempt of the step is a child of its own.
func TestChildIsTriedAgain(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"), f.step("Y"))
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil).Retry(saga.Retry{Attempts: 3}), f.do("D"))
	}, func(h *home) {
		tries := 0
		h.plan("Y", func(context.Context) error {
			if tries++; tries < 3 {
				return errNo
			}
			return nil
		})
		h.plan("D", no)
		h.ends(saga.Compensated, "A, X, Y, undo X, X, Y, undo X, X, Y, D, undo Y, undo X, undo A")
		for id, want := range map[string]string{"1/Sub": saga.CauseFailed, "1/Sub@2": saga.CauseFailed, "1/Sub@3": saga.CauseReverted} {
			if x := h.get(id); x.Cause.Kind != want {
				t.Errorf("%s was undone because it %s, want %s", id, x.Cause.Kind, want)
			}
		}
		h.closed()
	})
}

// A child that is under way is undone before its parent is.
func TestCancelReachesChildren(t *testing.T) {
	athome(t, parent, func(h *home) {
		h.plan("X", func(ctx context.Context) error {
			if err := h.client.Cancel(ctx, "1", saga.Order{By: "ann", Note: "too late"}); err != nil {
				t.Error(err)
			}
			return after(5 * time.Second)(ctx)
		})
		x := h.ends(saga.Compensated, "A, X, undo X, undo A")
		if x.Cause.Kind != saga.CauseCancelled || x.Cause.By != "ann" {
			t.Errorf("the cause is %+v", x.Cause)
		}
		if c := h.get("1/Sub").Cause; c.Kind != saga.CauseCancelled || c.By != "saga 1" || !strings.Contains(c.Note, "too late") {
			t.Errorf("the child's cause is %+v", c)
		}
		h.closed()
	})
}

func TestChildTakesTooLong(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"), f.step("Y"))
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil).Timeout(3*time.Second).Catch("H", saga.ErrorTimeout).End(), f.do("H"))
	}, func(h *home) {
		h.plan("X", after(20*time.Second))
		begun := time.Now()
		h.ends(saga.Completed, "A, X, undo X, H")
		if took := time.Since(begun); took < 20*time.Second {
			t.Errorf("the child's handler was not awaited: it took %s", took)
		}
		h.closed()
	})
}

func withPivot(f *family) *saga.Saga[trip] {
	child := saga.New("child", f.step("X"), f.do("P").Pivot(), f.do("Z"))
	return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil), f.do("D"))
}

// A child's point of no return is its parent's.
func TestChildWithAPivot(t *testing.T) {
	athome(t, withPivot, func(h *home) {
		h.plan("Z", func(ctx context.Context) error {
			if err := h.client.Cancel(ctx, "1", saga.Order{By: "ann"}); err != nil {
				t.Error(err)
			}
			return after(5 * time.Second)(ctx)
		})
		h.ends(saga.Completed, "A, X, P, Z, D")
		refused(h.T, h.client, "1")
		h.closed()
	})
	athome(t, withPivot, func(h *home) {
		h.plan("X", func(ctx context.Context) error {
			if err := h.client.Cancel(ctx, "1", saga.Order{By: "ann"}); err != nil {
				t.Error(err)
			}
			return after(5 * time.Second)(ctx)
		})
		x := h.ends(saga.Compensated, "A, X, undo X, undo A")
		if x.Cause.Kind != saga.CauseCancelled || x.Cause.By != "ann" {
			t.Errorf("the cause is %+v", x.Cause)
		}
		h.closed()
	})
	athome(t, withPivot, func(h *home) {
		blocked := true
		h.plan("D", func(context.Context) error {
			if blocked {
				return errNo
			}
			return nil
		})
		h.ends(saga.Blocked, "A, X, P, Z, D")
		blocked = false
		if err := h.client.Retry(h.Context(), "1", saga.Order{}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		h.waits(saga.Completed, "A, X, P, Z, D, D")
		h.closed()
	})
}

// refused checks that a cancel is noted as refused.
func refused(t *testing.T, c *saga.Client, id string) {
	t.Helper()
	events, err := c.History(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(events, func(e saga.Event) bool { return e.Type == saga.CancelRefused && e.By == "ann" }) {
		t.Errorf("no cancel was refused: %+v", events)
	}
}

// The saga's own time is its children's too, until the point of no return.
func TestSagaOfAChildRunsOutOfTime(t *testing.T) {
	build := func(def func(*family) *saga.Saga[trip]) func(*family) *saga.Saga[trip] {
		return func(f *family) *saga.Saga[trip] { return def(f).Within(time.Minute) }
	}
	athome(t, build(parent), func(h *home) {
		h.plan("X", func(context.Context) error { time.Sleep(80 * time.Second); return nil })
		x := h.ends(saga.Compensated, "A, X, undo X, undo A")
		if x.Cause.Kind != saga.CauseTimedOut {
			t.Errorf("the cause is %+v", x.Cause)
		}
		h.closed()
	})
	athome(t, build(withPivot), func(h *home) {
		h.plan("P", after(50*time.Second))
		h.plan("Z", after(30*time.Second))
		h.ends(saga.Completed, "A, X, P, Z, D")
		h.closed()
	})
	athome(t, build(withPivot), func(h *home) {
		h.plan("X", after(55*time.Second))
		h.plan("P", func(ctx context.Context) error { time.Sleep(20 * time.Second); return errNo })
		x := h.ends(saga.Compensated, "A, X, P, undo X, undo A")
		if x.Cause.Kind != saga.CauseTimedOut {
			t.Errorf("the cause is %+v", x.Cause)
		}
		h.closed()
	})
}

// What waits for a child names it.
func TestChildIsShown(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"))
		return saga.New("parent", saga.Child("Sub", child, hand, nil).Retry(saga.Retry{Attempts: 2, Initial: time.Second, Jitter: -1}),
			saga.Parallel("P", saga.Branch("b", saga.Child("Sub2", child, hand, nil))).Merge(func(*trip, []trip) error { return nil }),
			f.do("D"))
	}, func(h *home) {
		n := 0
		h.plan("X", func(ctx context.Context) error {
			n++
			x := h.get("1")
			switch n {
			case 1, 2:
				if want := map[int]string{1: "1/Sub", 2: "1/Sub@2"}[n]; x.Child != want || !x.Waiting {
					t.Errorf("it waits for %q, want %q", x.Child, want)
				}
			case 3:
				if len(x.Branches) != 1 || x.Branches[0].Child != "1/P:0,Sub2" || x.Child != "" {
					t.Errorf("it is %+v", x)
				}
				if c := h.get("1/Sub@2"); !c.Held || c.Parent != "1" {
					t.Errorf("the child is %+v", c)
				}
			}
			if n == 1 {
				return errNo
			}
			return nil
		})
		h.plan("D", no)
		h.plan("undo X", func(context.Context) error {
			n++
			if x := h.get("1"); n == 5 && x.Child != "1/Sub@2" || n == 4 && (len(x.Branches) != 1 || x.Branches[0].Child != "1/P:0,Sub2") {
				t.Errorf("undoing, it is %+v", x)
			}
			return nil
		})
		h.ends(saga.Compensated, "X, X, X, D, undo X, undo X")
		h.closed()
	})
}

// A child that is blocked while it is undone holds its parent up, and skips
// nothing.
func TestBlockedChild(t *testing.T) {
	athome(t, parent, func(h *home) {
		blocked := true
		h.plan("D", no)
		h.plan("undo X", func(context.Context) error {
			if blocked {
				return errNo
			}
			return nil
		})
		if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		if x := h.get("1"); x.Status != saga.Running || !x.Undoing {
			t.Errorf("the parent is %+v", x)
		}
		if x := h.get("1/Sub"); x.Status != saga.Blocked {
			t.Errorf("the child is %s", x.Status)
		}
		blocked = false
		if err := h.client.Retry(h.Context(), "1/Sub", saga.Order{}); err != nil {
			t.Error(err)
		}
		h.waits(saga.Compensated, "A, X, Y, D, undo Y, undo X, undo X, undo A")
		h.closed()
	})
}

// Terminating a parent terminates what is under way, and lets go of what is
// not.
func TestTerminateReachesChildren(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"), f.step("Y"))
		other, last := saga.New("other", f.step("V")), saga.New("last", f.step("S"), f.step("T"))
		branch := saga.New("branch", f.step("W"))
		return saga.New("parent", saga.Child("Sub", child, hand, nil),
			saga.Parallel("P", saga.Branch("b", saga.Child("Wing", branch, hand, nil))).Merge(func(*trip, []trip) error { return nil }),
			saga.Parallel("Q", saga.Branch("c", saga.Child("Other", other, hand, nil)), saga.Branch("d", saga.Child("Last", last, hand, nil))).
				Merge(func(*trip, []trip) error { return nil }))
	}, func(h *home) {
		h.plan("V", after(50*time.Second))
		h.plan("S", after(50*time.Second))
		if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if err := h.client.Terminate(h.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Error(err)
		}
		if x, err := h.client.Wait(h.Context(), "1"); err != nil || x.Status != saga.Terminated {
			t.Errorf("it is %+v, %v", x, err)
		}
		time.Sleep(2 * time.Minute)
		for id, want := range map[string]saga.Status{"1/Sub": saga.Completed, "1/P:0,Wing": saga.Completed, "1/Q:0,Other": saga.Completed, "1/Q:1,Last": saga.Terminated} {
			if x := h.get(id); x.Status != want {
				t.Errorf("%s is %s, want %s", id, x.Status, want)
			}
		}
		h.closed()
	})
}

// Children in branches, and children of children, are undone like all else.
func TestGrandchildren(t *testing.T) {
	build := func(f *family) *saga.Saga[trip] {
		grandchild := saga.New("grandchild", f.step("G"), f.step("H"))
		child := saga.New("child", f.step("X"), saga.Child("Grand", grandchild, hand, nil), f.step("Y"))
		return saga.New("parent", f.step("A"),
			saga.Parallel("P", saga.Branch("b", f.step("B"), saga.Child("Sub", child, hand, nil), f.step("C"))).
				Merge(func(*trip, []trip) error { return nil }),
			f.do("D"))
	}
	athome(t, build, func(h *home) {
		h.ends(saga.Completed, "A, B, X, G, H, Y, C, D")
		h.closed()
	})
	athome(t, build, func(h *home) {
		h.plan("D", no)
		h.ends(saga.Compensated, "A, B, X, G, H, Y, C, D, undo C, undo Y, undo H, undo G, undo X, undo B, undo A")
		h.closed()
	})
	athome(t, build, func(h *home) {
		h.plan("H", no)
		h.ends(saga.Compensated, "A, B, X, G, H, undo G, undo X, undo B, undo A")
		h.closed()
	})
}

// A child whose parent is no more does not wait for ever.
func TestOrphan(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"))
		return saga.New("parent", saga.Child("Sub", child, hand, nil), saga.Receive("Go", "go", func(*trip, string) error { return nil }))
	}, func(h *home) {
		if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if x := h.get("1/Sub"); !x.Held {
			t.Fatalf("the child is %+v", x)
		}
		purged(h.T, h.store, "1") // as if its outbox had been lost
		time.Sleep(26 * time.Hour)
		if r, err := h.store.Get(h.Context(), "1/Sub"); err != nil || !r.Ended || r.Status != string(saga.Completed) {
			t.Errorf("the child is left as %+v, %v", r, err)
		}
	})
}

// An input that the child refuses fails the step, for good.
func TestChildIsRefused(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", saga.Do("X", func(context.Context, *picky) error { return nil }).ReadOnly())
		return saga.New("parent", f.step("A"),
			saga.Child("Sub", child, func(*trip) (picky, error) { return picky{}, nil }, nil).Retry(saga.Retry{Attempts: saga.Forever}),
			f.do("D"))
	}, func(h *home) {
		x := h.ends(saga.Compensated, "A, undo A")
		if c := x.Cause; c.Step != "Sub" || !strings.Contains(c.Error, "start the child execution: its input: it has no name") {
			t.Errorf("the cause is %+v", c)
		}
		h.closed()
	})
	// So does an id that is another's.
	athome(t, parent, func(h *home) {
		if _, err := h.def.Start(h.Context(), h.client, "1/Sub", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		x := h.ends(saga.Compensated, "A, X, Y, D, A, undo A")
		if c := x.Cause; !strings.Contains(c.Error, store.ErrExists.Error()) {
			t.Errorf("the cause is %+v", c)
		}
	})
}

// What a child needs of its coordinator, its parent's has to have.
func TestCoordinatorOfAChildThatIsRemote(t *testing.T) {
	child := saga.New("child", saga.Remote("R", "payments", func(*trip) (int, error) { return 1, nil }, func(*trip, int) error { return nil }).UndoRemote())
	def := saga.New("parent", saga.Child("Sub", child, hand, nil))
	_, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{def}})
	if err == nil || !strings.Contains(err.Error(), `saga "child" has steps that are done elsewhere`) {
		t.Errorf("got %v", err)
	}
}

// A child that was ended where it stood cannot be undone: that is an operator's
// business, and each retry asks again.
func TestChildThatCannotBeUndone(t *testing.T) {
	athome(t, parent, func(h *home) {
		h.plan("D", func(ctx context.Context) error {
			// As if it had been settled: by another Redis's account of things.
			purged(h.T, h.store, "1/Sub")
			return errNo
		})
		x := h.ends(saga.Blocked, "A, X, Y, D")
		if x.Trouble == nil || !x.Trouble.Undo || x.Trouble.Step != "Sub" || !strings.Contains(x.Trouble.Error, "cannot be undone") {
			t.Errorf("it is blocked by %+v", x.Trouble)
		}
		for range 2 {
			if err := h.client.Retry(h.Context(), "1", saga.Order{}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			if x := h.get("1"); x.Status != saga.Blocked {
				t.Errorf("after a retry it is %s", x.Status)
			}
		}
		if err := h.client.Skip(h.Context(), "1", saga.Order{}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		h.waits(saga.Compensated, "A, X, Y, D, undo A")
	})
}

// purged ends a held child in the store, and purges it.
func purged(t *testing.T, st *memstore.Store, id string) {
	t.Helper()
	time.Sleep(time.Second)
	r, err := st.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Post(t.Context(), store.PostRequest{ID: id, MailID: "x", Body: []byte("{}"), Limit: 10}); err != nil {
		t.Fatal(err)
	}
	o, err := st.Open(t.Context(), store.OpenRequest{ID: id, Nonce: "n", Lease: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), &store.Commit{
		Lease: o.Lease, CommitID: "n.1", Previous: r.Commit, Absorbed: o.Read, Next: store.End, Wake: o.Now,
	}); err != nil {
		t.Fatal(err)
	}
	if ok, err := st.Purge(t.Context(), id, time.Hour); err != nil || !ok {
		t.Fatal(ok, err)
	}
}

type picky struct{ Name string }

func (p *picky) Validate() error {
	if p.Name == "" {
		return errors.New("it has no name")
	}
	return nil
}

func TestChildDefinition(t *testing.T) {
	f := &family{}
	exempt := saga.New("child", f.step("X"), f.do("Y"))
	broken := saga.New("child", f.do("X"), f.do("Y"))
	good := saga.New("child", f.step("X"))
	turn := saga.New("child", f.do("P").Pivot())
	var none *saga.Saga[trip]
	for want, s := range map[string]*saga.Saga[trip]{
		"its saga is nil":      saga.New("parent", saga.Child("Sub", none, hand, nil)),
		"its saga is not vali": saga.New("parent", saga.Child("Sub", broken, hand, nil)),
		`its saga "child" may be undone when it has ended: say how to undo its last step "Y"`: saga.New("parent", saga.Child("Sub", exempt, hand, nil)),
		"it has no function that makes the child's input":                                     saga.New("parent", saga.Child[trip, trip]("Sub", good, nil, nil)),
		"a Child is undone by its own steps": saga.New("parent", saga.Child("Sub", good, hand, nil).
			Undo(func(context.Context, *trip, saga.Outcome) error { return nil })),
		"by its own steps, which say": saga.New("parent", saga.Child("Sub", good, hand, nil).ReadOnly()),
		"a pivot stands in the saga itself": saga.New("parent", saga.Parallel("P", saga.Branch("b", saga.Child("Sub", turn, hand, nil))).
			Merge(func(*trip, []trip) error { return nil })),
		"say how with Retry": saga.New("parent", f.do("P").Pivot(), saga.Child("Sub", good, hand, nil)),
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	if err := saga.New("parent", f.do("P").Pivot(), saga.Child("Sub", good, hand, nil).Retry(saga.Retry{Attempts: saga.Forever}), f.do("Z")).Validate(); err != nil {
		t.Error(err)
	}
	// The child is part of the graph.
	s := saga.New("parent", saga.Child("Sub", good, hand, nil), f.do("Z"))
	graph, err := json.Marshal(s.Definition())
	if err != nil || !strings.Contains(string(graph), `"child":"child"`) {
		t.Errorf("%s, %v", graph, err)
	}
}

// Up to 1,000 items run within an execution, more in executions of their own.
func TestForEachOfMany(t *testing.T) {
	for _, n := range []int{1000, 1001, 2500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { testForEachOfMany(t, n, 0, saga.Completed) })
	}
	t.Run("one fails", func(t *testing.T) { testForEachOfMany(t, 1100, 1, saga.Compensated) })
}

func testForEachOfMany(t *testing.T, n, bad int, want saga.Status) {
	type bag struct {
		N    int
		Sums []int
	}
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		atWork, most, parts := 0, 0, 0
		net := make(map[string]int) // by key of the action
		item := saga.Do("Item", func(ctx context.Context, i *int) error {
			mu.Lock()
			atWork++
			most = max(most, atWork)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			atWork--
			if bad > 0 && *i == n-1 {
				return errNo
			}
			net[strings.TrimSuffix(saga.StepFrom(ctx).Key, "/do")]++
			*i *= 2
			return nil
		}).Undo(func(ctx context.Context, i *int, _ saga.Outcome) error {
			mu.Lock()
			defer mu.Unlock()
			net[strings.TrimSuffix(saga.StepFrom(ctx).Key, "/undo")]--
			return nil
		})
		def := saga.New("many",
			saga.ForEach("Each", func(b *bag) []int {
				items := make([]int, b.N)
				for i := range items {
					items[i] = i
				}
				return items
			}, func(b *bag, items []saga.Item[int]) error {
				for _, i := range items {
					b.Sums = append(b.Sums, i.State)
				}
				return nil
			}, item).Concurrency(50).UndoTogether())
		st := memstore.New(memstore.Config{Partitions: 8})
		c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}, MaxState: 1 << 20})
		got, err := def.Run(t.Context(), c.Client(), "1", bag{N: n})
		x, getErr := c.Client().Get(t.Context(), "1")
		if getErr != nil || x.Status != want {
			t.Errorf("it is %+v: %v, %v", x, err, getErr)
		}
		if most > 50 || most < 45 {
			t.Errorf("%d items were under way at once, want 50", most)
		}
		mu.Lock()
		sum := 0
		for _, k := range net {
			sum += k
		}
		mu.Unlock()
		if want == saga.Completed {
			if err != nil || len(got.Sums) != n || sum != n {
				t.Errorf("%d results, %d effects: %v", len(got.Sums), sum, err)
			}
			for i, v := range got.Sums {
				if v != 2*i {
					t.Fatalf("item %d came out as %d", i, v)
				}
			}
		} else if sum != 0 {
			t.Errorf("%d effects are left", sum)
		}
		time.Sleep(2 * time.Second)
		audited(t, st, c.Client(), "")
		for _, status := range []saga.Status{saga.Completed, saga.Compensated} {
			ids, err := st.List(t.Context(), string(status)+":many#Each", 0, 1000)
			if err != nil {
				t.Error(err)
			}
			for _, id := range ids {
				if r, err := st.Get(t.Context(), id); err != nil || !r.Ended {
					t.Errorf("part %s is left as %+v, %v", id, r, err)
				}
			}
			parts += len(ids)
		}
		if want := map[bool]int{true: (n + 199) / 200}[n > 1000]; parts != want {
			t.Errorf("it took %d executions more, want %d", parts, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A preview lists what children would undo, in its place.
func TestPreviewUndoOfChildren(t *testing.T) {
	build := func(f *family) *saga.Saga[trip] {
		grandchild := saga.New("grandchild", f.step("G"), f.step("H"))
		child := saga.New("child", f.step("X"), saga.Child("Grand", grandchild, hand, nil), f.step("Y"))
		return saga.New("parent", f.step("A"),
			saga.Parallel("P", saga.Branch("b", f.step("B"), saga.Child("Sub", child, hand, nil), f.step("C"))).
				Merge(func(*trip, []trip) error { return nil }),
			f.do("D"))
	}
	for _, tt := range []struct{ during, want string }{
		{"D", "1 C, 1/P:0,Sub Y, 1/P:0,Sub/Grand H, 1/P:0,Sub/Grand G, 1/P:0,Sub X, 1 B, 1 A"},
		{"H", "1/P:0,Sub/Grand H, 1/P:0,Sub/Grand G, 1/P:0,Sub X, 1 B, 1 A"},
		{"undo H", "1/P:0,Sub/Grand H, 1/P:0,Sub/Grand G, 1/P:0,Sub X, 1 B, 1 A"},
	} {
		athome(t, build, func(h *home) {
			if tt.during == "undo H" {
				h.plan("Y", no)
			}
			h.plan(tt.during, func(ctx context.Context) error {
				list, err := h.client.PreviewUndo(ctx, "1")
				if err != nil {
					t.Error(err)
				}
				var lines []string
				for _, u := range list {
					lines = append(lines, u.Execution+" "+u.Step)
				}
				if got := strings.Join(lines, ", "); got != tt.want {
					t.Errorf("during %s it lists\n\t%s\nwant\n\t%s", tt.during, got, tt.want)
				}
				return nil
			})
			if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.client.Wait(h.Context(), "1"); err != nil {
				t.Error(err)
			}
			h.closed()
		})
	}
}

// A child costs a bounded number of calls to the store, beside those of steps.
func TestCallsOfAChild(t *testing.T) {
	calls := func(build func(*family) *saga.Saga[trip]) (n int) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			counts := make(map[string]int)
			st := storetest.NewFaulty(memstore.New(memstore.Config{Partitions: 8}), func(c storetest.Call) storetest.Fault {
				mu.Lock()
				defer mu.Unlock()
				counts[c.Op]++
				return storetest.Fault{}
			})
			def := build(&family{})
			c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}})
			if _, err := def.Run(t.Context(), c.Client(), "1", trip{}); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Minute)
			mu.Lock()
			for _, op := range []string{"Start", "Open", "Commit", "Post", "Deliver", "Release", "Renew"} {
				n += counts[op]
			}
			mu.Unlock()
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
		return n
	}
	plain := calls(func(f *family) *saga.Saga[trip] { return saga.New("parent", f.step("A"), f.do("D")) })
	held := calls(parent)
	through := calls(func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.do("X").ReadOnly(), f.do("Y").ReadOnly())
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, take), f.do("D"))
	})
	// Of the parent: the commit that the report brings, and two commits and a message
	// at its end. Of the child: start, steps, report, the commit after it, and the
	// commit at its parent's end. The messages open whom they are for.
	if plain != 3 || held != plain+9 || through != plain+6 {
		t.Errorf("%d calls, with a child that can be undone %d, and with another %d; want 3, 12 and 9", plain, held, through)
	}
}

// What a part's items come to counts together.
func TestToleratedFailuresOfMany(t *testing.T) {
	for _, tt := range []struct {
		tolerate int
		want     saga.Status
	}{{3, saga.Completed}, {2, saga.Compensated}, {0, saga.Compensated}} {
		synctest.Test(t, func(t *testing.T) {
			type bag struct{ Failed []int }
			var mu sync.Mutex
			net := make(map[int]int)
			item := saga.Do("Item", func(ctx context.Context, i *int) error {
				if *i%3 == 1 {
					return saga.Named("Odd", errNo)
				}
				mu.Lock()
				defer mu.Unlock()
				net[*i]++
				return nil
			}).Undo(func(_ context.Context, i *int, _ saga.Outcome) error {
				mu.Lock()
				defer mu.Unlock()
				net[*i]--
				return nil
			})
			each := saga.ForEach("Each", func(*bag) []int { return []int{0, 1, 2, 3, 4, 5, 6, 7, 8} }, func(b *bag, items []saga.Item[int]) error {
				for _, i := range items {
					if i.Failed != nil {
						if i.Failed.Name != "Odd" {
							t.Errorf("item %d failed as %+v", i.State, i.Failed)
						}
						b.Failed = append(b.Failed, i.State)
					}
				}
				return nil
			}, item)
			if tt.tolerate > 0 {
				each.Tolerate(tt.tolerate)
			}
			def := saga.New("many", each)
			saga.SetMapSize(def, 5, 2)
			st := memstore.New(memstore.Config{Partitions: 8})
			c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}})
			got, err := def.Run(t.Context(), c.Client(), "1", bag{})
			x, getErr := c.Client().Get(t.Context(), "1")
			if getErr != nil || x.Status != tt.want {
				t.Errorf("it is %+v: %v, %v", x, err, getErr)
			}
			if tt.want == saga.Completed && !slices.Equal(got.Failed, []int{1, 4, 7}) {
				t.Errorf("%v failed", got.Failed)
			}
			if name := map[int]string{2: saga.ErrorTolerance, 0: "Odd"}[tt.tolerate]; x.Cause != nil && x.Cause.Name != name {
				t.Errorf("the cause is %+v, want the error %s", x.Cause, name)
			}
			time.Sleep(time.Minute)
			mu.Lock()
			for i, n := range net {
				if want := map[saga.Status]int{saga.Completed: 1}[tt.want]; n != want {
					t.Errorf("item %d has %d effects, want %d", i, n, want)
				}
			}
			mu.Unlock()
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Several coordinators share the parts of a ForEach, each with its part of the
// partitions; children of sagas run where their parents do, while there is room.
func TestPartsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		by := make(map[string]int)
		build := func(worker string) *saga.Saga[trip] {
			s := saga.New("many", saga.ForEach("Each", func(*trip) []int { return make([]int, 200) }, nil,
				saga.Do("Item", func(context.Context, *int) error {
					mu.Lock()
					defer mu.Unlock()
					by[worker]++
					return nil
				}).ReadOnly()).Concurrency(100))
			saga.SetMapSize(s, 10, 4)
			return s
		}
		st := memstore.New(memstore.Config{Partitions: 64})
		var stops []func() error
		var c *saga.Coordinator
		for _, worker := range []string{"one", "two", "three"} {
			var stop func() error
			c, stop = run(t, saga.CoordinatorConfig{Store: st, Name: worker, Sagas: []saga.Definer{build(worker)}})
			stops = append(stops, stop)
		}
		time.Sleep(10 * time.Second) // until all know of all
		if _, err := build("client").Run(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Error(err)
		}
		mu.Lock()
		if len(by) != 3 || by["one"] < 20 || by["two"] < 20 || by["three"] < 20 || by["one"]+by["two"]+by["three"] != 200 {
			t.Errorf("the items were shared as %v", by)
		}
		mu.Unlock()
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}
