package dlq

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// encodeKept returns a letter as a line that is sure to restore it: what is deleted
// afterwards is nowhere else.
func encodeKept(queueName string, l *Letter) ([]byte, error) {
	line, err := encodeLine(queueName, l)
	if err != nil {
		return nil, err
	}
	_, restored, err := decodeLine(bytes.TrimSpace(line))
	if err != nil {
		return nil, fmt.Errorf("message %s could not be restored: %w", l.MessageID, err)
	}
	want := l.raw
	want.Receipt = ""
	want.SentAt, want.FirstReceivedAt = want.SentAt.UTC(), want.FirstReceivedAt.UTC()
	if want.Attributes == nil {
		want.Attributes = map[string]queue.RawAttribute{}
	}
	if !reflect.DeepEqual(restored, want) {
		return nil, fmt.Errorf("message %s would be restored as another", l.MessageID)
	}
	return line, nil
}

// keptLetter returns a letter as the catalogue has it: under SQS's id, with a line
// of an export as its body.
func keptLetter(queueName string, l *Letter) (store.Letter, error) {
	line, err := encodeKept(queueName, l)
	if err != nil {
		return store.Letter{}, err
	}
	if len(line) > store.MaxLetterBody {
		return store.Letter{}, fmt.Errorf("message %s takes %d bytes in the catalogue, and the limit is %d", l.MessageID, len(line), store.MaxLetterBody)
	}
	kept := store.Letter{
		LetterSummary: store.LetterSummary{
			ID: l.MessageID, Reason: ByReason.of(l), Filter: ByFilter.of(l), Type: ByType.of(l), Frame: ByFrame.of(l), Source: BySource.of(l),
			FirstFailedAt: l.firstFailedAt(), FailedAt: l.FailedAt(),
		},
		Body: line,
	}
	if l.ID != l.MessageID && len(l.ID) <= store.MaxSummaryField {
		kept.Name = l.ID
	}
	if l.Failure == nil {
		kept.Attributes, kept.Shape = ByAttributes.of(l), ByBody.of(l)
	}
	return kept, nil
}

// readKept makes a letter of what the catalogue has.
func readKept(kept store.Letter) (*Letter, error) {
	_, raw, err := decodeLine(bytes.TrimSpace(kept.Body))
	if err == nil && raw.ID != kept.ID {
		err = errors.New("it is of another message")
	}
	if err != nil {
		return nil, fmt.Errorf("dlq: letter %s of the catalogue cannot be read: %w", kept.ID, err)
	}
	return read(raw), nil
}
