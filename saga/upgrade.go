package saga

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/store"
)

// An UpgradeCheck tells whether an open execution would fit another graph.
type UpgradeCheck struct {
	Execution string `json:"execution"`
	Version   string `json:"version"` // what it runs on
	// Status may be Completed: of a child that can be undone still.
	Status Status `json:"status"`
	Step   string `json:"step,omitempty"` // where it stands
	// Misfit is the first thing that does not fit; nil: all does.
	Misfit *Misfit `json:"misfit,omitempty"`
}

// A Misfit is a place at which an execution does not fit a graph.
type Misfit struct {
	// Frame and Step are the place, as in [StepInfo]; without a Step it is the
	// execution as a whole.
	Frame string `json:"frame,omitempty"`
	Step  string `json:"step,omitempty"`
	// Event is the number of the history event that shows it, from 1 on; 0: it
	// shows in where the execution stands.
	Event   int    `json:"event,omitempty"`
	Problem string `json:"problem"`
}

func (m *Misfit) String() string {
	var place []string
	if m.Step != "" {
		place = append(place, "step "+m.Step)
	}
	if m.Frame != "" {
		place = append(place, "in "+m.Frame)
	}
	if m.Event > 0 {
		place = append(place, "event "+strconv.Itoa(m.Event))
	}
	if len(place) == 0 {
		return m.Problem
	}
	return strings.Join(place, ", ") + ": " + m.Problem
}

// CheckUpgrade tells of each open execution of the graph's name, those that do
// parts of a ForEach and completed children included, whether it would fit the graph, so that it could go on with it: whether the graph, given the
// same answers, would have brought the execution to where it stands, with the
// same to undo. It replays the histories along the graph, and looks at the steps
// that the executions stand at, what they are to undo, their branches and items,
// and what they wait for. With from, only executions of that version are looked
// at. Nothing is changed.
//
// Executions stay on the version that they began with, so what does not fit does
// no harm as long as the graph has a version of its own, and some coordinator
// the old one still. What CheckUpgrade cannot see is the code: whether the old
// states decode into the new type, and whether handlers do the same.
//
// Executions come in no order. One that starts or ends meanwhile may be left
// out, and one whose status changes come twice or not at all. After an error
// there is nothing more.
func (c *Client) CheckUpgrade(ctx context.Context, graph *Definition, from string) iter.Seq2[UpgradeCheck, error] {
	return func(yield func(UpgradeCheck, error) bool) {
		if graph == nil || graph.version == "" {
			yield(UpgradeCheck{}, errors.New("saga: the graph to check against is that of no valid saga"))
			return
		}
		u := &upgrade{c: c, def: graph, from: from, known: make(map[string]*Definition)}
		indexes, err := u.indexes(ctx)
		if err != nil {
			yield(UpgradeCheck{}, err)
			return
		}
		for _, index := range indexes {
			for id, err := range c.store.Walk(ctx, index) {
				if err != nil {
					yield(UpgradeCheck{}, err)
					return
				}
				check, err := u.check(ctx, id)
				if err != nil {
					yield(UpgradeCheck{}, fmt.Errorf("execution %q: %w", id, err))
					return
				}
				if check != nil && !yield(*check, nil) {
					return
				}
			}
		}
	}
}

// An upgrade is one check of many executions.
type upgrade struct {
	c     *Client
	def   *Definition
	from  string
	known map[string]*Definition // the registered ones, by version; nil: there is none
}

// indexes names the store's indexes that list the executions. Those that have
// completed, and may be undone still, are among many others: only where there can
// be any are they looked for.
func (u *upgrade) indexes(ctx context.Context) ([]string, error) {
	all, err := u.c.store.DefinitionVersions(ctx)
	if err != nil {
		return nil, err
	}
	child, parts := false, maps.Clone(u.def.parts)
	for name, versions := range all {
		for _, version := range versions {
			def := u.def
			if name != u.def.name || version != u.def.version {
				if def, err = u.read(ctx, name, version); err != nil {
					return nil, err
				}
			}
			if def == nil {
				continue
			}
			for _, s := range def.byName {
				child = child || s.Child == u.def.name
			}
			if name == u.def.name {
				maps.Copy(parts, def.parts)
			}
		}
	}
	indexes := []string{indexOf(Running, u.def.name), indexOf(Blocked, u.def.name), indexOf(Quarantined, u.def.name)}
	for _, part := range sortedKeys(parts) {
		m := meta{Definition: u.def.name, Part: part}
		indexes = append(indexes, m.index(Running), m.index(Completed))
	}
	if child {
		indexes = append(indexes, indexOf(Completed, u.def.name))
	}
	return indexes, nil
}

