package saga_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A part of a Map that was terminated after the point of no return fails the Map: a
// retry starts another one, and leaves those alone that are done.
func TestRetryOfAPartStartsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		var mended atomic.Bool
		s := saga.New("trip", saga.Do("P", j.do("P")).Pivot(),
			saga.ForEach("M", func(*trip) []int { return []int{0, 1, 2, 3} }, nil,
				saga.Do("A", func(_ context.Context, item *int) error {
					if *item == 2 && !mended.Load() {
						return errRefused
					}
					return j.do(fmt.Sprint("A", *item))(t.Context(), new(trip))
				})),
			saga.Do("Z", j.do("Z")))
		saga.SetMapSize(s, 1, 1)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := c.Terminate(t.Context(), "1/M:2", saga.Order{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if x, err := c.Get(t.Context(), "1"); err != nil || x.Status != saga.Blocked {
			t.Fatalf("it is %+v (%v)", x, err)
		}
		mended.Store(true)
		if err := c.Retry(t.Context(), "1", saga.Order{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		x, err := c.Get(t.Context(), "1")
		if err != nil || x.Status != saga.Completed {
			t.Errorf("it is %+v (%v)", x, err)
		}
		got := j.all()
		slices.Sort(got)
		if !slices.Equal(got, []string{"do A0", "do A1", "do A2", "do A3", "do P", "do Z"}) {
			t.Errorf("it did %q", got)
		}
	})
}
