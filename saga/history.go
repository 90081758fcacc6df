package saga

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// EventType is a type of history event. Where Step Functions has an event of
// that meaning, it has that name.
type EventType string

const (
	ExecutionStarted   EventType = "ExecutionStarted"
	TaskStateEntered   EventType = "TaskStateEntered"
	TaskScheduled      EventType = "TaskScheduled"
	TaskSucceeded      EventType = "TaskSucceeded"
	TaskFailed         EventType = "TaskFailed"
	TaskTimedOut       EventType = "TaskTimedOut"
	TaskStateExited    EventType = "TaskStateExited"
	ExecutionSucceeded EventType = "ExecutionSucceeded"
	ExecutionFailed    EventType = "ExecutionFailed"         // undoing begins: a step failed
	ExecutionAborted   EventType = "ExecutionAborted"        // undoing begins: cancelled
	ExecutionTimedOut  EventType = "ExecutionTimedOut"       // undoing begins: out of time
	ExecutionRedriven  EventType = "ExecutionRedriven"       // an operator's retry
	TaskEdited         EventType = "TaskInputEdited"         // an operator's retry,
	CompensationEdited EventType = "CompensationInputEdited" // with another input
	// TaskHeardLate: what came of an action that was taken for unknown.
	TaskHeardLate EventType = "TaskHeardLate"
	// TaskDoneLate: a participant has done an action whose compensation had begun
	// here, or was over. Somebody has to see what there is.
	TaskDoneLate EventType = "TaskDoneLate"
	// ExecutionQuarantined: a reply has proved that the store has lost a write.
	ExecutionQuarantined EventType = "ExecutionQuarantined"
	ExecutionReleased    EventType = "ExecutionReleased" // by an operator
	// TaskAborted: a handler was at work when an operator ended the execution.
	TaskAborted            EventType = "TaskStateAborted"
	CompensationEntered    EventType = "CompensationStateEntered"
	CompensationTried      EventType = "CompensationScheduled"
	CompensationDone       EventType = "CompensationSucceeded"
	CompensationFailed     EventType = "CompensationFailed"
	ExecutionCompensated   EventType = "ExecutionCompensated"
	ExecutionBlocked       EventType = "ExecutionBlocked"
	CancelRefused          EventType = "CancelRefused"
	RetryRefused           EventType = "RetryRefused"
	ExecutionOverdue       EventType = "ExecutionOverdue"
	MailDiscarded          EventType = "MailDiscarded"
	ChoiceStateEntered     EventType = "ChoiceStateEntered"
	ChoiceStateExited      EventType = "ChoiceStateExited"
	PassStateEntered       EventType = "PassStateEntered"
	PassStateExited        EventType = "PassStateExited"
	WaitStateEntered       EventType = "WaitStateEntered"
	WaitStateExited        EventType = "WaitStateExited"
	SucceedStateEntered    EventType = "SucceedStateEntered"
	SucceedStateExited     EventType = "SucceedStateExited"
	FailStateEntered       EventType = "FailStateEntered"
	ParallelStateEntered   EventType = "ParallelStateEntered"
	ParallelStateStarted   EventType = "ParallelStateStarted"
	ParallelStateSucceeded EventType = "ParallelStateSucceeded"
	ParallelStateFailed    EventType = "ParallelStateFailed"
	ParallelStateExited    EventType = "ParallelStateExited"
	MapStateEntered        EventType = "MapStateEntered"
	MapStateStarted        EventType = "MapStateStarted"
	MapStateSucceeded      EventType = "MapStateSucceeded"
	MapStateFailed         EventType = "MapStateFailed"
	MapStateExited         EventType = "MapStateExited"
	MapIterationStarted    EventType = "MapIterationStarted"
	MapIterationSucceeded  EventType = "MapIterationSucceeded"
	MapIterationFailed     EventType = "MapIterationFailed"
	ErrorCaught            EventType = "ErrorCaught"   // undone, and goes on at Next
	TaskSubmitted          EventType = "TaskSubmitted" // the token of a callback is handed over
	SignalReceived         EventType = "SignalReceived"
	TaskSkipped            EventType = "TaskSkipped" // an operator has seen to it
	CompensationSkipped    EventType = "CompensationSkipped"
	ExecutionTerminated    EventType = "ExecutionTerminated" // and nothing was undone
	ExecutionSuspended     EventType = "ExecutionSuspended"
	ExecutionResumed       EventType = "ExecutionResumed"
	OrderRefused           EventType = "OrderRefused"
	ExecutionReverted      EventType = "ExecutionReverted" // a child's undoing begins: its parent is undone
	LockRequested          EventType = "LockRequested"
	LockAcquired           EventType = "LockAcquired"
	LockTimedOut           EventType = "LockTimedOut"
	LockBroken             EventType = "LockBroken" // an operator gave it to the next
)

