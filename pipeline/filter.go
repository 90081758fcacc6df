package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v4"
	"github.com/waybill-dev/waybill/queue"
)

// A filter is a filter with everything that is configured about it.
type filter struct {
	name       string
	config     *Config
	handler    Handler
	route      Route
	middleware []Middleware
	timeout    time.Duration
	retry      Retry

	chain      message.HandlerFunc // the handler with its middleware
	deadLetter string              // endpoint or URL; empty if there is none
	past       *past
	log        *slog.Logger
}

// prepare completes the filter after its options.
func (f *filter) prepare() error {
	f.log = f.config.Logger.With("filter", f.name)
	f.past = newPast(maxPast)
	if f.handler.handle == nil {
		return fmt.Errorf("pipeline: filter %q has no handler; make one with Func, Split, Sink, Messages, Raw or Consume", f.name)
	}
	if err := f.retry.validate(); err != nil {
		return fmt.Errorf("pipeline: filter %q: Retries: %w", f.name, err)
	}
	if f.timeout < 0 {
		return fmt.Errorf("pipeline: filter %q: Timeout is %v; want 0 for none, or more", f.name, f.timeout)
	}
	f.retry = f.config.Retry.over(f.retry)
	f.chain = f.call
	for _, middleware := range [][]Middleware{f.middleware, f.config.Middleware} {
		for i := len(middleware) - 1; i >= 0; i-- {
			f.chain = middleware[i](f.chain)
		}
	}
	f.deadLetter = f.config.DeadLetter
	if e, err := f.config.Endpoints.Resolve(f.route.From); err == nil && e.DeadLetter != "" {
		f.deadLetter = deadLetter(f.config.Endpoints, e)
	}
	return nil
}

// deadLetter returns what an endpoint's dead letters are published to: the URL of
// its dead-letter queue, or the endpoint which that is, where the URL means
// another in another region or account.
func deadLetter(endpoints *queue.Endpoints, from queue.Endpoint) string {
	if e, err := endpoints.Resolve(from.DeadLetter); err == nil && e.Place() == from.Place() {
		return from.DeadLetter
	}
	for e := range endpoints.All() {
		if e.Place() == from.Place() && queue.SameQueue(e.URL, from.DeadLetter) {
			return e.Name
		}
	}
	return from.DeadLetter
}

// validate checks the filter's route.
func (f *filter) validate() (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("pipeline: filter %q: %w", f.name, fmt.Errorf(format, args...)))
	}
	sends := false
	for field, endpoint := range f.route.targets {
		sends = true
		if endpoint == f.route.From {
			bad("%s names the endpoint %q that the filter receives from; it would get its own outputs", field, endpoint)
		}
		if f.config.Endpoints != nil {
			if _, err := f.config.Endpoints.Resolve(endpoint); err != nil {
				bad("%s: %w", field, err)
			}
		}
	}
	switch {
	case f.route.From == "":
		bad("it receives from nowhere; use the option From, or set filters.%s.from in the configuration", f.name)
	case f.config.Endpoints != nil:
		if e, err := f.config.Endpoints.Resolve(f.route.From); err != nil {
			bad("from: %w", err)
		} else if e.IsTopic() {
			bad("from: endpoint %q is the topic %s, and messages are received from queues; receive from the endpoint of a queue that subscribes to it", f.route.From, e.URL)
		} else if e.DeadLetter != "" {
			switch to, err := f.config.Endpoints.Resolve(f.deadLetter); {
			case err != nil:
				bad("its dead letters: %w", err)
			case to.Place() != e.Place():
				bad("its dead letters: %s, the dead-letter queue of endpoint %q, is that of %q, which is in another region or account; make it an endpoint where %[2]q is, with the same region, endpoint_url, profile and role_arn", e.DeadLetter, e.Name, to.Name)
			}
		}
	}
	switch {
	case f.handler.outputs && !sends:
		bad("its outputs go nowhere; use the option To, set filters.%s.to in the configuration, or make it a Sink", f.name)
	case !f.handler.outputs && sends:
		bad("it has no outputs, but its route sends some on; leave To and Outlet out, or make it a Func")
	}
	return errs
}

// process handles one message and settles it: it is acked when its outputs are
// published or it is in the dead-letter queue, and otherwise nacked.
func (f *filter) process(r *run, msg *message.Message) {
	ctx, cancel := r.context(msg)
	defer cancel()
	defer msg.Nack() // does nothing to a message that is acked
	calls := f.past.begin(msg.UUID)
	outs, err := f.attempts(ctx, msg, calls)
	if err == nil {
		err = f.publish(ctx, msg, outs)
		calls.note(err)
	}
	if err == nil || f.fail(ctx, msg, err, calls) {
		f.past.forget(msg.UUID)
		msg.Ack()
	}
}

// attempts runs the filter, and again in place as its policy says.
func (f *filter) attempts(ctx context.Context, msg *message.Message, calls *record) (outs []*message.Message, err error) {
	if d := queue.FromContext(ctx); d != nil && d.Undecodable != nil {
		calls.note(d.Undecodable)
		return nil, d.Undecodable
	}
	attempt := 0
	pauses := backoff.WithContext(f.retry.backoff(), ctx)
	_ = backoff.RetryNotify(func() error {
		attempt++
		calls.attempt()
		outs, err = f.attempt(ctx, msg, attempt)
		calls.note(err)
		if err != nil && !inPlace(err) {
			return backoff.Permanent(err)
		}
		return err
	}, pauses, func(err error, pause time.Duration) {
		f.log.Debug("failed; trying again", "uuid", msg.UUID, "attempt", attempt, "pause", pause, "error", err)
	})
	return outs, err
}

