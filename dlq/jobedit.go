package dlq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// edit returns the letter's message as Options.Edit leaves it.
func (j *job) edit(ctx context.Context, l *Letter, to *queue.Queue, store queue.PayloadStore) (queue.RawMessage, error) {
	if j.Edit == nil {
		return l.raw, nil
	}
	whole, err := seen(ctx, l, j.payloads, j.maxPayload)
	if err != nil {
		return queue.RawMessage{}, fmt.Errorf("dlq: edit: %w", err)
	}
	edited := *whole
	edited.Body, edited.Metadata = slices.Clone(whole.Body), maps.Clone(whole.Metadata)
	if err := j.Edit(ctx, &edited); errors.Is(err, ErrSkip) {
		j.noteSkipped()
		return queue.RawMessage{}, ErrSkip
	} else if err != nil {
		return queue.RawMessage{}, fmt.Errorf("dlq: edit: %w", err)
	}
	sameBody := string(edited.Body) == string(whole.Body)
	if sameBody && maps.Equal(edited.Metadata, whole.Metadata) {
		return l.raw, nil
	}
	msg := message.NewMessage(l.ID, edited.Body)
	maps.Copy(msg.Metadata, edited.Metadata)
	delete(msg.Metadata, queue.KeyFailure)
	unread := sameBody && errors.Is(whole.Problem, queue.ErrUndecodable)
	if !unread { // the body is what it says now
		delete(msg.Metadata, queue.KeyRawEncoding)
		delete(msg.Metadata, queue.KeyRawMetadata)
	}
	raw, err := l.raw.EditedFrom(ctx, store, msg, to)
	if err == nil && unread {
		if _, problem := raw.Restored(to).Decode(); problem == nil {
			err = errors.New("what the message cannot be decoded by has no room beside the metadata; edit the body as well, or less of the metadata")
		}
	}
	if err != nil {
		return queue.RawMessage{}, fmt.Errorf("dlq: edit: %w", err)
	}
	j.noteEdited(whole, &edited)
	return raw, nil
}

func (j *job) noteSkipped() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.Skipped++
	j.report.Matched--
}

// noteEdited counts a letter that was edited, and keeps the difference of the
// first ones.
func (j *job) noteEdited(before, after *Letter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.Edited++
	if j.DryRun && len(j.report.Diffs) < j.Diffs {
		j.report.Diffs = append(j.report.Diffs, Diff{ID: before.ID, MessageID: before.MessageID, Text: diffLetters(before, after)})
	}
}

// preview has a dry run edit a letter, of which nothing is kept but the
// difference.
func (j *job) preview(ctx context.Context, l *Letter, to *queue.Queue) error {
	if j.Edit == nil || j.Diffs == 0 {
		return nil
	}
	_, err := j.prepare(ctx, l, to, nil)
	return err
}
