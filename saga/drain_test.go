package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// Run lets running handlers finish, commits what they did, and gives the lease
// back: another coordinator goes on at once.
func TestDrainFinishesHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var j journal
		s := saga.New("trip",
			saga.Do("A", func(ctx context.Context, s *trip) error {
				time.Sleep(10 * time.Second)
				j.add("A, context ended: %t", ctx.Err() != nil)
				return nil
			}).Undo(undoNothing),
			saga.Do("B", j.do("B")),
		)
		one, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Drain: 20 * time.Second})
		if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got, want := j.all(), []string{"A, context ended: false"}; !slices.Equal(got, want) {
			t.Fatalf("handlers ran %q, want %q", got, want)
		}
		x, err := one.Client().Get(t.Context(), "1")
		if err != nil || !x.HeldUntil.IsZero() || x.NextWake.After(time.Now()) || x.Step != "B" {
			t.Errorf("left as %+v (%v)", x, err)
		}

		begin := time.Now()
		two, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := two.Client().Wait(t.Context(), "1"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("it went on after %s, want at once", took)
		}
		// The step that was dispatched and not begun is no lost attempt.
		h, err := two.Client().History(t.Context(), "1")
		if err != nil || slices.ContainsFunc(h, func(e saga.Event) bool { return e.Type == saga.TaskTimedOut }) {
			t.Errorf("history %+v (%v)", h, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// After CoordinatorConfig.Drain the handlers' contexts end.
func TestDrainEndsContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		begin := time.Now()
		var ended time.Duration
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, s *trip) error {
			<-ctx.Done()
			ended = time.Since(begin)
			return ctx.Err()
		}).Timeout(time.Hour))
		one, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Drain: 7 * time.Second})
		if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if ended != 7*time.Second {
			t.Errorf("the handler's context ended after %s, want 7s", ended)
		}
		x, err := one.Client().Get(t.Context(), "1")
		if err != nil || !x.HeldUntil.IsZero() {
			t.Errorf("the lease was not given back: %+v (%v)", x, err)
		}
	})
}

// A handler that heeds nothing is left behind, and named.
func TestDrainNamesWhatItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		release := make(chan struct{})
		s := saga.New("trip", saga.Do("Deaf", func(ctx context.Context, s *trip) error {
			<-release
			return nil
		}).Timeout(time.Hour))
		one, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Drain: 7 * time.Second, Lease: 9 * time.Second})
		if _, err := s.Start(t.Context(), one.Client(), "ride-1", trip{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begin := time.Now()
		err := stop()
		if err == nil || !strings.Contains(err.Error(), "Deaf") || !strings.Contains(err.Error(), "ride-1") {
			t.Errorf("Run: %v, want the step and the execution named", err)
		}
		if took := time.Since(begin); took != 16*time.Second {
			t.Errorf("Run returned after %s, want Drain and Lease, 16s", took)
		}
		close(release)
	})
}

// Waits end when the coordinator does: of an attempt that waits in place, and
// of a long one.
func TestDrainDoesNotWaitForDelays(t *testing.T) {
	for _, delay := range []time.Duration{900 * time.Millisecond, time.Hour} {
		t.Run(delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { return errors.New("flaky") }).
					Retry(saga.Retry{Initial: delay, Max: delay, Jitter: -1}))
				one, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				begin := time.Now()
				if err := stop(); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took > 0 {
					t.Errorf("Run returned after %s, want at once", took)
				}
				if x, err := one.Client().Get(t.Context(), "1"); err != nil || !x.HeldUntil.IsZero() || x.NextWake.IsZero() {
					t.Errorf("left as %+v (%v)", x, err)
				}
			})
		})
	}
}

// A lookout's Due answers late. What it finds is hidden from others meanwhile.
type lookout struct {
	saga.Store
	once   sync.Once
	found  chan struct{} // something was
	answer chan struct{} // closed when it may say so
}

