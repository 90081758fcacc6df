package saga

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// A Definition is the graph of states that executions run through. Sagas built
// with [New] compile to one. It is immutable.
type Definition struct {
	name    string
	version string
	own     string // the version that its author gave, if any
	timeout time.Duration
	locks   []LockDef // taken before the first step
	root    *Graph
	byName  map[string]*State      // of all graphs
	parts   map[string]*Definition // of Maps, for the executions that do parts of them
	part    string                 // whose part it is
	mapSize mapSize
	// foldFrom is how much has to be under way for frames to be left folded.
	foldFrom int
	around   []*State                     // of a part: its Map, and what that is in, from the outside
	decode   func([]byte) ([]byte, error) // checks an input and makes it canonical
}

// A Graph is one state machine: the whole of a definition, a branch of a
// Parallel, or what a Map does with each item.
type Graph struct {
	Name string `json:"name,omitempty"` // a branch's
	// States are the states; the first is where it starts.
	States []*State `json:"states"`

	loops map[string]bool // states that may be entered again
}

func (g *Graph) start() *State { return g.States[0] }

// StateType is the kind of a state, in the words of the Amazon States Language.
type StateType string

// The types of states.
const (
	TypeTask     StateType = "Task"     // does work
	TypeChoice   StateType = "Choice"   // chooses what is next
	TypeWait     StateType = "Wait"     // waits for a time
	TypePass     StateType = "Pass"     // changes the state, and nothing else
	TypeSucceed  StateType = "Succeed"  // ends well
	TypeFail     StateType = "Fail"     // fails
	TypeParallel StateType = "Parallel" // runs branches side by side
	TypeMap      StateType = "Map"      // runs a branch for each of some items
)

// A State is one node of a Definition.
type State struct {
	Name         string        `json:"name"`
	Type         StateType     `json:"type"`
	Next         string        `json:"next,omitempty"` // empty: the last
	Timeout      time.Duration `json:"timeout,omitempty"`
	Within       time.Duration `json:"within,omitempty"`
	Retry        *Retry        `json:"retry,omitempty"`
	RetryOn      []RetryOn     `json:"retry_on,omitempty"` // before Retry
	Catch        []Catcher     `json:"catch,omitempty"`
	UndoRetry    *Retry        `json:"undo_retry,omitempty"` // nil: no compensation
	UndoTimeout  time.Duration `json:"undo_timeout,omitempty"`
	Heartbeat    time.Duration `json:"heartbeat,omitempty"`
	Callback     bool          `json:"callback,omitempty"` // completed by a task token
	Signal       string        `json:"signal,omitempty"`   // completed by a signal of that name
	Remote       string        `json:"remote,omitempty"`   // the endpoint that its commands go to
	UndoRemote   bool          `json:"undo_remote,omitempty"`
	Child        string        `json:"child,omitempty"` // the saga that does it
	ReadOnly     bool          `json:"read_only,omitempty"`
	Irreversible bool          `json:"irreversible,omitempty"`
	Pivot        bool          `json:"pivot,omitempty"`
	Locks        []LockDef     `json:"locks,omitempty"` // taken before it begins

	// Choices are a Choice's, in order; Next is where it goes if none holds.
	Choices []Choice `json:"choices,omitempty"`
	// Wait is for how long a Wait waits, unless code computes until when.
	Wait time.Duration `json:"wait,omitempty"`
	// Error and Cause are a Fail's.
	Error string `json:"error,omitempty"`
	Cause string `json:"cause,omitempty"`

	// Branches are a Parallel's, and Each a Map's. Concurrency bounds how many
	// items are under way at once, and Tolerate how many may fail.
	Branches     []*Graph `json:"branches,omitempty"`
	Each         *Graph   `json:"each,omitempty"`
	Concurrency  int      `json:"concurrency,omitempty"`
	Tolerate     int      `json:"tolerate,omitempty"`
	UndoTogether bool     `json:"undo_together,omitempty"`

	// Code says that Go code decides what no graph can show.
	Code bool `json:"code,omitempty"`

	graph  *Graph
	faults []string // of how it was built
	timed  bool     // its timeout is no default
	untold bool     // it is a Callback's, and nobody has said for how long it waits
	ends   bool     // it says that it is the end
	child  *Definition
	part   *State // the Map that it does a part of
	batch  *Graph // of a Map: a part of it, that another execution does
	funcs
}

// funcs is the code of a state, over the JSON of states.
type funcs struct {
	decode    func(state []byte) ([]byte, error) // as its type writes it
	action    func(ctx context.Context, state []byte) ([]byte, error)
	undo      func(ctx context.Context, state []byte, outcome Outcome) error
	classify  func(error) error // what their errors mean
	request   func(state []byte) (json.RawMessage, error)
	group     func(state []byte) (string, error)
	absorb    func(state, data []byte) ([]byte, error)
	transform func(state []byte) ([]byte, error)
	until     func(state []byte) (time.Time, error)
	items     func(state []byte) ([]json.RawMessage, error)
	merge     func(state []byte, parts []part) ([]byte, error)
}

