package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

var idempotencyRules = []rule{
	{
		name: "claims and completes",
		says: "Claim takes the key; where it was completed it returns the stored result and done true",
		check: func(e *env) {
			e.claimed("k", "t1")
			e.ok(e.complete("k", "t1", []byte("done\x00"), long))
			for _, token := range []string{"t1", "t2"} {
				result, done, err := e.claim("k", token, long)
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
			_, _, err := e.claim("k", "t2", long)
			e.is(err, store.ErrBusy)
			e.claimed("k", "t1")
			_, _, err = e.claim("k", "t2", long)
			e.is(err, store.ErrBusy)
		},
	},
	{
		name: "extends a claim",
		says: "the same token claims again, for the lease's length from then on",
		check: func(e *env) {
			_, _, err := e.claim("k", "t1", brief)
			e.ok(err)
			e.claimed("k", "t1")
			e.Advance(brief)
			_, _, err = e.claim("k", "t2", long)
			e.is(err, store.ErrBusy)
		},
	},
	{
		name: "lets an expired claim go to the next",
		says: "Claim takes the key for the lease's length",
		check: func(e *env) {
			_, _, err := e.claim("k", "t1", brief)
			e.ok(err)
			e.Advance(brief)
			e.claimed("k", "t2")
			e.is(e.complete("k", "t1", nil, long), store.ErrLeaseLost)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			_, _, err = e.claim("k", "t3", long)
			e.is(err, store.ErrBusy)
			e.ok(e.complete("k", "t2", []byte("done"), long))
		},
	},
	{
		name: "completes though the claim expired",
		says: "Complete stores the result if the token still holds the claim or nobody does",
		check: func(e *env) {
			_, _, err := e.claim("k", "t1", brief)
			e.ok(err)
			e.Advance(brief)
			e.ok(e.complete("k", "t1", []byte("done"), long))
			e.ok(e.complete("never claimed", "t1", []byte("done"), long))
			for _, key := range []string{"k", "never claimed"} {
				result, done, err := e.claim(key, "t2", long)
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
			e.ok(e.complete("k", "t1", []byte("first"), long))
			e.ok(e.complete("k", "t1", []byte("second"), long))
			e.is(e.complete("k", "t2", []byte("third"), long), store.ErrLeaseLost)
			result, done, err := e.claim("k", "t3", long)
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
			e.ok(e.complete("k", "t1", nil, long))
			result, done, err := e.claim("k", "t2", long)
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
			e.ok(e.complete("k", "t1", []byte("first"), brief))
			e.Advance(brief)
			e.claimed("k", "t2")
			e.ok(e.complete("k", "t2", []byte("second"), long))
			result, _, err := e.claim("k", "t3", long)
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
			_, _, err := e.claim("k", "t2", long)
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
			e.ok(e.complete("k", "t1", []byte("done"), long))
			e.ok(e.Forget(e.Context(), "k", "t1"))
			_, done, err := e.claim("k", "t2", long)
			e.ok(err)
			e.same("done", done, true)
		},
	},
}

// claimed claims a key, which must be free.
func (e *env) claimed(key, token string) {
	e.Helper()
	result, done, err := e.claim(key, token, long)
	e.ok(err)
	if done || result != nil {
		e.Fatalf("claim %q: got %q and done %t, want it free", key, result, done)
	}
}

// claim claims a key for work without attempts.
func (e *env) claim(key, token string, lease time.Duration) (result []byte, done bool, err error) {
	got, err := e.Claim(e.Context(), store.Claim{Key: key, Token: token, Lease: lease})
	return got.Result, got.Done, err
}

// complete completes work without attempts.
func (e *env) complete(key, token string, result []byte, retention time.Duration) error {
	return e.Complete(e.Context(), store.Completion{Key: key, Token: token, Result: result, Retention: retention})
}
