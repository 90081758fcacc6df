package saga_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// by is a step that notes for which execution it is done and undone.
func (f *family) by(name string) *saga.Step[trip] {
	return saga.Do(name, func(ctx context.Context, _ *trip) error {
		return f.note(ctx, saga.StepFrom(ctx).Execution+" "+name)
	}).Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error {
		return f.note(ctx, "undo "+saga.StepFrom(ctx).Execution+" "+name)
	}).Retry(saga.Once()).UndoRetry(saga.Once()).Timeout(10 * time.Minute)
}

// guarded does B under a lock, between two others.
func guarded(f *family) *saga.Saga[trip] {
	return saga.New("guarded", f.by("A"), f.by("B").Lock(accountLock(time.Hour)), f.by("C"))
}

// starts starts executions, one after the other.
func (h *home) starts(ids ...string) {
	h.Helper()
	for _, id := range ids {
		if _, err := h.def.Start(h.Context(), h.client, id, trip{}); err != nil {
			h.Fatal(err)
		}
		time.Sleep(time.Second)
	}
}

// becomes checks how an execution ends, or that it is blocked.
func (h *home) becomes(id string, want saga.Status) *saga.Execution {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 24*time.Hour)
	defer cancel()
	x, err := h.client.Wait(ctx, id)
	if err != nil {
		h.Fatal(err)
	}
	if x.Status != want {
		h.Errorf("%s is %s, want %s: %v", id, x.Status, want, x.Err())
	}
	return x
}

// did checks what was done so far.
func (h *home) did(want string) {
	h.Helper()
	if got := h.family.String(); got != want {
		h.Errorf("done so far:\n\t%s, want\n\t%s", got, want)
	}
}

// lock is how the lock stands.
func (h *home) lock() *saga.LockInfo {
	h.Helper()
	view, err := saga.NewClient(saga.ClientConfig{Store: h.store})
	if err != nil {
		h.Fatal(err)
	}
	l, err := view.Lock(h.Context(), account7)
	if err != nil {
		h.Fatal(err)
	}
	return l
}

// holds checks who has the lock, and who waits for it.
func (h *home) holds(want string) {
	h.Helper()
	l := h.lock()
	var got []string
	if l.Holder != nil {
		got = append(got, l.Holder.Execution)
	}
	for _, u := range l.Queue {
		got = append(got, u.Execution)
	}
	if s := strings.Join(got, " "); s != want {
		h.Errorf("the lock is %q's, want %q", s, want)
	}
}

// free checks that all is over: no execution is open, and no lock taken.
func (h *home) free() {
	h.Helper()
	h.closed()
	unlocked(h.T, h.store)
}

func TestLockIsFirstComeFirstServed(t *testing.T) {
	athome(t, guarded, func(h *home) {
		for _, id := range []string{"3", "1", "4", "2"} {
			h.plan(id+" B", after(10*time.Second))
		}
		begun := time.Now()
		h.starts("3", "1", "4", "2")
		h.holds("3 1 4 2")
		h.did("3 A, 3 B, 1 A, 4 A, 2 A")
		for _, id := range []string{"3", "1", "4", "2"} {
			h.becomes(id, saga.Completed)
		}
		h.did("3 A, 3 B, 1 A, 4 A, 2 A, 3 C, 1 B, 1 C, 4 B, 4 C, 2 B, 2 C")
		if took := time.Since(begun); took > 41*time.Second {
			t.Errorf("40 s under the lock took %s: the next is not told at once", took)
		}
		h.free()
	})
}

func TestLockIsKeptThroughUndoing(t *testing.T) {
	athome(t, guarded, func(h *home) {
		h.plan("1 C", no)
		h.plan("undo 1 B", after(time.Minute))
		h.plan("undo 1 A", after(time.Minute))
		h.starts("1", "2")
		time.Sleep(90 * time.Second)
		h.did("1 A, 1 B, 1 C, undo 1 B, 2 A, undo 1 A")
		h.holds("1 2")
		h.becomes("1", saga.Compensated)
		h.becomes("2", saga.Completed)
		h.did("1 A, 1 B, 1 C, undo 1 B, 2 A, undo 1 A, 2 B, 2 C")
		h.free()
	})
}

