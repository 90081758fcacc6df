package storetest

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

var attemptRules = []rule{
	{
		name: "share a result that is for good",
		says: "what Complete stores without an attempt is the result of all attempts, higher and lower ones",
		check: func(e *env) {
			e.try("k", "t1", 2, 0)
			e.ok(e.complete("k", "t1", []byte("done"), long))
			for _, attempt := range []int{1, 2, 3, store.LastAttempt, 0} {
				e.answered("k", attempt, "done")
			}
		},
	},
	{
		name: "have results of their own",
		says: "what Complete stores with an attempt answers that attempt alone; a higher one takes the key",
		check: func(e *env) {
			e.try("k", "t1", 1, 0)
			e.ok(e.endOf("k", "t1", 1, "refused"))
			e.answered("k", 1, "refused")
			e.answered("k", 1, "refused")
			e.try("k", "t2", 2, 1)
			e.is(e.attempt("k", "t3", 2), store.ErrBusy)
			e.ok(e.endOf("k", "t2", 2, "refused again"))
			e.answered("k", 2, "refused again")
			e.try("k", "t3", 7, 2)
			e.ok(e.complete("k", "t3", []byte("done"), long))
			e.answered("k", 2, "done")
		},
	},
	{
		name: "are refused below the highest",
		says: "Claim answers ErrStale where a higher attempt has been seen, whether it is at work, has ended, or was given back",
		check: func(e *env) {
			e.try("k", "t1", 3, 0)
			e.is(e.attempt("k", "t2", 2), store.ErrStale)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.is(e.attempt("k", "t2", 2), store.ErrStale)
			_, _, err := e.claim("k", "t2", long)
			e.is(err, store.ErrStale)
			e.try("k", "t3", 3, 3)
			e.ok(e.endOf("k", "t3", 3, "refused"))
			e.is(e.attempt("k", "t2", 2), store.ErrStale)
			e.try("k", "t4", 4, 3)
		},
	},
	{
		name: "are refused below the highest after its lease too",
		says: "an attempt is remembered for Claim.Remember, the longest that a claim said, however short its lease is",
		check: func(e *env) {
			for _, remember := range []time.Duration{long, brief} {
				_, err := e.Claim(e.Context(), store.Claim{Key: "k", Token: "t1", Lease: brief, Attempt: 2, Remember: remember})
				e.ok(err)
			}
			e.Advance(brief)
			e.is(e.attempt("k", "t2", 1), store.ErrStale)
			e.try("k", "t3", 2, 2)
		},
	},
	{
		name: "are seen while another is at work",
		says: "an attempt that answers ErrBusy is the highest seen from then on; the one that is at work goes on, and its result for good counts",
		check: func(e *env) {
			e.try("k", "t1", 1, 0)
			e.is(e.attempt("k", "t3", 3), store.ErrBusy)
			e.is(e.attempt("k", "t2", 2), store.ErrStale)
			e.is(e.attempt("k", "t3", 3), store.ErrBusy)
			e.try("k", "t1", 1, 0) // renewed
			e.is(e.attempt("k", "t3", 3), store.ErrBusy)
			e.is(e.attempt("k", "t2", 2), store.ErrStale)
			e.ok(e.complete("k", "t1", []byte("done"), long))
			e.answered("k", 3, "done")
		},
	},
	{
		name: "are remembered for as long as one asks that finds them at work",
		says: "an attempt that answers ErrBusy is remembered for its Claim.Remember, also where it is the one that is at work",
		check: func(e *env) {
			_, err := e.Claim(e.Context(), store.Claim{Key: "k", Token: "t1", Lease: long, Attempt: 2, Remember: brief})
			e.ok(err)
			e.is(e.attempt("k", "t2", 2), store.ErrBusy)
			e.Advance(brief)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.is(e.attempt("k", "t3", 1), store.ErrStale)
			e.try("k", "t4", 2, 2)
		},
	},
	{
		name: "that are not the highest leave no result of their own",
		says: "Complete for an attempt that is not the highest seen stores nothing, and gives the claim back",
		check: func(e *env) {
			e.try("k", "t1", 1, 0)
			e.is(e.attempt("k", "t2", 2), store.ErrBusy)
			for range 2 {
				e.ok(e.endOf("k", "t1", 1, "refused"))
			}
			e.is(e.attempt("k", "t1", 1), store.ErrStale)
			e.try("k", "t2", 2, 2)
			e.is(e.endOf("k", "t1", 1, "refused"), store.ErrLeaseLost)
			e.ok(e.complete("k", "t2", []byte("done"), long))
			e.answered("k", 1, "done")
		},
	},
	{
		name: "claim again alike",
		says: "the same token claims again, and is told what was seen before its first claim",
		check: func(e *env) {
			for range 3 {
				e.try("k", "t1", 1, 0)
			}
			e.ok(e.endOf("k", "t1", 1, "refused"))
			for range 3 {
				e.try("k", "t2", 5, 1)
			}
		},
	},
	{
		name: "tell of one that did not end",
		says: "Seen is the highest attempt seen before, this one included where it was claimed and not completed",
		check: func(e *env) {
			_, err := e.Claim(e.Context(), store.Claim{Key: "k", Token: "dead", Lease: brief, Attempt: 1, Remember: long})
			e.ok(err)
			e.Advance(brief)
			e.try("k", "t1", 1, 1)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.try("k", "t2", 2, 1)
		},
	},
	{
		name: "lose their claim like others",
		says: "Complete answers ErrLeaseLost where another attempt has the claim or has ended",
		check: func(e *env) {
			_, err := e.Claim(e.Context(), store.Claim{Key: "k", Token: "t1", Lease: brief, Attempt: 1, Remember: long})
			e.ok(err)
			e.Advance(brief)
			e.try("k", "t2", 2, 1)
			e.is(e.complete("k", "t1", []byte("done"), long), store.ErrLeaseLost)
			e.is(e.endOf("k", "t1", 1, "refused"), store.ErrLeaseLost)
			e.is(e.attempt("k", "t1", 1), store.ErrStale)
			e.ok(e.endOf("k", "t2", 2, "refused"))
			e.is(e.complete("k", "t1", []byte("done"), long), store.ErrLeaseLost)
			e.answered("k", 2, "refused")
		},
	},
	{
		name: "that are done after all count",
		says: "Complete stores a result for good if nobody holds the claim, of a lower attempt too",
		check: func(e *env) {
			_, err := e.Claim(e.Context(), store.Claim{Key: "k", Token: "t1", Lease: brief, Attempt: 1, Remember: long})
			e.ok(err)
			e.Advance(brief)
			e.try("k", "t2", 2, 1)
			e.ok(e.Forget(e.Context(), "k", "t2"))
			e.ok(e.complete("k", "t1", []byte("done"), long))
			e.answered("k", 2, "done")
		},
	},
	{
		name: "are forgotten after their time",
		says: "the result of an attempt is kept for the retention, and the attempt for as long as it is to be remembered",
		check: func(e *env) {
			_, err := e.Claim(e.Context(), store.Claim{Key: "k", Token: "t1", Lease: long, Attempt: 2, Remember: brief})
			e.ok(err)
			e.ok(e.Complete(e.Context(), store.Completion{Key: "k", Token: "t1", Attempt: 2, Result: []byte("refused"), Retention: brief}))
			e.Advance(brief)
			e.try("k", "t2", 1, 0)
			e.ok(e.Forget(e.Context(), "k", "t2"))
			_, err = e.Claim(e.Context(), store.Claim{Key: "j", Token: "t1", Lease: brief, Attempt: 2, Remember: brief})
			e.ok(err)
			e.Advance(brief)
			e.try("j", "t2", 1, 0)
		},
	},
	{
		name: "that take the last number refuse all others",
		says: "a claim for LastAttempt has all others refused",
		check: func(e *env) {
			e.try("k", "t1", 1, 0)
			e.ok(e.Forget(e.Context(), "k", "t1"))
			e.try("k", "t2", store.LastAttempt, 1)
			e.ok(e.Forget(e.Context(), "k", "t2"))
			e.is(e.attempt("k", "t3", store.LastAttempt-1), store.ErrStale)
			e.try("k", "t4", store.LastAttempt, store.LastAttempt)
		},
	},
}

