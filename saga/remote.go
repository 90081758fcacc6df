package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// Remote is a step that another service does: a participant, in any language,
// that takes commands from an endpoint and replies. The command carries what
// request makes of the state; complete, which may be nil, takes the reply's
// result into the state. Neither has effects outside.
//
// [Step.Timeout] is how long an attempt waits for its reply, and how long the
// participant may begin it. An attempt that is not replied to in time has an
// [Unknown] outcome, and is retried under the same key.
//
// The step is undone by a command too, to the same endpoint, if it is
// [Step.UndoRemote]; [Step.Undo] is for a compensation of this process. The
// participant refuses an action that comes after the command to undo it. It cannot
// know of a compensation here, which therefore waits for [CoordinatorConfig].Lease
// after the end of an attempt that has an unknown outcome.
func Remote[T, Req, Resp any](name, endpoint string, request func(state *T) (Req, error), complete func(state *T, result Resp) error) *Step[T] {
	s := &Step[T]{state: State{
		Name: name, Type: TypeTask, Remote: endpoint, Timeout: DefaultTimeout, UndoTimeout: DefaultTimeout, Retry: Retry{}.complete(),
	}}
	s.state.decode = canonical[T]
	s.fault(endpoint == "", "it names no endpoint to send its commands to")
	s.fault(request == nil, "it has no function that makes the request")
	s.state.absorb = absorber(complete)
	if request != nil {
		s.state.request = func(data []byte) (json.RawMessage, error) {
			v, err := decodeInto[T](data)
			if err != nil {
				return nil, err
			}
			req, err := request(v)
			if err != nil {
				return nil, err
			}
			return json.Marshal(req)
		}
	}
	return s
}

// UndoRemote lets a [Remote] step be undone by a command to its endpoint, with
// what its request makes of the state that a compensation sees, and the outcome.
func (s *Step[T]) UndoRemote() *Step[T] {
	s.fault(s.state.Remote == "", "UndoRemote belongs to a Remote")
	s.state.UndoRemote = true
	if s.state.UndoRetry == nil {
		s.state.UndoRetry = defaultUndoRetry.complete()
	}
	return s
}

// A command tells a participant what to do: see the package documentation.
type command struct {
	Waybill    int             `json:"waybill"`
	Command    string          `json:"command"` // do or undo
	Key        string          `json:"key"`
	Execution  string          `json:"execution"`
	Definition string          `json:"definition"`
	Frame      string          `json:"frame,omitempty"`
	Step       string          `json:"step"`
	Visit      int             `json:"visit"`
	Attempt    int             `json:"attempt"`
	Undoes     string          `json:"undoes,omitempty"`  // the key of the action that an undo is of
	Outcome    Outcome         `json:"outcome,omitempty"` // of that
	Input      json.RawMessage `json:"input"`
	NotAfter   int64           `json:"notAfter"` // milliseconds since 1970
	ReplyTo    string          `json:"replyTo"`
	Commit     string          `json:"commit"`
	// Locks has the fences of the locks that the execution holds.
	Locks map[string]int64 `json:"locks,omitempty"`

	to    string
	group string
	edits int // of an undo's input
}

const (
	commandDo   = "do"
	commandUndo = "undo"
)

// A replyMessage is a participant's answer.
type replyMessage struct {
	Waybill   int             `json:"waybill"`
	Reply     string          `json:"reply"` // do or undo
	Key       string          `json:"key"`
	Execution string          `json:"execution"`
	Frame     string          `json:"frame,omitempty"`
	Step      string          `json:"step"`
	Visit     int             `json:"visit"`
	Attempt   int             `json:"attempt"`
	Commit    string          `json:"commit,omitempty"`
	Outcome   Outcome         `json:"outcome"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     string          `json:"error,omitempty"` // its name
	Cause     string          `json:"cause,omitempty"`
	Permanent bool            `json:"permanent,omitempty"`
}

func (r *replyMessage) check() error {
	switch {
	case r.Reply != commandDo && r.Reply != commandUndo:
		return fmt.Errorf(`"reply" is %.100q, want "do" or "undo"`, r.Reply)
	case r.Execution == "" || r.Step == "" || r.Visit < 1 || r.Attempt < 1:
		return errors.New(`"execution", "step", "visit" and "attempt" are the command's, and one is missing`)
	case len(r.Step) > store.MaxID || len(r.Commit) > store.MaxID || len(r.Frame) > maxKey || len(r.Key) > maxKey:
		return fmt.Errorf(`"key" and "frame" have at most %d bytes, "step" and "commit" %d, and one has more`, maxKey, store.MaxID)
	case r.Outcome != Done && r.Outcome != NotDone && r.Outcome != Unknown:
		return fmt.Errorf(`"outcome" is %.100q, want %q, %q or %q`, r.Outcome, Done, NotDone, Unknown)
	}
	return nil
}

