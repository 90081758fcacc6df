package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

var openRules = []rule{
	{
		name: "hands the execution over",
		says: "Open takes the lease, and an Opening is the execution as its new holder finds it",
		check: func(e *env) {
			r := started("a")
			got, err := e.Start(e.Context(), r)
			e.ok(err)
			e.post("a", "m1")
			e.post("a", "m2")
			o, err := e.Open(e.Context(), store.OpenRequest{ID: "a", Nonce: "n", Lease: long})
			e.ok(err)
			e.same("the opening", o, &store.Opening{
				Lease: store.Lease{ID: "a", Epoch: 1, Nonce: "n"}, Now: o.Now, Started: got.Now, Commit: "c0", Openings: 1,
				Status: "running", Match: "fare@1 abc", Index: "fare running", Meta: []byte("meta"), Root: []byte("root 0"),
				Mailbox: store.Mailbox{Mail: [][]byte{[]byte("m1"), []byte("m2")}, Read: 2},
			})
			x := e.record("a")
			e.near("the lease", x.LeaseUntil, o.Now, long)
			e.same("epoch, wake-up and unread mail", []any{x.Epoch, x.Wake, x.Unread}, []any{int64(1), time.Time{}, int64(2)})
		},
	},
	{
		name: "hands over what the last commit left",
		says: "an Opening is the execution as its new holder finds it",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			o := e.open("a", long)
			c := follow(o, "c1")
			c.Status, c.Index, c.OldIndex, c.Outbox = "compensating", "fare failing", "fare running", []byte("send")
			c.Next, c.Wake = store.Park, o.Now
			e.commit(c)
			o = e.open("a", long)
			e.same("epoch, commit, status and index",
				[]any{o.Epoch, o.Commit, o.Status, o.Index}, []any{int64(2), "c1", "compensating", "fare failing"})
			e.text("the root", o.Root, "root c1")
			e.text("the outbox", o.Outbox, "send")
			e.mail("the opening", o.Mailbox, 1)
		},
	},
	{
		name: "of a missing execution",
		says: "Open answers ErrNotFound",
		check: func(e *env) {
			e.is(e.refused("a"), store.ErrNotFound)
		},
	},
	{
		name: "is refused while somebody holds it",
		says: "Open answers HeldError with the lease's expiry",
		check: func(e *env) {
			o := e.held("a")
			e.unchanged("a", func() { e.near("the expiry", e.isHeld("a"), o.Now, long) })
			e.post("a", "m1")
			e.isHeld("a")
		},
	},
	{
		name: "takes over when the lease expires",
		says: "Open takes the lease on an execution whose lease expired",
		check: func(e *env) {
			e.start("a")
			first := e.open("a", brief)
			e.Advance(brief)
			e.isDue("a")
			second := e.open("a", long)
			e.same("the epoch", second.Epoch, first.Epoch+1)
			_, err := e.Commit(e.Context(), follow(first, "c1"))
			e.is(err, store.ErrLeaseLost)
			e.commit(follow(second, "c1'"))
		},
	},
	{
		name: "waits for the wake-up",
		says: "Open answers NotDueError with the wake-up while neither mail nor a deadline has come",
		check: func(e *env) {
			e.start("a")
			o := e.open("a", long)
			e.commit(park(follow(o, "c1"), o.Now))
			e.unchanged("a", func() { e.near("the wake-up", e.isWaiting("a"), o.Now, long) })
			e.isNotDue("a")
		},
	},
	{
		name: "opens at the wake-up",
		says: "Open takes the lease on an execution whose wake-up is due",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Next, c.Wake = store.Park, o.Now.Add(brief)
			e.commit(c)
			e.Advance(brief)
			e.isDue("a")
			if got := e.open("a", long); got.Now.Before(c.Wake) {
				e.Fatalf("opened at %v, before the wake-up at %v", got.Now, c.Wake)
			}
		},
	},
	{
		name: "opens for mail",
		says: "Open takes the lease on an execution that has mail",
		check: func(e *env) {
			e.parked("a")
			e.isWaiting("a")
			e.post("a", "m1")
			e.mail("the opening", e.open("a", long).Mailbox, 1, "m1")
		},
	},
	{
		name: "after the end",
		says: "Open answers ErrEnded",
		check: func(e *env) {
			e.ended("a", long)
			e.unchanged("a", func() { e.is(e.refused("a"), store.ErrEnded) })
			e.isNotDue("a")
			e.ended("b", brief)
			e.Advance(brief)
			e.is(e.refused("b"), store.ErrEnded)
			e.isDue("b")
		},
	},
	{
		name: "after the end while an outbox remains",
		says: "an ended execution whose outbox is left to be sent can be opened",
		check: func(e *env) {
			e.start("a")
			o := e.open("a", brief)
			c := follow(o, "c1")
			c.Next, c.Wake, c.Outbox = store.End, o.Now.Add(long), []byte("send")
			e.commit(c)
			held := follow(e.held("b"), "c1")
			held.Next, held.Wake, held.Outbox = store.End, c.Wake, []byte("send")
			e.commit(held)
			e.isHeld("b")
			e.Advance(brief)
			e.isDue("a")
			o = e.open("a", long)
			e.same("ended", o.Ended, true)
			e.text("the outbox", o.Outbox, "send")
			c = follow(o, "c2")
			c.Next, c.Wake = store.End, o.Now.Add(long)
			e.commit(c)
			e.is(e.refused("a"), store.ErrEnded)
		},
	},
	{
		name: "again answers alike",
		says: "a write may be called again when its answer was lost; mail that came meanwhile comes with it",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			r := store.OpenRequest{ID: "a", Nonce: "n", Lease: long}
			first, err := e.Open(e.Context(), r)
			e.ok(err)
			e.unchanged("a", func() {
				second, err := e.Open(e.Context(), r)
				e.ok(err)
				first.Now = second.Now
				e.same("the second answer", second, first)
			})
			e.post("a", "m2")
			third, err := e.Open(e.Context(), r)
			e.ok(err)
			e.mail("the third answer", third.Mailbox, 2, "m1", "m2")
			e.same("epoch and openings", []any{third.Epoch, third.Openings}, []any{int64(1), 1})
		},
	},
	{
		name: "counts openings since the last commit",
		says: "Openings is how many openings in a row, this one included, followed the last commit",
		check: func(e *env) {
			r := started("a")
			r.Nonce, r.Lease = "n", brief
			_, err := e.Start(e.Context(), r)
			e.ok(err)
			for want := 2; want <= 4; want++ {
				e.Advance(brief)
				o := e.open("a", brief)
				e.same("openings", o.Openings, want)
				e.same("openings of the record", e.record("a").Openings, want)
			}
			e.Advance(brief)
			o := e.open("a", brief)
			e.commit(follow(o, "c1"))
			e.same("openings of the record after a commit", e.record("a").Openings, 0)
			e.Advance(brief)
			e.same("openings after a commit", e.open("a", long).Openings, 1)
		},
	},
}
