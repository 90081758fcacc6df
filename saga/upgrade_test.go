package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// checkUpgrade collects what a check tells.
func checkUpgrade(t *testing.T, c *saga.Client, graph *saga.Definition, from string) (checks []saga.UpgradeCheck) {
	t.Helper()
	for check, err := range c.CheckUpgrade(t.Context(), graph, from) {
		if err != nil {
			t.Fatal(err)
		}
		checks = append(checks, check)
	}
	return checks
}

// reparsed is a definition as it is read from its JSON.
func reparsed(t *testing.T, d *saga.Definition) *saga.Definition {
	t.Helper()
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := saga.ParseDefinition(data)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestCheckUpgrade(t *testing.T) {
	type steps = []*saga.Step[trip]
	undone := func(name string) *saga.Step[trip] { return saga.Do(name, nothing).Undo(undoNothing) }
	looks := func(name string) *saga.Step[trip] { return saga.Do(name, nothing).ReadOnly() }
	failing := func(name string, err error) *saga.Step[trip] {
		return saga.Do(name, func(context.Context, *trip) error { return err }).Retry(saga.Once())
	}
	stuck := func(name string) *saga.Step[trip] {
		return saga.Do(name, nothing).Undo(func(context.Context, *trip, saga.Outcome) error { return errRefused })
	}
	wait := func(name string) *saga.Step[trip] { return saga.Wait[trip](name, time.Hour) }
	receive := func(name, signal string) *saga.Step[trip] { return saga.Receive[trip, int](name, signal, nil) }
	callback := func(name string) *saga.Step[trip] {
		return saga.Callback[trip, int](name, nothing, nil).Timeout(24 * time.Hour)
	}
	remote := func(name, endpoint string) *saga.Step[trip] {
		return saga.Remote[trip, int, int](name, endpoint, func(*trip) (int, error) { return 0, nil }, nil)
	}
	both := func(name string, branches ...*saga.Path[trip]) *saga.Step[trip] {
		return saga.Parallel(name, branches...).Merge(func(*trip, []trip) error { return nil })
	}
	each := func(name string, inner ...*saga.Step[int]) *saga.Step[trip] {
		return saga.ForEach(name, func(*trip) []int { return []int{1, 2} }, nil, inner...).Concurrency(1)
	}
	item := func(name string) *saga.Step[int] {
		return saga.Do(name, func(context.Context, *int) error { return nil }).ReadOnly()
	}
	itemWait := func(name string) *saga.Step[int] { return saga.Wait[int](name, time.Hour) }
	choose := func(name, next string, holds bool) *saga.Step[trip] {
		return saga.Choose[trip](name).When(next, func(*trip) bool { return holds })
	}
	send := func(name string) func(*testing.T, *saga.Client) {
		return func(t *testing.T, c *saga.Client) {
			if err := c.Signal(t.Context(), "1", name, "", 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel := func(t *testing.T, c *saga.Client) {
		if err := c.Cancel(t.Context(), "1", saga.Order{}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name     string
		old, new steps
		after    time.Duration                           // of the first step
		tell     func(*testing.T, *saga.Client)          // the execution something
		within   func(*saga.Saga[trip]) *saga.Saga[trip] // what else is new
		want     string
	}{
		{name: "the same", old: steps{undone("A"), wait("W"), undone("B")}, new: steps{undone("A"), wait("W"), undone("B")}},
		{name: "what comes later is new", old: steps{undone("A"), wait("W")}, new: steps{undone("A"), wait("W"), undone("B"), looks("C")}},
		{name: "what comes later is gone", old: steps{undone("A"), wait("W"), undone("B")}, new: steps{undone("A"), wait("W")}},
		{name: "times and policies", old: steps{undone("A"), wait("W")},
			new:    steps{undone("A").Timeout(time.Second).Retry(saga.Once()).UndoRetry(saga.Once()), saga.Wait[trip]("W", time.Minute)},
			within: func(s *saga.Saga[trip]) *saga.Saga[trip] { return s.Within(time.Hour) }},
		{name: "a step before", old: steps{undone("A"), wait("W")}, new: steps{undone("A"), undone("N"), wait("W")},
			want: "step W, event 6: it came after A, where the graph goes on at N"},
		{name: "another beginning", old: steps{undone("A"), wait("W")}, new: steps{undone("N"), undone("A"), wait("W")},
			want: "step A, event 2: it was entered first, where the graph begins with N"},
		{name: "another beginning, before it has begun", old: steps{wait("W"), undone("A")}, new: steps{undone("A"), wait("W")}, after: time.Hour,
			want: "step W: the execution stands at it: it was entered first, where the graph begins with A"},
		{name: "a step that was done is gone", old: steps{undone("A"), undone("B"), wait("W")}, new: steps{undone("A"), wait("W")},
			want: "step B, event 6: the graph has no such step"},
		{name: "the step that it stands at is gone", old: steps{undone("A"), wait("W"), undone("B")}, new: steps{undone("A"), undone("B")},
			want: "step W, event 6: the graph has no such step"},
		{name: "a step of another type", old: steps{looks("A"), wait("W")}, new: steps{saga.Pass("A", func(*trip) error { return nil }), wait("W")},
			want: "step A, event 2: it was a Task, and is a Pass in the graph"},
		{name: "a step in a branch", old: steps{undone("A"), wait("W")}, new: steps{undone("A"), both("P", saga.Branch("x", wait("W")))},
			want: `step W, event 6: it stands elsewhere in the graph: in branch "x" of P`},
		{name: "its undo is gone", old: steps{undone("A"), wait("W"), looks("B")}, new: steps{looks("A"), wait("W"), looks("B")},
			want: "step A: the execution is to undo it, if it fails: the graph does not undo it"},
		{name: "an undo that is new", old: steps{looks("A"), wait("W"), looks("B")}, new: steps{undone("A"), wait("W"), looks("B")},
			want: `step A: its outcome is "done", and the graph would undo it: the execution has no record of that`},
		{name: "an undo that is new, of what may have been done",
			old:  steps{failing("A", saga.Uncertain(errRefused)).ReadOnly().Catch("W"), wait("W")},
			new:  steps{undone("A").Catch("W"), wait("W")},
			want: `step A: its outcome is "unknown", and the graph would undo it: the execution has no record of that`},
		{name: "an undo that is new, of what the saga has failed with",
			old: steps{stuck("S"), failing("A", saga.Uncertain(errRefused)).ReadOnly(), looks("B")}, new: steps{stuck("S"), undone("A"), looks("B")},
			want: `step A: its outcome is "unknown", and the graph would undo it: the execution has no record of that`},
		{name: "an undo that is new, of a task that was handed over", tell: cancel,
			old: steps{stuck("S"), callback("C").ReadOnly(), looks("B")}, new: steps{stuck("S"), callback("C").Undo(undoNothing), looks("B")},
			want: `step C: its outcome is "unknown", and the graph would undo it: the execution has no record of that`},
		{name: "an undo that is new, of what is under way", tell: cancel,
			old: steps{stuck("S"), remote("R", "payments").ReadOnly(), looks("B")}, new: steps{stuck("S"), remote("R", "payments").UndoRemote(), looks("B")}},
		{name: "an undo that is new, of what was not done",
			old: steps{failing("A", errRefused).ReadOnly().Catch("W"), wait("W")}, new: steps{undone("A").Catch("W"), wait("W")}},
		{name: "a choice that leads elsewhere", old: steps{choose("C", "W", true), looks("A"), wait("W")}, new: steps{choose("C", "B", true), looks("A"), looks("B"), wait("W")},
			want: "step W, event 4: it came after C, where the graph goes on at B or A"},
		{name: "a choice that leads there by default", old: steps{choose("C", "W", true), looks("A"), wait("W")}, new: steps{choose("C", "A", false).Otherwise("W"), looks("A"), wait("W")}},
		{name: "an error that nobody catches", old: steps{failing("A", errRefused).ReadOnly().Catch("W"), looks("B"), wait("W")}, new: steps{looks("A"), looks("B"), wait("W")},
			want: "step W, event 6: it caught an error of A; in the graph none of its errors is caught"},
		{name: "an error that leads elsewhere", old: steps{failing("A", errRefused).ReadOnly().Catch("W"), looks("B"), wait("W")},
			new:  steps{looks("A").Catch("B"), looks("B"), wait("W")},
			want: "step W, event 6: it caught an error of A; in the graph its errors lead to B"},
		{name: "an error on its way to who catches it",
			old:  steps{both("P", saga.Branch("x", stuck("X"), failing("Y", errRefused).ReadOnly())).Catch("W"), looks("B"), wait("W")},
			new:  steps{both("P", saga.Branch("x", stuck("X"), looks("Y"))), looks("B"), wait("W")},
			want: "step P: the execution is on its way to W, which catches its error; in the graph none of its errors is caught"},
		{name: "a branch more", old: steps{both("P", saga.Branch("x", wait("X")))}, new: steps{both("P", saga.Branch("x", wait("X")), saga.Branch("y", wait("Y")))},
			want: "step P: it is under way: the number of its branches is 1, and 2 in the graph"},
		{name: "a branch less", old: steps{both("P", saga.Branch("x", wait("X")), saga.Branch("y", wait("Y")))}, new: steps{both("P", saga.Branch("x", wait("X")))},
			want: "step Y, in P:1, event 5: this is branch 2 of step P, which has 1 in the graph"},
		{name: "a branch more, where all had ended", old: steps{both("P", saga.Branch("x", undone("X"))), wait("W")},
			new:  steps{both("P", saga.Branch("x", undone("X")), saga.Branch("y", undone("Y"))), wait("W")},
			want: `step P, event 8: it ended without branch "y", which it has in the graph`},
		{name: "a branch that goes on", old: steps{both("P", saga.Branch("x", looks("X")), saga.Branch("y", wait("Y")))},
			new:  steps{both("P", saga.Branch("x", looks("X"), looks("N")), saga.Branch("y", wait("Y")))},
			want: `step X, in P:0: branch "x" of P ended after it, where the graph goes on at N`},
		{name: "a branch that has ended goes on", old: steps{both("P", saga.Branch("x", looks("X"))), wait("W")},
			new:  steps{both("P", saga.Branch("x", looks("X"), looks("N"))), wait("W")},
			want: `step X, in P:0, event 8: branch "x" of P ended after it, where the graph goes on at N`},
		{name: "branches of another order", old: steps{both("P", saga.Branch("x", wait("X")), saga.Branch("y", wait("Y")))},
			new:  steps{both("P", saga.Branch("y", wait("Y")), saga.Branch("x", wait("X")))},
			want: `step X, in P:0, event 4: it stands elsewhere in the graph: in branch "x" of P`},
		{name: "branches to undo", old: steps{both("P", saga.Branch("x", undone("X"))), wait("W"), looks("B")},
			new:  steps{both("P", saga.Branch("x", looks("X"))), wait("W"), looks("B")},
			want: "step X, in P:0: the execution is to undo it, if it fails: the graph does not undo it"},
		{name: "items that do more", old: steps{each("E", item("I")), wait("W")}, new: steps{each("E", item("I"), item("N")), wait("W")},
			want: "step I, in E:0, event 9: an item of E ended after it, where the graph goes on at N"},
		{name: "items that are none", old: steps{each("E", itemWait("I"))}, new: steps{both("E", saga.Branch("x", looks("X")))},
			want: "step E, event 2: it was a Map, and is a Parallel in the graph"},
		{name: "items at a step that is gone", old: steps{each("E", itemWait("I"))}, new: steps{each("E", item("N"))},
			want: "step I, in E:0, event 5: the graph has no such step"},
		{name: "a signal of another name", old: steps{receive("R", "go")}, new: steps{receive("R", "start")},
			want: "step R: it is the business of who sends the signal go, and of who sends the signal start in the graph"},
		{name: "a signal that came early", old: steps{wait("W"), receive("R", "go")}, new: steps{wait("W")}, tell: send("go"),
			want: "the signal go has come, and no step of the graph waits for it"},
		{name: "a signal that nobody ever waited for", old: steps{wait("W"), looks("A")}, new: steps{wait("W")}, tell: send("go")},
		{name: "a token that nobody takes", old: steps{callback("C").ReadOnly()}, new: steps{looks("C")},
			want: "step C: it is the business of who has a task token, and of code in the graph"},
		{name: "another participant", old: steps{remote("R", "payments").ReadOnly()}, new: steps{remote("R", "billing").ReadOnly()},
			want: "step R: it is the business of the participant at payments, and of the participant at billing in the graph"},
		{name: "another participant, once it is done with", old: steps{remote("R", "payments").Timeout(time.Second).Retry(saga.Once()).ReadOnly().Catch("W"), wait("W")},
			new: steps{remote("R", "billing").ReadOnly().Catch("W"), wait("W")}},
		{name: "an attempt whose undo is gone", old: steps{callback("C").Undo(undoNothing), looks("A")}, new: steps{callback("C").ReadOnly(), looks("A")},
			want: "step C: an attempt of it is under way, which may have to be undone: the graph does not undo it"},
		{name: "an attempt that is the point of no return now", old: steps{callback("C").Undo(undoNothing), looks("A")}, new: steps{callback("C").Pivot(), looks("A")}},
		{name: "an attempt at a step that waits for a signal", old: steps{failing("A", errors.New("busy")).Retry(saga.Retry{Initial: time.Hour, Jitter: -1})}, new: steps{receive("A", "go")},
			want: "step A: an attempt of it is under way, and in the graph it waits for a signal"},
		{name: "undone by somebody else", old: steps{remote("R", "payments").Timeout(time.Second).Retry(saga.Once()).Undo(func(context.Context, *trip, saga.Outcome) error { return errRefused })},
			new:  steps{remote("R", "payments").UndoRemote()},
			want: "step R: it is being undone by code, and by the participant at payments in the graph"},
		{name: "past a point of no return that was none", old: steps{looks("A"), wait("W")}, new: steps{saga.Do("A", nothing).Pivot(), wait("W")},
			want: "step A: it is the graph's point of no return, and was no such when the execution passed it"},
		{name: "past a point of no return that is none", old: steps{saga.Do("A", nothing).Pivot(), wait("W")}, new: steps{looks("A"), wait("W")},
			want: "the execution is past its point of no return, and the graph has none"},
		{name: "past a point of no return that comes later", old: steps{saga.Do("A", nothing).Pivot(), wait("W"), saga.Do("B", nothing)},
			new:  steps{looks("A"), wait("W"), saga.Do("B", nothing).Pivot()},
			want: "step B: it is the graph's point of no return: the execution is past its own, and not past this one"},
		{name: "before a point of no return that comes earlier", old: steps{wait("W"), looks("A"), saga.Do("B", nothing).Pivot()},
			new: steps{wait("W"), saga.Do("A", nothing).Pivot(), looks("B")}},
		{name: "a lock less", old: steps{undone("A").Lock(accountLock(time.Hour)), wait("W")}, new: steps{undone("A"), wait("W")}},
		{name: "a lock on what comes later", old: steps{undone("A"), wait("W"), undone("B")}, new: steps{undone("A"), wait("W"), undone("B").Lock(accountLock(time.Hour))}},
		{name: "a lock on what is done", old: steps{undone("A"), wait("W"), looks("B")}, new: steps{undone("A").Lock(accountLock(time.Hour)), wait("W"), looks("B")},
			want: "step A: the execution is to undo it, if it fails: it was done without the lock account, which it takes in the graph"},
		{name: "a lock on what is under way", old: steps{callback("C").ReadOnly()}, new: steps{callback("C").ReadOnly().Lock(accountLock(time.Hour))},
			want: "step C: it was begun without the lock account, which it takes in the graph"},
		{name: "a lock on branches that are under way", old: steps{both("P", saga.Branch("x", wait("X")))}, new: steps{both("P", saga.Branch("x", wait("X"))).Lock(accountLock(time.Hour))},
			want: "step P: it was begun without the lock account, which it takes in the graph"},
		{name: "a lock on it all", old: steps{undone("A"), wait("W")}, new: steps{undone("A"), wait("W")},
			within: func(s *saga.Saga[trip]) *saga.Saga[trip] { return s.Lock(accountLock(time.Hour)) },
			want:   "the graph takes the lock account before its first step, and the execution has begun without it"},
		{name: "a way back that was none", old: steps{undone("A"), wait("W"), choose("C", "E", true), looks("B"), saga.Succeed[trip]("E")},
			new:  steps{undone("A"), wait("W"), choose("C", "A", false), looks("B"), saga.Succeed[trip]("E")},
			want: "step A: it may be entered again in the graph, and the execution has not counted that it was before: both would have the same idempotency key"},
		{name: "a way back that was there", old: steps{undone("A"), wait("W"), choose("C", "A", false), looks("B")}, new: steps{undone("A"), wait("W"), choose("C", "A", true), undone("N"), looks("B")}},
		{name: "a way back to what has no key", old: steps{saga.Pass("A", func(*trip) error { return nil }), wait("W"), choose("C", "B", true), looks("B")},
			new: steps{saga.Pass("A", func(*trip) error { return nil }), wait("W"), choose("C", "A", true), looks("B")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				old, new := saga.New("trip", tt.old...).Version("1"), saga.New("trip", tt.new...).Version("2")
				if tt.within != nil {
					new = tt.within(new)
				}
				if err := errors.Join(old.Validate(), new.Validate()); err != nil {
					t.Fatal(err)
				}
				silent := &post{t: t, serve: func(sentCommand) *replied { return nil }}
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{old}, Publisher: silent, ReplyTo: "replies"})
				if _, err := old.Start(t.Context(), c, "1", trip{}, saga.After(tt.after)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if tt.tell != nil {
					tt.tell(t, c)
					time.Sleep(10 * time.Second)
				}
				for _, graph := range []*saga.Definition{new.Definition(), reparsed(t, new.Definition())} {
					checks := checkUpgrade(t, outsider(t, st), graph, "")
					if len(checks) != 1 || checks[0].Execution != "1" || checks[0].Version != "1" {
						t.Fatalf("checked %+v", checks)
					}
					got := ""
					if m := checks[0].Misfit; m != nil {
						got = m.String()
						h, err := c.History(t.Context(), "1")
						if err != nil {
							t.Fatal(err)
						}
						if m.Event > 0 && h[m.Event-1].Step != m.Step && !strings.HasSuffix(string(h[m.Event-1].Type), "Succeeded") {
							t.Errorf("event %d is %+v", m.Event, h[m.Event-1])
						}
					}
					if got != tt.want {
						t.Errorf("got  %q\nwant %q", got, tt.want)
					}
				}
				if checks := checkUpgrade(t, c, old.Definition(), ""); len(checks) != 1 || checks[0].Misfit != nil {
					t.Errorf("it does not fit its own graph: %+v", checks)
				}
			})
		})
	}
}

// What cannot be compared is told, and what cannot be read of the store is an
// error.
func TestCheckUpgradeOfTheUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Wait[trip]("W", time.Hour))
		graph, seal := s.Definition(), newSealer(t)
		sealed := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Codec: seal})
		if _, err := s.Start(t.Context(), sealed, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if checks := checkUpgrade(t, outsider(t, st), graph, ""); len(checks) != 1 || checks[0].Misfit == nil ||
			!strings.Contains(checks[0].Misfit.String(), "its meta data cannot be read") {
			t.Errorf("with another codec: %+v", checks)
		}
		lost := memstore.New(memstore.Config{})
		if _, err := s.Start(t.Context(), outsider(t, lost), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if checks := checkUpgrade(t, outsider(t, lost), graph, ""); len(checks) != 1 || checks[0].Misfit == nil ||
			!strings.Contains(checks[0].Misfit.String(), "the graph of its version is not registered") {
			t.Errorf("without its own graph: %+v", checks)
		}
		for _, op := range []string{"DefinitionVersions", "Walk", "Get", "Definition", "History"} {
			faulty := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
				if c.Op == op {
					return storetest.Fault{Before: storetest.ErrInjected}
				}
				return storetest.Fault{}
			})
			c, err := saga.NewClient(saga.ClientConfig{Store: faulty, Codec: seal})
			if err != nil {
				t.Fatal(err)
			}
			var errs []error
			for _, err := range c.CheckUpgrade(t.Context(), graph, "") {
				errs = append(errs, err)
			}
			if len(errs) != 1 || !errors.Is(errs[0], storetest.ErrInjected) {
				t.Errorf("where %s fails: %v", op, errs)
			}
		}
	})
}

