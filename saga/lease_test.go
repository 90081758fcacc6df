package saga_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A lease is reckoned from when its renewal was sent, not from when that was
// answered: the store may have done it at once.
func TestLeaseIsReckonedFromTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var renewals atomic.Int64
		slow := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			switch {
			case c.Op != "Renew":
				return storetest.Fault{}
			case renewals.Add(1) == 1: // at 10s: it holds until 40s
				return storetest.Fault{Late: 15 * time.Second}
			}
			return storetest.Fault{Before: storetest.ErrInjected}
		})
		ended := make(chan time.Duration, 10)
		begin := time.Now()
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			<-ctx.Done()
			ended <- time.Since(begin)
			return ctx.Err()
		}).Timeout(time.Hour))
		c, stop := run(t, saga.CoordinatorConfig{Store: slow, Sagas: []saga.Definer{s}, Lease: 30 * time.Second})
		if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if got := <-ended; got > 37*time.Second {
			t.Errorf("the handler's context ended after %s, want 37s: 3s before the lease that was renewed at 10s", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Past the pivot the saga's time is over for nobody but whoever reads the alert.
func TestSagaWithinDoesNotCutAttemptsAfterThePivot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip",
			saga.Do("P", nothing).Pivot(),
			saga.Do("Z", func(ctx context.Context, _ *trip) error {
				select {
				case <-time.After(30 * time.Second):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})).Within(10 * time.Second)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if n := count(t, c, "1", saga.TaskTimedOut); n != 0 {
			t.Errorf("%d attempts were cut, want none", n)
		}
	})
}

// Mail that came before a deadline did, and is read after it, counts first.
func TestMailBeforeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { return errors.New("flaky") }).
			Retry(saga.Retry{Initial: time.Hour, Max: time.Hour})).Within(time.Minute)
		one, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		client := outsider(t, st)
		if err := client.Cancel(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute) // nobody is there at the deadline
		coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		x, err := client.Wait(t.Context(), "1")
		if err != nil || x.Cause == nil || x.Cause.Kind != saga.CauseCancelled || x.Cause.By != "ann" {
			t.Errorf("%+v (%v), want it cancelled by ann", x, err)
		}
	})
}

// A coordinator that ends says so, and its share is taken over at the next
// heartbeat.
func TestShareOfACoordinatorThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", nothing))
		_, stopOne := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: "leaves"})
		_, stopTwo := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: "stays"})
		time.Sleep(10 * time.Second)
		if err := stopOne(); err != nil {
			t.Fatal(err)
		}
		left := time.Now()
		client := outsider(t, st)
		for i := range 64 {
			if _, err := s.Start(t.Context(), client, strconv.Itoa(i), trip{}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 64 {
			if _, err := s.Wait(t.Context(), client, strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(left); took > 5*time.Second {
			t.Errorf("the last execution was done %s after the coordinator left, want it within a heartbeat of 2s and a sweep", took)
		}
		if err := stopTwo(); err != nil {
			t.Error(err)
		}
	})
}
