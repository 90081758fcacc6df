package saga_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A handler that is at work alone may take any time, up to the moment that its
// lease is renewed and far beyond, step after step: each is run once, and the slot
// of its execution is free afterwards, once.
func TestHandlersOfAnyLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 30 * time.Second
		takes := []time.Duration{
			0, lease/3 - 1, lease / 3, lease/3 + 1, 0, lease / 3, lease/3*2 - 1, lease / 3 * 2, lease, 3 * lease, 0, lease / 3,
		}
		var steps []*saga.Step[trip]
		for i, d := range takes {
			name := fmt.Sprintf("S%d", i)
			steps = append(steps, saga.Do(name, func(_ context.Context, s *trip) error {
				time.Sleep(d)
				s.Log = append(s.Log, name)
				return nil
			}).Timeout(time.Hour).ReadOnly())
		}
		s := saga.New("trip", steps...)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Lease: lease, Concurrency: 2})
		var all sync.WaitGroup
		for i := range 6 { // two at once
			all.Go(func() {
				id := fmt.Sprint(i)
				got, err := s.Run(t.Context(), c, id, trip{})
				if err != nil || len(got.Log) != len(takes) {
					t.Errorf("%s: %v, %v", id, got, err)
				}
				if n := count(t, c, id, saga.TaskScheduled); n != len(takes) {
					t.Errorf("%s: %d attempts of %d steps", id, n, len(takes))
				}
			})
		}
		all.Wait()
	})
}

// While other handlers of the execution are at work, one that is begun does not keep
// their answers waiting.
func TestHandlersSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := make(map[string]time.Duration)
		var mu sync.Mutex
		begin := time.Now()
		takes := func(name string, d time.Duration) *saga.Step[trip] {
			return saga.Do(name, func(context.Context, *trip) error {
				mu.Lock()
				began[name] = time.Since(begin)
				mu.Unlock()
				time.Sleep(d)
				return nil
			}).ReadOnly()
		}
		s := saga.New("trip", saga.Parallel("Both",
			saga.Branch("left", takes("A1", 2*time.Second), takes("A2", 0)),
			saga.Branch("right", takes("B1", time.Second), takes("B2", 5*time.Second)),
		).Merge(func(*trip, []trip) error { return nil }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]time.Duration{"A1": 0, "B1": 0, "B2": time.Second, "A2": 2 * time.Second} {
			if began[name] != want {
				t.Errorf("%s began after %s, want %s", name, began[name], want)
			}
		}
	})
}

// A handler that ends its goroutine does so before its lease is renewed, just then,
// or long after: the execution goes on in each case, no deeper on the stack each
// time, and its slot is free afterwards.
func TestGoexitAtAnyTime(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * time.Second, 25 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 3
				var depths [n][5]int // of each execution, by attempt
				s := saga.New("trip",
					saga.Do("A", func(ctx context.Context, _ *trip) error {
						step := saga.StepFrom(ctx)
						attempt := step.Attempt
						i, err := strconv.Atoi(step.Execution)
						if err != nil {
							return err
						}
						depths[i][attempt] = runtime.Callers(0, make([]uintptr, 1000))
						if attempt <= 3 {
							time.Sleep(after)
							goexit()
						}
						return nil
					}).Timeout(time.Hour).Undo(undoNothing).Retry(saga.Retry{Initial: time.Millisecond, Jitter: -1}),
					saga.Do("B", nothing).Undo(undoNothing),
					saga.Do("C", func(context.Context, *trip) error { goexit(); return nil }).Retry(saga.Retry{Attempts: 1}),
				)
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Concurrency: 1})
				for i := range n {
					id := fmt.Sprint(i)
					if _, err := s.Start(t.Context(), c, id, trip{}); err != nil {
						t.Fatal(err)
					}
				}
				for i := range n {
					id := fmt.Sprint(i)
					if x, err := c.Wait(t.Context(), id); err != nil || x.Status != saga.Compensated {
						t.Errorf("%s: %+v, %v", id, x, err)
					}
					if d := &depths[i]; d[1] == 0 || d[2] > d[1] || d[4] > d[2] {
						t.Errorf("%s: the attempts began at the depths %v of their stacks", id, d[1:])
					}
					if n := count(t, c, id, saga.TaskTimedOut); n != 4 {
						t.Errorf("%s: %d attempts without an answer, want those that ended their goroutines, 4", id, n)
					}
				}
			})
		})
	}
}
