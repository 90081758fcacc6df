package storetest

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var readRules = []rule{
	{
		name: "Get of a missing execution",
		says: "Get answers ErrNotFound",
		check: func(e *env) {
			_, err := e.Get(e.Context(), "a")
			e.is(err, store.ErrNotFound)
		},
	},
	{
		name: "History in parts",
		says: "History returns up to limit entries from entry number from on, the first being 0; a limit below 1 means all",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			e.commit(c)
			for i := 2; i <= 5; i++ {
				c = then(c, fmt.Sprintf("c%d", i))
				e.commit(c)
			}
			all := []string{"h0", "h c1", "h c2", "h c3", "h c4", "h c5"}
			for _, tt := range []struct {
				from  int64
				limit int
				want  []string
			}{
				{0, 0, all}, {0, -1, all}, {0, 6, all}, {0, 100, all}, {0, 2, all[:2]}, {2, 2, all[2:4]}, {4, 10, all[4:]},
				{4, 0, all[4:]}, {6, 0, nil}, {60, 3, nil}, {-2, 2, all[:2]}, {-2, 0, all},
			} {
				entries, err := e.History(e.Context(), "a", tt.from, tt.limit)
				e.ok(err)
				if got := texts(entries); !slices.Equal(got, tt.want) {
					e.Errorf("History(%d, %d) = %q, want %q", tt.from, tt.limit, got, tt.want)
				}
			}
			e.same("the history of a missing execution", len(e.history("missing")), 0)
		},
	},
	{
		name: "Frames by name",
		says: "Frames returns the named frames; those that are missing are left out",
		check: func(e *env) {
			o := e.held("a")
			c := follow(o, "c1")
			c.Set["f:0"], c.Set["f:1"], c.Set["f:empty"] = []byte("zero"), []byte("one"), nil
			e.commit(c)
			frames, err := e.Frames(e.Context(), "a", "f:0", "f:2", "f:empty")
			e.ok(err)
			e.same("the frames", frames, map[string][]byte{"f:0": []byte("zero"), "f:empty": {}})
			frames, err = e.Frames(e.Context(), "a")
			e.ok(err)
			e.same("no frames", len(frames), 0)
			frames, err = e.Frames(e.Context(), "missing", "f:")
			e.ok(err)
			e.same("frames of a missing execution", len(frames), 0)
		},
	},
	{
		name: "List in pages",
		says: "List returns the executions of an index, newest first, from the given offset on",
		check: func(e *env) {
			var want []string
			for i := range 12 {
				id := fmt.Sprintf("x%02d", i)
				e.start(id)
				want = append([]string{id}, want...)
				e.Advance(2 * time.Millisecond)
			}
			for _, tt := range []struct{ offset, limit int }{
				{0, 12}, {0, 100}, {0, 5}, {5, 5}, {10, 5}, {11, 1}, {12, 5}, {50, 5}, {0, 0}, {0, -1}, {-1, 5}, {5, math.MaxInt},
			} {
				got, err := e.List(e.Context(), "fare running", tt.offset, tt.limit)
				e.ok(err)
				var page []string
				if tt.offset >= 0 && tt.limit > 0 {
					page = want[min(tt.offset, 12):]
					page = page[:min(tt.limit, len(page))]
				}
				if !slices.Equal(got, page) {
					e.Errorf("List(%d, %d) = %q, want %q", tt.offset, tt.limit, got, page)
				}
			}
			e.same("the count", e.count("fare running"), int64(12))
			e.same("the count of another", e.count("fare failing"), int64(0))
			e.same("another", e.list("fare failing"), []string{})
		},
	},
	{
		name: "List of executions that started together",
		says: "pages of List fit together: each execution is in one of them",
		check: func(e *env) {
			partition := e.Partition("x0")
			n := 0
			for i := 0; n < 30; i++ {
				// Where the clock stands still all of these start together.
				if id := fmt.Sprintf("x%d", i); n%3 == 0 || e.Partition(id) == partition {
					e.start(id)
					n++
				}
			}
			seen := make(map[string]bool)
			for offset := 0; offset < n; offset++ {
				ids, err := e.List(e.Context(), "fare running", offset, 1)
				e.ok(err)
				if len(ids) != 1 || seen[ids[0]] {
					e.Fatalf("page %d is %q, want one that was not seen", offset, ids)
				}
				seen[ids[0]] = true
			}
		},
	},
	{
		name: "Walk of an index",
		says: "Walk returns all executions of an index, once each",
		check: func(e *env) {
			want := make(map[string]bool)
			partition := e.Partition("x0")
			for i := 0; len(want) < 1200; i++ {
				// Most are in one partition, which is then read in parts.
				if id := fmt.Sprintf("x%d", i); i < 100 || e.Partition(id) == partition {
					e.start(id)
					want[id] = true
				}
			}
			got := make(map[string]bool)
			for id, err := range e.Walk(e.Context(), "fare running") {
				e.ok(err)
				if got[id] {
					e.Fatalf("%q comes twice", id)
				}
				got[id] = true
			}
			e.same("what a walk finds", got, want)
			for range e.Walk(e.Context(), "fare running") {
				break // ends it
			}
			for id := range e.Walk(e.Context(), "fare failing") {
				e.Fatalf("%q is in an index that is empty", id)
			}
		},
	},
	{
		name: "Walk while executions come and go",
		says: "Walk returns those that are in the index from the first to the last",
		check: func(e *env) {
			stay := make(map[string]bool)
			var leaving []*store.Opening
			partition := e.Partition("x0")
			for i := 0; len(stay) < 600; i++ {
				id := fmt.Sprintf("x%d", i)
				switch {
				case e.Partition(id) != partition:
				case i%3 == 0:
					leaving = append(leaving, e.held(id))
				default:
					e.start(id)
					stay[id] = true
				}
			}
			for id, err := range e.Walk(e.Context(), "fare running") {
				e.ok(err)
				delete(stay, id)
				if len(leaving) > 0 {
					c := follow(leaving[0], "c1")
					c.Status, c.Index, c.OldIndex = "failing", "fare failing", "fare running"
					e.commit(c)
					leaving = leaving[1:]
				}
			}
			e.same("those that stayed and were not found", len(stay), 0)
		},
	},
	{
		name: "a context that has ended",
		says: "a call whose context has ended returns its error, and does nothing",
		check: func(e *env) {
			e.start("a")
			ctx := ended(e)
			calls := map[string]func() error{
				"Start": func() error { _, err := e.Start(ctx, started("b")); return err },
				"Open":  func() error { _, err := e.Open(ctx, store.OpenRequest{ID: "a", Nonce: "n", Lease: long}); return err },
				"Post":  func() error { _, err := e.Post(ctx, letter("a", "m1")); return err },
				"Get":   func() error { _, err := e.Get(ctx, "a"); return err },
				"Due":   func() error { _, err := e.Due(ctx, e.all(), 10, long); return err },
				"List":  func() error { _, err := e.List(ctx, "fare running", 0, 10); return err },
				"Walk": func() (err error) {
					for _, err = range e.Walk(ctx, "fare running") {
					}
					return err
				},
				"Purge":  func() error { _, err := e.Purge(ctx, "a", long); return err },
				"Claim":  func() error { _, err := e.Claim(ctx, store.Claim{Key: "k", Token: "t", Lease: long}); return err },
				"Frames": func() error { _, err := e.Frames(ctx, "a", "f:"); return err },
			}
			e.unchanged("a", func() {
				for name, call := range calls {
					if err := call(); err == nil {
						e.Errorf("%s succeeded", name)
					} else {
						e.is(err, ctx.Err())
					}
				}
			})
			e.same("the index", e.list("fare running"), []string{"a"})
			e.isDue("a")
		},
	},
}
