package saga

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// A machine is one execution's state machine: a frame, the definition it runs
// through, and what has happened since the last commit. It does no I/O and
// knows the time only as it is told, so that every transition can be tested by
// itself.
//
// Its methods change the frame and collect events; the actor
// commits them together, and runs what next tells it only after that.
type machine struct {
	def   *Definition
	frame *frame
	epoch int64         // of this opening
	start time.Time     // of the execution
	lease time.Duration // how long a lost worker's handler may still be at work
	// maxLost is how many attempts in a row may be lost with their workers.
	maxLost int

	events   []Event
	replaced []byte // the state that this commit replaces, if that is to be kept
	dirty    bool
}

// begin makes the frame of a new execution, whose first step is dispatched to
// its first opening. Times of zero stand for the execution's start, which the
// store knows.
func begin(def *Definition, input []byte) *machine {
	m := &machine{def: def, epoch: 1, frame: &frame{State: input, Entries: 1}}
	m.record(Event{Type: ExecutionStarted})
	m.enter(def.states[0], time.Time{})
	return m
}

// resume takes up an execution as an opening found it.
func resume(def *Definition, f *frame, epoch int64, start time.Time, lease time.Duration, maxLost int) *machine {
	if f.Entered == 0 {
		f.Entered = toMillis(start)
	}
	if f.At == 0 {
		f.At = toMillis(start)
	}
	return &machine{def: def, frame: f, epoch: epoch, start: start, lease: lease, maxLost: maxLost}
}

// due returns the saga's own deadline, or zero.
func (m *machine) due() time.Time {
	if m.def.timeout == 0 || m.frame.Undoing || m.frame.Overdue {
		return time.Time{}
	}
	return m.start.Add(m.def.timeout)
}

// committed reports whether the point of no return is passed, or may be.
func (m *machine) committed() bool {
	s := m.step()
	return m.frame.Pivoted || s != nil && s.Pivot && m.frame.Unknown
}

func (m *machine) record(e Event) {
	m.events = append(m.events, e)
	m.dirty = true
}

func (m *machine) step() *State { return m.def.byName[m.frame.Step] }

// enter goes to a step and dispatches its first attempt.
func (m *machine) enter(s *State, now time.Time) {
	f := m.frame
	f.Step, f.Entered = s.Name, toMillis(now)
	f.Attempt, f.Tries, f.Lost, f.Unknown, f.StillRunning = 0, 0, 0, false, 0
	m.record(Event{Type: TaskStateEntered, Step: s.Name})
	m.dispatch(now)
}

// dispatch readies the next attempt, of action or compensation, for the given
// time.
func (m *machine) dispatch(at time.Time) {
	f := m.frame
	f.Attempt++
	f.Tries++
	f.Epoch, f.At = m.epoch, toMillis(at)
	t := TaskScheduled
	if f.Undoing {
		t = CompensationTried
	}
	m.record(Event{Type: t, Step: f.Step, Attempt: f.Attempt})
}

// status is the execution's status as the frame has it.
func (m *machine) status() Status {
	switch {
	case m.frame.Blocked:
		return Blocked
	case m.frame.Step != "":
		return Running
	case m.frame.Undoing:
		return Compensated
	}
	return Completed
}

// A directive is what an actor has to do once its commit is through.
type directive int

const (
	runAction directive = iota
	runUndo
	wait // until a time
	stop // ended, or blocked
)

// next tells what to do now, and for wait until when; for stop the time is
// zero.
func (m *machine) next(now time.Time) (directive, time.Time) {
	f := m.frame
	if m.status() != Running {
		return stop, time.Time{}
	}
	at := fromMillis(f.At)
	if at.After(now) {
		if due := m.due(); !due.IsZero() && due.Before(at) {
			at = due
		}
		return wait, at
	}
	if f.Undoing {
		return runUndo, at
	}
	return runAction, at
}

// A result is the answer of one attempt.
type result struct {
	err     error
	outcome Outcome
	state   []byte // after an action that is done
	// running is until when a handler that did not answer may be at work.
	running time.Time
}

