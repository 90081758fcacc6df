package saga_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A handler that heeds no context has its effect, and says that it is done, when its
// worker has lost the lease, or has given it up. Whatever the next attempt says, the
// effect is undone, and not before it is there.
func TestEffectOfAHandlerThatIsNotHeard(t *testing.T) {
	const lease, timeout = 30 * time.Second, time.Minute
	for name, tt := range map[string]struct {
		cut     bool          // the worker off the store
		effect  time.Duration // when it is
		cancel  bool
		branch  bool
		refused error // what the next attempt is
	}{
		"lease lost, refused":          {cut: true, effect: timeout - time.Second, refused: saga.Permanent(errNo)},
		"lease lost, late, refused":    {cut: true, effect: timeout + lease - time.Second, refused: saga.Permanent(errNo)},
		"lease lost, no effect":        {cut: true, effect: timeout + lease - time.Second, refused: saga.NoEffect(saga.Permanent(errNo))},
		"lease lost, cancelled":        {cut: true, effect: timeout + lease - time.Second, cancel: true, refused: saga.Permanent(errNo)},
		"lease lost, in a branch":      {cut: true, effect: timeout + lease - time.Second, branch: true, refused: saga.Permanent(errNo)},
		"given up, refused":            {effect: timeout + lease - time.Second, refused: saga.Permanent(errNo)},
		"given up, in a branch":        {effect: timeout + lease - time.Second, branch: true, refused: saga.Permanent(errNo)},
		"given up, cancelled":          {effect: timeout + lease - time.Second, cancel: true, refused: saga.Permanent(errNo)},
		"done late, and fails after":   {effect: timeout + time.Second, refused: saga.Permanent(errNo)},
		"done late, and is cancelled":  {effect: timeout + time.Second, cancel: true, refused: saga.Permanent(errNo)},
		"lease lost, done, and failed": {cut: true, effect: timeout + lease - time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				var cut atomic.Bool
				split := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
					if cut.Load() {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				})
				var mu sync.Mutex
				effects := make(map[string]int) // of a service that knows keys
				a := saga.Do("A", func(ctx context.Context, s *trip) error {
					info := saga.StepFrom(ctx)
					if info.Attempt > 1 && tt.refused != nil {
						return tt.refused
					}
					if info.Attempt == 1 {
						time.Sleep(tt.effect)
					}
					mu.Lock()
					effects[info.Key] = 1
					mu.Unlock()
					if info.Attempt == 1 && tt.effect > timeout+lease/2 {
						time.Sleep(lease) // its answer is too late, too
					}
					return nil
				}).Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error {
					mu.Lock()
					defer mu.Unlock()
					delete(effects, saga.StepFrom(ctx).ActionKey)
					return nil
				}).Timeout(timeout)
				if tt.branch {
					a = saga.Parallel("P", saga.Branch("a", a), saga.Branch("b", saga.Do("B", nothing).ReadOnly())).
						Merge(func(*trip, []trip) error { return nil })
				}
				s := saga.New("trip", a, saga.Do("Z", func(context.Context, *trip) error { return saga.Permanent(errNo) }))
				one, stopOne := run(t, saga.CoordinatorConfig{Store: split, Sagas: []saga.Definer{s}, Name: "one", Lease: lease})
				if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				cut.Store(tt.cut)
				two, stopTwo := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Name: "two", Lease: lease})
				if tt.cancel {
					if err := two.Client().Cancel(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
						t.Error(err)
					}
				}
				if x, err := two.Client().Wait(t.Context(), "1"); err != nil || x.Status != saga.Compensated {
					t.Errorf("it is %+v, %v", x, err)
				}
				time.Sleep(10 * time.Minute)
				mu.Lock()
				if len(effects) > 0 {
					t.Errorf("the effects %v are left", effects)
				}
				mu.Unlock()
				if err := errors.Join(stopOne(), stopTwo()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
