package saga_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// again begins with another coordinator on a store, in place of the one there
// was.
func (h *home) again(st saga.Store) {
	h.Helper()
	if err := h.stop(); err != nil {
		h.Error(err)
	}
	h.c, h.stop = run(h.T, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{h.def}})
	h.client = h.c.Client()
}

// A worker that dies between the end and the release leaves a letter behind.
func TestLockAndACrashBeforeItsRelease(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("after it: ", after), func(t *testing.T) {
			athome(t, guarded, func(h *home) {
				dead := false
				h.again(storetest.NewFaulty(h.store, func(c storetest.Call) storetest.Fault {
					h.mu.Lock()
					defer h.mu.Unlock()
					if dead {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					if dead = c.Op == "ReleaseLock"; dead && after { // nobody is told
						return storetest.Fault{After: storetest.ErrInjected}
					} else if dead {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				}))
				h.plan("1 C", func(context.Context) error { time.Sleep(10 * time.Second); return nil })
				h.starts("1", "2")
				h.holds("1 2")
				time.Sleep(20 * time.Second)
				h.holds(map[bool]string{true: "2", false: "1 2"}[after])
				begun := time.Now()
				h.again(h.store)
				h.becomes("2", saga.Completed)
				if took := time.Since(begun); took > 2*time.Minute {
					t.Errorf("the next had the lock after %s", took)
				}
				h.did("1 A, 1 B, 1 C, 2 A, 2 B, 2 C")
				time.Sleep(time.Minute) // the letter is sent again, to nobody
				h.free()
			})
		})
	}
}

// slowLocks lets one owner's first request come later than the caller believes.
type slowLocks struct {
	*memstore.Store
	owner string
	by    time.Duration

	mu   sync.Mutex
	done bool
	errs chan error
}

func (s *slowLocks) AcquireLock(ctx context.Context, r store.LockRequest) (store.LockAnswer, error) {
	s.mu.Lock()
	late := r.Owner == s.owner && !s.done
	s.done = s.done || late
	s.mu.Unlock()
	if !late {
		return s.Store.AcquireLock(ctx, r)
	}
	go func() {
		time.Sleep(s.by)
		_, err := s.Store.AcquireLock(context.Background(), r)
		s.errs <- err
	}()
	return store.LockAnswer{}, errors.New("the network is down")
}

// A request that comes when its execution has long ended gets nothing: nobody
// would give it back.
func TestLateRequestForALock(t *testing.T) {
	for by, want := range map[time.Duration]error{
		50 * time.Second: store.ErrReleased, 110 * time.Second: store.ErrReleased, 5 * time.Minute: store.ErrLate, 24 * time.Hour: store.ErrLate,
	} {
		t.Run(by.String(), func(t *testing.T) {
			athome(t, guarded, func(h *home) {
				slow := &slowLocks{Store: h.store, owner: "1", by: by, errs: make(chan error, 1)}
				h.again(slow)
				h.starts("1")
				if err := h.client.Terminate(t.Context(), "1", saga.Order{}); err != nil {
					t.Error(err)
				}
				h.becomes("1", saga.Terminated)
				if err := <-slow.errs; !errors.Is(err, want) {
					t.Errorf("the late request got %v, want %v", err, want)
				}
				h.free()
			})
		})
	}
}

// A late request of an execution that goes on is that of the one that was asked
// again meanwhile.
func TestLateRequestThatIsStillWanted(t *testing.T) {
	athome(t, guarded, func(h *home) {
		slow := &slowLocks{Store: h.store, owner: "1", by: 20 * time.Second, errs: make(chan error, 1)}
		h.again(slow)
		h.plan("1 B", after(time.Minute))
		h.starts("1", "2")
		if err := <-slow.errs; err != nil {
			t.Error(err)
		}
		if l := h.lock(); l.Holder.Execution != "2" && l.Holder.Execution != "1" || len(l.Sharing) > 0 {
			t.Errorf("the lock is %+v", l)
		}
		h.becomes("1", saga.Completed)
		h.becomes("2", saga.Completed)
		h.free()
	})
}

