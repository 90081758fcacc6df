package saga_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// A wait of a year ends on time, whatever kind it is and however often the
// coordinators are started anew, and costs no more than a short one.
func TestWaitOfAYear(t *testing.T) {
	begun := func(at *time.Time) *saga.Step[trip] { // what comes after the wait
		return saga.Do("B", func(context.Context, *trip) error { *at = time.Now(); return nil })
	}
	first := func() *saga.Step[trip] { return saga.Do("A", nothing).Undo(undoNothing) }
	late := func(s *saga.Step[trip]) *saga.Step[trip] { return s.Timeout(year).Catch("B", saga.ErrorTimeout) }
	for _, tt := range []struct {
		name  string
		saga  func(at *time.Time) *saga.Saga[trip]
		most  int // calls to the store, of any kind
		start []saga.StartOption
	}{
		{"Wait", func(at *time.Time) *saga.Saga[trip] {
			return saga.New("trip", first(), saga.Wait[trip]("W", year), begun(at))
		}, 5, nil},
		{"WaitUntil", func(at *time.Time) *saga.Saga[trip] {
			until := time.Now().Add(year)
			return saga.New("trip", first(), saga.WaitUntil("W", func(*trip) time.Time { return until }), begun(at))
		}, 5, nil},
		{"in a branch", func(at *time.Time) *saga.Saga[trip] {
			return saga.New("trip", first(), saga.Parallel("P",
				saga.Branch("x", saga.Wait[trip]("W", year)),
				saga.Branch("y", saga.Do("Y", nothing).ReadOnly(), saga.Wait[trip]("V", year/2)),
			).Merge(func(*trip, []trip) error { return nil }), begun(at))
		}, 11, nil},
		{"a start that is put off", func(at *time.Time) *saga.Saga[trip] { return saga.New("trip", begun(at)) }, 4, []saga.StartOption{saga.After(year)}},
		{"the delay before a retry", func(at *time.Time) *saga.Saga[trip] {
			return saga.New("trip", saga.Do("B", func(ctx context.Context, _ *trip) error {
				if saga.StepFrom(ctx).Attempt == 1 {
					return errors.New("flaky")
				}
				*at = time.Now()
				return nil
			}).Retry(saga.Retry{Initial: year, Jitter: -1}))
		}, 5, nil},
		{"Callback", func(at *time.Time) *saga.Saga[trip] {
			return saga.New("trip", first(), late(saga.Callback[trip, int]("W", nothing, nil).ReadOnly()), begun(at))
		}, 6, nil},
		{"Receive", func(at *time.Time) *saga.Saga[trip] {
			return saga.New("trip", first(), late(saga.Receive[trip, int]("W", "never", nil)), begun(at))
		}, 5, nil},
		{"Remote", func(at *time.Time) *saga.Saga[trip] {
			return saga.New("trip", first(), late(saga.Remote[trip, int, int]("W", "nobody",
				func(*trip) (int, error) { return 0, nil }, nil).ReadOnly().Retry(saga.Once())), begun(at))
		}, 7, nil}, // after a lease it looks whether the command went out
		{"the saga's own time", func(at *time.Time) *saga.Saga[trip] {
			return saga.New("trip", saga.Do("A", nothing).Undo(func(context.Context, *trip, saga.Outcome) error {
				*at = time.Now()
				return nil
			}), saga.Receive[trip, int]("W", "never", nil), begun(new(time.Time))).Within(year)
		}, 5, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at time.Time
				s := tt.saga(&at)
				var mu sync.Mutex
				calls := make(map[string]int)
				st := storetest.NewFaulty(memstore.New(memstore.Config{Partitions: 1}), func(c storetest.Call) storetest.Fault {
					mu.Lock()
					defer mu.Unlock()
					if c.ID == "1" && c.Op != "Get" {
						calls[c.Op]++
					}
					return storetest.Fault{}
				})
				begin := time.Now()
				// Coordinators come for an hour each few weeks, and are there at the end.
				for n := 0; time.Since(begin) < year+10*day; n++ {
					c, stop := run(t, saga.CoordinatorConfig{
						Store: st, Sagas: []saga.Definer{s}, Retention: year, ReplyTo: "replies",
						Publisher: publisher(func(string, *message.Message) error { return nil }),
						Logger:    slog.New(slog.DiscardHandler),
					})
					if n == 0 {
						if _, err := s.Start(t.Context(), c.Client(), "1", trip{}, tt.start...); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(time.Hour)
					if err := stop(); err != nil {
						t.Fatal(err)
					}
					away, left := 20*day, time.Until(begin.Add(year))
					if left > time.Hour && left < away+time.Hour {
						away = left - time.Minute
					}
					time.Sleep(away)
				}
				x, err := outsider(t, st).Get(t.Context(), "1")
				if err != nil || !x.Status.Ended() {
					t.Errorf("it is %+v, %v", x, err)
				}
				if took := at.Sub(begin); took < year || took > year+2*time.Second {
					t.Errorf("the wait took %s, want %s and a sweep", took, year)
				}
				mu.Lock()
				defer mu.Unlock()
				n := 0
				for k := range maps.Values(calls) {
					n += k
				}
				if n > tt.most {
					t.Errorf("%d calls to the store, want %d: %v", n, tt.most, calls)
				}
			})
		})
	}
}