// attempt claims a key for an attempt, for long.
func (e *env) attempt(key, token string, attempt int) error {
	_, err := e.Claim(e.Context(), store.Claim{Key: key, Token: token, Lease: long, Attempt: attempt, Remember: 24 * time.Hour})
	return err
}

// try claims a key for an attempt, which must succeed, and checks which attempt
// was seen before.
func (e *env) try(key, token string, attempt, seen int) {
	e.Helper()
	got, err := e.Claim(e.Context(), store.Claim{Key: key, Token: token, Lease: long, Attempt: attempt, Remember: 24 * time.Hour})
	e.ok(err)
	e.same("the answer", got, store.Claimed{Seen: seen})
}

// answered claims a key for an attempt, which must be answered.
func (e *env) answered(key string, attempt int, want string) {
	e.Helper()
	got, err := e.Claim(e.Context(), store.Claim{Key: key, Token: e.unique("token"), Lease: long, Attempt: attempt, Remember: 24 * time.Hour})
	e.ok(err)
	e.same("done", got.Done, true)
	e.text("the result", got.Result, want)
}

// endOf completes one attempt.
func (e *env) endOf(key, token string, attempt int, result string) error {
	return e.Complete(e.Context(), store.Completion{Key: key, Token: token, Attempt: attempt, Result: []byte(result), Retention: 24 * time.Hour})
}
