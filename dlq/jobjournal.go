package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// ErrCancelled: somebody told the job to stop. It has ended.
var ErrCancelled = errors.New("the job was cancelled")

// A ResumableError says that a job has stopped and not ended: messages that it
// had in hand are in its journal, or it was interrupted. [Client.Resume] goes on
// with it, and [Client.Cancel] gives it up.
type ResumableError struct {
	Queue string // the dead-letter queue's name
	ID    string // the job's
	Err   error  // why it stopped
}

func (e *ResumableError) Error() string {
	return fmt.Sprintf("%v; job %s of %q has not ended: resume or cancel it", e.Err, e.ID, e.Queue)
}

// Unwrap returns why the job stopped.
func (e *ResumableError) Unwrap() error { return e.Err }

// What is shown of a job that is closed.
const (
	statusDone        = "done"
	statusInPart      = "done in part"
	statusFailed      = "failed"
	statusInterrupted = "interrupted"
	statusCancelled   = store.CancelledJob
)

// lookUp returns what an earlier opening wrote of a message that is received for
// the first time since. j.mu is held.
func (j *job) lookUp(l *Letter) (e *entry, old bool) {
	e = j.entries[l.MessageID]
	if e == nil || !e.old {
		return nil, false
	}
	if e.seen {
		return nil, true
	}
	e.seen = true
	j.unseen--
	return e, true
}

// known returns where a letter goes that an earlier opening has in the journal.
// Where ok is false there is nothing to send.
func (j *job) known(ctx context.Context, l *Letter) (q *queue.Queue, ok bool) {
	e := l.entry
	if by, cancelled := j.journal.told(); cancelled {
		j.fail(ctx, l, StageSend, &doubtError{fmt.Errorf("dlq: the job was cancelled by %s; the message may have been sent to %q before", by, e.Name)})
		j.forget(l.MessageID)
		return nil, false
	}
	q, err := j.to.queues.Queue(ctx, e.To)
	if err != nil {
		j.fail(ctx, l, StageSend, &doubtError{err})
		return nil, false
	}
	return q, true
}

// A doubtError is a failure of a message that may have been sent before.
type doubtError struct{ error }

func (e *doubtError) Unwrap() error { return e.error }

// noteSending writes that letters are about to be sent, and returns those that
// may be.
func (j *job) noteSending(to *queue.Queue, outs []*outgoing) []*outgoing {
	if j.journal == nil {
		return outs
	}
	set := make([]store.JobEntry, len(outs))
	j.mu.Lock()
	for i, out := range outs {
		l := out.letter
		e := &entry{State: stateSending, To: to.URL, Name: to.Name, ID: kept(l.ID), Dedup: out.raw.Deduplication}
		if old := j.entries[l.MessageID]; old != nil && old.old {
			e.old, e.seen, out.doubtful = true, true, true
		}
		j.entries[l.MessageID] = e
		set[i] = e.of(l.MessageID)
	}
	j.mu.Unlock()
	if err := j.journal.set(set); err != nil {
		j.stop(err)
		return nil
	}
	if _, cancelled := j.journal.told(); cancelled {
		j.drop(outs)
		return nil
	}
	return outs
}

// drop has the entries of letters removed that are known not to be sent, and of
// those that may have been, are refused now, and would be ever after: they are in
// the report, and stay in the queue.
func (j *job) drop(outs []*outgoing) {
	if j.journal == nil {
		return
	}
	for _, out := range outs {
		if !out.doubtful || out.refused {
			j.forget(out.letter.MessageID)
		}
	}
}

// giveUp has the entry removed of a letter that may have been sent before, and
// cannot be sent again for a reason that stays.
func (j *job) giveUp(l *Letter) {
	if l.entry != nil {
		j.forget(l.MessageID)
	}
}

// maxResent bounds the ids of unmarked messages that a job remembers, and
// maxKeptResent those that are kept with its progress.
const (
	maxResent     = 100_000
	maxKeptResent = 1000
)

// noteResent remembers the id of a message that was sent without marks: by that,
// the job knows it again when it fails again and is in the queue under it. One that
// was sent after the cutoff is known as newer, too, so that there need not be room for
// all. j.mu is held.
func (j *job) noteResent(id string) {
	if len(j.resent) >= maxResent {
		return
	}
	j.resent[id] = true
	if len(j.keptResent) < maxKeptResent && time.Now().Add(j.hold.shelf.ahead).Before(j.cutoff.Add(clockMargin)) {
		j.keptResent = append(j.keptResent, id)
	}
}

