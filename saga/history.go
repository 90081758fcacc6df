package saga

import (
	"encoding/json"
	"fmt"
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

	snapshot *int
}

// entry is what one commit appends to the history.
type entry struct {
	Time   int64         `json:"t"`
	Events []storedEvent `json:"e"`
}

type storedEvent struct {
	Code     int     `json:"c"`
	Step     string  `json:"s,omitempty"`
	Attempt  int     `json:"a,omitempty"`
	Outcome  Outcome `json:"o,omitempty"`
	Error    string  `json:"x,omitempty"`
	Stack    string  `json:"k,omitempty"`
	By       string  `json:"b,omitempty"`
	Note     string  `json:"n,omitempty"`
	Snapshot *int    `json:"f,omitempty"`
}

func encodeEntry(codec Codec, at time.Time, events []Event) ([]byte, error) {
	e := entry{Time: at.UnixMilli(), Events: make([]storedEvent, len(events))}
	for i, ev := range events {
		e.Events[i] = storedEvent{
			Code: eventCodes[ev.Type], Step: ev.Step, Attempt: ev.Attempt, Outcome: ev.Outcome,
			Error: ev.Error, Stack: ev.Stack, By: ev.By, Note: ev.Note, Snapshot: ev.snapshot,
		}
	}
	return encodeJSON(codec, e)
}

func decodeEntries(codec Codec, entries [][]byte) ([]Event, error) {
	var events []Event
	for i, data := range entries {
		var e entry
		if err := decodeJSON(codec, data, &e); err != nil {
			return nil, fmt.Errorf("history entry %d: %w", i, err)
		}
		for _, ev := range e.Events {
			t, ok := eventTypes[ev.Code]
			if !ok {
				t = EventType(fmt.Sprintf("Unknown(%d)", ev.Code))
			}
			events = append(events, Event{
				ID: len(events) + 1, Time: time.UnixMilli(e.Time), Type: t, Step: ev.Step,
				Attempt: ev.Attempt, Outcome: ev.Outcome, Error: ev.Error, Stack: ev.Stack,
				By: ev.By, Note: ev.Note, snapshot: ev.Snapshot,
			})
		}
	}
	return events, nil
}
