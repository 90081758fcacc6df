package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// attempted is a function for Once.Attempt.
func attempted(result string, forGood bool) func(context.Context, bool) ([]byte, bool, error) {
	return func(context.Context, bool) ([]byte, bool, error) { return []byte(result), forGood, nil }
}

func attemptMustNotRun(t *testing.T) func(context.Context, bool) ([]byte, bool, error) {
	return func(context.Context, bool) ([]byte, bool, error) {
		t.Error("the function ran")
		return nil, false, nil
	}
}

func TestOnceKeepsWhatAnAttemptCameTo(t *testing.T) {
	o := store.Once{Records: memstore.New(memstore.Config{}), Wait: -1}
	for i, step := range []struct {
		attempt int
		fn      func(context.Context, bool) ([]byte, bool, error)
		want    string
		again   bool
		err     error
	}{
		{attempt: 1, fn: attempted("no", false), want: "no"},
		{attempt: 1, fn: attemptMustNotRun(t), want: "no", again: true},
		{attempt: 3, fn: attempted("no again", false), want: "no again"},
		{attempt: 2, fn: attemptMustNotRun(t), err: store.ErrStale},
		{attempt: 3, fn: attemptMustNotRun(t), want: "no again", again: true},
		{attempt: 4, fn: attempted("yes", true), want: "yes"},
		{attempt: 5, fn: attemptMustNotRun(t), want: "yes", again: true},
		{attempt: 1, fn: attemptMustNotRun(t), want: "yes", again: true},
		{attempt: 0, fn: attemptMustNotRun(t), err: store.ErrInvalid},
		{attempt: store.LastAttempt + 1, fn: attemptMustNotRun(t), err: store.ErrInvalid},
	} {
		result, again, err := o.Attempt(t.Context(), "k", step.attempt, step.fn)
		if string(result) != step.want || again != step.again || !errors.Is(err, step.err) {
			t.Errorf("step %d, attempt %d: %q, %t, %v; want %q, %t, %v", i, step.attempt, result, again, err, step.want, step.again, step.err)
		}
	}
}

// An attempt that failed to complete, by an error or because its process died,
// is run again, and told so; one that never began is told that.
func TestOnceTellsOfAnAttemptThatMayHaveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		o := store.Once{Records: st}
		fails := errors.New("no route to the bank")
		try := func(key string, attempt int, begun bool, err error) {
			t.Helper()
			ran := false
			_, _, got := o.Attempt(t.Context(), key, attempt, func(_ context.Context, told bool) ([]byte, bool, error) {
				ran = true
				if told != begun {
					t.Errorf("attempt %d at %s: begun is %t", attempt, key, told)
				}
				return nil, false, err
			})
			if !ran || got != err {
				t.Errorf("attempt %d at %s: %v", attempt, key, got)
			}
		}
		try("k", 1, false, fails)
		try("k", 1, true, fails)
		try("k", 2, false, fails)
		try("k", 2, true, nil)
		try("k", 3, false, nil)
		if _, err := st.Claim(t.Context(), store.Claim{Key: "j", Token: "dead", Lease: 10 * time.Second, Attempt: 1, Remember: time.Hour}); err != nil {
			t.Fatal(err)
		}
		try("j", 1, true, nil)
		try("j", 2, false, nil)
	})
}

// A repeat of a claim whose answer was lost is not an attempt that ran.
func TestOnceDoesNotTakeItsOwnClaimForAnother(t *testing.T) {
	twice := storetest.NewFaulty(memstore.New(memstore.Config{}), func(storetest.Call) storetest.Fault {
		return storetest.Fault{Twice: true}
	})
	if _, _, err := (store.Once{Records: twice}).Attempt(t.Context(), "k", 1, func(_ context.Context, begun bool) ([]byte, bool, error) {
		if begun {
			t.Error("told that it had begun")
		}
		return nil, true, nil
	}); err != nil {
		t.Error(err)
	}
}

// A claim that ran out while the store was away is lost to a higher attempt,
// even one that is not at work.
func TestOnceLosesItsClaimToALaterAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var away atomic.Bool
		o := store.Once{Lease: 30 * time.Second, Records: records{Idempotency: st, before: func(call string) error {
			if away.Load() {
				return errors.New("no route to host")
			}
			return nil
		}}}
		_, _, err := o.Attempt(t.Context(), "k", 1, func(ctx context.Context, _ bool) ([]byte, bool, error) {
			away.Store(true)
			time.Sleep(29 * time.Second)
			if _, _, err := (store.Once{Records: st, Wait: time.Minute}).Attempt(t.Context(), "k", 2, attempted("no", false)); err != nil {
				t.Error(err)
			}
			away.Store(false)
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, store.ErrLeaseLost) {
				t.Errorf("the context ended with %v", cause)
			}
			return []byte("yes"), true, nil
		})
		if !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("got %v, want ErrLeaseLost", err)
		}
	})
}

// Where the store says so before the lease is over by this process's clock, the
// function is told at once.
func TestOnceHearsThatALaterAttemptHasItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims := 0
		o := store.Once{Lease: 30 * time.Second, Records: records{Idempotency: memstore.New(memstore.Config{}), before: func(call string) error {
			if call == "claim" {
				claims++
			}
			if claims > 1 {
				return store.ErrStale
			}
			return nil
		}}}
		_, _, _ = o.Attempt(t.Context(), "k", 1, func(ctx context.Context, _ bool) ([]byte, bool, error) {
			begin := time.Now()
			<-ctx.Done()
			if told := time.Since(begin); told != 10*time.Second || !errors.Is(context.Cause(ctx), store.ErrLeaseLost) {
				t.Errorf("told after %v with %v, want it with the first renewal, after 10s", told, context.Cause(ctx))
			}
			return nil, false, ctx.Err()
		})
	})
}

func ExampleOnce_Attempt() {
	once := store.Once{Records: memstore.New(memstore.Config{})}
	charge := func(accepted bool) func(context.Context, bool) ([]byte, bool, error) {
		return func(context.Context, bool) ([]byte, bool, error) {
			if !accepted {
				return []byte("try later"), false, nil // of this attempt
			}
			return []byte("ch_42"), true, nil // of all
		}
	}
	for _, call := range []struct {
		attempt int
		accept  bool
	}{{1, false}, {1, true}, {2, true}, {3, false}} {
		result, repeated, err := once.Attempt(context.Background(), "charge/fare-7", call.attempt, charge(call.accept))
		fmt.Println(call.attempt, string(result), repeated, err)
	}
	// Output:
	// 1 try later false <nil>
	// 1 try later true <nil>
	// 2 ch_42 false <nil>
	// 3 ch_42 true <nil>
}
