package saga

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// An Execution is what is known of one execution.
type Execution struct {
	ID         string          `json:"id"`
	Definition string          `json:"definition"`
	Version    string          `json:"version"`
	Status     Status          `json:"status"`
	Undoing    bool            `json:"undoing,omitempty"`
	Step       string          `json:"step,omitempty"`
	Attempt    int             `json:"attempt,omitempty"`
	Started    time.Time       `json:"started"`
	NextWake   time.Time       `json:"next_wake,omitzero"`
	HeldUntil  time.Time       `json:"held_until,omitzero"`
	Cause      *Cause          `json:"cause,omitempty"`   // why it is, or was, undone
	Trouble    *Cause          `json:"trouble,omitempty"` // why it is blocked or quarantined
	Input      json.RawMessage `json:"input"`
	State      json.RawMessage `json:"state"`
	UnreadMail int64           `json:"unread_mail,omitempty"`
	// PendingNotice says that the notice of its end is yet to be sent, or its
	// locks to be released: see [NotifyTo].
	PendingNotice bool `json:"pending_notice,omitempty"`
	// Unreadable is why the record cannot be read. Then only ID, Status,
	// Started, NextWake, HeldUntil and UnreadMail are known, and in a list
	// Definition.
	Unreadable string `json:"unreadable,omitempty"`
	// Suspended is since when an operator has stopped it: see [Client.Suspend].
	Suspended time.Time `json:"suspended,omitzero"`
	// Waiting says that Step waits for somebody outside: for a signal, or for its
	// task token.
	Waiting bool `json:"waiting,omitempty"`
	// Pivoted says that the point of no return is passed: a cancel is refused.
	Pivoted bool `json:"pivoted,omitempty"`
	// Parent is the execution that started it, if it is a child, and Part the
	// ForEach whose items it does.
	Parent string `json:"parent,omitempty"`
	Part   string `json:"part,omitempty"`
	// Child is the execution that Step waits for, where it is a [Child].
	Child string `json:"child,omitempty"`
	// Held says that the execution, a child, has completed, and is undone if its
	// parent is.
	Held bool `json:"held,omitempty"`
	// Locks are the locks that it holds or waits for.
	Locks []LockHeld `json:"locks,omitempty"`
	// Branches are the branches and items that are under way below Step, or that
	// wait for the others, each before those below it.
	Branches []Position `json:"branches,omitempty"`
	// Unsure says that Step is blocked, and that an attempt of it has an unknown
	// outcome: whoever edits its input has to confirm that. See
	// [Client.RetryWith].
	Unsure bool `json:"unsure,omitempty"`
	// UndoInput is the input that an operator gave the compensation of Step.
	UndoInput json.RawMessage `json:"undo_input,omitempty"`
}

// A Position is where one branch of a Parallel or item of a ForEach stands.
type Position struct {
	Frame   string          `json:"frame"` // as in [StepInfo].Frame
	Step    string          `json:"step,omitempty"`
	Attempt int             `json:"attempt,omitempty"`
	Undoing bool            `json:"undoing,omitempty"`
	Blocked bool            `json:"blocked,omitempty"`
	Waiting bool            `json:"waiting,omitempty"`
	Child   string          `json:"child,omitempty"`  // the execution that Step waits for
	Failed  *Cause          `json:"failed,omitempty"` // where that is tolerated
	State   json.RawMessage `json:"state"`
	// Unsure and UndoInput are as in [Execution].
	Unsure    bool            `json:"unsure,omitempty"`
	UndoInput json.RawMessage `json:"undo_input,omitempty"`
}

// position tells where a frame of an execution stands.
func (f *frame) position(execution string) Position {
	p := Position{
		Frame: f.path, Step: f.Step, Attempt: f.Attempt, Undoing: f.Undoing, Blocked: f.Blocked, Waiting: f.Waiting,
		Child: f.child(execution), Failed: f.Failed, State: f.State,
	}
	if f.Undoing && len(f.Undo) > 0 && f.Undo[len(f.Undo)-1].Edited != nil {
		p.UndoInput = f.Undo[len(f.Undo)-1].Edited.Input
	}
	p.Unsure = f.Blocked && (!f.Undoing || len(f.Undo) > 0) && f.unsure()
	return p
}

// Err returns nil for a running or completed execution, else a *FailedError.
func (x *Execution) Err() error {
	switch x.Status {
	case Compensated, Terminated:
		return &FailedError{Execution: x.ID, Status: x.Status, Cause: x.Cause}
	case Blocked, Quarantined:
		return &FailedError{Execution: x.ID, Status: x.Status, Cause: x.Trouble}
	}
	return nil
}

// Get returns an execution, or an error that matches store.ErrNotFound or
// store.ErrGone. With a [*ReadError] or a store.FormatError comes what is known
// of the execution all the same.
func (c *Client) Get(ctx context.Context, id string) (*Execution, error) {
	x, _, err := c.read(ctx, id)
	return x, err
}

