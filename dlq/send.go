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

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/queue"
)

// An outgoing is a letter as it is sent.
type outgoing struct {
	letter   *Letter
	raw      queue.RawMessage
	unmarked bool
}

// prepare edits and marks a letter.
func (j *job) prepare(ctx context.Context, l *Letter, to *queue.Queue) (*outgoing, error) {
	raw, err := j.edit(ctx, l, to)
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

// edit returns the letter's message as Options.Edit leaves it.
func (j *job) edit(ctx context.Context, l *Letter, to *queue.Queue) (queue.RawMessage, error) {
	if j.Edit == nil {
		return l.raw, nil
	}
	body, metadata := string(l.Body), maps.Clone(l.Metadata)
	if err := j.Edit(ctx, l); err != nil {
		if errors.Is(err, ErrSkip) {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.report.Skipped++
			j.report.Matched--
			return queue.RawMessage{}, ErrSkip
		}
		return queue.RawMessage{}, fmt.Errorf("dlq: edit: %w", err)
	}
	if string(l.Body) == body && maps.Equal(l.Metadata, metadata) {
		return l.raw, nil
	}
	msg := message.NewMessage(l.ID, l.Body)
	maps.Copy(msg.Metadata, l.Metadata)
	for _, key := range []string{queue.KeyFailure, queue.KeyRawEncoding, queue.KeyRawMetadata} {
		delete(msg.Metadata, key)
	}
	raw, err := l.raw.Edited(msg, to)
	if err != nil {
		return queue.RawMessage{}, fmt.Errorf("dlq: edit: %w", err)
	}
	return raw, nil
}

// Retries of messages that the destination is known not to have taken.
const (
	sendAttempts = 3
	sendBackoff  = time.Second
)

// send sends letters to one queue, and returns those that it has accepted.
func (j *job) send(ctx context.Context, to *queue.Queue, outs []*outgoing) (accepted []*Letter) {
	total := len(outs)
	if err := j.limit.WaitN(ctx, len(outs)); err != nil {
		return nil // the context ended, and the letters are returned
	}
	for attempt := 1; len(outs) > 0 && ctx.Err() == nil; attempt++ {
		if err := j.closedFor(to); err != nil {
			j.failAll(ctx, outs, err)
			break
		}
		outs = j.stillHeld(ctx, outs)
		var again []*outgoing
		// Not with ctx: its end would leave open what was sent.
		for i, result := range to.Send(context.WithoutCancel(ctx), raws(outs)) {
			out := outs[i]
			switch {
			case result.Err == nil:
				j.noteSent(to, out, result.ID)
				accepted = append(accepted, out.letter)
			case attempt < sendAttempts && knownUnsent(result.Err):
				again = append(again, out)
			default:
				j.noteRefusal(to, result.Err)
				j.fail(ctx, out.letter, StageSend, result.Err)
			}
		}
		if outs = again; len(outs) > 0 && !sleep(ctx, sendBackoff<<(attempt-1)) {
			break
		}
	}
	j.noteStreak(ctx, total, len(accepted))
	return accepted
}

// stillHeld returns the letters that are sure to stay hidden until they are
// sent and deleted. The others may be with another receiver by then.
func (j *job) stillHeld(ctx context.Context, outs []*outgoing) []*outgoing {
	return slices.DeleteFunc(outs, func(out *outgoing) bool {
		if j.hold.safe(out.letter) {
			return false
		}
		j.fail(ctx, out.letter, StageHold, queue.ErrVisibilityLost)
		return true
	})
}

func raws(outs []*outgoing) []queue.RawMessage {
	all := make([]queue.RawMessage, len(outs))
	for i, out := range outs {
		all[i] = out.raw
	}
	return all
}

// maybeSent reports whether a message may have been sent although sending it
// failed.
func maybeSent(err error) bool {
	var e *queue.Error
	return errors.As(err, &e) && e.Code == "" && e.Kind != queue.ErrAccess
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
	j.report.Sent++
	j.report.Destinations[to.Name]++
	if out.unmarked {
		j.report.Unmarked++
		j.resent[id] = true
	}
}

// noteRefusal closes a destination that refuses everything.
func (j *job) noteRefusal(to *queue.Queue, err error) {
	if !errors.Is(err, queue.ErrNotFound) && !errors.Is(err, queue.ErrAccess) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed[to.Name] = err
	if j.to.to != nil && j.fatal == nil {
		j.fatal = err // there is no other
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

// noteStreak ends the job when batch after batch fails.
func (j *job) noteStreak(ctx context.Context, total, accepted int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case accepted > 0:
		j.streak = 0
	case total > 0 && ctx.Err() == nil:
		if j.streak++; j.streak == maxStreak && j.fatal == nil {
			j.fatal = fmt.Errorf("%d batches in a row could not be sent: %s", maxStreak, j.lastError())
		}
	}
}

// lastError returns the text of the newest failure. j.mu is held.
func (j *job) lastError() string {
	if n := len(j.report.Failures); n > 0 {
		return j.report.Failures[n-1].Error
	}
	return "no reason is known"
}

// delete deletes letters that were sent, also when the job is stopped. What it
// cannot delete stays hidden for now, and is tried again at the end.
func (j *job) delete(ctx context.Context, sent []*Letter) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	messages := make([]queue.RawMessage, len(sent))
	for i, l := range sent {
		messages[i] = l.raw
	}
	for i, err := range j.from.Delete(ctx, messages) {
		j.mu.Lock()
		if err == nil {
			j.report.Deleted++
			delete(j.pending, sent[i].MessageID)
			j.hold.drop(sent[i])
		} else {
			j.pending[sent[i].MessageID] = sent[i] // with the receipt of this receive
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
		j.fail(ctx, l, StageDelete, errors.New("dlq: the message was sent, and could not be deleted from the dead-letter queue; the next redrive sends it again, with the same id"))
		j.hold.drop(l)
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
