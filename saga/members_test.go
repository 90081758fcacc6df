package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

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

// With short leases a dead coordinator's share of the partitions is taken over
// as soon as its executions are.
func TestShareOfADeadCoordinatorIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var dead atomic.Bool
		split := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
			if dead.Load() {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})
		s := saga.New("trip", saga.Do("A", nothing))
		cfg := saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Lease: 2 * time.Second, Sweep: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
		cfg.Store, cfg.Name = split, "dies"
		_, stopOne := run(t, cfg)
		cfg.Store, cfg.Name = st, "lives"
		_, stopTwo := run(t, cfg)
		time.Sleep(5 * time.Second)
		dead.Store(true)
		died := time.Now()
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
		if took := time.Since(died); took > 4*time.Second {
			t.Errorf("the last execution was done %s after the coordinator died, want it within two leases of 2s", took)
		}
		if err := errors.Join(stopOne(), stopTwo()); err != nil {
			t.Error(err)
		}
	})
}

// Many coordinators share the work: each execution runs once, and all of them
// get some.
func TestCoordinatorsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		const n, workers = 300, 3
		var did [workers]atomic.Int64
		var runs sync.Map
		for i := range workers {
			s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
				did[i].Add(1)
				if _, again := runs.LoadOrStore(saga.StepFrom(ctx).Execution, true); again {
					t.Errorf("%s ran twice", saga.StepFrom(ctx).Execution)
				}
				time.Sleep(100 * time.Millisecond)
				return nil
			}))
			_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: fmt.Sprint("worker-", i), Concurrency: 10})
			defer func() {
				if err := stop(); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(5 * time.Second) // for all to hear of each other
		client, err := saga.NewClient(saga.ClientConfig{Store: st})
		if err != nil {
			t.Fatal(err)
		}
		s := saga.New("trip", saga.Do("A", nothing))
		for i := range n {
			if _, err := s.Start(t.Context(), client, fmt.Sprint("trip-", i), trip{}); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		for i := range n {
			if _, err := client.Wait(t.Context(), fmt.Sprint("trip-", i)); err != nil {
				t.Fatal(err)
			}
		}
		// A hundred each, ten at once: about ten rounds of 100 ms.
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%d executions took %s", n, took)
		}
		for i := range did {
			if got := did[i].Load(); got < n/workers/2 {
				t.Errorf("worker %d ran %d of %d executions", i, got, n)
			}
		}
	})
}

// When one of several coordinators dies without a word, the others take over
// its partitions, and its executions when their leases have expired.
func TestCoordinatorsTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var dead atomic.Bool
		broken := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
			if dead.Load() {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})
		block := make(chan struct{})
		stuck := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
			<-block
			return errors.New("dead")
		}))
		s := saga.New("trip", saga.Do("A", nothing))
		one, stopOne := run(t, saga.CoordinatorConfig{Store: broken, Sagas: []saga.Definer{stuck}, Name: "one"})
		const n = 20
		for i := range n {
			if _, err := stuck.Start(t.Context(), one.Client(), fmt.Sprint(i), trip{}); err != nil {
				t.Fatal(err)
			}
		}
		dead.Store(true)
		two, stopTwo := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: "two"})
		begin := time.Now()
		for i := range n {
			if x, err := two.Client().Wait(t.Context(), fmt.Sprint(i)); err != nil || x.Status != saga.Completed {
				t.Errorf("%+v, %v", x, err)
			}
		}
		if took := time.Since(begin); took > 40*time.Second {
			t.Errorf("taken over after %s, want the lease of 30s and a little", took)
		}
		close(block)
		if err := errors.Join(stopOne(), stopTwo()); err != nil {
			t.Error(err)
		}
	})
}

// Services with sagas of their own share a namespace: each finds all of its
// executions, whoever else is there.
func TestCoordinatorsOfDifferentSagas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		flights := saga.New("flight", saga.Do("A", nothing))
		hotels := saga.New("hotel", saga.Do("A", nothing))
		for name, s := range map[string]saga.Definer{"flights": flights, "hotels": hotels} {
			_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: name, Logger: slog.New(slog.DiscardHandler)})
			defer func() {
				if err := stop(); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(5 * time.Second)
		client, err := saga.NewClient(saga.ClientConfig{Store: st})
		if err != nil {
			t.Fatal(err)
		}
		const n = 50
		for i := range n {
			for _, s := range []*saga.Saga[trip]{flights, hotels} {
				if _, err := s.Start(t.Context(), client, fmt.Sprint(s.Definition().Name(), i), trip{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(20 * time.Second)
		for _, name := range []string{"flight", "hotel"} {
			counts, err := client.Count(t.Context(), name)
			if err != nil || counts[saga.Completed] != n {
				t.Errorf("%s: %v (%v), want %d completed", name, counts, err, n)
			}
		}
	})
}