func TestLockIsKeptWhileBlocked(t *testing.T) {
	athome(t, guarded, func(h *home) {
		h.plan("1 C", no)
		h.plan("undo 1 B", no)
		h.starts("1", "2")
		time.Sleep(50 * time.Minute)
		h.becomes("1", saga.Blocked)
		h.holds("1 2")
		x := h.get("1")
		if len(x.Locks) != 1 || x.Locks[0].Resource != account7 || x.Locks[0].Fence != h.lock().Holder.Fence {
			t.Errorf("the holder's locks are %+v", x.Locks)
		}
		x = h.get("2")
		if len(x.Locks) != 1 || x.Locks[0].Holder != "1" || x.Locks[0].Place != 1 || x.Locks[0].Fence != 0 || x.Step != "B" {
			t.Errorf("the locks of who waits are %+v at %s", x.Locks, x.Step)
		}
		h.plan("undo 1 B", nil)
		if err := h.client.Retry(t.Context(), "1", saga.Order{}); err != nil {
			t.Error(err)
		}
		h.becomes("2", saga.Completed)
		h.did("1 A, 1 B, 1 C, undo 1 B, 2 A, undo 1 B, undo 1 A, 2 B, 2 C")
		h.free()
	})
}

// However an execution ends, the next has the lock at once.
func TestLockIsReleasedOnEveryEnding(t *testing.T) {
	order := func(f func(*saga.Client, context.Context, string, saga.Order) error) func(*home) {
		return func(h *home) {
			if err := f(h.client, h.Context(), "1", saga.Order{By: "ann"}); err != nil {
				h.Error(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		build  func(*family) *saga.Saga[trip]
		b, c   func(context.Context) error // what becomes of the last two steps
		undo   func(context.Context) error
		then   func(*home)
		status saga.Status
	}{
		"completed":   {build: guarded, status: saga.Completed},
		"compensated": {build: guarded, c: no, status: saga.Compensated},
		"failed": {build: func(f *family) *saga.Saga[trip] {
			return saga.New("guarded", f.by("A"), f.by("B").Lock(accountLock(time.Hour)), saga.Fail[trip]("C", "Bad", "so it is"))
		}, status: saga.Compensated},
		"cancelled": {build: guarded, b: after(time.Minute), then: order((*saga.Client).Cancel), status: saga.Compensated},
		"timed out": {build: func(f *family) *saga.Saga[trip] {
			return saga.New("guarded", f.by("A").Timeout(time.Minute), f.by("B").Timeout(time.Minute).Lock(accountLock(time.Minute)), f.by("C").Timeout(time.Minute)).Within(2 * time.Minute)
		}, c: after(time.Hour), status: saga.Compensated},
		"terminated":               {build: guarded, b: after(time.Minute), then: order((*saga.Client).Terminate), status: saga.Terminated},
		"terminated while blocked": {build: guarded, c: no, undo: no, then: order((*saga.Client).Terminate), status: saga.Terminated},
		"skipped":                  {build: guarded, c: no, undo: no, then: order(func(c *saga.Client, ctx context.Context, id string, o saga.Order) error { return c.Skip(ctx, id, o) }), status: saga.Compensated},
		"of the saga itself": {build: func(f *family) *saga.Saga[trip] {
			return saga.New("guarded", f.by("A"), f.by("B"), f.by("C")).Lock(accountLock(time.Hour))
		}, c: no, status: saga.Compensated},
		"of a pivot": {build: func(f *family) *saga.Saga[trip] {
			return saga.New("guarded", f.by("A"), f.do("B").Pivot().Lock(accountLock(time.Hour)), f.do("C"))
		}, status: saga.Completed},
	} {
		t.Run(name, func(t *testing.T) {
			athome(t, tt.build, func(h *home) {
				h.plan("1 B", tt.b)
				h.plan("1 C", tt.c)
				h.plan("undo 1 B", tt.undo)
				h.starts("1")
				if tt.then != nil {
					time.Sleep(10 * time.Second)
					h.holds("1")
					tt.then(h)
					time.Sleep(time.Minute)
				}
				h.becomes("1", tt.status)
				time.Sleep(time.Second)
				h.holds("")
				h.starts("2")
				h.becomes("2", map[bool]saga.Status{true: saga.Compensated, false: saga.Completed}[name == "failed"])
				h.free()
			})
		})
	}
}

// Whoever ends while it waits gives its place up, and those behind it come
// forward.
func TestLockPlaceIsGivenUp(t *testing.T) {
	for name, order := range map[string]func(*saga.Client, context.Context, string, saga.Order) error{
		"terminated": (*saga.Client).Terminate, "cancelled": (*saga.Client).Cancel,
	} {
		t.Run(name, func(t *testing.T) {
			athome(t, guarded, func(h *home) {
				h.plan("1 B", after(5*time.Minute))
				h.starts("1", "2", "3")
				h.holds("1 2 3")
				if err := order(h.client, t.Context(), "2", saga.Order{}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				h.holds("1 3")
				if !h.get("2").Status.Ended() {
					t.Errorf("it waits still: %+v", h.get("2"))
				}
				h.becomes("3", saga.Completed)
				h.free()
			})
		})
	}
}

// A wait that is too long is an error with a name of its own.
func TestLockDeadline(t *testing.T) {
	build := func(change func(s *saga.Step[trip]) *saga.Step[trip]) func(*family) *saga.Saga[trip] {
		return func(f *family) *saga.Saga[trip] {
			return saga.New("guarded", f.by("A"), change(f.by("B").Lock(accountLock(20*time.Second))), f.by("C").End(), f.by("H"))
		}
	}
	plain := func(s *saga.Step[trip]) *saga.Step[trip] { return s }
	same := func(s *saga.Step[trip]) *saga.Step[trip] { return s.Catch("H", "Other") } // H is reached, and nothing changes
	for name, tt := range map[string]struct {
		change func(s *saga.Step[trip]) *saga.Step[trip]
		status saga.Status
		want   string
		takes  time.Duration
	}{
		"fails":  {same, saga.Compensated, "1 A, 1 B, 2 A, undo 2 A", 20 * time.Second},
		"caught": {func(s *saga.Step[trip]) *saga.Step[trip] { return s.Catch("H", saga.ErrorLock) }, saga.Completed, "1 A, 1 B, 2 A, 2 H", 20 * time.Second},
		"retried": {func(s *saga.Step[trip]) *saga.Step[trip] {
			return same(s).Retry(saga.Retry{Attempts: 5, Initial: 10 * time.Second, Factor: 1, Jitter: -1}, saga.ErrorLock)
		}, saga.Completed, "1 A, 1 B, 2 A, 1 C, 2 B, 2 C", 99 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.change == nil {
				tt.change = plain
			}
			athome(t, build(tt.change), func(h *home) {
				h.plan("1 B", after(100*time.Second))
				h.starts("1")
				begun := time.Now()
				h.starts("2")
				x := h.becomes("2", tt.status)
				if took := time.Since(begun); took < tt.takes || took > tt.takes+2*time.Second {
					t.Errorf("it took %s, want %s", took, tt.takes)
				}
				h.did(tt.want)
				if x.Status == saga.Compensated {
					if c := x.Cause; c.Name != saga.ErrorLock || c.Step != "B" || c.Error != "lock account/7 was not to be had within 20s" {
						t.Errorf("the cause is %+v", c)
					}
					h.holds("1")
				}
				h.becomes("1", saga.Completed)
				h.free()
			})
		})
	}
}

// The whole family has the lock while any of it does, under one fence, and others
// wait for the last of it.
func TestLockIsSharedByAFamily(t *testing.T) {
	var fences []int64
	athome(t, func(f *family) *saga.Saga[trip] {
		fence := func(name string) *saga.Step[trip] {
			return saga.Do(name, func(ctx context.Context, _ *trip) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				fences = append(fences, saga.StepFrom(ctx).Locks[account7])
				return nil
			}).Undo(undoNothing)
		}
		grandchild := saga.New("grandchild", fence("G").Lock(accountLock(time.Second)))
		child := saga.New("child", fence("X"), saga.Child("Grand", grandchild, hand, nil)).Lock(accountLock(time.Second))
		items := func(*trip) []trip { return make([]trip, 5) }
		s := saga.New("guarded", f.by("A").Lock(accountLock(time.Hour)), saga.Child("Sub", child, hand, nil),
			saga.ForEach("M", items, nil, fence("I").Lock(accountLock(time.Second))), f.by("C"))
		saga.SetMapSize(s, 3, 2)
		return s
	}, func(h *home) {
		h.plan("1 C", after(time.Minute))
		h.starts("1", "2")
		// The children have completed, and are held; the parts of the ForEach, too.
		l := h.lock()
		h.mu.Lock()
		if len(fences) != 7 || l.Holder.Execution != "1" || len(l.Sharing) != 5 || l.Waiting != 1 {
			t.Errorf("the lock is %+v, with the fences %v", l, fences)
		}
		for _, fence := range fences {
			if fence != l.Holder.Fence {
				t.Errorf("fences %v, want %d", fences, l.Holder.Fence)
			}
		}
		h.mu.Unlock()
		h.becomes("1", saga.Completed)
		x := h.becomes("2", saga.Completed)
		h.mu.Lock()
		if last := fences[len(fences)-1]; len(fences) != 14 || last <= fences[0] {
			t.Errorf("the fences are %v", fences)
		}
		h.mu.Unlock()
		if took := time.Since(x.Started); took > 62*time.Second {
			t.Errorf("the next family waited for %s", took)
		}
		h.free()
	})
}

// A handler gets the fence of each lock that its execution holds, so that what is
// locked can refuse whoever comes late.
func TestLockFence(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		other := saga.Lock("other", func(*trip) string { return "8" })
		return saga.New("guarded", f.by("A"), f.by("B").Lock(accountLock(time.Hour)), f.by("C").Lock(other))
	}, func(h *home) {
		seen := make(map[string]map[string]int64)
		see := func(what string, err error) {
			h.plan(what, func(ctx context.Context) error {
				h.mu.Lock()
				defer h.mu.Unlock()
				seen[what] = saga.StepFrom(ctx).Locks
				return err
			})
		}
		see("1 A", nil)
		see("1 B", nil)
		see("1 C", errNo)
		see("undo 1 B", nil)
		see("2 B", nil)
		h.starts("1", "2")
		h.becomes("2", saga.Completed)
		h.mu.Lock()
		first := seen["1 B"][account7]
		if len(seen["1 A"]) != 0 || first == 0 || len(seen["1 C"]) != 2 || seen["1 C"]["other/8"] == 0 ||
			seen["undo 1 B"][account7] != first || seen["2 B"][account7] <= first {
			t.Errorf("the fences are %v", seen)
		}
		h.mu.Unlock()
		h.free()
	})
}

