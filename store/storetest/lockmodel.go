package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

// CheckLocks drives a store's locks by random calls, good, late and repeated,
// beside a model: one holder at a time, first come first served, every release
// grants to the next, fences only grow, and what was released stays so. It
// shrinks a failure to the shortest sequence of calls.
func CheckLocks(t *testing.T, h Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		k := &locksmith{
			T: rt, ctx: t.Context(), Subject: h.New(t), locks: make(map[string]*modelLock),
			released: make(map[use]time.Duration),
		}
		rt.Repeat(map[string]func(*rapid.T){
			"acquire":  k.with(k.acquire),
			"acquire ": k.with(k.acquire),
			"release":  k.with(k.release),
			"release ": k.with(k.releaseHolder),
			"advance":  k.with(k.advance),
			"":         k.with(k.look),
		})
		k.drain()
	})
}

// A locksmith is one run of CheckLocks. Time is what has passed by Advance.
type locksmith struct {
	*rapid.T
	Subject
	ctx      context.Context
	locks    map[string]*modelLock
	released map[use]time.Duration // when it is forgotten
	elapsed  time.Duration
	start    time.Time // on the store's clock; zero until it is known
	awaited  bool      // something brief has begun
	serial   int
}

// A use is a request for a resource.
type use struct{ resource, request string }

// A modelLock is a lock as it should be: the holder, and then those who wait.
type modelLock struct {
	queue  []string
	holder store.LockUse
	fence  int64 // the last one given
}

func (k *locksmith) with(action func()) func(*rapid.T) {
	return func(rt *rapid.T) {
		k.T = rt
		action()
		// On a clock that runs, what is brief is over before the next call.
		if k.awaited && !k.Still {
			k.pass(brief)
		}
		k.awaited = false
	}
}

// pass lets time pass.
func (k *locksmith) pass(d time.Duration) {
	k.Advance(d)
	k.elapsed += d
}

func (k *locksmith) lock() (string, *modelLock) {
	name := rapid.SampledFrom([]string{"l1", "l2", "l3"}).Draw(k.T, "resource")
	if k.locks[name] == nil {
		k.locks[name] = new(modelLock)
	}
	return name, k.locks[name]
}

// request draws a new request, or one that was made before.
func (k *locksmith) request() string {
	if k.serial > 0 && rapid.IntRange(0, 2).Draw(k.T, "again") > 0 {
		return fmt.Sprintf("r%d", rapid.IntRange(max(1, k.serial-8), k.serial).Draw(k.T, "request"))
	}
	k.serial++
	return fmt.Sprintf("r%d", k.serial)
}

// repeats calls once, or twice as one that lost the first answer.
func (k *locksmith) repeats(f func()) {
	for range 1 + rapid.IntRange(0, 4).Draw(k.T, "repeats")/4 {
		f()
	}
}

func (k *locksmith) acquire() {
	name, l := k.lock()
	r := wants(name, "", k.request())
	r.Owner = "owner of " + r.Request
	late := rapid.IntRange(0, 9).Draw(k.T, "late") == 9
	if late {
		r.NotAfter = time.Unix(1, 0)
	}
	k.repeats(func() {
		got, err := k.AcquireLock(k.ctx, r)
		place := slices.Index(l.queue, r.Request)
		var want error
		if place < 0 {
			switch {
			case k.released[use{name, r.Request}] > k.elapsed:
				want = store.ErrReleased
			case late:
				want = store.ErrLate
			}
		}
		if want != nil {
			if !errors.Is(err, want) {
				k.Fatalf("acquire %s for %s: %+v, %v, want %v", name, r.Request, got, err, want)
			}
			return
		}
		if err != nil {
			k.Fatalf("acquire %s for %s: %v", name, r.Request, err)
		}
		if place < 0 {
			l.queue = append(l.queue, r.Request)
			place = len(l.queue) - 1
		}
		k.holds(name, l, got.Holder)
		if got.Place != place || got.Granted() != (place == 0) {
			k.Fatalf("acquire %s for %s: it has place %d, want %d", name, r.Request, got.Place, place)
		}
	})
}