// check checks one execution. It returns nil for one that is of no interest.
func (u *upgrade) check(ctx context.Context, id string) (*UpgradeCheck, error) {
	r, err := u.c.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) || err == nil && r.Ended {
		return nil, nil // it has ended just now
	}
	if err != nil {
		return nil, err
	}
	check := &UpgradeCheck{Execution: id, Status: Status(r.Status)}
	unreadable := func(what string, err error) (*UpgradeCheck, error) {
		check.Misfit = &Misfit{Problem: fmt.Sprintf("its %s cannot be read: %v", what, err)}
		return check, nil
	}
	if r.Version != store.FormatVersion {
		return unreadable("record", &store.FormatError{What: "its format", Got: strconv.Itoa(r.Version), Want: strconv.Itoa(store.FormatVersion)})
	}
	var m meta
	if err := decodeJSON(u.c.cfg.Codec, r.Meta, &m); err != nil {
		return unreadable("meta data", err)
	}
	if check.Version = m.Version; u.from != "" && u.from != m.Version {
		return nil, nil
	}
	root := new(frame)
	if err := decodeJSON(u.c.cfg.Codec, r.Root, root); err != nil {
		return unreadable("frame", err)
	}
	if check.Step = root.Step; check.Status.Ended() && !root.Held {
		return nil, nil
	}
	old, err := u.registered(ctx, m.Version)
	if err != nil {
		return nil, err
	}
	def := u.def
	if m.Part != "" {
		if def = def.parts[m.Part]; def == nil {
			check.Misfit = &Misfit{Step: m.Part, Problem: "the execution does a part of it, and it is no ForEach of the graph"}
			return check, nil
		}
		if old != nil {
			old = old.parts[m.Part]
		}
	}
	if old == nil {
		check.Misfit = &Misfit{Problem: "the graph of its version is not registered, or cannot be read: there is nothing to compare with"}
		return check, nil
	}
	t := &fitting{replay: newReplay(def, old), codec: u.c.cfg.Codec, root: root}
	t.load = func(names []string) (map[string][]byte, error) { return u.c.store.Frames(ctx, id, names...) }
	if check.Misfit, err = u.replay(ctx, id, root.Entries, t.replay); err != nil || check.Misfit != nil {
		return check, err
	}
	check.Misfit, err = t.check()
	return check, err
}

// historyPage is how many entries of a history are read at once.
const historyPage = 200

// replay follows the first entries of an execution's history. What has come
// since belongs to a later frame.
func (u *upgrade) replay(ctx context.Context, id string, entries int, r *replay) (*Misfit, error) {
	for from := 0; from < entries; from += historyPage {
		page, err := u.c.store.History(ctx, id, int64(from), min(historyPage, entries-from))
		if err != nil {
			return nil, err
		}
		for i, data := range page {
			e, err := decodeEntry(u.c.cfg.Codec, data)
			if err != nil {
				return &Misfit{Problem: fmt.Sprintf("its history entry %d cannot be read: %v", from+i, err)}, nil
			}
			for _, stored := range e.Events {
				for _, event := range stored.events() {
					if misfit := r.follow(event); misfit != nil {
						return misfit, nil
					}
				}
			}
		}
	}
	return nil, nil
}

// registered is the graph of a version, or nil where there is none that can be
// read.
func (u *upgrade) registered(ctx context.Context, version string) (*Definition, error) {
	if def, ok := u.known[version]; ok {
		return def, nil
	}
	def, err := u.read(ctx, u.def.name, version)
	if err == nil {
		u.known[version] = def
	}
	return def, err
}

func (u *upgrade) read(ctx context.Context, name, version string) (*Definition, error) {
	graph, err := u.c.store.Definition(ctx, name, version)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	def, _ := definitionFrom(graph) // what cannot be read is as good as none
	return def, nil
}
