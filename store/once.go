package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// DefaultClaimLease is how long a claim of [Once] stands without renewal, and
// so how long a receiver that died keeps others from its message.
const DefaultClaimLease = 30 * time.Second

// MessageKey returns the key of the record that a receiver keeps of a message, by
// the receiver's name and the message's own id. Filters of package pipeline go by
// it. Ids that others chose can be too long for a key: of those it has a hash.
func MessageKey(receiver, id string) string {
	key := "pipeline/" + receiver + "/"
	if len(key)+len(id) <= MaxID {
		return key + id
	}
	sum := sha256.Sum256([]byte(id))
	return key + "sha256:" + hex.EncodeToString(sum[:])
}

// Once handles each key once: it claims the key, runs a function, and commits
// the function's result, which repeats are answered with. It is what receivers
// of a transport that delivers at least once are built on.
//
// A function that fails gives its claim back, so the next call runs it again.
// So does one whose process dies, after the claim's lease. Its effects can
// then happen twice: Once makes repeats rare, and what must never happen twice
// needs a key of its own where the effect is.
type Once struct {
	// Records keeps claims and results. Required.
	Records Idempotency

	// Lease is how long a claim stands. It is renewed while the function runs.
	// Defaults to 30 s.
	Lease time.Duration

	// Wait is how long a call waits for the claim of another before it gives
	// up with [ErrBusy]. Negative does not wait. Defaults to Lease, after which
	// the claim of a process that died has run out.
	Wait time.Duration

	// Retention is how long results are kept: a repeat that comes later is
	// handled again. Defaults to [DefaultIdempotencyRetention], 15 days, which
	// tells when that is too short.
	Retention time.Duration
}

const (
	// claimPolls is how often within a lease a waiting call looks again.
	claimPolls = 20

	// giveBack bounds the calls that are made after the caller's context ended.
	giveBack = 5 * time.Second
)

// Do returns the result of the key. Where there is none it runs fn and stores
// what fn returns; repeated reports that it was there. Errors of fn are
// returned as they are, and not stored. It answers [ErrBusy] where another
// holds the claim.
//
// When the claim is lost while fn runs, fn's context ends with the cause
// [ErrLeaseLost]. The result of an fn that succeeds all the same is stored
// unless another receiver has the claim by then; otherwise Do answers
// [ErrLeaseLost].
func (o Once) Do(ctx context.Context, key string, fn func(context.Context) ([]byte, error)) (result []byte, repeated bool, err error) {
	return o.do(ctx, key, 0, func(ctx context.Context, _ int) ([]byte, bool, error) {
		result, err := fn(ctx)
		return result, true, err
	})
}

// Attempt is Do for work that somebody else has tried again, and who counts the
// attempts from 1. A result for good is that of all attempts, as Do's is; one
// that is not is that of this attempt alone, and a higher one runs fn anew. An
// attempt below the highest that was seen is refused with [ErrStale].
//
// fn is told whether its attempt, or a higher one, may have run before, in a
// receiver that did not live to complete it.
func (o Once) Attempt(ctx context.Context, key string, attempt int, fn func(ctx context.Context, begun bool) (result []byte, forGood bool, err error)) (result []byte, repeated bool, err error) {
	if attempt < 1 {
		return nil, false, invalid("attempt at %q is %d, want 1 or more", key, attempt)
	}
	return o.do(ctx, key, attempt, func(ctx context.Context, seen int) ([]byte, bool, error) {
		return fn(ctx, seen >= attempt)
	})
}

// work is what is done once, given the highest attempt that was seen before. It
// returns its result, and whether that is the result of all attempts.
type work func(ctx context.Context, seen int) (result []byte, forGood bool, err error)

