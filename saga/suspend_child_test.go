package saga_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A child may come to its end while it is suspended with its parent, because what
// somebody outside says is heard. It is undone all the same when its parent is, and
// ends with it.
func TestChildThatCompletesWhileItIsSuspended(t *testing.T) {
	for name, tt := range map[string]struct {
		last error // of the parent's last step
		want saga.Status
		did  []string
	}{
		"and is undone later": {errRefused, saga.Compensated, []string{"do A", "last", "undo Approve done []", "undo A done []"}},
		"and is kept":         {nil, saga.Completed, []string{"do A", "last"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				tokens := make(chan string, 1)
				child := saga.New("child", saga.Callback[trip, int]("Approve", func(ctx context.Context, _ *trip) error {
					tokens <- saga.StepFrom(ctx).Token
					return nil
				}, nil).Undo(j.undo("Approve")))
				s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { j.add("do A"); return nil }).Undo(j.undo("A")),
					saga.Child("Sub", child, hand, nil),
					saga.Do("Z", func(context.Context, *trip) error { j.add("last"); return tt.last }))
				st := memstore.New(memstore.Config{})
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				token := <-tokens
				give(t, c.Suspend, "1")
				if err := c.Complete(t.Context(), token, 7); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				give(t, c.Resume, "1")
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				if x, err := c.Wait(ctx, "1"); err != nil || x.Status != tt.want {
					t.Errorf("it is %+v (%v)", x, err)
				}
				if got := j.all(); !slices.Equal(got, tt.did) {
					t.Errorf("it did %q, want %q", got, tt.did)
				}
				time.Sleep(time.Minute)
				if x, err := c.Get(t.Context(), "1/Sub"); err != nil || x.Status != tt.want || x.Held || !x.Suspended.IsZero() {
					t.Errorf("its child is %+v (%v)", x, err)
				}
			})
		})
	}
}

// Orders that a coordinator reads together reach the children one by one, as they
// were given.
func TestSuspendAndResumeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		child := saga.New("child", saga.Wait[trip]("W", time.Minute), saga.Do("A", j.do("A")).Undo(j.undo("A")))
		s := saga.New("trip", saga.Child("Sub", child, hand, nil), saga.Do("Z", j.do("Z")))
		st := memstore.New(memstore.Config{})
		cfg := saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}}
		co, stop := run(t, cfg)
		if _, err := s.Start(t.Context(), co.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		c := outsider(t, st)
		order := func(orders ...func(context.Context, string, saga.Order) error) {
			t.Helper()
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			for _, o := range orders {
				if err := o(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
					t.Fatal(err)
				}
			}
			_, stop = run(t, cfg)
			time.Sleep(5 * time.Second)
		}
		stands := func(suspended bool) {
			t.Helper()
			for _, id := range []string{"1", "1/Sub"} {
				if x, err := c.Get(t.Context(), id); err != nil || x.Suspended.IsZero() == suspended {
					t.Errorf("%s is suspended since %v (%v), want %t", id, x.Suspended, err, suspended)
				}
			}
		}
		order(c.Suspend, c.Resume, c.Suspend)
		stands(true)
		order(c.Resume, c.Suspend)
		stands(true)
		order(c.Resume)
		stands(false)
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		if x, err := c.Wait(ctx, "1"); err != nil || x.Status != saga.Completed {
			t.Errorf("it is %+v (%v)", x, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