func TestParseDefinition(t *testing.T) {
	s := saga.New("trip",
		saga.Do("A", nothing).Undo(undoNothing),
		saga.Parallel("P", saga.Branch("x", saga.Remote[trip, int, int]("X", "there", func(*trip) (int, error) { return 0, nil }, nil).UndoRemote()),
			saga.Branch("y", saga.Receive[trip, int]("Y", "go", nil), saga.Callback[trip, int]("Z", nothing, nil).ReadOnly())).
			Merge(func(*trip, []trip) error { return nil }).Catch("End"),
		saga.ForEach("E", func(*trip) []int { return nil }, nil, saga.Do("I", func(context.Context, *int) error { return nil }).ReadOnly()),
		saga.Choose[trip]("C").If("End", saga.Field("Log").Present()),
		saga.WaitUntil("U", func(*trip) time.Time { return time.Time{} }),
		saga.Pass("Q", func(*trip) error { return nil }),
		saga.Do("B", nothing).Pivot(),
		saga.Succeed[trip]("End"),
	).Version("1").Within(100 * time.Hour)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(s.Definition())
	if err != nil {
		t.Fatal(err)
	}
	d := reparsed(t, s.Definition())
	if got, err := json.Marshal(d); err != nil || string(got) != string(want) {
		t.Errorf("read and written it is %s, %v; want %s", got, err, want)
	}
	if d.Name() != "trip" || d.Version() != "1" || len(d.States()) != len(s.Definition().States()) {
		t.Errorf("read %s %s with %d states", d.Name(), d.Version(), len(d.States()))
	}
	task := func(name, more string) string {
		return fmt.Sprintf(`{"name":%q,"type":"Task","timeout":1,"undo_timeout":1,"read_only":true%s}`, name, more)
	}
	graph := func(states ...string) string {
		return `{"format":1,"name":"trip","version":"1","states":[` + strings.Join(states, ",") + `]}`
	}
	for data, want := range map[string]string{
		`{`:                          "decode a graph",
		`[]`:                         "decode a graph",
		`{"format":2,"name":"trip"}`: `the format of the graph of "trip" is 2, want 1`,
		`{"name":"trip"}`:            `the format of the graph of "trip" is 0, want 1`,
		`{"format":1,"name":"trip","version":"1"}`:                    `the graph of "trip": it has no states`,
		`{"format":1,"name":"trip","states":[` + task("A", "") + `]}`: `the graph has no version`,
		graph("null"):                                                                              "state 1 is null",
		graph(`{"name":"A","type":"Nap"}`):                                                         `state "A": its type is "Nap", want one of ["Task"`,
		graph(`{"name":"A","type":"Map"}`):                                                         `state "A": "each" is missing`,
		graph(`{"name":"A","type":"Parallel"}`):                                                    `state "A": "branches" is missing`,
		graph(`{"name":"A","type":"Parallel","branches":[null]}`):                                  `state "A": branch 1 is null`,
		graph(`{"name":"A","type":"Parallel","branches":[{"name":"x","states":[]}]}`):              `state "A", branch "x": it has no states`,
		graph(`{"name":"A","type":"Map","each":{"states":[null]}}`):                                `state "A", each item: state 1 is null`,
		graph(task("A", `,"each":{"states":[null]}`)):                                              `state "A": a Task has no branches`,
		graph(task("A", ""), task("A", "")):                                                        `the name "A" is taken by an earlier step`,
		graph(task("A", `,"next":"B"`)):                                                            `it goes on at "B", and there is no such step`,
		graph(task("A", ""), task("B", "")):                                                        `no step leads to it`,
		graph(`{"name":"A","type":"Task","timeout":1,"undo_timeout":1,"next":"B"}`, task("B", "")): "say how to undo it",
	} {
		if _, err := saga.ParseDefinition([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", data, err, want)
		}
	}
	var format *store.FormatError
	if _, err := saga.ParseDefinition([]byte(`{"format":2}`)); !errors.As(err, &format) {
		t.Errorf("of another format: %v", err)
	}
}