// forget has an entry removed.
func (j *job) forget(messageID string) {
	if j.journal == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.entries, messageID)
	j.journal.remove(messageID, "")
}

// through notes that a letter is deleted. j.mu is held.
func (j *job) through(l *Letter) {
	e := j.entries[l.MessageID]
	if j.journal == nil || e == nil {
		return
	}
	delete(j.entries, l.MessageID)
	j.journal.remove(l.MessageID, e.Name)
}

// standing reports whether the job may send still, and ends it if not.
func (j *job) standing() bool {
	err := j.journal.stands()
	if err != nil {
		j.stop(err)
	}
	return err == nil
}

// stop ends the job, which sends nothing more.
func (j *job) stop(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fatal == nil {
		j.fatal = err
	}
}

// noteAllSent writes that letters were sent, and returns those of which that is
// written: the others are not to be deleted, since who goes on with the job would
// take them for lost.
func (j *job) noteAllSent(sent []*Letter) []*Letter {
	if j.journal == nil {
		return sent
	}
	var set []store.JobEntry
	var entries []*entry
	j.mu.Lock()
	for _, l := range sent {
		if e := j.entries[l.MessageID]; e != nil && !e.noted {
			set, entries = append(set, e.of(l.MessageID)), append(entries, e)
		}
	}
	j.mu.Unlock()
	var written []*entry
	for batch := range slices.Chunk(set, batchSize) {
		if err := j.journal.set(batch); err != nil {
			j.stop(err)
			break
		}
		written = entries[:len(written)+len(batch)]
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range written {
		e.noted = true
	}
	return slices.DeleteFunc(slices.Clone(sent), func(l *Letter) bool {
		e := j.entries[l.MessageID]
		return e != nil && !e.noted
	})
}

// awaits reports whether messages may be hidden that an earlier opening had
// received, and waits a moment for them.
func (j *job) awaits(ctx context.Context) bool {
	j.mu.Lock()
	wait := j.fatal == nil && time.Now().Before(j.waitUntil) && (j.unseen > 0 || j.cutOff && j.report.Seen < j.report.Snapshot)
	if _, cancelled := j.journal.told(); cancelled && j.unseen == 0 {
		wait = false
	}
	if wait {
		j.report.WaitingUntil = j.waitUntil
	}
	j.mu.Unlock()
	return wait && sleep(ctx, receiveWait)
}

// settle makes an end of the entries whose messages did not show although nobody
// can hold them any more.
func (j *job) settle(ctx context.Context) {
	if j.journal == nil || j.fatal != nil || ctx.Err() != nil || time.Now().Before(j.waitUntil) || !j.exhausted {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(j.entries)) {
		e := j.entries[id]
		if !e.old || e.seen {
			continue
		}
		j.unseen--
		if e.State == stateSent { // and deleted, which could not be noted
			j.report.Deleted++
			j.through(&Letter{MessageID: id})
			continue
		}
		j.report.fail(Failure{ID: e.ID, MessageID: id, Stage: StageSend, Unknown: true, Err: fmt.Errorf(
			"dlq: the message may have been sent to %q before the job was interrupted, and is in %q no more: look for it there", e.Name, j.from.Name)})
		delete(j.entries, id)
		j.journal.remove(id, "")
	}
}

// closeJournal ends the job, if nothing of it is left to do, and gives the lease
// back. It returns why the job has not ended, if it has not.
func (j *job) closeJournal(ctx context.Context, cause error) error {
	by, cancelled := j.journal.told()
	if cancelled && ctx.Err() == nil {
		cause = fmt.Errorf("dlq: redrive %s of %q: %w by %s", j.ID, j.from.Name, ErrCancelled, by)
	}
	err := j.journal.flush()
	j.mu.Lock()
	left := len(j.entries)
	j.mu.Unlock()
	status := statusDone
	switch {
	case cancelled:
		status = statusCancelled
	case ctx.Err() != nil:
		status = statusInterrupted
	case j.fatal != nil:
		status = statusFailed
	case j.report.Failed > 0 || j.report.NotReached > 0:
		status = statusInPart
	}
	ended := err == nil && left == 0 && (cancelled || ctx.Err() == nil)
	if closing := j.journal.close(ctx, ended, status); closing != nil {
		ended, err = false, cmp.Or(err, closing)
	}
	if ended {
		return cause
	}
	if cause == nil {
		cause = err
	}
	if cause == nil {
		cause = fmt.Errorf("dlq: redrive %s of %q: %d messages are in hand", j.ID, j.from.Name, left)
	}
	return &ResumableError{Queue: j.from.Name, ID: j.ID, Err: cause}
}
