package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

var recordRules = []rule{
	{
		name: "tells how far the work of a key is",
		says: "a key that nobody has claimed is the zero KeyRecord; a claim is Held until it is given back, and Done when it is completed",
		check: func(e *env) {
			e.keyIs("k", store.KeyRecord{})
			e.claimed("k", "t1")
			e.keyIs("k", store.KeyRecord{Held: true})
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.keyIs("k", store.KeyRecord{})
			e.claimed("k", "t2")
			e.ok(e.complete("k", "t2", []byte("x"), long))
			e.keyIs("k", store.KeyRecord{Done: true})
			e.claimed("empty", "t1")
			e.ok(e.complete("empty", "t1", nil, long))
			e.keyIs("empty", store.KeyRecord{Done: true})
		},
	},
	{
		name: "does not claim what it tells of",
		says: "InspectKey claims nothing",
		check: func(e *env) {
			e.keyIs("k", store.KeyRecord{})
			e.claimed("k", "t1")
			e.keyIs("k", store.KeyRecord{Held: true})
			e.claimed("k", "t1")
			e.ok(e.complete("k", "t1", nil, long))
		},
	},
	{
		name: "tells nothing of what has run out",
		says: "a claim whose lease is over, and a result whose retention is, are the zero KeyRecord",
		check: func(e *env) {
			_, _, err := e.claim("claimed", "t1", brief)
			e.ok(err)
			e.ok(e.complete("done", "t1", nil, brief))
			e.Advance(brief)
			e.keyIs("claimed", store.KeyRecord{})
			e.keyIs("done", store.KeyRecord{})
		},
	},
	{
		name: "tells what came of one attempt alone",
		says: "a result of one attempt alone is Failed, until a higher one is at work",
		check: func(e *env) {
			e.attempted("k", "t1", 1)
			e.ok(e.Complete(e.Context(), store.Completion{Key: "k", Token: "t1", Attempt: 1, Retention: long}))
			e.keyIs("k", store.KeyRecord{Failed: true})
			e.attempted("k", "t2", 2)
			e.keyIs("k", store.KeyRecord{Held: true})
			e.ok(e.complete("k", "t2", nil, long))
			e.keyIs("k", store.KeyRecord{Done: true})
		},
	},
	{
		name: "tells nothing where only an attempt is remembered",
		says: "a claim that was given back is the zero KeyRecord, whatever attempts are remembered",
		check: func(e *env) {
			e.attempted("k", "t1", 1)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.keyIs("k", store.KeyRecord{})
		},
	},
	{
		name: "refuses what is no key",
		says: "an empty key is ErrInvalid",
		check: func(e *env) {
			_, err := e.InspectKey(e.Context(), "")
			e.is(err, store.ErrInvalid)
		},
	},
}

func (e *env) keyIs(key string, want store.KeyRecord) {
	e.Helper()
	got, err := e.InspectKey(e.Context(), key)
	e.ok(err)
	e.same("the record", got, want)
}

// attempted claims a key for an attempt.
func (e *env) attempted(key, token string, attempt int) {
	e.Helper()
	_, err := e.Claim(e.Context(), store.Claim{Key: key, Token: token, Lease: long, Attempt: attempt, Remember: 24 * time.Hour})
	e.ok(err)
}
