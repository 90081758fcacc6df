package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// An Edit is another input for what is blocked.
type Edit struct {
	// Input is written as JSON: the state that the blocked compensation or action
	// is to see. Required.
	Input any
	// Step and Frame tell which one is meant where several are blocked: Frame as
	// in [Position], empty for a step in no branch. Step may be empty.
	Frame, Step string
	// ConfirmUnknown says that whoever gives the order has seen to the attempts
	// under the old input whose outcome is unknown, or that somebody else is at:
	// nobody else finds out whether they had an effect, and under a new key it
	// would come on top.
	ConfirmUnknown bool
}

// ErrNotBlocked reports an edit, or a skip, of what is not blocked.
var ErrNotBlocked = errors.New("saga is not blocked there")

// An UnconfirmedError reports an edit that would run beside an attempt whose
// outcome nobody knows: see [Edit].ConfirmUnknown.
type UnconfirmedError struct {
	Execution string
	Frame     string
	Step      string
	Undo      bool // it is the step's compensation
}

func (e *UnconfirmedError) Error() string {
	return fmt.Sprintf("execution %q: %s: it may have had its effect, and under another key that comes again: see to it, and confirm",
		e.Execution, unconfirmed(e.Step, e.Undo))
}

func unconfirmed(step string, undo bool) string {
	what := "step " + step
	if undo {
		what = "the compensation of " + what
	}
	return "an attempt of " + what + " has an unknown outcome"
}

// RetryWith lets a blocked execution try again with another input, which its
// author or an operator has mended: what is tried then has an idempotency key of
// its own, so that nobody takes it for a repeat. A compensation has a new key for
// the same visit, and sees the new input instead of the state; its outcome is told
// as before. An action, which is blocked only after the point of no return, comes
// to its step once more, with the new input as the state of its frame.
//
// It is an error that matches [ErrNotBlocked] where nothing such is blocked, and an
// *[UnconfirmedError] where an attempt under the old key has an unknown outcome and
// the edit does not confirm that. The execution checks both again when it reads the
// order, and whether the step takes the input; what it refuses is in its history.
// The same order again, while nothing has come of it, is the same order.
func (c *Client) RetryWith(ctx context.Context, id string, e Edit, o Order) error {
	input, err := json.Marshal(e.Input)
	if err != nil {
		return fmt.Errorf("saga: edit an input: %w", err)
	}
	if err := checkState("", input, c.cfg.MaxState); err != nil {
		return fmt.Errorf("saga: edit an input: %w", err)
	}
	target, entries, err := c.editable(ctx, id, e)
	if err != nil {
		return err
	}
	target.Input, target.Confirmed = input, e.ConfirmUnknown
	body, err := encodeMail(c.cfg.Codec, mail{Kind: mailEdit, By: o.By, Note: o.Note, Edit: target})
	if err != nil {
		return fmt.Errorf("edit the input of %q: %w", id, err)
	}
	plain, err := json.Marshal(target)
	if err != nil {
		return fmt.Errorf("edit the input of %q: %w", id, err)
	}
	// An order that was refused is in the history, and may be given again.
	mailID := "edit." + digest(fmt.Appendf(plain, " %d", entries))[:16]
	_, err = c.deliver(ctx, store.PostRequest{
		ID: id, MailID: mailID, Body: body, Limit: mailboxLimit + operatorHeadroom,
	})
	if err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	return nil
}

// editable finds what an edit is for, and how many entries the history has by then.
func (c *Client) editable(ctx context.Context, id string, e Edit) (target *inputEdit, entries int, err error) {
	p, entries, err := c.blockedAt(ctx, id, e.Frame, e.Step)
	if err != nil {
		return nil, 0, err
	}
	if p.Unsure && !e.ConfirmUnknown {
		return nil, 0, &UnconfirmedError{Execution: id, Frame: p.Frame, Step: p.Step, Undo: p.Undoing}
	}
	return &inputEdit{Frame: p.Frame, Step: p.Step, Undo: p.Undoing, Attempt: p.Attempt}, entries, nil
}

// blockedAt finds where an execution is blocked: at the frame and the step that
// are given or, without them, at the only place. It also tells how many entries
// the history has.
func (c *Client) blockedAt(ctx context.Context, id, frame, step string) (at Position, entries int, err error) {
	x, root, err := c.read(ctx, id)
	switch {
	case err != nil:
		return Position{}, 0, err
	case x.Status.Ended():
		return Position{}, 0, fmt.Errorf("execution %q is %s: %w", id, x.Status, store.ErrEnded)
	}
	all := append([]Position{root.position(id)}, x.Branches...)
	all = slices.DeleteFunc(all, func(p Position) bool { return !p.Blocked })
	blocked := all
	if frame != "" || step != "" {
		blocked = nil
		for _, p := range all {
			if p.Frame == frame && (step == "" || step == p.Step) {
				blocked = append(blocked, p)
			}
		}
	}
	switch {
	case len(blocked) == 0:
		return Position{}, 0, fmt.Errorf("execution %q: %w%s", id, ErrNotBlocked, places(" but at ", all))
	case len(blocked) > 1:
		return Position{}, 0, fmt.Errorf("execution %q is blocked at %s: say which one is meant", id, places("", blocked))
	}
	return blocked[0], root.Entries, nil
}

