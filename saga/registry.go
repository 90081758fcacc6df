package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/waybill-dev/waybill/store"
)

// Definitions returns the versions of all definitions that services have
// registered, by name.
func (c *Client) Definitions(ctx context.Context) (map[string][]string, error) {
	return c.store.DefinitionVersions(ctx)
}

// Definition returns a graph that a service has registered, or an error that
// matches store.ErrNotFound. It runs nothing: see [ParseDefinition].
func (c *Client) Definition(ctx context.Context, name, version string) (*Definition, error) {
	graph, err := c.store.Definition(ctx, name, version)
	if err != nil {
		return nil, fmt.Errorf("definition %q in version %q: %w", name, version, err)
	}
	return definitionFrom(graph)
}

// Register registers a graph under its name and version, in place of whatever is
// there: a [VersionError] may have refused it. Executions of that version go on by
// it, so see first that they fit: [Client.CheckUpgrade] tells. Coordinators that
// have the old graph go on with that, and are refused when they start again.
func (c *Client) Register(ctx context.Context, graph *Definition) error {
	return register(ctx, c.store, graph, func([]byte) error { return nil })
}

// A VersionError reports a definition whose name and version are registered with
// a graph of another shape: other states, ways between them, or locks. Executions
// of that version would be run by the one today and by the other tomorrow.
type VersionError struct {
	Definition string
	Version    string
	Difference string // the first
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("version %q of saga %q is registered with another graph: %s. Give the changed graph a Version of its own; where waybill saga check-upgrade finds that all open executions fit, its --register keeps this one",
		e.Version, e.Definition, e.Difference)
}

// register registers the coordinator's definitions.
func (c *Coordinator) register(ctx context.Context) error {
	var errs []error
	for _, d := range c.defs {
		err := register(ctx, c.store, d, func(there []byte) error {
			old, err := definitionFrom(there)
			if err != nil {
				return err
			}
			if diff := d.differs(old); diff != "" {
				return &VersionError{Definition: d.name, Version: d.version, Difference: diff}
			}
			return nil
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("register saga %q: %w", d.name, err))
		}
	}
	return errors.Join(errs...)
}

// registerTries is how often a definition is looked at that others change at the
// same time.
const registerTries = 10

// register puts a definition in place of what is there, unless replace refuses
// that.
func register(ctx context.Context, st store.Definitions, d *Definition, replace func(there []byte) error) error {
	graph, err := d.MarshalJSON()
	if err != nil {
		return err
	}
	for range registerTries {
		there, err := st.Definition(ctx, d.name, d.version)
		switch {
		case errors.Is(err, store.ErrNotFound):
			there = nil
		case err != nil:
			return err
		case bytes.Equal(there, graph):
			return nil
		default:
			if err := replace(there); err != nil {
				return err
			}
		}
		if done, err := st.PutDefinition(ctx, d.name, d.version, graph, there); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("others keep registering version %q", d.version)
}

// differs tells the first difference between the shape of the definition and that
// of an older one; empty: there is none.
func (d *Definition) differs(old *Definition) string {
	was, is := lockNames(old.locks), lockNames(d.locks)
	if !slices.Equal(was, is) {
		return fmt.Sprintf("its own locks are %q, and were %q", is, was)
	}
	return differ(shapeOf(old.root), shapeOf(d.root), "")
}

func lockNames(locks []LockDef) []string {
	var names []string
	for _, l := range locks {
		names = append(names, l.Name)
	}
	return names
}

// differ tells the first difference between two shapes; empty: there is none.
func differ(old, new *Graph, within string) string {
	for i := range max(len(old.States), len(new.States)) {
		switch {
		case i >= len(new.States):
			return fmt.Sprintf("%sstep %q is gone", within, old.States[i].Name)
		case i >= len(old.States):
			return fmt.Sprintf("%sstep %q is new", within, new.States[i].Name)
		case old.States[i].Name != new.States[i].Name:
			return fmt.Sprintf("%sstep %d is %q, and was %q", within, i+1, new.States[i].Name, old.States[i].Name)
		}
		if diff := differState(old.States[i], new.States[i], within); diff != "" {
			return diff
		}
	}
	return ""
}

func differState(old, new *State, within string) string {
	was, is := old.properties(), new.properties()
	names := append(sortedKeys(was), sortedKeys(is)...)
	slices.Sort(names)
	for _, name := range names {
		switch {
		case bytes.Equal(was[name], is[name]):
		case name == "undo_retry" && is[name] == nil:
			return fmt.Sprintf("%sstep %q: its Undo is gone", within, old.Name)
		case name == "undo_retry":
			return fmt.Sprintf("%sstep %q: its Undo is new", within, old.Name)
		default:
			return fmt.Sprintf("%sstep %q: its %s is %s, and was %s", within, old.Name, name, orNothing(is[name]), orNothing(was[name]))
		}
	}
	a, b := old.graphs(), new.graphs()
	for n := range max(len(a), len(b)) {
		switch {
		case n >= len(b):
			return fmt.Sprintf("%sstep %q: %s is gone", within, old.Name, a[n].within())
		case n >= len(a):
			return fmt.Sprintf("%sstep %q: %s is new", within, old.Name, b[n].within())
		case a[n].Name != b[n].Name:
			return fmt.Sprintf("%sstep %q: branch %d is %q, and was %q", within, old.Name, n+1, b[n].Name, a[n].Name)
		}
		if diff := differ(a[n], b[n], fmt.Sprintf("step %q, %s: ", old.Name, a[n].within())); diff != "" {
			return diff
		}
	}
	return ""
}

// properties are the state's, as they are registered, but for what is within it.
func (s *State) properties() map[string]json.RawMessage {
	c := *s
	c.Branches, c.Each = nil, nil
	data, _ := json.Marshal(&c) // which has been marshalled before
	var m map[string]json.RawMessage
	_ = json.Unmarshal(data, &m)
	return m
}

// orNothing is JSON that may be missing, in a text.
func orNothing(data json.RawMessage) string {
	const most = 200
	switch {
	case len(data) == 0:
		return "missing"
	case len(data) > most:
		return string(data[:most]) + "..."
	}
	return string(data)
}
