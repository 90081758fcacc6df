package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var commitRules = []rule{
	{
		name: "writes one transition",
		says: "Commit appends one transition to the chain: frames, history, status, index and outbox change together",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Set["f:0"], c.Set["f:1"] = []byte("zero"), []byte("one")
			c.Status, c.Index, c.OldIndex, c.Outbox = "compensating", "fare failing", "fare running", []byte("send")
			e.mail("the answer", e.commit(c).Mailbox, 0)
			x := e.record("a")
			e.same("the record", x, &store.Record{
				ID: "a", Version: store.FormatVersion, Status: "compensating", Match: "fare@1 abc", Index: "fare failing",
				Started: o.Started, Meta: []byte("meta"), Root: []byte("root c1"), Outbox: []byte("send"), Commit: "c1",
				Epoch: 1, LeaseUntil: x.LeaseUntil,
			})
			e.same("the history", e.history("a"), []string{"h0", "h c1"})
			e.same("the index left", e.list("fare running"), []string{})
			e.same("the index joined", e.list("fare failing"), []string{"a"})

			c = then(c, "c2")
			c.Set = map[string][]byte{"f:1": []byte("uno")}
			c.Delete, c.History = []string{"f:0", "f:never"}, nil
			e.commit(c)
			frames, err := e.Frames(e.Context(), "a", "f:", "f:0", "f:1")
			e.ok(err)
			e.same("the frames", frames, map[string][]byte{"f:": []byte("root c1"), "f:1": []byte("uno")})
			e.same("the outbox", e.record("a").Outbox, []byte(nil))
			e.same("the history", e.history("a"), []string{"h0", "h c1"})
		},
	},
	{
		name: "leaves a sole frame",
		says: "a commit with Sole deletes all frames but the root and those that it sets",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			for i := range 300 {
				c.Set["f:"+strconv.Itoa(i)] = []byte("part")
			}
			e.commit(c)
			c = then(c, "c2")
			c.Set, c.Sole = map[string][]byte{"f:7": []byte("kept"), "f:new": []byte("new")}, true
			e.commit(c)
			names := []string{"f:", "f:new"}
			for i := range 300 {
				names = append(names, "f:"+strconv.Itoa(i))
			}
			frames, err := e.Frames(e.Context(), "a", names...)
			e.ok(err)
			e.same("the frames", frames, map[string][]byte{"f:": []byte("root c1"), "f:7": []byte("kept"), "f:new": []byte("new")})
			x := e.record("a")
			e.same("the rest", []any{x.Status, x.Match, x.Index, string(x.Meta)}, []any{"running", "fare@1 abc", "fare running", "meta"})
		},
	},
	{
		name: "follows the one before",
		says: "commits form a chain: one that does not follow the last is ErrConflict, and writes nothing",
		check: func(e *env) {
			o := e.held("a")
			c1 := follow(o, "c1")
			e.commit(c1)
			e.commit(then(c1, "c2"))
			e.unchanged("a", func() {
				for _, previous := range []string{"c0", "c1", "other", ""} {
					c := follow(o, "c3")
					c.Previous = previous
					_, err := e.Commit(e.Context(), c)
					e.is(err, store.ErrConflict)
				}
				_, err := e.Commit(e.Context(), c1)
				e.is(err, store.ErrConflict)
			})
		},
	},
	{
		name: "needs the lease",
		says: "Commit answers ErrLeaseLost for a lease that is not the present one, and writes nothing",
		check: func(e *env) {
			o := e.held("a")
			e.unchanged("a", func() {
				for _, l := range []store.Lease{
					{ID: "a", Epoch: o.Epoch + 1, Nonce: o.Nonce},
					{ID: "a", Epoch: o.Epoch - 1, Nonce: o.Nonce},
					{ID: "a", Epoch: o.Epoch, Nonce: "other"},
				} {
					c := follow(o, "c1")
					c.Lease = l
					_, err := e.Commit(e.Context(), c)
					e.is(err, store.ErrLeaseLost)
				}
			})
			c := follow(o, "c1")
			c.ID = "missing"
			_, err := e.Commit(e.Context(), c)
			e.is(err, store.ErrLeaseLost)
		},
	},
	{
		name: "is accepted after the lease's expiry while nobody has opened",
		says: "ErrLeaseLost reports that somebody else has opened the execution since, and nothing less",
		check: func(e *env) {
			e.start("a")
			o := e.open("a", brief)
			e.Advance(brief)
			e.commit(follow(o, "c1"))
		},
	},
	{
		name: "again answers alike",
		says: "a commit names itself: the same again writes nothing, whatever became of the lease",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			o := e.open("a", long)
			e.post("a", "m2")
			c1 := follow(o, "c1")
			c1.Index, c1.OldIndex, c1.Outbox = "fare failing", "fare running", []byte("send")
			first := e.commit(c1)
			e.mail("the answer", first.Mailbox, 2, "m2")
			e.unchanged("a", func() { e.same("the second answer", e.commit(c1), first) })
			e.same("the index", e.list("fare failing"), []string{"a"})

			c2 := then(c1, "c2")
			c2.Absorbed, c2.Next, c2.Wake = 2, store.Park, o.Now
			first = e.commit(c2)
			e.unchanged("a", func() { e.same("the second answer", e.commit(c2), first) })
			e.open("a", long)
			e.unchanged("a", func() { e.same("the third answer", e.commit(c2), first) })
		},
	},
	{
		name: "parks",
		says: "Park releases the lease until Wake or mail",
		check: func(e *env) {
			o := e.held("a")
			c := park(follow(o, "c1"), o.Now)
			e.commit(c)
			x := e.record("a")
			e.same("the lease", x.LeaseUntil, time.Time{})
			e.near("the wake-up", x.Wake, o.Now, long)
			_, err := e.Commit(e.Context(), then(c, "c2"))
			e.is(err, store.ErrLeaseLost)
			_, err = e.Renew(e.Context(), o.Lease, long, 0)
			e.is(err, store.ErrLeaseLost)
		},
	},
	{
		name: "ends",
		says: "End marks the execution as ended and releases the lease; its retention is its wake-up",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Next, c.Wake, c.Status = store.End, o.Now.Add(long), "succeeded"
			e.commit(c)
			x := e.record("a")
			e.same("ended and lease", []any{x.Ended, x.LeaseUntil, x.Status}, []any{true, time.Time{}, "succeeded"})
			e.near("the retention", x.Wake, o.Now, long)
			_, err := e.Commit(e.Context(), then(c, "c2"))
			e.is(err, store.ErrLeaseLost)
		},
	},
	{
		name: "ends with an outbox",
		says: "End with an outbox keeps the lease, so that the holder sends it and ends again without",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Next, c.Outbox = store.End, []byte("send")
			e.commit(c)
			x := e.record("a")
			e.same("ended", x.Ended, true)
			e.near("the lease", x.LeaseUntil, o.Now, long)
			c = then(c, "c2")
			c.Next, c.Wake = store.End, o.Now.Add(long)
			e.commit(c)
			x = e.record("a")
			e.same("lease and outbox", []any{x.LeaseUntil, x.Outbox}, []any{time.Time{}, []byte(nil)})
		},
	},
	{
		name: "parks an ended execution until its outbox can be sent",
		says: "while an outbox remains a wake-up remains, even after the end",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Next, c.Outbox = store.End, []byte("send")
			e.commit(c)
			c = then(c, "c2")
			c.Next, c.Wake, c.Outbox = store.Park, o.Now.Add(brief), []byte("send")
			e.commit(c)
			e.Advance(brief)
			e.isDue("a")
			got := e.open("a", long)
			e.same("ended", got.Ended, true)
			e.text("the outbox", got.Outbox, "send")
		},
	},
	{
		name: "must fit the mail",
		says: "Absorbed lies between what was absorbed before and what was posted: anything else is ErrInvalid",
		check: func(e *env) {
			e.start("a")
			e.post("a", "m1")
			o := e.open("a", long)
			c1 := follow(o, "c1")
			e.commit(c1)
			e.unchanged("a", func() {
				for _, absorbed := range []int64{0, 2} {
					c := then(c1, "c2")
					c.Absorbed = absorbed
					_, err := e.Commit(e.Context(), c)
					e.is(err, store.ErrInvalid)
				}
			})
		},
	},
	{
		name: "must leave the index it stands in",
		says: "OldIndex is the index to leave: another is ErrInvalid, or the execution would stand in two",
		check: func(e *env) {
			o := e.held("a")
			e.unchanged("a", func() {
				c := follow(o, "c1")
				c.Index, c.OldIndex = "fare failing", "fare blocked"
				_, err := e.Commit(e.Context(), c)
				e.is(err, store.ErrInvalid)
			})
			c := follow(o, "c1")
			c.Index, c.OldIndex = "fare running", "fare running"
			e.commit(c)
			e.same("the index", e.list("fare running"), []string{"a"})
		},
	},
	{
		name: "writes many frames",
		says: "a commit sets and deletes any number of frames",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			var names []string
			for i := range 5000 {
				name := fmt.Sprintf("f:%d", i)
				names = append(names, name)
				c.Set[name] = []byte(name)
			}
			e.commit(c)
			frames, err := e.Frames(e.Context(), "a", names...)
			e.ok(err)
			e.same("the number of frames", len(frames), 5000)
			e.text("a frame", frames["f:4711"], "f:4711")
			c = then(c, "c2")
			c.Delete = names[1:]
			e.commit(c)
			frames, err = e.Frames(e.Context(), "a", names...)
			e.ok(err)
			e.same("the frames left", frames, map[string][]byte{"f:0": []byte("f:0")})
		},
	},
	{
		name: "keeps the place in a new index",
		says: "List returns the executions of an index by their start, newest first",
		check: func(e *env) {
			for _, id := range []string{"a", "b", "c"} {
				e.start(id)
				e.Advance(2 * time.Millisecond)
			}
			for _, id := range []string{"c", "a", "b"} {
				c := follow(e.open(id, long), "c1")
				c.Index, c.OldIndex = "fare failing", "fare running"
				e.commit(c)
			}
			if got := e.list("fare failing"); !slices.Equal(got, []string{"c", "b", "a"}) {
				e.Fatalf("the index lists %q, want c, b, a", got)
			}
		},
	},
}
