package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Receive receives up to ten messages and hides them from other receivers for
// a time: whole seconds, at most 12 hours. It waits up to wait for one to
// arrive: whole seconds, at most 20.
//
// A message whose body does not have the MD5 that the queue says was damaged on
// its way. It is returned to the queue at once, where it is intact, and logged.
// If that leaves none, the error is of the kinds [ErrDamaged] and
// [ErrUnavailable].
func (q *Queue) Receive(ctx context.Context, limit int, visibility, wait time.Duration) ([]RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:                    aws.String(q.URL),
		MaxNumberOfMessages:         int32(min(max(limit, 1), maxBatch)),
		VisibilityTimeout:           int32(visibility / time.Second),
		WaitTimeSeconds:             int32(wait / time.Second),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameAll},
	}, q.opt)
	if err != nil {
		return nil, newError("ReceiveMessage", q.Endpoint, err)
	}
	var messages, damaged []RawMessage
	var errs []error
	for _, m := range out.Messages {
		if err := damage(m); err != nil {
			damaged = append(damaged, rawMessage(m))
			errs = append(errs, fmt.Errorf("message %s: %w", aws.ToString(m.MessageId), err))
			continue
		}
		messages = append(messages, rawMessage(m))
	}
	if len(damaged) == 0 {
		return messages, nil
	}
	q.log.Warn("messages were damaged on their way; returning them to the queue", "url", q.Endpoint.URL, "error", errors.Join(errs...))
	for i, err := range q.SetVisibility(context.WithoutCancel(ctx), 0, damaged) {
		if err != nil {
			q.log.Warn("cannot return a message; it comes back when its visibility timeout ends", "url", q.Endpoint.URL, "message_id", damaged[i].ID, "error", err)
		}
	}
	if len(messages) == 0 {
		return nil, &Error{Op: "ReceiveMessage", Endpoint: q.Endpoint.Name, URL: q.Endpoint.URL, Kind: ErrUnavailable, Err: errors.Join(errs...)}
	}
	return messages, nil
}

func rawMessage(m sqstypes.Message) RawMessage {
	raw := RawMessage{
		ID:               aws.ToString(m.MessageId),
		Receipt:          aws.ToString(m.ReceiptHandle),
		Body:             aws.ToString(m.Body),
		Attributes:       make(map[string]RawAttribute, len(m.MessageAttributes)),
		Group:            m.Attributes[string(sqstypes.MessageSystemAttributeNameMessageGroupId)],
		Deduplication:    m.Attributes[string(sqstypes.MessageSystemAttributeNameMessageDeduplicationId)],
		Sequence:         m.Attributes[string(sqstypes.MessageSystemAttributeNameSequenceNumber)],
		Trace:            m.Attributes[string(sqstypes.MessageSystemAttributeNameAWSTraceHeader)],
		ReceiveCount:     int(systemNumber(m, sqstypes.MessageSystemAttributeNameApproximateReceiveCount)),
		SentAt:           systemTime(m, sqstypes.MessageSystemAttributeNameSentTimestamp),
		FirstReceivedAt:  systemTime(m, sqstypes.MessageSystemAttributeNameApproximateFirstReceiveTimestamp),
		DeadLetterSource: m.Attributes[string(sqstypes.MessageSystemAttributeNameDeadLetterQueueSourceArn)],
	}
	for name, v := range m.MessageAttributes {
		a := RawAttribute{Type: aws.ToString(v.DataType), Value: aws.ToString(v.StringValue)}
		if baseType(a.Type) == typeBinary {
			a.Value = string(v.BinaryValue)
		}
		raw.Attributes[name] = a
	}
	return raw
}

// A Sent is the outcome of sending one message: the id that it has now, or an
// error. An error of kind [ErrUnavailable], and the end of the context, can
// mean that the message was sent although the answer was lost.
type Sent struct {
	ID  string
	Err error
}

// Send sends the messages as they are, in as few requests as their number and
// size allow, and returns the outcome of each. Beyond the SDK's retries of
// whole requests it does not try again. To a FIFO queue it sends nothing of a group
// after a request in which a message of it failed: that has an error, too, of kind
// [ErrThrottled] if it may be tried again with the other.
func (q *Queue) Send(ctx context.Context, messages []RawMessage) []Sent {
	results := make([]Sent, len(messages))
	failed := map[string]error{} // by group
	var batch []RawMessage
	var indexes []int
	size := 0
	send := func() {
		for k, sent := range q.sendBatch(ctx, batch) {
			results[indexes[k]] = sent
			if sent.Err != nil && q.Endpoint.FIFO() {
				failed[batch[k].Group] = sent.Err
			}
		}
		batch, indexes, size = nil, nil, 0
	}
	for i, m := range messages {
		n := m.Size()
		if len(batch) == maxBatch || len(batch) > 0 && size+n > q.Endpoint.MaxMessageSize {
			send()
		}
		if err := failed[m.Group]; err != nil {
			results[i].Err = heldBack(err)
			continue
		}
		batch, indexes, size = append(batch, m), append(indexes, i), size+n
	}
	if len(batch) > 0 {
		send()
	}
	return results
}

// heldBack is the error of a message behind one of its group that failed. It was not
// sent, whatever became of that one.
func heldBack(err error) error {
	const text = "an earlier message of its group was not sent"
	if errors.Is(err, ErrThrottled) {
		return fmt.Errorf("%s: %w", text, err)
	}
	return fmt.Errorf("%s: %v", text, err)
}

