package saga

import "fmt"

// Status is where an execution stands.
type Status string

const (
	// Running executions go forward, or are being undone: see
	// [Execution.Undoing].
	Running Status = "running"
	// Blocked executions wait for an operator, at a compensation that keeps
	// failing or at a step after the point of no return.
	Blocked Status = "blocked"
	// Quarantined executions wait for an operator because a reply has proved that
	// the store has lost a write of theirs: see [Client.Release].
	Quarantined Status = "quarantined"
	// Completed executions came through all their steps.
	Completed Status = "completed"
	// Compensated executions failed, were cancelled or ran out of time, and
	// all that was done has been undone.
	Compensated Status = "compensated"
	// Terminated executions were ended by an operator where they stood. Nothing
	// was undone.
	Terminated Status = "terminated"
)

// Statuses are all of them, in the order of an execution's life.
func Statuses() []Status {
	return []Status{Running, Blocked, Quarantined, Completed, Compensated, Terminated}
}

// Ended reports whether nothing more will happen to the execution.
func (s Status) Ended() bool { return s == Completed || s == Compensated || s == Terminated }

// indexOf names the store's index of a definition's executions in a status.
func indexOf(s Status, definition string) string { return string(s) + ":" + definition }

// Kinds of a Cause.
const (
	// CauseFailed: a step failed for good.
	CauseFailed = "failed"
	// CauseCancelled: somebody cancelled the saga.
	CauseCancelled = "cancelled"
	// CauseTimedOut: the saga ran out of its own time.
	CauseTimedOut = "timed out"
	// CauseTerminated: an operator ended the saga where it stood.
	CauseTerminated = "terminated"
	// CauseReverted: the saga had completed, and its parent was undone.
	CauseReverted = "reverted"
	// CauseCrashes: opening the execution keeps killing its workers.
	CauseCrashes = "crashes"
	// CauseLost: the store has lost a write.
	CauseLost = "lost write"
)

// A Cause tells why an execution left its way forward, or is blocked.
type Cause struct {
	Kind string `json:"kind"`
	Step string `json:"step,omitempty"`
	// Frame is the branch or item that the step is in, as in [StepInfo].Frame.
	Frame string `json:"frame,omitempty"`
	// Name is the error's: see [Named].
	Name  string `json:"name,omitempty"`
	Undo  bool   `json:"undo,omitempty"` // the step's compensation
	Error string `json:"error,omitempty"`
	// By and Note tell who asked for it and why, where somebody did.
	By   string `json:"by,omitempty"`
	Note string `json:"note,omitempty"`
}

func (c *Cause) String() string {
	what := c.Kind
	switch {
	case c.Undo:
		what = fmt.Sprintf("undoing %s %s", c.Step, c.Kind)
	case c.Step != "":
		what = c.Step + " " + c.Kind
	}
	if c.Error != "" {
		what += ": " + c.Error
	}
	if c.Note != "" {
		what += ": " + c.Note
	}
	return what
}
