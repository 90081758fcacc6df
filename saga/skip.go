package saga

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// A SkipOption says more of what [Client.Skip] is to skip.
type SkipOption func(*skipOptions)

type skipOptions struct {
	frame, step string
	attempt     int
	done        bool
}

// SkipAt tells which one is meant where several are blocked: frame is as in
// [Position], empty for a step in no branch. step may be empty.
func SkipAt(frame, step string) SkipOption {
	return func(o *skipOptions) { o.frame, o.step = frame, step }
}

// SkipAttempt skips what is blocked after that attempt, the one that was looked
// at, and nothing that was blocked again since.
func SkipAttempt(n int) SkipOption { return func(o *skipOptions) { o.attempt = n } }

// SkipDone says that the action which is skipped had its effect. If the saga is
// undone later, its compensation is told [Done]; otherwise [Unknown].
func SkipDone() SkipOption { return func(o *skipOptions) { o.done = true } }

// Skip takes what is blocked for done: an operator has seen to it, and says how
// in the order's note. A compensation that is skipped does not run; after an
// action that is skipped the saga goes on with the state as it is, and undoes that
// action too if it fails later. A Parallel or a ForEach whose branches cannot be
// merged goes on without.
//
// It skips what is blocked when it looks, and nothing that is blocked later. It is
// an error that matches [ErrNotBlocked] where nothing such is blocked, and an error
// where several are and no [SkipAt] tells which one is meant. The execution checks
// that again when it reads the order, and refuses to skip a choice that leaves
// nothing to go on at, and a child that is at work; what it refuses is in its
// history.
func (c *Client) Skip(ctx context.Context, id string, o Order, opts ...SkipOption) error {
	var options skipOptions
	for _, opt := range opts {
		opt(&options)
	}
	p, _, err := c.blockedAt(ctx, id, options.frame, options.step)
	if err != nil {
		return err
	}
	if n := options.attempt; n > 0 && n != p.Attempt {
		return fmt.Errorf("execution %q: %w after attempt %d of step %s: it is after attempt %d", id, ErrNotBlocked, n, p.Step, p.Attempt)
	}
	return c.post(ctx, id, mail{Kind: mailSkip, By: o.By, Note: o.Note, Skip: &skipped{
		Frame: p.Frame, Step: p.Step, Undo: p.Undoing, Attempt: p.Attempt, Done: options.done,
	}})
}

// A skipped is what the mail of a skip is for: what was blocked after one attempt.
type skipped struct {
	Frame   string `json:"f,omitempty"`
	Step    string `json:"s"`
	Undo    bool   `json:"u,omitempty"`
	Attempt int    `json:"a,omitempty"`
	Done    bool   `json:"d,omitempty"`
}

// skip takes what is blocked for done, because an operator has seen to it.
// Without a target, which earlier releases do not give, that must be clear.
func (m *machine) skip(target *skipped, by, note string, now time.Time) {
	now = m.clock(now)
	f, why := m.skippable(target)
	if why != "" {
		m.refuse(by, note, why)
		return
	}
	m.unblock(f)
	if f.Undoing {
		f.hangUp()
		m.record(f, Event{Type: CompensationSkipped, Step: f.Step, By: by, Note: note})
		m.undone(f)
		return
	}
	m.record(f, Event{Type: TaskSkipped, Step: f.Step, By: by, Note: note})
	m.passOver(f, target != nil && target.Done, now)
}

// skippable finds what is to be skipped, or tells why that is refused.
func (m *machine) skippable(target *skipped) (f *frame, refused string) {
	if target != nil {
		if f, refused = m.blockedAt(target.Frame, target.Step, target.Undo, target.Attempt); refused != "" {
			return nil, refused
		}
	} else {
		var blocked []Position
		for _, live := range m.live() {
			if live.Blocked {
				f, blocked = live, append(blocked, live.position(""))
			}
		}
		switch {
		case len(blocked) == 0:
			return nil, "nothing is blocked"
		case len(blocked) > 1:
			return nil, "it is blocked at " + places("", blocked) + ": say which one is meant"
		}
	}
	switch s := m.step(f); {
	case f.Waiting && s.calls():
		return nil, fmt.Sprintf("step %s waits for another execution, which goes on: retry, and see to what is blocked there", s.Name)
	case !f.Undoing && s.Type == TypeChoice && s.Next == "":
		return nil, fmt.Sprintf("step %s chooses what is next, and without it there is nothing: mend what it fails at and retry, or terminate", s.Name)
	}
	return f, ""
}

// blockedAt is the frame that is blocked at a step after an attempt, or tells that
// there is none.
func (m *machine) blockedAt(frame, step string, undo bool, attempt int) (f *frame, refused string) {
	f = m.frameAt(frame)
	switch {
	case f == nil || !f.Blocked || f.Step != step || f.Undoing != undo:
		return nil, "step " + step + " is not blocked"
	case f.Attempt != attempt:
		return nil, fmt.Sprintf("step %s was tried again since, as attempt %d: look at what came of that", step, f.Attempt)
	}
	return f, ""
}

// passOver leaves a step that is taken for done.
func (m *machine) passOver(f *frame, done bool, now time.Time) {
	s := m.step(f)
	if f.Fork != nil && m.passJoin(f, s, now) {
		return // when its branches have ended
	}
	if s.compensable() && !s.Pivot && !m.root.Pivoted && (!s.calls() || done || f.Unknown || f.Waiting) {
		if done {
			m.push(f, undoRecord{NotUntil: f.StillRunning})
		} else {
			m.owe(f, s)
		}
	}
	if s.part != nil {
		f.State = untouched(f.State)
	}
	f.certain()
	f.hangUp()
	f.Pending, f.Attempt = false, 0
	m.record(f, Event{Type: TaskStateExited, Step: s.Name})
	if s.Pivot {
		m.passPivot(f)
	}
	m.leave(f, s.Next, now)
}

// hangUp lets the frame wait for nobody outside any more.
func (f *frame) hangUp() {
	f.Waiting, f.Calls, f.Stop, f.Until = false, false, nil, 0
	f.Token, f.Sent, f.Misfits = "", "", 0
}

// untouched is what came of the items of a part that is skipped: they are as they
// began.
func untouched(items []byte) []byte {
	var states []json.RawMessage
	if json.Unmarshal(items, &states) != nil {
		return items // what it did is known
	}
	results := make([]partResult, len(states))
	for i, state := range states {
		results[i].State = state
	}
	data, err := json.Marshal(results)
	if err != nil {
		return items
	}
	return data
}

// passJoin lets a fork begin no more, and end without a merge; the state goes on
// as it is. It reports whether there is anything to wait for.
func (m *machine) passJoin(f *frame, s *State, now time.Time) bool {
	k := f.Fork
	if k.Begun == 0 {
		m.detach(f)
		return false
	}
	if k.Batched > 0 {
		m.dropParts(f)
	}
	if s.Type == TypeMap {
		k.Size = k.Begun
	}
	k.Skipped, f.At = true, toMillis(now)
	return true
}
