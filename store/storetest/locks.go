package storetest

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var lockRules = []rule{
	{
		name: "are taken when they are free",
		says: "AcquireLock takes a lock that is free",
		check: func(e *env) {
			for _, resource := range []string{"account/7", "account/8"} {
				e.same("the lock at first", e.lock(resource), store.LockState{Resource: resource})
				u := e.granted(resource, "a", "r1")
				if u.Owner != "a" || u.Request != "r1" || u.Fence <= 0 || u.Since.IsZero() {
					e.Fatalf("the grant of %q is %+v", resource, u)
				}
				e.same("the lock", e.lock(resource), store.LockState{Resource: resource, Holder: u})
			}
		},
	},
	{
		name: "are granted first come, first served",
		says: "those who wait get the lock in the order of their first AcquireLock",
		check: func(e *env) {
			e.granted("l", "a", "r1")
			names := []string{"z", "m", "b", "y"}
			for i, name := range names {
				e.waits("l", name, "of "+name, i+1, "r1")
			}
			for i, name := range names { // asking again does not push
				e.waits("l", name, "of "+name, i+1, "r1")
			}
			last := "r1"
			for i, name := range names {
				next := e.released("l", last)
				e.same("the next", []string{next.Owner, next.Request}, []string{name, "of " + name})
				last = next.Request
				for j, later := range names[i+1:] {
					e.waits("l", later, "of "+later, j+1, last)
				}
			}
			e.same("the last one's release", e.released("l", last), store.LockUse{})
		},
	},
	{
		name: "know a request again",
		says: "the same request again changes nothing, and answers how it stands by now",
		check: func(e *env) {
			u := e.granted("l", "a", "r1")
			e.waits("l", "b", "r2", 1, "r1")
			before := e.lock("l")
			for range 2 {
				e.same("the grant again", e.granted("l", "a", "r1"), u)
				e.waits("l", "b", "r2", 1, "r1")
			}
			e.same("the lock", e.lock("l"), before)
			next := e.released("l", "r1")
			e.same("the grant, asked for", e.granted("l", "b", "r2"), next)
		},
	},
	{
		name: "are shared within a group",
		says: "while a request of a group holds the lock, another gets it at once, also one that waits, under the same fence; the lock goes to the next when all are released",
		check: func(e *env) {
			ours := func(owner, request string) store.LockAnswer {
				e.Helper()
				r := wants("l", owner, request)
				r.Group = "a family"
				got, err := e.AcquireLock(e.Context(), r)
				e.ok(err)
				return got
			}
			e.granted("l", "x", "r0")
			e.same("places", []int{ours("a", "r1").Place, ours("b", "r2").Place}, []int{1, 2})
			e.waits("l", "y", "r3", 3, "r0")
			first := e.released("l", "r0")
			e.same("the next", []string{first.Owner, first.Request}, []string{"a", "r1"})
			share := func(owner, request string) store.LockUse {
				return store.LockUse{Owner: owner, Request: request, Fence: first.Fence, Since: first.Since}
			}
			late := wants("l", "b", "r2") // which it is not: it has a place in the queue
			late.Group, late.NotAfter = "a family", first.Since.Add(-time.Hour)
			got, err := e.AcquireLock(e.Context(), late)
			e.ok(err)
			e.same("of one who waits", got, store.LockAnswer{Holder: share("b", "r2")})
			for range 2 {
				e.same("of one who waited", ours("b", "r2"), store.LockAnswer{Holder: share("b", "r2")})
				e.same("of one who comes", ours("a", "r4"), store.LockAnswer{Holder: share("a", "r4")})
			}
			e.same("the lock", e.shown("l"), "r1 r2 r4 | r3")
			e.same("who shares it", e.lock("l").Sharing, []store.LockUse{share("b", "r2"), share("a", "r4")})
			e.waits("l", "a", "r5", 2, "r1") // of another group

			e.same("the holder", e.released("l", "r2"), first)
			e.same("the lock", e.shown("l"), "r1 r4 | r3 r5")
			heir := e.released("l", "r1")
			e.same("the holder", heir, share("a", "r4"))
			e.same("a repeat", e.released("l", "r1"), heir)
			for _, r := range []string{"r1", "r2"} {
				late := wants("l", "a", r)
				late.Group = "a family"
				_, err := e.AcquireLock(e.Context(), late)
				e.is(err, store.ErrReleased)
			}
			e.same("the lock", e.shown("l"), "r4 | r3 r5")
			next := e.released("l", "r4")
			if next.Request != "r3" || next.Fence <= first.Fence {
				e.Fatalf("the next is %+v after %+v", next, first)
			}
			e.same("the lock", e.shown("l"), "r3 | r5")
			e.same("who waits", e.released("l", "r3").Request, "r5")
			e.released("l", "r5")
			e.same("the lock", e.lock("l"), store.LockState{Resource: "l"})
			e.same("of a group that is gone", ours("a", "r6").Granted(), true)
			e.waits("l", "y", "r7", 1, "r6")
		},
	},
	{
		name: "are shared by requests that come in time",
		says: "a request that comes late does not share the lock either",
		check: func(e *env) {
			u := e.granted("l", "a", "r1")
			r := wants("l", "a", "r2")
			r.NotAfter = u.Since.Add(-time.Millisecond)
			_, err := e.AcquireLock(e.Context(), r)
			e.is(err, store.ErrLate)
			e.same("the lock", e.shown("l"), "r1 | ")
		},
	},
	{
		name: "have fences that grow",
		says: "each grant gives a fence that is higher than those of all grants of that resource before, whatever was released, deleted or expired meanwhile",
		check: func(e *env) {
			var last int64
			fence := func(u store.LockUse) {
				e.Helper()
				if u.Fence <= last {
					e.Fatalf("fence %d of %s comes after %d", u.Fence, u.Request, last)
				}
				last = u.Fence
			}
			for i := range 5 {
				first, second := fmt.Sprintf("r%d", i), fmt.Sprintf("s%d", i)
				fence(e.granted("l", "a", first))
				e.waits("l", "b", second, 1, first)
				fence(e.released("l", first))
				_, err := e.ReleaseLock(e.Context(), "l", second, time.Millisecond)
				e.ok(err)
				if i == 3 {
					e.Advance(brief)
				}
			}
		},
	},
	{
		name: "are released once",
		says: "a repeat of ReleaseLock answers who holds the lock now, and takes it from nobody",
		check: func(e *env) {
			e.granted("l", "a", "r1")
			e.waits("l", "b", "r2", 1, "r1")
			next := e.released("l", "r1")
			e.same("the next", next.Request, "r2")
			e.same("a repeat", e.released("l", "r1"), next)
			e.same("the release", e.released("l", "r2"), store.LockUse{})
			e.same("a repeat", e.released("l", "r2"), store.LockUse{})
			e.same("a repeat", e.released("l", "r1"), store.LockUse{})
			u := e.granted("l", "c", "r3")
			e.same("a repeat", e.released("l", "r1"), u)
			e.same("the lock", e.lock("l").Holder, u)
		},
	},
	{
		name: "are no longer waited for by those who leave",
		says: "ReleaseLock gives back a place in the queue",
		check: func(e *env) {
			u := e.granted("l", "a", "r1")
			for i, r := range []string{"r2", "r3", "r4"} {
				e.waits("l", r, r, i+1, "r1")
			}
			e.same("the holder", e.released("l", "r3"), u)
			e.waits("l", "r4", "r4", 2, "r1")
			e.same("the holder", e.released("l", "r2"), u)
			e.same("the next", e.released("l", "r1").Request, "r4")
			e.same("the last", e.released("l", "r4"), store.LockUse{})
		},
	},
	{
		name: "are not taken by a request that was released",
		says: "an AcquireLock of a request that was released is ErrReleased for as long as it is remembered, also where it was never made before",
		check: func(e *env) {
			e.released("l", "r0")
			_, err := e.AcquireLock(e.Context(), wants("l", "a", "r0"))
			e.is(err, store.ErrReleased)
			e.granted("l", "a", "r1")
			e.waits("l", "b", "r2", 1, "r1")
			e.released("l", "r2")
			e.released("l", "r1")
			for _, r := range []string{"r0", "r1", "r2"} {
				_, err := e.AcquireLock(e.Context(), wants("l", "a", r))
				e.is(err, store.ErrReleased)
			}
			e.same("the lock", e.lock("l"), store.LockState{Resource: "l"})
			e.granted("l", "a", "r3")
			_, err = e.AcquireLock(e.Context(), wants("l", "a", "r1"))
			e.is(err, store.ErrReleased)
			e.same("those who wait", e.lock("l").Waiting, 0)
		},
	},
	{
		name: "remember a request for as long as they are told",
		says: "ReleaseLock remembers the request for the given time, and a repeat for as long again; other releases do not shorten it",
		check: func(e *env) {
			release := func(request string, d time.Duration) {
				e.Helper()
				_, err := e.ReleaseLock(e.Context(), "l", request, d)
				e.ok(err)
			}
			release("long", long)
			release("brief", brief)
			release("brief, and long", brief)
			release("brief, and long", long)
			e.Advance(brief)
			for _, r := range []string{"long", "brief, and long"} {
				_, err := e.AcquireLock(e.Context(), wants("l", "a", r))
				e.is(err, store.ErrReleased)
			}
			e.granted("l", "a", "brief")
		},
	},
	{
		name: "are not taken by a request that comes late",
		says: "an AcquireLock that comes after its NotAfter is ErrLate, unless it is in the queue or holds the lock",
		check: func(e *env) {
			now := e.granted("other", "a", "r0").Since
			r := wants("l", "a", "r1")
			r.NotAfter = now.Add(-time.Millisecond)
			_, err := e.AcquireLock(e.Context(), r)
			e.is(err, store.ErrLate)
			e.same("the lock", e.lock("l"), store.LockState{Resource: "l"})
			u := e.granted("l", "a", "r2")
			_, err = e.AcquireLock(e.Context(), r)
			e.is(err, store.ErrLate)
			e.same("the lock", e.lock("l"), store.LockState{Resource: "l", Holder: u})

			e.waits("l", "b", "r3", 1, "r2")
			if e.Still { // to the millisecond
				just := wants("third", "a", "r1")
				just.NotAfter = now
				_, err := e.AcquireLock(e.Context(), just)
				e.ok(err)
			}
			late := wants("l", "b", "r3")
			late.NotAfter = r.NotAfter
			got, err := e.AcquireLock(e.Context(), late)
			e.ok(err)
			e.same("the place", got.Place, 1)
			e.released("l", "r2")
			got, err = e.AcquireLock(e.Context(), late)
			e.ok(err)
			e.same("granted", got.Granted(), true)
		},
	},
	{
		name: "tell since when",
		says: "a LockUse tells when it was granted, or came into the queue",
		check: func(e *env) {
			first := e.granted("l", "a", "r1")
			e.Advance(brief)
			e.waits("l", "b", "r2", 1, "r1")
			waiting := e.lock("l").Queue[0]
			if d := waiting.Since.Sub(first.Since); d < brief {
				e.Fatalf("the second has waited since %v after the first had it, want %v or more", d, brief)
			}
			e.Advance(brief)
			e.waits("l", "b", "r2", 1, "r1")
			e.same("who waits", e.lock("l").Queue[0], waiting)
			next := e.released("l", "r1")
			if d := next.Since.Sub(waiting.Since); d < brief {
				e.Fatalf("the second has had it since %v after it asked, want %v or more", d, brief)
			}
		},
	},
	{
		name: "are shown with those who wait",
		says: "InspectLock returns a lock with the first of those who wait for it, up to the given number, and how many there are",
		check: func(e *env) {
			u := e.granted("l", "the holder", "r0")
			names := []string{"b 1", "a", "c\x00", "é"}
			for i, name := range names {
				e.waits("l", name, "of "+name, i+1, "r0")
			}
			for _, most := range []int{-1, 0, 1, 3, 4, 100} {
				got, err := e.InspectLock(e.Context(), "l", most)
				e.ok(err)
				e.same("the holder and the waiting", []any{got.Resource, got.Holder, got.Waiting}, []any{"l", u, len(names)})
				e.same("the queue", len(got.Queue), min(max(most, 0), len(names)))
				for i, w := range got.Queue {
					e.same("who waits", []any{w.Owner, w.Request, w.Fence, w.Since.IsZero()}, []any{names[i], "of " + names[i], int64(0), false})
				}
			}
		},
	},
	{
		name: "are listed while they are held",
		says: "ListLocks returns the resources that are locked, those first whose holders have had them for longest, from an offset on",
		check: func(e *env) {
			list := func(offset, limit int, want ...string) {
				e.Helper()
				got, err := e.ListLocks(e.Context(), offset, limit)
				e.ok(err)
				if strings.Join(got, " ") != strings.Join(want, " ") {
					e.Fatalf("the locks are %q, want %q", got, want)
				}
			}
			list(0, 10)
			for i, l := range []string{"c", "a", "d", "b"} {
				e.granted(l, "x", fmt.Sprintf("r%d", i))
				e.Advance(brief)
			}
			list(0, 10, "c", "a", "d", "b")
			list(1, 2, "a", "d")
			list(3, 10, "b")
			list(1, math.MaxInt, "a", "d", "b") // all that follow
			list(4, 10)
			list(0, 0)
			list(-1, 10)
			e.waits("c", "y", "r5", 1, "r0")
			list(0, 10, "c", "a", "d", "b")
			e.released("c", "r0")
			list(0, 10, "a", "d", "b", "c")
			e.released("d", "r2")
			list(0, 10, "a", "b", "c")
			e.released("c", "r5")
			list(0, 10, "a", "b")
		},
	},
	{
		name: "have one holder",
		says: "of those who ask at once one gets the lock, and the others wait in one order; each of them gets it once",
		check: func(e *env) {
			type answer struct {
				store.LockAnswer
				err error
			}
			places := make(map[int]bool)
			for _, a := range race(func(i int) answer {
				r := fmt.Sprintf("r%d", i)
				got, err := e.AcquireLock(e.Context(), wants("l", r, r))
				return answer{got, err}
			}) {
				e.ok(a.err)
				places[a.Place] = true
			}
			e.same("places", len(places), racers)
			state, err := e.InspectLock(e.Context(), "l", racers)
			e.ok(err)
			holder := state.Holder
			for _, w := range state.Queue {
				for _, err := range race(func(int) error {
					next, err := e.ReleaseLock(e.Context(), "l", holder.Request, long)
					if err == nil && next.Request != w.Request {
						err = fmt.Errorf("%s has it, want %s", next.Request, w.Request)
					}
					return err
				}) {
					e.ok(err)
				}
				holder = e.lock("l").Holder
			}
			e.released("l", holder.Request)
			e.same("the lock", e.lock("l"), store.LockState{Resource: "l"})
		},
	},
}

