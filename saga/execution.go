package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
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
	Trouble    *Cause          `json:"trouble,omitempty"` // why it is blocked
	Input      json.RawMessage `json:"input"`
	State      json.RawMessage `json:"state"`
	UnreadMail int64           `json:"unread_mail,omitempty"`
}

// Err returns nil for a running or completed execution, else a *FailedError.
func (x *Execution) Err() error {
	switch x.Status {
	case Compensated:
		return &FailedError{Execution: x.ID, Status: x.Status, Cause: x.Cause}
	case Blocked:
		return &FailedError{Execution: x.ID, Status: x.Status, Cause: x.Trouble}
	}
	return nil
}

// Get returns an execution, or an error that matches store.ErrNotFound or
// store.ErrGone.
func (c *Client) Get(ctx context.Context, id string) (*Execution, error) {
	x, _, err := c.read(ctx, id)
	return x, err
}

// read returns an execution, and how many history entries it has.
func (c *Client) read(ctx context.Context, id string) (*Execution, int, error) {
	r, err := c.store.Get(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	var m meta
	var f frame
	if err := errors.Join(decodeJSON(c.cfg.Codec, r.Meta, &m), decodeJSON(c.cfg.Codec, r.Root, &f)); err != nil {
		return nil, 0, fmt.Errorf("execution %q: %w", id, err)
	}
	x := executionOf(id, Status(r.Status), m, f)
	x.Started, x.NextWake, x.HeldUntil, x.UnreadMail = r.Started, r.Wake, r.LeaseUntil, r.Unread
	return x, f.Entries, nil
}

func executionOf(id string, s Status, m meta, f frame) *Execution {
	return &Execution{
		ID: id, Definition: m.Definition, Version: m.Version, Status: s,
		Undoing: f.Undoing && !s.Ended(), Step: f.Step, Attempt: f.Attempt,
		Cause: f.Cause, Trouble: f.Trouble, Input: m.Input, State: f.State,
	}
}

// History returns what happened to an execution, with the states that it went
// through.
func (c *Client) History(ctx context.Context, id string) ([]Event, error) {
	x, n, err := c.read(ctx, id)
	if err != nil {
		return nil, err
	}
	// What has come since belongs to a later state.
	entries, err := c.store.History(ctx, id, 0, n)
	if err != nil {
		return nil, err
	}
	events, err := decodeEntries(c.cfg.Codec, entries, x.Input, x.State)
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