func (k *locksmith) release() {
	name, _ := k.lock()
	k.giveBack(name, k.request())
}

func (k *locksmith) releaseHolder() {
	name, l := k.lock()
	if len(l.queue) == 0 {
		k.Skip("it is free")
	}
	k.giveBack(name, l.queue[0])
}

// memories are for how long a release is remembered.
var memories = []time.Duration{brief, long}

func (k *locksmith) giveBack(name, request string) {
	l, u := k.locks[name], use{name, request}
	memory := rapid.SampledFrom(memories).Draw(k.T, "memory")
	k.awaited = memory == brief
	k.repeats(func() {
		next, err := k.ReleaseLock(k.ctx, name, request, memory)
		if err != nil {
			k.Fatalf("release %s of %s: %v", name, request, err)
		}
		l.queue = slices.DeleteFunc(l.queue, func(r string) bool { return r == request })
		k.released[u] = k.elapsed + memory
		k.holds(name, l, next)
	})
}

// holds checks the holder that an answer tells.
func (k *locksmith) holds(name string, l *modelLock, got store.LockUse) {
	if len(l.queue) == 0 {
		l.holder = store.LockUse{}
		if got != l.holder {
			k.Fatalf("%s is held by %+v, want it free", name, got)
		}
		return
	}
	if l.holder.Request != l.queue[0] { // it is granted just now
		if got.Fence <= l.fence {
			k.Fatalf("%s is granted with fence %d after %d", name, got.Fence, l.fence)
		}
		if k.start.IsZero() {
			k.start = got.Since.Add(-k.elapsed)
		}
		if since := got.Since.Sub(k.start); k.Still && since != k.elapsed {
			k.Fatalf("%s is held since %v, want %v", name, since, k.elapsed)
		}
		l.holder = store.LockUse{
			Owner: "owner of " + l.queue[0], Request: l.queue[0], Fence: got.Fence, Since: got.Since,
		}
		l.fence = got.Fence
	}
	if got != l.holder {
		k.Fatalf("%s is held by %+v, want %+v", name, got, l.holder)
	}
}

func (k *locksmith) advance() {
	d := brief
	if k.Still {
		d = rapid.SampledFrom([]time.Duration{time.Millisecond, brief - time.Millisecond, brief, long}).Draw(k.T, "time")
	}
	k.pass(d)
}

// look compares all that can be read.
func (k *locksmith) look() {
	var held []string
	for name, l := range k.locks {
		got, err := k.InspectLock(k.ctx, name, 100)
		if err != nil {
			k.Fatal(err)
		}
		k.holds(name, l, got.Holder)
		var queue []string
		for _, w := range got.Queue {
			queue = append(queue, w.Request)
			if w.Owner != "owner of "+w.Request {
				k.Fatalf("%s is waited for by %+v", name, w)
			}
		}
		if len(l.queue) > 0 {
			held = append(held, name)
			if want := l.queue[1:]; !slices.Equal(queue, want) || got.Waiting != len(want) {
				k.Fatalf("%s is waited for by %d, %q, want %q", name, got.Waiting, queue, want)
			}
		}
	}
	got, err := k.ListLocks(k.ctx, 0, 100)
	if err != nil {
		k.Fatal(err)
	}
	slices.SortFunc(held, func(a, b string) int {
		if c := k.locks[a].holder.Since.Compare(k.locks[b].holder.Since); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	if !slices.Equal(got, held) {
		k.Fatalf("the locks are %q, want %q", got, held)
	}
}

// drain releases everything, in order: nothing is left.
func (k *locksmith) drain() {
	for name, l := range k.locks {
		for len(l.queue) > 0 {
			next, err := k.ReleaseLock(k.ctx, name, l.queue[0], long)
			if err != nil {
				k.Fatal(err)
			}
			l.queue = l.queue[1:]
			k.holds(name, l, next)
		}
	}
	k.look()
}
