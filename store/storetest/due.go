package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var dueRules = []rule{
	{
		name: "returns what is due and hides it",
		says: "Due returns executions whose wake-up has come, and hides them from further calls for d",
		check: func(e *env) {
			e.parked("parked")
			e.held("held")
			e.ended("ended", long)
			e.start("a")
			e.start("b")
			e.same("due", e.due(long), []string{"a", "b"})
			e.same("due again", e.due(long), []string(nil))
			e.unchanged("a", func() { e.open("b", long) })
		},
	},
	{
		name: "returns them again",
		says: "a worker that dies with them loses nothing: after d they are due again",
		check: func(e *env) {
			e.start("a")
			for range 3 {
				e.same("due", e.due(brief), []string{"a"})
				e.Advance(brief)
			}
		},
	},
	{
		name: "hides from itself alone",
		says: "Due hides from further calls of Due; Open opens what is hidden",
		check: func(e *env) {
			e.start("a")
			e.due(long)
			o := e.open("a", long)
			c := follow(o, "c1")
			c.Next, c.Wake = store.Park, o.Now.Add(brief)
			e.commit(c)
			e.Advance(brief)
			e.isDue("a")
		},
	},
	{
		name: "stays within the limit",
		says: "Due returns up to limit executions; what has waited longest comes first",
		check: func(e *env) {
			var want []string
			for i := range 10 {
				id := fmt.Sprintf("x%d", i)
				e.start(id)
				e.Advance(2 * time.Millisecond)
				want = append(want, id)
			}
			var got []string
			for {
				ids, err := e.Due(e.Context(), e.all(), 3, long)
				e.ok(err)
				if len(ids) > 3 {
					e.Fatalf("due are %q, want at most 3", ids)
				}
				if len(ids) == 0 {
					break
				}
				got = append(got, ids...)
			}
			slices.Sort(got)
			e.same("all", got, want)
		},
	},
	{
		name: "starves no partition",
		says: "the partition that has waited longest comes first",
		check: func(e *env) {
			first, second := e.neighbours()
			e.start(second)
			e.Advance(2 * time.Millisecond)
			e.start(first)
			partitions := []int{e.Partition(first), e.Partition(second)}
			for _, want := range []string{second, first} {
				ids, err := e.Due(e.Context(), partitions, 1, long)
				e.ok(err)
				e.same("due", ids, []string{want})
			}
		},
	},
	{
		name: "looks at the given partitions alone",
		says: "Due returns executions of the partitions",
		check: func(e *env) {
			a, b := e.neighbours()
			e.start(a)
			e.start(b)
			ids, err := e.Due(e.Context(), []int{e.Partition(a), e.Partition(a)}, 10, long)
			e.ok(err)
			e.same("due in one partition", ids, []string{a})
			ids, err = e.Due(e.Context(), nil, 10, long)
			e.ok(err)
			e.same("due in none", len(ids), 0)
			ids, err = e.Due(e.Context(), e.all(), 0, long)
			e.ok(err)
			e.same("none of the due", len(ids), 0)
			for _, n := range []int{-1, e.Partitions()} {
				_, err := e.Due(e.Context(), []int{n}, 10, long)
				e.is(err, store.ErrInvalid)
			}
		},
	},
	{
		name: "returns a large backlog",
		says: "Due returns up to limit executions, however many that is",
		check: func(e *env) {
			partition := e.Partition("x0")
			n := 0
			for i := 0; n < 1100; i++ {
				if id := fmt.Sprintf("x%d", i); e.Partition(id) == partition {
					e.start(id)
					n++
				}
			}
			ids, err := e.Due(e.Context(), []int{partition}, 1050, long)
			e.ok(err)
			e.same("the first", len(ids), 1050)
			ids, err = e.Due(e.Context(), []int{partition}, 1050, long)
			e.ok(err)
			e.same("the rest", len(ids), 50)
		},
	},
	{
		name: "finds partitions by their hash",
		says: "an id's partition is FNV-1a-64 of its bytes, modulo their number",
		check: func(e *env) {
			if e.Partitions() != 256 {
				e.Fatalf("there are %d partitions, want the suite to run on 256", e.Partitions())
			}
			// The hashes are from the test vectors of the authors of FNV.
			for id, hash := range map[string]uint64{
				"a": 0xaf63dc4c8601ec8c, "foobar": 0x85944171f73967e8, "chongo was here!\n": 0x46810940eff5f915,
			} {
				e.same("the partition of "+id, e.Partition(id), int(hash%256))
			}
		},
	},
}

// neighbours returns two ids of different partitions, the lower one first.
func (e *env) neighbours() (string, string) {
	const a = "a"
	for i := 0; ; i++ {
		b := fmt.Sprintf("b%d", i)
		switch n := e.Partition(b); {
		case n > e.Partition(a):
			return a, b
		case n < e.Partition(a):
			return b, a
		}
	}
}
