package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// records fails the calls that its hook says, before or after they are carried
// out.
type records struct {
	store.Idempotency
	before, after func(call string) error
}

func (r records) do(call string, f func() error) error {
	if r.before != nil {
		if err := r.before(call); err != nil {
			return err
		}
	}
	err := f()
	if err == nil && r.after != nil {
		err = r.after(call)
	}
	return err
}

func (r records) Claim(ctx context.Context, c store.Claim) (got store.Claimed, err error) {
	err = r.do("claim", func() error {
		got, err = r.Idempotency.Claim(ctx, c)
		return err
	})
	return got, err
}

func (r records) Complete(ctx context.Context, c store.Completion) error {
	return r.do("complete", func() error { return r.Idempotency.Complete(ctx, c) })
}

func (r records) Forget(ctx context.Context, key, token string) error {
	return r.do("forget", func() error { return r.Idempotency.Forget(ctx, key, token) })
}

func value(s string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(s), nil }
}

func mustNotRun(t *testing.T) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		t.Error("the function ran")
		return nil, nil
	}
}

func TestOnceAnswersRepeatsWithTheStoredResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := store.Once{Records: memstore.New(memstore.Config{})}
		result, repeated, err := o.Do(t.Context(), "k", value("first"))
		if string(result) != "first" || repeated || err != nil {
			t.Fatalf("first call: %q, %v, %v", result, repeated, err)
		}
		time.Sleep(store.DefaultIdempotencyRetention - time.Second)
		result, repeated, err = o.Do(t.Context(), "k", mustNotRun(t))
		if string(result) != "first" || !repeated || err != nil {
			t.Fatalf("repeat: %q, %v, %v", result, repeated, err)
		}
		time.Sleep(2 * time.Second)
		if result, repeated, err = o.Do(t.Context(), "k", value("second")); string(result) != "second" || repeated || err != nil {
			t.Fatalf("after the retention: %q, %v, %v", result, repeated, err)
		}
	})
}

func TestOnceRunsAgainAfterAFailure(t *testing.T) {
	o := store.Once{Records: memstore.New(memstore.Config{}), Wait: -1}
	fault := errors.New("fault")
	_, _, err := o.Do(t.Context(), "k", func(context.Context) ([]byte, error) { return nil, fault })
	if err != fault {
		t.Fatalf("the function's error came back as %v", err)
	}
	if result, repeated, err := o.Do(t.Context(), "k", value("done")); string(result) != "done" || repeated || err != nil {
		t.Fatalf("%q, %v, %v", result, repeated, err)
	}
}

func TestOnceGivesTheClaimBackOnPanic(t *testing.T) {
	o := store.Once{Records: memstore.New(memstore.Config{}), Wait: -1}
	func() {
		defer func() {
			if recover() != "oh" {
				t.Error("the panic was swallowed")
			}
		}()
		_, _, _ = o.Do(t.Context(), "k", func(context.Context) ([]byte, error) { panic("oh") })
	}()
	if _, _, err := o.Do(t.Context(), "k", value("done")); err != nil {
		t.Fatal(err)
	}
}

func TestOnceRunsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := store.Once{Records: memstore.New(memstore.Config{}), Lease: 30 * time.Second}
		var mu sync.Mutex
		var calls, repeats int
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				result, repeated, err := o.Do(t.Context(), "k", func(context.Context) ([]byte, error) {
					mu.Lock()
					calls++
					mu.Unlock()
					time.Sleep(20 * time.Second)
					return []byte("done"), nil
				})
				if err != nil || string(result) != "done" {
					t.Errorf("%q, %v", result, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if repeated {
					repeats++
				}
			})
		}
		all.Wait()
		if calls != 1 || repeats != 9 {
			t.Errorf("%d calls and %d repeats, want 1 and 9", calls, repeats)
		}
	})
}

