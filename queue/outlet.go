package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// An outgoing is one message on its way to the service.
type outgoing struct {
	ctx  context.Context
	to   *Endpoint
	wire wireMessage

	delay   int32 // in seconds
	group   string
	dedup   string
	subject string

	// result receives the outcome once.
	result chan error

	// To a FIFO endpoint: when the message was queued, and its place among
	// those of its call of Publish that have its group.
	queued time.Time
	chain  *chain
	place  int

	span *publishSpan // nil without a tracer
}

// answer gives the message its outcome. One that fails holds those behind it.
func (o *outgoing) answer(err error) {
	if err != nil && o.chain != nil {
		o.chain.fail(o.place)
	}
	o.span.end(err)
	o.result <- err
}

// wait returns the outcome, or that the context ended before it.
func (o *outgoing) wait() error {
	select {
	case err := <-o.result:
		return err
	default:
	}
	select {
	case err := <-o.result:
		return err
	case <-o.ctx.Done():
		return ended(o.to, "the message may have been sent", o.ctx)
	}
}

// ended is the error of a message whose caller, or publisher, waits no longer.
func ended(to *Endpoint, what string, ctx context.Context) error {
	return &Error{Op: "Publish", Endpoint: to.Name, URL: to.URL, Err: fmt.Errorf("%s: %w", what, context.Cause(ctx))}
}

// A target sends a batch to a queue or topic. It returns one error for each
// message, in their order, or one for the request as a whole.
type target interface {
	send(ctx context.Context, batch []*outgoing) ([]error, error)

	// where returns the URL of the queue or the ARN of the topic, if it is known.
	where() string
}

// Batches collect messages into batches and have them sent.
type batches interface {
	add(...*outgoing) bool
	close()
}

// An outlet publishes to one endpoint.
type outlet struct {
	ctx      context.Context // the publisher's
	endpoint Endpoint
	fifo     bool // of endpoint
	pinned   []string
	target   target
	batches  batches
	attempts int // to send a message that the service fails to take

	// Where encode puts the payloads of messages of more than claimAbove
	// bytes, and for how long, beyond a delay.
	payloads   PayloadStore
	claimAbove int
	keep       time.Duration

	tracer PublishTracer // nil if there is none
	stats  *Stats
	log    *slog.Logger
}

func newOutlet(ctx context.Context, config PublisherConfig, e Endpoint) (*outlet, error) {
	o := &outlet{
		ctx:      ctx,
		endpoint: e,
		fifo:     e.FIFO(),
		pinned:   pinnedKeys(e),
		attempts: sendAttempts,
		payloads: config.Payloads,
		keep:     keepPayload(e, config.Endpoints),
		stats:    config.Stats,
		log:      config.Logger.With("endpoint", e.Name, "url", e.URL),
	}
	o.tracer = guardPublish(config.Tracer, o.log)
	if o.claimAbove = e.MaxMessageSize; config.ClaimAbove > 0 {
		o.claimAbove = min(config.ClaimAbove, e.MaxMessageSize)
	}
	switch {
	case e.IsQueue():
		o.target = newQueueTarget(e, config)
	case e.IsTopic():
		o.target = &topicTarget{endpoint: e, client: config.SNS, opt: snsOptions(e, config.Stats), region: topicRegion(config, e)}
	default:
		return nil, fmt.Errorf("queue: publish to %q: %w: %s is neither sqs:// nor sns://; another watermill publisher serves it", e.Name, ErrInvalid, e.URL)
	}
	if e.FIFO() {
		o.batches = &groupBatcher{maxBytes: e.MaxMessageSize, linger: config.Linger, workers: config.Sends, flush: o.flush, groups: map[string]*group{}}
		return o, nil
	}
	o.batches = &batcher[*outgoing]{
		size:     func(o *outgoing) int { return o.wire.size() },
		maxBytes: e.MaxMessageSize,
		linger:   config.Linger,
		workers:  config.Sends,
		flush:    func(batch []*outgoing) { o.flush(batch, func(*outgoing) {}) },
	}
	return o, nil
}