// What a lock costs: to be asked for, to be granted and to be given back a call
// each, and a commit for each step with locks and for the end. One that is had
// already costs nothing.
func TestScriptsOfLocks(t *testing.T) {
	local := func(name string) *saga.Step[trip] {
		return saga.Do(name, func(context.Context, *trip) error { return nil }).ReadOnly()
	}
	one, two := accountLock(time.Hour), saga.Lock("other", func(*trip) string { return "8" })
	for _, tt := range []struct {
		name string
		saga *saga.Saga[trip]
		want string
	}{
		{"without", saga.New("s", local("A"), local("B"), local("C")), "3 Commit, 1 Start"},
		{"the first", saga.New("s", local("A").Lock(one), local("B"), local("C")), "1 AcquireLock, 6 Commit, 1 ReleaseLock, 1 Start"},
		{"the saga's", saga.New("s", local("A"), local("B"), local("C")).Lock(one), "1 AcquireLock, 6 Commit, 1 ReleaseLock, 1 Start"},
		{"a later", saga.New("s", local("A"), local("B").Lock(one), local("C")), "1 AcquireLock, 5 Commit, 1 ReleaseLock, 1 Start"},
		{"again", saga.New("s", local("A"), local("B").Lock(one), local("C").Lock(one)), "1 AcquireLock, 5 Commit, 1 ReleaseLock, 1 Start"},
		{"two apart", saga.New("s", local("A"), local("B").Lock(one), local("C").Lock(two)), "2 AcquireLock, 6 Commit, 2 ReleaseLock, 1 Start"},
		{"two at once", saga.New("s", local("A"), local("B").Lock(one, two), local("C")), "2 AcquireLock, 5 Commit, 2 ReleaseLock, 1 Start"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls tally
				st := memstore.New(memstore.Config{})
				co, stop := run(t, saga.CoordinatorConfig{Store: calls.wrap(st), Sagas: []saga.Definer{tt.saga}})
				if _, err := tt.saga.Run(t.Context(), co.Client(), "1", trip{}); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if got := calls.String(); got != tt.want {
					t.Errorf("calls to the store: %s, want %s", got, tt.want)
				}
				unlocked(t, st)
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// One that waits costs what its waiting does: a commit that parks, and the mail
// that tells it.
func TestScriptsOfAWaitForALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls tally
		st := memstore.New(memstore.Config{})
		s := saga.New("s", saga.Do("A", func(ctx context.Context, _ *trip) error {
			return after(20 * time.Second)(ctx)
		}).ReadOnly().Lock(accountLock(time.Hour)))
		co, stop := run(t, saga.CoordinatorConfig{Store: calls.wrap(st), Sagas: []saga.Definer{s}, Lease: time.Hour})
		for _, id := range []string{"1", "2"} {
			if _, err := s.Start(t.Context(), co.Client(), id, trip{}); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		if got, want := calls.String(), "2 AcquireLock, 9 Commit, 1 Deliver, 2 ReleaseLock, 2 Start"; got != want {
			t.Errorf("calls to the store: %s, want %s", got, want)
		}
		unlocked(t, st)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// After a crash the next worker has the lock that the last one took.
func TestLockAndACrashAtItsGrant(t *testing.T) {
	for _, op := range []string{"AcquireLock", "Commit"} {
		t.Run("at "+op, func(t *testing.T) { testLockCrash(t, op) })
	}
}

// testLockCrash lets a worker die when the lock was granted, once the store has
// done an AcquireLock, or before the commit that follows.
func testLockCrash(t *testing.T, op string) {
	athome(t, guarded, func(h *home) {
		dead, granted := false, false
		st := storetest.NewFaulty(h.store, func(c storetest.Call) storetest.Fault {
			h.mu.Lock()
			defer h.mu.Unlock()
			switch {
			case dead, granted && op == "Commit":
				dead = true
				return storetest.Fault{Before: storetest.ErrInjected}
			case c.Op == "AcquireLock":
				granted, dead = true, op == "AcquireLock"
				if dead {
					return storetest.Fault{After: storetest.ErrInjected}
				}
			}
			return storetest.Fault{}
		})
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		doomed, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{h.def}})
		if _, err := h.def.Start(t.Context(), doomed.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		h.holds("1")
		fence := h.lock().Holder.Fence
		h.c, h.stop = run(t, saga.CoordinatorConfig{Store: h.store, Sagas: []saga.Definer{h.def}})
		h.client = h.c.Client()
		h.plan("1 B", func(ctx context.Context) error {
			if got := saga.StepFrom(ctx).Locks[account7]; got != fence {
				t.Errorf("the fence is %d, want %d", got, fence)
			}
			return nil
		})
		h.becomes("1", saga.Completed)
		h.did("1 A, 1 B, 1 C")
		if err := stop(); err != nil {
			t.Error(err)
		}
		h.free()
	})
}
