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
// beside a model: one group holds a lock at a time, first come first served, every
// last release grants to the next, fences only grow, and what was released stays
// so. It shrinks a failure to the shortest sequence of calls.
func CheckLocks(t *testing.T, h Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		k := &locksmith{
			T: rt, ctx: t.Context(), Subject: h.New(t), locks: make(map[string]*modelLock),
			released: make(map[use]time.Duration), step: brief,
		}
		if !k.Still {
			k.step = 3 * time.Millisecond // is slept through
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
	step     time.Duration
	awaited  bool // something brief has begun
	serial   int
}

// A use is a request for a resource.
type use struct{ resource, request string }

// A modelLock is a lock as it should be: those who hold it, and those who wait.
type modelLock struct {
	holders, queue []string
	grant          store.LockUse // of the present holders, without a request
	fence          int64         // the last one given
}

// ownerOf and groupOf tell a request's owner and group, which it has for ever.
func ownerOf(request string) string { return "owner of " + request }

func groupOf(request string) string {
	if n := request[len(request)-1]; n < '6' {
		return fmt.Sprintf("group %c", '0'+n%2)
	}
	return ""
}

func (l *modelLock) shares(request string) bool {
	return len(l.holders) > 0 && groupOf(request) != "" && groupOf(request) == groupOf(l.holders[0])
}

func (k *locksmith) with(action func()) func(*rapid.T) {
	return func(rt *rapid.T) {
		k.T = rt
		action()
		// On a clock that runs, what is brief is over before the next call.
		if k.awaited && !k.Still {
			k.pass(k.step)
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
	r.Owner, r.Group = ownerOf(r.Request), groupOf(r.Request)
	late := rapid.IntRange(0, 9).Draw(k.T, "late") == 9
	if late {
		r.NotAfter = time.Unix(1, 0)
	}
	k.repeats(func() {
		got, err := k.AcquireLock(k.ctx, r)
		held, waits := slices.Contains(l.holders, r.Request), slices.Contains(l.queue, r.Request)
		var want error
		switch {
		case held || waits:
		case k.released[use{name, r.Request}] > k.elapsed:
			want = store.ErrReleased
		case late:
			want = store.ErrLate
		}
		if !errors.Is(err, want) || want == nil && err != nil {
			k.Fatalf("acquire %s for %s: %+v, %v, want %v", name, r.Request, got, err, want)
		}
		if err != nil {
			return
		}
		switch {
		case held || waits && !l.shares(r.Request):
		case len(l.holders) == 0 || l.shares(r.Request):
			l.queue = slices.DeleteFunc(l.queue, func(other string) bool { return other == r.Request })
			l.holders = append(l.holders, r.Request)
		default:
			l.queue = append(l.queue, r.Request)
		}
		place := 1 + slices.Index(l.queue, r.Request)
		if got.Place != place || got.Granted() != (place == 0) {
			k.Fatalf("acquire %s for %s: it has place %d, want %d", name, r.Request, got.Place, place)
		}
		if place == 0 {
			k.holds(name, l, r.Request, got.Holder)
		} else {
			k.holds(name, l, l.holders[0], got.Holder)
		}
	})
}

func (k *locksmith) release() {
	name, _ := k.lock()
	k.giveBack(name, k.request())
}

func (k *locksmith) releaseHolder() {
	name, l := k.lock()
	if len(l.holders) == 0 {
		k.Skip("it is free")
	}
	k.giveBack(name, rapid.SampledFrom(l.holders).Draw(k.T, "holder"))
}

func (k *locksmith) giveBack(name, request string) {
	l, u := k.locks[name], use{name, request}
	memory := rapid.SampledFrom([]time.Duration{k.step, long}).Draw(k.T, "memory")
	k.awaited = memory == k.step
	k.repeats(func() {
		next, err := k.ReleaseLock(k.ctx, name, request, memory)
		if err != nil {
			k.Fatalf("release %s of %s: %v", name, request, err)
		}
		l.release(request)
		k.released[u] = k.elapsed + memory
		k.holdsFirst(name, l, next)
	})
}

func (l *modelLock) release(request string) {
	this := func(r string) bool { return r == request }
	l.queue, l.holders = slices.DeleteFunc(l.queue, this), slices.DeleteFunc(l.holders, this)
	if len(l.holders) > 0 {
		return
	}
	l.grant = store.LockUse{}
	if len(l.queue) > 0 {
		l.holders, l.queue = []string{l.queue[0]}, l.queue[1:]
	}
}

// holdsFirst checks the first of the holders, or that there is none.
func (k *locksmith) holdsFirst(name string, l *modelLock, got store.LockUse) {
	switch {
	case len(l.holders) > 0:
		k.holds(name, l, l.holders[0], got)
	case got != store.LockUse{}:
		k.Fatalf("%s is held by %+v, want it free", name, got)
	}
}

// holds checks what an answer tells of a holder.
func (k *locksmith) holds(name string, l *modelLock, request string, got store.LockUse) {
	if l.grant.Fence == 0 { // it is granted just now
		if got.Fence <= l.fence {
			k.Fatalf("%s is granted with fence %d after %d", name, got.Fence, l.fence)
		}
		if k.start.IsZero() {
			k.start = got.Since.Add(-k.elapsed)
		}
		if since := got.Since.Sub(k.start); k.Still && since != k.elapsed {
			k.Fatalf("%s is held since %v, want %v", name, since, k.elapsed)
		}
		l.grant.Fence, l.grant.Since, l.fence = got.Fence, got.Since, got.Fence
	}
	want := l.grant
	want.Owner, want.Request = ownerOf(request), request
	if got != want {
		k.Fatalf("%s is held by %+v, want %+v", name, got, want)
	}
}

func (k *locksmith) advance() {
	d := k.step
	if k.Still {
		d = rapid.SampledFrom([]time.Duration{time.Millisecond, k.step - time.Millisecond, k.step, long}).Draw(k.T, "time")
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
		k.holdsFirst(name, l, got.Holder)
		if len(l.holders) > 0 {
			held = append(held, name)
		}
		if len(got.Sharing) != max(len(l.holders)-1, 0) || len(got.Queue) != len(l.queue) || got.Waiting != len(l.queue) {
			k.Fatalf("%s is shared by %+v and waited for by %d, %+v, want %q and %q", name, got.Sharing, got.Waiting, got.Queue, l.holders, l.queue)
		}
		for i, u := range got.Sharing {
			k.holds(name, l, l.holders[i+1], u)
		}
		for i, u := range got.Queue {
			if u.Request != l.queue[i] || u.Owner != ownerOf(u.Request) || u.Fence != 0 {
				k.Fatalf("%s is waited for by %+v, want %q", name, u, l.queue[i])
			}
		}
	}
	got, err := k.ListLocks(k.ctx, 0, 100)
	if err != nil {
		k.Fatal(err)
	}
	slices.SortFunc(held, func(a, b string) int {
		if c := k.locks[a].grant.Since.Compare(k.locks[b].grant.Since); c != 0 {
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
		for len(l.holders) > 0 {
			first := l.holders[0]
			next, err := k.ReleaseLock(k.ctx, name, first, long)
			if err != nil {
				k.Fatal(err)
			}
			l.release(first)
			k.holdsFirst(name, l, next)
		}
	}
	k.look()
}
