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
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// outsider is a client of a process without a coordinator.
func outsider(t *testing.T, st saga.Store) *saga.Client {
	t.Helper()
	c, err := saga.NewClient(saga.ClientConfig{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Start may be called again: the same id with the same input is the same
// execution, in whichever process, while it runs and after its end.
func TestStartIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var j journal
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
			j.add("do A")
			time.Sleep(10 * time.Second)
			return nil
		}))
		other := saga.New("tour", saga.Do("A", nothing))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s, other}})
		created := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 10 {
			client := c
			if i%2 == 0 {
				client = outsider(t, st)
			}
			all.Go(func() {
				got, err := s.Start(t.Context(), client, "1", trip{Log: []string{"in"}})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if got {
					created++
				}
			})
		}
		all.Wait()
		if created != 1 {
			t.Errorf("%d of 10 starts created it", created)
		}
		time.Sleep(time.Minute)
		if got, err := s.Start(t.Context(), c, "1", trip{Log: []string{"in"}}); err != nil || got {
			t.Errorf("a start after the end: %t, %v", got, err)
		}
		if _, err := s.Start(t.Context(), c, "1", trip{Log: []string{"else"}}); !errors.Is(err, store.ErrExists) {
			t.Errorf("another input: %v, want ErrExists", err)
		}
		if _, err := other.Start(t.Context(), c, "1", trip{Log: []string{"in"}}); !errors.Is(err, store.ErrExists) {
			t.Errorf("another saga: %v, want ErrExists", err)
		}
		if got := j.all(); len(got) != 1 {
			t.Errorf("it ran %q", got)
		}
	})
}

// A process may start a saga whose coordinators are elsewhere.
func TestStartElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", nothing))
		client := outsider(t, st)
		if created, err := s.Start(t.Context(), client, "1", trip{}); err != nil || !created {
			t.Fatalf("%t, %v", created, err)
		}
		time.Sleep(time.Hour) // nobody is there
		coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), client, "1", trip{}); err != nil {
			t.Error(err)
		}
	})
}

// Run and Wait return where the execution stands, with why.
func TestRunAndWait(t *testing.T) {
	tests := []struct {
		name   string
		last   *saga.Step[trip]
		is     error
		status saga.Status
	}{
		{"completed", saga.Do("B", nothing), nil, saga.Completed},
		{"compensated", saga.Do("B", func(context.Context, *trip) error { return errRefused }), saga.ErrCompensated, saga.Compensated},
		{"blocked", saga.Do("B", func(context.Context, *trip) error { return saga.Uncertain(errRefused) }).Pivot(), saga.ErrBlocked, saga.Blocked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				s := saga.New("trip", saga.Do("A", func(_ context.Context, s *trip) error {
					s.Log = append(s.Log, "A")
					time.Sleep(3 * time.Second)
					return nil
				}).Undo(undoNothing), tt.last)
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				begin := time.Now()
				got, err := s.Run(t.Context(), c, "1", trip{})
				if took := time.Since(begin); took != 3*time.Second {
					t.Errorf("Run took %s, want 3s: it is told of the end", took)
				}
				var failed *saga.FailedError
				if !errors.Is(err, tt.is) || tt.is != nil && (!errors.As(err, &failed) || failed.Status != tt.status || failed.Execution != "1") {
					t.Errorf("Run: %v, want %v", err, tt.is)
				}
				if !slices.Equal(got.Log, []string{"A"}) {
					t.Errorf("Run's state is %v", got.Log)
				}
				for where, client := range map[string]*saga.Client{"here": c, "elsewhere": outsider(t, st)} {
					got, err := s.Wait(t.Context(), client, "1")
					if !errors.Is(err, tt.is) || !slices.Equal(got.Log, []string{"A"}) {
						t.Errorf("Wait %s: %v, %v", where, got, err)
					}
					if got, err = s.Run(t.Context(), client, "1", trip{}); !errors.Is(err, tt.is) || !slices.Equal(got.Log, []string{"A"}) {
						t.Errorf("Run again %s: %v, %v", where, got, err)
					}
					x, err := client.Wait(t.Context(), "1")
					if err != nil || x.Status != tt.status || !errors.Is(x.Err(), tt.is) || !x.Started.Equal(begin) {
						t.Errorf("Client.Wait %s: %+v, %v", where, x, err)
					}
				}
			})
		})
	}
}

