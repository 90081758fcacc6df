package queue

import (
	"context"
	"crypto/md5"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// A held is a message that was received and is not settled.
type held struct {
	message  *message.Message
	delivery *Delivery
	receipt  string
	received sqstypes.Message
	group    string // of a FIFO queue
	damage   error  // what is received is not the message, or not all of it

	// ctx is the handler's context.
	ctx context.Context
	end context.CancelCauseFunc

	// process is the context of the tracer while the message is delivered.
	process *context.Context

	// trial says that the message tries what the breaker is about.
	trial bool

	// lost says that the message may be with another receiver.
	lost atomic.Bool

	// acked says that the message is handled, and to be deleted; noted, that
	// it is not to be handled again until it is.
	acked atomic.Bool
	noted bool

	// Of whoever follows the message: it is given back because it failed, and
	// after which delay it, or one behind a failed one, is.
	failed bool
	back   time.Duration

	// Under the heartbeat's lock: when the visibility ends at the earliest,
	// the timer of that once it matters, and a channel that is closed when the extension under
	// way is over.
	deadline  time.Time
	expiry    *time.Timer
	extending chan struct{}

	// The neighbours in the list that the message is in, if it is.
	listed     bool
	next, prev *held
}

// A heldList is a list of held messages, which are in one at most. That costs less
// for each than to be in a map.
type heldList struct {
	first *held
}

func (l *heldList) add(h *held) {
	h.listed, h.next = true, l.first
	if h.next != nil {
		h.next.prev = h
	}
	l.first = h
}

// remove removes the message if it is in the list.
func (l *heldList) remove(h *held) {
	if !h.listed {
		return
	}
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		l.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	h.listed, h.next, h.prev = false, nil, nil
}

// hold turns messages that were handed out at a time into held ones, whose
// visibility the heartbeat extends from now on. It waits for payloads from the
// store until ctx ends.
func (s *subscription) hold(ctx context.Context, messages []sqstypes.Message, at time.Time) []*held {
	all, fifo := make([]*held, len(messages)), s.endpoint.FIFO()
	for i, m := range messages {
		h := &held{
			receipt:  aws.ToString(m.ReceiptHandle),
			received: m,
			delivery: &Delivery{
				Endpoint:         s.endpoint,
				QueueURL:         aws.ToString(s.url.Load()),
				MessageID:        aws.ToString(m.MessageId),
				ReceiveCount:     int(systemNumber(m, sqstypes.MessageSystemAttributeNameApproximateReceiveCount)),
				MaxReceiveCount:  int(s.maxReceiveCount.Load()),
				SentAt:           systemTime(m, sqstypes.MessageSystemAttributeNameSentTimestamp),
				FirstReceivedAt:  systemTime(m, sqstypes.MessageSystemAttributeNameApproximateFirstReceiveTimestamp),
				ReceivedAt:       at,
				DeadLetterSource: m.Attributes[string(sqstypes.MessageSystemAttributeNameDeadLetterQueueSourceArn)],
				Trace:            m.Attributes[string(sqstypes.MessageSystemAttributeNameAWSTraceHeader)],
			},
		}
		if fifo {
			h.group = m.Attributes[string(sqstypes.MessageSystemAttributeNameMessageGroupId)]
		}
		h.message, h.damage = readMessage(m, h.delivery, nil), damage(m)
		h.ctx, h.end = context.WithCancelCause(NewContext(s.handlers, h.delivery))
		h.message.SetContext(h.ctx)
		all[i] = h
	}
	for _, h := range all { // not before all are read: what panics there must not be kept
		s.beats.add(h, at)
	}
	s.fetchAll(ctx, all, messages)
	return all
}

// damage compares the MD5 of a received body with the queue's.
func damage(m sqstypes.Message) error {
	body, sum := aws.ToString(m.Body), aws.ToString(m.MD5OfBody)
	if sumOf(body, sum) {
		return nil
	}
	return fmt.Errorf("%w: the MD5 of the body is %x, and the queue says %s", ErrDamaged, md5.Sum([]byte(body)), sum)
}

// readMessage decodes a received message. What the envelope and the decoding
// tell goes into the delivery. A payload takes the place of a reference to it.
func readMessage(m sqstypes.Message, d *Delivery, payload []byte) *message.Message {
	w := wireMessage{body: aws.ToString(m.Body), attributes: make(attributes, 0, len(m.MessageAttributes))}
	for name, v := range m.MessageAttributes {
		a := attribute{dataType: aws.ToString(v.DataType), value: aws.ToString(v.StringValue)}
		if a.binary() {
			a.value = string(v.BinaryValue)
		}
		w.attributes.add(name, a)
	}
	id, subject := d.MessageID, ""
	w, e, enveloped, broken := openEnvelope(w)
	if enveloped {
		id, subject, d.Topic = e.MessageID, e.Subject, e.TopicArn
	}
	if payload != nil {
		w.body = string(payload)
		w.attributes.remove(AttrEncoding)
	}
	msg, err := decode(w, id, broken)
	d.Undecodable = err
	setMissing(msg.Metadata, KeySubject, subject)
	setMissing(msg.Metadata, KeyGroup, m.Attributes[string(sqstypes.MessageSystemAttributeNameMessageGroupId)])
	setMissing(msg.Metadata, KeyDeduplication, m.Attributes[string(sqstypes.MessageSystemAttributeNameMessageDeduplicationId)])
	return msg
}

// setMissing sets metadata that has a value and is not there yet.
func setMissing(metadata message.Metadata, key, value string) {
	if _, ok := metadata[key]; !ok && value != "" {
		metadata[key] = value
	}
}

// systemNumber reads a number from a message's system attributes; 0 if it is
// not there.
func systemNumber(m sqstypes.Message, name sqstypes.MessageSystemAttributeName) int64 {
	n, _ := strconv.ParseInt(m.Attributes[string(name)], 10, 64)
	return n
}

// systemTime reads a time in milliseconds from a message's system attributes.
func systemTime(m sqstypes.Message, name sqstypes.MessageSystemAttributeName) time.Time {
	if ms := systemNumber(m, name); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}
