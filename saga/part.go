package saga

import (
	"encoding/json"
	"fmt"
	"time"

	fastjson "github.com/segmentio/encoding/json"
)

// Up to inlineItems items of a Map run within one execution. More run in
// executions of their own, each of which does a part of them: it is a child
// whose definition is the Map alone, and its coordinator may be another.
const (
	inlineItems = 1000
	maxParts    = 1000
	// partItems and partBytes are how many items a part has, and how much JSON,
	// unless there would be too many parts.
	partItems = 400
	partBytes = 64 << 10
	// partsAtOnce are under way at once where the items are not bounded. Where
	// they are, two to partsShare parts share the bound: one goes on while the
	// last items of another end; but no more than leave each itemsShare, as items
	// that end together share a commit.
	partsAtOnce = 100
	partsShare  = 10
	itemsShare  = 50
)

// partOf makes the definition of a part of a Map, and the graph that the Map
// runs for each part.
func (d *Definition) partOf(s *State) {
	each := *s
	each.Next, each.Catch, each.Retry, each.RetryOn, each.Within = "", nil, nil, nil, 0
	each.Locks = nil // which its parent has taken
	_, each.Concurrency = s.shares()
	each.items = func(state []byte) (items []json.RawMessage, err error) {
		err = fastjson.Unmarshal(state, &items)
		return items, err
	}
	each.merge = mergePart
	root := &Graph{States: []*State{&each}, loops: make(map[string]bool)}
	each.graph = root
	part := &Definition{
		name: d.name, version: d.version, part: s.Name, root: root, parts: d.parts, mapSize: mapSize{inlineItems, partItems}, foldFrom: foldFrom,
		byName: map[string]*State{s.Name: &each},
		decode: func(input []byte) ([]byte, error) { return input, nil },
	}
	part.around = d.root.wayTo(s)
	part.include(s.Each)
	d.parts[s.Name] = part

	call := &State{Name: s.Name + partSuffix, Type: TypeTask, part: s}
	call.request = func(state []byte) (json.RawMessage, error) { return state, nil }
	call.absorb = func(_, data []byte) ([]byte, error) {
		if _, err := partResults(data); err != nil {
			return nil, err
		}
		return data, nil
	}
	s.batch = &Graph{States: []*State{call}, loops: make(map[string]bool)}
	call.graph = s.batch
	d.byName[call.Name] = call
}

// wayTo are the states that a state is in, from the outside, and itself; none where
// it is not in the graph.
func (g *Graph) wayTo(s *State) []*State {
	for _, t := range g.States {
		if t == s {
			return []*State{s}
		}
		for _, inner := range t.graphs() {
			if way := inner.wayTo(s); way != nil {
				return append([]*State{t}, way...)
			}
		}
	}
	return nil
}

// yields reports whether a part past the point of no return ends with an error,
// because something around its items takes it: else what failed is blocked, as in its
// saga. An error without a name is any.
func (d *Definition) yields(name string) bool {
	for i, s := range d.around {
		caught := len(s.Catch) > 0
		again := s.Retry != nil || len(s.RetryOn) > 0
		if name != "" {
			_, caught = s.catcher(name)
			_, _, again = s.policy(name, false)
		}
		own := i == len(d.around)-1 // which the part counts by itself
		if caught || again || s.Tolerate > 0 && !own {
			return true
		}
	}
	return false
}

// include adds a graph's states, and those below it, to the definition.
func (d *Definition) include(g *Graph) {
	for _, s := range g.States {
		d.byName[s.Name] = s
		if s.batch != nil {
			call := s.batch.start()
			d.byName[call.Name] = call
		}
		for _, inner := range s.graphs() {
			d.include(inner)
		}
	}
}

// partSuffix ends the name of the step that runs a part of a Map. No step that
// somebody names ends so.
const partSuffix = "[]"

// A mapSize is how many items of a Map run within one execution, and how many a
// part has.
type mapSize struct{ inline, part int }

