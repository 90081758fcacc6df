package saga_test

import (
	"context"
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

// An operator takes a blocked compensation for done: it does not run, and those
// before it do.
func TestSkipOfACompensation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", j.do("B")).Undo(func(context.Context, *trip, saga.Outcome) error { return errRefused }),
			saga.Do("C", j.fail("C", errRefused)),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		if err := c.Skip(t.Context(), "1", saga.Order{By: "ann", Note: "refunded by hand"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		if got, want := j.all(), []string{"do A", "do B", "fail C", "undo A done [A]"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(h, func(e saga.Event) bool {
			return e.Type == saga.CompensationSkipped && e.Step == "B" && e.By == "ann" && e.Note == "refunded by hand"
		}) {
			t.Errorf("the history does not tell who skipped what: %v", h)
		}
	})
}

// The same for a step after the pivot; what is not blocked cannot be skipped.
func TestSkipOfAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip",
			saga.Do("P", nothing).Pivot(),
			saga.Do("Z", func(context.Context, *trip) error { return errRefused }),
			saga.Do("Y", func(context.Context, *trip) error { time.Sleep(time.Minute); return nil }).Timeout(time.Hour),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		for _, opts := range [][]saga.SkipOption{{saga.SkipAttempt(2)}, {saga.SkipAt("", "Y")}, {saga.SkipAt("X:0", "Z")}} {
			if err := c.Skip(t.Context(), "1", saga.Order{}, opts...); !errors.Is(err, saga.ErrNotBlocked) {
				t.Error(err)
			}
		}
		if err := c.Skip(t.Context(), "1", saga.Order{}, saga.SkipAt("", "Z"), saga.SkipAttempt(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := c.Skip(t.Context(), "1", saga.Order{}); !errors.Is(err, saga.ErrNotBlocked) {
			t.Error(err)
		}
		if _, err := s.Wait(t.Context(), c, "1"); err != nil {
			t.Error(err)
		}
		if skipped, refused := count(t, c, "1", saga.TaskSkipped), count(t, c, "1", saga.OrderRefused); skipped != 1 || refused != 0 {
			t.Errorf("%d steps skipped and %d orders refused, want one and none", skipped, refused)
		}
	})
}

// Terminating ends an execution where it stands, branches and all, and undoes
// nothing.
func TestTerminate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var j journal
		hang := func(ctx context.Context, _ *trip) error { <-ctx.Done(); return ctx.Err() }
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Parallel("P", saga.Branch("x", saga.Do("X", hang).Undo(j.undo("X")).Timeout(time.Hour)),
				saga.Branch("y", saga.Receive[trip, int]("Y", "never", nil))).Merge(func(*trip, []trip) error { return nil }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := c.Terminate(t.Context(), "1", saga.Order{By: "ann", Note: "enough"}); err != nil {
			t.Fatal(err)
		}
		_, err := s.Wait(t.Context(), c, "1")
		if !errors.Is(err, saga.ErrTerminated) || !strings.Contains(err.Error(), "enough") {
			t.Errorf("%v, want ErrTerminated with the reason", err)
		}
		if got, want := j.all(), []string{"do A"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
		x, err := c.Get(t.Context(), "1")
		if err != nil || x.Status != saga.Terminated || x.Cause.By != "ann" || len(x.Branches) != 0 || x.Step != "" {
			t.Errorf("%+v, %v", x, err)
		}
		fields, err := st.Frames(t.Context(), "1", "f:P:0", "f:P:1")
		if err != nil || len(fields) > 0 {
			t.Errorf("frames are left: %q, %v", fields, err)
		}
		if err := c.Cancel(t.Context(), "1", saga.Order{}); !errors.Is(err, store.ErrEnded) {
			t.Errorf("a cancel afterwards: %v", err)
		}
	})
}

// A suspended execution begins nothing, its clocks stand still, and what comes
// meanwhile is kept.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		begin := time.Now()
		at := func(name string) saga.Action[trip] {
			return func(context.Context, *trip) error {
				j.add("%s at %s", name, time.Since(begin).Round(time.Second))
				return nil
			}
		}
		s := saga.New("trip",
			saga.Do("A", func(ctx context.Context, s *trip) error { time.Sleep(10 * time.Second); return at("A")(ctx, s) }).ReadOnly(),
			saga.Wait[trip]("W", 10*time.Minute),
			saga.Do("B", at("B")).ReadOnly(),
			saga.Receive("S", "go", func(_ *trip, n int) error { j.add("signal %d", n); return nil }),
			saga.Do("C", at("C")),
		).Within(time.Hour)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		order := func(give func(context.Context, string, saga.Order) error) {
			t.Helper()
			if err := give(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		order(c.Suspend) // while A runs: it is heard
		time.Sleep(2 * time.Hour)
		x, err := c.Get(t.Context(), "1")
		if err != nil || x.Suspended.IsZero() || !x.HeldUntil.IsZero() || x.Step != "W" {
			t.Errorf("suspended as %+v, %v", x, err)
		}
		order(c.Resume)
		time.Sleep(5 * time.Minute)
		order(c.Suspend) // in the middle of the wait
		if err := c.Signal(t.Context(), "1", "go", "", 7); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		order(c.Suspend) // a second time is refused
		order(c.Resume)
		order(c.Resume)
		if _, err := s.Wait(t.Context(), c, "1"); err != nil {
			t.Error(err)
		}
		// A took 10s, and W 10m; between them it stood for 2h and for 3h.
		got := j.all()
		want := []string{"A at 10s", "B at 5h10m", "signal 7", "C at 5h10m"}
		for i, line := range got {
			if i < len(want) && !strings.HasPrefix(line, want[i]) {
				t.Errorf("%q, want it to begin with %q", line, want[i])
			}
		}
		if len(got) != len(want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
		if n := count(t, c, "1", saga.OrderRefused); n != 2 {
			t.Errorf("%d orders were refused, want 2", n)
		}
	})
}

