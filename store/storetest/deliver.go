package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

var deliverRules = []rule{
	{
		name: "opens what nobody holds",
		says: "Deliver posts the mail and takes the lease; the Opening is the execution as its new holder finds it",
		check: func(e *env) {
			r := started("a")
			r.Wake = long
			start, err := e.Start(e.Context(), r)
			e.ok(err)
			e.post("a", "m1")
			got := e.deliver("a", "m2", "n", long)
			o := got.Opening
			if o == nil {
				e.Fatal("it opened nothing")
			}
			e.same("the answer", got, store.Delivery{Posted: true, Opening: &store.Opening{
				Lease: store.Lease{ID: "a", Epoch: 1, Nonce: "n"}, Now: o.Now, Started: start.Now, Commit: "c0", Openings: 1,
				Status: "running", Match: "fare@1 abc", Index: "fare running", Meta: []byte("meta"), Root: []byte("root 0"),
				Mailbox: store.Mailbox{Mail: [][]byte{[]byte("m1"), []byte("m2")}, Read: 2},
			}})
			x := e.record("a")
			e.near("the lease", x.LeaseUntil, o.Now, long)
			e.same("epoch, wake-up, openings and unread mail",
				[]any{x.Epoch, x.Wake, x.Openings, x.Unread}, []any{int64(1), time.Time{}, 1, int64(2)})
			e.isHeld("a")
			e.isNotDue("a")
			e.commit(park(follow(o, "c1"), o.Now))
		},
	},
	{
		name: "opens what was hidden and what is due",
		says: "Deliver opens where nobody holds the execution, whenever its wake-up is",
		check: func(e *env) {
			e.start("a")
			e.mail("the opening of what is due", e.deliver("a", "m1", "n", long).Opening.Mailbox, 1, "m1")
			e.start("b")
			e.same("due", e.due(long), []string{"b"})
			e.mail("the opening of what is hidden", e.deliver("b", "m1", "n", long).Opening.Mailbox, 1, "m1")
			e.isNotDue("b")
		},
	},
	{
		name: "hands over what the last commit left",
		says: "the Opening is the execution as its new holder finds it",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			o := e.open("a", long)
			c := park(follow(o, "c1"), o.Now)
			c.Status, c.Index, c.OldIndex, c.Outbox = "compensating", "fare failing", "fare running", []byte("send")
			e.commit(c)
			o = e.deliver("a", "m2", "n", long).Opening
			e.same("epoch, commit, status and index",
				[]any{o.Epoch, o.Commit, o.Status, o.Index}, []any{int64(2), "c1", "compensating", "fare failing"})
			e.text("the root", o.Root, "root c1")
			e.text("the outbox", o.Outbox, "send")
			e.mail("the opening", o.Mailbox, 2, "m2")
		},
	},
	{
		name: "is Post while somebody holds the execution",
		says: "where somebody holds the execution Deliver is Post: its wake-up is at most the lease's expiry, and commits hand the mail over",
		check: func(e *env) {
			o := e.held("a")
			e.same("the answer", e.deliver("a", "m1", "n", long), store.Delivery{Posted: true})
			e.same("the epoch", e.record("a").Epoch, o.Epoch)
			e.isNotDue("a")
			e.mail("a commit", e.commit(follow(o, "c1")).Mailbox, 1, "m1")

			e.start("b")
			e.open("b", brief)
			if e.deliver("b", "m1", "n", long).Opening == nil { // else the lease was over before
				e.Advance(brief)
				e.isDue("b")
			}
		},
	},
	{
		name: "is Post also for who holds the execution",
		says: "Deliver opens where nobody holds the execution, and so not again under the nonce that does",
		check: func(e *env) {
			e.parked("a")
			o := e.deliver("a", "m1", "n", long).Opening
			e.same("the answer", e.deliver("a", "m2", "n", long), store.Delivery{Posted: true})
			r, err := e.Renew(e.Context(), o.Lease, long, o.Read)
			e.ok(err)
			e.mail("the renewal", r.Mailbox, 2, "m2")
		},
	},
	{
		name: "takes over when the lease expires",
		says: "nobody holds an execution whose lease expired",
		check: func(e *env) {
			e.start("a")
			first := e.open("a", brief)
			e.Advance(brief)
			second := e.deliver("a", "m1", "n", long).Opening
			e.same("epoch and openings", []any{second.Epoch, second.Openings}, []any{first.Epoch + 1, 2})
			_, err := e.Commit(e.Context(), follow(first, "c1"))
			e.is(err, store.ErrLeaseLost)
			e.commit(follow(second, "c1'"))
		},
	},
	{
		name: "is an opening like another",
		says: "a delivery that opens counts as an opening, and Release takes it back",
		check: func(e *env) {
			e.parked("a")
			o := e.deliver("a", "m1", "n1", long).Opening
			e.ok(e.Release(e.Context(), o.Lease, 0))
			o = e.deliver("a", "m2", "n2", brief).Opening
			e.same("epoch and openings", []any{o.Epoch, o.Openings}, []any{int64(1), 1})
			e.mail("the opening", o.Mailbox, 2, "m1", "m2")
			e.Advance(brief)
			e.isDue("a")
			e.same("openings", e.open("a", long).Openings, 2)
		},
	},
	{
		name: "again finds its opening",
		says: "the same mail under the same nonce again answers alike; mail that came meanwhile comes with it",
		check: func(e *env) {
			e.parked("a")
			first := e.deliver("a", "m1", "n", long)
			e.unchanged("a", func() {
				second := e.deliver("a", "m1", "n", long)
				first.Opening.Now = second.Opening.Now
				e.same("the second answer", second, first)
			})
			full := letter("a", "m1")
			full.Limit = 1
			_, err := e.Deliver(e.Context(), full, store.OpenRequest{ID: "a", Nonce: "n", Lease: long})
			e.ok(err)
			e.post("a", "m2")
			e.mail("the third answer", e.deliver("a", "m1", "n", long).Opening.Mailbox, 2, "m1", "m2")
			e.same("the epoch", e.record("a").Epoch, int64(1))
		},
	},
	{
		name: "again after the lease was lost",
		says: "the same mail under the same nonce finds the Opening while that nonce holds the lease",
		check: func(e *env) {
			e.parked("a")
			e.deliver("a", "m1", "n", brief)
			e.Advance(brief)
			e.open("a", long)
			e.unchanged("a", func() {
				e.same("the answer", e.deliver("a", "m1", "n", long), store.Delivery{})
			})
		},
	},
	{
		name: "of mail that came before opens nothing",
		says: "a repeat of mail posts and opens nothing, whether the mail was absorbed or waits: the wake-up of the first is still there",
		check: func(e *env) {
			e.parked("a")
			e.post("a", "m1")
			e.unchanged("a", func() {
				e.same("the answer", e.deliver("a", "m1", "n", long), store.Delivery{})
			})
			e.isDue("a")
			o := e.open("a", long)
			e.unchanged("a", func() {
				e.same("the answer while it is held", e.deliver("a", "m1", "n", long), store.Delivery{})
			})
			e.commit(park(follow(o, "c1"), o.Now))
			e.unchanged("a", func() {
				e.same("the answer after it was absorbed", e.deliver("a", "m1", "n", long), store.Delivery{})
			})
			e.isNotDue("a")
			// Nor does it where the lease expired.
			e.post("a", "m2")
			e.open("a", brief)
			e.Advance(brief)
			e.unchanged("a", func() {
				e.same("the answer after the lease", e.deliver("a", "m2", "n", long), store.Delivery{})
			})
			e.isDue("a")
		},
	},
	{
		name: "that is refused opens nothing",
		says: "Deliver answers ErrNotFound, ErrGone, ErrEnded and ErrMailboxFull as Post does, and changes nothing",
		check: func(e *env) {
			refused := func(id string, want error) {
				e.Helper()
				r := letter(id, "m9")
				r.Limit = 2
				got, err := e.Deliver(e.Context(), r, store.OpenRequest{ID: id, Nonce: "n", Lease: long})
				e.is(err, want)
				e.same("the answer", got, store.Delivery{})
			}
			refused("missing", store.ErrNotFound)

			e.ended("gone", time.Millisecond)
			e.Advance(time.Millisecond)
			_, err := e.Purge(e.Context(), "gone", long)
			e.ok(err)
			refused("gone", store.ErrGone)

			e.ended("ended", long)
			e.unchanged("ended", func() { refused("ended", store.ErrEnded) })

			e.start("sends")
			o := e.open("sends", brief)
			c := follow(o, "c1")
			c.Next, c.Outbox = store.End, []byte("send")
			e.commit(c)
			e.Advance(brief)
			e.unchanged("sends", func() { refused("sends", store.ErrEnded) })

			e.parked("full")
			e.post("full", "m1")
			e.post("full", "m2")
			e.unchanged("full", func() { refused("full", store.ErrMailboxFull) })
			e.mail("an opening of what is full", e.open("full", long).Mailbox, 2, "m1", "m2")
		},
	},
	{
		name: "copies bytes",
		says: "callers may reuse the bytes that they passed, and change those that they got",
		check: func(e *env) {
			e.parked("a")
			r := letter("a", "m1")
			got, err := e.Deliver(e.Context(), r, store.OpenRequest{ID: "a", Nonce: "n", Lease: long})
			e.ok(err)
			r.Body[0], got.Opening.Mail[0][0], got.Opening.Root[0] = 'X', 'Y', 'Y'
			again := e.deliver("a", "m1", "n", long).Opening
			e.mail("the opening", again.Mailbox, 1, "m1")
			e.text("the root", again.Root, "root 0")
		},
	},
	{
		name: "without a body",
		says: "mail is opaque bytes, also none",
		check: func(e *env) {
			e.parked("a")
			r := letter("a", "m1")
			r.Body = nil
			got, err := e.Deliver(e.Context(), r, store.OpenRequest{ID: "a", Nonce: "n", Lease: long})
			e.ok(err)
			e.mail("the opening", got.Opening.Mailbox, 1, "")
		},
	},
}

// deliver delivers mail whose id is its body.
func (e *env) deliver(id, mail, nonce string, d time.Duration) store.Delivery {
	e.Helper()
	got, err := e.Deliver(e.Context(), letter(id, mail), store.OpenRequest{ID: id, Nonce: nonce, Lease: d})
	e.ok(err)
	return got
}