// lost accounts for an attempt that an earlier opening was to run, and whose
// answer is not there: its worker died, or lost its lease.
func (m *machine) lost(now time.Time) {
	f := m.frame
	at := fromMillis(f.At)
	if m.status() != Running || f.Epoch >= m.epoch || at.After(now) {
		return
	}
	r := result{err: errWorkerLost, outcome: Unknown}
	if s := m.step(); s != nil {
		// An attempt that waited for its opening began later than it was due,
		// but before that opening's lease ran out.
		r.running = at.Add(s.Timeout + m.lease)
		if latest := now.Add(s.Timeout); latest.After(r.running) {
			r.running = latest
		}
	}
	f.Lost++
	m.take(r, now)
}

// answer takes the result of the dispatched attempt.
func (m *machine) answer(r result, now time.Time) {
	m.frame.Lost = 0
	m.take(r, now)
}

func (m *machine) take(r result, now time.Time) {
	if m.frame.Undoing {
		m.undoAnswer(r, now)
		return
	}
	if r.outcome == Done {
		m.done(r.state, now)
		return
	}
	m.failed(r, now)
}

func (m *machine) done(state []byte, now time.Time) {
	f, s := m.frame, m.step()
	changed := !bytes.Equal(state, f.State)
	if changed {
		m.replace(state)
	}
	m.record(Event{Type: TaskSucceeded, Step: s.Name, Attempt: f.Attempt})
	m.record(Event{Type: TaskStateExited, Step: s.Name, changed: changed})
	switch {
	case s.Pivot:
		f.Pivoted, f.Undo = true, nil
	case s.undo != nil && !f.Pivoted:
		// An earlier attempt of a done step may still be at work too.
		f.Undo = append(f.Undo, undoRecord{
			Step: s.Name, Entry: stateInFrame, NotUntil: f.StillRunning,
		})
	}
	if s.Next == "" {
		f.Step, f.Undo = "", nil
		m.record(Event{Type: ExecutionSucceeded})
		return
	}
	m.enter(m.def.byName[s.Next], now)
}

// replace puts a new state into the frame, and the one before where the undo
// records that need it will find it.
func (m *machine) replace(state []byte) {
	f := m.frame
	entry := stateInMeta
	if f.Changed {
		entry, m.replaced = f.Entries, f.State
	}
	for i := len(f.Undo) - 1; i >= 0 && f.Undo[i].Entry == stateInFrame; i-- {
		f.Undo[i].Entry = entry
	}
	f.State, f.Changed = json.RawMessage(state), true
}

func (m *machine) failed(r result, now time.Time) {
	f, s := m.frame, m.step()
	if r.outcome == Unknown {
		f.Unknown = true
		f.StillRunning = max(f.StillRunning, toMillis(r.running))
	}
	t := TaskFailed
	if r.outcome == Unknown {
		t = TaskTimedOut
	}
	m.record(failure(t, s.Name, f.Attempt, r))

	delay := s.Retry.delay(f.Tries)
	again := now.Add(delay)
	if !isPermanent(r.err) && !s.Retry.exhausted(f.Tries) &&
		(s.Within == 0 || again.Before(fromMillis(f.Entered).Add(s.Within))) {
		m.again(again)
		return
	}
	cause := &Cause{Kind: CauseFailed, Step: s.Name, Error: errorText(r.err)}
	if m.committed() {
		m.block(cause)
		return
	}
	if due := m.due(); !isPermanent(r.err) && !due.IsZero() && !now.Before(due) {
		m.deadline(now) // what ended the last attempt
		return
	}
	m.record(Event{Type: ExecutionFailed, Step: s.Name, Error: errorText(r.err)})
	m.undo(cause, now)
}

// undo leaves the way forward. The step that was being done is undone too if
// it may have had an effect.
func (m *machine) undo(cause *Cause, now time.Time) {
	f, s := m.frame, m.step()
	if f.Unknown && s != nil && s.undo != nil {
		f.Undo = append(f.Undo, undoRecord{
			Step: s.Name, Unknown: true, Entry: stateInFrame, NotUntil: f.StillRunning,
		})
	}
	f.Undoing, f.Cause = true, cause
	f.Blocked, f.Trouble = false, nil
	f.Unknown, f.StillRunning = false, 0
	m.undoNext(now)
}

// undoNext turns to the compensation that is last in the list, or ends.
func (m *machine) undoNext(now time.Time) {
	f := m.frame
	m.dirty = true
	if len(f.Undo) == 0 {
		f.Step = ""
		m.record(Event{Type: ExecutionCompensated})
		return
	}
	r := f.Undo[len(f.Undo)-1]
	f.Step, f.Entered, f.Attempt, f.Tries, f.Lost = r.Step, now.UnixMilli(), 0, 0, 0
	m.record(Event{Type: CompensationEntered, Step: r.Step, Outcome: r.outcome()})
	at := now
	if notUntil := fromMillis(r.NotUntil); notUntil.After(now) {
		at = notUntil
	}
	m.dispatch(at)
}

