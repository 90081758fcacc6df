package saga

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/waybill-dev/waybill/store"
)

// index names the store's index that lists the execution. Those that do a part
// of a Map are listed apart, unless somebody has to look at them.
func (m *meta) index(s Status) string {
	if m.Part != "" && s != Blocked && s != Quarantined {
		return indexOf(s, m.Definition+"#"+m.Part)
	}
	return indexOf(s, m.Definition)
}

// A childStart is the body of the letter that starts a child.
type childStart struct {
	Definition string `json:"d"`
	Version    string `json:"v"`
	Part       string `json:"m,omitempty"`
	// Pivoted says that the part's saga is past its point of no return.
	Pivoted bool            `json:"g,omitempty"`
	Input   json.RawMessage `json:"i"`
	Parent  parentRef       `json:"p"`
}

// group names the family of the execution, by the one that begins it.
func (a *actor) group() string {
	if a.meta.Parent == nil {
		return a.lease.ID
	}
	return cmp.Or(a.meta.Parent.Root, a.meta.Parent.Execution)
}

// orders adds what the machine has to say to children and parent to the outbox.
func (a *actor) orders() error {
	for _, o := range a.m.orders {
		l, err := a.letter(o)
		if err != nil {
			return fmt.Errorf("encode what is for another execution: %w", err)
		}
		a.unsent = append(a.unsent, l)
	}
	a.m.orders = nil
	return nil
}

func (a *actor) letter(o childOrder) (*letter, error) {
	if o.kind == mailChild {
		r := &childReport{
			Frame: a.meta.Parent.Frame, Step: a.meta.Parent.Step, Visit: a.meta.Parent.Visit,
			Status: a.m.standing(), State: a.m.root.State, Held: a.m.root.Held, Cause: a.m.root.cause(),
		}
		return reportLetter(a.lease.ID, a.meta.Parent.Execution, r)
	}
	place := o.place
	place.Execution = a.lease.ID
	id := childID(place, o.s.part != nil)
	if o.kind == orderStart {
		if root := a.group(); root != a.lease.ID {
			place.Root = root
		}
		start := childStart{Input: o.input, Parent: place}
		if o.s.part != nil {
			start.Definition, start.Version, start.Part = a.meta.Definition, a.meta.Version, o.s.part.Name
			start.Pivoted = a.m.root.Pivoted
		} else {
			start.Definition, start.Version = o.s.child.name, o.s.child.version
		}
		body, err := encodeJSON(nil, start)
		return &letter{
			Kind: letterStart, ID: id + ".start", To: id, Body: body, Frame: place.Frame, Step: place.Step, Attempt: o.attempt,
		}, err
	}
	m, name := mail{Kind: o.kind, By: "saga " + a.lease.ID, Note: o.why}, "parent."+o.kind
	if o.kind == mailSuspend || o.kind == mailResume { // which come more than once
		m.Parent, name = true, name+"."+strconv.Itoa(o.halt)
	}
	body, err := encodeJSON(nil, m)
	l := &letter{
		Kind: letterMail, ID: name, To: id, Body: body,
		Frame: place.Frame, Step: place.Step, Undo: o.kind == mailUndo, Attempt: o.attempt,
	}
	if o.kind == mailUndo || o.kind == mailCancel {
		l.Asks = &place
	}
	return l, err
}

func reportLetter(from, to string, r *childReport) (*letter, error) {
	body, err := encodeJSON(nil, mail{Kind: mailChild, Child: r})
	return &letter{Kind: letterMail, ID: "child." + digest([]byte(from)) + "." + string(r.Status), To: to, Body: body}, err
}

// startChild starts a child, here where that is possible. One that cannot be
// started is reported as a child would.
func (a *actor) startChild(ctx context.Context, l *letter) error {
	var s childStart
	if err := json.Unmarshal(l.Body, &s); err != nil {
		return fmt.Errorf("decode the start of %q: %w", l.To, err)
	}
	def := a.c.defs[definitionKey{s.Definition, s.Version}]
	if def != nil && s.Part != "" {
		def = def.parts[s.Part]
	}
	if def == nil {
		return fmt.Errorf("start %q: this coordinator does not have version %q of saga %q", l.To, s.Version, s.Definition)
	}
	created, err := a.c.startChild(ctx, def, l.To, s)
	switch {
	case isPermanent(err):
		refusal := &childReport{
			Frame: s.Parent.Frame, Step: s.Parent.Step, Visit: s.Parent.Visit,
			Cause: &Cause{Kind: CauseFailed, Step: s.Parent.Step, Error: errorText(err)},
		}
		return a.toSelf(ctx, l.To, refusal, l.ID)
	case err == nil && !created:
		return a.meetChild(ctx, l, s.Parent)
	}
	return err
}

