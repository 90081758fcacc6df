package saga_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A batch is how often each item of a ForEach was done, and which fail.
type batch struct {
	mu   sync.Mutex
	did  [9]int
	bad  map[int]error
	slow int   // the item that takes half a minute, if it is not 0
	seen []int // that failed, as the collect function is told
}

func (b *batch) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bad = nil
}

func (b *batch) done() [9]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.did
}

// each is a ForEach of nine items, of which more than five run in parts of three.
func (b *batch) each() *saga.Step[trip] {
	return saga.ForEach("Each", func(*trip) []int { return []int{0, 1, 2, 3, 4, 5, 6, 7, 8} },
		func(_ *trip, items []saga.Item[int]) error {
			b.seen = nil
			for i, item := range items {
				if item.Failed != nil {
					b.seen = append(b.seen, i)
				}
			}
			return nil
		},
		saga.Do("Item", func(_ context.Context, i *int) error {
			if b.slow != 0 && *i == b.slow {
				time.Sleep(30 * time.Second)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if err := b.bad[*i]; err != nil {
				return err
			}
			b.did[*i]++
			return nil
		}).Irreversible().Retry(saga.Retry{Attempts: 2}))
}

// retryBlocked retries all that is blocked, of the saga and its parts.
func (h *home) retryBlocked(parts int) (blocked []string) {
	h.Helper()
	ids := []string{"1"}
	for n := range parts {
		ids = append(ids, fmt.Sprintf("1/Each:%d", n))
	}
	for _, id := range ids {
		if x := h.get(id); x.Status == saga.Blocked {
			blocked = append(blocked, id)
			if err := h.client.Retry(h.Context(), id, saga.Order{By: "ann"}); err != nil {
				h.Fatal(err)
			}
		}
	}
	return blocked
}

var allOnce = [9]int{1, 1, 1, 1, 1, 1, 1, 1, 1}

// Past the point of no return items that are done are not done again because others
// of their part fail: those are blocked, each by itself, and tried again.
func TestItemsOfAPartAfterThePivot(t *testing.T) {
	for name, bad := range map[string]error{"for good": saga.Permanent(errNo), "for now": errNo} {
		t.Run(name, func(t *testing.T) {
			b := &batch{bad: map[int]error{1: bad, 2: bad, 7: bad}}
			athome(t, func(f *family) *saga.Saga[trip] {
				s := saga.New("many", f.step("A"), f.do("P").Pivot(), b.each(), f.do("Z"))
				saga.SetMapSize(s, 5, 3)
				return s
			}, func(h *home) {
				if _, err := h.def.Start(t.Context(), h.client, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if got, want := b.done(), [9]int{1, 0, 0, 1, 1, 1, 1, 0, 1}; got != want {
					t.Errorf("the items were done %v times, want %v", got, want)
				}
				b.mend()
				if blocked, want := h.retryBlocked(3), []string{"1/Each:0", "1/Each:2"}; !slices.Equal(blocked, want) {
					t.Errorf("%q were blocked, want %q", blocked, want)
				}
				h.waits(saga.Completed, "A, P, Z")
				if got := b.done(); got != allOnce {
					t.Errorf("the items were done %v times, want each once", got)
				}
				h.closed()
			})
		})
	}
}

// An error that something around the ForEach catches is no reason to be blocked, and
// ends the part.
func TestFailureOfAPartAfterThePivotIsCaught(t *testing.T) {
	for _, tt := range []struct {
		caught string
		want   saga.Status
	}{{"Full", saga.Completed}, {"Other", saga.Running}} {
		t.Run(tt.caught, func(t *testing.T) {
			bad := map[int]error{4: saga.Named("Full", saga.Permanent(errNo)), 7: saga.Named("Odd", saga.Permanent(errNo))}
			b := &batch{bad: bad, slow: 4}
			athome(t, func(f *family) *saga.Saga[trip] {
				s := saga.New("many", f.step("A"), f.do("P").Pivot(), b.each().Catch("H", tt.caught), f.do("Z").End(), f.do("H"))
				saga.SetMapSize(s, 5, 3)
				return s
			}, func(h *home) {
				if _, err := h.def.Start(t.Context(), h.client, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if x := h.get("1"); x.Status != tt.want {
					t.Fatalf("it is %s, want %s", x.Status, tt.want)
				}
				if tt.want == saga.Completed {
					h.waits(saga.Completed, "A, P, H") // the part that was blocked is stopped
					h.closed()
					return
				}
				b.mend()
				h.retryBlocked(3)
				h.waits(saga.Completed, "A, P, Z")
				if got := b.done(); got != allOnce {
					t.Errorf("the items were done %v times, want each once", got)
				}
			})
		})
	}
}

// So is one that is tolerated.
func TestToleratedFailureOfAPartAfterThePivot(t *testing.T) {
	b := &batch{bad: map[int]error{4: saga.Permanent(errNo)}}
	athome(t, func(f *family) *saga.Saga[trip] {
		s := saga.New("many", f.step("A"), f.do("P").Pivot(), b.each().Tolerate(1), f.do("Z"))
		saga.SetMapSize(s, 5, 3)
		return s
	}, func(h *home) {
		h.ends(saga.Completed, "A, P, Z")
		if !slices.Equal(b.seen, []int{4}) {
			t.Errorf("items %v failed, want 4", b.seen)
		}
		h.closed()
	})
}

// A part past the point of no return refuses a cancel, as its saga does, unless it is
// its saga that has no use for it any more.
func TestCancelOfAPartAfterThePivot(t *testing.T) {
	b := &batch{bad: map[int]error{1: saga.Permanent(errNo)}}
	athome(t, func(f *family) *saga.Saga[trip] {
		s := saga.New("many", f.step("A"), f.do("P").Pivot(), b.each(), f.do("Z"))
		saga.SetMapSize(s, 5, 3)
		return s
	}, func(h *home) {
		if _, err := h.def.Start(t.Context(), h.client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if err := h.client.Cancel(t.Context(), "1/Each:0", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := count(t, h.client, "1/Each:0", saga.CancelRefused); n != 1 {
			t.Errorf("the cancel was refused %d times, want once", n)
		}
		b.mend()
		h.retryBlocked(1)
		h.waits(saga.Completed, "A, P, Z")
		if got := b.done(); got != allOnce {
			t.Errorf("the items were done %v times, want each once", got)
		}
	})
}
