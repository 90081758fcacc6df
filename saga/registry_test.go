package saga_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// starts reports what becomes of a coordinator that starts with the sagas.
func starts(t *testing.T, st saga.Store, sagas ...saga.Definer) error {
	t.Helper()
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: st, Sagas: sagas, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-c.Ready():
		cancel()
		return <-done
	}
}

// registered is the graph that is registered.
func registered(t *testing.T, st saga.Store, name, version string) []byte {
	t.Helper()
	graph, err := st.Definition(t.Context(), name, version)
	if err != nil {
		t.Fatal(err)
	}
	return graph
}

func marshalled(t *testing.T, d *saga.Definition) []byte {
	t.Helper()
	graph, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return graph
}

// A version has one graph. What may be tuned under way is tuned by whoever comes
// last; any other change is refused, and the first difference named.
func TestRegisterAnotherGraph(t *testing.T) {
	type steps = []*saga.Step[trip]
	undone := func(name string) *saga.Step[trip] { return saga.Do(name, nothing).Undo(undoNothing) }
	item := saga.Do("I", func(context.Context, *int) error { return nil }).ReadOnly()
	items := func(steps ...*saga.Step[int]) *saga.Step[trip] {
		return saga.ForEach("E", func(*trip) []int { return nil }, nil, steps...)
	}
	both := func(branches ...*saga.Path[trip]) *saga.Step[trip] {
		return saga.Parallel("P", branches...).Merge(func(*trip, []trip) error { return nil })
	}
	x, y := saga.Branch("x", undone("X")), saga.Branch("y", undone("Y"))
	for _, tt := range []struct {
		name     string
		old, new steps
		want     string
	}{
		{"the same", steps{undone("A"), undone("B")}, steps{undone("A"), undone("B")}, ""},
		{"tuned", steps{undone("A"), saga.Wait[trip]("W", time.Hour), items(item)}, steps{
			undone("A").Timeout(time.Hour).Within(2*time.Hour).Retry(saga.Once()).Retry(saga.Once(), "Busy").UndoRetry(saga.Once()).UndoTimeout(time.Second),
			saga.Wait[trip]("W", time.Minute), items(item).Concurrency(3).Tolerate(1),
		}, ""},
		{"a step that is new", steps{undone("A")}, steps{undone("A"), undone("B")}, `step "A": its next is "B", and was missing`},
		{"a step that is new, and comes to by itself", steps{saga.Choose[trip]("C").If("A", saga.Field("x").Present()), saga.Succeed[trip]("A")},
			steps{saga.Choose[trip]("C").If("A", saga.Field("x").Present()).If("B", saga.Field("y").Present()), saga.Succeed[trip]("A"), saga.Succeed[trip]("B")},
			`step "C": its choices is [{"next":"A"`},
		{"another step", steps{undone("A")}, steps{undone("B")}, `step 1 is "B", and was "A"`},
		{"a step less", steps{undone("A").Catch("B").End(), undone("B")}, steps{undone("A")}, `step "A": its catch is missing, and was [{"errors":["States.ALL"],"next":"B"}]`},
		{"an undo that is gone", steps{undone("A"), undone("B")}, steps{saga.Do("A", nothing).ReadOnly(), undone("B")}, `step "A": its read_only is true, and was missing`},
		{"an undo less", steps{undone("A")}, steps{saga.Do("A", nothing)}, `step "A": its Undo is gone`},
		{"an undo more", steps{saga.Do("A", nothing)}, steps{undone("A")}, `step "A": its Undo is new`},
		{"another signal", steps{saga.Receive[trip, int]("R", "go", nil)}, steps{saga.Receive[trip, int]("R", "start", nil)}, `step "R": its signal is "start", and was "go"`},
		{"a branch more", steps{both(x)}, steps{both(x, y)}, `step "P": branch "y" is new`},
		{"a branch less", steps{both(x, y)}, steps{both(x)}, `step "P": branch "y" is gone`},
		{"another branch", steps{both(x)}, steps{both(saga.Branch("z", undone("X")))}, `step "P": branch 1 is "z", and was "x"`},
		{"a step of a branch", steps{both(x)}, steps{both(saga.Branch("x", undone("Z")))}, `step "P", branch "x": step 1 is "Z", and was "X"`},
		{"a step of an item", steps{items(item)}, steps{items(saga.Pass("I", func(*int) error { return nil }))}, `step "E", each item: step "I": its read_only is missing, and was true`},
		{"a lock of a step", steps{undone("A")}, steps{undone("A").Lock(accountLock(time.Hour))}, `step "A": its locks is [{"name":"account"}], and was missing`},
		{"a lock of its own", steps{undone("A")}, steps{undone("A")}, `its own locks are ["account"], and were []`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				old, new := saga.New("trip", tt.old...).Version("1"), saga.New("trip", tt.new...).Version("1")
				switch tt.name {
				case "tuned":
					new = new.Within(3 * time.Hour)
				case "a lock of its own":
					new = new.Lock(accountLock(time.Hour))
				}
				if err := starts(t, st, old); err != nil {
					t.Fatal(err)
				}
				other := saga.New("other", undone("A"))
				err := starts(t, st, new, other)
				want := old.Definition()
				if tt.want == "" {
					want = new.Definition()
				}
				if !bytes.Equal(registered(t, st, "trip", "1"), marshalled(t, want)) {
					t.Errorf("registered is now %s", registered(t, st, "trip", "1"))
				}
				if tt.want == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var version *saga.VersionError
				if !errors.As(err, &version) || version.Definition != "trip" || version.Version != "1" || !strings.HasPrefix(version.Difference, tt.want) ||
					!strings.Contains(err.Error(), "Give the changed graph a Version of its own") {
					t.Errorf("got %v\nwant %s", err, tt.want)
				}
			})
		})
	}
}