func (m *machine) undoAnswer(r result, now time.Time) {
	f, s := m.frame, m.step()
	if r.outcome == Done {
		m.record(Event{Type: CompensationDone, Step: f.Step, Attempt: f.Attempt})
		f.Undo = f.Undo[:len(f.Undo)-1]
		m.undoNext(now)
		return
	}
	m.record(failure(CompensationFailed, f.Step, f.Attempt, r))
	if isPermanent(r.err) || s.UndoRetry.exhausted(f.Tries) {
		m.block(&Cause{Kind: CauseFailed, Step: f.Step, Undo: true, Error: errorText(r.err)})
		return
	}
	m.again(now.Add(s.UndoRetry.delay(f.Tries)))
}

// again dispatches the next attempt, unless the attempts keep killing their
// workers: that is an operator's business, however patient the policy is.
func (m *machine) again(at time.Time) {
	f := m.frame
	if f.Lost >= m.maxLost {
		m.block(&Cause{Kind: CauseCrashes, Step: f.Step, Undo: f.Undoing,
			Error: fmt.Sprintf("%d attempts in a row ended with their worker", f.Lost)})
		return
	}
	m.dispatch(at)
}

func (m *machine) block(why *Cause) {
	m.frame.Blocked, m.frame.Trouble = true, why
	m.record(Event{Type: ExecutionBlocked, Step: why.Step, Error: why.Error})
}

// deadline acts on the saga's own time, if that has run out.
func (m *machine) deadline(now time.Time) {
	f := m.frame
	due := m.due()
	if due.IsZero() || m.status() != Running || now.Before(due) {
		return
	}
	f.Overdue = true
	if m.committed() {
		m.record(Event{Type: ExecutionOverdue, Step: f.Step})
		return
	}
	m.record(Event{Type: ExecutionTimedOut, Step: f.Step})
	m.undo(&Cause{Kind: CauseTimedOut, Step: f.Step}, now)
}

// cancel undoes the saga, unless it is past its pivot or being undone already.
// The dispatched attempt must not be running.
func (m *machine) cancel(by, note string, now time.Time) {
	f := m.frame
	switch {
	case f.Undoing || f.Step == "":
		m.record(Event{Type: CancelRefused, By: by, Note: note, Error: "it is being undone, or has ended, already"})
	case f.Pivoted:
		m.record(Event{Type: CancelRefused, By: by, Note: note, Error: "it is past its point of no return"})
	case m.committed():
		m.record(Event{Type: CancelRefused, By: by, Note: note, Error: "it may be past its point of no return"})
	default:
		m.record(Event{Type: ExecutionAborted, Step: f.Step, By: by, Note: note})
		m.undo(&Cause{Kind: CauseCancelled, By: by, Note: note}, now)
	}
}

// retry gives what is blocked, or waits for its next attempt, a fresh budget of
// tries and dispatches it at once.
func (m *machine) retry(by, note string, now time.Time) {
	f := m.frame
	if m.status().Ended() || !f.Blocked && f.At <= now.UnixMilli() {
		m.record(Event{Type: RetryRefused, By: by, Note: note, Error: "it neither is blocked nor waits for an attempt"})
		return
	}
	f.Blocked, f.Trouble = false, nil
	if f.Attempt > 0 && f.At > now.UnixMilli() {
		f.Attempt-- // the one that waits becomes the one at once
	}
	f.Tries, f.Lost = 0, 0
	f.Entered = now.UnixMilli()
	m.record(Event{Type: ExecutionRedriven, Step: f.Step, By: by, Note: note})
	at := now
	if f.Undoing && len(f.Undo) > 0 {
		if notUntil := fromMillis(f.Undo[len(f.Undo)-1].NotUntil); notUntil.After(now) {
			at = notUntil
		}
	}
	m.dispatch(at)
}

// rebase gives the dispatched attempt, which has not been run, to the opening
// that follows the given epoch's.
func (m *machine) rebase(epoch int64) {
	if m.frame.Step != "" && m.frame.Epoch != epoch {
		m.frame.Epoch = epoch
		m.dirty = true
	}
}
