package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// ParseDefinition reads a graph, as [Definition.MarshalJSON] writes it and
// services register it in the store, and reports all that is wrong with it. What
// it returns can be looked at and compared, and runs nothing: it has no code.
func ParseDefinition(data []byte) (*Definition, error) {
	d, err := definitionFrom(data)
	if err != nil {
		return nil, err
	}
	if d.version == "" {
		return nil, fmt.Errorf("saga %q: the graph has no version", d.name)
	}
	if err := d.validate(); err != nil {
		return nil, err
	}
	return d, nil
}

// definitionFrom reads a graph as it is registered. It can be walked, and runs
// nothing.
func definitionFrom(data []byte) (*Definition, error) {
	var g graphOf
	if err := json.Unmarshal(data, &g); err != nil {
		return nil, fmt.Errorf("saga: decode a graph: %w", err)
	}
	if g.Format != graphFormat {
		return nil, &store.FormatError{
			What: fmt.Sprintf("the format of the graph of %q", g.Name), Got: strconv.Itoa(g.Format), Want: strconv.Itoa(graphFormat),
		}
	}
	d := &Definition{name: g.Name, version: g.Version, own: g.Version, timeout: time.Duration(g.Timeout), locks: g.Locks, root: &g.Graph}
	liven(d.locks)
	if err := animate(d.root); err != nil {
		return nil, fmt.Errorf("saga: the graph of %q: %w", g.Name, err)
	}
	c := &checker{def: d}
	d.byName, d.parts = make(map[string]*State), make(map[string]*Definition)
	c.link(d.root, "")
	for _, s := range d.maps(d.root) {
		d.partOf(s)
	}
	c.flow(d.root, "")
	return d, nil
}

// stateTypes are the types that a graph may have.
var stateTypes = []StateType{TypeTask, TypeChoice, TypeWait, TypePass, TypeSucceed, TypeFail, TypeParallel, TypeMap}

// animate gives states functions that do nothing, where the graph says that
// there are some, and refuses what nobody could walk.
func animate(g *Graph) error {
	if len(g.States) == 0 {
		return errors.New("it has no states")
	}
	for i, s := range g.States {
		switch {
		case s == nil:
			return fmt.Errorf("state %d is null", i+1)
		case !slices.Contains(stateTypes, s.Type):
			return fmt.Errorf("state %q: its type is %q, want one of %q", s.Name, s.Type, stateTypes)
		case s.Type == TypeMap && s.Each == nil:
			return fmt.Errorf(`state %q: "each" is missing, which is what a Map does with an item`, s.Name)
		case s.Type == TypeParallel && len(s.Branches) == 0:
			return fmt.Errorf(`state %q: "branches" is missing, which is what a Parallel runs`, s.Name)
		case s.Type != TypeMap && s.Each != nil, s.Type != TypeParallel && len(s.Branches) > 0:
			return fmt.Errorf("state %q: a %s has no branches", s.Name, s.Type)
		}
		s.funcs = dead(s)
		liven(s.Locks)
		for n, inner := range s.graphs() {
			if inner == nil {
				return fmt.Errorf("state %q: branch %d is null", s.Name, n+1)
			}
			if err := animate(inner); err != nil {
				return fmt.Errorf("state %q, %s: %w", s.Name, inner.within(), err)
			}
		}
	}
	return nil
}

// liven gives locks a function that is not called.
func liven(locks []LockDef) {
	for i := range locks {
		locks[i].key = func([]byte) (string, error) { return "", errors.New("the graph has no code") }
	}
}

// dead are the functions that a valid state of this kind has.
func dead(s *State) funcs {
	f := funcs{
		transform: func(state []byte) ([]byte, error) { return state, nil },
		merge:     func(state []byte, _ []part) ([]byte, error) { return state, nil },
	}
	if s.Remote == "" {
		f.action = func(_ context.Context, state []byte) ([]byte, error) { return state, nil }
	}
	if s.UndoRetry != nil && !s.UndoRemote {
		f.undo = func(context.Context, []byte, Outcome) error { return nil }
	}
	return f
}