// Events of the types of states.
var (
	enteredTypes = map[StateType]EventType{
		TypeTask: TaskStateEntered, TypeChoice: ChoiceStateEntered, TypeWait: WaitStateEntered,
		TypePass: PassStateEntered, TypeSucceed: SucceedStateEntered, TypeFail: FailStateEntered,
		TypeParallel: ParallelStateEntered, TypeMap: MapStateEntered,
	}
	startedTypes   = map[StateType]EventType{TypeParallel: ParallelStateStarted, TypeMap: MapStateStarted}
	succeededTypes = map[StateType]EventType{TypeParallel: ParallelStateSucceeded, TypeMap: MapStateSucceeded}
	failedTypes    = map[StateType]EventType{TypeParallel: ParallelStateFailed, TypeMap: MapStateFailed}
	exitedTypes    = map[StateType]EventType{TypeParallel: ParallelStateExited, TypeMap: MapStateExited}
)

// codes lists the types by the numbers under which they are stored, from 1 on.
// They are part of the format: none is ever given a new meaning.
var codes = []EventType{
	ExecutionStarted, TaskStateEntered, TaskScheduled, TaskSucceeded, TaskFailed, TaskTimedOut, TaskStateExited,
	ExecutionSucceeded, ExecutionFailed, ExecutionAborted, ExecutionTimedOut, ExecutionRedriven,
	CompensationEntered, CompensationTried, CompensationDone, CompensationFailed, ExecutionCompensated,
	ExecutionBlocked, CancelRefused, RetryRefused, ExecutionOverdue, MailDiscarded,
	ChoiceStateEntered, ChoiceStateExited, PassStateEntered, PassStateExited, WaitStateEntered, WaitStateExited,
	SucceedStateEntered, SucceedStateExited, FailStateEntered,
	ParallelStateEntered, ParallelStateStarted, ParallelStateSucceeded, ParallelStateFailed, ParallelStateExited,
	MapStateEntered, MapStateStarted, MapStateSucceeded, MapStateFailed, MapStateExited,
	MapIterationStarted, MapIterationSucceeded, MapIterationFailed, ErrorCaught,
	TaskSubmitted, SignalReceived,
	TaskSkipped, CompensationSkipped, ExecutionTerminated, ExecutionSuspended, ExecutionResumed, OrderRefused,
	ExecutionReverted, TaskEdited, CompensationEdited, TaskHeardLate,
	LockRequested, LockAcquired, LockTimedOut, LockBroken, TaskAborted, TaskDoneLate,
	ExecutionQuarantined, ExecutionReleased,
}

var eventCodes = func() map[EventType]int {
	m := make(map[EventType]int, len(codes))
	for i, t := range codes {
		m[t] = i + 1
	}
	return m
}()

