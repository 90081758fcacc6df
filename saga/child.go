package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Child is a step that runs another saga, as an execution of its own: input
// makes its input of the state, and merge, which may be nil, takes the state
// that it ends with into this saga's. Neither has effects outside. Coordinators
// of this saga run the child too.
//
// The step is done when the child has completed. When this saga is undone then,
// the child is, by its own compensations, in its place among the steps; so all
// steps of a child say how they are undone, the last one too. A child that fails
// undoes itself, and the step has failed with the child's error.
//
// [Step.Timeout] and [Step.Within] bound how long the step waits before it
// cancels the child; there is no bound by default. A step that is tried again
// starts another child. A child with a pivot is a pivot.
//
// A child that has completed, and whose state merge does not take, is undone. Where
// nothing is undone, past the point of no return, the step is blocked then: a retry
// takes the state of the same child once more.
func Child[T, U any](name string, child *Saga[U], input func(state *T) (U, error), merge func(state *T, child U) error) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypeTask}}
	s.fault(input == nil, "it has no function that makes the child's input")
	if child == nil {
		s.fault(true, "its saga is nil")
		return s
	}
	s.fault(child.err != nil, "its saga is not valid: %v", child.err)
	s.state.Child, s.state.child = child.def.name, child.def
	if child.err == nil {
		s.state.Pivot = child.def.pivot() != nil
		if last := child.def.exempt(); last != nil {
			s.fault(true, "its saga %q may be undone when it has ended: say how to undo its last step %q with Undo, or that there is nothing to undo with ReadOnly or Irreversible",
				child.def.name, last.Name)
		}
	}
	if merge != nil {
		s.state.absorb = absorber(merge)
	} else {
		s.state.absorb = func(state, _ []byte) ([]byte, error) { return state, nil }
	}
	if input != nil {
		s.state.request = func(data []byte) (json.RawMessage, error) {
			v, err := decodeInto[T](data)
			if err != nil {
				return nil, err
			}
			u, err := input(v)
			if err != nil {
				return nil, err
			}
			return json.Marshal(u)
		}
	}
	return s
}

// pivot is the definition's point of no return, if it has one.
func (d *Definition) pivot() *State {
	for _, s := range d.root.States {
		if s.Pivot {
			return s
		}
	}
	return nil
}

// exempt is a step that needs no undo in a saga that stands by itself, because
// nothing can fail after it.
func (d *Definition) exempt() *State {
	if d.pivot() != nil {
		return nil // past it nothing is undone
	}
	for _, s := range d.root.States {
		if s.Type == TypeTask && s.Signal == "" && !s.compensable() && !s.ReadOnly && !s.Irreversible {
			return s
		}
	}
	return nil
}

// calls reports whether the state is done by another execution: a child's, or
// that of a part of a Map.
func (s *State) calls() bool { return s.Child != "" || s.part != nil }

// A parentRef is the place that an execution was started from.
type parentRef struct {
	Execution string `json:"x"`
	Frame     string `json:"f,omitempty"`
	Step      string `json:"s"`
	Visit     int    `json:"v,omitempty"`
	// Root is the execution that begins the family, if that is another: with
	// which all of it shares its locks.
	Root string `json:"o,omitempty"`
}

// longestChild bounds the readable form of a child's id, in bytes.
const longestChild = 200

// childID names the execution that a step starts. It follows from the place, so
// that a start that is sent again finds what it started.
func childID(p parentRef, part bool) string {
	place := p.Frame
	if !part { // a part's frame says it all
		if place != "" {
			place += ","
		}
		place += p.Step
	}
	if p.Visit > 1 {
		place += "@" + strconv.Itoa(p.Visit)
	}
	id := p.Execution + "/" + place
	if len(id) <= longestChild {
		return id
	}
	n := longestChild / 2
	for !utf8.RuneStart(id[n]) {
		n--
	}
	return id[:n] + "~" + digest([]byte(id))
}

// A childOrder is what a machine has to say to another execution: a parent to a
// child or, as a report, a child to its parent.
type childOrder struct {
	kind    string // orderStart, or a kind of mail
	place   parentRef
	attempt int             // of the frame that waits for what comes of it; 0: none does
	s       *State          // the calling step
	input   json.RawMessage // of a start
	why     string
	halt    int // of a suspension that is passed on, or its end: its number
}

const orderStart = "start"

// tell has something said to the child of a frame's present step, or of one of
// its undo records.
func (m *machine) tell(f *frame, kind string, s *State, visit int, input json.RawMessage, why string) {
	o := childOrder{kind: kind, place: parentRef{Frame: f.path, Step: s.Name, Visit: max(visit, 1)}, s: s, input: input, why: why}
	switch kind {
	case orderStart, mailUndo, mailCancel:
		o.attempt = f.Attempt
	case mailSuspend, mailResume:
		o.halt = m.root.Halts
	}
	m.orders = append(m.orders, o)
	m.touch(f)
}

