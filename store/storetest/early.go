package storetest

import (
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var earlyRules = []rule{
	{
		name: "waits for its execution",
		says: "mail with Early waits for an execution that is not there; its start wakes it at once, and an opening has the mail, in order, before what comes later",
		check: func(e *env) {
			e.same("posted", e.early("a", "m1", long), true)
			e.same("posted", e.early("a", "m2", long), true)
			e.parked("a")
			e.same("unread", e.record("a").Unread, int64(2))
			e.isDue("a")
			e.post("a", "m3")
			o := e.open("a", long)
			e.mail("the opening", o.Mailbox, 3, "m1", "m2", "m3")
			e.commit(park(follow(o, "c1"), o.Now))
			e.post("a", "m4")
			e.mail("the next opening", e.open("a", long).Mailbox, 4, "m4")
		},
	},
	{
		name: "is handed over by a start that opens",
		says: "a start that opens hands the mail over that came before, also when it comes again",
		check: func(e *env) {
			e.early("a", "m1", long)
			e.early("a", "m2", long)
			r := opened("a")
			first, err := e.Start(e.Context(), r)
			e.ok(err)
			e.same("created and opened", []bool{first.Created, first.Opened}, []bool{true, true})
			e.mail("the start", first.Mailbox, 2, "m1", "m2")
			e.isNotDue("a")
			e.unchanged("a", func() {
				second, err := e.Start(e.Context(), r)
				e.ok(err)
				first.Now = second.Now
				e.same("the second answer", second, first)
			})
			e.post("a", "m3")
			c := &store.Commit{Lease: store.Lease{ID: "a", Epoch: 1, Nonce: "n"}, Previous: "c0", CommitID: "c1", Absorbed: 1}
			e.mail("a commit", e.commit(c).Mailbox, 3, "m2", "m3")
			third, err := e.Start(e.Context(), r)
			e.ok(err)
			e.mail("the third answer", third.Mailbox, 3, "m2", "m3")

			other := started("a")
			other.Commit, other.Nonce, other.Lease = "c0'", "n'", long
			got, err := e.Start(e.Context(), other)
			e.ok(err)
			e.same("the answer to another start", got, store.StartResult{Status: "running", Now: got.Now})
		},
	},
	{
		name: "is handed over by nothing where there is none",
		says: "a Mailbox's Read is the number of the last mail absorbed",
		check: func(e *env) {
			r := opened("a")
			got, err := e.Start(e.Context(), r)
			e.ok(err)
			e.mail("the start", got.Mailbox, 0)
			e.early("b", "m1", long)
			got, err = e.Start(e.Context(), started("b"))
			e.ok(err)
			e.same("the answer of a start that does not open", got, store.StartResult{Created: true, Status: "running", Now: got.Now})
		},
	},
	{
		name: "again is dropped",
		says: "a repeat of early mail is dropped, before the start and after it",
		check: func(e *env) {
			e.early("a", "m1", long)
			e.same("posted before the start", e.early("a", "m1", long), false)
			e.early("a", "m2", long)
			e.start("a")
			e.same("posted after the start", e.early("a", "m1", long), false)
			e.same("posted after the start", e.post("a", "m2"), false)
			o := e.open("a", long)
			e.mail("the opening", o.Mailbox, 2, "m1", "m2")
			e.commit(follow(o, "c1"))
			e.same("posted after it was absorbed", e.early("a", "m1", long), false)
		},
	},
	{
		name: "is bounded",
		says: "Post answers ErrMailboxFull while r.Limit mails wait for the execution; a higher limit still gets through",
		check: func(e *env) {
			limited := func(mail string, limit int) error {
				r := letter("a", mail)
				r.Limit, r.Early = limit, long
				_, err := e.Post(e.Context(), r)
				return err
			}
			e.ok(limited("m1", 2))
			e.ok(limited("m2", 2))
			e.is(limited("m3", 2), store.ErrMailboxFull)
			e.ok(limited("m2", 2))
			e.ok(limited("m4", 3))
			e.start("a")
			e.is(limited("m3", 3), store.ErrMailboxFull)
			e.mail("the opening", e.open("a", long).Mailbox, 3, "m1", "m2", "m4")
		},
	},
	{
		name: "is dropped after its time",
		says: "mail waits for its execution for r.Early; a start after that does not find it, nor is its id remembered",
		check: func(e *env) {
			e.early("a", "m1", brief)
			e.early("a", "m2", brief)
			e.early("b", "m1", brief)
			e.early("c", "m1", brief)
			e.Advance(brief)
			e.start("a")
			e.same("unread", e.record("a").Unread, int64(0))
			e.mail("the opening", e.open("a", long).Mailbox, 0)
			e.same("posted after the start", e.post("a", "m1"), true)

			r := opened("b")
			r.Wake = long
			got, err := e.Start(e.Context(), r)
			e.ok(err)
			e.mail("the start", got.Mailbox, 0)

			full := letter("c", "m1")
			full.Limit, full.Early = 1, long
			posted, err := e.Post(e.Context(), full)
			e.ok(err)
			e.same("posted after its time", posted, true)
			e.start("c")
			e.mail("the opening", e.open("c", long).Mailbox, 1, "m1")
		},
	},
	{
		name: "is dropped in part",
		says: "mail whose time is over is dropped, but for what came after mail that waits still",
		check: func(e *env) {
			for _, mail := range []struct {
				id string
				d  time.Duration
			}{{"m1", brief}, {"m2", brief}, {"m3", long}, {"m4", brief}} {
				for _, id := range []string{"a", "b", "c"} {
					e.early(id, mail.id, mail.d)
				}
			}
			e.Advance(brief)
			e.start("a")
			e.same("unread", e.record("a").Unread, int64(2))
			// On a slow store the first is dropped before the third comes, and the
			// numbers begin anew.
			o := e.open("a", long)
			e.same("mail of the opening", texts(o.Mail), []string{"m3", "m4"})
			e.same("posting what was dropped", e.post("a", "m1"), true)
			e.same("posting what was not", e.post("a", "m4"), false)
			e.mail("a commit", e.commit(follow(o, "c1")).Mailbox, o.Read+1, "m1")

			full := letter("b", "m2")
			full.Limit, full.Early = 3, long
			posted, err := e.Post(e.Context(), full)
			e.ok(err)
			e.same("posting what was dropped", posted, true)
			e.same("posting what was not", e.early("b", "m3", long), false)
			r := opened("b")
			got, err := e.Start(e.Context(), r)
			e.ok(err)
			e.same("mail of the start", texts(got.Mail), []string{"m3", "m4", "m2"})

			// The longest time counts, not the last.
			e.early("c", "m5", brief)
			e.Advance(brief)
			e.start("c")
			e.same("mail of the opening", texts(e.open("c", long).Mail), []string{"m3", "m4", "m5"})
		},
	},
	{
		name: "is no execution",
		says: "until its start the execution is missing to all other calls",
		check: func(e *env) {
			e.early("a", "m1", long)
			_, err := e.Get(e.Context(), "a")
			e.is(err, store.ErrNotFound)
			e.is(e.refused("a"), store.ErrNotFound)
			_, err = e.Post(e.Context(), letter("a", "m2"))
			e.is(err, store.ErrNotFound)
			lease := store.Lease{ID: "a", Epoch: 1, Nonce: "n"}
			_, err = e.Commit(e.Context(), &store.Commit{Lease: lease, Previous: "c0", CommitID: "c1"})
			e.is(err, store.ErrLeaseLost)
			_, err = e.Renew(e.Context(), lease, long, 0)
			e.is(err, store.ErrLeaseLost)
			e.ok(e.Release(e.Context(), lease, 0))
			purged, err := e.Purge(e.Context(), "a", long)
			e.ok(err)
			e.same("purged", purged, true)
			frames, err := e.Frames(e.Context(), "a", store.RootFrame)
			e.ok(err)
			e.same("frames and history", []int{len(frames), len(e.history("a"))}, []int{0, 0})
			e.same("due", e.due(time.Millisecond), []string(nil))
			e.start("a")
			e.mail("the opening", e.open("a", long).Mailbox, 1, "m1")
		},
	},
	{
		name: "opens nothing that is not there",
		says: "Deliver of early mail for an execution that is not there is Post",
		check: func(e *env) {
			r := letter("a", "m1")
			r.Early = long
			open := store.OpenRequest{ID: "a", Nonce: "n", Lease: long}
			for _, posted := range []bool{true, false} {
				got, err := e.Deliver(e.Context(), r, open)
				e.ok(err)
				e.same("the answer", got, store.Delivery{Posted: posted})
			}
			e.parked("a")
			r.MailID, r.Body = "m2", []byte("m2")
			got, err := e.Deliver(e.Context(), r, open)
			e.ok(err)
			if got.Opening == nil {
				e.Fatal("it opened nothing")
			}
			e.mail("the opening", got.Opening.Mailbox, 2, "m1", "m2")
		},
	},
	{
		name: "for an execution that is or was there is like other mail",
		says: "Early counts only where the execution is not there and was not purged",
		check: func(e *env) {
			e.parked("a")
			e.same("posted", e.early("a", "m1", time.Millisecond), true)
			e.Advance(brief)
			e.mail("the opening", e.open("a", long).Mailbox, 1, "m1")

			e.ended("b", time.Millisecond)
			r := letter("b", "m1")
			r.Early = long
			_, err := e.Post(e.Context(), r)
			e.is(err, store.ErrEnded)
			e.ended("c", time.Millisecond)
			e.Advance(time.Millisecond)
			_, err = e.Purge(e.Context(), "c", long)
			e.ok(err)
			r = letter("c", "m1")
			r.Early = long
			_, err = e.Post(e.Context(), r)
			e.is(err, store.ErrGone)
		},
	},
	{
		name: "goes with its execution",
		says: "an execution that is purged takes its mail with it",
		check: func(e *env) {
			e.early("a", "m1", long)
			e.start("a")
			o := e.open("a", long)
			c := follow(o, "c1")
			c.Next, c.Wake = store.End, o.Now
			e.commit(c)
			e.Advance(time.Millisecond)
			purged, err := e.Purge(e.Context(), "a", brief)
			e.ok(err)
			e.same("purged", purged, true)
			e.Advance(brief)
			e.same("posted", e.early("a", "m1", long), true)
			e.start("a")
			e.mail("the opening", e.open("a", long).Mailbox, 1, "m1")
		},
	},
	{
		name: "comes before or after a start",
		says: "early mail that races with the start is in the new execution's mailbox, once and in order",
		check: func(e *env) {
			for round := range 10 {
				id := fmt.Sprintf("x%d", round)
				var started store.StartResult
				for _, err := range race(func(i int) (err error) {
					if i == racers/2 {
						started, err = e.Start(e.Context(), opened(id))
						return err
					}
					r := letter(id, fmt.Sprintf("m%d", i))
					r.Early = long
					_, err = e.Post(e.Context(), r)
					return err
				}) {
					e.ok(err)
				}
				r, err := e.Renew(e.Context(), store.Lease{ID: id, Epoch: 1, Nonce: "n"}, long, started.Read)
				e.ok(err)
				e.same("mail", len(started.Mail)+len(r.Mail), racers-1)
				e.same("the last", r.Read, int64(racers-1))
			}
		},
	},
}

// opened is a start that opens.
func opened(id string) store.StartRequest {
	r := started(id)
	r.Nonce, r.Lease = "n", long
	return r
}

// early posts mail that waits d for its execution, and tells whether it was new.
func (e *env) early(id, mail string, d time.Duration) bool {
	e.Helper()
	r := letter(id, mail)
	r.Early = d
	posted, err := e.Post(e.Context(), r)
	e.ok(err)
	return posted
}
