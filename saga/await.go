package saga

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A signal is what was sent to an execution that did not wait for it yet.
type signal struct {
	Name string          `json:"n"`
	Data json.RawMessage `json:"d,omitempty"`
}

// mostSignals bounds the signals that an execution keeps until a step takes
// them.
const mostSignals = 100

// hold lets a frame wait for somebody outside, at most until its deadline.
func (m *machine) hold(f *frame, s *State, began, now time.Time) {
	f.Waiting, f.Until = true, 0
	if s.Timeout > 0 {
		f.Until = toMillis(began.Add(s.Timeout))
	}
	if end := f.over(s); !end.IsZero() && (f.Until == 0 || toMillis(end) < f.Until) {
		f.Until = max(toMillis(end), 1)
	}
	m.heartbeat(f, s, now)
	m.touch(f)
}

// over is when the step's own time has run out, over all its attempts and waits;
// zero is never.
func (f *frame) over(s *State) time.Time {
	if s.Within == 0 {
		return time.Time{}
	}
	return fromMillis(f.Entered).Add(s.Within)
}

// closes is when a Parallel or a Map that is under way has to have ended; zero is
// never. Past the point of no return it cannot be undone, and is not stopped.
func (m *machine) closes(f *frame) time.Time {
	k := f.Fork
	if k == nil || k.Undoing || f.Blocked || k.Ended.count() == k.Size || m.stopping(f) || m.bound() {
		return time.Time{}
	}
	return f.over(m.step(f))
}

// stopLate fails a Parallel or a Map whose time is over.
func (m *machine) stopLate(f *frame, now time.Time) bool {
	end := m.closes(f)
	if end.IsZero() || end.After(now) {
		return false
	}
	s := m.step(f)
	m.fail(f, &Cause{Kind: CauseFailed, Step: s.Name, Name: ErrorTimeout, Error: fmt.Sprintf("it has not ended within %s", s.Within)}, now)
	return true
}

// missed fails a step whose next attempt was to begin within its time, when no worker
// was there, and has not.
func (m *machine) missed(f *frame, s *State, now time.Time) bool {
	end := f.over(s)
	if s.Type != TypeTask || f.Undoing || f.Attempt == 0 || end.IsZero() || end.After(now) {
		return false
	}
	err := fmt.Errorf("it was not begun within %s", s.Within)
	m.take(f, result{err: Named(ErrorTimeout, Permanent(err)), outcome: NotDone}, now)
	return true
}

// heartbeat puts off the time by which a frame that waits must hear something.
func (m *machine) heartbeat(f *frame, s *State, now time.Time) {
	f.At = f.Until
	if s.Heartbeat > 0 {
		if next := toMillis(now.Add(s.Heartbeat)); f.At == 0 || next < f.At {
			f.At = next
		}
	}
	m.touch(f)
}

// late is the latest time that is over by now, and by which somebody outside was to
// answer. Whoever lets that time expire has asked for mail since: an answer that
// came before it counts.
func (m *machine) late(now time.Time) (t time.Time) {
	if m.root.Suspended > 0 || m.root.Held {
		return t
	}
	if m.folded && m.overdue && !m.rest.After(now) {
		t = m.rest // it may be of one that is folded
	}
	for _, f := range m.live() {
		if !f.Waiting || f.At == 0 || m.stopping(f) && !m.awaited(f) {
			continue
		}
		if at := fromMillis(f.At); !at.After(now) && at.After(t) {
			t = at
		}
	}
	return t
}

// expire ends the wait of a frame that has heard nothing in time.
func (m *machine) expire(f *frame, s *State, now time.Time) {
	if m.halting(f) {
		m.halt(f, &Cause{Kind: CauseFailed, Name: ErrorTimeout, Error: "the child execution has not completed in time"})
		return
	}
	f.Waiting = false
	err := errors.New("nobody has completed it in time")
	if s.remote(f.Undoing) {
		err = errors.New("no reply came in time")
	}
	switch {
	case s.Signal != "":
		m.record(f, Event{Type: TaskTimedOut, Step: s.Name, Error: "no signal " + s.Signal + " came in time"})
		m.fail(f, &Cause{Kind: CauseFailed, Step: s.Name, Name: ErrorTimeout, Error: "no signal " + s.Signal + " came in time"}, now)
		return
	case s.Callback && (f.Until == 0 || f.Until > now.UnixMilli()):
		m.take(f, result{err: Named(ErrorHeartbeat, errors.New("its heartbeat has stopped")), outcome: Unknown, outside: true}, now)
		return
	}
	r := result{err: Named(ErrorTimeout, err), outcome: Unknown, outside: true}
	if s.undoneHere() && !f.Undoing {
		// Nothing closes the action to a participant that is slow, or whose
		// clock is late: its own undo would.
		r.running = fromMillis(f.At).Add(m.lease)
	}
	m.take(f, r, now)
}

