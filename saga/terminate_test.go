package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// Whoever terminates an execution does not wait for its handler: that is told to
// stop, and whatever it answers is not heard.
func TestTerminateAtWork(t *testing.T) {
	for _, tt := range []struct {
		name     string
		stubborn bool                                  // the handler does not heed its context
		undo     bool                                  // it is a compensation
		before   func(c *saga.Client, id string) error // comes before the order
	}{
		{name: "a handler"},
		{name: "a compensation", undo: true},
		{name: "a handler that does not stop", stubborn: true},
		{name: "after a cancel", before: func(c *saga.Client, id string) error {
			return c.Cancel(context.Background(), id, saga.Order{By: "bob"})
		}},
		{name: "after a suspend", before: func(c *saga.Client, id string) error {
			return c.Suspend(context.Background(), id, saga.Order{By: "bob"})
		}},
		{name: "after a signal", before: func(c *saga.Client, id string) error {
			return c.Signal(context.Background(), id, "go", "", 7)
		}},
		{name: "twice", before: func(c *saga.Client, id string) error {
			return c.Terminate(context.Background(), id, saga.Order{By: "ann"})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				var mu sync.Mutex
				var stopped time.Duration
				var cause error
				begun := time.Now()
				work := func(ctx context.Context, s *trip) error {
					j.add("at work")
					<-ctx.Done()
					mu.Lock()
					stopped, cause = time.Since(begun), context.Cause(ctx)
					mu.Unlock()
					if tt.stubborn {
						time.Sleep(20 * time.Minute)
					}
					s.Log = append(s.Log, "at work")
					j.add("returned")
					return nil
				}
				action, compensation := saga.Action[trip](work), j.undo("B")
				if tt.undo {
					action = j.do("B")
					compensation = func(ctx context.Context, s *trip, _ saga.Outcome) error { return work(ctx, s) }
				}
				s := saga.New("trip",
					saga.Do("A", j.do("A")).Undo(j.undo("A")),
					saga.Do("B", action).Undo(compensation).Timeout(time.Hour),
					saga.Do("C", j.fail("C", errRefused)))
				st := memstore.New(memstore.Config{})
				co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Concurrency: 1, Drain: time.Hour})
				c := co.Client()
				if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if tt.before != nil {
					if err := tt.before(c, "1"); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Terminate(t.Context(), "1", saga.Order{By: "ann", Note: "enough"}); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrTerminated) {
					t.Errorf("it ended with %v", err)
				}
				if took := time.Since(begun) - time.Minute; took > 11*time.Second {
					t.Errorf("it took %s, want a third of a lease", took)
				}
				synctest.Wait()
				mu.Lock()
				if stopped < time.Minute || stopped > 71*time.Second || cause == nil || cause.Error() != "saga: the execution was terminated" {
					t.Errorf("the handler's context ended after %s: %v", stopped, cause)
				}
				mu.Unlock()
				time.Sleep(30 * time.Minute) // for what is late
				before := j.all()
				x, err := c.Get(t.Context(), "1")
				if err != nil || x.Status != saga.Terminated || x.Cause.By != "ann" || !x.HeldUntil.IsZero() || slices.Contains(logOf(t, x), "at work") {
					t.Errorf("it is %+v, %v", x, err)
				}
				h, err := c.History(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				var aborted []string
				ended := 0
				for _, e := range h {
					switch e.Type {
					case saga.TaskAborted:
						aborted = append(aborted, fmt.Sprint(e.Step, " ", e.Attempt, " ", e.Outcome))
					case saga.ExecutionTerminated:
						ended++
					}
				}
				if want := []string{"B 1 unknown"}; !slices.Equal(aborted, want) || ended != 1 {
					t.Errorf("the history tells of %q, and %d ends, want %q", aborted, ended, want)
				}
				if !slices.Contains(before, "returned") || slices.Contains(before, "undo A done [A]") {
					t.Errorf("handlers ran %q", before)
				}
				if err := c.Cancel(t.Context(), "1", saga.Order{}); !errors.Is(err, store.ErrEnded) {
					t.Errorf("a cancel afterwards: %v", err)
				}
				// Its slot is free: another one runs. One that does not stop keeps it until
				// then.
				if _, err := s.Start(t.Context(), c, "2", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if got := j.all(); len(got) == len(before) {
					t.Error("nothing runs any more")
				}
				if err := c.Terminate(t.Context(), "2", saga.Order{}); err != nil {
					t.Error(err)
				}
				time.Sleep(30 * time.Minute)
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func logOf(t *testing.T, x *saga.Execution) []string {
	t.Helper()
	var s trip
	if err := json.Unmarshal(x.State, &s); err != nil {
		t.Fatal(err)
	}
	return s.Log
}

// A completion that came before it waits for nobody either, and counts.
func TestTerminateAfterACompletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := make(chan string, 1)
		s := saga.New("trip", saga.Parallel("P", saga.Branch("x", saga.Callback("X", func(ctx context.Context, _ *trip) error {
			tokens <- saga.StepFrom(ctx).Token
			<-ctx.Done()
			return ctx.Err()
		}, func(*trip, int) error { return nil }).ReadOnly().Timeout(time.Hour))).Merge(func(*trip, []trip) error { return nil }),
			saga.Wait[trip]("W", time.Hour))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if err := c.Complete(t.Context(), <-tokens, 7); err != nil {
			t.Fatal(err)
		}
		if err := c.Terminate(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrTerminated) || time.Since(begun) > 11*time.Second {
			t.Errorf("it ended after %s with %v", time.Since(begun), err)
		}
		if n := count(t, c, "1", saga.TaskSucceeded); n != 1 {
			t.Errorf("%d tasks succeeded, want the one that was completed", n)
		}
	})
}
