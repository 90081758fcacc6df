package saga

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A result is the answer of one attempt.
type result struct {
	err     error
	outcome Outcome
	state   []byte // after an action that is done
	held    bool   // the action was a child's, which can be undone
	// running is until when a handler that did not answer may be at work.
	running time.Time
	// outside says that somebody outside has said no, or nothing in time.
	outside bool
}

// dispatch readies the next attempt, of action or compensation, for the given
// time.
func (m *machine) dispatch(f *frame, at time.Time) {
	f.Attempt++
	f.At = toMillis(at)
	if f.Token == "" && !f.Undoing && m.step(f).Callback {
		f.Token = newToken() // on record before anybody has it
	}
	t := TaskScheduled
	if f.Undoing {
		t = CompensationTried
	}
	m.record(f, Event{Type: t, Step: f.Step, Attempt: f.Attempt})
}

// park notes that an opening gives the lease back, with nothing at work.
func (m *machine) park(epoch int64, now time.Time) {
	m.root.Parked, m.root.Still, m.root.Rest = epoch, m.root.Suspended > 0, m.resting(now)
}

// lost accounts for the attempts that an earlier opening was to run, and whose
// answers are not there: its worker died, or lost its lease.
func (m *machine) lost(now time.Time) {
	if m.root.Parked == m.epoch-1 || m.root.Still {
		return // it gave the lease back when nothing was at work
	}
	clock := m.clock(now)
	var lost []job
	results := make(map[*frame]result)
	for _, f := range m.live() {
		at := fromMillis(f.At)
		if f.Attempt == 0 || f.Blocked || f.Pending || f.Waiting || m.step(f).remote(f.Undoing) || f.Fork != nil && !f.Undoing || at.After(clock) {
			continue
		}
		// An attempt that waited for its opening began later than it was due,
		// but before that opening's lease ran out.
		s := m.step(f)
		running := latest(at.Add(s.handling()+m.lease), now.Add(s.handling()))
		if !f.Undoing {
			// One that fails may stop others, which then are not heard.
			f.doubt(false)
			f.StillRunning = max(f.StillRunning, toMillis(running))
		}
		results[f] = result{err: errWorkerLost, outcome: Unknown, running: running}
		lost = append(lost, job{f, f.Undoing})
	}
	// Actions come first: what is undone next hangs on what is known of them.
	slices.SortStableFunc(lost, func(a, b job) int { return cmp.Compare(btoi(a.undo), btoi(b.undo)) })
	for _, j := range lost {
		if j.f.Step == "" || j.f.Attempt == 0 || j.f.Undoing != j.undo {
			continue // stopped
		}
		j.f.Lost++
		m.take(j.f, results[j.f], clock)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// answer takes the result of a frame's dispatched attempt.
func (m *machine) answer(f *frame, r result, now time.Time) {
	now = m.clock(now)
	f.Lost, f.running = 0, false
	m.take(f, r, now)
}

func (m *machine) take(f *frame, r result, now time.Time) {
	if s := m.step(f); r.outcome == Done && !f.Undoing && s.part == nil {
		if err := m.oversize(s, r.state); err != nil {
			r = result{err: err, outcome: Unknown, held: r.held}
			if s.calls() {
				r.outcome = m.untaken(s, r.held)
			}
		}
	}
	switch {
	case f.Undoing:
		m.undoAnswer(f, r, now)
	case r.outcome == Done:
		m.done(f, r, now)
	default:
		m.failed(f, r, now)
	}
}

func (m *machine) done(f *frame, r result, now time.Time) {
	s := m.step(f)
	changed := s.part == nil && m.setState(f, r.state)
	if s.part != nil {
		f.State = r.state // of what many executions left, which have it in their histories
	}
	if s.Callback && f.Token != "" { // it was handed over, and nothing more
		m.record(f, Event{Type: TaskSubmitted, Step: s.Name, Attempt: f.Attempt, changed: changed})
		if m.stopping(f) {
			f.doubt(true)
			m.quit(f)
			return
		}
		m.hold(f, s, latest(fromMillis(f.At), m.start), now)
		return
	}
	m.record(f, Event{Type: TaskSucceeded, Step: s.Name, Attempt: f.Attempt})
	m.record(f, Event{Type: TaskStateExited, Step: s.Name, changed: changed})
	switch {
	case s.calls() && (!r.held || s.Pivot || m.root.Pivoted):
		if r.held {
			m.tell(f, mailSettle, s, f.visit(s.Name), nil, "")
		}
		if s.Pivot {
			m.passPivot(f)
		}
	case s.Pivot:
		m.passPivot(f)
		m.crossed(now)
	case s.compensable() && !m.root.Pivoted:
		// An earlier attempt of a done step may still be at work too, but for a
		// participant's, which does each key once.
		r := undoRecord{NotUntil: f.StillRunning}
		if s.Remote != "" {
			r.NotUntil = 0
		}
		m.push(f, r)
	}
	if m.stopping(f) {
		f.certain()
		m.quit(f)
		return
	}
	m.leave(f, s.Next, now)
}

// push adds the frame's present step to what must be undone.
func (m *machine) push(f *frame, r undoRecord) {
	r.Step, r.Order, r.Entry = f.Step, f.Order, stateInFrame
	if v := f.visit(f.Step); v > 1 {
		r.Visit = v
	}
	f.Undo = append(f.Undo, r)
	m.touch(f)
}

func (m *machine) failed(f *frame, r result, now time.Time) {
	s := m.step(f)
	t := TaskFailed
	if r.outcome == Unknown {
		t = TaskTimedOut
		f.doubt(r.outside) // nobody has said so
		f.StillRunning = max(f.StillRunning, toMillis(r.running))
	}
	m.record(f, failure(t, s.Name, f.Attempt, r))
	if m.stopping(f) {
		m.quit(f)
		return
	}
	if m.crossed(now) {
		return
	}
	name := errorName(r.err)
	if at, ok := m.retryAt(f, s, name, r.outside, now); ok && !isPermanent(r.err) {
		m.again(f, at)
		return
	}
	cause := &Cause{Kind: CauseFailed, Step: s.Name, Name: shownName(name), Error: errorText(r.err)}
	if !isPermanent(r.err) && !m.bound() && m.deadline(now) {
		return // what ended the last attempt
	}
	m.fail(f, cause, now)
}

// retryAt charges a failure to the policy that is for it, and tells when the
// step is tried again, if it is.
func (m *machine) retryAt(f *frame, s *State, name string, outside bool, now time.Time) (time.Time, bool) {
	policy, n, ok := s.policy(name, outside)
	if !ok {
		return time.Time{}, false
	}
	tries := &f.Tries
	if n > 0 {
		for len(f.TriesOn) < n {
			f.TriesOn = append(f.TriesOn, 0)
		}
		tries = &f.TriesOn[n-1]
	}
	*tries++
	m.touch(f)
	at := now.Add(policy.delay(*tries))
	end := f.over(s)
	return at, (end.IsZero() || at.Before(end)) && !policy.exhausted(*tries)
}

// again dispatches the next attempt, unless the attempts keep killing their
// workers: that is an operator's business, however patient the policy is.
func (m *machine) again(f *frame, at time.Time) {
	if f.Lost >= m.maxLost {
		m.block(f, &Cause{Kind: CauseCrashes, Step: f.Step, Undo: f.Undoing,
			Error: fmt.Sprintf("%d attempts in a row ended with their worker", f.Lost)})
		return
	}
	// A millisecond is the store's unit: never sooner than the policy says.
	if m.step(f).calls() && !f.Undoing { // each attempt is another child
		m.revisit(f, true)
	}
	m.dispatch(f, at.Add(time.Millisecond-1).Truncate(time.Millisecond))
}

// block stops a frame until an operator acts.
func (m *machine) block(f *frame, why *Cause) {
	why.Frame = f.path
	f.Blocked = true
	m.record(f, Event{Type: ExecutionBlocked, Step: why.Step, Error: why.Error})
	if m.root.Trouble != nil {
		f.Why = why
		return
	}
	m.root.Trouble = why
	m.touch(m.root)
}

// unblock lets a frame go on, and the execution if it was the last that was
// blocked. Else its trouble is another frame's from here on.
func (m *machine) unblock(f *frame) {
	if !f.Blocked {
		return
	}
	f.Blocked, f.Why = false, nil
	m.touch(f)
	if t := m.root.Trouble; t != nil {
		if other := m.frameAt(t.Frame); other != nil && other.Blocked {
			return
		}
	}
	m.root.Trouble = nil
	m.touch(m.root)
	for _, other := range m.live() {
		if other.Blocked {
			m.root.Trouble, other.Why = other.trouble(), nil
			m.touch(other)
			return
		}
	}
}

// trouble is why the frame is blocked. An earlier release did not keep that of the
// second one and those after it.
func (f *frame) trouble() *Cause {
	if f.Why != nil {
		return f.Why
	}
	return &Cause{Kind: CauseFailed, Step: f.Step, Frame: f.path, Undo: f.Undoing, Error: "its history tells why"}
}