// What a preview tells is what then happens.
func TestPreviewUndo(t *testing.T) {
	for _, at := range []string{"in the middle of a step", "between branches", "with branches completed"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				var ran []string
				undo := func(ctx context.Context, s *trip, was saga.Outcome) error {
					info := saga.StepFrom(ctx)
					ran = append(ran, fmt.Sprint(info.Frame, " ", info.Step, " ", info.Visit, " ", was, " ", info.Key, " ", s.Log))
					return nil
				}
				stop := func(here string, d time.Duration) saga.Action[trip] {
					return func(ctx context.Context, s *trip) error {
						s.Log = append(s.Log, saga.StepFrom(ctx).Step)
						if at != here {
							return nil
						}
						select {
						case <-time.After(d):
							return nil
						case <-ctx.Done():
							return ctx.Err()
						}
					}
				}
				step := func(name string, action saga.Action[trip]) *saga.Step[trip] {
					return saga.Do(name, action).Undo(undo).Timeout(time.Hour)
				}
				s := saga.New("trip",
					step("A", stop("", 0)),
					step("B", stop("in the middle of a step", 10*time.Minute)),
					saga.Parallel("P",
						saga.Branch("x", step("X1", stop("", 0)), step("X2", stop("between branches", 10*time.Minute))),
						saga.Branch("y", step("Y1", func(ctx context.Context, s *trip) error {
							time.Sleep(time.Second)
							return stop("", 0)(ctx, s)
						})),
					).Merge(func(s *trip, branches []trip) error { s.Log = append(s.Log, "merged"); return nil }),
					saga.Wait[trip]("W", time.Hour),
					step("Z", stop("", 0)),
				)
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				client := outsider(t, st)
				list, err := client.PreviewUndo(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				var want []string
				for _, u := range list {
					outcome := u.Outcome
					if outcome == saga.Unknown && at != "with branches completed" {
						outcome = saga.Done // it will have answered by the time that it is undone
					}
					var state trip
					unmarshal(t, string(u.State), &state)
					want = append(want, fmt.Sprint(u.Frame, " ", u.Step, " ", u.Visit, " ", outcome, " ", u.Key, " ", state.Log))
				}
				if err := client.Cancel(t.Context(), "1", saga.Order{}); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Fatal(err)
				}
				if at != "with branches completed" {
					// What was under way has answered, and its state is another by then.
					want[0], _, _ = strings.Cut(want[0], " [")
					ran[0], _, _ = strings.Cut(ran[0], " [")
				}
				if !slices.Equal(ran, want) {
					t.Errorf("undone\n%s, foreseen\n%s", strings.Join(ran, "\n"), strings.Join(want, "\n"))
				}
				if _, err := client.PreviewUndo(t.Context(), "1"); !errors.Is(err, store.ErrEnded) {
					t.Errorf("after its end: %v", err)
				}
			})
		})
	}
}

func TestPreviewUndoAfterThePivot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("P", nothing).Pivot(), saga.Wait[trip]("W", time.Hour))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if list, err := c.PreviewUndo(t.Context(), "1"); !errors.Is(err, saga.ErrPivoted) || list != nil {
			t.Errorf("%v, %v, want ErrPivoted", list, err)
		}
	})
}

// skipping is the order to skip without a target.
func skipping(c *saga.Client) func(context.Context, string, saga.Order) error {
	return func(ctx context.Context, id string, o saga.Order) error { return c.Skip(ctx, id, o) }
}

// Where several are blocked, a skip says which one is meant.
func TestSkipOfOneOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip",
			saga.ForEach("M", func(*trip) []int { return []int{1, 2} }, nil,
				saga.Do("A", func(context.Context, *int) error { return nil }).
					Undo(func(context.Context, *int, saga.Outcome) error { return errRefused })).UndoTogether(),
			saga.Do("Z", func(context.Context, *trip) error { return errRefused }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		want := `execution "1" is blocked at A in M:0, A in M:1: say which one is meant`
		if err := c.Skip(t.Context(), "1", saga.Order{}); err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %s", err, want)
		}
		for _, frame := range []string{"M:0", "M:1"} {
			if x, err := c.Get(t.Context(), "1"); err != nil || x.Status != saga.Blocked {
				t.Errorf("before %s it is %+v (%v)", frame, x, err)
			}
			if err := c.Skip(t.Context(), "1", saga.Order{}, saga.SkipAt(frame, "A")); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
	})
}
