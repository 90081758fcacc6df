package saga_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// Several workers, one of which dies, and many executions of two accounts at
// once, some of which fail: nobody has a lock beside another, fences only grow,
// and nothing is left.
func TestManyContendForLocks(t *testing.T) {
	const many = 40
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testContention(t, seed, many) })
		})
	}
}

// A vault is what locks protect.
type vault struct {
	mu      sync.Mutex
	rand    *rand.Rand
	highest map[string]int64
	inside  map[string]string // execution, by lock
	faults  []string
}

// enter holds a handler to its locks.
func (v *vault) enter(info saga.StepInfo, want int) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(info.Locks) != want {
		v.faults = append(v.faults, fmt.Sprintf("%s of %s has the locks %v", info.Step, info.Execution, info.Locks))
	}
	for lock, fence := range info.Locks {
		if other := v.inside[lock]; fence < v.highest[lock] || other != "" && other != info.Execution {
			v.faults = append(v.faults, fmt.Sprintf("%s enters %s under %d after %d, beside %q", info.Execution, lock, fence, v.highest[lock], other))
		}
		v.highest[lock], v.inside[lock] = max(fence, v.highest[lock]), info.Execution
	}
	return time.Duration(v.rand.IntN(5000)) * time.Millisecond
}

func (v *vault) leave(info saga.StepInfo) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for lock := range info.Locks {
		if v.inside[lock] == info.Execution {
			v.inside[lock] = ""
		}
	}
}

func testContention(t *testing.T, seed uint64, many int) {
	random := rand.New(rand.NewPCG(seed, 1))
	v := &vault{rand: rand.New(rand.NewPCG(seed, 2)), highest: make(map[string]int64), inside: make(map[string]string)}
	work := func(want int) saga.Action[transfer] {
		return func(ctx context.Context, _ *transfer) error {
			info := saga.StepFrom(ctx)
			d := v.enter(info, want)
			defer func() { v.leave(info) }()
			return after(d)(ctx)
		}
	}
	undo := func(want int) saga.Compensation[transfer] {
		return func(ctx context.Context, s *transfer, _ saga.Outcome) error { return work(want)(ctx, s) }
	}
	from := saga.Lock("account", func(t *transfer) string { return t.From }).Wait(time.Hour)
	to := saga.Lock("account", func(t *transfer) string { return t.To }).Wait(time.Hour)
	def := saga.New("transfer",
		saga.Do("Both", work(2)).Undo(undo(2)).Lock(from, to),
		saga.Do("Last", func(ctx context.Context, s *transfer) error {
			if err := work(2)(ctx, s); err != nil {
				return err
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.rand.IntN(4) == 0 {
				return errNo
			}
			return nil
		}).ReadOnly())
	st := memstore.New(memstore.Config{Partitions: 8})
	var dies sync.Mutex
	dead := false
	doomed, stopDoomed := run(t, saga.CoordinatorConfig{Sagas: []saga.Definer{def}, Store: storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
		dies.Lock()
		defer dies.Unlock()
		if dead {
			return storetest.Fault{Before: storetest.ErrInjected}
		}
		return storetest.Fault{}
	})})
	co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}})
	for i := range many {
		pair := [][2]string{{"a", "b"}, {"b", "a"}, {"b", "c"}, {"c", "a"}}[random.IntN(4)]
		c := []*saga.Client{co.Client(), doomed.Client()}[i%2]
		if _, err := def.Start(t.Context(), c, fmt.Sprint(i), transfer{pair[0], pair[1]}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Minute)
	dies.Lock()
	dead = true
	dies.Unlock()
	for i := range many {
		x, err := co.Client().Wait(t.Context(), fmt.Sprint(i))
		if err != nil || !x.Status.Ended() {
			t.Errorf("%d is %+v, %v", i, x, err)
		}
	}
	v.mu.Lock()
	for _, fault := range v.faults {
		t.Error(fault)
	}
	v.mu.Unlock()
	time.Sleep(time.Minute)
	audited(t, st, co.Client(), "")
	unlocked(t, st)
	for _, end := range []func() error{stop, stopDoomed} {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

type transfer struct{ From, To string }