func (o Once) do(ctx context.Context, key string, attempt int, fn work) (result []byte, repeated bool, err error) {
	setDefault(&o.Lease, DefaultClaimLease)
	setDefault(&o.Retention, DefaultIdempotencyRetention)
	switch {
	case o.Wait < 0:
		o.Wait = 0
	case o.Wait == 0:
		o.Wait = o.Lease
	}
	c := Claim{Key: key, Token: rand.Text(), Lease: o.Lease, Attempt: attempt, Remember: o.Retention}
	got, claimed, err := o.claim(ctx, c)
	if err != nil || got.Done {
		return got.Result, got.Done, err
	}
	result, err = o.run(ctx, c, claimed, func(ctx context.Context) ([]byte, bool, error) { return fn(ctx, got.Seen) })
	return result, false, err
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// claim takes the key, or waits until its result is there. The claim stands from
// some time after claimed on, when it was asked for.
func (o Once) claim(ctx context.Context, c Claim) (got Claimed, claimed time.Time, err error) {
	deadline := time.Now().Add(o.Wait)
	for {
		claimed = time.Now()
		got, err = o.Records.Claim(ctx, c)
		if err == nil {
			return got, claimed, nil
		}
		if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			return Claimed{}, claimed, fmt.Errorf("store: claim %q: %w", c.Key, err)
		}
		if !sleep(ctx, max(o.Lease/claimPolls, time.Millisecond)) {
			return Claimed{}, claimed, fmt.Errorf("store: claim %q: %w", c.Key, context.Cause(ctx))
		}
	}
}

// run calls fn under the claim and stores what it returns.
func (o Once) run(ctx context.Context, c Claim, claimed time.Time, fn func(context.Context) ([]byte, bool, error)) (result []byte, err error) {
	stored := false
	defer func() {
		if !stored { // also when fn panics
			o.forget(ctx, c)
		}
	}()
	result, forGood, err := o.renewing(ctx, c, claimed, fn)
	if err != nil {
		return nil, err
	}
	done := Completion{Key: c.Key, Token: c.Token, Result: result, Retention: o.Retention}
	if !forGood {
		done.Attempt = c.Attempt
	}
	// What fn did is done; that its caller's time is up does not change it.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
	defer cancel()
	if err := o.Records.Complete(last, done); err != nil {
		return nil, fmt.Errorf("store: complete %q: %w", c.Key, err)
	}
	stored = true
	return result, nil
}

// renewing calls fn while another goroutine renews the claim.
func (o Once) renewing(ctx context.Context, c Claim, claimed time.Time, fn func(context.Context) ([]byte, bool, error)) (result []byte, forGood bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.renew(ctx, cancel, c, claimed)
	}()
	defer func() {
		cancel(nil)
		<-done
	}()
	result, forGood, err = fn(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrLeaseLost) {
		return nil, false, fmt.Errorf("%w: %w", cause, err)
	}
	return result, forGood, err
}

// renew keeps the claim until ctx ends, and ends ctx when it is lost: when
// another has it, or when it has run out by this process's clock, whatever the
// store is about.
func (o Once) renew(ctx context.Context, cancel context.CancelCauseFunc, c Claim, claimed time.Time) {
	lost := func(why error) {
		cancel(fmt.Errorf("store: claim %q: %w: %w", c.Key, ErrLeaseLost, why))
	}
	var failed atomic.Pointer[error] // the last renewal, where it did
	expiry := time.AfterFunc(time.Until(claimed.Add(o.Lease)), func() {
		why := errors.New("no answer came in time")
		if err := failed.Load(); err != nil {
			why = *err
		}
		lost(fmt.Errorf("it could not be renewed: %w", why))
	})
	defer expiry.Stop()
	for sleep(ctx, o.Lease/3) {
		asked := time.Now()
		got, err := o.Records.Claim(ctx, c)
		switch {
		case ctx.Err() != nil:
			return
		case got.Done:
			lost(errors.New("another receiver has completed it"))
			return
		case errors.Is(err, ErrBusy), errors.Is(err, ErrStale):
			lost(err)
			return
		case err != nil:
			failed.Store(&err)
		default:
			failed.Store(nil)
			expiry.Reset(time.Until(asked.Add(o.Lease)))
		}
	}
}

// forget gives the claim back. If that fails, the claim runs out by itself.
func (o Once) forget(ctx context.Context, c Claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
	defer cancel()
	_ = o.Records.Forget(ctx, c.Key, c.Token)
}

// sleep waits and returns true, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