// read returns an execution and its root frame.
func (c *Client) read(ctx context.Context, id string) (*Execution, *frame, error) {
	r, err := c.store.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if r.Version != store.FormatVersion {
		err := &store.FormatError{
			What: "the format of execution " + strconv.Quote(id), Got: strconv.Itoa(r.Version), Want: strconv.Itoa(store.FormatVersion),
		}
		return unreadable(r, err), nil, err
	}
	var m meta
	if err := decodeJSON(c.cfg.Codec, r.Meta, &m); err != nil {
		err := &ReadError{ID: id, What: "meta data", Err: err}
		return unreadable(r, err), nil, err
	}
	var f frame
	if err := decodeJSON(c.cfg.Codec, r.Root, &f); err != nil {
		err := &ReadError{ID: id, What: "frame", Err: err}
		return unreadable(r, err), nil, err
	}
	x := executionOf(id, Status(r.Status), m, f)
	x.copy(r)
	if x.Locks, err = c.locks(ctx, f.Locked); err != nil {
		return x, &f, err
	}
	x.Branches, err = c.branches(ctx, id, &f, nil)
	return x, &f, err
}

// unreadable is what the plain fields of a record tell.
func unreadable(r *store.Record, err error) *Execution {
	x := &Execution{ID: r.ID, Status: Status(r.Status), Unreadable: err.Error()}
	x.copy(r)
	return x
}

func (x *Execution) copy(r *store.Record) {
	x.Started, x.NextWake, x.HeldUntil, x.UnreadMail = r.Started, r.Wake, r.LeaseUntil, r.Unread
	x.PendingNotice = r.Ended && len(r.Outbox) > 0
}

// branches reads what is below a frame, and adds it to the list.
func (c *Client) branches(ctx context.Context, id string, f *frame, list []Position) ([]Position, error) {
	if f.Fork == nil {
		return list, nil
	}
	var names []string
	for n := range f.Fork.Begun {
		names = append(names, frameField(f.below(f.Fork, n)))
	}
	fields, err := c.store.Frames(ctx, id, names...)
	if err != nil {
		return list, err
	}
	for n := range f.Fork.Begun {
		kid := &frame{path: f.below(f.Fork, n)}
		stored, ok := fields[frameField(kid.path)]
		if !ok {
			continue // it is through
		}
		if err := decodeJSON(c.cfg.Codec, stored, kid); err != nil {
			return list, &ReadError{ID: id, What: "frame " + kid.path, Err: err}
		}
		list = append(list, kid.position(id))
		if list, err = c.branches(ctx, id, kid, list); err != nil {
			return list, err
		}
	}
	return list, nil
}

// child is the execution that a frame of the given one waits for, or empty.
func (f *frame) child(execution string) string {
	if !f.Calls {
		return ""
	}
	visit := f.visit(f.Step)
	if f.Undoing {
		visit = f.Undo[len(f.Undo)-1].Visit
	}
	return childID(parentRef{Execution: execution, Frame: f.path, Step: f.Step, Visit: visit}, strings.HasSuffix(f.Step, partSuffix))
}

func executionOf(id string, s Status, m meta, f frame) *Execution {
	x := &Execution{
		ID: id, Definition: m.Definition, Version: m.Version, Status: s,
		Undoing: f.Scope != nil && !s.Ended(), Step: f.Step, Attempt: f.Attempt,
		Cause: f.cause(), Trouble: f.Trouble, Input: m.Input, State: f.State, Pivoted: f.Pivoted, Waiting: f.Waiting,
		Suspended: fromMillis(f.Suspended), Part: m.Part, Child: f.child(id), Held: f.Held,
	}
	if f.Quarantine != nil {
		x.Trouble = f.Quarantine.cause()
	}
	at := f.position(id)
	x.Unsure, x.UndoInput = at.Unsure, at.UndoInput
	if m.Parent != nil {
		x.Parent = m.Parent.Execution
	}
	return x
}

// History returns what happened to an execution, with the states that it went
// through.
func (c *Client) History(ctx context.Context, id string) ([]Event, error) {
	x, root, err := c.read(ctx, id)
	if err != nil {
		return nil, err
	}
	// What has come since belongs to a later state.
	entries, err := c.store.History(ctx, id, 0, root.Entries)
	if err != nil {
		return nil, err
	}
	events, err := decodeEntries(c.cfg.Codec, entries, x.Input, x.states())
	if err != nil {
		return nil, fmt.Errorf("execution %q: %w", id, err)
	}
	for i := range events {
		if events[i].Time.IsZero() {
			events[i].Time = x.Started
		}
	}
	return events, nil
}

// states are the present states by frame.
func (x *Execution) states() map[string]json.RawMessage {
	states := map[string]json.RawMessage{"": x.State}
	for _, b := range x.Branches {
		states[b.Frame] = b.State
	}
	return states
}
