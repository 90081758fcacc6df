package queue

import (
	"context"
	"sync"
	"time"
)

// A Delivery is what a received message's context knows about how it was
// received. Its methods may be called on nil, which is what [FromContext]
// returns for messages of another transport.
type Delivery struct {
	// Endpoint is the endpoint that the message was received from.
	Endpoint Endpoint

	// QueueURL is the URL by which SQS knows the queue.
	QueueURL string

	// MessageID is SQS's id of the message. It stays the same over all
	// receives from one queue.
	MessageID string

	// ReceiveCount is how many times the message was received from the queue,
	// this time included. SQS calls it approximate.
	ReceiveCount int

	// MaxReceiveCount is the count at which the message goes to the dead-letter
	// queue: by the redrive policy that the queue had at the time of Subscribe,
	// or by the endpoint if it had none. 0 means never.
	MaxReceiveCount int

	// SentAt is when the message was sent to the queue, FirstReceivedAt when
	// it was first received from it, and ReceivedAt when it was this time. The
	// first two are the service's times, the last is local.
	SentAt, FirstReceivedAt, ReceivedAt time.Time

	// Topic is the ARN of the topic whose envelope held the message, or empty
	// for a message that was sent to the queue directly or delivered raw.
	Topic string

	// DeadLetterSource is the ARN of the queue from which SQS itself moved the
	// message here. It is empty for a message that was sent.
	DeadLetterSource string

	// Trace is the X-Ray trace header that the message was sent with, the
	// system attribute AWSTraceHeader, or empty.
	Trace string

	// Due is when the message was due, if it had a delay of more than SQS's 15
	// minutes, and otherwise zero.
	Due time.Time

	// Undecodable is why the message could not be decoded, or nil. It matches
	// [ErrUndecodable]. The payload is then the body as it arrived; see
	// SubscriberConfig.DeliverUndecodable.
	Undecodable error

	mu     sync.Mutex
	retry  *retry
	failed error
}

// A retry is what a handler said about the redelivery of its message.
type retry struct {
	delay  time.Duration
	reason string
}

type deliveryKey struct{}

// FromContext returns the delivery of the message whose context it is, or nil
// if the message came from another transport.
func FromContext(ctx context.Context) *Delivery {
	d, _ := ctx.Value(deliveryKey{}).(*Delivery)
	return d
}

// NewContext returns a context that carries the delivery. Subscribers do so;
// tests of handlers can, too.
func NewContext(ctx context.Context, d *Delivery) context.Context {
	return context.WithValue(ctx, deliveryKey{}, d)
}

// Last reports whether this is the last receive that the queue allows: if the
// message is nacked now, SQS moves it to the dead-letter queue, without the
// reason.
func (d *Delivery) Last() bool {
	return d != nil && d.MaxReceiveCount > 0 && d.ReceiveCount >= d.MaxReceiveCount
}

// Age returns how long ago the message was sent, by the local clock.
func (d *Delivery) Age() time.Duration {
	if d == nil || d.SentAt.IsZero() {
		return 0
	}
	return time.Since(d.SentAt)
}

// Retry sets after which delay a nacked message is redelivered, and why it is
// nacked, which is logged. Call it before Nack; it does not itself nack. The
// delay is rounded up to whole seconds, and ends at most 12 hours after the
// message was received. Without it, SubscriberConfig.Backoff decides.
func (d *Delivery) Retry(delay time.Duration, reason string) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retry = &retry{delay: max(delay, 0), reason: reason}
}

// retryAfter returns what Retry was given.
func (d *Delivery) retryAfter() (retry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.retry == nil {
		return retry{}, false
	}
	return *d.retry, true
}

// Failed notes why the handling of the message failed, or with nil that it did
// not after all. It is for a [SubscribeTracer], and does not itself nack. Package
// pipeline calls it.
func (d *Delivery) Failed(err error) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
}

// told returns what Failed and Retry were told.
func (d *Delivery) told() (reason string, failed error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.retry != nil {
		reason = d.retry.reason
	}
	return reason, d.failed
}