// Two releases with graphs that are tuned otherwise run side by side, and start
// again in any order.
func TestRegisterSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		build := func(timeout time.Duration) *saga.Saga[trip] {
			return saga.New("trip", saga.Do("A", nothing).Timeout(timeout)).Version("1")
		}
		one, two := build(time.Second), build(time.Minute)
		for _, s := range []*saga.Saga[trip]{one, two, two, one, two} {
			c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
			defer func() {
				if err := stop(); err != nil {
					t.Error(err)
				}
			}()
			select {
			case <-c.Ready():
			case <-time.After(time.Minute):
				t.Fatal("it does not start")
			}
			if !bytes.Equal(registered(t, st, "trip", "1"), marshalled(t, s.Definition())) {
				t.Error("what is registered is not the last one's")
			}
		}
	})
}

// Of two releases with different graphs that register the same version at the same
// time, one is refused, whoever comes between the other's calls.
func TestRegisterRace(t *testing.T) {
	for _, op := range []string{"Definition", "PutDefinition"} {
		t.Run("just before the "+op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				one := saga.New("trip", saga.Do("A", nothing)).Version("1")
				two := saga.New("trip", saga.Do("B", nothing)).Version("1")
				between := between(st, op, 1, func() {
					if err := starts(t, st, two); err != nil {
						t.Error(err)
					}
				})
				var version *saga.VersionError
				if err := starts(t, between, one); !errors.As(err, &version) {
					t.Errorf("the one that came second: %v", err)
				}
				if !bytes.Equal(registered(t, st, "trip", "1"), marshalled(t, two.Definition())) {
					t.Error("what is registered is not the first one's")
				}
			})
		})
	}
}

// A store that others never let have its way is given up on.
func TestRegisterGivesUp(t *testing.T) {
	s := saga.New("trip", saga.Do("A", nothing)).Version("1")
	if err := starts(t, contended{memstore.New(memstore.Config{})}, s); err == nil || !strings.Contains(err.Error(), `others keep registering version "1"`) {
		t.Error(err)
	}
}

type contended struct{ saga.Store }

func (contended) PutDefinition(context.Context, string, string, []byte, []byte) (bool, error) {
	return false, nil
}

// A graph that this release cannot read is not replaced.
func TestRegisterOverTheUnreadable(t *testing.T) {
	st := memstore.New(memstore.Config{})
	s := saga.New("trip", saga.Do("A", nothing)).Version("1")
	later := []byte(`{"format":2,"name":"trip","version":"1"}`)
	if _, err := st.PutDefinition(t.Context(), "trip", "1", later, nil); err != nil {
		t.Fatal(err)
	}
	var format *store.FormatError
	if err := starts(t, st, s); !errors.As(err, &format) {
		t.Errorf("got %v, want a FormatError", err)
	}
	if got := registered(t, st, "trip", "1"); !bytes.Equal(got, later) {
		t.Errorf("registered is now %s", got)
	}
}

// Whoever knows that executions fit replaces the graph of their version.
func TestRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		old := saga.New("trip", saga.Wait[trip]("W", time.Hour)).Version("1")
		new := saga.New("trip", saga.Wait[trip]("W", time.Hour), saga.Do("A", nothing)).Version("1")
		client := outsider(t, st)
		if err := starts(t, st, old); err != nil {
			t.Fatal(err)
		}
		if _, err := old.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if err := client.Register(t.Context(), reparsed(t, new.Definition())); err != nil {
			t.Fatal(err)
		}
		var version *saga.VersionError
		if err := starts(t, st, old); !errors.As(err, &version) {
			t.Errorf("the old release starts again: %v", err)
		}
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{new}})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		if _, err := new.Wait(ctx, c, "1"); err != nil {
			t.Error(err)
		}
		if n := count(t, c, "1", saga.TaskSucceeded); n != 1 {
			t.Errorf("%d tasks were done, want the new one's", n)
		}
		all, err := client.Definitions(t.Context())
		if err != nil || len(all) != 1 || len(all["trip"]) != 1 {
			t.Errorf("registered are %v, %v", all, err)
		}
		if d, err := client.Definition(t.Context(), "trip", "1"); err != nil || !bytes.Equal(marshalled(t, d), marshalled(t, new.Definition())) {
			t.Errorf("read as %v, %v", d, err)
		}
		if _, err := client.Definition(t.Context(), "trip", "2"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("of a version that is not there: %v", err)
		}
	})
}
