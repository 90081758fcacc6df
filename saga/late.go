package saga

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// doubt notes that the present attempt of the action has an unknown outcome.
// Unheard is one whose answer may still come.
func (f *frame) doubt(unheard bool) {
	f.Unknown = true
	switch {
	case !unheard:
		f.Doubt = true
	case !slices.Contains(f.Unheard, f.Attempt):
		f.Unheard = append(f.Unheard, f.Attempt)
	}
}

// certain forgets what was unknown.
func (f *frame) certain() { f.Unknown, f.Doubt, f.Unheard, f.StillRunning = false, false, nil, 0 }

// heardNot takes from unheard attempts one that is known to have done nothing.
// Attempt 0 is all of them. It reports whether nothing is unknown any more: an
// outcome is "not done" only if that of every attempt is.
func heardNot(unheard *[]int, doubt bool, attempt int) bool {
	left := slices.DeleteFunc(slices.Clone(*unheard), func(n int) bool { return n == attempt || attempt == 0 })
	if len(left) == len(*unheard) {
		return false
	}
	*unheard = left
	return len(left) == 0 && !doubt
}

// hearNot takes the late answer that an attempt of the step that the frame is at
// has done nothing.
func (m *machine) hearNot(f *frame, attempt int) {
	before := len(f.Unheard)
	if heardNot(&f.Unheard, f.Doubt, attempt) {
		f.Unknown = false
		m.record(f, Event{Type: TaskHeardLate, Step: f.Step, Attempt: attempt, Outcome: NotDone})
	} else if len(f.Unheard) < before {
		m.touch(f)
	}
}

// toUndo finds what is to be undone of a visit of a step whose outcome is unknown,
// unless its compensation has begun. One that is dispatched and not at work has
// not: had it begun under an earlier opening, there would be a second attempt.
func (f *frame) toUndo(step string, visit int) *undoRecord {
	for i := range f.Undo {
		r := &f.Undo[i]
		if r.Step != step || max(r.Visit, 1) != visit || r.Fork != nil {
			continue
		}
		if !r.Unknown || r.Attempt > 0 {
			return nil
		}
		begun := f.Attempt > 1 || f.Blocked || f.Waiting || f.running
		if f.Undoing && i == len(f.Undo)-1 && begun {
			return nil
		}
		return r
	}
	return nil
}

// A lateAnswer is what somebody outside says of an action that was given up.
type lateAnswer struct {
	step    string
	visit   int
	attempt int // 0: of all
	done    bool
	result  json.RawMessage
}

// hearLate takes a late answer. Where the action is done, its compensation will be
// told so, and sees the state after it; where no attempt has done anything, there
// is nothing to undo.
func (m *machine) hearLate(f *frame, r *undoRecord, a lateAnswer) {
	e := Event{Type: TaskHeardLate, Step: a.step, Attempt: a.attempt, Outcome: Done}
	if a.done {
		s := m.def.byName[a.step]
		var after []byte
		if err := guard(func() (err error) { after, err = s.absorb(f.State, a.result); return err }); err != nil {
			m.discard(f, fmt.Errorf("the late result of step %s: %w", a.step, err))
			return
		}
		r.Unknown, r.Doubt, r.Unheard, r.Token, r.After = false, false, nil, "", after
		if s.Remote != "" {
			r.NotUntil = 0 // which the wait was for
		}
		m.recall(f, r)
		m.record(f, e)
		return
	}
	if f.Held && len(f.Undo) == 1 {
		return // what is held can be undone: its parent counts on that
	}
	m.touch(f)
	if !heardNot(&r.Unheard, r.Doubt, a.attempt) {
		return
	}
	e.Outcome = NotDone
	m.recall(f, r)
	f.strike(r)
	m.record(f, e)
}

// strike takes a record off, wherever it is.
func (f *frame) strike(r *undoRecord) {
	for i := range f.Undo {
		if &f.Undo[i] != r {
			continue
		}
		f.Undo = slices.Delete(f.Undo, i, i+1)
		if f.Scope != nil && i < f.Scope.Keep {
			f.Scope.Keep-- // those that stay as they are
		}
		return
	}
}