// remote reports whether the frame's dispatched attempt is a participant's.
// So is what a child does.
func (s *State) remote(undo bool) bool {
	return s.Remote != "" && (!undo || s.UndoRemote) || s.calls()
}

// undoneHere reports whether a participant does the step and this process undoes it.
func (s *State) undoneHere() bool { return s.Remote != "" && !s.UndoRemote && s.UndoRetry != nil }

// send gives the frame's dispatched attempt to its participant: the command goes
// out with the next commit. state is what the attempt works on.
func (m *machine) send(f *frame, state []byte, now time.Time) {
	s := m.step(f)
	if s.calls() {
		m.call(f, state, now)
		return
	}
	c := &command{
		Waybill: messageFormat, Command: commandDo, Frame: f.path, Step: s.Name, Visit: f.visit(s.Name), Attempt: f.Attempt, to: s.Remote,
	}
	d := s.Timeout
	if f.Undoing {
		r := f.Undo[len(f.Undo)-1]
		c.Command, c.Outcome, c.Visit, d = commandUndo, r.outcome(), max(r.Visit, 1), s.UndoTimeout
		c.edits = r.edits()
	} else if end := f.over(s); !end.IsZero() {
		d = max(min(d, end.Sub(now)), time.Millisecond)
	}
	if err := guard(func() (err error) {
		if c.Input, err = s.request(state); err == nil && s.group != nil {
			c.group, err = s.group(state)
		}
		return err
	}); err != nil {
		err = Named(ErrorRuntime, Permanent(fmt.Errorf("make the request: %w", err)))
		m.take(f, result{err: err, outcome: NotDone}, now)
		return
	}
	f.Waiting, f.At = true, max(toMillis(now.Add(d)), 1)
	f.Until = f.At
	c.NotAfter = f.At
	m.commands = append(m.commands, c)
	m.touch(f)
}

// hearReply takes a participant's reply. One that comes late or twice changes
// nothing.
func (m *machine) hearReply(r *replyMessage, now time.Time) {
	now = m.clock(now)
	f := m.frameAt(r.Frame)
	if f == nil || !m.answers(f, r) {
		m.hearLateReply(f, r)
		return
	}
	if f.Undoing && f.superseded(r.Attempt) {
		m.discard(f, fmt.Errorf("the reply %q to attempt %d of the undo of %s, whose input was edited since", r.Outcome, r.Attempt, f.Step))
		return
	}
	s := m.step(f)
	if r.Outcome == Done { // of whichever attempt
		state := f.State
		if !f.Undoing {
			var next []byte
			if err := guard(func() (err error) { next, err = s.absorb(f.State, r.Result); return err }); err != nil {
				err = Named(ErrorRuntime, Permanent(fmt.Errorf("take the reply: %w", err)))
				f.Waiting = false
				m.take(f, result{err: err, outcome: Unknown}, now)
				return
			}
			state = next
		}
		m.unblock(f)
		f.Waiting, f.Lost, f.Sent = false, 0, ""
		m.take(f, result{outcome: Done, state: state}, now)
		return
	}
	if !f.Waiting || r.Attempt != f.Attempt { // another attempt is under way, or to come
		if r.Outcome == NotDone && !f.Undoing {
			m.hearNot(f, r.Attempt)
		}
		return
	}
	f.Waiting, f.Sent = false, ""
	err := error(errors.New(r.Cause))
	if r.Error != "" {
		err = Named(r.Error, err)
	}
	if r.Permanent {
		err = Permanent(err)
	}
	m.take(f, result{err: err, outcome: r.Outcome}, now)
}

// answers reports whether a reply is to what the frame is at.
func (m *machine) answers(f *frame, r *replyMessage) bool {
	if f.Step != r.Step || f.Undoing != (r.Reply == commandUndo) || f.Attempt == 0 || r.Attempt > f.Attempt ||
		!m.step(f).remote(f.Undoing) || m.step(f).calls() {
		return false
	}
	visit := f.visit(f.Step)
	if f.Undoing {
		visit = max(f.Undo[len(f.Undo)-1].Visit, 1)
	}
	return r.Visit == visit
}

// frameAt is the loaded frame of a path.
func (m *machine) frameAt(path string) *frame {
	if f, _ := m.toward(path); f.path == path {
		return f
	}
	return nil
}