// ask asks for the lock as if an execution did.
func (h *home) ask(owner, request string) store.LockAnswer {
	h.Helper()
	a, err := h.store.AcquireLock(h.Context(), store.LockRequest{Resource: account7, Owner: owner, Request: request, NotAfter: time.Now()})
	if err != nil {
		h.Fatal(err)
	}
	return a
}

// A holder that is no more, or that does not know that it is one, as after a
// Redis has lost what it was told, does not hold the lock for ever. One that
// knows does, however long that takes.
func TestLockOfALostHolder(t *testing.T) {
	for owner, lost := range map[string]bool{"never was": true, "ended": true, "9": true, "8": false} {
		t.Run(owner, func(t *testing.T) {
			athome(t, guarded, func(h *home) {
				h.plan("ended C", nil)
				h.starts("ended")
				h.plan("9 A", after(2*time.Hour)) // it has asked for nothing yet
				h.plan("8 B", after(2*time.Hour)) // it has it
				if owner == "9" || owner == "8" {
					h.starts(owner)
				}
				if owner != "8" {
					h.ask(owner, "lost")
				}
				h.starts("1")
				time.Sleep(90 * time.Second)
				switch x := h.get("1"); {
				case lost && x.Status != saga.Completed:
					t.Errorf("it is %s, at %s", x.Status, x.Step)
				case !lost && x.Status == saga.Completed:
					t.Error("it had the lock of an execution that holds it")
				}
				if owner == "9" || owner == "8" {
					h.becomes(owner, saga.Compensated) // for want of time
				}
				h.becomes("1", saga.Completed)
				h.free()
			})
		})
	}
}

// A place in the queue of an execution that is no more is passed over.
func TestLockPassesOverThoseThatAreGone(t *testing.T) {
	athome(t, guarded, func(h *home) {
		h.plan("1 B", after(time.Minute))
		h.starts("0", "1")
		h.becomes("0", saga.Completed)
		h.ask("purged long ago", "r1")
		h.ask("0", "r2")
		h.starts("2")
		h.holds("1 purged long ago 0 2")
		h.becomes("1", saga.Completed)
		time.Sleep(time.Second)
		h.becomes("2", saga.Completed)
		x := h.get("2")
		if took := x.NextWake.Add(-7 * 24 * time.Hour).Sub(x.Started); took > 61*time.Second {
			t.Errorf("it waited for %s", took)
		}
		h.free()
	})
}

// The locks of an execution that was purged are nobody's.
func TestLockOfAPurgedExecution(t *testing.T) {
	athome(t, guarded, func(h *home) {
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		h.c, h.stop = run(t, saga.CoordinatorConfig{Store: h.store, Sagas: []saga.Definer{h.def}, Retention: time.Minute})
		h.client = h.c.Client()
		h.starts("1")
		h.becomes("1", saga.Completed)
		time.Sleep(2 * time.Minute)
		if _, err := h.client.Get(h.Context(), "1"); !errors.Is(err, store.ErrGone) {
			t.Errorf("it is not purged: %v", err)
		}
		unlocked(t, h.store)
		h.starts("2")
		h.becomes("2", saga.Completed)
	})
}

// A participant gets the fences with its command.
func TestLocksOfACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := make(map[string]map[string]int64)
		p := &post{t: t, serve: func(c sentCommand) *replied {
			mu.Lock()
			defer mu.Unlock()
			got[c.Command+" "+c.Step] = c.Locks
			return &replied{outcome: "done", result: `{"ID": "ch-1"}`}
		}}
		remote := func(name string) *saga.Step[bill] {
			return saga.Remote(name, "payments",
				func(b *bill) (chargeRequest, error) { return chargeRequest{Cents: b.Cents}, nil },
				func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil },
			).UndoRemote()
		}
		s := saga.New("bill", remote("R"), remote("S").Lock(saga.Lock("account", func(b *bill) string { return fmt.Sprint(b.Cents) })),
			saga.Fail[bill]("F", "No", "so it is"))
		st := memstore.New(memstore.Config{})
		co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
		p.reply = co.HandleMessage
		if _, err := s.Run(t.Context(), co.Client(), "1", bill{Cents: 7}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		mu.Lock()
		fence := got["do S"][account7]
		if fence == 0 || got["do R"] != nil || got["undo S"][account7] != fence || got["undo R"][account7] != fence {
			t.Errorf("the fences of the commands are %v", got)
		}
		mu.Unlock()
		time.Sleep(time.Second)
		unlocked(t, st)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A branch gets its lock while another's handler is at work.
func TestLockBesideAHandler(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		return saga.New("guarded", saga.Parallel("P", saga.Branch("x", f.by("X")), saga.Branch("y", f.by("Y").Lock(accountLock(time.Hour)))).
			Merge(func(*trip, []trip) error { return nil }))
	}, func(h *home) {
		h.plan("1 X", after(5*time.Minute))
		h.starts("1")
		if !strings.Contains(h.family.String(), "1 Y") {
			t.Errorf("done so far: %s", h.family)
		}
		h.becomes("1", saga.Completed)
		h.free()
	})
}

