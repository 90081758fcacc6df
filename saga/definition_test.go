package saga_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

func nothing(context.Context, *trip) error { return nil }

func undoNothing(context.Context, *trip, saga.Outcome) error { return nil }

func TestValidate(t *testing.T) {
	step := func(name string) *saga.Step[trip] { return saga.Do(name, nothing).Undo(undoNothing) }
	bare := func(name string) *saga.Step[trip] { return saga.Do(name, nothing) }
	noMerge := func(*trip, []trip) error { return nil }
	items := func(steps ...*saga.Step[trip]) *saga.Step[trip] {
		return saga.ForEach("M", func(*trip) []trip { return nil }, nil, steps...)
	}
	forward := func(s *saga.Step[trip]) *saga.Saga[trip] { return saga.New("trip", bare("P").Pivot(), s, bare("Z")) }
	tests := []struct {
		name string
		saga *saga.Saga[trip]
		want []string // parts of the message; none: it is valid
	}{
		{"two steps", saga.New("trip", step("A"), step("B")), nil},
		{"the last step needs no Undo", saga.New("trip", step("A"), bare("B")), nil},
		{"one step", saga.New("trip", bare("A")), nil},
		{"all kinds", saga.New("trip", step("A"), bare("B").ReadOnly(), bare("C").Irreversible(), bare("P").Pivot(), bare("Z")).Within(time.Hour), nil},
		{"the longest name", saga.New(strings.Repeat("x", 128), step("A.b-c_9")), nil},
		{"UndoRetry before Undo", saga.New("trip", bare("A").UndoRetry(saga.Once()).Undo(undoNothing)), nil},

		{"no steps", saga.New[trip]("trip"), []string{`saga "trip": there are no steps`}},
		{"nil step", saga.New("trip", step("A"), nil), []string{`saga "trip": step 2 is nil`}},
		{"no name", saga.New("", step("A")), []string{`saga "": the name may have up to 128 letters`}},
		{"a long name", saga.New(strings.Repeat("x", 129), step("A")), []string{"the name may have up to 128 letters"}},
		{"a name with a space", saga.New("my trip", step("A")), []string{`saga "my trip": the name may have`}},
		{"a step's name with a slash", saga.New("trip", step("A/B")), []string{`step 1: the name "A/B" may have`}},
		{"two of one name", saga.New("trip", step("A"), step("B"), step("A")), []string{`step 3: the name "A" is taken by an earlier step`}},
		{"no action", saga.New("trip", saga.Do[trip]("A", nil)), []string{`step "A": it has no action`}},
		{"no Undo", saga.New("trip", bare("A"), bare("B")), []string{`step "A": say how to undo it with Undo, or that there is nothing to undo with ReadOnly or Irreversible`}},
		{"no Undo before the pivot", saga.New("trip", bare("A"), bare("P").Pivot()), []string{`step "A": say how to undo it`}},
		{"nil Undo", saga.New("trip", bare("A").Undo(nil), bare("B")), []string{`step "A": say how to undo it`}},
		{"two pivots", saga.New("trip", bare("P").Pivot(), bare("Q").Pivot()), []string{`step "Q": "P" is the pivot already`}},
		{"a pivot with an Undo", saga.New("trip", step("P").Pivot()), []string{`step "P": it is the pivot and has an Undo, which would never run`}},
		{"an Undo after the pivot", saga.New("trip", bare("P").Pivot(), step("A")), []string{`step "A": it comes after the pivot "P", so its Undo would never run`}},
		{"Undo and ReadOnly", saga.New("trip", step("A").ReadOnly()), []string{`step "A": it has an Undo and is declared ReadOnly or Irreversible: remove one`}},
		{"Undo and Irreversible", saga.New("trip", step("A").Irreversible()), []string{`it has an Undo and is declared ReadOnly or Irreversible`}},
		{"ReadOnly and Irreversible", saga.New("trip", bare("A").ReadOnly().Irreversible()), []string{`step "A": it is declared both ReadOnly and Irreversible`}},
		{"UndoRetry without Undo", saga.New("trip", bare("A").UndoRetry(saga.Once())), []string{`step "A": it has an UndoRetry and no Undo`}},
		{"timeout", saga.New("trip", step("A").Timeout(0)), []string{`step "A": the timeout is 0s, want it positive`, `the timeout of its Undo is 0s`}},
		{"negative timeout", saga.New("trip", step("A").Timeout(-time.Second)), []string{`step "A": the timeout is -1s, want it positive`}},
		{"within", saga.New("trip", step("A").Within(-time.Second)), []string{`step "A": Within is -1s, want it positive`}},
		{"the saga's time", saga.New("trip", step("A")).Within(-time.Second), []string{`saga "trip": its time is -1s, want it positive`}},
		{"attempts", saga.New("trip", step("A").Retry(saga.Retry{Attempts: -2})), []string{`step "A": retry: attempts is -2, want 1 or more, or saga.Forever`}},
		{"initial delay", saga.New("trip", step("A").Retry(saga.Retry{Initial: -time.Second})), []string{`step "A": retry: initial delay is -1s, want it positive`}},
		{"factor", saga.New("trip", step("A").Retry(saga.Retry{Factor: 0.5})), []string{`retry: factor is 0.5, want 1 or more`}},
		{"longest delay", saga.New("trip", step("A").Retry(saga.Retry{Initial: time.Minute, Max: time.Second})), []string{`retry: longest delay 1s is below the initial one, 1m0s`}},
		{"jitter", saga.New("trip", step("A").Retry(saga.Retry{Jitter: 1.5})), []string{`retry: jitter is 1.5, want at most 1`}},
		{"retry of the Undo", saga.New("trip", step("A").UndoRetry(saga.Retry{Attempts: -7})), []string{`step "A": retry of its Undo: attempts is -7`}},
		{"Retry of a Parallel after the pivot", forward(saga.Parallel("X", saga.Branch("a", bare("Pay"))).Merge(noMerge).Retry(saga.Retry{})),
			[]string{`step "X": it comes after the pivot "P", where nothing is undone, so its Retry would do "Pay" once more under another key: put Retry on the steps within`}},
		{"Retry by name of a ForEach after the pivot", forward(items(bare("Pay")).Retry(saga.Retry{}, "No")), []string{`its Retry would do "Pay" once more`}},
		{"Retry of what only reads", forward(items(bare("Look").ReadOnly()).Retry(saga.Retry{})), nil},
		{"Retry of a Parallel before the pivot", saga.New("trip", items(step("A")).Retry(saga.Retry{}), bare("P").Pivot()), nil},
		{"Tolerate after the pivot", forward(items(bare("Pay")).Tolerate(1)),
			[]string{`its Tolerate rests on that: put Catch on the steps within, or declare with Irreversible what may be left done, as by "Pay"`}},
		{"Tolerate of what is irreversible", forward(items(bare("Mail").Irreversible()).Tolerate(1)), nil},
		{"Catch after the pivot", forward(saga.Parallel("X", saga.Branch("a", bare("Mail").Irreversible()), saga.Branch("b", items(bare("Pay")))).
			Merge(noMerge).Catch("Z")), []string{`its Catch rests on that: put Catch on the steps within, or declare with Irreversible what may be left done, as by "Pay"`}},
		{"Within after the pivot", forward(items(bare("Look").ReadOnly()).Within(time.Hour)), []string{`so it cannot be stopped: put Within on the steps within`}},
		{"a Receive that may not hear, after the pivot", forward(saga.Receive[trip, int]("R", "go", nil).Timeout(time.Minute)),
			[]string{`step "R": it comes after the pivot "P", and a saga cannot fail any more then: say with Catch`}},
		{"a Receive that has its time, after the pivot", forward(saga.Receive[trip, int]("R", "go", nil).Within(time.Minute)), []string{"say with Catch"}},
		{"a Receive that is caught", forward(saga.Receive[trip, int]("R", "go", nil).Timeout(time.Minute).Catch("Z")), nil},
		{"a Receive that waits", forward(saga.Receive[trip, int]("R", "go", nil)), nil},
		{"a Choose that may choose nothing", saga.New("trip", bare("P").Pivot(), saga.Choose[trip]("C").If("P", saga.Field("x").Present())),
			[]string{`step "C": it comes after the pivot "P", and where nothing holds nothing comes next: say what does with Otherwise, or that it is the end with End`}},
		{"a Choose that may be the end", saga.New("trip", bare("P").Pivot(), saga.Choose[trip]("C").If("Z", saga.Field("x").Present()).End(), bare("Z")), nil},
		{"a Callback's default after the pivot", forward(saga.Callback[trip, int]("C", nothing, nil)),
			[]string{`step "C": it comes after the pivot "P", where nothing is undone, and it would be blocked when nobody answers in 24h0m0s, which is its default: say with Timeout or Within how long it waits, or with Catch what comes next`}},
		{"a Callback's default that another error is caught of", forward(saga.Callback[trip, int]("C", nothing, nil).Catch("Z", "No")), []string{`say with Timeout or Within`}},
		{"a Callback that is caught", forward(saga.Callback[trip, int]("C", nothing, nil).Catch("Z")), nil},
		{"a Callback whose time is caught", forward(saga.Callback[trip, int]("C", nothing, nil).Catch("Z", saga.ErrorTimeout)), nil},
		{"a Callback that is asked again", forward(saga.Callback[trip, int]("C", nothing, nil).Retry(saga.Retry{Attempts: saga.Forever}, saga.ErrorTimeout)), nil},
		{"a Callback that says its time", forward(saga.Callback[trip, int]("C", nothing, nil).Timeout(time.Hour)), nil},
		{"a Callback that has its time", forward(saga.Callback[trip, int]("C", nothing, nil).Within(time.Hour)), nil},
		{"a Callback that is the pivot", saga.New("trip", step("A"), saga.Callback[trip, int]("C", nothing, nil).Pivot(), bare("Z")),
			[]string{`step "C": it is the pivot, and would be blocked when nobody answers in 24h0m0s, which is its default: say with Timeout or Within how long it waits`}},
		{"a Callback's default", saga.New("trip", saga.Callback[trip, int]("C", nothing, nil).ReadOnly(), step("A")).Within(time.Hour),
			[]string{`step "C": its timeout is 24h0m0s by default, and the saga's own time is 1h0m0s: say with Timeout how long it waits`}},
		{"a Callback's own time", saga.New("trip", saga.Callback[trip, int]("C", nothing, nil).ReadOnly().Within(time.Minute), step("A")).Within(time.Hour), nil},
		{"a Receive's timeout", saga.New("trip", saga.Receive[trip, int]("R", "go", nil).Timeout(time.Hour).Within(time.Minute), step("A")),
			[]string{`step "R": its timeout of 1h0m0s is longer than Within, 1m0s`}},
		{
			"all at once", saga.New("", bare("A"), saga.Do[trip]("A", nil).Retry(saga.Retry{Jitter: 2})),
			[]string{"the name may have", `step "A": say how to undo it`, `step 2: the name "A" is taken`, `it has no action`, `jitter is 2`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.saga.Validate()
			if len(tt.want) == 0 && err != nil {
				t.Fatalf("%v, want it valid", err)
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			// Registering and starting report the same.
			_, register := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{tt.saga}})
			client, cerr := saga.NewClient(saga.ClientConfig{Store: memstore.New(memstore.Config{})})
			if cerr != nil {
				t.Fatal(cerr)
			}
			_, start := tt.saga.Start(t.Context(), client, "1", trip{})
			_, run := tt.saga.Run(canceled(t), client, "1", trip{})
			if err == nil {
				if register != nil || start != nil {
					t.Errorf("registering gives %v, starting %v", register, start)
				}
				return
			}
			for what, got := range map[string]error{"registering": register, "starting": start, "running": run} {
				if got == nil || !strings.Contains(got.Error(), err.Error()) {
					t.Errorf("%s gives %v, want %v", what, got, err)
				}
			}
		})
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestDefinition(t *testing.T) {
	build := func(timeout time.Duration, name string) *saga.Definition {
		return saga.New(name, saga.Do("A", nothing).Undo(undoNothing).Timeout(timeout), saga.Do("B", nothing).Pivot()).Definition()
	}
	d := build(time.Second, "trip")
	if d.Name() != "trip" {
		t.Errorf("name %q", d.Name())
	}
	if d.Version() == "" || d.Version() != build(time.Second, "trip").Version() {
		t.Errorf("two definitions that are alike have versions %q and %q", d.Version(), build(time.Second, "trip").Version())
	}
	if other := build(time.Minute, "trip"); d.Version() != other.Version() {
		t.Errorf("another timeout makes another version, %q and not %q: executions that are under way would lose their code", other.Version(), d.Version())
	}
	if other := build(time.Second, "tour"); d.Version() == other.Version() {
		t.Errorf("another name has the same version %q", d.Version())
	}

	states := d.States()
	if len(states) != 2 || states[0].Next != "B" || states[1].Next != "" || !states[1].Pivot || states[0].UndoRetry == nil || states[1].UndoRetry != nil {
		t.Errorf("states %+v", states)
	}
	states[0].Name = "X"
	if d.States()[0].Name != "A" {
		t.Error("changing what States returned changes the definition")
	}
	var graph struct {
		Format        int
		Name, Version string
		States        []struct{ Name string }
	}
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &graph); err != nil {
		t.Fatal(err)
	}
	if graph.Format != 1 || graph.Name != "trip" || graph.Version != d.Version() || len(graph.States) != 2 {
		t.Errorf("the graph is %s", data)
	}
}

