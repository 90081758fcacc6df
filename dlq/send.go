package dlq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// An outgoing is a letter as it is sent.
type outgoing struct {
	letter   *Letter
	raw      queue.RawMessage
	unmarked bool
	doubtful bool // an earlier opening may have sent it
	refused  bool // for good
}

// prepare edits and marks a letter. A payload that the edit makes too large goes to
// the store, unless that is nil.
func (j *job) prepare(ctx context.Context, l *Letter, to *queue.Queue, store queue.PayloadStore) (*outgoing, error) {
	raw, err := j.edit(ctx, l, to, store)
	if err != nil {
		return nil, err
	}
	raw = raw.Restored(to)
	changes := map[string]string{
		queue.KeyRedriveID:         j.ID,
		queue.KeyRedriveGeneration: strconv.Itoa(l.Generation + 1),
	}
	if _, ok := raw.Attributes[queue.AttrUUID]; !ok {
		changes[queue.AttrUUID] = l.ID // its receivers know it by this
	}
	out := &outgoing{letter: l}
	var left []string
	out.raw, left = raw.WithMetadata(changes)
	out.unmarked = len(left) > 0
	if limit := to.Endpoint.MaxMessageSize; out.raw.Size() > limit {
		// The marks may be what makes it too large.
		out.raw, out.unmarked = raw, true
	}
	out.raw.Deduplication = ""
	if to.Endpoint.FIFO() {
		if out.raw.Group == "" {
			return nil, fmt.Errorf("dlq: %q is a FIFO queue, and the message has no message group; set %s with an edit", to.Name, queue.KeyGroup)
		}
		// The id that the message had may be refused as a repeat for five
		// minutes, and the message be lost when it is then deleted.
		sum := sha256.Sum256([]byte(j.ID + "\x00" + l.MessageID))
		out.raw.Deduplication = hex.EncodeToString(sum[:])
	}
	return out, nil
}

// Retries of messages that the destination is known not to have taken.
const (
	sendAttempts = 3
	sendBackoff  = time.Second
)

// send sends letters to one queue, and returns those that it has accepted.
func (j *job) send(ctx context.Context, to *queue.Queue, outs []*outgoing) (accepted []*Letter) {
	if err := j.closedFor(to); err != nil {
		j.failAll(ctx, outs, err)
		return nil
	}
	wait, done := j.journal.waiting(ctx)
	inTime := j.pace.wait(wait, len(outs))
	done()
	if !inTime {
		return nil // the context ended, and the letters are returned
	}
	if outs = j.noteSending(to, outs); len(outs) == 0 {
		return nil
	}
	unsent := map[*outgoing]bool{}
	for _, out := range outs {
		unsent[out] = true
	}
	defer func() { j.drop(slices.Collect(maps.Keys(unsent))) }()
	var last error
	for attempt := 1; len(outs) > 0 && ctx.Err() == nil; attempt++ {
		if err := j.closedFor(to); err != nil { // by another worker
			j.failAll(ctx, outs, err)
			return accepted
		}
		if !j.standing() {
			return accepted
		}
		if outs = j.stillHeld(ctx, outs); len(outs) == 0 {
			break
		}
		var again []*outgoing
		// Not with ctx: its end would leave open what was sent.
		for i, result := range to.Send(context.WithoutCancel(ctx), raws(outs)) {
			out, err := outs[i], sendError(to, result)
			if err == nil {
				j.noteSent(to, out, result.ID)
				accepted = append(accepted, out.letter)
				delete(unsent, out)
				continue
			}
			last = err
			if maybeSent(err) && !errors.Is(err, ErrDamaged) {
				delete(unsent, out)
			}
			if attempt < sendAttempts && knownUnsent(err) {
				again = append(again, out)
				continue
			}
			j.noteRefusal(to, err)
			j.fail(ctx, out.letter, StageSend, err)
			out.refused = forGood(err)
		}
		if outs = again; len(outs) > 0 && !sleep(ctx, sendBackoff<<(attempt-1)) {
			break
		}
	}
	if ctx.Err() == nil {
		j.noteStreak(to, len(accepted), last)
	}
	return accepted
}

// stillHeld returns the letters that are sure to stay hidden until they are
// sent and deleted. The others may be with another receiver by then.
func (j *job) stillHeld(ctx context.Context, outs []*outgoing) []*outgoing {
	return slices.DeleteFunc(outs, func(out *outgoing) bool {
		err := j.hold.safe(out.letter)
		if err != nil {
			j.fail(ctx, out.letter, StageHold, err)
		}
		return err != nil
	})
}

func raws(outs []*outgoing) []queue.RawMessage {
	all := make([]queue.RawMessage, len(outs))
	for i, out := range outs {
		all[i] = out.raw
	}
	return all
}

// ErrDamaged: a destination accepted a message, and says that its body is
// another. The message is not sent again; what the destination has is to be
// looked at.
var ErrDamaged = errors.New("the destination accepted the message with another body")

// sendError returns the error of a message that was not accepted as it is.
func sendError(to *queue.Queue, result queue.Sent) error {
	if result.Err != nil && result.ID != "" {
		return fmt.Errorf("dlq: send to %q: %w, as message %s: %w", to.Name, ErrDamaged, result.ID, result.Err)
	}
	return result.Err
}

