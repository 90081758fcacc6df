package saga_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// All open executions are checked, in whatever status, and none that has ended
// or is of another version or name.
func TestCheckUpgradeOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		stuck := func(context.Context, *trip, saga.Outcome) error { return errRefused }
		build := func(version string, more ...*saga.Step[trip]) *saga.Saga[trip] {
			return saga.New("trip", append([]*saga.Step[trip]{
				saga.Do("A", nothing).Undo(stuck),
				saga.Choose[trip]("C").If("W", saga.Field("Log").Present()),
				saga.Fail[trip]("F", "Refused", "no"),
				saga.Wait[trip]("W", time.Hour),
			}, more...)...).Version(version)
		}
		one, two, other := build("1"), build("2"), saga.New("other", saga.Wait[trip]("W", time.Hour))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{one, two, other}})
		start := func(s *saga.Saga[trip], id string) {
			t.Helper()
			if _, err := s.Start(t.Context(), c, id, trip{Log: []string{}}); err != nil {
				t.Fatal(err)
			}
		}
		want := make(map[string]saga.Status)
		for i := range 300 {
			id := fmt.Sprint("open", i)
			start(one, id)
			want[id] = saga.Running
		}
		start(two, "newer")
		start(other, "other")
		start(one, "suspended")
		start(one, "blocked")
		start(one, "ended")
		time.Sleep(time.Second)
		want["suspended"], want["blocked"] = saga.Running, saga.Blocked
		if err := errors.Join(c.Suspend(t.Context(), "suspended", saga.Order{}), c.Cancel(t.Context(), "blocked", saga.Order{}),
			c.Terminate(t.Context(), "ended", saga.Order{})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		graph := build("3", saga.Do("B", nothing).ReadOnly()).Definition()
		got := make(map[string]saga.Status)
		for _, check := range checkUpgrade(t, outsider(t, st), graph, "1") {
			got[check.Execution] = check.Status
			if check.Misfit != nil || check.Version != "1" {
				t.Errorf("%+v", check)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("checked %v, want %v", got, want)
		}
		if n := len(checkUpgrade(t, c, graph, "")); n != len(want)+1 {
			t.Errorf("of all versions %d were checked, want %d", n, len(want)+1)
		}
		for range c.CheckUpgrade(t.Context(), graph, "") {
			break // leaves it
		}
	})
}

// The executions that do parts of a ForEach are checked too, and children that
// have completed, as long as they may be undone.
func TestCheckUpgradeOfFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		undone := func(name string) *saga.Step[trip] { return saga.Do(name, nothing).Undo(undoNothing) }
		hotel := saga.New("hotel", undone("Book")).Version("1")
		items := func(name string, inner ...*saga.Step[int]) *saga.Step[trip] {
			return saga.ForEach(name, func(*trip) []int { return make([]int, 6) }, nil, inner...)
		}
		wait := saga.Wait[int]("W", time.Hour)
		child := saga.Child("Hotel", hotel, hand, take)
		build := func(version string, s ...*saga.Step[trip]) *saga.Definition {
			def := saga.New("trip", s...).Version(version)
			if err := def.Validate(); err != nil {
				t.Fatal(err)
			}
			return def.Definition()
		}
		old := saga.New("trip", child, items("E", wait), undone("Z")).Version("1")
		saga.SetMapSize(old, 4, 2)
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{old}})
		if _, err := old.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if _, err := hotel.Run(t.Context(), c, "by itself", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		parts := []string{"1/E:0", "1/E:1", "1/E:2"}
		for _, tt := range []struct {
			name  string
			graph *saga.Definition
			want  map[string]string // misfits, by execution
		}{
			{"the same", old.Definition(), map[string]string{"1": "", parts[0]: "", parts[1]: "", parts[2]: ""}},
			{"items that do more", build("2", child, items("E", wait, saga.Pass("N", func(*int) error { return nil })), undone("Z")),
				map[string]string{"1": "", parts[0]: "", parts[1]: "", parts[2]: ""}},
			{"items that do something else", build("2", child, items("E", saga.Wait[int]("N", time.Hour)), undone("Z")), map[string]string{
				"1": "", parts[0]: "step W, in E:0, event 5: the graph has no such step",
				parts[1]: "step W, in E:0, event 5: the graph has no such step", parts[2]: "step W, in E:0, event 5: the graph has no such step",
			}},
			{"no items", build("2", child, undone("Z")), map[string]string{
				"1": "step E, event 6: the graph has no such step", parts[0]: "step E: the execution does a part of it, and it is no ForEach of the graph",
				parts[1]: "step E: the execution does a part of it, and it is no ForEach of the graph",
				parts[2]: "step E: the execution does a part of it, and it is no ForEach of the graph",
			}},
			{"no child", build("2", undone("Hotel"), items("E", wait), undone("Z")), map[string]string{
				"1":      "step Hotel: the execution is to undo it, if it fails: it was done by an execution of hotel, and is by code in the graph",
				parts[0]: "", parts[1]: "", parts[2]: "",
			}},
			{"the child's own", hotel.Definition(), map[string]string{"1/Hotel": ""}},
			{"a child that does more", saga.New("hotel", undone("Book"), undone("Pay")).Definition(),
				map[string]string{"1/Hotel": "step Book: the execution ended after it, where the graph goes on at Pay"}},
			{"a child that undoes nothing", saga.New("hotel", saga.Do("Book", nothing).ReadOnly()).Definition(),
				map[string]string{"1/Hotel": "step Book: the execution is to undo it, if it fails: the graph does not undo it"}},
		} {
			got := make(map[string]string)
			for _, check := range checkUpgrade(t, outsider(t, st), tt.graph, "") {
				got[check.Execution] = ""
				if check.Misfit != nil {
					got[check.Execution] = check.Misfit.String()
				}
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("%s: got\n%q, want\n%q", tt.name, got, tt.want)
			}
		}
		for _, err := range c.CheckUpgrade(t.Context(), saga.New[trip]("none").Definition(), "") {
			if err == nil || !strings.Contains(err.Error(), "of no valid saga") {
				t.Errorf("against what is no saga: %v", err)
			}
		}
	})
}

