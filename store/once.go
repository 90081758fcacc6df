package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// DefaultClaimLease is how long a claim of [Once] stands without renewal, and
// so how long a receiver that died keeps others from its message.
const DefaultClaimLease = 30 * time.Second

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
	if o.Lease <= 0 {
		o.Lease = DefaultClaimLease
	}
	if o.Retention <= 0 {
		o.Retention = DefaultIdempotencyRetention
	}
	switch {
	case o.Wait < 0:
		o.Wait = 0
	case o.Wait == 0:
		o.Wait = o.Lease
	}
	token := rand.Text()
	result, done, claimed, err := o.claim(ctx, key, token)
	if err != nil || done {
		return result, done, err
	}
	return o.run(ctx, key, token, claimed, fn)
}

// claim takes the key, or waits until its result is there. The claim stands from
// some time after claimed on, when it was asked for.
func (o Once) claim(ctx context.Context, key, token string) (result []byte, done bool, claimed time.Time, err error) {
	deadline := time.Now().Add(o.Wait)
	for {
		claimed = time.Now()
		result, done, err = o.Records.Claim(ctx, key, token, o.Lease)
		if err == nil {
			return result, done, claimed, nil
		}
		if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			return nil, false, claimed, fmt.Errorf("store: claim %q: %w", key, err)
		}
		if !sleep(ctx, max(o.Lease/claimPolls, time.Millisecond)) {
			return nil, false, claimed, fmt.Errorf("store: claim %q: %w", key, context.Cause(ctx))
		}
	}
}

// run calls fn under the claim and stores what it returns.
func (o Once) run(ctx context.Context, key, token string, claimed time.Time, fn func(context.Context) ([]byte, error)) (result []byte, repeated bool, err error) {
	stored := false
	defer func() {
		if !stored { // also when fn panics
			o.forget(ctx, key, token)
		}
	}()
	result, err = o.renewing(ctx, key, token, claimed, fn)
	if err != nil {
		return nil, false, err
	}
	// What fn did is done; that its caller's time is up does not change it.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
	defer cancel()
	if err := o.Records.Complete(last, key, token, result, o.Retention); err != nil {
		return nil, false, fmt.Errorf("store: complete %q: %w", key, err)
	}
	stored = true
	return result, false, nil
}

// renewing calls fn while another goroutine renews the claim.
func (o Once) renewing(ctx context.Context, key, token string, claimed time.Time, fn func(context.Context) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.renew(ctx, cancel, key, token, claimed)
	}()
	defer func() {
		cancel(nil)
		<-done
	}()
	result, err := fn(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrLeaseLost) {
		return nil, fmt.Errorf("%w: %w", cause, err)
	}
	return result, err
}

// renew keeps the claim until ctx ends, and ends ctx when it is lost: when
// another has it, or when it has run out by this process's clock, whatever the
// store is about.
func (o Once) renew(ctx context.Context, cancel context.CancelCauseFunc, key, token string, claimed time.Time) {
	lost := func(why error) {
		cancel(fmt.Errorf("store: claim %q: %w: %w", key, ErrLeaseLost, why))
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
		_, done, err := o.Records.Claim(ctx, key, token, o.Lease)
		switch {
		case ctx.Err() != nil:
			return
		case done:
			lost(errors.New("another receiver has completed it"))
			return
		case errors.Is(err, ErrBusy):
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
func (o Once) forget(ctx context.Context, key, token string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
	defer cancel()
	_ = o.Records.Forget(ctx, key, token)
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