// The queue delivers on the 14th day still, and what its receiver does then takes
// time.
func TestRetentionOutlivesAnyQueue(t *testing.T) {
	const longest = 14 * 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		o := store.Once{Records: memstore.New(memstore.Config{})}
		if _, _, err := o.Do(t.Context(), "k", value("first")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(longest + 12*time.Hour) // the longest that SQS hides a message
		if _, repeated, err := o.Do(t.Context(), "k", mustNotRun(t)); !repeated || err != nil {
			t.Errorf("the record is gone: repeated %t, %v", repeated, err)
		}
	})
}

// A receiver that works longer than the lease keeps its claim; others give up
// when they have waited long enough, and say so.
func TestOnceRenewsItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := store.Once{Records: memstore.New(memstore.Config{}), Lease: 30 * time.Second}
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := o.Do(t.Context(), "k", func(ctx context.Context) ([]byte, error) {
				time.Sleep(10 * time.Minute)
				return nil, ctx.Err()
			}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		start := time.Now()
		_, _, err := o.Do(t.Context(), "k", mustNotRun(t))
		if !errors.Is(err, store.ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		if waited := time.Since(start); waited < 30*time.Second || waited > 33*time.Second {
			t.Errorf("waited %v, want the lease of 30s", waited)
		}
		all.Wait()
	})
}

// The claim of a process that died runs out, and who waits takes it.
func TestOnceTakesAnAbandonedClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		if _, err := st.Claim(t.Context(), store.Claim{Key: "k", Token: "dead", Lease: 30 * time.Second}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		result, repeated, err := store.Once{Records: st}.Do(t.Context(), "k", value("done"))
		if string(result) != "done" || repeated || err != nil {
			t.Errorf("%q, %v, %v", result, repeated, err)
		}
		if waited := time.Since(start); waited > 32*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

// Where the store is away for longer than the lease, the function is told, and
// a result that it gives all the same is stored unless another came.
func TestOnceLosesItsClaim(t *testing.T) {
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken=%v", taken), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				claims := 0
				o := store.Once{Lease: 30 * time.Second, Records: records{Idempotency: st, before: func(call string) error {
					if call != "claim" {
						return nil
					}
					if claims++; claims > 1 {
						return errors.New("no route to host")
					}
					return nil
				}}}
				_, _, err := o.Do(t.Context(), "k", func(ctx context.Context) ([]byte, error) {
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), store.ErrLeaseLost) {
						t.Errorf("the context ended with %v", context.Cause(ctx))
					}
					if taken {
						if _, err := st.Claim(t.Context(), store.Claim{Key: "k", Token: "other", Lease: time.Minute}); err != nil {
							t.Error(err)
						}
					}
					return []byte("done"), nil
				})
				if !taken && err != nil {
					t.Error(err)
				}
				if taken && !errors.Is(err, store.ErrLeaseLost) {
					t.Errorf("got %v, want ErrLeaseLost", err)
				}
			})
		})
	}
}

// TestOnceIsToldInTime: whatever becomes of a renewal, the function is told when
// the lease is over by the clock of its process, and neither before nor after,
// even by a store that answers when it likes.
func TestOnceIsToldInTime(t *testing.T) {
	const lease, wait = 30 * time.Second, 25 * time.Second
	fails := errors.New("no route to host")
	for name, renewal := range map[string]storetest.Fault{
		"hangs":         {Delay: time.Hour},
		"fails":         {Before: fails},
		"fails late":    {After: fails, Late: 2 * lease},
		"succeeds late": {Late: 2 * lease},
	} {
		for _, waited := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, waited=%t", name, waited), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					st := memstore.New(memstore.Config{})
					running := false
					o := store.Once{Lease: lease, Records: storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
						if c.Op == "Claim" && running {
							return renewal
						}
						return storetest.Fault{}
					})}
					if waited {
						if _, err := st.Claim(t.Context(), store.Claim{Key: "k", Token: "dead", Lease: wait}); err != nil {
							t.Fatal(err)
						}
					}
					_, _, err := o.Do(t.Context(), "k", func(ctx context.Context) ([]byte, error) {
						running = true
						begin := time.Now()
						<-ctx.Done()
						if told := time.Since(begin); told != lease || !errors.Is(context.Cause(ctx), store.ErrLeaseLost) {
							t.Errorf("told after %v with %v, want the lease of %v", told, context.Cause(ctx), lease)
						}
						return nil, ctx.Err()
					})
					if !errors.Is(err, store.ErrLeaseLost) {
						t.Errorf("got error %v, want ErrLeaseLost", err)
					}
					if name == "fails" && !errors.Is(err, fails) {
						t.Errorf("got error %v, want why the claim was not renewed", err)
					}
				})
			})
		}
	}
}

