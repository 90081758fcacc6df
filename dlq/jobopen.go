package dlq

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// jobRetention is for how long a job that has ended stays on record.
const jobRetention = store.CancelledJobRetention

// subjectOf is what a queue's jobs and audit records go by: its ARN.
func subjectOf(q *queue.Queue, a queue.QueueAttributes) string {
	if a.ARN != "" {
		return a.ARN
	}
	return q.URL
}

// resumed finds the job to go on with, and makes the options those of it.
func (c *Client) resumed(ctx context.Context, subject string, opts *Options) (store.Job, Spec, error) {
	var prior store.Job
	var err error
	if opts.ID == "" {
		prior, err = c.newest(ctx, subject)
		if err == nil && prior.HasEnded() {
			err = fmt.Errorf("%w: no redrive is to be resumed; the last one, %s, has ended", store.ErrNotFound, prior.ID)
		}
	} else {
		prior, err = c.jobs.InspectJob(ctx, subject, opts.ID)
	}
	if err != nil {
		return prior, Spec{}, fmt.Errorf("dlq: resume: %w", err)
	}
	opts.ID = prior.ID
	var s Spec
	if err := json.Unmarshal(prior.Spec, &s); err != nil {
		return prior, s, fmt.Errorf("dlq: resume %s: it is no redrive: %w", prior.ID, err)
	}
	return prior, s, opts.adopt(s)
}

// newest returns the last job of a queue, which is the one that has not ended if
// there is one.
func (c *Client) newest(ctx context.Context, subject string) (store.Job, error) {
	list, err := c.jobs.ListJobs(ctx, subject, 0, 1)
	if err != nil {
		return store.Job{}, err
	}
	if len(list) == 0 {
		return store.Job{}, fmt.Errorf("%w: the queue has had no redrive", store.ErrNotFound)
	}
	return list[0], nil
}

// Retries of an opening whose outcome is not known.
const (
	openAttempts = 3
	openBackoff  = 200 * time.Millisecond
)

// open takes the lease on the queue, and what is in hand of earlier openings.
func (j *job) open(ctx context.Context, c *Client, subject string, prior store.Job, s Spec) error {
	spec, err := json.Marshal(s)
	if err != nil {
		return err
	}
	o := store.JobOpening{Subject: subject, ID: j.ID, Owner: j.Owner, Token: rand.Text(), Lease: c.lease, Spec: spec, Resume: j.Resume}
	if j.Resume {
		o.Spec = nil
	}
	opened, asked, err := c.openJob(ctx, o)
	if err != nil {
		return fmt.Errorf("dlq: redrive of %q: %w", j.from.Name, err)
	}
	n := newJournal(c.jobs, o, opened.Fence, asked)
	n.progress = func(map[string]int) []byte { return nil } // as before
	j.journal = n
	err = j.takeOver(ctx, c, opened, prior)
	if err == nil {
		n.progress = j.blob
	}
	j.hold.lapsed = n.lapsed
	go n.run(ctx)
	if err == nil {
		err = n.set(nil) // so that who comes next knows the visibility
	}
	if err != nil {
		return errors.Join(fmt.Errorf("dlq: redrive of %q: %w", j.from.Name, err), n.close(ctx, opened.Openings == 1, statusFailed))
	}
	return nil
}

// openJob takes the lease, and returns when it asked for it. A job that is no
// redrive and whose worker died is in nobody's way: it has nothing in hand.
func (c *Client) openJob(ctx context.Context, o store.JobOpening) (opened store.OpenedJob, asked time.Time, err error) {
	for attempt := 1; ; attempt++ {
		asked = time.Now()
		if opened, err = c.jobs.OpenJob(ctx, o); err == nil {
			return opened, asked, nil
		}
		var open *store.JobOpenError
		again := passing(err) && sleep(ctx, openBackoff<<(attempt-1)) || errors.As(err, &open) && c.bury(ctx, open, o.Owner)
		if attempt == openAttempts || !again {
			return opened, asked, err
		}
	}
}