// attempt runs the filter once. It turns a panic into an error.
func (f *filter) attempt(ctx context.Context, msg *message.Message, attempt int) (outs []*message.Message, err error) {
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("pipeline: the filter's timeout of %v is over: %w", f.timeout, context.DeadlineExceeded))
		defer cancel()
	}
	// Each attempt has a message of its own to change.
	in := message.NewMessage(msg.UUID, msg.Payload)
	maps.Copy(in.Metadata, msg.Metadata)
	delete(in.Metadata, KeyOutlet)
	call := f.newCall(ctx, in, attempt)
	in.SetContext(NewContext(ctx, call))

	returned := false
	defer func() {
		if value := recover(); value != nil {
			outs, err = nil, &PanicError{Value: value, Stack: debug.Stack()}
		} else if !returned {
			// The goroutine ends, and with it process, which nacks.
			f.log.Error("failed", "uuid", msg.UUID, "error", errGoexit)
		}
	}()
	outs, err = f.chain(in)
	if err == nil {
		err = f.finish(call, outs) // again, for what middleware added
	}
	returned = true
	return outs, err
}

func (f *filter) newCall(ctx context.Context, in *message.Message, attempt int) *Call {
	c := &Call{
		Filter:      f.name,
		ID:          in.UUID,
		Correlation: in.Metadata.Get(queue.KeyCorrelation),
		Causation:   in.Metadata.Get(queue.KeyCausation),
		Metadata:    in.Metadata,
		Attempt:     attempt,
		bodies:      f.config.Codec,
		history:     history(in.Metadata.Get(KeyHistory), f.name),
	}
	setDefault(&c.Correlation, c.ID)
	if d := queue.FromContext(ctx); d != nil {
		c.ReceiveCount, c.SentAt = d.ReceiveCount, d.SentAt
	}
	return c
}

// call is the innermost handler: what the filter returns is complete here, so
// that middleware sees the outputs as they are sent.
func (f *filter) call(in *message.Message) ([]*message.Message, error) {
	outs, err := f.handler.handle(in)
	if err != nil {
		return nil, err
	}
	return outs, f.finish(FromContext(in.Context()), outs)
}

// fail deals with a message that failed, and reports whether it is done with.
func (f *filter) fail(ctx context.Context, msg *message.Message, err error, calls *record) bool {
	d := queue.FromContext(ctx)
	d.Failed(err)
	log := f.log.With("uuid", msg.UUID, "attempts", calls.attempts(), "error", err)
	if d != nil {
		log = log.With("message_id", d.MessageID, "receive_count", d.ReceiveCount)
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, queue.ErrVisibilityLost) {
		log.Warn("failed, and another receiver may have the message", "cause", cause)
		return false
	}
	reason, final := verdict(err, cause != nil, d)
	switch {
	case final && f.deadLetter == "":
		log.Error("failed for good, and there is no dead-letter queue; the message stays in its queue", "reason", reason)
	case final:
		moved := f.bury(ctx, msg, f.failure(reason, err, calls, d))
		if moved == nil {
			log.Warn("moved to the dead-letter queue", "reason", reason, "dead_letter", f.deadLetter)
			return true
		}
		log.Error("cannot move to the dead-letter queue; the message stays in its queue", "reason", reason, "dead_letter", f.deadLetter, "cause", moved)
	default:
		log.Warn("failed; the message goes back to its queue")
	}
	f.postpone(d, err, cause != nil)
	return false
}

// verdict says whether a failure is final, and why. An interrupted failure is
// one whose context had ended, which no error of it can be trusted after.
func verdict(err error, interrupted bool, d *queue.Delivery) (queue.Reason, bool) {
	switch {
	case isUndecodable(err) && (!errors.Is(err, queue.ErrNewer) || d.Last()):
		// What a later release wrote, one of its receivers may read yet.
		return queue.ReasonUndecodable, true
	case IsPermanent(err) && !interrupted:
		return queue.ReasonPermanent, true
	case d.Last():
		return queue.ReasonExhausted, true
	case d == nil && !interrupted:
		// The transport counts nothing and delays nothing: the attempts in
		// place are all there is.
		return queue.ReasonExhausted, true
	default:
		return "", false
	}
}

// isUndecodable reports whether a message is not what its receiver can read.
func isUndecodable(err error) bool { return errors.Is(err, queue.ErrUndecodable) }

// postpone sets after which delay a message comes again.
func (f *filter) postpone(d *queue.Delivery, err error, interrupted bool) {
	var later *retryAfterError
	switch {
	case d == nil:
	case interrupted:
		d.Retry(0, "interrupted")
	case errors.As(err, &later):
		d.Retry(later.after, err.Error())
	case f.retry.Redelivery != nil:
		d.Retry(f.retry.Redelivery(d.ReceiveCount), err.Error())
	}
}