// A child that has completed, and is held, gives back what it asked for in vain.
func TestHeldChildGivesItsPlaceUp(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		one := func(*trip) []trip { return make([]trip, 1) }
		child := saga.New("child", saga.ForEach("M", one, nil, f.by("I").Lock(accountLock(5*time.Second))).Tolerate(1), f.by("X"))
		return saga.New("guarded", saga.Child("Sub", child, hand, nil), f.by("C"))
	}, func(h *home) {
		failed := false
		h.again(storetest.NewFaulty(h.store, func(c storetest.Call) storetest.Fault {
			h.mu.Lock()
			defer h.mu.Unlock()
			if c.Op == "ReleaseLock" && !failed {
				failed = true
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		}))
		h.plan("0/Sub I", after(9*time.Minute))
		h.plan("1 C", after(9*time.Minute))
		h.starts("0", "1")
		h.holds("0/Sub 1/Sub")
		time.Sleep(2 * time.Minute)
		h.did("0/Sub I, 1/Sub X, 1 C")
		h.holds("0/Sub")
		// So it does with what it is granted, and does not know of any more.
		h.mu.Lock()
		failed = false
		h.mu.Unlock()
		h.ask("1/Sub", "lost")
		if _, err := h.store.Post(t.Context(), store.PostRequest{
			ID: "1/Sub", MailID: "m", Body: []byte(`{"k":"lock","l":{"r":"account/7","q":"lost","f":1}}`), Limit: 10,
		}); err != nil {
			t.Error(err)
		}
		h.holds("0/Sub 1/Sub")
		time.Sleep(2 * time.Minute)
		h.holds("0/Sub")
		h.becomes("1", saga.Completed)
		h.becomes("0", saga.Completed)
		h.free()
	})
}

// A notice that cannot go out does not keep the locks of its execution.
func TestLockIsReleasedBesideANotice(t *testing.T) {
	athome(t, guarded, func(h *home) {
		if _, err := h.def.Start(t.Context(), h.client, "1", trip{}, saga.NotifyTo("ends")); err != nil {
			t.Fatal(err)
		}
		h.becomes("1", saga.Completed) // this coordinator has no Publisher
		time.Sleep(time.Second)
		h.holds("")
		if !h.get("1").PendingNotice {
			t.Error("the notice is gone")
		}
	})
}

// The lock of an execution that is terminated goes to the next when the handlers
// that were at work have returned. One that does not return is waited for while the
// worker has the execution, and from then on the fence is what tells.
func TestLockOfATerminatedHandler(t *testing.T) {
	for _, takes := range []time.Duration{5 * time.Second, 8 * time.Minute} {
		t.Run(takes.String(), func(t *testing.T) {
			athome(t, guarded, func(h *home) {
				h.plan("1 B", func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(takes)
					return h.note(context.Background(), "1 B has returned")
				})
				h.starts("1", "2")
				if err := h.client.Terminate(t.Context(), "1", saga.Order{}); err != nil {
					t.Error(err)
				}
				begun := time.Now()
				h.becomes("2", saga.Completed)
				if took := time.Since(begun); took > time.Minute {
					t.Errorf("the next was done after %s", took)
				}
				if takes < time.Minute {
					h.did("1 A, 1 B, 2 A, 1 B has returned, 2 B, 2 C")
				}
				h.becomes("1", saga.Terminated)
				time.Sleep(takes)
				h.free()
			})
		})
	}
}

