package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
)

// ErrPayloadStored is the kind of an error of [RawMessage.Decode] and
// [RawMessage.DecodeFrom] which says that the message has a reference, and its
// payload is in a [PayloadStore].
var ErrPayloadStored = errors.New("the payload is in a store")

func (e *claimedError) Is(target error) bool { return target == ErrPayloadStored }

// DecodeFrom is [RawMessage.Decode] for a message whose payload may be in a store:
// it fetches one of at most limit bytes. If that fails, the message has its
// reference, and the error matches [ErrPayloadStored] and what is wrong:
// [ErrTooLarge] beyond the limit, [ErrPayloadGone]. With a nil store it is Decode.
func (m RawMessage) DecodeFrom(ctx context.Context, store PayloadStore, limit int) (*message.Message, error) {
	msg, err := m.Decode()
	var e *claimedError
	if store == nil || !errors.As(err, &e) {
		return msg, err
	}
	payload, fetchErr := fetchPayload(ctx, store, e.claim, limit)
	if fetchErr != nil {
		return msg, fmt.Errorf("%w: %w", err, fetchErr)
	}
	var d Delivery
	d.MessageID = m.ID
	whole := readMessage(m.received(), &d, payload)
	return whole, d.Undecodable
}

// EditedFrom is [RawMessage.Edited] for a message that [RawMessage.DecodeFrom]
// decoded: a payload that is in the store stays there, and one that makes the
// message too large for the queue q is put there. Without a store it is Edited.
func (m RawMessage) EditedFrom(ctx context.Context, store PayloadStore, msg *message.Message, q *Queue) (RawMessage, error) {
	edited, err := m.Edited(msg, q)
	if store == nil || err != nil || len(msg.Payload) == 0 {
		return edited, err
	}
	c := newClaim(msg.Payload)
	_, decodeErr := m.Decode()
	var e *claimedError
	switch {
	case errors.As(decodeErr, &e) && e.claim == c:
	case edited.Size() <= q.Endpoint.MaxMessageSize, len(msg.Payload) <= leastClaimed:
		return edited, nil
	default:
		ctx, cancel := context.WithTimeout(ctx, payloadTimeout)
		defer cancel()
		if err := store.Put(ctx, c.SHA256, msg.Payload, keepPayload(q.Endpoint, nil)); err != nil {
			return RawMessage{}, fmt.Errorf("queue: payload %s of %d bytes: %w", c.SHA256, c.Size, err)
		}
	}
	w, err := encodeClaim(msg, c, pinnedKeys(q.Endpoint), m.carriedBy(msg))
	return m.rewired(msg, w, err)
}

// fetchPayload gets the payload of a claim from a store.
func fetchPayload(ctx context.Context, store PayloadStore, c claim, limit int) ([]byte, error) {
	if c.Size > limit {
		return nil, fmt.Errorf("%w: it has %d bytes, and the limit is %d", ErrTooLarge, c.Size, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, payloadTimeout)
	defer cancel()
	payload, err := store.Get(ctx, c.SHA256, c.Size)
	switch {
	case err != nil:
		return nil, err
	case newClaim(payload) != c:
		return nil, errors.New("the store has another payload there")
	}
	return payload, nil
}
