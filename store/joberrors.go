package store

import (
	"fmt"
	"time"
)

// JobHeldError reports that somebody else holds the lease on a subject. It
// matches ErrBusy.
type JobHeldError struct {
	Subject string
	ID      string // of the job
	Owner   string
	Since   time.Time
	Until   time.Time // the lease's expiry, on the store's clock
}

func (e *JobHeldError) Error() string {
	return fmt.Sprintf("%q is held by %q for job %q", e.Subject, e.Owner, e.ID)
}

// Is reports whether the error is of a kind.
func (e *JobHeldError) Is(kind error) bool { return kind == ErrBusy }

// JobOpenError reports that a subject has another job that has not ended, and
// that nobody holds: it has to be resumed or cancelled first, because its journal
// may tell of items in hand.
type JobOpenError struct {
	Subject string
	ID      string // of the job that has not ended
	Owner   string // of its last opening
	Since   time.Time
}

func (e *JobOpenError) Error() string {
	return fmt.Sprintf("%q has job %q, which has not ended: resume or cancel it first", e.Subject, e.ID)
}

// JobEndedError reports that a job has ended. It matches ErrEnded.
type JobEndedError struct {
	Subject, ID string
	Status      string
	Ended       time.Time
}

func (e *JobEndedError) Error() string {
	return fmt.Sprintf("job %q of %q has ended", e.ID, e.Subject)
}

// Is reports whether the error is of a kind.
func (e *JobEndedError) Is(kind error) bool { return kind == ErrEnded }

// JobSpecError reports that a job is to go on with another spec than it was made
// with. It matches ErrExists.
type JobSpecError struct {
	Subject, ID string
}

func (e *JobSpecError) Error() string {
	return fmt.Sprintf("job %q of %q was made with another spec", e.ID, e.Subject)
}

// Is reports whether the error is of a kind.
func (e *JobSpecError) Is(kind error) bool { return kind == ErrExists }

// JobEntriesError reports that a job cannot end, because its journal has entries.
type JobEntriesError struct {
	Subject, ID string
	Entries     int64
}

func (e *JobEntriesError) Error() string {
	return fmt.Sprintf("job %q of %q has %d items in hand, and cannot end", e.ID, e.Subject, e.Entries)
}

// AuditExistsError reports an audit record, or a page of its items, that is there
// already and says something else. It matches ErrExists.
type AuditExistsError struct {
	Subject, ID string
	Page        int // -1 for the record itself
}

func (e *AuditExistsError) Error() string {
	if e.Page < 0 {
		return fmt.Sprintf("audit record %q of %q is there already, and says something else", e.ID, e.Subject)
	}
	return fmt.Sprintf("page %d of audit record %q of %q is there already, and says something else", e.Page, e.ID, e.Subject)
}

// Is reports whether the error is of a kind.
func (e *AuditExistsError) Is(kind error) bool { return kind == ErrExists }