// Who has waited for long and looks after the holder does not take the lock from
// handlers that are at work.
func TestLockOfATerminatedHandlerIsNotTaken(t *testing.T) {
	for offset := time.Duration(0); offset < 40*time.Second; offset += 5 * time.Second {
		athome(t, guarded, func(h *home) {
			h.plan("1 B", func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(15 * time.Second)
				return h.note(context.Background(), "1 B has returned")
			})
			h.starts("1", "2")
			time.Sleep(2*time.Minute + offset)
			if err := h.client.Terminate(t.Context(), "1", saga.Order{}); err != nil {
				t.Error(err)
			}
			h.becomes("2", saga.Completed)
			h.did("1 A, 1 B, 2 A, 1 B has returned, 2 B, 2 C")
			h.becomes("1", saga.Terminated)
			h.free()
		})
	}
}

// A place that somebody gave up for an execution which waits still is asked for
// anew.
func TestLockPlaceThatWasReleased(t *testing.T) {
	athome(t, guarded, func(h *home) {
		h.plan("1 B", after(2*time.Minute))
		h.starts("1", "2")
		l, err := h.store.InspectLock(t.Context(), account7, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.store.ReleaseLock(t.Context(), account7, l.Queue[0].Request, time.Hour); err != nil {
			t.Fatal(err)
		}
		h.holds("1")
		time.Sleep(time.Minute)
		h.holds("1 2")
		h.becomes("2", saga.Completed)
		h.free()
	})
}

// Whoever released a lock may die before they tell the next, who asks then.
func TestLockThatNobodyTellsOf(t *testing.T) {
	athome(t, guarded, func(h *home) {
		h.plan("1 B", after(20*time.Minute))
		h.ask("holder", "r")
		h.starts("9")
		// As if the holder were a live execution: its release is not told.
		l, err := h.store.InspectLock(t.Context(), account7, 1)
		if err != nil || len(l.Queue) != 1 {
			t.Fatal(l, err)
		}
		if _, err := h.store.ReleaseLock(t.Context(), account7, "r", time.Hour); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		h.becomes("9", saga.Completed)
		if took := time.Since(begun); took > 32*time.Second {
			t.Errorf("it asked after %s", took)
		}
		h.free()
	})
}

// What would be undone of an execution that waits for a lock is what it has done.
func TestPreviewOfAWaitForALock(t *testing.T) {
	athome(t, guarded, func(h *home) {
		h.plan("1 B", after(2*time.Minute))
		h.starts("1", "2")
		for id, want := range map[string]string{"1": "B A", "2": "A"} {
			list, err := h.client.PreviewUndo(t.Context(), id)
			if err != nil {
				t.Error(err)
			}
			var steps []string
			for _, u := range list {
				steps = append(steps, u.Step)
			}
			if got := strings.Join(steps, " "); got != want {
				t.Errorf("of %s %s would be undone, want %s", id, got, want)
			}
		}
		h.holds("1 2") // a preview changes nothing
		h.becomes("2", saga.Completed)
		h.free()
	})
}

// Who waits for a lock is parked, whatever the lease: it takes up no worker, and is
// not taken for an execution that kills them.
func TestWaitForALockIsParked(t *testing.T) {
	athome(t, guarded, func(h *home) {
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		h.c, h.stop = run(t, saga.CoordinatorConfig{Store: h.store, Sagas: []saga.Definer{h.def}, Lease: 400 * time.Millisecond})
		h.client = h.c.Client()
		h.plan("1 B", after(9*time.Minute))
		h.starts("1", "2")
		free := 0
		for range 100 {
			time.Sleep(137 * time.Millisecond)
			if h.get("2").HeldUntil.IsZero() {
				free++
			}
		}
		if free < 90 {
			t.Errorf("it is parked %d times of 100", free)
		}
		h.becomes("2", saga.Completed)
		h.free()
	})
}
