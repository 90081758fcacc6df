package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A Job is a redrive, or other work that holds a queue's lease, as Config.Jobs has
// it.
type Job struct {
	// ID names the job, Queue is the dead-letter queue's name, and Subject its ARN.
	ID      string `json:"id"`
	Queue   string `json:"queue"`
	Subject string `json:"subject"`

	State JobState `json:"state"`

	// Status says how it was closed last: done, done in part, failed, interrupted
	// or cancelled. It is empty while somebody works on it.
	Status string `json:"status,omitempty"`

	// Owner is who works on it, or did last, since when, and LeaseUntil until
	// when nobody else can.
	Owner      string    `json:"owner"`
	Since      time.Time `json:"since"`
	LeaseUntil time.Time `json:"lease_until,omitzero"`

	Created time.Time `json:"created"`
	Noted   time.Time `json:"noted"` // when it was last heard of
	Ended   time.Time `json:"ended,omitzero"`

	// Openings is how often somebody began to work on it, and InHand how many
	// messages are in its journal: they may have been sent, and are not yet
	// deleted.
	Openings int64 `json:"openings"`
	InHand   int64 `json:"in_hand"`

	CancelledBy string    `json:"cancelled_by,omitempty"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`

	// Spec is what it does, and Report how far it has come. It is not newer than
	// Noted.
	Spec   Spec   `json:"spec"`
	Report Report `json:"report"`
}

// A JobState tells whether a job goes on.
type JobState string

const (
	// JobRunning: its owner works on it.
	JobRunning JobState = "running"

	// JobLost: its owner was not heard of for longer than its lease. It can be
	// resumed or cancelled.
	JobLost JobState = "lost"

	// JobStopped: nobody works on it, and it has not ended. It can be resumed or
	// cancelled.
	JobStopped JobState = "stopped"

	// JobEnded: nothing of it is left to do.
	JobEnded JobState = "ended"
)

func newJobOf(s store.Job) (Job, error) {
	j := Job{
		ID: s.ID, Subject: s.Subject, Status: s.Status, Owner: s.Owner, Since: s.Since, LeaseUntil: s.LeaseUntil,
		Created: s.Created, Noted: s.Noted, Ended: s.Ended, Openings: s.Openings, InHand: s.Entries,
		CancelledBy: s.CancelledBy, CancelledAt: s.CancelledAt,
	}
	switch {
	case s.HasEnded():
		j.State = JobEnded
	case s.LeaseUntil.IsZero():
		j.State = JobStopped
	case time.Now().Before(s.LeaseUntil):
		j.State = JobRunning
	default:
		j.State = JobLost
	}
	var b blob
	if err := json.Unmarshal(s.Spec, &j.Spec); err != nil {
		return j, fmt.Errorf("dlq: job %q is none of this package: %w", s.ID, err)
	}
	if j.Spec.Version != specVersion {
		return j, fmt.Errorf("dlq: job %q has a form of version %d, and this program knows %d", s.ID, j.Spec.Version, specVersion)
	}
	if len(s.Progress) > 0 {
		if err := json.Unmarshal(s.Progress, &b); err != nil {
			return j, fmt.Errorf("dlq: the progress of job %q: %w", s.ID, err)
		}
	}
	j.Queue, j.Report = j.Spec.Queue, b.Report
	return j, nil
}

var errNoJobs = errors.New("dlq: redrives are kept in a Config's Jobs, which has none")

// subject returns what the jobs of a queue go by.
func (c *Client) subject(ctx context.Context, from string) (string, error) {
	if c.jobs == nil {
		return "", errNoJobs
	}
	q, err := c.queues.Queue(ctx, from)
	if err != nil {
		return "", fmt.Errorf("dlq: %w", err)
	}
	a, err := q.Attributes(ctx)
	if err != nil {
		return "", fmt.Errorf("dlq: %w", err)
	}
	return subjectOf(q, a), nil
}

// Status returns a job of a dead-letter queue, or its last one where id is empty:
// the one that has not ended, if there is one. Without any it is an error that
// matches [store.ErrNotFound].
func (c *Client) Status(ctx context.Context, from, id string) (Job, error) {
	subject, err := c.subject(ctx, from)
	if err != nil {
		return Job{}, err
	}
	s, err := c.find(ctx, subject, id)
	if err != nil {
		return Job{}, fmt.Errorf("dlq: %s: %w", from, err)
	}
	return newJobOf(s)
}

func (c *Client) find(ctx context.Context, subject, id string) (store.Job, error) {
	if id == "" {
		return c.newest(ctx, subject)
	}
	return c.jobs.InspectJob(ctx, subject, id)
}

// History returns the jobs of a dead-letter queue, or of all where from is empty,
// the newest first, up to limit.
func (c *Client) History(ctx context.Context, from string, limit int) ([]Job, error) {
	subject, err := "", error(nil)
	if from != "" || c.jobs == nil {
		if subject, err = c.subject(ctx, from); err != nil {
			return nil, err
		}
	}
	list, err := c.jobs.ListJobs(ctx, subject, 0, limit)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	jobs := make([]Job, 0, len(list))
	for _, s := range list {
		if j, err := newJobOf(s); err == nil { // others may keep jobs there, too
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// Resume goes on with a job of a dead-letter queue, or with the one that has not
// ended where id is empty. It is [Client.Redrive] with Options.Resume.
//
// A message that is known to have been sent is only deleted. One that may have
// been sent is sent again, to the same queue and under the same deduplication id.
// One of which neither the queue nor the journal tells what became of it is a
// failure in the report, Unknown. Where the worker before was cut off, Resume
// waits until what that worker had hidden shows again.
//
// A job that was cancelled is brought to its end: what was sent is deleted, and
// what may have been sent stays in the queue, and is reported so.
func (c *Client) Resume(ctx context.Context, from, id string, opts Options) (Report, error) {
	opts.From, opts.ID, opts.Resume = from, id, true
	return c.Redrive(ctx, opts)
}

// Cancel tells a job of a dead-letter queue to stop, or the one that has not ended
// where id is empty, and returns it as it is then. Whoever works on it hears of it
// within a third of the lease, returns what it holds, and ends the job. One that
// nobody works on has ended at once, unless messages are in its journal: it has
// to be resumed, to be brought to its end.
func (c *Client) Cancel(ctx context.Context, from, id, by, reason string) (Job, error) {
	subject, err := c.subject(ctx, from)
	if err != nil {
		return Job{}, err
	}
	s, err := c.find(ctx, subject, id)
	if err != nil {
		return Job{}, fmt.Errorf("dlq: cancel: %s: %w", from, err)
	}
	if s.HasEnded() {
		return Job{}, fmt.Errorf("dlq: cancel: %w", &store.JobEndedError{Subject: subject, ID: s.ID, Status: s.Status, Ended: s.Ended})
	}
	before, err := newJobOf(s)
	if err != nil {
		return Job{}, err
	}
	e := AuditEntry{Verb: AuditCancel, Queue: before.Queue, Job: s.ID, By: by, Reason: reason}
	if err := c.recordCancel(ctx, subject, e); err != nil {
		return Job{}, fmt.Errorf("dlq: cancel: nothing was done, because it cannot be recorded: %w", err)
	}
	if s, err = c.jobs.CancelJob(ctx, subject, s.ID, by); err != nil {
		return Job{}, fmt.Errorf("dlq: cancel: %w", err)
	}
	return newJobOf(s)
}