// A long history, and many items, are read in parts.
func TestCheckUpgradeReadsInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		build := func(version string, last ...*saga.Step[int]) *saga.Saga[trip] {
			return saga.New("trip", saga.ForEach("E", func(*trip) []int { return make([]int, 300) }, nil,
				append([]*saga.Step[int]{saga.Do("I", func(context.Context, *int) error { return nil }).ReadOnly(), saga.Wait[int]("W", time.Hour)}, last...)...,
			)).Version(version)
		}
		one := build("1")
		var reads, most int
		counted := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			if c.Op == "History" || c.Op == "Frames" {
				reads++
			}
			return storetest.Fault{}
		})
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{one}, Concurrency: 1})
		if _, err := one.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		h, err := st.History(t.Context(), "1", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		most = len(h)/200 + 1 + 3 // pages of the history, and of the frames
		checks := checkUpgrade(t, outsider(t, counted), build("2", saga.Pass("N", func(*int) error { return nil })).Definition(), "")
		if len(checks) != 1 || checks[0].Misfit != nil {
			t.Errorf("%+v", checks)
		}
		if reads == 0 || reads > most {
			t.Errorf("%d reads of a history of %d entries and of 300 items, want at most %d", reads, len(h), most)
		}
		gone := saga.New("trip", saga.ForEach("E", func(*trip) []int { return nil }, nil, saga.Do("I", func(context.Context, *int) error { return nil }).ReadOnly())).Version("3")
		if checks := checkUpgrade(t, c, gone.Definition(), ""); len(checks) != 1 || checks[0].Misfit == nil {
			t.Errorf("%+v", checks)
		}
	})
}

// What changes while it is looked at is taken as it was, or left out.
func TestCheckUpgradeOfTheMoving(t *testing.T) {
	for _, op := range []string{"Get", "History"} {
		t.Run("before the "+op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				old := saga.New("trip", saga.Receive[trip, int]("R", "go", nil), saga.Do("N", nothing).ReadOnly()).Version("1")
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{old}})
				if _, err := old.Start(t.Context(), c, "1", trip{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				moving := between(st, op, 1, func() {
					if err := c.Signal(t.Context(), "1", "go", "", 1); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
				})
				new := saga.New("trip", saga.Receive[trip, int]("R", "go", nil)).Version("2")
				checks := checkUpgrade(t, outsider(t, moving), new.Definition(), "")
				if op == "Get" && len(checks) > 0 || op == "History" && (len(checks) != 1 || checks[0].Misfit != nil) {
					t.Errorf("checked %+v", checks)
				}
			})
		})
	}
}
