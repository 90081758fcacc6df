package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

// lateRules say what a repeat does that comes when its caller has long had the
// answer to another try, and has gone on.
var lateRules = []rule{
	{
		name: "commits change nothing",
		says: "a Commit, Renew or Release that comes after the caller has gone on changes nothing",
		check: func(e *env) {
			o := e.held("a")
			first := follow(o, "c1")
			e.commit(first)
			e.commit(then(first, "c2"))
			e.unchanged("a", func() {
				_, err := e.Commit(e.Context(), first)
				e.is(err, store.ErrConflict)
			})
			e.commit(park(then(then(first, "c2"), "c3"), o.Now))
			e.unchanged("a", func() {
				_, err := e.Commit(e.Context(), first)
				e.is(err, store.ErrLeaseLost)
				_, err = e.Renew(e.Context(), o.Lease, long, 0)
				e.is(err, store.ErrLeaseLost)
				e.ok(e.Release(e.Context(), o.Lease, 0))
			})
			e.isNotDue("a")
		},
	},
	{
		name: "opening of what is due takes the lease that nobody holds",
		says: "an Open that comes after its lease was given back is another opening where something is due; its lease runs out by itself",
		check: func(e *env) {
			e.start("a")
			r := store.OpenRequest{ID: "a", Nonce: "n", Lease: brief}
			o, err := e.Open(e.Context(), r)
			e.ok(err)
			c := park(follow(o, "c1"), o.Now)
			c.Wake = o.Now
			e.commit(c)
			late, err := e.Open(e.Context(), r)
			e.ok(err)
			e.same("epoch, openings and commit", []any{late.Epoch, late.Openings, late.Commit}, []any{o.Epoch + 1, 1, "c1"})
			e.Advance(brief)
			e.isDue("a")
			next := e.open("a", long)
			e.same("epoch and openings of the next", []any{next.Epoch, next.Openings}, []any{o.Epoch + 2, 2})
		},
	},
	{
		name: "opening of what waits or is held changes nothing",
		says: "an Open that comes after its lease was given back is refused like another where nothing is due or somebody else holds the lease",
		check: func(e *env) {
			e.start("a")
			r := store.OpenRequest{ID: "a", Nonce: "n", Lease: long}
			o, err := e.Open(e.Context(), r)
			e.ok(err)
			e.commit(park(follow(o, "c1"), o.Now))
			e.unchanged("a", func() {
				if o, err := e.Open(e.Context(), r); err == nil {
					e.Fatalf("got %+v, want it refused", o)
				}
			})
			e.post("a", "m1")
			e.open("a", long)
			e.unchanged("a", func() {
				if o, err := e.Open(e.Context(), r); err == nil {
					e.Fatalf("got %+v, want it refused", o)
				}
			})
		},
	},
	{
		name: "delivery changes nothing",
		says: "a Deliver that comes after its lease was given back posts and opens nothing, whatever is due",
		check: func(e *env) {
			e.parked("a")
			o := e.deliver("a", "m1", "n", long).Opening
			c := park(follow(o, "c1"), o.Now)
			c.Wake = o.Now
			e.commit(c)
			e.post("a", "m2")
			e.unchanged("a", func() {
				e.same("the answer", e.deliver("a", "m1", "n", long), store.Delivery{})
			})
			e.isDue("a")
			e.mail("the next opening", e.open("a", long).Mailbox, 2, "m2")
		},
	},
	{
		name: "sweep hides what is due once more",
		says: "a Due that comes late hides what is due, for d",
		check: func(e *env) {
			e.start("a")
			e.due(time.Millisecond)
			e.Advance(time.Millisecond)
			e.due(brief)
			e.isNotHeld("a")
			e.Advance(brief)
			e.isDue("a")
		},
	},
	{
		name: "claim of a key that was given back blocks it for a lease",
		says: "a Claim that comes after Forget holds the key until its lease runs out",
		check: func(e *env) {
			claim := func(token string, lease time.Duration) error {
				_, _, err := e.claim("k", token, lease)
				return err
			}
			e.ok(claim("t1", long))
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.ok(claim("t1", long))
			e.is(claim("t2", long), store.ErrBusy)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.ok(claim("t1", brief))
			e.Advance(brief)
			e.ok(claim("t2", long))
			e.is(claim("t1", long), store.ErrBusy)
			e.ok(e.complete("k", "t2", []byte("done"), long))
			result, done, err := e.claim("k", "t1", long)
			e.ok(err)
			e.same("done", done, true)
			e.text("the result", result, "done")
		},
	},
	{
		name: "completion stores its result anew",
		says: "a Complete that comes after its retention stores the result for the retention, unless another has the key",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.complete("k", "t1", []byte("done"), brief))
			e.Advance(brief)
			e.ok(e.complete("k", "t1", []byte("done"), brief))
			e.Advance(brief)
			e.claimed("k", "t2")
			e.is(e.complete("k", "t1", []byte("done"), brief), store.ErrLeaseLost)
			e.ok(e.complete("k", "t2", []byte("second"), long))
		},
	},
	{
		name: "lock is not taken after its release",
		says: "an AcquireLock that comes after its request was released is refused: while it is remembered as released, and after that by its NotAfter; a late ReleaseLock takes the lock from nobody",
		check: func(e *env) {
			e.granted("l", "a", "r1")
			e.released("l", "r1")
			_, err := e.AcquireLock(e.Context(), wants("l", "a", "r1"))
			e.is(err, store.ErrReleased)
			u := e.granted("l", "b", "r2")
			_, err = e.AcquireLock(e.Context(), wants("l", "a", "r1"))
			e.is(err, store.ErrReleased)
			e.same("the holder", e.released("l", "r1"), u)
			e.released("l", "r2")

			r := wants("l", "a", "r3")
			r.NotAfter = u.Since.Add(brief)
			if _, err = e.AcquireLock(e.Context(), r); err != nil {
				e.is(err, store.ErrLate) // on a clock that runs
			}
			_, err = e.ReleaseLock(e.Context(), "l", "r3", 2*brief)
			e.ok(err)
			e.Advance(2 * brief)
			_, err = e.AcquireLock(e.Context(), r)
			e.is(err, store.ErrLate)
			e.same("the lock", e.lock("l"), store.LockState{Resource: "l"})
		},
	},
	{
		name: "heartbeat brings a worker back that has left",
		says: "a Heartbeat that comes after Leave has the worker live for d; a Leave that comes after a Heartbeat takes it off until the next",
		check: func(e *env) {
			beat := func(worker string, d time.Duration, want ...string) {
				e.Helper()
				got, err := e.Heartbeat(e.Context(), worker, d)
				e.ok(err)
				e.same("the workers", got, want)
			}
			beat("a", long, "a")
			e.ok(e.Leave(e.Context(), "a"))
			beat("a", long, "a")
			beat("b", long, "a", "b")
			e.ok(e.Leave(e.Context(), "a"))
			beat("a", brief, "a", "b")
			e.Advance(brief)
			beat("b", long, "b")

			beat("a", long, "a", "b")
			e.ok(e.Leave(e.Context(), "a"))
			beat("b", long, "b")
			beat("a", long, "a", "b")
		},
	},
	{
		name: "start begins anew only when the tombstone is gone",
		says: "a Start that comes after the execution was purged answers ErrGone for as long as its tombstone stands, and starts it again after that",
		check: func(e *env) {
			e.ended("a", time.Millisecond)
			e.Advance(time.Millisecond)
			purged, err := e.Purge(e.Context(), "a", brief)
			e.ok(err)
			e.same("purged", purged, true)
			e.Advance(brief)
			got, err := e.Start(e.Context(), started("a"))
			e.ok(err)
			e.same("created", got.Created, true)

			e.ended("b", time.Millisecond)
			e.Advance(time.Millisecond)
			_, err = e.Purge(e.Context(), "b", long)
			e.ok(err)
			_, err = e.Start(e.Context(), started("b"))
			e.is(err, store.ErrGone)
		},
	},
}

// isNotHeld checks that nobody holds the lease on an execution.
func (e *env) isNotHeld(id string) {
	e.Helper()
	e.same("the lease on "+id, e.record(id).LeaseUntil, time.Time{})
}
