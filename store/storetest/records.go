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

var idempotencyRules = []rule{
	{
		name: "claims and completes",
		says: "Claim takes the key; where it was completed it returns the stored result and done true",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.Complete(e.Context(), "k", "t1", []byte("done\x00"), long))
			for _, token := range []string{"t1", "t2"} {
				result, done, err := e.Claim(e.Context(), "k", token, long)
				e.ok(err)
				e.same("done", done, true)
				e.text("the result", result, "done\x00")
			}
			e.claimed("other", "t2")
		},
	},
	{
		name: "is busy while somebody holds the claim",
		says: "where somebody else holds the key, Claim answers ErrBusy; the same token claims again",
		check: func(e *env) {
			e.claimed("k", "t1")
			_, _, err := e.Claim(e.Context(), "k", "t2", long)
			e.is(err, store.ErrBusy)
			e.claimed("k", "t1")
			_, _, err = e.Claim(e.Context(), "k", "t2", long)
			e.is(err, store.ErrBusy)
		},
	},
	{
		name: "extends a claim",
		says: "the same token claims again, for the lease's length from then on",
		check: func(e *env) {
			_, _, err := e.Claim(e.Context(), "k", "t1", brief)
			e.ok(err)
			e.claimed("k", "t1")
			e.Advance(brief)
			_, _, err = e.Claim(e.Context(), "k", "t2", long)
			e.is(err, store.ErrBusy)
		},
	},
	{
		name: "lets an expired claim go to the next",
		says: "Claim takes the key for the lease's length",
		check: func(e *env) {
			_, _, err := e.Claim(e.Context(), "k", "t1", brief)
			e.ok(err)
			e.Advance(brief)
			e.claimed("k", "t2")
			e.is(e.Complete(e.Context(), "k", "t1", nil, long), store.ErrLeaseLost)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			_, _, err = e.Claim(e.Context(), "k", "t3", long)
			e.is(err, store.ErrBusy)
			e.ok(e.Complete(e.Context(), "k", "t2", []byte("done"), long))
		},
	},
	{
		name: "completes though the claim expired",
		says: "Complete stores the result if the token still holds the claim or nobody does",
		check: func(e *env) {
			_, _, err := e.Claim(e.Context(), "k", "t1", brief)
			e.ok(err)
			e.Advance(brief)
			e.ok(e.Complete(e.Context(), "k", "t1", []byte("done"), long))
			e.ok(e.Complete(e.Context(), "never claimed", "t1", []byte("done"), long))
			for _, key := range []string{"k", "never claimed"} {
				result, done, err := e.Claim(e.Context(), key, "t2", long)
				e.ok(err)
				e.same("done", done, true)
				e.text("the result", result, "done")
			}
		},
	},
	{
		name: "completes once",
		says: "Complete again answers alike and changes nothing; of another token it is ErrLeaseLost",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.Complete(e.Context(), "k", "t1", []byte("first"), long))
			e.ok(e.Complete(e.Context(), "k", "t1", []byte("second"), long))
			e.is(e.Complete(e.Context(), "k", "t2", []byte("third"), long), store.ErrLeaseLost)
			result, done, err := e.Claim(e.Context(), "k", "t3", long)
			e.ok(err)
			e.same("done", done, true)
			e.text("the result", result, "first")
		},
	},
	{
		name: "keeps an empty result",
		says: "Claim returns done true where the key was completed, whatever the result",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.Complete(e.Context(), "k", "t1", nil, long))
			result, done, err := e.Claim(e.Context(), "k", "t2", long)
			e.ok(err)
			e.same("done", done, true)
			e.text("the result", result, "")
		},
	},
	{
		name: "forgets a result after its retention",
		says: "Complete stores the result for the retention",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.Complete(e.Context(), "k", "t1", []byte("first"), brief))
			e.Advance(brief)
			e.claimed("k", "t2")
			e.ok(e.Complete(e.Context(), "k", "t2", []byte("second"), long))
			result, _, err := e.Claim(e.Context(), "k", "t3", long)
			e.ok(err)
			e.text("the result", result, "second")
		},
	},
	{
		name: "gives a claim back",
		says: "Forget gives a claim back, so that the next receiver handles the message",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.Forget(e.Context(), "k", "t2"))
			_, _, err := e.Claim(e.Context(), "k", "t2", long)
			e.is(err, store.ErrBusy)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.claimed("k", "t2")
		},
	},
	{
		name: "does not forget a result",
		says: "Forget gives a claim back, and never what was completed",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.Complete(e.Context(), "k", "t1", []byte("done"), long))
			e.ok(e.Forget(e.Context(), "k", "t1"))
			_, done, err := e.Claim(e.Context(), "k", "t2", long)
			e.ok(err)
			e.same("done", done, true)
		},
	},
}

// claimed claims a key, which must be free.
func (e *env) claimed(key, token string) {
	e.Helper()
	result, done, err := e.Claim(e.Context(), key, token, long)
	e.ok(err)
	if done || result != nil {
		e.Fatalf("claim %q: got %q and done %t, want it free", key, result, done)
	}
}