// wants asks for a lock, for long.
func wants(resource, owner, request string) store.LockRequest {
	return store.LockRequest{Resource: resource, Owner: owner, Request: request, NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// granted takes a lock, which must be free or the request's.
func (e *env) granted(resource, owner, request string) store.LockUse {
	e.Helper()
	got, err := e.AcquireLock(e.Context(), wants(resource, owner, request))
	e.ok(err)
	if !got.Granted() || got.Holder.Request != request || got.Holder.Owner != owner {
		e.Fatalf("lock %q for %s: got %+v, want it granted", resource, request, got)
	}
	return got.Holder
}

// waits asks for a lock that another request holds.
func (e *env) waits(resource, owner, request string, place int, holder string) {
	e.Helper()
	got, err := e.AcquireLock(e.Context(), wants(resource, owner, request))
	e.ok(err)
	if got.Granted() || got.Place != place || got.Holder.Request != holder {
		e.Fatalf("lock %q for %s: got %+v, want place %d after %s", resource, request, got, place, holder)
	}
}

// released gives a lock back, and returns who has it then.
func (e *env) released(resource, request string) store.LockUse {
	e.Helper()
	next, err := e.ReleaseLock(e.Context(), resource, request, long)
	e.ok(err)
	return next
}

// shown reads the requests that hold a lock, and those that wait for it.
func (e *env) shown(resource string) string {
	e.Helper()
	l, err := e.InspectLock(e.Context(), resource, 100)
	e.ok(err)
	var held, waits []string
	for _, u := range append([]store.LockUse{l.Holder}, l.Sharing...) {
		held = append(held, u.Request)
	}
	for _, u := range l.Queue {
		waits = append(waits, u.Request)
	}
	return strings.Join(held, " ") + " | " + strings.Join(waits, " ")
}

// lock reads a lock and the first two who wait for it.
func (e *env) lock(resource string) store.LockState {
	e.Helper()
	l, err := e.InspectLock(e.Context(), resource, 2)
	e.ok(err)
	return l
}
