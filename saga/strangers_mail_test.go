package saga_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A signal by a coordinator of other sagas is mostly heard within a few sweeps, the
// twentieth time too, though two such coordinators come first now and then.
func TestSignalByACoordinatorOfOtherSagasIsHeardSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var mu sync.Mutex
		var sent time.Time
		var worst time.Duration
		heard, late := 0, 0
		s := saga.New("loop",
			saga.Receive[trip, int]("R", "go", nil),
			saga.Do("A", func(context.Context, *trip) error {
				mu.Lock()
				defer mu.Unlock()
				heard++
				took := time.Since(sent)
				worst = max(worst, took)
				if took > 15*time.Second {
					late++
				}
				return nil
			}).ReadOnly(),
			saga.Choose[trip]("More").When("R", func(*trip) bool { return true }).Otherwise("E"),
			saga.Succeed[trip]("E")).Version("1")
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		other := func(name string) *saga.Client {
			return coordinate(t, saga.CoordinatorConfig{Store: st, Name: name, Sagas: []saga.Definer{saga.New(name, saga.Do("A", nothing).ReadOnly())}})
		}
		foreign, _ := other("other"), other("another")
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for range 20 {
			mu.Lock()
			sent = time.Now()
			mu.Unlock()
			if err := foreign.Signal(t.Context(), "1", "go", "", 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Second)
		}
		mu.Lock()
		defer mu.Unlock()
		// Who looks first is chance, and a stranger that does leaves it for longer
		// each time, but the next signal is as if it were the first.
		if heard != 20 || late > 5 || worst > 70*time.Second {
			t.Errorf("%d of 20 signals were heard, %d late, the last after %s", heard, late, worst)
		}
	})
}