// An Event is one line of an execution's history.
type Event struct {
	ID   int       `json:"id"` // from 1 on
	Time time.Time `json:"time"`
	Type EventType `json:"type"`
	// Frame is the branch or item, as in [StepInfo].Frame.
	Frame   string  `json:"frame,omitempty"`
	Step    string  `json:"step,omitempty"`
	Next    string  `json:"next,omitempty"` // with ErrorCaught
	Attempt int     `json:"attempt,omitempty"`
	Outcome Outcome `json:"outcome,omitempty"`
	// Name is the error's, where an attempt has failed: see [Named].
	Name  string `json:"name,omitempty"`
	Error string `json:"error,omitempty"`
	Stack string `json:"stack,omitempty"`
	Lock  string `json:"lock,omitempty"` // its name and key
	Fence int64  `json:"fence,omitempty"`
	By    string `json:"by,omitempty"`
	Note  string `json:"note,omitempty"`
	// State is the state: with ExecutionStarted the execution's input, with
	// TaskStateExited and its like the state of the frame after the step, and with
	// TaskInputEdited and CompensationInputEdited the new input.
	State json.RawMessage `json:"state,omitempty"`

	changed bool // the state, with TaskStateExited
}

// exits reports whether the event has the state after a step.
func (e *Event) exits() bool {
	switch e.Type {
	case TaskSubmitted, TaskEdited, TaskStateExited, PassStateExited, ParallelStateExited, MapStateExited:
		return true
	}
	return false
}

// entry is what one commit appends to the history.
type entry struct {
	Time   int64         `json:"t"` // 0: when the execution was started
	Events []storedEvent `json:"e"`
	// Replaced is the root's state that the commit replaced, unless it was the
	// input; Others are further ones, and those of other frames, by path.
	Replaced json.RawMessage              `json:"d,omitempty"`
	Others   map[string][]json.RawMessage `json:"f,omitempty"`
}

// states are the states of a frame that the commit replaced, in order.
func (e entry) states(path string) []json.RawMessage {
	states := e.Others[path]
	if path == "" && e.Replaced != nil {
		states = append([]json.RawMessage{e.Replaced}, states...)
	}
	return states
}

type storedEvent struct {
	Code    int     `json:"c"`
	Frame   string  `json:"f,omitempty"`
	Step    string  `json:"s,omitempty"`
	Next    string  `json:"w,omitempty"`
	Attempt int     `json:"a,omitempty"`
	Outcome Outcome `json:"o,omitempty"`
	Name    string  `json:"m,omitempty"` // of the error
	Error   string  `json:"x,omitempty"`
	Stack   string  `json:"k,omitempty"`
	Lock    string  `json:"l,omitempty"`
	Fence   int64   `json:"z,omitempty"`
	By      string  `json:"b,omitempty"`
	Note    string  `json:"n,omitempty"`
	Changed bool    `json:"g,omitempty"`
	// Input is that of a compensation, as an operator has edited it.
	Input json.RawMessage `json:"i,omitempty"`
}

// A pair of events that mostly come together is stored as one, under a code of
// its own. What only one of the two can have belongs to the pair.
type pair struct {
	first, second EventType
	attempt       int // of the second
	code          int
}

var pairs = []pair{
	{TaskStateEntered, TaskScheduled, 1, 101},
	{TaskSucceeded, TaskStateExited, 0, 102},
	{CompensationEntered, CompensationTried, 1, 103},
}

// fits reports whether two events are a pair that loses nothing as one: the
// first attempt of a step, or its last.
func (p pair) fits(first, second *Event) bool {
	return first.Type == p.first && second.Type == p.second && first.Step == second.Step && first.Frame == second.Frame &&
		second.Attempt == p.attempt && !first.changed && (!second.changed || second.exits()) &&
		second.Next == "" && second.Outcome == "" && second.Name == "" && second.Error == "" && second.Stack == "" &&
		second.Lock == "" && second.Fence == 0 && second.By == "" && second.Note == ""
}

// blankEntries are entries to be encoded, for the memory of their events.
var blankEntries = sync.Pool{New: func() any { return new(entry) }}