// pinnedKeys returns the metadata that filters of the endpoint match on.
func pinnedKeys(e Endpoint) []string {
	keys := slices.Concat([]string{KeyFailure}, e.Attributes)
	for _, s := range e.Subscriptions {
		if s.FilterScope == FilterBody {
			continue
		}
		keys = append(keys, filterKeys(s.Filter)...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// filterKeys returns the attributes that a filter policy names, also within
// its $or.
func filterKeys(filter []byte) (keys []string) {
	var policy map[string]json.RawMessage
	if json.Unmarshal(filter, &policy) != nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(policy)) {
		var alternatives []json.RawMessage
		if key == "$or" && json.Unmarshal(policy[key], &alternatives) == nil {
			for _, a := range alternatives {
				keys = append(keys, filterKeys(a)...)
			}
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

// prepare encodes the message, with what a tracer has it carry unless that makes
// it too large, and checks it against the limits.
func (o *outlet) prepare(ctx context.Context, msg *message.Message, carrier map[string]string) (*outgoing, error) {
	if ctx.Err() != nil {
		return nil, ended(&o.endpoint, "not sent", ctx)
	}
	delay, err := o.delay(msg.Metadata.Get(KeyDelay))
	if err != nil {
		return nil, err
	}
	whole := delay
	if delay > maxDelay {
		msg, delay = dueAt(msg, time.Now().Add(delay)), maxDelay
		msg.SetContext(ctx)
	}
	wire, err := o.encode(msg, whole, carrier)
	if len(carrier) > 0 && err == nil && wire.size() > o.endpoint.MaxMessageSize {
		wire, err = o.encode(msg, whole, nil)
	}
	if err != nil {
		return nil, err
	}
	if n := wire.size(); n > o.endpoint.MaxMessageSize {
		return nil, fmt.Errorf("%w: it has %d bytes with its attributes, and the limit of endpoint %q is %d", ErrTooLarge, n, o.endpoint.Name, o.endpoint.MaxMessageSize)
	}
	out := &outgoing{
		ctx:     ctx,
		to:      &o.endpoint,
		wire:    wire,
		group:   o.group(msg),
		subject: msg.Metadata.Get(KeySubject),
		delay:   int32(seconds(delay)),
		result:  make(chan error, 1),
	}
	if o.fifo {
		if out.group == "" {
			return nil, fmt.Errorf("%w: endpoint %q is FIFO, and the message has no metadata %s, nor %s", ErrInvalid, o.endpoint.Name, KeyGroup, KeyOrder)
		}
		if out.dedup = msg.Metadata.Get(KeyDeduplication); out.dedup == "" {
			out.dedup = msg.UUID
		}
	}
	return out, nil
}

// group returns the message's group at the endpoint.
func (o *outlet) group(msg *message.Message) string {
	if group := msg.Metadata.Get(KeyGroup); group != "" || !o.fifo {
		return group
	}
	return msg.Metadata.Get(KeyOrder)
}

// delay returns what the value of [KeyDelay] asks for.
func (o *outlet) delay(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d < 0 || d > MaxDelay:
		return 0, fmt.Errorf("%w: metadata %s is %q; want a duration of 0s to %v", ErrInvalid, KeyDelay, text, MaxDelay)
	case d == 0:
		return 0, nil
	case o.endpoint.IsTopic():
		return 0, fmt.Errorf("%w: metadata %s is %q, but endpoint %q is a topic, which cannot delay; set the Delay of the queues that subscribe", ErrInvalid, KeyDelay, text, o.endpoint.Name)
	case o.fifo:
		return 0, fmt.Errorf("%w: metadata %s is %q, but endpoint %q is FIFO, which delays all messages alike; set its Delay", ErrInvalid, KeyDelay, text, o.endpoint.Name)
	}
	return d, nil
}

// seconds rounds a duration up to whole seconds.
func seconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// Retries of messages that the service failed to take, on top of the SDK's
// retries of whole requests.
const (
	sendAttempts  = 4
	sendBackoff   = 50 * time.Millisecond
	maxSendPeriod = time.Minute
)

// flush sends a batch until every message has its result, and tells done of
// each that has.
func (o *outlet) flush(batch []*outgoing, done func(*outgoing)) {
	answer := func(out *outgoing, err error) {
		out.answer(err)
		done(out)
	}
	batch = o.drop(batch, answer)
	if len(batch) == 0 {
		return
	}
	ctx, cancel := o.batchContext(batch)
	defer cancel()
	for attempt := 1; ; attempt++ {
		errs := o.send(ctx, batch)
		var again []*outgoing
		for i, out := range batch {
			err := errs[i]
			if err == nil {
				o.stats.sent.Add(1)
			}
			var e *Error
			if errors.As(err, &e) && e.Entry && retryable(e.Kind) && attempt < o.attempts && !overtaken(batch[i:], errs[i:]) {
				again = append(again, out)
				continue
			}
			answer(out, err)
		}
		if batch = o.drop(again, answer); len(batch) == 0 {
			return
		}
		o.log.Debug("send again what the service failed to take", "messages", len(batch), "attempt", attempt+1)
		if !sleep(ctx, jitter(sendBackoff<<(attempt-1))) {
			for _, out := range batch {
				answer(out, ended(&o.endpoint, "not sent", ctx))
			}
			return
		}
	}
}

// drop answers the messages whose callers have gone, and those behind a failed
// one, and returns the others.
func (o *outlet) drop(batch []*outgoing, answer func(*outgoing, error)) []*outgoing {
	return slices.DeleteFunc(batch, func(out *outgoing) bool {
		switch {
		case out.chain != nil && out.chain.holds(out.place):
			answer(out, o.errHeld(out))
		case out.ctx.Err() != nil:
			answer(out, ended(&o.endpoint, "not sent", out.ctx))
		default:
			return false
		}
		return true
	})
}

// batchContext returns a context that ends when the publisher gives up, or when
// the callers of all messages have.
func (o *outlet) batchContext(batch []*outgoing) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(o.ctx, maxSendPeriod)
	if slices.ContainsFunc(batch, func(out *outgoing) bool { return out.ctx.Done() == nil }) {
		return ctx, cancel // somebody waits in any case
	}
	var left atomic.Int64
	left.Store(int64(len(batch)))
	stops := make([]func() bool, len(batch))
	for i, out := range batch {
		stops[i] = context.AfterFunc(out.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// send sends the batch once and returns an error for each message. A request
// that the service refuses for what one message is must not fail the others,
// so it is sent again in halves.
func (o *outlet) send(ctx context.Context, batch []*outgoing) []error {
	errs, err := o.request(ctx, batch)
	if err == nil {
		return errs
	}
	if len(batch) > 1 && (errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooLarge)) {
		half := len(batch) / 2
		errs := o.send(ctx, batch[:half])
		return slices.Concat(errs, o.sendBehind(ctx, batch[:half], errs, batch[half:]))
	}
	if o.ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(o.ctx), err)
	}
	return slices.Repeat([]error{err}, len(batch))
}

// sleep waits and returns true, or returns false when the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter returns a duration between half of d and d.
func jitter(d time.Duration) time.Duration {
	if d <= 1 {
		return d
	}
	return d/2 + rand.N(d/2)
}