// meetChild sees to a child that is there already. One that has ended does not tell
// its parent again, which may be to take up what it ended with once more.
func (a *actor) meetChild(ctx context.Context, l *letter, p parentRef) error {
	x, err := a.c.Client().Get(ctx, l.To)
	if err != nil {
		return fmt.Errorf("read the child execution %q: %w", l.To, err)
	}
	if !x.Status.Ended() {
		return nil
	}
	r := &childReport{Frame: p.Frame, Step: p.Step, Visit: p.Visit, Status: x.Status, State: x.State, Held: x.Held, Cause: x.Cause}
	return a.toSelf(ctx, l.To, r, fmt.Sprint(l.ID, ".", l.Attempt))
}

// startChild starts a child, and reports whether it was not there before.
func (c *Coordinator) startChild(ctx context.Context, def *Definition, id string, s childStart) (created bool, err error) {
	input, err := def.decode(s.Input)
	if err != nil {
		return false, Permanent(fmt.Errorf("its input: %w", err))
	}
	if err := checkState("", input, c.cfg.MaxState); err != nil && s.Part == "" {
		return false, Permanent(err)
	}
	client := c.Client()
	r, b, err := client.startRequest(def, id, input, startOptions{parent: &s.Parent, pivoted: s.Pivoted})
	if err != nil {
		return false, Permanent(err)
	}
	// The parts of a Map are shared out, as what waits is.
	if (s.Part == "" || c.owns(id)) && c.take() {
		created, _, err = client.startHere(ctx, def, input, r, b)
	} else {
		var result store.StartResult
		if result, err = c.store.Start(ctx, r); err == nil {
			c.wake()
		}
		created = result.Created
	}
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrInvalid) {
		return false, Permanent(err)
	}
	return created, err
}

// toSelf posts to this execution what a child would have said.
func (a *actor) toSelf(ctx context.Context, child string, r *childReport, id string) error {
	l, err := reportLetter(child, a.lease.ID, r)
	if err != nil {
		return err
	}
	l.ID += "." + id[max(0, len(id)-100):]
	return a.mail(ctx, l)
}

// unheard answers for a child that has ended, or is missing, and so does not
// hear what its parent asks of it.
func (a *actor) unheard(ctx context.Context, l *letter) error {
	r := &childReport{Frame: l.Asks.Frame, Step: l.Asks.Step, Visit: l.Asks.Visit, Status: Terminated}
	x, err := a.c.Client().Get(ctx, l.To)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone):
		r.Cause = &Cause{Kind: CauseFailed, Step: l.Asks.Step, Error: fmt.Sprintf("the child execution %q is missing", l.To)}
		r.Lost = true
	case err != nil:
		return err
	case x.Status == Completed && l.ID == "parent."+mailUndo:
		r.Cause = &Cause{Kind: CauseFailed, Step: l.Asks.Step, Error: fmt.Sprintf("the child execution %q is not held any more", l.To)}
	default:
		r.Status, r.State, r.Cause = x.Status, x.State, x.Cause
	}
	return a.toSelf(ctx, l.To, r, fmt.Sprint(l.ID, ".", l.Attempt))
}

// orphaned reports whether the parent of a child that waits for it has ended,
// or is gone: then nobody will undo the child.
func (a *actor) orphaned() (bool, error) {
	ctx, cancel := context.WithDeadline(a.c.background, a.valid)
	defer cancel()
	parent, err := a.c.store.Get(ctx, a.meta.Parent.Execution)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("%w: read the parent: %w", errDropped, err)
	}
	return parent.Ended, nil
}

// family completes the definitions with those of children, and reports those that
// have the name and version of another. Of several that are alike the first one
// runs.
func (c *Coordinator) family(d *Definition) (errs []error) {
	var walk func(*Graph)
	walk = func(g *Graph) {
		for _, s := range g.States {
			if child := s.child; child != nil {
				key := definitionKey{child.name, child.version}
				if known := c.defs[key]; known == nil {
					c.defs[key] = child
					errs = append(errs, c.family(child)...)
				} else if diff := child.differs(known); diff != "" {
					errs = append(errs, fmt.Errorf("saga %q, step %q: two graphs of saga %q have the version %q: %s. Give one of them a Version of its own",
						d.name, s.Name, child.name, child.version, diff))
				}
			}
			for _, inner := range s.graphs() {
				walk(inner)
			}
		}
	}
	walk(d.root)
	return errs
}
