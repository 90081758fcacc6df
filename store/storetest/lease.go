package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

var leaseRules = []rule{
	{
		name: "is renewed",
		says: "Renew extends a lease to d from now",
		check: func(e *env) {
			e.start("a")
			o := e.open("a", brief)
			r, err := e.Renew(e.Context(), o.Lease, long, 0)
			e.ok(err)
			e.near("the lease", e.record("a").LeaseUntil, r.Now, long)
			e.Advance(brief)
			e.isHeld("a")
			e.commit(follow(o, "c1"))
		},
	},
	{
		name: "is renewed after its expiry while nobody has opened",
		says: "ErrLeaseLost reports that somebody else has opened the execution since, and nothing less",
		check: func(e *env) {
			e.start("a")
			o := e.open("a", brief)
			e.Advance(brief)
			_, err := e.Renew(e.Context(), o.Lease, long, 0)
			e.ok(err)
			e.isHeld("a")
		},
	},
	{
		name: "is shortened by a renewal",
		says: "Renew's lease is d from now, also where it ended later before",
		check: func(e *env) {
			o := e.held("a")
			_, err := e.Renew(e.Context(), o.Lease, brief, 0)
			e.ok(err)
			e.Advance(brief)
			e.open("a", long)
		},
	},
	{
		name: "that is lost is not renewed",
		says: "Renew answers ErrLeaseLost, and changes nothing",
		check: func(e *env) {
			e.start("a")
			o := e.open("a", brief)
			e.Advance(brief)
			e.open("a", long)
			e.unchanged("a", func() {
				_, err := e.Renew(e.Context(), o.Lease, long, 0)
				e.is(err, store.ErrLeaseLost)
				_, err = e.Renew(e.Context(), store.Lease{ID: "missing", Epoch: 1, Nonce: "n"}, long, 0)
				e.is(err, store.ErrLeaseLost)
			})
		},
	},
	{
		name: "is given back",
		says: "Release gives a lease back; the next wake-up is d from now",
		check: func(e *env) {
			o := e.held("a")
			e.ok(e.Release(e.Context(), o.Lease, 0))
			e.isDue("a")
			x := e.record("a")
			e.same("the lease", x.LeaseUntil, time.Time{})
			_, err := e.Commit(e.Context(), follow(o, "c1"))
			e.is(err, store.ErrLeaseLost)

			o = e.open("a", long)
			e.ok(e.Release(e.Context(), o.Lease, long))
			e.near("the wake-up", e.isWaiting("a"), o.Now, long)
			e.isNotDue("a")
		},
	},
	{
		name: "is given back over unread mail",
		says: "Release's wake-up is d from now even if mail waits, which a call of Open finds",
		check: func(e *env) {
			o := e.held("a")
			e.post("a", "m1")
			e.ok(e.Release(e.Context(), o.Lease, long))
			e.isNotDue("a")
			e.mail("the opening", e.open("a", long).Mailbox, 1, "m1")
		},
	},
	{
		name: "takes its opening back where nothing was committed",
		says: "Release takes the opening back: the epoch is what it was before, and the opening does not count",
		check: func(e *env) {
			e.start("a")
			e.open("a", brief)
			e.Advance(brief)
			for range 3 {
				o := e.open("a", long)
				e.same("epoch and openings", []any{o.Epoch, o.Openings}, []any{int64(2), 2})
				e.ok(e.Release(e.Context(), o.Lease, 0))
				x := e.record("a")
				e.same("epoch and openings of the record", []any{x.Epoch, x.Openings}, []any{int64(1), 1})
			}

			r := started("b")
			r.Nonce, r.Lease = "n", long
			_, err := e.Start(e.Context(), r)
			e.ok(err)
			e.ok(e.Release(e.Context(), store.Lease{ID: "b", Epoch: 1, Nonce: "n"}, 0))
			o := e.open("b", long)
			e.same("epoch and openings of the started one", []any{o.Epoch, o.Openings}, []any{int64(1), 1})
		},
	},
	{
		name: "keeps its opening where something was committed",
		says: "Release takes an opening back only where nothing was committed since",
		check: func(e *env) {
			o := e.held("a")
			e.commit(follow(o, "c1"))
			e.ok(e.Release(e.Context(), o.Lease, 0))
			next := e.open("a", long)
			e.same("epoch and openings", []any{next.Epoch, next.Openings}, []any{o.Epoch + 1, 1})
		},
	},
	{
		name: "of a given epoch is told from another by its nonce",
		says: "the nonce tells two workers apart that believe in the same epoch",
		check: func(e *env) {
			o := e.held("a")
			e.ok(e.Release(e.Context(), o.Lease, 0))
			next := e.open("a", long)
			e.same("the epoch", next.Epoch, o.Epoch)
			e.unchanged("a", func() {
				_, err := e.Commit(e.Context(), follow(o, "c1"))
				e.is(err, store.ErrLeaseLost)
				_, err = e.Renew(e.Context(), o.Lease, brief, 0)
				e.is(err, store.ErrLeaseLost)
				e.ok(e.Release(e.Context(), o.Lease, 0))
			})
		},
	},
	{
		name: "that is lost is given back for nothing",
		says: "to release a lease that was lost is no error, and changes nothing",
		check: func(e *env) {
			o := e.held("a")
			e.commit(park(follow(o, "c1"), o.Now))
			e.unchanged("a", func() {
				e.ok(e.Release(e.Context(), o.Lease, 0))
				e.ok(e.Release(e.Context(), store.Lease{ID: "missing", Epoch: 1, Nonce: "n"}, 0))
			})
			e.isNotDue("a")
		},
	},
	{
		name: "of an ended execution is given back with its outbox",
		says: "while an outbox remains a wake-up remains, even after the end",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Next, c.Outbox = store.End, []byte("send")
			e.commit(c)
			e.ok(e.Release(e.Context(), o.Lease, 0))
			e.isDue("a")
			e.text("the outbox", e.open("a", long).Outbox, "send")
		},
	},
}
