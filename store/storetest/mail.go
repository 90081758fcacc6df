package storetest

import (
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var mailRules = []rule{
	{
		name: "wakes a parked execution",
		says: "Post wakes the execution: its wake-up is now",
		check: func(e *env) {
			e.parked("a")
			e.isNotDue("a")
			e.same("posted", e.post("a", "m1"), true)
			e.isDue("a")
			e.same("unread", e.record("a").Unread, int64(1))
		},
	},
	{
		name: "wakes an execution that Due has hidden",
		says: "Post wakes the execution, also while it is hidden",
		check: func(e *env) {
			e.start("a")
			e.same("due", e.due(long), []string{"a"})
			e.isNotDue("a")
			e.post("a", "m1")
			e.isDue("a")
		},
	},
	{
		name: "leaves a held execution until its lease expires",
		says: "while somebody holds the execution, its wake-up is at most the lease's expiry",
		check: func(e *env) {
			e.held("a")
			e.post("a", "m1")
			e.isNotDue("a")
			e.start("b")
			e.open("b", brief)
			e.post("b", "m1")
			e.Advance(brief)
			e.isDue("b")
		},
	},
	{
		name: "does not put a wake-up off",
		says: "Post lowers the wake-up, and never raises it",
		check: func(e *env) {
			e.start("a")
			e.Advance(brief)
			e.start("b")
			e.post("a", "m1")
			ids, err := e.Due(e.Context(), []int{e.Partition("a"), e.Partition("b")}, 1, long)
			e.ok(err)
			e.same("the first due", ids, []string{"a"})
		},
	},
	{
		name: "comes in order and with its number",
		says: "a Mailbox holds the mail that is not yet absorbed, in order; Read is the number of the last",
		check: func(e *env) {
			e.start("a")
			for i := 1; i <= 4; i++ {
				e.post("a", fmt.Sprintf("m%d", i))
			}
			o := e.open("a", long)
			e.mail("the opening", o.Mailbox, 4, "m1", "m2", "m3", "m4")
			e.post("a", "m5")
			c := follow(o, "c0")
			for _, tt := range []struct {
				absorbed int64
				want     []string
			}{
				{2, []string{"m3", "m4", "m5"}}, {3, []string{"m4", "m5"}}, {3, []string{"m4", "m5"}}, {5, nil},
			} {
				c = then(c, e.unique("c"))
				c.Absorbed = tt.absorbed
				e.mail(fmt.Sprintf("a commit that absorbs up to %d", tt.absorbed), e.commit(c).Mailbox, 5, tt.want...)
				e.same("unread", e.record("a").Unread, 5-tt.absorbed)
			}
			e.post("a", "m6")
			c = then(c, "last")
			e.mail("a commit that absorbs none", e.commit(c).Mailbox, 6, "m6")
		},
	},
	{
		name: "stays until a commit absorbs it",
		says: "mail is handed over by reading, and trimmed by the commit that absorbed it",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			for range 3 {
				o := e.open("a", brief)
				e.mail("the opening", o.Mailbox, 1, "m1")
				e.Advance(brief)
			}
		},
	},
	{
		name: "keeps an execution from parking",
		says: "a commit that parks over unread mail writes nothing and answers with Applied false and the mail",
		check: func(e *env) {
			keepsFrom(e, store.Park)
		},
	},
	{
		name: "keeps an execution from ending",
		says: "a commit that ends over unread mail writes nothing and answers with Applied false and the mail",
		check: func(e *env) {
			keepsFrom(e, store.End)
		},
	},
	{
		name: "comes by renewal",
		says: "Renew hands over mail that came after mail number read",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			o := e.open("a", long)
			r, err := e.Renew(e.Context(), o.Lease, long, o.Read)
			e.ok(err)
			e.mail("a renewal without mail", r.Mailbox, 1)
			e.post("a", "m2")
			e.post("a", "m3")
			r, err = e.Renew(e.Context(), o.Lease, long, o.Read)
			e.ok(err)
			e.mail("a renewal", r.Mailbox, 3, "m2", "m3")
			r, err = e.Renew(e.Context(), o.Lease, long, 2)
			e.ok(err)
			e.mail("another", r.Mailbox, 3, "m3")
		},
	},
	{
		name: "comes by a renewal that a commit overtook",
		says: "Renew hands over none that a commit absorbed meanwhile",
		check: func(e *env) {
			o := e.held("a")
			for i := 1; i <= 4; i++ {
				e.post("a", fmt.Sprintf("m%d", i))
			}
			c := follow(o, "c1")
			c.Absorbed = 2
			e.commit(c)
			r, err := e.Renew(e.Context(), o.Lease, long, 0)
			e.ok(err)
			e.mail("the renewal", r.Mailbox, 4, "m3", "m4")
			c = then(c, "c2")
			c.Absorbed = 4
			e.commit(c)
			r, err = e.Renew(e.Context(), o.Lease, long, 1)
			e.ok(err)
			e.mail("the renewal", r.Mailbox, 4)
		},
	},
	{
		name: "again is dropped",
		says: "mail whose id the execution has seen is dropped: Post answers false and changes nothing",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			e.unchanged("a", func() {
				again := letter("a", "m1")
				again.Body = []byte("other")
				posted, err := e.Post(e.Context(), again)
				e.ok(err)
				e.same("posted", posted, false)
			})
			o := e.open("a", long)
			c := follow(o, "c1")
			e.commit(c)
			e.same("posted after it was absorbed", e.post("a", "m1"), false)
			full := letter("a", "m1")
			full.Limit = 1
			e.post("a", "m2")
			_, err := e.Post(e.Context(), full)
			e.ok(err)
			c = then(c, "c2")
			c.Absorbed, c.Next, c.Wake = 2, store.End, o.Now.Add(long)
			e.commit(c)
			e.same("posted after the end", e.post("a", "m1"), false)
		},
	},
	{
		name: "is remembered by its id",
		says: fmt.Sprintf("the last %d ids are remembered", store.MailsRemembered),
		check: func(e *env) {
			o := e.held("a")
			for i := range store.MailsRemembered + 1 {
				e.post("a", fmt.Sprintf("m%d", i))
			}
			e.same("posting the second again", e.post("a", "m1"), false)
			e.same("posting the first again", e.post("a", "m0"), true)
			e.same("posting the second again", e.post("a", "m1"), true)
			e.same("unread", e.record("a").Unread, int64(store.MailsRemembered+3))
			r, err := e.Renew(e.Context(), o.Lease, long, store.MailsRemembered+1)
			e.ok(err)
			e.mail("the last", r.Mailbox, store.MailsRemembered+3, "m0", "m1")
		},
	},
	{
		name: "finds a full mailbox",
		says: "Post answers ErrMailboxFull while r.Limit mails wait unread; a higher limit still gets through",
		check: func(e *env) {
			o := e.held("a")
			limited := func(mail string, limit int) error {
				r := letter("a", mail)
				r.Limit = limit
				_, err := e.Post(e.Context(), r)
				return err
			}
			e.ok(limited("m1", 2))
			e.ok(limited("m2", 2))
			e.unchanged("a", func() { e.is(limited("m3", 2), store.ErrMailboxFull) })
			e.ok(limited("m4", 3))
			c := follow(o, "c1")
			c.Absorbed = 2
			e.commit(c)
			e.ok(limited("m3", 2))
		},
	},
	{
		name: "for an execution that ended",
		says: "Post answers ErrEnded, also while an outbox remains",
		check: func(e *env) {
			e.ended("a", long)
			e.unchanged("a", func() {
				_, err := e.Post(e.Context(), letter("a", "m1"))
				e.is(err, store.ErrEnded)
			})
			o := e.held("b")
			c := follow(o, "c1")
			c.Next, c.Outbox = store.End, []byte("send")
			e.commit(c)
			_, err := e.Post(e.Context(), letter("b", "m1"))
			e.is(err, store.ErrEnded)
		},
	},
	{
		name: "for a missing execution",
		says: "Post answers ErrNotFound",
		check: func(e *env) {
			_, err := e.Post(e.Context(), letter("a", "m1"))
			e.is(err, store.ErrNotFound)
		},
	},
	{
		name: "without a body",
		says: "mail is opaque bytes, also none",
		check: func(e *env) {
			e.start("a")
			r := letter("a", "m1")
			r.Body = nil
			_, err := e.Post(e.Context(), r)
			e.ok(err)
			e.mail("the opening", e.open("a", long).Mailbox, 1, "")
		},
	},
}

// keepsFrom checks that unread mail refuses a commit that parks or ends.
func keepsFrom(e *env, next store.Next) {
	e.Helper()
	o := e.held("a")
	e.post("a", "m1")
	e.post("a", "m2")
	c := follow(o, "c1")
	c.Next, c.Wake, c.Absorbed, c.Status, c.Outbox = next, o.Now.Add(long), 1, "other", []byte("send")
	e.unchanged("a", func() {
		for range 2 {
			got, err := e.Commit(e.Context(), c)
			e.ok(err)
			e.same("applied", got.Applied, false)
			e.mail("the answer", got.Mailbox, 2, "m2")
		}
	})
	c.Absorbed, c.Outbox = 2, nil
	e.commit(c)
	e.same("the lease", e.record("a").LeaseUntil, time.Time{})
}
