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

	// fitRounds bounds the search for the longest record that fits: where
	// metadata has to be packed, the record costs more than its size.
	fitRounds = 4
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
// with the shortest record, and with none.
func (f *filter) letters(ctx context.Context, msg *message.Message, failure queue.Failure) func(func(*message.Message) bool) {
	return func(yield func(*message.Message) bool) {
		shortest := queue.Failure{
			Reason: failure.Reason, Filter: failure.Filter, Source: failure.Source, Cut: true,
		}
		for _, record := range []queue.Failure{failure, shortest} {
			letter, ok := f.letter(msg, record)
			if !ok {
				continue
			}
			letter.SetContext(ctx)
			if !yield(letter) {
				return
			}
		}
		letter := bare(msg)
		letter.SetContext(ctx)
		yield(letter)
	}
}

// letter returns the message with the record, shortened as it must be, and
// whether that is possible.
func (f *filter) letter(msg *message.Message, failure queue.Failure) (*message.Message, bool) {
	letter := bare(msg)
	limit, measure := f.limit()
	room := maxRecord
	if measure != nil {
		n, err := measure(letter)
		if err != nil {
			return nil, false
		}
		room = min(room, limit-n)
	}
	for range fitRounds {
		short, ok := failure.Fit(room)
		if !ok || short.Encode(letter) != nil {
			return nil, false
		}
		if measure == nil {
			return letter, true
		}
		n, err := measure(letter)
		if err != nil {
			return nil, false
		}
		if n <= limit {
			return letter, true
		}
		room -= n - limit
	}
	return nil, false
}

// bare returns the message without a record.
func bare(msg *message.Message) *message.Message {
	letter := message.NewMessage(msg.UUID, msg.Payload)
	maps.Copy(letter.Metadata, msg.Metadata)
	delete(letter.Metadata, queue.KeyFailure)
	return letter
}

// limit returns the size limit of dead letters, and what measures them, if the
// dead-letter queue is one of SQS. The limit is not above that of the queue the
// message was in: it is often lowered for both.
func (f *filter) limit() (int, func(*message.Message) (int, error)) {
	e, err := f.config.Endpoints.Resolve(f.deadLetter)
	if err != nil || !e.IsQueue() {
		return 0, nil
	}
	limit := e.MaxMessageSize
	if from, err := f.config.Endpoints.Resolve(f.route.From); err == nil && from.IsQueue() {
		limit = min(limit, from.MaxMessageSize)
	}
	return limit, e.Size
}
