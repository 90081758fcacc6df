package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

var startRules = []rule{
	{
		name: "creates an execution that nobody holds",
		says: "Start creates an execution; its wake-up is r.Wake from now",
		check: func(e *env) {
			r := started("a")
			r.Wake = long
			got, err := e.Start(e.Context(), r)
			e.ok(err)
			e.same("the answer", got, store.StartResult{Created: true, Status: "running", Now: got.Now})
			x := e.record("a")
			e.near("the wake-up", x.Wake, got.Now, long)
			e.same("the record", x, &store.Record{
				ID: "a", Version: store.FormatVersion, Status: "running", Match: "fare@1 abc", Index: "fare running",
				Started: got.Now, Meta: []byte("meta"), Root: []byte("root 0"), Commit: "c0", Wake: x.Wake,
			})
			e.same("the history", e.history("a"), []string{"h0"})
			e.same("the index", e.list("fare running"), []string{"a"})
			e.isNotDue("a")
		},
	},
	{
		name: "without a wake-up is due at once",
		says: "Start's wake-up is r.Wake from now; 0 is now",
		check: func(e *env) {
			e.start("a")
			e.isDue("a")
		},
	},
	{
		name: "opens where a nonce is given",
		says: "Start opens at once where r.Nonce is set; the caller holds the lease, in epoch 1",
		check: func(e *env) {
			r := started("a")
			r.Nonce, r.Lease = "n", long
			got, err := e.Start(e.Context(), r)
			e.ok(err)
			e.same("the answer", got, store.StartResult{Created: true, Opened: true, Status: "running", Now: got.Now})
			x := e.record("a")
			e.near("the lease", x.LeaseUntil, got.Now, long)
			e.same("epoch, wake-up and openings", []any{x.Epoch, x.Wake, x.Openings}, []any{int64(1), time.Time{}, 1})
			e.isHeld("a")
			e.isNotDue("a")
			e.commit(&store.Commit{Lease: store.Lease{ID: "a", Epoch: 1, Nonce: "n"}, Previous: "c0", CommitID: "c1"})
		},
	},
	{
		name: "with the same match is the same execution",
		says: "the same id with the same Match is the same execution: Created false with its status, and nothing changes",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Status = "compensating"
			e.commit(c)
			e.unchanged("a", func() {
				again := started("a")
				again.Commit, again.Root, again.Meta, again.Status = "c0'", []byte("other"), []byte("other"), "other"
				for _, nonce := range []string{"", "n'"} {
					again.Nonce, again.Lease = nonce, long
					got, err := e.Start(e.Context(), again)
					e.ok(err)
					e.same("the answer", got, store.StartResult{Status: "compensating", Now: got.Now})
				}
			})
			e.same("the index", e.list("fare running"), []string{"a"})
		},
	},
	{
		name: "with another match is refused",
		says: "another Match is ErrExists, also after the end",
		check: func(e *env) {
			e.start("a")
			e.ended("b", long)
			for _, id := range []string{"a", "b"} {
				e.unchanged(id, func() {
					other := started(id)
					other.Match = "fare@1 def"
					_, err := e.Start(e.Context(), other)
					e.is(err, store.ErrExists)
				})
			}
		},
	},
	{
		name: "after the end tells the status",
		says: "the same id with the same Match is the same execution, also when it has ended",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Status, c.Next, c.Wake = "succeeded", store.End, o.Now.Add(long)
			e.commit(c)
			again := started("a")
			again.Commit, again.Nonce, again.Lease = "c0'", "n'", long
			got, err := e.Start(e.Context(), again)
			e.ok(err)
			e.same("the answer", got, store.StartResult{Status: "succeeded", Now: got.Now})
		},
	},
	{
		name: "again answers alike",
		says: "a write may be called again when its answer was lost: it finds what it wrote and answers alike",
		check: func(e *env) {
			opened := started("b")
			opened.Nonce, opened.Lease = "n", long
			for _, r := range []store.StartRequest{started("a"), opened} {
				first, err := e.Start(e.Context(), r)
				e.ok(err)
				e.unchanged(r.ID, func() {
					second, err := e.Start(e.Context(), r)
					e.ok(err)
					first.Now = second.Now
					e.same("the second answer", second, first)
				})
				e.same("the index", len(e.list("fare running")), int(e.count("fare running")))
			}
		},
	},
	{
		name: "again after the lease was lost",
		says: "Opened reports that the caller holds the lease",
		check: func(e *env) {
			r := started("a")
			r.Nonce, r.Lease = "n", brief
			_, err := e.Start(e.Context(), r)
			e.ok(err)
			e.Advance(brief)
			e.open("a", long)
			got, err := e.Start(e.Context(), r)
			e.ok(err)
			e.same("the answer", got, store.StartResult{Created: true, Status: "running", Now: got.Now})
		},
	},
	{
		name: "keeps every byte",
		says: "frames, history, meta and outbox are opaque bytes",
		check: func(e *env) {
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			r := started("id: \x00\xff {p1}")
			r.Meta, r.Root, r.History = all, all, all
			_, err := e.Start(e.Context(), r)
			e.ok(err)
			o := e.open(r.ID, long)
			e.text("meta", o.Meta, string(all))
			e.text("root", o.Root, string(all))
			e.same("history", e.history(r.ID), []string{string(all)})
			c := follow(o, "c1")
			c.Outbox, c.Set = all, map[string][]byte{"f:": all, "f:\x00 x": all}
			e.commit(c)
			e.text("outbox", e.record(r.ID).Outbox, string(all))
			frames, err := e.Frames(e.Context(), r.ID, "f:\x00 x", "f:none")
			e.ok(err)
			e.same("frames", frames, map[string][]byte{"f:\x00 x": all})
		},
	},
	{
		name: "copies bytes",
		says: "callers may reuse the bytes that they passed, and change those that they got",
		check: func(e *env) {
			r := started("a")
			r.Wake = long
			_, err := e.Start(e.Context(), r)
			e.ok(err)
			r.Meta[0], r.Root[0], r.History[0] = 'X', 'X', 'X'
			mail := letter("a", "m1")
			_, err = e.Post(e.Context(), mail)
			e.ok(err)
			mail.Body[0] = 'X'
			x := e.record("a")
			e.text("meta", x.Meta, "meta")
			e.text("root", x.Root, "root 0")
			x.Meta[0], x.Root[0] = 'X', 'X'
			o := e.open("a", long)
			e.text("meta", o.Meta, "meta")
			e.text("root", o.Root, "root 0")
			e.mail("the opening", o.Mailbox, 1, "m1")
			o.Mail[0][0] = 'X'
			renewed, err := e.Renew(e.Context(), o.Lease, long, 0)
			e.ok(err)
			e.mail("the renewal", renewed.Mailbox, 1, "m1")
			e.same("the history", e.history("a"), []string{"h0"})
		},
	},
}
