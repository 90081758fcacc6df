package saga_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A child may be undone for as long as its root may, so its retention begins when
// that ends, however long ago the child has completed.
func TestRetentionOfAChildBeginsWithTheEndOfItsRoot(t *testing.T) {
	const day = 2 * time.Hour // a short one
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("its root fails: ", fails), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{Partitions: 8})
				var undone atomic.Bool
				kid := saga.New("kid", saga.Do("K", nothing).Undo(func(context.Context, *trip, saga.Outcome) error { undone.Store(true); return nil }))
				s := saga.New("trip",
					saga.Child("C", kid, hand, take),
					saga.Wait[trip]("W", 30*day),
					saga.Do("Z", func(context.Context, *trip) error {
						if fails {
							return errRefused
						}
						return nil
					}))
				c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Retention: day, Sweep: time.Minute})
				defer func() {
					if err := stop(); err != nil {
						t.Error(err)
					}
				}()
				if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(29 * day)
				if x, err := c.Client().Get(t.Context(), "1/C"); err != nil || !x.Held {
					t.Fatalf("after 29 days the child is %+v, %v", x, err)
				}
				if _, err := s.Wait(t.Context(), c.Client(), "1"); errors.Is(err, saga.ErrCompensated) != fails || undone.Load() != fails {
					t.Errorf("its root ends with %v, and the child is undone: %t", err, undone.Load())
				}
				time.Sleep(day - 10*time.Minute)
				if _, err := c.Client().Get(t.Context(), "1/C"); err != nil {
					t.Errorf("before its retention is over: %v", err)
				}
				time.Sleep(20 * time.Minute)
				if _, err := c.Client().Get(t.Context(), "1/C"); !errors.Is(err, store.ErrGone) {
					t.Errorf("after its retention was over: %v, want it gone", err)
				}
			})
		})
	}
}

// A coordinator that has nothing to do asks the store once or twice a second for
// what is due in all of its partitions together, and calls it for nothing else but
// heartbeats.
func TestIdleCoordinatorAsksOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		calls := make(map[string]int)
		counted := false
		count := func(on bool) {
			mu.Lock()
			defer mu.Unlock()
			counted = on
		}
		st := storetest.NewFaulty(memstore.New(memstore.Config{Partitions: 256}), func(c storetest.Call) storetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if counted {
				calls[c.Op]++
			}
			return storetest.Fault{}
		})
		_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{saga.New("trip", saga.Do("A", nothing))}})
		time.Sleep(10 * time.Second)
		count(true)
		time.Sleep(time.Minute)
		count(false)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := calls["Due"]; n < 59 || n > 121 {
			t.Errorf("it asked %d times in a minute for what is due", n)
		}
		if names := slices.Sorted(maps.Keys(calls)); !slices.Equal(names, []string{"Due", "Heartbeat"}) {
			t.Errorf("it called %v", calls)
		}
	})
}

// Steps that are done here never touch a queue, and need none.
func TestLocalStepsTouchNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := func(name string) *saga.Step[trip] { return saga.Do(name, nothing).Undo(undoNothing) }
		s := saga.New("trip", step("A"),
			saga.Parallel("P", saga.Branch("x", step("X")), saga.Branch("y", saga.ForEach("M", func(*trip) []trip { return make([]trip, 3) }, nil, step("I")))).
				Merge(func(*trip, []trip) error { return nil }),
			saga.Child("C", saga.New("kid", step("K")), hand, take),
			saga.Wait[trip]("W", time.Hour),
			saga.Do("Z", func(context.Context, *trip) error { return errRefused }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Publisher: publisher(func(topic string, m *message.Message) error {
			t.Errorf("%s is sent to %s", m.Payload, topic)
			return nil
		}), ReplyTo: "replies"})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
	})
}

// Each branch works on a copy of the state: what it changes in place, slices too,
// neither the others see, nor the saga before the merge.
func TestBranchesWorkOnCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		branch := func(name string, waits time.Duration) *saga.Step[trip] {
			return saga.Do(name, func(_ context.Context, s *trip) error {
				time.Sleep(waits)
				if len(s.Log) != 1 || s.Log[0] != "begin" {
					t.Errorf("%s begins with %q", name, s.Log)
				}
				s.Log[0] = name
				return nil
			}).Undo(undoNothing)
		}
		s := saga.New("trip",
			saga.Parallel("P", saga.Branch("x", branch("X", 0)), saga.Branch("y", branch("Y", time.Second)), saga.Branch("z", saga.ForEach("M",
				func(s *trip) []trip { return []trip{*s, *s} }, nil, branch("I", 2*time.Second)))).
				Merge(func(s *trip, branches []trip) error {
					if len(s.Log) != 1 || s.Log[0] != "begin" {
						t.Errorf("the merge begins with %q", s.Log)
					}
					s.Log = append(s.Log, branches[0].Log[0], branches[1].Log[0], branches[2].Log[0])
					return nil
				}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		got, err := s.Run(t.Context(), c, "1", trip{Log: []string{"begin"}})
		if want := []string{"begin", "X", "Y", "begin"}; err != nil || !slices.Equal(got.Log, want) {
			t.Errorf("it ends with %q, %v, want %q", got.Log, err, want)
		}
	})
}