// maps are the Maps of a graph, those within others first.
func (d *Definition) maps(g *Graph) []*State {
	var list []*State
	for _, s := range g.States {
		for _, inner := range s.graphs() {
			list = append(list, d.maps(inner)...)
		}
		if s.Type == TypeMap && s.Each != nil {
			list = append(list, s)
		}
	}
	return list
}

// shares are how many parts of a Map are under way at once, and how many items
// of each; 0 is all.
func (s *State) shares() (parts, items int) {
	if s.Concurrency == 0 {
		return partsAtOnce, 0
	}
	parts = min(max(s.Concurrency/itemsShare, min(s.Concurrency/5, 2), 1), partsShare)
	return parts, s.Concurrency / parts
}

// A partResult is what came of one item of a part.
type partResult struct {
	State json.RawMessage `json:"s"`
	Cause *Cause          `json:"c,omitempty"`
}

func mergePart(_ []byte, parts []part) ([]byte, error) {
	results := make([]partResult, len(parts))
	for i, p := range parts {
		results[i] = partResult{State: p.state, Cause: p.cause}
	}
	return encodeJSON(nil, results)
}

func partResults(data []byte) ([]partResult, error) {
	var results []partResult
	if err := fastjson.Unmarshal(data, &results); err != nil {
		return nil, fmt.Errorf("decode what came of a part: %w", err)
	}
	return results, nil
}

// split divides items into parts, each a JSON array.
func split(items []json.RawMessage, usual int) ([]json.RawMessage, error) {
	most := max(usual, (len(items)+maxParts-1)/maxParts)
	if most > inlineItems {
		return nil, fmt.Errorf("there are %d items, at most %d can be run", len(items), inlineItems*maxParts)
	}
	var parts []json.RawMessage
	for from := 0; from < len(items); {
		to, size := from, 0
		for to < len(items) && to-from < most && (to == from || most > usual || size+len(items[to]) <= partBytes) {
			size += len(items[to])
			to++
		}
		data, err := encodeJSON(nil, items[from:to])
		if err != nil {
			return nil, err
		}
		parts = append(parts, data)
		from = to
	}
	if len(parts) > maxParts {
		return nil, fmt.Errorf("the items make %d parts of %d bytes, at most %d can be run", len(parts), partBytes, maxParts)
	}
	return parts, nil
}

// putParts keeps the items of parts until they begin.
func (m *machine) putParts(f *frame, parts []json.RawMessage) {
	if m.puts == nil {
		m.puts = make(map[string][]byte)
	}
	f.parts = make(map[int]json.RawMessage)
	for n, part := range parts {
		f.parts[n] = part
		m.puts[itemsField(f.below(f.Fork, n))] = part
	}
}

// takePart takes the items of the next part out of the record. It reports false
// where they must be loaded first.
func (m *machine) takePart(f *frame) (json.RawMessage, bool) {
	n := f.Fork.Begun
	field := itemsField(f.below(f.Fork, n))
	part, ok := f.parts[n]
	if !ok {
		m.want(field)
		return nil, false
	}
	delete(f.parts, n)
	delete(m.puts, field)
	m.dropField(field)
	return part, true
}

// dropParts drops the items of the parts that have not begun.
func (m *machine) dropParts(f *frame) {
	for n := f.Fork.Begun; n < f.Fork.Size; n++ {
		field := itemsField(f.below(f.Fork, n))
		delete(m.puts, field)
		m.dropField(field)
	}
	f.parts = nil
}

// tolerate counts the items of a part that failed, and fails the Map where there
// are too many in all.
func (m *machine) tolerate(p *frame, s *State, kid *frame, now time.Time) {
	results, err := partResults(kid.State)
	if err != nil {
		return // it was looked at before
	}
	failures := 0
	for _, r := range results {
		if r.Cause != nil {
			failures++
		}
	}
	if failures == 0 {
		return
	}
	before := p.Fork.Failures
	p.Fork.Failures += failures
	if before <= s.Tolerate && p.Fork.Failures > s.Tolerate {
		m.fail(p, &Cause{Kind: CauseFailed, Step: s.Name, Name: ErrorTolerance,
			Error: fmt.Sprintf("%d items failed, and %d may", p.Fork.Failures, s.Tolerate)}, now)
	}
}