// receive takes a signal that came before, or waits for one.
func (m *machine) receive(f *frame, s *State, now time.Time) {
	if m.root.Suspended > 0 || !m.takeKept(f, s, now) {
		m.hold(f, s, now, now)
	}
}

// takeKept takes a signal that came before, and reports whether there was one.
func (m *machine) takeKept(f *frame, s *State, now time.Time) bool {
	for i := 0; i < len(m.root.Signals); {
		sig := m.root.Signals[i]
		if sig.Name != s.Signal {
			i++
			continue
		}
		// It goes first: the step that follows may take the next one.
		m.root.Signals = append(m.root.Signals[:i:i], m.root.Signals[i+1:]...)
		m.touch(m.root)
		if err := m.takeSignal(f, s, sig.Data, now); err != nil {
			m.discard(f, err)
			continue
		}
		return true
	}
	return false
}

func (m *machine) takeSignal(f *frame, s *State, data []byte, now time.Time) error {
	var state []byte
	if err := guard(func() (err error) { state, err = s.absorb(f.State, data); return err }); err != nil {
		return fmt.Errorf("signal %q: %w", s.Signal, err)
	}
	f.Waiting = false
	m.record(f, Event{Type: SignalReceived, Step: s.Name})
	if err := m.oversize(s, state); err != nil { // no other signal would fit either
		m.fault(f, err, now)
		return nil
	}
	changed := m.setState(f, state)
	m.record(f, Event{Type: TaskStateExited, Step: s.Name, changed: changed})
	m.leave(f, s.Next, now)
	return nil
}

// signal gives a signal to the first step that waits for it, or keeps it for
// one. While the execution is suspended it is kept.
func (m *machine) signal(sig signal, now time.Time) {
	now = m.clock(now)
	for _, f := range m.live() {
		if s := m.step(f); m.root.Suspended == 0 && f.Waiting && s.Signal == sig.Name && !m.stopping(f) {
			if err := m.takeSignal(f, s, sig.Data, now); err != nil {
				m.discard(f, err)
			}
			return
		}
	}
	if len(m.root.Signals) >= mostSignals {
		m.discard(m.root, fmt.Errorf("signal %q: there are %d already that nobody waits for", sig.Name, mostSignals))
		return
	}
	m.root.Signals = append(m.root.Signals, sig)
	m.touch(m.root)
}

// discard notes mail that came to nothing.
func (m *machine) discard(f *frame, err error) {
	m.record(f, Event{Type: MailDiscarded, Error: errorText(err)})
}

// newToken makes the secret of a callback.
func newToken() string { return rand.Text() }

// errToken reports a completion that nobody waits for.
var errToken = errors.New("nobody waits for this task token: it is another's, was used, or its time is over")

// callee finds the frame that a token is for.
func (m *machine) callee(t taskToken) (*frame, error) {
	found := m.frameAt(t.Frame)
	if found == nil || found.Step != t.Step || found.visit(t.Step) != t.Visit || found.Undoing || found.Token == "" ||
		subtle.ConstantTimeCompare([]byte(found.Token), []byte(t.Secret)) != 1 {
		return nil, errToken
	}
	return found, nil
}

// complete ends a callback with a result, or with an error. One that does not
// fit is noted, and the step goes on waiting for another. It counts also while the token is
// yet to be handed over again: whoever has it got it from a worker that was lost.
func (m *machine) complete(t taskToken, c completion, now time.Time) {
	now = m.clock(now)
	f, err := m.callee(t)
	if err != nil {
		if m.completeLate(t, c) {
			m.spend(t, c)
		} else {
			m.discard(m.root, err)
		}
		return
	}
	s := m.step(f)
	end := func() {
		m.unblock(f)
		f.Waiting, f.Token, f.Misfits, f.Lost = false, "", 0, 0
		m.spend(t, c)
	}
	if c.Error != "" {
		end()
		m.hearNot(f, 0)
		m.take(f, result{err: Named(c.Error, errors.New(c.Cause)), outcome: NotDone, outside: true}, now)
		return
	}
	var state []byte
	if err := guard(func() (err error) { state, err = s.absorb(f.State, c.Result); return err }); err != nil {
		f.Misfits++
		m.discard(f, fmt.Errorf("the result of step %s: %w", s.Name, err))
		return
	}
	end()
	m.take(f, result{outcome: Done, state: state}, now)
}

// beat puts off the heartbeat of a callback.
func (m *machine) beat(t taskToken, now time.Time) {
	now = m.clock(now)
	f, err := m.callee(t)
	if err == nil && f.Waiting {
		m.heartbeat(f, m.step(f), now)
		return
	}
	m.discard(m.root, errToken)
}