func (l *lookout) Due(ctx context.Context, partitions []int, limit int, d time.Duration) ([]string, error) {
	ids, err := l.Store.Due(ctx, partitions, limit, d)
	if len(ids) == 0 {
		return ids, err
	}
	l.once.Do(func() { close(l.found) })
	select {
	case <-l.answer:
		return ids, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// What a coordinator has found due when it is to end goes on elsewhere at once: an
// answer that is under way is awaited, and what there is no room for is given back.
func TestDrainGivesBackWhatItFound(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprint("full: ", full), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				look := &lookout{Store: st, found: make(chan struct{}), answer: make(chan struct{})}
				var j journal
				s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
					j.add("%s", saga.StepFrom(ctx).Execution)
					if saga.StepFrom(ctx).Execution == "long" {
						time.Sleep(10 * time.Second)
					}
					return nil
				}))
				one, stop := run(t, saga.CoordinatorConfig{Store: look, Sagas: []saga.Definer{s}, Concurrency: 1})
				client := outsider(t, st)
				if _, err := s.Start(t.Context(), client, "found", trip{}); err != nil {
					t.Fatal(err)
				}
				<-look.found
				if full {
					if _, err := s.Start(t.Context(), one.Client(), "long", trip{}); err != nil {
						t.Fatal(err)
					}
					close(look.answer)
					synctest.Wait()
				} else {
					time.AfterFunc(time.Second, func() { close(look.answer) })
				}
				begin := time.Now()
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("Run returned after %s", took)
				}
				if slices.Contains(j.all(), "found") {
					t.Errorf("handlers ran for %q, although it was to end", j.all())
				}
				x, err := client.Get(t.Context(), "found")
				if err != nil || !x.HeldUntil.IsZero() || x.NextWake.After(time.Now()) {
					t.Errorf("left as %+v (%v), want it free and due", x, err)
				}
				begin = time.Now()
				coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				if _, err := s.Wait(t.Context(), client, "found"); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("it went on after %s, want at once", took)
				}
			})
		})
	}
}

// A store that does not answer does not keep a coordinator from ending.
func TestDrainIsNotHeldUpByTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		look := &lookout{Store: st, found: make(chan struct{}), answer: make(chan struct{})}
		s := saga.New("trip", saga.Do("A", nothing))
		_, stop := run(t, saga.CoordinatorConfig{Store: look, Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), outsider(t, st), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		<-look.found
		begin := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("Run returned after %s, want within 2s", took)
		}
	})
}

// begun is a store that is stopped in the middle of a coordinator's first calls.
type begun struct {
	saga.Store
	op   string
	stop context.CancelFunc
	left []string
}

func (s *begun) during(ctx context.Context, op string) error {
	if s.op != op {
		return nil
	}
	s.stop()
	return fmt.Errorf("store: %w", ctx.Err())
}

func (s *begun) Definition(ctx context.Context, name, version string) ([]byte, error) {
	if err := s.during(ctx, "Definition"); err != nil {
		return nil, err
	}
	return s.Store.Definition(ctx, name, version)
}

// Heartbeat is heard, though its answer is not.
func (s *begun) Heartbeat(ctx context.Context, worker string, d time.Duration) ([]string, error) {
	list, err := s.Store.Heartbeat(ctx, worker, d)
	return list, errors.Join(err, s.during(ctx, "Heartbeat"))
}

func (s *begun) Leave(ctx context.Context, worker string) error {
	s.left = append(s.left, worker)
	return s.Store.Leave(ctx, worker)
}

// Whoever ends a coordinator before it has begun has ended it in order: that is no
// error, and nobody takes it for one that is there.
func TestStoppedWhileItBegins(t *testing.T) {
	for _, op := range []string{"Definition", "Heartbeat"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				st := &begun{Store: memstore.New(memstore.Config{}), op: op, stop: stop}
				c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{saga.New("one", saga.Do("A", nothing))}})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Run(ctx); err != nil {
					t.Errorf("Run: %v", err)
				}
				if want := op == "Heartbeat"; (len(st.left) > 0) != want {
					t.Errorf("it has left: %q", st.left)
				}
			})
		})
	}
}
