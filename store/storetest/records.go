package storetest

import (
	"slices"

	"github.com/waybill-dev/waybill/store"
)

var definitionRules = []rule{
	{
		name: "are kept by name and version",
		says: "PutDefinition stores a graph under its name and version; Definition returns it, or ErrNotFound",
		check: func(e *env) {
			_, err := e.Definition(e.Context(), "fare", "1")
			e.is(err, store.ErrNotFound)
			put := func(name, version, graph string) {
				for range 2 {
					e.ok(e.PutDefinition(e.Context(), name, version, []byte(graph)))
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
		name: "are copied",
		says: "callers may reuse the bytes that they passed, and change those that they got",
		check: func(e *env) {
			graph := []byte("one")
			e.ok(e.PutDefinition(e.Context(), "fare", "1", graph))
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
