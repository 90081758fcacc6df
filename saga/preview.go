package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// ErrPivoted reports that an execution is past its point of no return, or may
// be: it will not be undone.
var ErrPivoted = errors.New("saga is past its point of no return")

// An Undo is a compensation that would run.
type Undo struct {
	// Execution is the execution whose step is undone: the one asked for, or a
	// child.
	Execution string  `json:"execution"`
	Frame     string  `json:"frame,omitempty"` // as in [StepInfo].Frame
	Step      string  `json:"step"`
	Visit     int     `json:"visit"`
	Outcome   Outcome `json:"outcome"`
	Key       string  `json:"key"` // its idempotency key
	// State is what it would be given.
	State json.RawMessage `json:"state"`
	// NotBefore is until when it would wait for a handler that may be at work.
	NotBefore time.Time `json:"not_before,omitzero"`
}

// PreviewUndo tells which compensations would run if the execution failed now,
// in their order, and what they would be given; those of children are among them.
// What is under way counts as unknown. Nothing is changed. An execution that
// would not be undone is an error that matches [ErrPivoted] or store.ErrEnded.
//
// Branches that are undone side by side come one after the other here.
func (c *Client) PreviewUndo(ctx context.Context, id string) ([]Undo, error) {
	r, err := c.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Ended {
		return nil, fmt.Errorf("execution %q: %w", id, store.ErrEnded)
	}
	p := &preview{c: c, id: id, record: r}
	if err := p.load(ctx); err != nil {
		return nil, err
	}
	return p.undo(ctx)
}

// child lists what would be undone of a child.
func (p *preview) child(ctx context.Context, f *frame, step string, visit int) ([]Undo, error) {
	place := parentRef{Execution: p.id, Frame: f.path, Step: step, Visit: visit}
	list, err := p.c.PreviewUndo(ctx, childID(place, p.m.def.byName[step].part != nil))
	if errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
		return nil, nil // it is undone, or was never started
	}
	return list, err
}

// A preview plays an execution's undoing on a machine of its own.
type preview struct {
	c      *Client
	id     string
	record *store.Record
	meta   meta
	m      *machine
	now    time.Time
}

// load makes the machine as the next opening would find it, with the graph that
// is registered.
func (p *preview) load(ctx context.Context) error {
	codec := p.c.cfg.Codec
	if err := decodeJSON(codec, p.record.Meta, &p.meta); err != nil {
		return &ReadError{ID: p.id, What: "meta data", Err: err}
	}
	graph, err := p.c.store.Definition(ctx, p.meta.Definition, p.meta.Version)
	if err != nil {
		return fmt.Errorf("execution %q: definition %q in version %q: %w", p.id, p.meta.Definition, p.meta.Version, err)
	}
	def, err := definitionFrom(graph)
	if err != nil {
		return err
	}
	if p.meta.Part != "" {
		if def = def.parts[p.meta.Part]; def == nil {
			return fmt.Errorf("execution %q: definition %q has no ForEach %q", p.id, p.meta.Definition, p.meta.Part)
		}
	}
	root, err := decodeFrame(codec, p.record.Root, def, def.root, "")
	if err != nil {
		return &ReadError{ID: p.id, What: "frame", Err: err}
	}
	// Whatever is dispatched may be under way.
	p.m = resume(def, root, root.Parked+2, p.record.Started, 0, 1)
	p.now = time.Now()
	for p.m.unfold() {
		if err := p.supply(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *preview) supply(ctx context.Context) error {
	fields, err := p.c.store.Frames(ctx, p.id, p.m.wanted()...)
	if err != nil {
		return err
	}
	if err := p.m.supply(p.c.cfg.Codec, fields); err != nil {
		return &ReadError{ID: p.id, What: "frames", Err: err}
	}
	return nil
}

// undo answers each compensation as done until there is none.
func (p *preview) undo(ctx context.Context) ([]Undo, error) {
	m := p.m
	m.root.Suspended = 0
	var calling []*frame
	m.each(func(f *frame) bool {
		s := m.step(f)
		switch {
		case s == nil || s.Type != TypeTask || f.Attempt == 0 || f.Undoing || f.Pending || f.Fork != nil:
		case s.calls():
			if f.Waiting {
				calling = append(calling, f)
			}
		case m.awaited(f):
			f.Waiting, f.Unknown = false, true
		default:
			f.Unknown = f.Unknown || !fromMillis(f.At).After(p.now)
		}
		return true
	})
	list, err := p.underWay(ctx, calling)
	if err != nil {
		return nil, err
	}
	if m.bound() {
		return nil, fmt.Errorf("execution %q: %w", p.id, ErrPivoted)
	}
	switch {
	case m.root.Held:
		m.revert("", "", p.now)
	case !m.reverting():
		m.cancel("", "", p.now)
	}
	for {
		for !m.advance(p.now) {
			if err := p.supply(ctx); err != nil {
				return nil, err
			}
		}
		next := p.next()
		if next == nil {
			return list, nil
		}
		undos, err := p.describe(ctx, next)
		if err != nil {
			return nil, err
		}
		list = append(list, undos...)
		next.Waiting = false
		m.answer(next, result{outcome: Done}, p.now)
	}
}

// underWay lists what would be undone of the children that are under way, and
// takes them for undone.
func (p *preview) underWay(ctx context.Context, calling []*frame) (list []Undo, err error) {
	slices.SortFunc(calling, func(a, b *frame) int { return b.Order - a.Order })
	for _, f := range calling {
		undos, err := p.child(ctx, f, f.Step, f.visit(f.Step))
		if err != nil {
			return nil, err
		}
		list = append(list, undos...)
		f.Waiting, f.Calls = false, false
	}
	return list, nil
}

// next is a frame whose compensation would run now, or after what is awaited.
func (p *preview) next() (next *frame) {
	p.m.each(func(f *frame) bool {
		if f.Undoing {
			p.m.unblock(f)
			next = f
		}
		return next == nil
	})
	return next
}

func (p *preview) describe(ctx context.Context, f *frame) ([]Undo, error) {
	r := f.Undo[len(f.Undo)-1]
	if p.m.step(f).calls() {
		return p.child(ctx, f, r.Step, max(r.Visit, 1))
	}
	u := Undo{
		Execution: p.id, Frame: f.path, Step: r.Step, Visit: max(r.Visit, 1), Outcome: r.outcome(), NotBefore: fromMillis(r.NotUntil),
	}
	u.Key = idempotencyKey(StepInfo{Execution: p.id, Frame: f.path, Step: r.Step, Visit: u.Visit, Undo: true, Edits: r.edits()})
	var err error
	u.State, err = p.state(ctx, f, r)
	return []Undo{u}, err
}

func (p *preview) state(ctx context.Context, f *frame, r undoRecord) (json.RawMessage, error) {
	if input := r.input(); input != nil {
		return input, nil
	}
	switch r.Entry {
	case stateInFrame:
		return f.State, nil
	case stateInMeta:
		return p.meta.Input, nil
	}
	if r.Entry == p.m.root.Entries { // replaced by what is played here
		if states := p.m.replaced[f.path]; r.Nth < len(states) {
			return states[r.Nth], nil
		}
	}
	return stateInHistory(ctx, p.c.store, p.c.cfg.Codec, p.id, f.path, r)
}
