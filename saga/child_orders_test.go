package saga_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

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
		for id, want := range map[string]saga.Status{"1/Sub": saga.Completed, "1/P:0,Wing": saga.Completed, "1/Q:0,Other": saga.Terminated, "1/Q:1,Last": saga.Terminated} {
			if x := h.get(id); x.Status != want {
				t.Errorf("%s is %s, want %s", id, x.Status, want)
			}
		}
		h.closed()
	})
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
