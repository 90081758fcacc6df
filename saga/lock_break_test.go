package saga_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// An operator may take a lock from its holder, who learns of it.
func TestBreakLock(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		return saga.New("guarded", f.by("A"), f.by("B").Lock(accountLock(time.Hour)), f.by("C"), f.by("D").Lock(accountLock(time.Hour)))
	}, func(h *home) {
		fences := make(map[string]int64)
		see := func(what string, takes time.Duration) func(context.Context) error {
			return func(ctx context.Context) error {
				h.mu.Lock()
				fences[what] = saga.StepFrom(ctx).Locks[account7]
				h.mu.Unlock()
				time.Sleep(takes)
				return nil
			}
		}
		h.plan("1 C", see("1 C", time.Minute))
		h.plan("1 D", see("1 D", 0))
		h.plan("2 B", see("2 B", 2*time.Minute))
		h.starts("1", "2")
		l := h.lock()
		order := saga.Order{By: "ann", Note: "1 hangs"}
		if err := h.client.BreakLock(t.Context(), account7, l.Holder.Fence+1, order); !errors.Is(err, saga.ErrNotHolder) {
			t.Errorf("of another fence: %v", err)
		}
		h.holds("1 2")
		if err := h.client.BreakLock(t.Context(), account7, l.Holder.Fence, order); err != nil {
			t.Error(err)
		}
		if err := h.client.BreakLock(t.Context(), account7, l.Holder.Fence, order); !errors.Is(err, saga.ErrNotHolder) {
			t.Errorf("once more: %v", err)
		}
		time.Sleep(time.Second)
		h.holds("2")
		time.Sleep(time.Minute) // 1 has come to its next step by now
		h.holds("2 1")
		h.becomes("2", saga.Completed)
		h.becomes("1", saga.Completed)
		h.mu.Lock()
		if fences["1 C"] != l.Holder.Fence || fences["2 B"] <= fences["1 C"] || fences["1 D"] <= fences["2 B"] {
			t.Errorf("the fences are %v after %d", fences, l.Holder.Fence)
		}
		h.mu.Unlock()
		events, err := h.client.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(events, func(e saga.Event) bool { return e.Type == saga.LockBroken })
		if i < 0 || events[i].Lock != account7 || events[i].Fence != l.Holder.Fence || events[i].By != "ann" || events[i].Note != "1 hangs" {
			t.Errorf("the history is %+v", events)
		}
		h.free()
	})
}

// A lock of a family is broken for all of it.
func TestBreakLockOfAFamily(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.by("X").Lock(accountLock(time.Hour)))
		return saga.New("guarded", f.by("A").Lock(accountLock(time.Hour)), saga.Child("Sub", child, hand, nil), f.by("C"))
	}, func(h *home) {
		h.plan("1 C", after(10*time.Minute))
		h.starts("1", "2")
		l := h.lock()
		if len(l.Sharing) != 1 {
			t.Fatalf("the lock is %+v", l)
		}
		if err := h.client.BreakLock(t.Context(), account7, l.Holder.Fence, saga.Order{}); err != nil {
			t.Error(err)
		}
		h.becomes("2", saga.Completed)
		h.becomes("1", saga.Completed)
		h.free()
	})
}
