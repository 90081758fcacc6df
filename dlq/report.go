package dlq

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A Report is what became of a redrive.
type Report struct {
	// ID is the job's id, Queue the name of the dead-letter queue.
	ID    string `json:"id"`
	Queue string `json:"queue"`

	// DryRun says that nothing was to be sent. Then Sent is 0, WouldSend counts
	// the messages that would have been, and Destinations where to.
	DryRun    bool `json:"dry_run"`
	WouldSend int  `json:"would_send"`

	// Snapshot is how many messages the queue said it held at the start.
	// Remaining is what it says at the end. SQS calls both approximate.
	Snapshot  int `json:"snapshot"`
	Remaining int `json:"remaining"`

	// Seen counts the messages of the snapshot that were looked at, and
	// Matched those that the filter chose and the limit allowed. NotReached is
	// how many were left when the job ended early, because messages that came
	// meanwhile were in its way, or the queue deleted them for their age as the
	// Warning said.
	Seen       int `json:"seen"`
	Matched    int `json:"matched"`
	NotReached int `json:"not_reached"`

	// Sent counts the messages that a destination accepted, by destination in
	// Destinations. Deleted counts those that were then deleted from the
	// dead-letter queue.
	Sent         int            `json:"sent"`
	Deleted      int            `json:"deleted"`
	Destinations map[string]int `json:"destinations"`

	// Outside counts the messages that Since and Until leave out.
	Outside int `json:"outside"`

	// Filtered counts the messages that the filter did not choose, and
	// FilterErrors those among them that it did not fit; FilterError is the
	// first such error. Skipped counts those that Edit skipped, and Beyond
	// those beyond the limit.
	Filtered     int    `json:"filtered"`
	FilterErrors int    `json:"filter_errors"`
	FilterError  string `json:"filter_error,omitempty"`
	Skipped      int    `json:"skipped"`
	Beyond       int    `json:"beyond"`

	// Edited counts the messages among Matched that Edit changed. Diffs has the
	// differences of the first of them, if Options.Diffs asked a dry run for
	// them.
	Edited int    `json:"edited"`
	Diffs  []Diff `json:"diffs,omitempty"`

	// CameBack counts the messages that this job had sent and that failed
	// again while it ran, Newer those that failed first after it began. Both
	// stay where they are.
	CameBack int `json:"came_back"`
	Newer    int `json:"newer"`

	// Canary is what became of the first messages, where Options has a Canary. They
	// are among Sent.
	Canary *CanaryReport `json:"canary,omitempty"`

	// Unmarked counts the messages among Sent whose ten attributes left no
	// room for the marks of the redrive.
	Unmarked int `json:"unmarked"`

	// Unkept counts the messages among Sent, or among WouldSend, whose payload is
	// in a queue.PayloadStore, and keeps the time that it had, for want of
	// Config.Payloads.
	Unkept int `json:"unkept"`

	// Failed counts the messages that could not be redriven, and Failures
	// says why, for the first 1,000 of them.
	Failed   int       `json:"failed"`
	Failures []Failure `json:"failures,omitempty"`

	// Warning says that the queue may delete messages for their age before the
	// job reaches them: its Rate is too low. It is empty if there is no danger,
	// or none that is known.
	Warning string `json:"warning,omitempty"`

	// Expired counts the messages that the queue deleted for their age while
	// the job held them, and that it had not sent: they are lost.
	Expired int `json:"expired"`

	// Limit is that of the job, or 0. WaitingUntil is until when, at the latest,
	// a job that was resumed waits for messages that it may find hidden by the
	// process before; it is zero while there are others.
	Limit        int       `json:"limit,omitempty"`
	WaitingUntil time.Time `json:"waiting_until,omitzero"`

	// Started and Ended are local times.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
}

// maxFailures bounds the failures that a report lists.
const maxFailures = 1000

func (r *Report) fail(f Failure) {
	r.Failed++
	if len(r.Failures) < maxFailures {
		f.Error = f.Err.Error()
		r.Failures = append(r.Failures, f)
	}
}

func (r *Report) clone() Report {
	c := *r
	c.Destinations = maps.Clone(r.Destinations)
	c.Failures = slices.Clone(r.Failures)
	c.Diffs = slices.Clone(r.Diffs)
	if r.Canary != nil {
		canary := *r.Canary
		c.Canary = &canary
	}
	return c
}

// A Stage is where the redrive of a message failed.
type Stage string

const (
	// StageSource: where to send it is not known, or not to be trusted.
	StageSource Stage = "source"

	// StageEdit: Options.Edit failed.
	StageEdit Stage = "edit"

	// StagePayload: its payload is not in the store, or could not be kept
	// there, so it was not sent. It is still in the dead-letter queue.
	StagePayload Stage = "payload"

	// StageSend: it was not sent, or, if Unknown, may have been. It is still
	// in the dead-letter queue.
	StageSend Stage = "send"

	// StageKeep: it could not be kept elsewhere as it is, and so is not deleted.
	StageKeep Stage = "keep"

	// StageDelete: it was sent, and is still in the dead-letter queue. The
	// next redrive sends it again, with the same id.
	StageDelete Stage = "delete"

	// StageHold: it could not be kept hidden until it was its turn. It is
	// still in the dead-letter queue.
	StageHold Stage = "hold"
)

// A Failure is a message that was not redriven, or not entirely.
type Failure struct {
	// ID is the message's own id, MessageID SQS's in the dead-letter queue.
	ID        string `json:"id"`
	MessageID string `json:"message_id"`

	Stage Stage `json:"stage"`

	// Unknown says that the message may have been sent: the answer was lost.
	Unknown bool `json:"unknown,omitempty"`

	// Expired says that the message is lost: the dead-letter queue has deleted
	// it for its age while the job held it.
	Expired bool `json:"expired,omitempty"`

	// Err is the reason, and Error its text.
	Err   error  `json:"-"`
	Error string `json:"error"`
}

// ErrNoSource: a message does not tell where it came from, or names a queue that
// the dead-letter queue does not belong to.
var ErrNoSource = errors.New("no source to go back to")

// A PartialError says that some messages could not be redriven, or were not
// reached. They are still in the dead-letter queue, but for those that have
// Expired: the same redrive, run again, takes them up. It matches the errors of
// the messages that its Report lists.
type PartialError struct {
	Report Report
}

func (e *PartialError) Error() string {
	r := e.Report
	text := fmt.Sprintf("dlq: redrive %s of %q: %d of %d messages failed", r.ID, r.Queue, r.Failed, r.Matched)
	if r.NotReached > 0 {
		text += fmt.Sprintf("; %d messages were not reached, because %d came in meanwhile", r.NotReached, r.CameBack+r.Newer)
		if r.Warning != "" {
			text += " or the queue has deleted them for their age"
		}
	}
	if r.Expired > 0 {
		text += fmt.Sprintf("; lost, because the queue deleted them for their age: %d", r.Expired)
	}
	if len(r.Failures) > 0 {
		f := r.Failures[0]
		text += fmt.Sprintf("; message %s (%s): %s", f.ID, f.Stage, f.Error)
	}
	if r.Failed > 1 {
		text += fmt.Sprintf("; and %d more", r.Failed-1)
	}
	return text
}

// Unwrap returns the errors of the messages.
func (e *PartialError) Unwrap() []error { return causes(e.Report.Failures) }

// causes returns the errors of failures.
func causes(failures []Failure) []error {
	errs := make([]error, len(failures))
	for i, f := range failures {
		errs[i] = f.Err
	}
	return errs
}
