package queue

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Retries of what the service failed to settle, on top of the SDK's retries of
// whole requests.
const (
	settleAttempts   = 5
	settleBackoff    = 100 * time.Millisecond
	maxSettleBackoff = 5 * time.Second

	// deletePatience is how long the requests that delete handled messages are
	// tried again while the service is gone, or credentials have expired.
	deletePatience = 10 * time.Minute
)

// settle calls for the batch until every entry has succeeded or to try again is
// of no use, and passes each entry's outcome to done. Entries have a number of
// attempts, and so have requests unless there is patience with them.
func settle[T any](ctx context.Context, batch []T, patience time.Duration, call func(context.Context, []T) ([]error, error), done func(T, error)) {
	began := time.Now()
	for attempt := 1; ; attempt++ {
		errs, err := call(ctx, batch)
		var again []T
		for i, entry := range batch {
			entryErr := err
			if err == nil {
				entryErr = errs[i]
			}
			var e *Error
			if errors.As(entryErr, &e) && ctx.Err() == nil &&
				(retryable(e.Kind) && attempt < settleAttempts || passing(e) && time.Since(began) < patience) {
				again = append(again, entry)
				continue
			}
			done(entry, entryErr)
		}
		if batch = again; len(batch) == 0 {
			return
		}
		sleep(ctx, jitter(min(settleBackoff<<min(attempt-1, 10), maxSettleBackoff)))
	}
}

// noteHandled notes that a message is handled and to be deleted, by its id. One
// whose visibility was lost before that may be with another handler, so it is
// left to come again.
func (s *subscription) noteHandled(h *held) {
	h.acked.Store(true)
	if h.noted = !h.lost.Load(); h.noted {
		s.remember(h.delivery.MessageID)
	}
}

func (s *subscription) remember(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handled[id]++
}

// forgetHandled ends what noteHandled, or remember, began.
func (s *subscription) forgetHandled(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handled[id]--; s.handled[id] <= 0 {
		delete(s.handled, id)
	}
}

// wasHandled reports whether a message has come again because its deletion is
// late.
func (s *subscription) wasHandled(h *held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handled[h.delivery.MessageID] > 0
}

// remove deletes a handled message.
func (s *subscription) remove(h *held) {
	s.noteHandled(h)
	h.end(nil)
	s.deletes.add(h)
}

// flushDeletes deletes a batch of acked messages.
func (s *subscription) flushDeletes(batch []*held) {
	settle(s.settling, batch, deletePatience, s.deleteBatch, func(h *held, err error) {
		if err == nil {
			s.stats.deleted.Add(1)
		} else {
			s.undeleted(h, err)
		}
		if h.noted {
			s.forgetHandled(h.delivery.MessageID)
		}
		s.forget(h)
	})
}

// undeleted deals with a message that was handled and cannot be deleted. On FIFO a
// receipt is of no use when its visibility has ended, as it does while the service
// is gone. The message then comes again with another, which deletes it; that it is
// handled is remembered for so long.
func (s *subscription) undeleted(h *held, err error) {
	id := h.delivery.MessageID
	log := s.log.With("uuid", h.message.UUID, "message_id", id, "error", err)
	if !h.noted || !h.lost.Load() || !errors.Is(err, ErrInvalid) || s.isDraining() {
		log.Error("cannot delete a message that was handled; it will come again")
		return
	}
	log.Debug("cannot delete a message that was handled, as its receipt has expired; deleting it when it comes again")
	s.remember(id)
	time.AfterFunc(deletePatience, func() { s.forgetHandled(id) })
}