// bury ends a job of which nothing is left to do, and reports whether it has.
func (c *Client) bury(ctx context.Context, open *store.JobOpenError, by string) bool {
	left, err := c.jobs.InspectJob(ctx, open.Subject, open.ID)
	if err != nil || left.Entries > 0 {
		return false
	}
	var s Spec
	if err := json.Unmarshal(left.Spec, &s); err != nil || s.Version != specVersion || s.Verb == AuditRedrive {
		return false
	}
	ended, err := c.jobs.CancelJob(ctx, open.Subject, open.ID, by)
	return err == nil && ended.HasEnded()
}

// passing reports whether a call of the store may have another outcome when it is
// made again.
func passing(err error) bool {
	var held *store.JobHeldError
	var open *store.JobOpenError
	switch {
	case errors.As(err, &held), errors.As(err, &open):
	case errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrNotFound),
		errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrLeaseLost):
	default:
		return true
	}
	return false
}

// takeOver reads what earlier openings have left: their progress, and the
// messages that they had in hand.
func (j *job) takeOver(ctx context.Context, c *Client, opened store.OpenedJob, prior store.Job) error {
	if opened.Cancelled() {
		j.journal.cancelled, j.journal.cancelledBy = true, opened.CancelledBy
	}
	if opened.Openings == 1 {
		return nil
	}
	for after := ""; ; {
		page, err := c.jobs.JobEntries(ctx, j.journal.note.Subject, j.ID, after, store.MaxJobPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			mine := &entry{old: true, noted: true}
			if err := json.Unmarshal(e.State, mine); err != nil {
				return fmt.Errorf("entry %s of job %s: %w", e.Key, j.ID, err)
			}
			j.entries[e.Key], after = mine, e.Key
		}
	}
	var b blob
	if len(opened.Progress) > 0 {
		if err := json.Unmarshal(opened.Progress, &b); err != nil {
			return fmt.Errorf("the progress of job %s: %w", j.ID, err)
		}
	}
	j.goOn(b)
	// Whoever held the lease before has ended at its end, and what it hid shows
	// again at the latest when its visibility is over.
	hidden := b.HiddenUntil
	// Who gave it back has returned what it held, but for what it had sent.
	j.cutOff = prior.Openings != opened.Openings-1 || !prior.LeaseUntil.IsZero() || hidden.After(opened.Now)
	if until := opened.Now.Add(b.Visibility); (j.cutOff || len(j.entries) > 0) && until.After(hidden) {
		hidden = until
	}
	if hidden.After(opened.Now) {
		j.hiddenUntil = hidden
		j.waitUntil = time.Now().Add(hidden.Sub(opened.Now) + min(hiddenMargin, c.lease))
	}
	return nil
}

// hiddenMargin is how much longer than their visibility messages may be hidden, at
// most: requests take time, but not longer than a lease.
const hiddenMargin = 5 * time.Second

// goOn begins the report where the earlier openings were: with what is through,
// and what they had in hand. The other messages are looked at anew.
func (j *job) goOn(b blob) {
	r := &j.report
	if !b.Started.IsZero() {
		r.Started = b.Started
	}
	if b.Canary != nil && b.Canary.Passed {
		r.Canary = b.Canary
	}
	r.Edited, r.Unmarked, r.Unkept = b.Edited, b.Unmarked, b.Unkept
	for _, id := range b.Resent {
		j.resent[id] = true
	}
	j.keptResent = b.Resent
	for name, n := range b.Done {
		j.journal.done[name] = n
		r.Destinations[name] += n
		r.Deleted += n
	}
	r.Sent = r.Deleted
	for _, e := range j.entries {
		j.unseen++
		if e.State == stateSent {
			r.Sent++
			r.Destinations[e.Name]++
		}
	}
	r.Seen = r.Deleted + len(j.entries)
	r.Matched = r.Seen
}

// blob is what is kept of the progress when so many messages are through.
func (j *job) blob(done map[string]int) []byte {
	j.mu.Lock()
	b := blob{Report: j.report.recorded(), Done: done, Resent: slices.Clone(j.keptResent), Visibility: j.Visibility, HiddenUntil: j.hiddenUntil}
	j.mu.Unlock()
	return b.encode()
}