// call starts a frame's child, or has it undone.
func (m *machine) call(f *frame, state []byte, now time.Time) {
	s := m.step(f)
	if f.Undoing {
		r := f.Undo[len(f.Undo)-1]
		f.Waiting, f.Calls, f.At, f.Until = true, true, 0, 0
		m.tell(f, mailUndo, s, r.Visit, nil, m.why(f).String())
		return
	}
	var input json.RawMessage
	if err := guard(func() (err error) { input, err = s.request(state); return err }); err != nil {
		err = Named(ErrorRuntime, Permanent(fmt.Errorf("make the child's input: %w", err)))
		m.take(f, result{err: err, outcome: NotDone}, now)
		return
	}
	f.Waiting, f.Calls, f.At, f.Until, f.Stop = true, true, 0, 0, nil
	d := s.Timeout
	if end := f.over(s); !end.IsZero() {
		left := max(end.Sub(now), time.Millisecond)
		if d == 0 || left < d {
			d = left
		}
	}
	if d > 0 {
		f.At = max(toMillis(now.Add(d)), 1)
		f.Until = f.At
	}
	m.root.Children = true
	m.touch(m.root)
	m.tell(f, orderStart, s, f.visit(s.Name), input, "")
}

// halt has the child of a waiting frame undo itself. What comes of that is
// awaited.
func (m *machine) halt(f *frame, why *Cause) {
	if f.Stop != nil {
		return
	}
	f.Stop, f.At = why, 0
	m.tell(f, mailCancel, m.step(f), f.visit(f.Step), nil, why.String())
}

// halting reports whether the frame waits for a child that is to be told when
// it need not go on.
func (m *machine) halting(f *frame) bool { return f.Waiting && !f.Undoing && m.step(f).calls() }

// passOn has the child decide that is the saga's point of no return: it undoes
// itself, unless it is past its own. It reports false where there is none.
func (m *machine) passOn(why *Cause) bool {
	if m.root.Pivoted || m.root.Step == "" || !m.halting(m.root) || !m.step(m.root).Pivot {
		return false
	}
	m.halt(m.root, why)
	return true
}

// A childReport is what a child tells its parent.
type childReport struct {
	Frame  string          `json:"f,omitempty"`
	Step   string          `json:"s"`
	Visit  int             `json:"v,omitempty"`
	Status Status          `json:"u"` // empty: it could not be started
	State  json.RawMessage `json:"d,omitempty"`
	Held   bool            `json:"h,omitempty"` // it can be undone
	Lost   bool            `json:"l,omitempty"` // it is missing, whatever it has done
	Cause  *Cause          `json:"c,omitempty"`
}

// hearChild takes a child's report. One that comes late or twice changes
// nothing.
func (m *machine) hearChild(r *childReport, now time.Time) {
	now = m.clock(now)
	f := m.frameAt(r.Frame)
	if f == nil || f.Step != r.Step || !f.Waiting || !m.step(f).calls() {
		return
	}
	visit := f.visit(f.Step)
	if f.Undoing {
		visit = max(f.Undo[len(f.Undo)-1].Visit, 1)
	}
	if max(r.Visit, 1) != visit {
		return
	}
	if f.Undoing {
		m.hearUndone(f, r, now)
		return
	}
	s, stop := m.step(f), f.Stop
	f.Waiting, f.Calls, f.Stop, f.Lost, f.At = false, false, nil, 0, toMillis(now)
	if r.Status == Completed {
		m.childDone(f, s, r, stop, now)
		return
	}
	if r.Lost { // its undo, which must fail, brings that to an operator
		m.take(f, result{err: Permanent(r.failure(stop)), outcome: Unknown}, now)
		return
	}
	if stop != nil && stop.Kind != CauseFailed && !m.stopping(f) { // what was passed on to it
		m.open(m.root, &scope{Cause: stop}, now)
		return
	}
	m.take(f, result{err: r.failure(stop), outcome: NotDone}, now)
}

// failure is the error of a step whose child did not complete.
func (r *childReport) failure(stop *Cause) error {
	if stop != nil {
		return Named(stop.errorName(), errors.New(stop.Error))
	}
	text := "the child execution is " + string(r.Status)
	if r.Cause != nil {
		text += ": " + r.Cause.String()
	}
	err := errors.New(text)
	if r.Status == "" {
		return Permanent(fmt.Errorf("start the child execution: %s", r.Cause.Error))
	}
	if r.Cause != nil && r.Cause.Name != "" {
		return Named(r.Cause.Name, err)
	}
	return err
}

