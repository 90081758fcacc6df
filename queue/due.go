package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// MaxDelay is the longest [KeyDelay].
const MaxDelay = 14 * 24 * time.Hour

// dueAt returns the message with [KeyDue] in its metadata.
func dueAt(msg *message.Message, due time.Time) *message.Message {
	m := message.NewMessage(msg.UUID, msg.Payload)
	maps.Copy(m.Metadata, msg.Metadata)
	m.Metadata.Set(KeyDue, due.UTC().Format(time.RFC3339Nano))
	return m
}

// unfetched reports whether the message's payload is still in a store.
func (h *held) unfetched() bool { return isClaim(h.delivery.Undecodable) }

// due returns the message's [KeyDue], if it can be read.
func (h *held) due() (text string, ok bool) {
	if h.delivery.Undecodable != nil && !h.unfetched() {
		return "", false
	}
	text, ok = h.message.Metadata[KeyDue]
	return text, ok
}

// early returns for how long a received message is still to be hidden, and takes
// [KeyDue] off one that is due. What is no time, or further away than any that a
// publisher sets, hides nothing.
func (s *subscription) early(h *held) time.Duration {
	text, ok := h.due()
	if !ok || s.endpoint.FIFO() {
		return 0
	}
	due, err := time.Parse(time.RFC3339Nano, text)
	left := time.Until(due)
	if err != nil || left > MaxDelay {
		s.log.Warn("a message has no possible time to be due at; delivering it now", "uuid", h.message.UUID, "message_id", h.delivery.MessageID, "due", text)
		left = 0
	}
	if left > 0 {
		return left
	}
	delete(h.message.Metadata, KeyDue)
	if err == nil {
		h.delivery.Due = due
	}
	return 0
}

// A hop sends a message that is not due to its queue again.
type hop struct {
	*held
	seconds int32
}

func (h hop) size() int {
	n := len(aws.ToString(h.received.Body))
	for name, a := range h.received.MessageAttributes {
		n += len(name) + len(aws.ToString(a.DataType)) + len(aws.ToString(a.StringValue)) + len(a.BinaryValue)
	}
	return n
}

// hide sends a message that is not due to its queue again, hidden for as long as
// SQS can, and deletes it then. It is always in the queue: if the process dies in
// between, it is there twice.
func (s *subscription) hide(h *held, left time.Duration) {
	s.hops.add(hop{h, int32(seconds(min(left, maxDelay)))})
}

// flushHops sends a batch again, and deletes what was sent.
func (s *subscription) flushHops(batch []hop) {
	settle(s.settling, batch, 0, s.sendHops, func(h hop, err error) {
		if err == nil {
			s.remove(h.held)
			return
		}
		left := s.early(h.held)
		var e *Error
		if errors.As(err, &e) && retryable(e.Kind) {
			left = min(left, maxDelay)
		} // else it will not get better, and each receive counts
		s.log.Warn("cannot send a message again that is not due; hiding it", "uuid", h.message.UUID, "message_id", h.delivery.MessageID, "left", left, "error", err)
		h.end(nil)
		s.changeVisibility(h.held, left)
	})
}

func (s *subscription) sendHops(ctx context.Context, batch []hop) ([]error, error) {
	const op = "SendMessageBatch"
	client, ok := s.client.(SQSSender)
	if !ok {
		return nil, fmt.Errorf("%w: the client of the subscriber cannot send", ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ids := entryIDs()
	in := &sqs.SendMessageBatchInput{QueueUrl: s.url.Load(), Entries: make([]sqstypes.SendMessageBatchRequestEntry, len(batch))}
	for i, h := range batch {
		e := sqstypes.SendMessageBatchRequestEntry{
			Id:                &ids[i],
			MessageBody:       h.received.Body,
			MessageAttributes: h.received.MessageAttributes,
			DelaySeconds:      h.seconds,
			MessageGroupId:    optional(h.received.Attributes[string(sqstypes.MessageSystemAttributeNameMessageGroupId)]),
		}
		if trace := h.received.Attributes[string(sqstypes.MessageSystemAttributeNameAWSTraceHeader)]; trace != "" {
			e.MessageSystemAttributes = map[string]sqstypes.MessageSystemAttributeValue{
				string(sqstypes.MessageSystemAttributeNameForSendsAWSTraceHeader): {DataType: aws.String(typeString), StringValue: aws.String(trace)},
			}
		}
		in.Entries[i] = e
	}
	out, err := client.SendMessageBatch(ctx, in, s.opt)
	if err != nil {
		return nil, newError(op, s.endpoint, err)
	}
	var taken []*string
	for _, e := range out.Successful {
		taken = append(taken, e.Id)
	}
	return s.results(op, len(batch), taken, out.Failed), nil
}
