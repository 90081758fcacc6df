package saga_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A slowQueue is a Publisher whose sends take a while, and heed their contexts.
type slowQueue struct {
	takes time.Duration
	sends atomic.Int64
}

func (q *slowQueue) Publish(_ string, msgs ...*message.Message) error {
	for _, m := range msgs {
		q.sends.Add(1)
		select {
		case <-time.After(q.takes):
		case <-m.Context().Done():
			return m.Context().Err()
		}
	}
	return nil
}

func (*slowQueue) Close() error { return nil }

func elsewhere(name string) *saga.Step[trip] {
	return saga.Remote(name, "there", func(*trip) (int, error) { return 0, nil }, func(*trip, int) error { return nil }).
		ReadOnly().Timeout(time.Hour)
}

// Many commands take longer than a lease to be sent one after the other. Each goes
// out once, and the execution is not taken for one that kills its workers.
func TestManyCommandsGoOutOnce(t *testing.T) {
	for name, takes := range map[string]time.Duration{
		"soon": 40 * time.Millisecond, "in more than a lease": 2 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &slowQueue{takes: takes}
				s := saga.New("trip", saga.ForEach("M", func(*trip) []trip { return make([]trip, 400) }, nil, elsewhere("B")))
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Publisher: q, ReplyTo: "here"})
				if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				x, err := c.Get(t.Context(), "1")
				if err != nil || x.Status != saga.Running || x.UnreadMail > 0 {
					t.Errorf("%+v, %v", x, err)
				}
				if n := q.sends.Load(); n != 400 {
					t.Errorf("%d sends, want 400", n)
				}
			})
		})
	}
}

// A queue that hangs ends neither the handlers beside nor, as the hours go by, the
// execution's good name.
func TestQueueThatHangsKeepsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Parallel("X",
			saga.Branch("a", saga.Do("A", func(ctx context.Context, _ *trip) error {
				select {
				case <-ctx.Done():
					t.Errorf("the handler's context has ended: %v", context.Cause(ctx))
				case <-time.After(2 * time.Minute):
				}
				return ctx.Err()
			}).ReadOnly().Timeout(time.Hour)),
			saga.Branch("b", saga.Wait[trip]("W", 500*time.Millisecond), elsewhere("B").Timeout(24*time.Hour)),
		).Merge(func(*trip, []trip) error { return nil }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Publisher: &slowQueue{takes: time.Hour}, ReplyTo: "here"})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Hour)
		if x, err := c.Get(t.Context(), "1"); err != nil || x.Status != saga.Running {
			t.Errorf("%+v, %v", x, err)
		}
	})
}

// A worker that dies in the middle of many sends leaves those to the next that it
// has not written down as sent: a moment's worth is sent twice.
func TestSendsAreWrittenDownAsTheyGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var dead atomic.Bool
		mortal := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
			if dead.Load() {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})
		q, other := &slowQueue{takes: time.Second}, &slowQueue{}
		s := saga.New("trip", saga.ForEach("M", func(*trip) []trip { return make([]trip, 400) }, nil, elsewhere("B")))
		one, stopOne := run(t, saga.CoordinatorConfig{Store: mortal, Name: "one", Sagas: []saga.Definer{s}, Publisher: q, ReplyTo: "here"})
		if _, err := s.Start(t.Context(), one.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		dead.Store(true)
		before := q.sends.Load()
		time.Sleep(time.Minute)
		if err := stopOne(); err != nil {
			t.Error(err)
		}
		_, stopTwo := run(t, saga.CoordinatorConfig{Store: st, Name: "two", Sagas: []saga.Definer{s}, Publisher: other, ReplyTo: "here"})
		time.Sleep(time.Minute)
		if n, want := other.sends.Load(), 400-before+3*16; n > want || n < 400-before {
			t.Errorf("the second worker sent %d after %d by the first, want %d to %d", n, before, 400-before, want)
		}
		if err := stopTwo(); err != nil {
			t.Error(err)
		}
	})
}