// A part is what came of one branch or item.
type part struct {
	state []byte
	cause *Cause // why it failed, where that is tolerated
}

// A Choice is one way that a choice may go.
type Choice struct {
	Next string `json:"next"`
	Rule *Rule  `json:"rule,omitempty"` // nil: Go code decides

	holds func(state []byte) (bool, error)
}

// RetryOn is a policy for errors of some names.
type RetryOn struct {
	Errors []string `json:"errors"`
	Retry
}

// A Catcher goes on elsewhere after errors of some names.
type Catcher struct {
	Errors []string `json:"errors"`
	Next   string   `json:"next"`
}

// graphOf is a Definition as it is registered in the store.
type graphOf struct {
	Format  int       `json:"format"`
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Timeout seconds   `json:"timeout,omitempty"`
	Locks   []LockDef `json:"locks,omitempty"`
	Graph
}

const graphFormat = 1

// Name is the name that executions are started by.
func (d *Definition) Name() string { return d.name }

// Version identifies the graph: executions stay on the one they began with. It
// is the author's own, or a hash of the graph's shape: of its states and of the
// ways between them, and not of times and policies of retry, which may be
// tuned while executions are under way.
func (d *Definition) Version() string { return d.version }

// States returns the states in the order of the definition.
func (d *Definition) States() []State {
	states := make([]State, len(d.root.States))
	for i, s := range d.root.States {
		states[i] = *s
	}
	return states
}

// MarshalJSON gives the graph, as services register it in the store. Durations in it
// are numbers of seconds, such as 60 or 0.2.
func (d *Definition) MarshalJSON() ([]byte, error) {
	return json.Marshal(graphOf{Format: graphFormat, Name: d.name, Version: d.version, Timeout: seconds(d.timeout), Locks: d.locks, Graph: *d.root})
}

// seal computes what follows from the states.
func (d *Definition) seal() error {
	d.version = d.own
	if d.version == "" {
		if err := d.hash(); err != nil {
			return err
		}
	}
	for _, part := range d.parts {
		part.version = d.version
	}
	return nil
}

// hash makes a version of the graph's shape.
func (d *Definition) hash() error {
	shape, err := json.Marshal(graphOf{Format: graphFormat, Name: d.name, Locks: shapeOfLocks(d.locks), Graph: *shapeOf(d.root)})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(shape)
	d.version = hex.EncodeToString(sum[:6])
	return nil
}

// shapeOf leaves out of a graph what may change under an execution's feet.
func shapeOf(g *Graph) *Graph {
	shape := &Graph{Name: g.Name, States: make([]*State, len(g.States))}
	for i, s := range g.States {
		c := *s
		c.Timeout, c.Within, c.UndoTimeout, c.Wait, c.Heartbeat = 0, 0, 0, 0, 0
		c.Retry, c.RetryOn = nil, nil
		c.Concurrency, c.Tolerate = 0, 0
		c.Locks = shapeOfLocks(s.Locks)
		if c.UndoRetry != nil {
			c.UndoRetry = &Retry{}
		}
		c.Branches = nil
		for _, branch := range s.Branches {
			c.Branches = append(c.Branches, shapeOf(branch))
		}
		if s.Each != nil {
			c.Each = shapeOf(s.Each)
		}
		shape.States[i] = &c
	}
	return shape
}

func shapeOfLocks(locks []LockDef) []LockDef {
	var shapes []LockDef
	for _, l := range locks {
		shapes = append(shapes, LockDef{Name: l.Name})
	}
	return shapes
}

// remote reports whether a participant does a step of the graph.
func (d *Definition) remote(g *Graph) bool {
	for _, s := range g.States {
		if s.Remote != "" {
			return true
		}
		for _, inner := range s.graphs() {
			if d.remote(inner) {
				return true
			}
		}
	}
	return false
}

// graphs are the graphs within the state.
func (s *State) graphs() []*Graph {
	if s.Each != nil {
		return []*Graph{s.Each}
	}
	return s.Branches
}

// ways are the states that may come after this one, in its graph.
func (s *State) ways() []string {
	var names []string
	for _, c := range s.Choices {
		names = append(names, c.Next)
	}
	for _, c := range s.Catch {
		names = append(names, c.Next)
	}
	if s.Next != "" {
		names = append(names, s.Next)
	}
	return names
}

// compensable reports whether there is something to run when it is undone.
func (s *State) compensable() bool { return s.undo != nil || s.UndoRemote || s.calls() }

// handling is how long the handler of one attempt may take.
func (s *State) handling() time.Duration {
	if s.Callback {
		return min(s.Timeout, DefaultTimeout)
	}
	return s.Timeout
}
