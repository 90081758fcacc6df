package saga_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// awaySaga has forty items that a participant does.
func awaySaga() *saga.Saga[int] {
	return saga.New("away", saga.ForEach("Each", func(n *int) []int {
		list := make([]int, *n)
		for i := range list {
			list[i] = i
		}
		return list
	}, nil, saga.Remote("Away", "payments", func(n *int) (int, error) { return *n, nil }, func(*int, int) error { return nil }).
		UndoRemote().Timeout(10*time.Minute).Retry(saga.Retry{Attempts: 1})))
}

// A reading is a store that tells which frames are read.
type reading struct {
	saga.Store
	names chan []string
}

func (s reading) Frames(ctx context.Context, id string, names ...string) (map[string][]byte, error) {
	s.names <- names
	return s.Store.Frames(ctx, id, names...)
}

// away runs the saga against the participant.
func (p *post) away(t *testing.T, st saga.Store) (*saga.Saga[int], *saga.Client) {
	s := awaySaga()
	co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
	p.reply = co.HandleMessage
	t.Cleanup(func() {
		time.Sleep(time.Hour) // for replies that come late
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s, co.Client()
}

// TestOpenedForOneOfMany answers forty items one by one: each opening but the last
// reads the frame that the answer is about, and no other.
func TestOpenedForOneOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := reading{memstore.New(memstore.Config{}), make(chan []string, 1000)}
		p := &post{t: t, serve: func(o sentCommand) *replied {
			var n int
			fmt.Sscan(string(o.Input), &n)
			return &replied{outcome: "done", result: "1", after: time.Duration(n+1) * 5 * time.Second}
		}}
		s, c := p.away(t, st)
		if _, err := s.Start(t.Context(), c, "1", 40); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		close(st.names)
		if x, err := c.Get(t.Context(), "1"); err != nil || x.Status != saga.Completed {
			t.Fatalf("it is %+v (%v)", x, err)
		}
		single, all := 0, 0
		for names := range st.names {
			all += len(names)
			if len(names) == 1 {
				single++
			}
		}
		if single < 35 || all > 40+45 {
			t.Errorf("it read %d frames, and %d times one alone", all, single)
		}
	})
}

// TestManyAway lets one of forty items fail, be cancelled, or not be answered
// in time, when most openings leave frames folded: all that may be done is undone.
func TestManyAway(t *testing.T) {
	tests := []struct {
		name   string
		serve  func(n int) *replied
		cancel bool
		undone int
	}{
		{name: "one is refused", undone: 39, serve: func(n int) *replied {
			return &replied{outcome: map[bool]string{true: "not done", false: "done"}[n == 20], result: "1", permanent: true, after: time.Duration(n+1) * 5 * time.Second}
		}},
		{name: "one is never answered", undone: 40, serve: func(n int) *replied {
			if n == 39 {
				return nil
			}
			return &replied{outcome: "done", result: "1", after: time.Duration(n+1) * 5 * time.Second}
		}},
		{name: "cancelled", undone: 40, cancel: true, serve: func(n int) *replied {
			return &replied{outcome: "done", result: "1", after: time.Duration(n+1) * 5 * time.Second}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &post{t: t, serve: func(o sentCommand) *replied {
					if o.Command == "undo" {
						return &replied{outcome: "done", after: time.Second}
					}
					var n int
					fmt.Sscan(string(o.Input), &n)
					return tt.serve(n)
				}}
				s, c := p.away(t, memstore.New(memstore.Config{}))
				if _, err := s.Start(t.Context(), c, "1", 40); err != nil {
					t.Fatal(err)
				}
				time.Sleep(52 * time.Second)
				if tt.cancel {
					if err := c.Cancel(t.Context(), "1", saga.Order{}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Fatal(err)
				}
				undone := make(map[string]bool)
				for _, o := range p.orders {
					if o.Command == "undo" {
						undone[o.Frame] = true
					}
				}
				if len(undone) != tt.undone {
					t.Errorf("it undid %d items, want %d", len(undone), tt.undone)
				}
			})
		})
	}
}

// TestManyLettersKeepNoLease: answers to many commands are heard when they come, and
// not by the renewal of a lease that nothing keeps any more.
func TestManyLettersKeepNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &post{t: t, serve: func(sentCommand) *replied {
			return &replied{outcome: "done", result: "1", after: 100 * time.Millisecond}
		}}
		s, c := p.away(t, memstore.New(memstore.Config{}))
		begun := time.Now()
		if _, err := s.Run(t.Context(), c, "1", 40); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