// A client elsewhere sees the end within a second.
func TestWaitElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
			time.Sleep(10*time.Second + time.Millisecond)
			return nil
		}))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := s.Wait(t.Context(), outsider(t, st), "1"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 11*time.Second+time.Millisecond {
			t.Errorf("it was seen after %s, want within 1s of 10s", took)
		}
	})
}

// Waiting ends with its context; the execution goes on.
func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			time.Sleep(30 * time.Second)
			return ctx.Err()
		}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := s.Run(ctx, c, "ride-1", trip{}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"ride-1"`) {
			t.Errorf("Run: %v", err)
		}
		if _, err := c.Wait(ctx, "ride-1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: %v", err)
		}
		if _, err := s.Wait(t.Context(), c, "ride-1"); err != nil {
			t.Errorf("the execution did not go on: %v", err)
		}
		if _, err := c.Wait(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Wait for nobody: %v", err)
		}
	})
}

// Who waits after giving an order sees what comes of it, not what was before.
func TestWaitAfterRetry(t *testing.T) {
	for _, here := range []bool{true, false} {
		t.Run(fmt.Sprintf("here=%t", here), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				mended := false
				s := saga.New("trip", saga.Do("P", nothing).Pivot(), saga.Do("Z", func(context.Context, *trip) error {
					if !mended {
						return errRefused
					}
					time.Sleep(5 * time.Second)
					return nil
				}))
				client := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				if !here {
					client = outsider(t, st)
				}
				if _, err := s.Run(t.Context(), client, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
					t.Fatal(err)
				}
				mended = true
				if err := client.Retry(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Wait(t.Context(), client, "1"); err != nil {
					t.Errorf("Wait after Retry: %v", err)
				}
			})
		})
	}
}

// Cancel awaits what is being done, and undoes it.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", func(ctx context.Context, s *trip) error {
				time.Sleep(10 * time.Second)
				if ctx.Err() != nil {
					t.Error("the running handler's context ended")
				}
				j.add("do B")
				s.Log = append(s.Log, "B")
				return nil
			}).Undo(j.undo("B")),
			saga.Do("C", j.do("C")),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := c.Cancel(t.Context(), "1", saga.Order{By: "ann", Note: "the customer called"}); err != nil {
			t.Fatal(err)
		}
		_, err := s.Wait(t.Context(), c, "1")
		var failed *saga.FailedError
		if !errors.As(err, &failed) || *failed.Cause != (saga.Cause{Kind: saga.CauseCancelled, By: "ann", Note: "the customer called"}) {
			t.Errorf("got %v", err)
		}
		if got, want := j.all(), []string{"do A", "do B", "undo B done [A B]", "undo A done [A]"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
		h, err := c.History(t.Context(), "1")
		if err != nil || !slices.ContainsFunc(h, func(e saga.Event) bool {
			return e.Type == saga.ExecutionAborted && e.By == "ann" && e.Note == "the customer called"
		}) {
			t.Errorf("the history does not tell who cancelled: %+v (%v)", h, err)
		}
		if err := c.Cancel(t.Context(), "1", saga.Order{}); !errors.Is(err, store.ErrEnded) {
			t.Errorf("a cancel after the end: %v, want ErrEnded", err)
		}
		if err := c.Cancel(t.Context(), "nobody", saga.Order{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a cancel of nobody: %v, want ErrNotFound", err)
		}
	})
}

func TestCancelIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		saga   *saga.Saga[trip]
		status saga.Status
		reason string
	}{
		{"after the pivot", saga.New("trip",
			saga.Do("P", nothing).Pivot(),
			saga.Do("Y", func(context.Context, *trip) error { time.Sleep(10 * time.Second); return nil }),
			saga.Do("Z", nothing),
		), saga.Completed, "it is past its point of no return"},
		{"as the last step succeeds", saga.New("trip",
			saga.Do("A", func(context.Context, *trip) error { time.Sleep(10 * time.Second); return nil }),
		), saga.Completed, "it is being undone, or has ended, already"},
		{"in an unknown pivot", saga.New("trip",
			saga.Do("P", func(ctx context.Context, _ *trip) error {
				if saga.StepFrom(ctx).Attempt == 1 {
					return saga.Uncertain(errors.New("garbled"))
				}
				return nil
			}).Pivot().Retry(saga.Retry{Initial: 30 * time.Second, Jitter: -1}),
		), saga.Completed, "it may be past its point of no return"},
		{"while it is undone", saga.New("trip",
			saga.Do("A", nothing).Undo(func(context.Context, *trip, saga.Outcome) error { time.Sleep(10 * time.Second); return nil }),
			saga.Do("B", nothing).Undo(undoNothing),
			saga.Do("C", func(context.Context, *trip) error { return errRefused }),
		), saga.Compensated, "it is being undone, or has ended, already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{tt.saga}})
				if _, err := tt.saga.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				if err := c.Cancel(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
					t.Fatal(err)
				}
				x, err := c.Wait(t.Context(), "1")
				if err != nil || x.Status != tt.status {
					t.Errorf("%+v, %v", x, err)
				}
				h, err := c.History(t.Context(), "1")
				if err != nil || !slices.ContainsFunc(h, func(e saga.Event) bool {
					return e.Type == saga.CancelRefused && e.By == "ann" && e.Error == tt.reason
				}) {
					t.Errorf("the history has no refusal %q: %+v (%v)", tt.reason, h, err)
				}
			})
		})
	}
}

// Retry hurries a wait, and is refused where there is nothing to hurry.
func TestRetryOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []int
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			attempts = append(attempts, saga.StepFrom(ctx).Attempt)
			if len(attempts) == 1 {
				return errors.New("flaky")
			}
			time.Sleep(10 * time.Second)
			return nil
		}).Retry(saga.Retry{Initial: time.Hour}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for range 2 { // the second while it runs
			time.Sleep(5 * time.Second)
			if err := c.Retry(t.Context(), "1", saga.Order{By: "ann", Note: "mended"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Wait(t.Context(), c, "1"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
		if !slices.Equal(attempts, []int{1, 2}) {
			t.Errorf("attempts %v", attempts)
		}
		for of, want := range map[saga.EventType]int{saga.ExecutionRedriven: 1, saga.RetryRefused: 1} {
			if got := count(t, c, "1", of); got != want {
				t.Errorf("%d times %s in the history, want %d", got, of, want)
			}
		}
		if err := c.Retry(t.Context(), "1", saga.Order{}); !errors.Is(err, store.ErrEnded) {
			t.Errorf("a retry after the end: %v, want ErrEnded", err)
		}
	})
}

// A mailbox is bounded: who posts to one that nobody empties is told.
func TestMailboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := outsider(t, memstore.New(memstore.Config{}))
		s := saga.New("trip", saga.Do("A", nothing))
		if _, err := s.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		n := 0
		var err error
		for ; err == nil && n < 5000; n++ {
			err = client.Retry(t.Context(), "1", saga.Order{})
		}
		if !errors.Is(err, store.ErrMailboxFull) || n < 1000 {
			t.Errorf("%v after %d orders", err, n)
		}
		if x, err := client.Get(t.Context(), "1"); err != nil || x.UnreadMail != int64(n-1) {
			t.Errorf("%+v, %v", x, err)
		}
	})
}

// After delays the first step, whatever wakes the execution before, and the
// saga's own time begins with it.
func TestAfter(t *testing.T) {
	for _, here := range []bool{true, false} {
		t.Run(fmt.Sprintf("here=%t", here), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				begin := time.Now()
				var began time.Duration
				s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
					began = time.Since(begin)
					return nil
				})).Within(time.Minute)
				client := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				if !here {
					client = outsider(t, st)
				}
				if _, err := s.Start(t.Context(), client, "1", trip{}, saga.After(time.Hour)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if posted, err := st.Post(t.Context(), store.PostRequest{ID: "1", MailID: "m", Body: []byte(`{"k":"of a later release"}`), Limit: 10}); err != nil || !posted {
					t.Fatal(posted, err)
				}
				x, err := client.Wait(t.Context(), "1")
				if err != nil || x.Status != saga.Completed || !x.Started.Equal(begin) {
					t.Errorf("%+v, %v", x, err)
				}
				if began < time.Hour || began > time.Hour+2*time.Second {
					t.Errorf("the first step began after %s, want 1h", began)
				}
				if n := count(t, client, "1", saga.MailDiscarded); n != 1 {
					t.Errorf("the mail that nobody understands is %d times in the history, want once", n)
				}
			})
		})
	}
	t.Run("cancelled before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
				t.Error("it ran")
				return nil
			}))
			c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
			if _, err := s.Start(t.Context(), c, "1", trip{}, saga.After(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if err := c.Cancel(t.Context(), "1", saga.Order{}); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) || time.Since(begin) > 2*time.Second {
				t.Errorf("%v after %s", err, time.Since(begin))
			}
		})
	})
}
