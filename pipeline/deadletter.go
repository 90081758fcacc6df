package pipeline

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/queue"
)

const (
	// buryTimeout bounds the move to the dead-letter queue, which goes on
	// after the message's context ended.
	buryTimeout = 15 * time.Second

	// Bounds of the record of a failure, of its message and of its stack, so
	// that an error which quotes its input does not double the message.
	maxRecord  = 64 << 10
	maxMessage = 4 << 10
	maxStack   = 16 << 10
)

// failure returns the record of a failure.
func (f *filter) failure(reason queue.Reason, err error, calls *record, d *queue.Delivery) queue.Failure {
	r := queue.NewFailure(reason, err)
	r.Filter = f.name
	r.Attempts = calls.attempts()
	r.FirstFailure, r.LastFailure = calls.times()
	r.Endpoint = f.route.From
	if d != nil {
		r.Endpoint, r.Source = d.Endpoint.Name, d.Endpoint.URL
		r.ReceiveCount, r.MessageID, r.SentAt = d.ReceiveCount, d.MessageID, d.SentAt
	}
	var p *PanicError
	if errors.As(err, &p) {
		r.Stack = string(p.Stack)
	}
	for text, limit := range map[*string]int{&r.Message: maxMessage, &r.Stack: maxStack} {
		if len(*text) > limit {
			*text, r.Cut = strings.ToValidUTF8((*text)[:limit], "")+"...", true
		}
	}
	return r
}

// bury publishes the message to the dead-letter queue with the record of its
// failure. It has the id that it had, so that whoever finds it there twice,
// because this process died before it deleted the message, can tell.
func (f *filter) bury(ctx context.Context, msg *message.Message, failure queue.Failure) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), buryTimeout)
	defer cancel()
	var err error
	for letter := range f.letters(ctx, msg, failure) {
		if err = f.config.Publisher.Publish(f.deadLetter, letter); !errors.Is(err, queue.ErrTooLarge) {
			return err
		}
		f.log.Warn("the dead letter is too large for its queue; shortening the record of its failure", "uuid", msg.UUID, "dead_letter", f.deadLetter, "error", err)
	}
	return err
}

// letters yields the dead letter with a record that fits by all that is known,
// then, for a queue whose limit is lower than that, with shorter ones, and with
// none.
func (f *filter) letters(ctx context.Context, msg *message.Message, failure queue.Failure) func(func(*message.Message) bool) {
	return func(yield func(*message.Message) bool) {
		size := 0
		for _, limit := range []int{maxRecord, 1 << 10, 256} {
			letter, ok := f.letter(msg, failure, limit)
			if !ok {
				break
			}
			n := len(letter.Metadata[queue.KeyFailure])
			if n == size {
				continue // refused already
			}
			size = n
			letter.SetContext(ctx)
			if !yield(letter) {
				return
			}
		}
		letter := bare(msg, failure.MessageID)
		letter.SetContext(ctx)
		yield(letter)
	}
}

// letter returns the message with the record, shortened to the limit and to
// what the dead-letter queue leaves, and whether that is possible.
func (f *filter) letter(msg *message.Message, failure queue.Failure, limit int) (*message.Message, bool) {
	letter := bare(msg, failure.MessageID)
	short, ok := failure.Fit(limit)
	if !ok {
		return nil, false
	}
	if to, ok := f.letterQueue(); ok {
		return letter, short.Attach(letter, to) == nil
	}
	return letter, short.Encode(letter) == nil
}

// bare returns the message without a record. A dead-letter queue that is FIFO knows
// it by the id that the message had in its queue, as one that SQS itself moves: by
// the deduplication id that it was sent with, others may be there, from another
// queue of a topic or from before, and it would be dropped as a repeat.
func bare(msg *message.Message, id string) *message.Message {
	letter := message.NewMessage(msg.UUID, msg.Payload)
	maps.Copy(letter.Metadata, msg.Metadata)
	delete(letter.Metadata, queue.KeyFailure)
	if letter.Metadata.Get(queue.KeyDeduplication) != "" && id != "" {
		letter.Metadata.Set(queue.KeyDeduplication, id)
	}
	return letter
}

// letterQueue returns the endpoint of the dead-letter queue, if it is one of
// SQS. Its size limit is not above that of the queue the message was in: it is
// often lowered for both.
func (f *filter) letterQueue() (queue.Endpoint, bool) {
	e, err := f.config.Endpoints.Resolve(f.deadLetter)
	if err != nil || !e.IsQueue() {
		return queue.Endpoint{}, false
	}
	if from, err := f.config.Endpoints.Resolve(f.route.From); err == nil && from.IsQueue() {
		e.MaxMessageSize = min(e.MaxMessageSize, from.MaxMessageSize)
	}
	return e, true
}
