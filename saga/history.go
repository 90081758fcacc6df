package saga

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// EventType is a type of history event. Where Step Functions has an event of
// that meaning, it has that name.
type EventType string

const (
	ExecutionStarted     EventType = "ExecutionStarted"
	TaskStateEntered     EventType = "TaskStateEntered"
	TaskScheduled        EventType = "TaskScheduled"
	TaskSucceeded        EventType = "TaskSucceeded"
	TaskFailed           EventType = "TaskFailed"
	TaskTimedOut         EventType = "TaskTimedOut"
	TaskStateExited      EventType = "TaskStateExited"
	ExecutionSucceeded   EventType = "ExecutionSucceeded"
	ExecutionFailed      EventType = "ExecutionFailed"   // undoing begins: a step failed
	ExecutionAborted     EventType = "ExecutionAborted"  // undoing begins: cancelled
	ExecutionTimedOut    EventType = "ExecutionTimedOut" // undoing begins: out of time
	ExecutionRedriven    EventType = "ExecutionRedriven" // an operator's retry
	CompensationEntered  EventType = "CompensationStateEntered"
	CompensationTried    EventType = "CompensationScheduled"
	CompensationDone     EventType = "CompensationSucceeded"
	CompensationFailed   EventType = "CompensationFailed"
	ExecutionCompensated EventType = "ExecutionCompensated"
	ExecutionBlocked     EventType = "ExecutionBlocked"
	CancelRefused        EventType = "CancelRefused"
	RetryRefused         EventType = "RetryRefused"
	ExecutionOverdue     EventType = "ExecutionOverdue"
	MailDiscarded        EventType = "MailDiscarded"
)

// eventCodes are the numbers under which events are stored. They are part of
// the format: none is ever given a new meaning.
var eventCodes = map[EventType]int{
	ExecutionStarted: 1, TaskStateEntered: 2, TaskScheduled: 3, TaskSucceeded: 4,
	TaskFailed: 5, TaskTimedOut: 6, TaskStateExited: 7, ExecutionSucceeded: 8,
	ExecutionFailed: 9, ExecutionAborted: 10, ExecutionTimedOut: 11,
	ExecutionRedriven: 12, CompensationEntered: 13, CompensationTried: 14,
	CompensationDone: 15, CompensationFailed: 16, ExecutionCompensated: 17,
	ExecutionBlocked: 18, CancelRefused: 19, RetryRefused: 20,
	ExecutionOverdue: 21, MailDiscarded: 22,
}

var eventTypes = func() map[int]EventType {
	types := make(map[int]EventType, len(eventCodes))
	for t, code := range eventCodes {
		types[code] = t
	}
	return types
}()

// An Event is one line of an execution's history.
type Event struct {
	ID      int       `json:"id"` // from 1 on
	Time    time.Time `json:"time"`
	Type    EventType `json:"type"`
	Step    string    `json:"step,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
	Outcome Outcome   `json:"outcome,omitempty"`
	Error   string    `json:"error,omitempty"`
	Stack   string    `json:"stack,omitempty"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`
	// State is the execution's state: with ExecutionStarted its input, with
	// TaskStateExited the state after the step.
	State json.RawMessage `json:"state,omitempty"`

	changed bool // the state, with TaskStateExited
}

// entry is what one commit appends to the history.
type entry struct {
	Time   int64         `json:"t"` // 0: when the execution was started
	Events []storedEvent `json:"e"`
	// Replaced is the state that the commit replaced, unless it was the input.
	Replaced json.RawMessage `json:"d,omitempty"`
}

type storedEvent struct {
	Code    int     `json:"c"`
	Step    string  `json:"s,omitempty"`
	Attempt int     `json:"a,omitempty"`
	Outcome Outcome `json:"o,omitempty"`
	Error   string  `json:"x,omitempty"`
	Stack   string  `json:"k,omitempty"`
	By      string  `json:"b,omitempty"`
	Note    string  `json:"n,omitempty"`
	Changed bool    `json:"g,omitempty"`
}

// A pair of events that mostly come together is stored as one, under a code of
// its own. What only one of the two can have belongs to the pair.
type pair struct {
	first, second EventType
	code          int
}

var pairs = []pair{
	{TaskStateEntered, TaskScheduled, 101},
	{TaskSucceeded, TaskStateExited, 102},
	{CompensationEntered, CompensationTried, 103},
}

// fits reports whether two events are a pair that loses nothing as one: the
// first attempt of a step, or its last.
func (p pair) fits(first, second Event) bool {
	if first.Type != p.first || second.Type != p.second || first.Step != second.Step {
		return false
	}
	plain := Event{Type: second.Type, Step: second.Step, Attempt: second.Attempt, changed: second.changed}
	return p.second == TaskStateExited && equalEvents(second, plain) ||
		second.Attempt == 1 && equalEvents(second, plain)
}

func equalEvents(a, b Event) bool {
	a.State, b.State = nil, nil
	return reflect.DeepEqual(a, b)
}

func encodeEntry(codec Codec, at time.Time, events []Event, replaced []byte) ([]byte, error) {
	e := entry{Time: toMillis(at), Events: make([]storedEvent, 0, len(events)), Replaced: replaced}
	for i := 0; i < len(events); i++ {
		ev := events[i]
		stored := storedEvent{
			Code: eventCodes[ev.Type], Step: ev.Step, Attempt: ev.Attempt, Outcome: ev.Outcome,
			Error: ev.Error, Stack: ev.Stack, By: ev.By, Note: ev.Note, Changed: ev.changed,
		}
		if i+1 < len(events) {
			for _, p := range pairs {
				if p.fits(ev, events[i+1]) {
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
// execution went through. It began with the input, and the present state is the
// last.
func decodeEntries(codec Codec, entries [][]byte, input, present json.RawMessage) ([]Event, error) {
	var events []Event
	var exits []int // events after which the state was one that is not known yet
	for i, data := range entries {
		e, err := decodeEntry(codec, data)
		if err != nil {
			return nil, fmt.Errorf("history entry %d: %w", i, err)
		}
		if e.Replaced != nil {
			settle(events, exits, e.Replaced)
			exits = exits[:0]
		}
		for _, stored := range e.Events {
			for _, ev := range stored.events() {
				ev.ID, ev.Time = len(events)+1, fromMillis(e.Time)
				switch {
				case ev.Type == ExecutionStarted:
					ev.State = input
				case ev.changed, ev.Type == TaskStateExited && len(exits) > 0:
					exits = append(exits, len(events))
				case ev.Type == TaskStateExited:
					ev.State = input // nothing has changed it yet
				}
				events = append(events, ev)
			}
		}
	}
	settle(events, exits, present)
	return events, nil
}

func settle(events []Event, exits []int, state json.RawMessage) {
	for _, i := range exits {
		events[i].State = state
	}
}

// events returns the one or two events that are stored as one.
func (s storedEvent) events() []Event {
	ev := Event{
		Step: s.Step, Attempt: s.Attempt, Outcome: s.Outcome, Error: s.Error, Stack: s.Stack,
		By: s.By, Note: s.Note, changed: s.Changed,
	}
	for _, p := range pairs {
		if p.code != s.Code {
			continue
		}
		second := Event{Type: p.second, Step: s.Step, Attempt: 1}
		if p.second == TaskStateExited {
			second.Attempt, second.changed = 0, s.Changed
		}
		ev.Type, ev.changed = p.first, false
		return []Event{ev, second}
	}
	t, ok := eventTypes[s.Code]
	if !ok {
		t = EventType(fmt.Sprintf("Unknown(%d)", s.Code))
	}
	ev.Type = t
	return []Event{ev}
}
