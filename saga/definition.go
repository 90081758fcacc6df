package saga

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// A Definition is the graph of states that executions run through. Sagas built
// with [New] compile to one. It is immutable.
type Definition struct {
	name    string
	version string
	timeout time.Duration
	states  []*State
	byName  map[string]*State
	decode  func([]byte) ([]byte, error) // checks an input and makes it canonical
}

// StateType is the kind of a state, in the words of the Amazon States Language.
type StateType string

// Task is a state that does work.
const Task StateType = "Task"

// A State is one node of a Definition.
type State struct {
	Name         string        `json:"name"`
	Type         StateType     `json:"type"`
	Next         string        `json:"next,omitempty"` // empty: the last
	Timeout      time.Duration `json:"timeout,omitempty"`
	Within       time.Duration `json:"within,omitempty"`
	Retry        Retry         `json:"retry"`
	UndoRetry    *Retry        `json:"undo_retry,omitempty"` // nil: no compensation
	UndoTimeout  time.Duration `json:"undo_timeout,omitempty"`
	ReadOnly     bool          `json:"read_only,omitempty"`
	Irreversible bool          `json:"irreversible,omitempty"`
	Pivot        bool          `json:"pivot,omitempty"`

	action func(ctx context.Context, state []byte) ([]byte, error)
	undo   func(ctx context.Context, state []byte, outcome Outcome) error
}

// graph is a Definition as it is registered in the store.
type graph struct {
	Format  int           `json:"format"`
	Name    string        `json:"name"`
	Version string        `json:"version"`
	Timeout time.Duration `json:"timeout,omitempty"`
	States  []*State      `json:"states"`
}

const graphFormat = 1

// Name is the name that executions are started by.
func (d *Definition) Name() string { return d.name }

// Version identifies the graph: executions stay on the one they began with.
func (d *Definition) Version() string { return d.version }

// States returns the states in the order of the definition.
func (d *Definition) States() []State {
	states := make([]State, len(d.states))
	for i, s := range d.states {
		states[i] = *s
	}
	return states
}

// MarshalJSON gives the graph, as services register it in the store.
func (d *Definition) MarshalJSON() ([]byte, error) {
	return json.Marshal(graph{Format: graphFormat, Name: d.name, Version: d.version, Timeout: d.timeout, States: d.states})
}

// seal computes what follows from the states.
func (d *Definition) seal() error {
	d.byName = make(map[string]*State, len(d.states))
	for i, s := range d.states {
		if i+1 < len(d.states) {
			s.Next = d.states[i+1].Name
		}
		d.byName[s.Name] = s
	}
	shape, err := json.Marshal(graph{Format: graphFormat, Name: d.name, Timeout: d.timeout, States: d.states})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(shape)
	d.version = hex.EncodeToString(sum[:6])
	return nil
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// validate reports everything that is wrong with the definition.
func (d *Definition) validate() error {
	var errs []error
	report := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("saga %q: "+format, append([]any{d.name}, args...)...))
	}
	if !nameRule.MatchString(d.name) {
		report("the name may have up to 128 letters, digits, dots, - and _, and begins with a letter or digit")
	}
	if len(d.states) == 0 {
		report("there are no steps")
	}
	if d.timeout < 0 {
		report("the timeout is %s, want it positive", d.timeout)
	}
	seen := make(map[string]bool)
	pivot := ""
	for i, s := range d.states {
		if !nameRule.MatchString(s.Name) {
			report("step %d: the name %q may have up to 128 letters, digits, dots, - and _, and begins with a letter or digit", i+1, s.Name)
		}
		if seen[s.Name] {
			report("step %d: the name %q is taken by an earlier step", i+1, s.Name)
		}
		seen[s.Name] = true
		for _, problem := range s.problems() {
			report("step %q: %s", s.Name, problem)
		}
		last := i == len(d.states)-1
		switch {
		case s.Pivot && pivot != "":
			report("step %q: %q is the pivot already; a saga has one point of no return", s.Name, pivot)
		case s.Pivot:
			pivot = s.Name
		case pivot != "" && s.undo != nil:
			report("step %q: it comes after the pivot %q, so its Undo would never run", s.Name, pivot)
		case pivot == "" && !last && s.undo == nil && !s.ReadOnly && !s.Irreversible:
			report("step %q: say how to undo it with Undo, or that there is nothing to undo with ReadOnly or Irreversible", s.Name)
		}
	}
	return errors.Join(errs...)
}

func (s *State) problems() []string {
	var problems []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	add(s.action == nil, "it has no action")
	add(s.Timeout <= 0, "the timeout is %s, want it positive", s.Timeout)
	add(s.UndoTimeout <= 0, "the timeout of its Undo is %s, want it positive", s.UndoTimeout)
	add(s.Within < 0, "Within is %s, want it positive", s.Within)
	add(s.undo == nil && s.UndoRetry != nil, "it has an UndoRetry and no Undo")
	add(s.undo != nil && (s.ReadOnly || s.Irreversible), "it has an Undo and is declared ReadOnly or Irreversible: remove one")
	add(s.ReadOnly && s.Irreversible, "it is declared both ReadOnly and Irreversible")
	add(s.Pivot && s.undo != nil, "it is the pivot and has an Undo, which would never run")
	if err := s.Retry.validate(); err != nil {
		add(true, "retry: %v", err)
	}
	if s.UndoRetry != nil {
		if err := s.UndoRetry.validate(); err != nil {
			add(true, "retry of its Undo: %v", err)
		}
	}
	return problems
}