func encodeEntry(codec Codec, at time.Time, events []Event, replaced map[string][]json.RawMessage) ([]byte, error) {
	e := blankEntries.Get().(*entry)
	defer func() {
		clear(e.Events)
		*e = entry{Events: e.Events[:0]}
		blankEntries.Put(e)
	}()
	e.Time = toMillis(at)
	for path, states := range replaced {
		if path == "" {
			e.Replaced, states = states[0], states[1:]
		}
		if len(states) > 0 {
			if e.Others == nil {
				e.Others = make(map[string][]json.RawMessage)
			}
			e.Others[path] = states
		}
	}
	for i := 0; i < len(events); i++ {
		ev := &events[i]
		stored := storedEvent{
			Code: eventCodes[ev.Type], Frame: ev.Frame, Step: ev.Step, Next: ev.Next, Attempt: ev.Attempt, Outcome: ev.Outcome,
			Name: ev.Name, Error: ev.Error, Stack: ev.Stack, Lock: ev.Lock, Fence: ev.Fence, By: ev.By, Note: ev.Note, Changed: ev.changed,
		}
		if ev.Type == CompensationEdited {
			stored.Input = ev.State
		}
		if i+1 < len(events) {
			for _, p := range pairs {
				if p.fits(ev, &events[i+1]) {
					stored.Code, stored.Changed = p.code, events[i+1].changed
					i++
					break
				}
			}
		}
		e.Events = append(e.Events, stored)
	}
	return encodeJSON(codec, e)
}

func decodeEntry(codec Codec, data []byte) (entry, error) {
	var e entry
	err := decodeJSON(codec, data, &e)
	return e, err
}

// decodeEntries returns the events of all entries, with the states that the
// frames went through. The root began with the input, and present are the states
// of the frames that are left.
func decodeEntries(codec Codec, entries [][]byte, input json.RawMessage, present map[string]json.RawMessage) ([]Event, error) {
	var events []Event
	// By path, events after which the state was one that is not known yet.
	pending := make(map[string][]int)
	settle := func(path string, state json.RawMessage) {
		for _, i := range pending[path] {
			events[i].State = state
		}
		delete(pending, path)
	}
	changed := false // the root's state is no longer the input
	for i, data := range entries {
		e, err := decodeEntry(codec, data)
		if err != nil {
			return nil, fmt.Errorf("history entry %d: %w", i, err)
		}
		next := make(map[string]int)
		replace := func(path string) bool {
			states := e.states(path)
			if next[path] >= len(states) {
				return false
			}
			settle(path, states[next[path]])
			next[path]++
			return true
		}
		for _, stored := range e.Events {
			for _, ev := range stored.events() {
				ev.ID, ev.Time = len(events)+1, fromMillis(e.Time)
				if ev.Type == ExecutionStarted {
					ev.State = input
				}
				if ev.changed {
					if ev.Frame != "" || changed {
						replace(ev.Frame)
					} else {
						settle("", input)
					}
					changed = changed || ev.Frame == ""
				}
				if ev.exits() {
					pending[ev.Frame] = append(pending[ev.Frame], len(events))
				}
				events = append(events, ev)
			}
		}
		for path := range e.Others {
			for replace(path) {
			}
		}
	}
	if !changed {
		settle("", input)
	}
	for path, state := range present {
		settle(path, state)
	}
	return events, nil
}

// events returns the one or two events that are stored as one.
func (s storedEvent) events() []Event {
	ev := Event{
		Frame: s.Frame, Step: s.Step, Next: s.Next, Attempt: s.Attempt, Outcome: s.Outcome, Name: s.Name, Error: s.Error,
		Stack: s.Stack, Lock: s.Lock, Fence: s.Fence, By: s.By, Note: s.Note, State: s.Input, changed: s.Changed,
	}
	for _, p := range pairs {
		if p.code != s.Code {
			continue
		}
		second := Event{Type: p.second, Frame: s.Frame, Step: s.Step, Attempt: p.attempt, changed: s.Changed}
		ev.Type, ev.changed = p.first, false
		return []Event{ev, second}
	}
	ev.Type = EventType(fmt.Sprintf("Unknown(%d)", s.Code)) // of a later release
	if s.Code > 0 && s.Code <= len(codes) {
		ev.Type = codes[s.Code-1]
	}
	return []Event{ev}
}
