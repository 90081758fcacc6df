package storetest

import (
	"github.com/waybill-dev/waybill/store"
)

var purgeRules = []rule{
	{
		name: "deletes and leaves a tombstone",
		says: "Purge deletes an execution whose retention has run out, and leaves a tombstone: its id answers ErrGone",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			o := e.open("a", long)
			c := follow(o, "c1")
			c.Set["f:0"] = []byte("zero")
			c.Next, c.Wake = store.End, o.Now.Add(brief)
			e.commit(c)
			e.Advance(brief)
			e.isDue("a")
			e.purge("a", true)
			e.isNotDue("a")
			_, err := e.Get(e.Context(), "a")
			e.is(err, store.ErrGone)
			e.is(e.refused("a"), store.ErrGone)
			_, err = e.Start(e.Context(), started("a"))
			e.is(err, store.ErrGone)
			_, err = e.Post(e.Context(), letter("a", "m1"))
			e.is(err, store.ErrGone)
			_, err = e.Commit(e.Context(), then(c, "c2"))
			e.is(err, store.ErrLeaseLost)
			e.same("the history", len(e.history("a")), 0)
			e.same("the index", e.list("fare running"), []string{})
			frames, err := e.Frames(e.Context(), "a", "f:", "f:0")
			e.ok(err)
			e.same("the frames", len(frames), 0)
		},
	},
	{
		name: "again answers alike",
		says: "an execution that is missing already is purged",
		check: func(e *env) {
			e.purge("never", true)
			e.ended("a", brief)
			e.Advance(brief)
			e.purge("a", true)
			e.purge("a", true)
			_, err := e.Get(e.Context(), "a")
			e.is(err, store.ErrGone)
		},
	},
	{
		name: "makes the id free after the tombstone",
		says: "the tombstone stands for d",
		check: func(e *env) {
			e.ended("a", brief)
			e.Advance(brief)
			done, err := e.Purge(e.Context(), "a", brief)
			e.ok(err)
			e.same("purged", done, true)
			e.Advance(brief)
			_, err = e.Get(e.Context(), "a")
			e.is(err, store.ErrNotFound)
			e.start("a")
			o := e.open("a", long)
			e.same("epoch and commit", []any{o.Epoch, o.Commit}, []any{int64(1), "c0"})
			e.mail("the new one", o.Mailbox, 0)
			e.same("mail seen by the one before", e.post("a", "m1"), true)
		},
	},
	{
		name: "keeps what runs",
		says: "Purge deletes an execution that has ended, and no other",
		check: func(e *env) {
			e.start("due")
			e.parked("parked")
			e.held("held")
			for _, id := range []string{"due", "parked", "held"} {
				e.unchanged(id, func() { e.purge(id, false) })
			}
		},
	},
	{
		name: "keeps an execution during its retention",
		says: "Purge deletes an execution whose retention has run out, and no other",
		check: func(e *env) {
			e.ended("a", long)
			e.unchanged("a", func() { e.purge("a", false) })
			e.same("the index", e.list("fare running"), []string{"a"})
		},
	},
	{
		name: "keeps an execution with an outbox",
		says: "Purge deletes an execution whose outbox is empty, and no other",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Next, c.Outbox = store.End, []byte("send")
			e.commit(c)
			e.unchanged("a", func() { e.purge("a", false) })
			c = then(c, "c2")
			c.Next, c.Wake, c.Outbox = store.Park, o.Now, []byte("send")
			e.commit(c)
			e.unchanged("a", func() { e.purge("a", false) })
		},
	},
	{
		name: "keeps an execution that was not released",
		says: "an execution that ended and was not released is opened again, and its retention is not lost",
		check: func(e *env) {
			e.start("a")
			o := e.open("a", brief)
			c := follow(o, "c1")
			c.Next, c.Outbox = store.End, []byte("send")
			e.commit(c)
			e.commit(then(c, "c2")) // has sent, and dies before it ends for good
			e.unchanged("a", func() { e.purge("a", false) })
			e.Advance(brief)
			e.isDue("a")
			e.unchanged("a", func() { e.purge("a", false) })
			o = e.open("a", long)
			e.same("ended", o.Ended, true)
			c = follow(o, "c3")
			c.Next, c.Wake = store.End, o.Now.Add(long)
			e.commit(c)
			e.is(e.refused("a"), store.ErrEnded)
			e.unchanged("a", func() { e.purge("a", false) })
		},
	},
}

// purge purges, and checks whether it did.
func (e *env) purge(id string, want bool) {
	e.Helper()
	done, err := e.Purge(e.Context(), id, long)
	e.ok(err)
	e.same("purged "+id, done, want)
}
