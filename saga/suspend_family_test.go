package saga_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// The executions that do parts of a Map stop with it, and go on with it.
func TestSuspendOfALargeMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int64
		s := saga.New("trip", saga.ForEach("M", func(*trip) []int { return make([]int, 1200) }, nil,
			saga.Wait[int]("W", time.Minute),
			saga.Do("A", func(context.Context, *int) error { begun.Add(1); return nil }).ReadOnly()))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for range 2 { // and again
			give(t, c.Suspend, "1")
			time.Sleep(10 * time.Minute)
			if n := begun.Load(); n != 0 {
				t.Fatalf("%d items began while it was suspended", n)
			}
			give(t, c.Resume, "1")
			time.Sleep(10 * time.Second)
		}
		if _, err := s.Wait(t.Context(), c, "1"); err != nil || begun.Load() != 1200 {
			t.Errorf("resumed %d items began: %v", begun.Load(), err)
		}
	})
}

func give(t *testing.T, order func(context.Context, string, saga.Order) error, id string) {
	t.Helper()
	if err := order(t.Context(), id, saga.Order{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
}

// So does a child, whether it is done or undone, and its own child. One that was
// suspended by itself stays so.
func TestSuspendOfChildren(t *testing.T) {
	in := func(*trip) (trip, error) { return trip{}, nil }
	merge := func(s *trip, child trip) error { s.Log = append(s.Log, child.Log...); return nil }
	for name, tt := range map[string]struct {
		before, between func(*testing.T, *saga.Client)
		suspended       bool // when its parent goes on
	}{
		"with its parent":                        {},
		"by itself":                              {suspended: true, before: func(t *testing.T, c *saga.Client) { give(t, c.Suspend, "1/Sub/Sub") }},
		"with its parent, and resumed by itself": {between: func(t *testing.T, c *saga.Client) { give(t, c.Resume, "1/Sub/Sub") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				inner := saga.New("inner", saga.Wait[trip]("W", time.Minute), saga.Do("A", j.do("A")).Undo(j.undo("A")))
				outer := saga.New("outer", saga.Child("Sub", inner, in, merge))
				s := saga.New("trip", saga.Child("Sub", outer, in, merge), saga.Do("Z", j.do("Z")).Undo(j.undo("Z")))
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if tt.before != nil {
					tt.before(t, c)
				}
				give(t, c.Suspend, "1")
				for _, id := range []string{"1", "1/Sub", "1/Sub/Sub"} {
					if x, err := c.Get(t.Context(), id); err != nil || x.Suspended.IsZero() {
						t.Errorf("%s is %+v (%v)", id, x, err)
					}
				}
				if tt.between != nil {
					tt.between(t, c)
				}
				time.Sleep(time.Hour)
				if tt.between == nil && len(j.all()) > 0 {
					t.Errorf("suspended it did %q", j.all())
				}
				give(t, c.Resume, "1")
				if x, err := c.Get(t.Context(), "1/Sub/Sub"); err != nil || x.Suspended.IsZero() == tt.suspended {
					t.Errorf("after its parent was resumed it is %+v (%v)", x, err)
				}
				if tt.suspended {
					give(t, c.Resume, "1/Sub/Sub")
				}
				if _, err := s.Wait(t.Context(), c, "1"); err != nil {
					t.Error(err)
				}
				if got := j.all(); !slices.Equal(got, []string{"do A", "do Z"}) {
					t.Errorf("it did %q", got)
				}
			})
		})
	}
}

// A child that is undone stops too.
func TestSuspendOfAChildThatIsUndone(t *testing.T) {
	in := func(*trip) (trip, error) { return trip{}, nil }
	synctest.Test(t, func(t *testing.T) {
		var j journal
		inner := saga.New("inner", saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", j.do("B")).Undo(func(context.Context, *trip, saga.Outcome) error { time.Sleep(20 * time.Second); return nil }))
		s := saga.New("trip", saga.Child("Sub", inner, in, nil), saga.Do("Z", j.fail("Z", errRefused)))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		give(t, c.Suspend, "1")
		time.Sleep(time.Hour)
		if got := j.all(); !slices.Equal(got, []string{"do A", "do B", "fail Z"}) {
			t.Errorf("suspended it did %q", got)
		}
		give(t, c.Resume, "1")
		if x, err := c.Wait(t.Context(), "1"); err != nil || x.Status != saga.Compensated || len(j.all()) != 4 {
			t.Errorf("it is %+v (%v) after %q", x, err, j.all())
		}
	})
}