func (s *subscription) deleteBatch(ctx context.Context, batch []*held) ([]error, error) {
	const op = "DeleteMessageBatch"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ids := entryIDs()
	in := &sqs.DeleteMessageBatchInput{QueueUrl: s.url.Load(), Entries: make([]sqstypes.DeleteMessageBatchRequestEntry, len(batch))}
	for i, h := range batch {
		in.Entries[i] = sqstypes.DeleteMessageBatchRequestEntry{Id: &ids[i], ReceiptHandle: &h.receipt}
	}
	out, err := s.client.DeleteMessageBatch(ctx, in, s.opt)
	if err != nil {
		s.log.Debug("cannot delete handled messages", "messages", len(batch), "error", err)
		return nil, newError(op, s.endpoint, err)
	}
	taken := make([]*string, 0, len(out.Successful))
	for _, e := range out.Successful {
		taken = append(taken, e.Id)
	}
	return s.results(op, len(batch), taken, out.Failed), nil
}

// flushChanges gives a batch of messages back.
func (s *subscription) flushChanges(batch []visibilityChange) {
	settle(s.settling, batch, 0, s.changeBatch, func(c visibilityChange, err error) {
		if err == nil {
			s.stats.returned.Add(1)
		} else {
			s.log.Warn("cannot give a message back; it comes again when its visibility timeout ends", "uuid", c.message.UUID, "message_id", c.delivery.MessageID, "error", err)
		}
		s.forget(c.held)
	})
}

func (s *subscription) changeBatch(ctx context.Context, batch []visibilityChange) ([]error, error) {
	const op = "ChangeMessageVisibilityBatch"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ids := entryIDs()
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: s.url.Load(), Entries: make([]sqstypes.ChangeMessageVisibilityBatchRequestEntry, len(batch))}
	for i, c := range batch {
		in.Entries[i] = sqstypes.ChangeMessageVisibilityBatchRequestEntry{
			Id:                &ids[i],
			ReceiptHandle:     &c.receipt,
			VisibilityTimeout: c.seconds,
		}
	}
	out, err := s.client.ChangeMessageVisibilityBatch(ctx, in, s.opt)
	if err != nil {
		return nil, newError(op, s.endpoint, err)
	}
	taken := make([]*string, 0, len(out.Successful))
	for _, e := range out.Successful {
		taken = append(taken, e.Id)
	}
	return s.results(op, len(batch), taken, out.Failed), nil
}

// results returns an error for each entry of a batch.
func (s *subscription) results(op string, n int, successful []*string, failed []sqstypes.BatchResultErrorEntry) []error {
	r := newResults(n, &Error{Op: op, Endpoint: s.endpoint.Name, URL: s.endpoint.URL, Kind: ErrUnavailable, Err: errNoResult})
	for _, id := range successful {
		if i, ok := r.index(id); ok {
			r.errs[i] = nil
		}
	}
	for _, f := range failed {
		if i, ok := r.index(f.Id); ok {
			r.errs[i] = entryError(op, s.endpoint, aws.ToString(f.Code), aws.ToString(f.Message))
		}
	}
	return r.errs
}

// extend extends the visibility of a batch by the endpoint's Visibility from
// now, and returns an error for each message.
func (s *subscription) extend(ctx context.Context, batch []*held) []error {
	changes := make([]visibilityChange, len(batch))
	for i, h := range batch {
		changes[i] = visibilityChange{h, int32(s.endpoint.Visibility / time.Second)}
	}
	errs, err := s.changeBatch(ctx, changes)
	if err != nil {
		errs = make([]error, len(batch))
		for i := range errs {
			errs[i] = err
		}
	}
	for i, err := range errs {
		if err == nil {
			s.stats.extended.Add(1)
		} else {
			s.log.Debug("cannot extend a message's visibility", "uuid", batch[i].message.UUID, "message_id", batch[i].delivery.MessageID, "error", err)
		}
	}
	return errs
}

// lost logs that a message may be with another receiver.
func (s *subscription) lost(h *held, reason error) {
	s.log.Warn("lost the visibility of a message; another receiver may handle it as well", "uuid", h.message.UUID, "message_id", h.delivery.MessageID, "error", reason)
}
