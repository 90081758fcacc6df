package saga

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/store/memstore"
)

// An attempt that nobody has begun by the end of its step's time is not begun: it has
// done nothing, and the step has failed.
func TestAttemptThatIsNotBegunWithin(t *testing.T) {
	for name, step := range map[string]func(func(context.Context, *int) error) *Step[int]{
		"a do": func(f func(context.Context, *int) error) *Step[int] { return Do("X", f) },
		"a callback": func(f func(context.Context, *int) error) *Step[int] {
			return Callback[int, int]("X", f, nil)
		},
		"the undo of a do is not bounded": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tries, undone atomic.Int64
				flaky := func(context.Context, *int) error { tries.Add(1); return errors.New("flaky") }
				undo := func(context.Context, *int, Outcome) error {
					if undone.Add(1) == 1 {
						return errors.New("flaky")
					}
					return nil
				}
				retry := Retry{Attempts: 10, Initial: time.Minute, Factor: 1, Jitter: -1}
				want, steps := int64(1), []*Step[int]{}
				if step != nil {
					steps = append(steps, step(flaky).Undo(undo).Retry(retry).Within(time.Hour))
				} else {
					want = 0
					steps = append(steps, Do("X", nothing).Undo(undo).UndoRetry(retry).Within(time.Hour), Do("Y", func(context.Context, *int) error {
						return Permanent(errors.New("no"))
					}))
				}
				s := New("s", steps...)
				st := memstore.New(memstore.Config{})
				c, stop := runs(t, st, s)
				if _, err := s.Start(t.Context(), c.Client(), "1", 0); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second)
				stop()
				time.Sleep(2 * time.Hour)
				c, stop = runs(t, st, s)
				_, err := s.Wait(t.Context(), c.Client(), "1")
				var failed *FailedError
				if !errors.As(err, &failed) || failed.Status != Compensated || step != nil && (failed.Cause.Step != "X" || failed.Cause.Name != ErrorTimeout) {
					t.Errorf("got %v, want X timed out", err)
				}
				if n := tries.Load(); n != want {
					t.Errorf("it was tried %d times, want %d", n, want)
				}
				if n := undone.Load(); step != nil && n != 0 || step == nil && n != 2 {
					t.Errorf("its undo was called %d times", n)
				}
				stop()
			})
		})
	}
}

func runs(t *testing.T, st Store, s Definer) (*Coordinator, func()) {
	t.Helper()
	c, err := NewCoordinator(CoordinatorConfig{Store: st, Sagas: []Definer{s}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-c.Ready()
	return c, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