// recall takes back a compensation that was to wait for a handler, and has not
// begun.
func (m *machine) recall(f *frame, r *undoRecord) {
	if f.Undoing && r == &f.Undo[len(f.Undo)-1] {
		m.quit(f)
		r.Attempt = 0
	}
}

// hearLateReply takes a participant's reply to an action that was given up. The
// frame is nil where it was undone, with all that was done in it.
func (m *machine) hearLateReply(f *frame, r *replyMessage) {
	if r.Reply != commandDo || r.Outcome == Unknown {
		return
	}
	s := m.def.byName[r.Step]
	if s == nil || s.Remote == "" {
		return
	}
	if f != nil {
		if owed := f.toUndo(r.Step, r.Visit); owed != nil {
			m.hearLate(f, owed, lateAnswer{step: r.Step, visit: r.Visit, attempt: r.Attempt, done: r.Outcome == Done, result: r.Result})
			return
		}
	}
	if r.Outcome == Done && (f != nil && f.guesses(s, r.Visit) || m.root.guessed(r)) {
		m.events = append(m.events, Event{Type: TaskDoneLate, Frame: r.Frame, Step: r.Step, Attempt: r.Attempt, Outcome: Done})
		m.touch(m.root)
	}
}

// A guess is a participant's action that was undone here although nobody knew
// what came of it.
type guess struct {
	Frame string `json:"f,omitempty"`
	Step  string `json:"s"`
	Visit int    `json:"v,omitempty"`
}

// mostGuesses bounds those that are kept, the latest of them.
const mostGuesses = 100

// guess keeps in mind what a compensation that is done has undone unseen: if the
// action is done after it, somebody has to know.
func (m *machine) guess(f *frame, r undoRecord) {
	if !r.Unknown || !m.def.byName[r.Step].undoneHere() {
		return
	}
	m.root.Guessed = append(m.root.Guessed, guess{f.path, r.Step, r.Visit})
	if n := len(m.root.Guessed) - mostGuesses; n > 0 {
		m.root.Guessed = slices.Delete(m.root.Guessed, 0, n)
	}
	m.touch(m.root)
}

// guesses reports whether the compensation of such an action has begun.
func (f *frame) guesses(s *State, visit int) bool {
	return s.undoneHere() && slices.ContainsFunc(f.Undo, func(r undoRecord) bool {
		return r.Unknown && r.Fork == nil && r.Step == s.Name && max(r.Visit, 1) == visit
	})
}

// guessed reports whether a reply is to such an action, of those of the root.
func (f *frame) guessed(r *replyMessage) bool {
	return slices.ContainsFunc(f.Guessed, func(g guess) bool {
		return g.Frame == r.Frame && g.Step == r.Step && max(g.Visit, 1) == r.Visit
	})
}

// completeLate takes what comes with the token of a task that was given up. It
// reports whether the token is such a one's.
func (m *machine) completeLate(t taskToken, c completion) bool {
	f := m.frameAt(t.Frame)
	if f == nil || !f.owes(t) {
		return false
	}
	owed := f.toUndo(t.Step, t.Visit)
	if owed == nil {
		m.discard(f, errors.New("a completion of step "+t.Step+", whose compensation has begun"))
		return true
	}
	m.hearLate(f, owed, lateAnswer{step: t.Step, visit: t.Visit, done: c.Error == "", result: c.Result})
	return true
}

// owes reports whether a token is that of a task of the frame that was given up
// and is to be undone.
func (f *frame) owes(t taskToken) bool {
	return slices.ContainsFunc(f.Undo, func(r undoRecord) bool {
		return r.Token != "" && r.Step == t.Step && max(r.Visit, 1) == t.Visit &&
			subtle.ConstantTimeCompare([]byte(r.Token), []byte(t.Secret)) == 1
	})
}
