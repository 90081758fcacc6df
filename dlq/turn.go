package dlq

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// A work is what somebody wants to do to a dead-letter queue, other than a
// redrive: what can be done again from the beginning, whenever it was cut off.
type work struct {
	Verb          string // as in an AuditEntry
	ID            string // names it; defaults to a new ULID
	Owner, Reason string
	Spec          any // what is to be done, for the record
}

// A turn is somebody's turn at a dead-letter queue: it holds the lease that
// redrives hold, and records what is done. It does so as far as the client has
// Jobs and Audit. Its methods may be called side by side; end is the last.
type turn struct {
	w       work
	queue   string
	journal *journal // nil: there is no lease
	audit   *auditor
}

// begin takes a turn. While it is somebody else's the error is a
// [store.JobHeldError], and a [store.JobOpenError] where a redrive was interrupted.
func (c *Client) begin(ctx context.Context, q *queue.Queue, a queue.QueueAttributes, w work) (*turn, error) {
	if w.ID == "" {
		w.ID = ulid.Make().String()
	}
	if w.Owner == "" {
		w.Owner = unknownOwner
	}
	detail, err := json.Marshal(w.Spec)
	if err != nil {
		return nil, fmt.Errorf("dlq: %s: %w", w.Verb, err)
	}
	spec, err := json.Marshal(Spec{Version: specVersion, Verb: w.Verb, Queue: q.Name, Detail: detail})
	if err != nil {
		return nil, fmt.Errorf("dlq: %s: %w", w.Verb, err)
	}
	t, subject := &turn{w: w, queue: q.Name}, subjectOf(q, a)
	if c.jobs != nil {
		o := store.JobOpening{Subject: subject, ID: w.ID, Owner: w.Owner, Token: rand.Text(), Lease: c.lease, Spec: spec}
		opened, asked, err := c.openJob(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("dlq: %s of %q: %w", w.Verb, q.Name, err)
		}
		t.journal = newJournal(c.jobs, o, opened.Fence, asked)
		t.journal.progress = func(map[string]int) []byte { return nil }
		go t.journal.run(ctx)
	}
	e := AuditEntry{Verb: w.Verb, Queue: q.Name, Job: w.ID, By: w.Owner, Reason: w.Reason}
	if t.audit, err = c.newAuditor(ctx, subject, t.journal, e, w.Spec); err != nil {
		return nil, errors.Join(err, t.giveBack(ctx, statusFailed))
	}
	return t, nil
}

// unknownOwner is who does what nobody has said to do.
const unknownOwner = "unknown"

func (t *turn) id() string { return t.w.ID }

// context returns a context that ends when the turn is over: when the lease is
// lost, or somebody has cancelled the work. Its cause says which.
func (t *turn) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := func() { cancel(nil) }
	if t.journal == nil {
		return ctx, done
	}
	stop := context.AfterFunc(t.journal.over, func() { cancel(t.over()) })
	return ctx, func() { stop(); done() }
}

// lapsed reports whether the turn may be somebody else's.
func (t *turn) lapsed() bool { return t.journal != nil && t.journal.lapsed() }

// stands returns nil if the lease stands for long enough to do something that
// cannot be taken back, and nobody has cancelled the work.
func (t *turn) stands() error {
	err := t.journal.stands()
	if over := t.over(); over != nil {
		err = over
	}
	return err
}

// over returns why the turn is over, or nil.
func (t *turn) over() error {
	if by, cancelled := t.journal.told(); cancelled {
		return fmt.Errorf("dlq: %s %s of %q: %w by %s", t.w.Verb, t.w.ID, t.queue, ErrCancelled, by)
	}
	if err := t.journal.failure(); err != nil {
		return fmt.Errorf("dlq: %s %s of %q: %w", t.w.Verb, t.w.ID, t.queue, err)
	}
	return nil
}

// did notes, for the record, that the work was done to messages, which go by SQS's
// ids.
func (t *turn) did(messageIDs ...string) {
	for _, id := range messageIDs {
		t.audit.add(id)
	}
}

// flush writes what did noted, as far as it fills pages of the record.
func (t *turn) flush(ctx context.Context) error {
	return t.audit.write(context.WithoutCancel(ctx))
}

// end ends the turn, and records the report and the outcome, which it returns.
func (t *turn) end(ctx context.Context, report any, outcome error) error {
	status := statusDone
	switch {
	case errors.Is(outcome, ErrCancelled):
		status = statusCancelled
	case ctx.Err() != nil:
		status = statusInterrupted
	case outcome != nil:
		status = statusFailed
	}
	if err := t.giveBack(ctx, status); err != nil && outcome == nil {
		outcome = fmt.Errorf("dlq: %s %s of %q was done, and its lease could not be given back: %w", t.w.Verb, t.w.ID, t.queue, err)
	}
	return t.audit.finish(ctx, report, outcome)
}

func (t *turn) giveBack(ctx context.Context, status string) error {
	if t.journal == nil {
		return nil
	}
	return t.journal.close(ctx, true, status)
}
