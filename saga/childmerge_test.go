package saga_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// lateMerge takes a child's state from the given try on.
func lateMerge(from int32) (tries *atomic.Int32, merge func(*trip, trip) error) {
	tries = new(atomic.Int32)
	return tries, func(s *trip, child trip) error {
		if tries.Add(1) < from {
			return errNo
		}
		*s = child
		return nil
	}
}

// Past the point of no return a child that has completed is not run again because
// its state cannot be taken: a retry takes up what it ended with.
func TestChildThatCannotBeMerged(t *testing.T) {
	for name, build := range map[string]func(f *family, merge func(*trip, trip) error) *saga.Saga[trip]{
		"held": func(f *family, merge func(*trip, trip) error) *saga.Saga[trip] {
			child := saga.New("child", f.step("X"), f.step("Y"))
			return saga.New("parent", f.step("A"), f.do("P").Pivot(),
				saga.Child("Sub", child, hand, merge).Retry(saga.Retry{Attempts: saga.Forever}), f.do("D"))
		},
		"ended": func(f *family, merge func(*trip, trip) error) *saga.Saga[trip] {
			child := saga.New("child", f.do("X").ReadOnly(), f.do("Y").ReadOnly())
			return saga.New("parent", f.step("A"), f.do("P").Pivot(),
				saga.Child("Sub", child, hand, merge).Retry(saga.Retry{Attempts: saga.Forever}), f.do("D"))
		},
		"pivot": func(f *family, merge func(*trip, trip) error) *saga.Saga[trip] {
			child := saga.New("child", f.do("P").Pivot(), f.do("X"), f.do("Y"))
			return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, merge), f.do("D"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			tries, merge := lateMerge(3)
			athome(t, func(f *family) *saga.Saga[trip] { return build(f, merge) }, func(h *home) {
				x := h.ends(saga.Blocked, "A, P, X, Y")
				if !x.Unsure {
					t.Error("it is not shown that the step may have had its effect")
				}
				for want := int32(2); want <= 3; want++ {
					if err := h.client.Retry(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
					if got := tries.Load(); got != want {
						t.Fatalf("the child's state was offered %d times, want %d: it is %+v", got, want, h.get("1"))
					}
				}
				h.waits(saga.Completed, "A, P, X, Y, D")
				h.closed()
			})
		})
	}
}

// A state that has grown too large is one that cannot be taken.
func TestPivotChildWhoseStateIsTooLarge(t *testing.T) {
	grow := func(s *trip, child trip) error {
		s.Log = append(child.Log, string(make([]byte, 300<<10)))
		return nil
	}
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.do("P").Pivot(), f.do("X"))
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, grow), f.do("D"))
	}, func(h *home) {
		h.ends(saga.Blocked, "A, P, X")
	})
}

// A child that failed past the point of no return, until its parent was blocked, has
// undone itself: a retry runs another.
func TestChildIsRetriedByAnOperator(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"), f.step("Y"))
		return saga.New("parent", f.step("A"), f.do("P").Pivot(),
			saga.Child("Sub", child, hand, take).Retry(saga.Retry{Attempts: 2}), f.do("D"))
	}, func(h *home) {
		tries := 0
		h.plan("Y", func(context.Context) error {
			if tries++; tries <= 2 {
				return errNo
			}
			return nil
		})
		h.ends(saga.Blocked, "A, P, X, Y, undo X, X, Y, undo X")
		if err := h.client.Retry(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if x := h.get("1"); x.Status != saga.Completed {
			t.Fatalf("it is %+v", x)
		}
		h.waits(saga.Completed, "A, P, X, Y, undo X, X, Y, undo X, X, Y, D")
		h.closed()
	})
}