// places lists where an execution is blocked, if it is.
func places(intro string, blocked []Position) string {
	var names []string
	for _, p := range blocked {
		name := p.Step
		if p.Frame != "" {
			name += " in " + p.Frame
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	return intro + strings.Join(names, ", ")
}

// An inputEdit is the mail of an edit. It is for what was blocked after one
// attempt: when there was another one, whoever gave it has not seen that.
type inputEdit struct {
	Frame     string          `json:"f,omitempty"`
	Step      string          `json:"s"`
	Undo      bool            `json:"u,omitempty"`
	Attempt   int             `json:"a"`
	Input     json.RawMessage `json:"d"`
	Confirmed bool            `json:"c,omitempty"`
}

// edited is the input that an operator gave a compensation.
type edited struct {
	N     int             `json:"n"` // how often it was edited
	After int             `json:"a"` // the last attempt under the key before
	Input json.RawMessage `json:"d"`
}

// edit tries what is blocked again with another input.
func (m *machine) edit(e *inputEdit, by, note string, now time.Time) {
	now = m.clock(now)
	f := m.frameAt(e.Frame)
	input, why := m.accepts(f, e)
	if why != "" {
		m.record(m.root, Event{Type: RetryRefused, By: by, Note: note, Error: why})
		return
	}
	event := Event{Step: f.Step, By: by, Note: note}
	unsure := f.unsure()
	if unsure {
		event.Outcome = Unknown // which was confirmed
	}
	m.unblock(f)
	f.hangUp()
	f.Tries, f.TriesOn, f.Lost, f.Entered = 0, nil, 0, now.UnixMilli()
	if f.Undoing {
		r := &f.Undo[len(f.Undo)-1]
		r.Edited, r.Unsure = &edited{N: r.edits() + 1, After: f.Attempt, Input: input}, false
		event.Type, event.State = CompensationEdited, input
		m.record(f, event)
		m.dispatch(f, latest(now, fromMillis(r.NotUntil)))
		return
	}
	event.Type, event.changed = TaskEdited, m.setState(f, input)
	m.record(f, event)
	// A pivot whose first visit may be done stays one: nothing is undone then.
	pivoting := unsure && m.step(f).Pivot
	f.certain()
	f.Unknown, f.Doubt = pivoting, pivoting
	m.revisit(f, true)
	if f.First || len(m.step(f).Locks) > 0 { // whose keys may be others now
		f.Locks, f.Pending, f.At = untold, true, toMillis(now)
		return
	}
	m.dispatch(f, now)
}

// accepts tells why an edit is refused, or returns the input as the step's type
// writes it.
func (m *machine) accepts(f *frame, e *inputEdit) (input []byte, refused string) {
	if _, why := m.blockedAt(e.Frame, e.Step, e.Undo, e.Attempt); why != "" {
		return nil, why
	}
	s := m.step(f)
	switch {
	case s.calls():
		return nil, fmt.Sprintf("step %s is another execution's business: edit what is blocked there", e.Step)
	case s.decode == nil || !f.Undoing && f.Fork != nil:
		return nil, fmt.Sprintf("step %s has no input of its own", e.Step)
	case f.unsure() && !e.Confirmed:
		return nil, unconfirmed(f.Step, f.Undoing) + ", and that was not confirmed"
	}
	err := guard(func() (err error) { input, err = s.decode(e.Input); return err })
	if err != nil {
		return nil, fmt.Sprintf("step %s does not take the input: %s", e.Step, errorText(err))
	}
	return input, ""
}

// unsure reports whether an attempt of what the frame is at, under its present
// key, has an unknown outcome: so has one that somebody else is at, if it is not
// waited for any more.
func (f *frame) unsure() bool {
	switch {
	case f.Waiting && f.Attempt > 0:
		return true
	case f.Undoing:
		return f.Undo[len(f.Undo)-1].Unsure
	}
	return f.Unknown
}

// edits is how often the compensation's input was edited.
func (r undoRecord) edits() int {
	if r.Edited == nil {
		return 0
	}
	return r.Edited.N
}

// superseded reports whether an attempt of the frame's compensation had a key
// that an edit has replaced.
func (f *frame) superseded(attempt int) bool {
	e := f.Undo[len(f.Undo)-1].Edited
	return e != nil && attempt <= e.After
}