func (q *Queue) sendBatch(ctx context.Context, batch []RawMessage) []Sent {
	const op = "SendMessageBatch"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ids := entryIDs()
	in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(q.URL), Entries: make([]sqstypes.SendMessageBatchRequestEntry, len(batch))}
	for i, m := range batch {
		in.Entries[i] = sqstypes.SendMessageBatchRequestEntry{
			Id:                     &ids[i],
			MessageBody:            aws.String(m.Body),
			MessageAttributes:      sqsAttributes(m.wire().attributes),
			MessageGroupId:         optional(m.Group),
			MessageDeduplicationId: optional(m.Deduplication),
		}
		if m.Trace != "" {
			in.Entries[i].MessageSystemAttributes = map[string]sqstypes.MessageSystemAttributeValue{
				string(sqstypes.MessageSystemAttributeNameForSendsAWSTraceHeader): {DataType: aws.String(typeString), StringValue: aws.String(m.Trace)},
			}
		}
	}
	results := make([]Sent, len(batch))
	out, err := q.client.SendMessageBatch(ctx, in, q.opt)
	unknown := &Error{Op: op, Endpoint: q.Endpoint.Name, URL: q.Endpoint.URL, Kind: ErrUnavailable, Err: errNoResult}
	if err != nil {
		unknown = newError(op, q.Endpoint, err)
	}
	for i := range results {
		results[i].Err = unknown
	}
	if err != nil {
		return results
	}
	index := newResults(len(batch), nil).index
	for _, s := range out.Successful {
		if i, ok := index(s.Id); ok {
			results[i] = Sent{ID: aws.ToString(s.MessageId), Err: checkSent(&outgoing{wire: wireMessage{body: batch[i].Body}}, aws.ToString(s.MD5OfMessageBody))}
		}
	}
	for _, f := range out.Failed {
		if i, ok := index(f.Id); ok {
			results[i] = Sent{Err: entryError(op, q.Endpoint, aws.ToString(f.Code), aws.ToString(f.Message))}
		}
	}
	return results
}

// Delete deletes received messages, and returns an error for each. It tries
// again what the service failed to do.
func (q *Queue) Delete(ctx context.Context, messages []RawMessage) []error {
	const op = "DeleteMessageBatch"
	return q.each(ctx, messages, func(ctx context.Context, batch []int) ([]error, error) {
		ids := entryIDs()
		in := &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(q.URL), Entries: make([]sqstypes.DeleteMessageBatchRequestEntry, len(batch))}
		for i, k := range batch {
			in.Entries[i] = sqstypes.DeleteMessageBatchRequestEntry{Id: &ids[i], ReceiptHandle: aws.String(messages[k].Receipt)}
		}
		out, err := q.client.DeleteMessageBatch(ctx, in, q.opt)
		if err != nil {
			return nil, newError(op, q.Endpoint, err)
		}
		var taken []*string
		for _, e := range out.Successful {
			taken = append(taken, e.Id)
		}
		return q.results(op, len(batch), taken, out.Failed), nil
	})
}

// SetVisibility has received messages hidden for a time from now: 0 returns
// them. It returns an error for each. It tries again what the service failed to
// do.
func (q *Queue) SetVisibility(ctx context.Context, d time.Duration, messages []RawMessage) []error {
	const op = "ChangeMessageVisibilityBatch"
	return q.each(ctx, messages, func(ctx context.Context, batch []int) ([]error, error) {
		ids := entryIDs()
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: aws.String(q.URL), Entries: make([]sqstypes.ChangeMessageVisibilityBatchRequestEntry, len(batch))}
		for i, k := range batch {
			in.Entries[i] = sqstypes.ChangeMessageVisibilityBatchRequestEntry{
				Id: &ids[i], ReceiptHandle: aws.String(messages[k].Receipt), VisibilityTimeout: int32(d / time.Second),
			}
		}
		out, err := q.client.ChangeMessageVisibilityBatch(ctx, in, q.opt)
		if err != nil {
			return nil, newError(op, q.Endpoint, err)
		}
		var taken []*string
		for _, e := range out.Successful {
			taken = append(taken, e.Id)
		}
		return q.results(op, len(batch), taken, out.Failed), nil
	})
}

// each calls for the indexes of messages in batches, and returns an error for
// each message.
func (q *Queue) each(ctx context.Context, messages []RawMessage, call func(context.Context, []int) ([]error, error)) []error {
	errs := make([]error, len(messages))
	indexes := make([]int, len(messages))
	for i := range indexes {
		indexes[i] = i
	}
	bounded := func(ctx context.Context, batch []int) ([]error, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return call(ctx, batch)
	}
	for batch := range slices.Chunk(indexes, maxBatch) {
		settle(ctx, batch, 0, bounded, func(k int, err error) { errs[k] = err })
	}
	return errs
}

// results returns an error for each entry of a batch.
func (q *Queue) results(op string, n int, successful []*string, failed []sqstypes.BatchResultErrorEntry) []error {
	r := newResults(n, &Error{Op: op, Endpoint: q.Endpoint.Name, URL: q.Endpoint.URL, Kind: ErrUnavailable, Err: errNoResult})
	for _, id := range successful {
		if i, ok := r.index(id); ok {
			r.errs[i] = nil
		}
	}
	for _, f := range failed {
		if i, ok := r.index(f.Id); ok {
			r.errs[i] = entryError(op, q.Endpoint, aws.ToString(f.Code), aws.ToString(f.Message))
		}
	}
	return r.errs
}
