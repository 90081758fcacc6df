package saga_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A worker dies when it has handed the token over and before that is on record.
// Whoever has the token may answer before the next worker opens the execution,
// while that waits to hand it over again, and after it has.
func TestCallbackOfALostWorker(t *testing.T) {
	for _, tt := range []struct {
		answered time.Duration // after the start
		asked    int
	}{
		{answered: 10 * time.Second, asked: 1}, // the lease is over after 30s
		{answered: 40 * time.Second, asked: 1}, // the next attempt comes a minute later
		{answered: time.Hour, asked: 2},
	} {
		for _, how := range []string{"complete", "fail"} {
			t.Run(fmt.Sprint(how, " after ", tt.answered), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					tokens := make(chan string, 10)
					w.scenario = &scenario{saga: func(p *provider, _ string) *saga.Saga[trip] {
						return saga.New("trip",
							saga.Callback("Ask", func(ctx context.Context, s *trip) error {
								tokens <- saga.StepFrom(ctx).Token
								return nil
							}, func(s *trip, by string) error { s.Log = append(s.Log, by); return nil }).
								Undo(func(context.Context, *trip, saga.Outcome) error { return nil }).
								Retry(saga.Retry{Initial: time.Minute, Jitter: -1}).Retry(saga.Once(), "Refused"),
							saga.Pass("End", func(*trip) error { return nil }))
					}}
					var dead atomic.Bool
					w.work("one", storetest.NewFaulty(w.store, func(c storetest.Call) storetest.Fault {
						if c.Op == "Commit" {
							dead.Store(true)
						}
						if dead.Load() {
							return storetest.Fault{Before: storetest.ErrInjected}
						}
						return storetest.Fault{}
					}))
					w.start()
					token := <-tokens
					w.work("two", w.store)
					time.Sleep(tt.answered)
					answer := func() error {
						if how == "fail" {
							return w.client.Fail(t.Context(), token, "Refused", "too much")
						}
						return w.client.Complete(t.Context(), token, "ann")
					}
					if err := answer(); err != nil {
						t.Fatal(err)
					}
					x := w.wait()
					want, state := saga.Completed, `{"Log":["ann"]}`
					if how == "fail" {
						want, state = saga.Compensated, `{"Log":null}`
					}
					if x.Status != want || string(x.State) != state {
						t.Errorf("it is %s with %s, want %s with %s", x.Status, x.State, want, state)
					}
					// What was lost may be at work for its minute and a lease: its undo waits.
					limit := max(tt.answered, 30*time.Second) + 10*time.Second
					if how == "fail" {
						limit += time.Minute
					}
					if took := time.Since(w.begun); took > limit {
						t.Errorf("it took %s", took)
					}
					if again := len(tokens); again != tt.asked-1 || again == 1 && <-tokens != token {
						t.Errorf("it was asked %d times, want %d with the same token", again+1, tt.asked)
					}
					if err := answer(); !errors.Is(err, saga.ErrToken) {
						t.Errorf("a second answer: %v, want ErrToken", err)
					}
				})
			})
		}
	}
}