// A step given to two sagas is a step of its own in each.
// A graph that is read does not tell what its author left to the defaults.
func TestParsedCallbackAfterThePivot(t *testing.T) {
	s := saga.New("trip", saga.Do("P", nothing).Pivot(), saga.Callback[trip, int]("C", nothing, nil).Timeout(24*time.Hour))
	graph, err := json.Marshal(s.Definition())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := saga.ParseDefinition(graph); err != nil {
		t.Error(err)
	}
}

func TestStepsAreCopied(t *testing.T) {
	a := saga.Do("A", nothing).Undo(undoNothing)
	one := saga.New("one", a, saga.Do("B", nothing))
	version := one.Definition().Version()
	a.Timeout(time.Second)
	two := saga.New("two", a)
	if got := one.Definition().States()[0]; got.Timeout != saga.DefaultTimeout || got.Next != "B" {
		t.Errorf("the first saga's step is %+v now", got)
	}
	if one.Definition().Version() != version || two.Definition().States()[0].Next != "" {
		t.Error("two sagas share a step")
	}
}

func TestNewCoordinatorChecks(t *testing.T) {
	good := saga.New("trip", saga.Do("A", nothing))
	other := saga.New("trip", saga.Do("B", nothing))
	bad := saga.New("", saga.Do("A", nothing))
	valid := func(change func(*saga.CoordinatorConfig)) saga.CoordinatorConfig {
		cfg := saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{good}}
		change(&cfg)
		return cfg
	}
	tests := []struct {
		name   string
		change func(*saga.CoordinatorConfig)
		want   string
	}{
		{"defaults", func(*saga.CoordinatorConfig) {}, ""},
		{"the shortest lease", func(c *saga.CoordinatorConfig) { c.Lease = 100 * time.Millisecond }, ""},
		{"two versions", func(c *saga.CoordinatorConfig) { c.Sagas = append(c.Sagas, other) }, ""},
		{"no store", func(c *saga.CoordinatorConfig) { c.Store = nil }, "CoordinatorConfig.Store is nil"},
		{"no sagas", func(c *saga.CoordinatorConfig) { c.Sagas = nil }, "CoordinatorConfig.Sagas is empty"},
		{"nil saga", func(c *saga.CoordinatorConfig) { c.Sagas = append(c.Sagas, nil) }, "Sagas[1] is nil"},
		{"nil saga of a type", func(c *saga.CoordinatorConfig) { c.Sagas = append(c.Sagas, (*saga.Saga[trip])(nil)) }, "Sagas[1] is nil"},
		{"bad saga", func(c *saga.CoordinatorConfig) { c.Sagas = append(c.Sagas, bad) }, `saga "": the name`},
		{"twice", func(c *saga.CoordinatorConfig) { c.Sagas = append(c.Sagas, good) }, `saga "trip" is registered twice`},
		{"lease", func(c *saga.CoordinatorConfig) { c.Lease = 99 * time.Millisecond }, "CoordinatorConfig.Lease is 99ms, want at least 100ms"},
		{"negative lease", func(c *saga.CoordinatorConfig) { c.Lease = -time.Second }, "CoordinatorConfig.Lease is -1s, want at least 100ms"},
		{"concurrency", func(c *saga.CoordinatorConfig) { c.Concurrency = -1 }, "CoordinatorConfig.Concurrency is -1, want it positive"},
		{"sweep", func(c *saga.CoordinatorConfig) { c.Sweep = -1 }, "CoordinatorConfig.Sweep is -1ns, want it positive"},
		{"drain", func(c *saga.CoordinatorConfig) { c.Drain = -1 }, "CoordinatorConfig.Drain is -1ns, want it positive"},
		{"retention", func(c *saga.CoordinatorConfig) { c.Retention = -1 }, "CoordinatorConfig.Retention is -1ns, want it positive"},
		{"tombstone", func(c *saga.CoordinatorConfig) { c.Tombstone = -1 }, "CoordinatorConfig.Tombstone is -1ns, want it positive"},
		{"state", func(c *saga.CoordinatorConfig) { c.MaxState = -1 }, "CoordinatorConfig.MaxState is -1, want it positive"},
		{"openings", func(c *saga.CoordinatorConfig) { c.MaxOpenings = -1 }, "CoordinatorConfig.MaxOpenings is -1, want it positive"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := saga.NewCoordinator(valid(tt.change))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	_, err := saga.NewCoordinator(saga.CoordinatorConfig{Lease: time.Millisecond, Concurrency: -1})
	for _, want := range []string{"Store is nil", "Sagas is empty", "Lease", "Concurrency"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want all that is wrong, with %s", err, want)
		}
	}
	if _, err := saga.NewClient(saga.ClientConfig{}); err == nil || !strings.Contains(err.Error(), "ClientConfig.Store is nil") {
		t.Errorf("a client without a store: %v", err)
	}
}

// An input that the state's type cannot hold is refused before anything starts.
func TestStartRefusesBadInput(t *testing.T) {
	s := saga.New("trip", saga.Do("A", func(context.Context, *func()) error { return nil }))
	st := memstore.New(memstore.Config{})
	client, err := saga.NewClient(saga.ClientConfig{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), client, "1", func() {}); err == nil || !strings.Contains(err.Error(), `start "1": encode the input`) {
		t.Errorf("got %v", err)
	}
	if _, err := client.Get(t.Context(), "1"); err == nil {
		t.Error("it was started all the same")
	}
	var ok = saga.New("trip", saga.Do("A", nothing))
	for _, id := range []string{"", strings.Repeat("x", 513)} {
		if _, err := ok.Start(t.Context(), client, id, trip{}); err == nil {
			t.Errorf("an id of %d bytes: no error", len(id))
		}
	}
}