func (m *machine) childDone(f *frame, s *State, r *childReport, stop *Cause, now time.Time) {
	if stop != nil && s.Pivot && !m.stopping(f) {
		if stop.Kind == CauseTimedOut {
			m.record(f, Event{Type: ExecutionOverdue, Step: s.Name})
		} else {
			m.record(f, Event{Type: CancelRefused, By: stop.By, Note: stop.Note, Error: "its child was past its point of no return"})
		}
	}
	var state []byte
	if err := guard(func() (err error) { state, err = s.absorb(f.State, r.State); return err }); err != nil {
		err = Named(ErrorRuntime, Permanent(fmt.Errorf("take the child's state: %w", err)))
		m.take(f, result{err: err, outcome: m.untaken(s, r.Held)}, now)
		return
	}
	m.take(f, result{outcome: Done, state: state, held: r.Held}, now)
}

// untaken is the outcome of a step whose child has completed, and whose state cannot
// be taken. Unknown has the child undone or, where nothing is, keeps in mind that it
// has completed: a retry takes up what it ended with.
func (m *machine) untaken(s *State, held bool) Outcome {
	if held || s.Pivot || m.root.Pivoted {
		return Unknown
	}
	return NotDone // there is nothing to undo
}

// hearUndone takes the report of a child that was to be undone.
func (m *machine) hearUndone(f *frame, r *childReport, now time.Time) {
	var res result
	switch r.Status {
	case Completed, Running, Blocked, Quarantined:
		return // what it said before
	case Compensated:
		res.outcome = Done
	default:
		res.err = Permanent(fmt.Errorf("the child execution cannot be undone: %w", r.failure(nil)))
		res.outcome = NotDone
	}
	m.unblock(f)
	f.Waiting, f.Calls, f.Lost = false, false, 0
	m.take(f, res, now)
}

// report tells the parent how the execution stands, if it has one.
func (m *machine) report() {
	if m.child {
		m.orders = append(m.orders, childOrder{kind: mailChild})
	}
}

// revert undoes a child that has completed, because its parent is undone.
func (m *machine) revert(by, why string, now time.Time) {
	if !m.root.Held {
		return // it is being undone, or was
	}
	f := m.root
	f.Held, f.Step = false, f.Undo[len(f.Undo)-1].Step
	f.Attempt = 0
	f.certain() // of the last step, which is done
	m.record(f, Event{Type: ExecutionReverted, By: by, Note: why})
	m.open(f, &scope{Cause: &Cause{Kind: CauseReverted, By: by, Note: why}}, m.clock(now))
}

// settle ends a child that has completed: its parent will not undo it.
func (m *machine) settle() {
	if m.root.Held {
		m.root.Held = false
		m.release()
	}
}

// release lets go of everything that could have been undone.
func (m *machine) release() {
	m.touch(m.root)
	if m.root.Children {
		m.root.Settling = true // dismiss has to see what there is
		return
	}
	m.root.Undo = nil
	m.clear()
}

// dismiss tells all children that nothing of them will be undone. Where frames
// must be loaded first, it goes on when they are there.
func (m *machine) dismiss() {
	switch {
	case !m.dismissed(m.root):
		return
	case m.root.Ended != nil:
		m.wipe()
	default:
		m.root.Undo = nil
		m.clear()
	}
	m.root.Settling = false
}

// dismissed does so below a frame, and reports whether it is through.
func (m *machine) dismissed(f *frame) bool {
	if f.Step != "" && m.halting(f) {
		f.Waiting, f.Calls = false, false
		m.tell(f, mailTerminate, m.step(f), f.visit(f.Step), nil, "")
		m.tell(f, mailSettle, m.step(f), f.visit(f.Step), nil, "") // where it completes all the same
	}
	for {
		if f.Fork != nil {
			if !m.loadBelow(f) {
				return false
			}
			for _, kid := range f.kids {
				if kid == nil {
					continue
				}
				if !m.dismissed(kid) {
					return false
				}
				m.keepLast(kid)
			}
			f.Fork, f.kids, f.items = nil, nil, nil
		}
		n := len(f.Undo)
		if n == 0 {
			return true
		}
		r := f.Undo[n-1]
		f.Undo = f.Undo[:n-1]
		m.touch(f)
		if r.Fork != nil {
			f.Fork = r.Fork
		} else if s := m.def.byName[r.Step]; s.calls() {
			m.tell(f, mailSettle, s, r.Visit, nil, "")
		}
	}
}
