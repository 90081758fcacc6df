package store

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound reports that there is no such execution, definition, job or
	// record.
	ErrNotFound = errors.New("not found")

	// ErrGone reports an execution that ended and was purged, while its
	// tombstone still stands: the id cannot be used again yet.
	ErrGone = errors.New("ended and purged")

	// ErrExists reports a start under an id that is taken by an execution of
	// another definition or with another input. A JobSpecError and an
	// AuditExistsError match it.
	ErrExists = errors.New("id is taken by an execution with another definition or input")

	// ErrEnded reports mail for an execution that has ended. A JobEndedError
	// matches it.
	ErrEnded = errors.New("execution has ended")

	// ErrMailboxFull reports that the execution's mailbox has no room; the
	// message should stay where it is and be delivered again later.
	ErrMailboxFull = errors.New("mailbox is full")

	// ErrLeaseLost reports that somebody else has opened the execution or the job
	// since: whatever the caller holds of it is stale.
	ErrLeaseLost = errors.New("lease lost")

	// ErrConflict reports that the chain of commits has gone on without the
	// caller. It never means that an earlier try of the same commit failed. To a
	// job's note it says the same of its notes.
	ErrConflict = errors.New("commit does not follow the last one")

	// ErrInvalid reports a request that no store accepts: the caller's mistake.
	ErrInvalid = errors.New("invalid request")

	// ErrBusy reports that somebody else holds the claim on an idempotency key. A
	// JobHeldError matches it.
	ErrBusy = errors.New("claimed by another receiver")

	// ErrStale reports the claim of an attempt after a higher one was seen.
	ErrStale = errors.New("a later attempt has been seen")

	// ErrReleased reports a request for a lock that was released before: it is
	// over, and its owner needs a new one.
	ErrReleased = errors.New("request for the lock was released before")

	// ErrLate reports a request for a lock that came after its time.
	ErrLate = errors.New("request for the lock came after its time")
)

// HeldError reports that an execution is open elsewhere.
type HeldError struct {
	ID    string
	Until time.Time // the lease's expiry, on the store's clock
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("execution %q is held by another worker", e.ID)
}

// NotDueError reports that an execution has neither mail nor a deadline that
// has come: there is nothing to open it for.
type NotDueError struct {
	ID   string
	Wake time.Time // the next wake-up, on the store's clock
}

func (e *NotDueError) Error() string {
	return fmt.Sprintf("execution %q has nothing due", e.ID)
}

// FormatError reports data in a format that this version of Waybill does not
// know, or partitioned otherwise than configured.
type FormatError struct {
	What string // what was found: a key, an execution, a setting
	Got  string
	Want string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s is %s, want %s", e.What, e.Got, e.Want)
}
