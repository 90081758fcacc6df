package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// Coordinators start and stop many times, at any moment of their work, and with
// them sagas that are on their way: nothing hangs, nothing is lost, and no
// worker that ends in good order costs an attempt.
func TestStartStopStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{Partitions: 4})
		client := outsider(t, st)
		p := newProvider(st)
		build := func(w string) *saga.Saga[trip] {
			return saga.New("trip", p.step(w, "A"), p.step(w, "B"), p.do(w, "C"))
		}
		for range 300 {
			p.plan("B", plan{takes: time.Duration(rand.IntN(40)) * time.Millisecond})
		}
		const rounds = 200
		for i := range rounds {
			s := build(fmt.Sprint("worker-", i))
			c, err := saga.NewCoordinator(saga.CoordinatorConfig{
				Store: st, Sagas: []saga.Definer{s}, Sweep: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			all.Go(func() {
				if err := c.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("round %d: %v", i, err)
				}
			})
			all.Go(func() {
				if _, err := s.Start(t.Context(), c.Client(), fmt.Sprint(i), trip{}); err != nil {
					t.Errorf("round %d: %v", i, err)
				}
			})
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			cancel()
			all.Wait()
		}
		_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{build("last")}})
		for i := range rounds {
			id := fmt.Sprint(i)
			if x, err := client.Wait(t.Context(), id); err != nil || x.Status != saga.Completed {
				t.Errorf("%s: %+v, %v", id, x, err)
			}
			if n := count(t, client, id, saga.TaskTimedOut); n != 0 {
				t.Errorf("%s: %d attempts were lost", id, n)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		audited(t, st, client, "trip")
	})
}

// A coordinator whose context has ended already returns at once, in order.
func TestRunAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", nothing))
		c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := c.Run(canceled(t)); err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}