// maybeSent reports whether a message may have been sent although sending it
// failed: no answer came, or one that says no more than that the service failed.
func maybeSent(err error) bool {
	if errors.Is(err, ErrDamaged) {
		return true
	}
	var e *queue.Error
	if !errors.As(err, &e) {
		return false
	}
	if e.Code == "" {
		return e.Kind != queue.ErrAccess
	}
	// Where the answer tells of each message, it can be relied on.
	var whole interface{ HTTPStatusCode() int }
	return e.Kind == queue.ErrUnavailable && errors.As(e.Err, &whole)
}

// forGood reports whether a message fails with an error however often it is tried
// as it is.
func forGood(err error) bool {
	if maybeSent(err) {
		return false
	}
	for _, kind := range []error{queue.ErrInvalid, queue.ErrTooLarge, queue.ErrPayloadGone, queue.ErrUndecodable} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// knownUnsent reports whether a message was not sent, and may be taken later.
func knownUnsent(err error) bool {
	return !maybeSent(err) && (errors.Is(err, queue.ErrThrottled) || errors.Is(err, queue.ErrUnavailable))
}

// noteSent notes a letter that its destination has accepted. From now on it is
// only to be deleted.
func (j *job) noteSent(to *queue.Queue, out *outgoing, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending[out.letter.MessageID] = out.letter
	if e := j.entries[out.letter.MessageID]; e != nil {
		e.State, e.NewID, e.noted = stateSent, id, false
	}
	j.audit.add(out.letter.MessageID)
	j.watchFor(to, out.letter)
	j.report.Sent++
	j.report.Destinations[to.Name]++
	j.noteUnkept(out.letter)
	if out.unmarked {
		j.report.Unmarked++
		j.noteResent(id)
	}
}

// noteRefusal closes a destination that refuses everything.
func (j *job) noteRefusal(to *queue.Queue, err error) {
	if !errors.Is(err, queue.ErrNotFound) && !errors.Is(err, queue.ErrAccess) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.close(to, err)
}

// close has nothing more sent to a destination, and ends the job if there is no
// other. j.mu is held.
func (j *job) close(to *queue.Queue, err error) {
	j.closed[to.Name] = err
	if j.fatal == nil && !j.to.anyBut(j.closed) {
		j.fatal = err
	}
}

func (j *job) closedFor(to *queue.Queue) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closed[to.Name]
}

func (j *job) failAll(ctx context.Context, outs []*outgoing, err error) {
	for _, out := range outs {
		j.fail(ctx, out.letter, StageSend, err)
	}
}

// noteStreak closes a destination to which batch after batch cannot be sent, and
// ends a job that batch after batch does not stay hidden for. A nil error says
// that nothing of the batch was tried.
func (j *job) noteStreak(to *queue.Queue, accepted int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case accepted > 0:
		j.lost, j.streaks[to.Name] = 0, 0
	case err != nil:
		j.lost = 0
		if j.streaks[to.Name]++; j.streaks[to.Name] == maxStreak {
			// Not wrapped: of what is not tried, nothing is unknown.
			j.close(to, fmt.Errorf("dlq: %d batches in a row could not be sent to %q: %v", maxStreak, to.Name, err))
		}
	default:
		if j.lost++; j.lost == maxStreak && j.fatal == nil {
			j.fatal = fmt.Errorf("%d batches in a row did not stay hidden: %w; %s", maxStreak, queue.ErrVisibilityLost, j.hold.remedy())
		}
	}
}

// delete deletes letters that were sent, also when the job is stopped. What it
// cannot delete stays hidden for now, and is tried again at the end.
func (j *job) delete(ctx context.Context, sent []*Letter) {
	for _, l := range sent {
		j.mu.Lock()
		j.pending[l.MessageID] = l // with the receipt of this receive
		j.mu.Unlock()
	}
	sent = j.noteAllSent(sent)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	messages := make([]queue.RawMessage, len(sent))
	for i, l := range sent {
		messages[i] = l.raw
	}
	for i, err := range j.hold.remove(ctx, messages) {
		j.mu.Lock()
		if err == nil {
			j.report.Deleted++
			delete(j.pending, sent[i].MessageID)
			j.through(sent[i])
			j.hold.drop(sent[i])
		}
		j.mu.Unlock()
	}
}

// finishDeletes deletes what was sent and could not be deleted before. What
// still cannot be deleted is not returned to the queue, but left hidden for the
// rest of its time.
func (j *job) finishDeletes(ctx context.Context) {
	pending := slices.Collect(maps.Values(j.pending))
	if len(pending) == 0 {
		return
	}
	j.delete(ctx, pending)
	for _, l := range j.pending {
		j.hold.drop(l)
		if j.hold.shelf.over(l.SentAt) {
			j.mu.Lock()
			j.through(l) // the queue has deleted it
			j.mu.Unlock()
			continue
		}
		next := "the next redrive sends it again, with the same id"
		if j.journal != nil {
			next = "the job, when it is resumed, deletes it, or sends it again under the same id"
		}
		j.fail(ctx, l, StageDelete, errors.New("dlq: the message was sent, and could not be deleted from the dead-letter queue; "+next))
	}
}

// sleep waits and returns true, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