// TestOnceKeepsAClaimThatItWaitedFor: the time that a call waited for its claim
// is not taken from the claim.
func TestOnceKeepsAClaimThatItWaitedFor(t *testing.T) {
	const lease = 30 * time.Second
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		if _, err := st.Claim(t.Context(), store.Claim{Key: "k", Token: "dead", Lease: lease - 5*time.Second}); err != nil {
			t.Fatal(err)
		}
		_, _, err := (store.Once{Records: st, Lease: lease}).Do(t.Context(), "k", func(ctx context.Context) ([]byte, error) {
			select {
			case <-time.After(3 * lease):
			case <-ctx.Done():
			}
			return nil, context.Cause(ctx)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// A lost answer to Complete leaves the result in the store: the caller is told
// of the error, and the next call finds what was done.
func TestOnceFindsACompletionWhoseAnswerWasLost(t *testing.T) {
	st := memstore.New(memstore.Config{})
	o := store.Once{Records: records{Idempotency: st, after: func(call string) error {
		if call == "complete" {
			return errors.New("connection reset")
		}
		return nil
	}}}
	if _, _, err := o.Do(t.Context(), "k", value("done")); err == nil {
		t.Fatal("no error")
	}
	result, repeated, err := store.Once{Records: st}.Do(t.Context(), "k", mustNotRun(t))
	if string(result) != "done" || !repeated || err != nil {
		t.Fatalf("%q, %v, %v", result, repeated, err)
	}
}

// What a function did is recorded even if its caller's time is up meanwhile.
func TestOnceCompletesAfterTheContextEnded(t *testing.T) {
	st := memstore.New(memstore.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	if _, _, err := (store.Once{Records: st}).Do(ctx, "k", func(context.Context) ([]byte, error) {
		cancel()
		return []byte("done"), nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, repeated, err := (store.Once{Records: st}).Do(t.Context(), "k", mustNotRun(t)); !repeated || err != nil {
		t.Fatalf("%v, %v", repeated, err)
	}
}

func ExampleOnce() {
	once := store.Once{Records: memstore.New(memstore.Config{})}
	for range 2 {
		result, repeated, err := once.Do(context.Background(), "charge/fare-7", func(ctx context.Context) ([]byte, error) {
			return []byte("ch_42"), nil
		})
		fmt.Println(string(result), repeated, err)
	}
	// Output:
	// ch_42 false <nil>
	// ch_42 true <nil>
}

// TestMessageKey holds the form of keys, under which there are records already.
func TestMessageKey(t *testing.T) {
	if got, want := store.MessageKey("charge", "m1"), "pipeline/charge/m1"; got != want {
		t.Errorf("the key is %q, want %q", got, want)
	}
	long := strings.Repeat("x", store.MaxID)
	const want = "pipeline/charge/sha256:"
	if got := store.MessageKey("charge", long); !strings.HasPrefix(got, want) || len(got) != len(want)+64 {
		t.Errorf("the key of a long id is %q, want a hash after %q", got, want)
	}
	if store.MessageKey("charge", long) == store.MessageKey("charge", long+"y") {
		t.Error("two long ids have one key")
	}
}
