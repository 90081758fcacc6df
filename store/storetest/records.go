package storetest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/waybill-dev/waybill/store"
)

var definitionRules = []rule{
	{
		name: "are kept by name and version",
		says: "PutDefinition stores a graph under its name and version, once; Definition returns it, or ErrNotFound",
		check: func(e *env) {
			_, err := e.Definition(e.Context(), "fare", "1")
			e.is(err, store.ErrNotFound)
			put := func(name, version, graph string) {
				for range 2 {
					e.put(name, version, graph, nil, true)
				}
			}
			put("fare", "1", "one")
			put("fare", "2", "two")
			put("fare", "10", "ten")
			put("ride", "1", "\x00\xff")
			for _, tt := range []struct{ name, version, want string }{
				{"fare", "1", "one"}, {"fare", "2", "two"}, {"ride", "1", "\x00\xff"},
			} {
				graph, err := e.Definition(e.Context(), tt.name, tt.version)
				e.ok(err)
				e.text(tt.name+" "+tt.version, graph, tt.want)
			}
			_, err = e.Definition(e.Context(), "ride", "2")
			e.is(err, store.ErrNotFound)
			versions, err := e.DefinitionVersions(e.Context())
			e.ok(err)
			e.same("the versions", versions, map[string][]string{"fare": {"1", "10", "2"}, "ride": {"1"}})
		},
	},
	{
		name: "are replaced",
		says: "PutDefinition stores a graph in place of the old one, and reports whether it is there now",
		check: func(e *env) {
			old := func(graph string) []byte { return []byte(graph) }
			e.put("fare", "1", "two", old("one"), false) // there is none
			e.put("fare", "1", "", nil, true)
			e.put("fare", "1", "one", nil, false) // there is one, which is empty
			e.put("fare", "1", "one", old(""), true)
			e.put("fare", "1", "one", old("zero"), true) // it is there already
			e.put("fare", "1", "two", nil, false)
			e.put("fare", "1", "two", old("zero"), false)
			graph, err := e.Definition(e.Context(), "fare", "1")
			e.ok(err)
			e.text("what was not replaced", graph, "one")
			for range 2 { // its answer may have been lost
				e.put("fare", "1", "two", old("one"), true)
			}
			e.put("fare", "2", "one", nil, true)
			graph, err = e.Definition(e.Context(), "fare", "1")
			e.ok(err)
			e.text("what was replaced", graph, "two")
		},
	},
	{
		name: "that two put at once",
		says: "of graphs that are put side by side in place of the same one, one is stored, and the others are told so",
		check: func(e *env) {
			stored := make([]bool, 8)
			var wg sync.WaitGroup
			for i := range stored {
				wg.Go(func() {
					var err error
					if stored[i], err = e.PutDefinition(e.Context(), "fare", "1", []byte{byte('a' + i)}, nil); err != nil {
						e.Error(err)
					}
				})
			}
			wg.Wait()
			graph, err := e.Definition(e.Context(), "fare", "1")
			e.ok(err)
			for i, there := range stored {
				e.same(fmt.Sprint("that ", i, " is told that it is there"), there, string(graph) == string(rune('a'+i)))
			}
		},
	},
	{
		name: "are copied",
		says: "callers may reuse the bytes that they passed, and change those that they got",
		check: func(e *env) {
			graph := []byte("one")
			stored, err := e.PutDefinition(e.Context(), "fare", "1", graph, nil)
			e.ok(err)
			e.same("that it is stored", stored, true)
			graph[0] = 'X'
			for range 2 {
				got, err := e.Definition(e.Context(), "fare", "1")
				e.ok(err)
				e.text("the graph", got, "one")
				got[0] = 'X'
			}
		},
	},
}

var memberRules = []rule{
	{
		name: "are those who live",
		says: "Heartbeat records that the worker lives for d, and returns all live workers, itself included, sorted",
		check: func(e *env) {
			beat := func(worker string, want ...string) {
				e.Helper()
				got, err := e.Heartbeat(e.Context(), worker, long)
				e.ok(err)
				e.same("the workers", got, want)
			}
			beat("b", "b")
			beat("c", "b", "c")
			beat("a", "a", "b", "c")
			beat("b", "a", "b", "c")
		},
	},
	{
		name: "are dropped when their time is up",
		says: "a worker lives for d from its last heartbeat",
		check: func(e *env) {
			for _, w := range []string{"dead", "alive"} {
				_, err := e.Heartbeat(e.Context(), w, brief)
				e.ok(err)
			}
			_, err := e.Heartbeat(e.Context(), "alive", long)
			e.ok(err)
			e.Advance(brief)
			got, err := e.Heartbeat(e.Context(), "c", long)
			e.ok(err)
			e.same("the workers", got, []string{"alive", "c"})
		},
	},
	{
		name: "leave",
		says: "Leave takes the worker off at once; it may be called again",
		check: func(e *env) {
			for _, w := range []string{"a", "b"} {
				_, err := e.Heartbeat(e.Context(), w, long)
				e.ok(err)
			}
			e.ok(e.Leave(e.Context(), "a"))
			e.ok(e.Leave(e.Context(), "a"))
			e.ok(e.Leave(e.Context(), "never"))
			got, err := e.Heartbeat(e.Context(), "c", long)
			e.ok(err)
			if !slices.Equal(got, []string{"b", "c"}) {
				e.Fatalf("the workers are %q, want b and c", got)
			}
		},
	},
}
