package saga_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A losing store has lost the execution 1/Sub.
type losing struct {
	*memstore.Store
	lost atomic.Bool
}

func (l *losing) gone(id string) error {
	if id == "1/Sub" && l.lost.Load() {
		return fmt.Errorf("execution %q: %w", id, store.ErrNotFound)
	}
	return nil
}

func (l *losing) Get(ctx context.Context, id string) (*store.Record, error) {
	if err := l.gone(id); err != nil {
		return nil, err
	}
	return l.Store.Get(ctx, id)
}

func (l *losing) Open(ctx context.Context, r store.OpenRequest) (*store.Opening, error) {
	if err := l.gone(r.ID); err != nil {
		return nil, err
	}
	return l.Store.Open(ctx, r)
}

func (l *losing) Post(ctx context.Context, r store.PostRequest) (bool, error) {
	if err := l.gone(r.ID); err != nil {
		return false, err
	}
	return l.Store.Post(ctx, r)
}

func (l *losing) Deliver(ctx context.Context, r store.PostRequest, o store.OpenRequest) (store.Delivery, error) {
	if err := l.gone(r.ID); err != nil {
		return store.Delivery{}, err
	}
	return l.Store.Deliver(ctx, r, o)
}

// A child that a store has lost is not one that has done nothing, when its parent is
// undone before it has answered: an operator has to look.
func TestCancelOfALostChild(t *testing.T) {
	for name, tt := range map[string]struct {
		step func(*saga.Step[trip]) *saga.Step[trip]
		stop func(context.Context, *saga.Client) error
	}{
		"by a cancel": {as[trip], func(ctx context.Context, c *saga.Client) error {
			return c.Cancel(ctx, "1", saga.Order{By: "ann"})
		}},
		"by its time, with tries left": {func(s *saga.Step[trip]) *saga.Step[trip] {
			return s.Timeout(5 * time.Minute).Retry(saga.Retry{Attempts: 3})
		}, func(context.Context, *saga.Client) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var f family
				child := saga.New("child", f.step("X"), saga.Wait[trip]("W", time.Hour), f.step("Y"))
				s := saga.New("parent", f.step("A"), tt.step(saga.Child("Sub", child, hand, take)), f.do("D"))
				st := &losing{Store: memstore.New(memstore.Config{})}
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				st.lost.Store(true)
				if err := tt.stop(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				x, err := c.Get(t.Context(), "1")
				if err != nil || x.Status != saga.Blocked || x.Trouble == nil || x.Trouble.Step != "Sub" || !strings.Contains(x.Trouble.Error, "is missing") {
					t.Fatalf("it is %s by %+v (%v) after %q", x.Status, x.Trouble, err, f.String())
				}
				if err := c.Skip(t.Context(), "1", saga.Order{By: "ann", Note: "undone by hand"}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				x, err = c.Wait(t.Context(), "1")
				if got, want := f.String(), "A, X, undo A"; err != nil || x.Status != saga.Compensated || got != want {
					t.Errorf("it is %+v (%v) after %q, want %q", x, err, got, want)
				}
			})
		})
	}
}