// Only signals may come before their execution. Whatever else does is refused, and
// leaves nothing that the execution would hear once it is there.
func TestOnlySignalsMayComeEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { time.Sleep(time.Second); return nil }).ReadOnly(), saga.Do("B", nothing))
		st := memstore.New(memstore.Config{})
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		for name, order := range map[string]func(context.Context, string, saga.Order) error{
			"Cancel": c.Cancel, "Retry": c.Retry, "Skip": skipping(c), "Terminate": c.Terminate, "Suspend": c.Suspend, "Resume": c.Resume,
		} {
			if err := order(t.Context(), "1", saga.Order{By: "ann"}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
		if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: trip{}}, saga.Order{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("RetryWith: %v, want ErrNotFound", err)
		}
		const token = "eyJ4IjoiMSIsInMiOiJBIiwidiI6MSwiayI6InMifQ" // of the step A of 1
		if err := c.Complete(t.Context(), token, 7); !errors.Is(err, saga.ErrToken) && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Complete: %v, want ErrToken", err)
		}
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Error(err)
		}
		for _, of := range []saga.EventType{saga.ExecutionAborted, saga.CancelRefused, saga.OrderRefused, saga.MailDiscarded} {
			if n := count(t, c, "1", of); n != 0 {
				t.Errorf("its history has %d of %s", n, of)
			}
		}
	})
}

// What branches have to undo is undone side by side where the definition says so,
// each branch in reverse still, and one after the other elsewhere.
func TestUndoSideBySide(t *testing.T) {
	for _, together := range []bool{false, true} {
		t.Run(fmt.Sprint("together: ", together), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				slow := func(name string) *saga.Step[trip] {
					return saga.Do(name, nothing).Undo(func(context.Context, *trip, saga.Outcome) error {
						time.Sleep(10 * time.Second)
						j.add("%s", name)
						return nil
					})
				}
				p := saga.Parallel("P", saga.Branch("x", slow("X1"), slow("X2")), saga.Branch("y", slow("Y1"), slow("Y2"))).
					Merge(func(*trip, []trip) error { return nil })
				if together {
					p.UndoTogether()
				}
				s := saga.New("trip", slow("A"), p, saga.Do("Z", func(context.Context, *trip) error { return errRefused }))
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
				begun := time.Now()
				if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
				want := 50 * time.Second
				if together {
					want = 30 * time.Second
				}
				if took := time.Since(begun); took < want || took > want+5*time.Second {
					t.Errorf("it was undone within %s, want %s", took, want)
				}
				all := j.all()
				at := func(name string) int { return slices.Index(all, name) }
				if len(all) != 5 || at("A") != 4 || at("X2") > at("X1") || at("Y2") > at("Y1") {
					t.Errorf("undone in the order %q", all)
				}
			})
		})
	}
}

// Each order is in the history, with who gave it and why, also those that are
// refused.
func TestOrdersAreInTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		flaky := func(name string) *saga.Step[trip] {
			return saga.Do(name, nothing).Undo(func(context.Context, *trip, saga.Outcome) error {
				if name != "B" && !mended.Load() {
					return errRefused
				}
				return nil
			})
		}
		s := saga.New("trip", flaky("A"), flaky("B"), flaky("C"), flaky("D"), saga.Wait[trip]("W", 1000*time.Hour), saga.Do("Z", nothing))
		st := memstore.New(memstore.Config{})
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		give := func(name string, order func(context.Context, string, saga.Order) error) {
			if err := order(t.Context(), "1", saga.Order{By: "ann", Note: name}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			time.Sleep(time.Minute)
		}
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		give("resume what is not suspended", c.Resume)
		give("suspend", c.Suspend)
		give("resume", c.Resume)
		give("cancel", c.Cancel)  // blocked at D
		give("skip", skipping(c)) // and at C
		give("edit", func(ctx context.Context, id string, o saga.Order) error {
			return c.RetryWith(ctx, id, saga.Edit{Input: trip{}}, o)
		})
		mended.Store(true)
		give("retry", c.Retry)
		x, err := c.Wait(t.Context(), "1")
		if err != nil || x.Status != saga.Compensated {
			t.Errorf("it ends as %+v, %v", x, err)
		}
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		for note, want := range map[string]saga.EventType{
			"resume what is not suspended": saga.OrderRefused, "suspend": saga.ExecutionSuspended, "resume": saga.ExecutionResumed,
			"cancel": saga.ExecutionAborted, "skip": saga.CompensationSkipped, "edit": saga.CompensationEdited, "retry": saga.ExecutionRedriven,
		} {
			if n := len(slices.DeleteFunc(slices.Clone(h), func(e saga.Event) bool { return e.Type != want || e.By != "ann" || e.Note != note })); n != 1 {
				t.Errorf("the history has %d of %s by ann, %q, want 1", n, want, note)
			}
		}
	})
}

// What waits for an operator alone wakes up within a day all the same, and not all
// at once.
func TestBlockedExecutionsWakeUpApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", nothing).Undo(func(context.Context, *trip, saga.Outcome) error { return errRefused }),
			saga.Do("B", func(context.Context, *trip) error { return errRefused }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		wakes := make(map[time.Duration]bool)
		for i := range 20 {
			id := fmt.Sprint(i)
			if _, err := s.Run(t.Context(), c, id, trip{}); !errors.Is(err, saga.ErrBlocked) {
				t.Fatal(err)
			}
			x, err := c.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			wake := time.Until(x.NextWake)
			if wake < 24*time.Hour-time.Minute || wake > 25*time.Hour+time.Minute {
				t.Errorf("it wakes up in %s, want 24 to 25 hours", wake)
			}
			wakes[wake.Truncate(time.Minute)] = true
		}
		if len(wakes) < 5 {
			t.Errorf("20 executions wake up within the same %d minutes", len(wakes))
		}
	})
}
