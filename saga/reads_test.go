package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

func TestListAndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		act := func(_ context.Context, s *trip) error {
			switch s.Log[0] {
			case "refused":
				return errRefused
			case "garbled":
				return saga.Uncertain(errRefused)
			case "slow":
				time.Sleep(time.Minute)
			}
			return nil
		}
		trips := saga.New("trip", saga.Do("A", act).Pivot().Timeout(time.Hour))
		tours := saga.New("tour", saga.Do("A", act).Pivot().Timeout(time.Hour))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{trips, tours}})
		for i, in := range []string{"fine", "refused", "garbled", "slow", "fine", "fine"} {
			for _, s := range []*saga.Saga[trip]{trips, tours} {
				if _, err := s.Start(t.Context(), c, fmt.Sprint(s.Definition().Name(), i), trip{Log: []string{in}}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		ids := func(q saga.Query) (ids []string) {
			list, err := c.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range list {
				if q.Status != "" && x.Status != q.Status || q.Definition != "" && x.Definition != q.Definition {
					t.Errorf("%+v lists %+v", q, x)
				}
				ids = append(ids, x.ID)
			}
			return ids
		}
		tests := []struct {
			query saga.Query
			want  []string
		}{
			{saga.Query{Definition: "trip", Status: saga.Completed}, []string{"trip5", "trip4", "trip0"}},
			{saga.Query{Definition: "trip", Status: saga.Compensated}, []string{"trip1"}},
			{saga.Query{Definition: "trip", Status: saga.Blocked}, []string{"trip2"}},
			{saga.Query{Definition: "trip", Status: saga.Running}, []string{"trip3"}},
			{saga.Query{Definition: "trip"}, []string{"trip3", "trip2", "trip5", "trip4", "trip0", "trip1"}},
			{saga.Query{Status: saga.Running}, []string{"tour3", "trip3"}},
			{saga.Query{Definition: "trip", Status: saga.Completed, Limit: 2}, []string{"trip5", "trip4"}},
			{saga.Query{Definition: "trip", Status: saga.Completed, Limit: 2, Offset: 2}, []string{"trip0"}},
			{saga.Query{Definition: "cruise"}, nil},
		}
		for _, tt := range tests {
			if got := ids(tt.query); !slices.Equal(got, tt.want) {
				t.Errorf("%+v lists %v, want %v", tt.query, got, tt.want)
			}
		}
		if got := ids(saga.Query{}); len(got) != 12 {
			t.Errorf("all: %v", got)
		}
		for name, want := range map[string]map[saga.Status]int64{
			"trip": {saga.Running: 1, saga.Blocked: 1, saga.Quarantined: 0, saga.Completed: 3, saga.Compensated: 1, saga.Terminated: 0},
			"":     {saga.Running: 2, saga.Blocked: 2, saga.Quarantined: 0, saga.Completed: 6, saga.Compensated: 2, saga.Terminated: 0},
		} {
			got, err := c.Count(t.Context(), name)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("count of %q: %v (%v), want %v", name, got, err, want)
			}
		}
		time.Sleep(time.Minute)
		if got := ids(saga.Query{Status: saga.Running}); len(got) != 0 {
			t.Errorf("after the end they are listed as running: %v", got)
		}
	})
}

// The history tells what happened, in order, with the states in between.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		add := func(name string, d time.Duration) saga.Action[trip] {
			return func(_ context.Context, s *trip) error {
				time.Sleep(d)
				s.Log = append(s.Log, name)
				return nil
			}
		}
		s := saga.New("trip",
			saga.Do("A", add("A", time.Second)).Undo(undoNothing),
			saga.Do("Look", nothing).ReadOnly(),
			saga.Do("B", add("B", time.Second)).Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error {
				if saga.StepFrom(ctx).Attempt == 1 {
					return errors.New("flaky")
				}
				return nil
			}).UndoRetry(saga.Retry{Initial: 500 * time.Millisecond, Jitter: -1}),
			saga.Do("C", func(context.Context, *trip) error { return errRefused }),
		)
		st := memstore.New(memstore.Config{})
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Fatal(err)
		}
		want := []string{
			`0s ExecutionStarted {"Log":null}`, "0s TaskStateEntered A", "0s TaskScheduled A 1",
			"1s TaskSucceeded A 1", `1s TaskStateExited A {"Log":["A"]}`,
			"1s TaskStateEntered Look", "1s TaskScheduled Look 1", "1s TaskSucceeded Look 1", `1s TaskStateExited Look {"Log":["A"]}`,
			"1s TaskStateEntered B", "1s TaskScheduled B 1", "2s TaskSucceeded B 1", `2s TaskStateExited B {"Log":["A","B"]}`,
			"2s TaskStateEntered C", "2s TaskScheduled C 1", "2s TaskFailed C 1 not done: refused", "2s ExecutionFailed C: refused",
			"2s CompensationStateEntered B done", "2s CompensationScheduled B 1",
			"2s CompensationFailed B 1 not done: flaky", "2s CompensationScheduled B 2", "2.5s CompensationSucceeded B 2",
			"2.5s CompensationStateEntered A done", "2.5s CompensationScheduled A 1", "2.5s CompensationSucceeded A 1",
			"2.5s ExecutionCompensated",
		}
		for where, client := range map[string]*saga.Client{"here": c, "elsewhere": outsider(t, st)} {
			h, err := client.History(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, e := range h {
				if e.ID != i+1 {
					t.Errorf("event %d has id %d", i+1, e.ID)
				}
				line := fmt.Sprint(e.Time.Sub(begin), " ", e.Type)
				if e.Step != "" {
					line += " " + e.Step
				}
				if e.Attempt != 0 {
					line += fmt.Sprint(" ", e.Attempt)
				}
				if e.Outcome != "" {
					line += " " + string(e.Outcome)
				}
				if e.Error != "" {
					line += ": " + e.Error
				}
				if e.State != nil {
					line += " " + string(e.State)
				}
				got = append(got, line)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s the history is\n%s\nwant\n%s", where, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if _, err := c.History(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("history of nobody: %v", err)
		}
	})
}

func TestGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := saga.New("trip", saga.Do("A", func(_ context.Context, s *trip) error {
			s.Log = append(s.Log, "A")
			return nil
		}).Undo(undoNothing), saga.Do("B", func(ctx context.Context, _ *trip) error {
			if saga.StepFrom(ctx).Attempt == 1 {
				return errors.New("flaky")
			}
			time.Sleep(5 * time.Second)
			return nil
		}).Retry(saga.Retry{Initial: 10 * time.Second, Jitter: -1}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Lease: 30 * time.Second})
		if _, err := s.Start(t.Context(), c, "1", trip{Log: []string{"in"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		x, err := c.Get(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		want := saga.Execution{
			ID: "1", Definition: "trip", Version: s.Definition().Version(), Status: saga.Running, Step: "B", Attempt: 2,
			Started: begin, NextWake: begin.Add(10 * time.Second),
			Input: json.RawMessage(`{"Log":["in"]}`), State: json.RawMessage(`{"Log":["in","A"]}`),
		}
		if fmt.Sprintf("%+v", *x) != fmt.Sprintf("%+v", want) {
			t.Errorf("while it waits:\n%+v, want\n%+v", *x, want)
		}
		time.Sleep(12 * time.Second)
		if x, err = c.Get(t.Context(), "1"); err != nil || !x.NextWake.IsZero() || x.HeldUntil.Before(time.Now()) {
			t.Errorf("while it runs: %+v, %v", x, err)
		}
		if _, err := c.Get(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("nobody: %v", err)
		}
	})
}
