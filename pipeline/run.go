package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/queue"
)

// abandonAfter is how long filters have to return after their contexts ended.
const abandonAfter = 2 * time.Second

// A run is what one call of [Pipeline.Run] has running.
type run struct {
	drain time.Duration

	// ctx ends when the run stops receiving, work when its filters are to
	// stop working.
	ctx     context.Context
	stop    context.CancelCauseFunc
	work    context.Context
	endWork context.CancelCauseFunc

	mu     sync.Mutex
	active map[string]int // subscriptions and calls by filter
	idle   chan struct{}  // closed when the last ends, after ctx
	closed bool
}

func newRun(ctx context.Context, drain time.Duration) *run {
	r := &run{drain: drain, active: map[string]int{}, idle: make(chan struct{})}
	r.ctx, r.stop = context.WithCancelCause(ctx)
	r.work, r.endWork = context.WithCancelCause(context.WithoutCancel(ctx))
	return r
}

func (r *run) close() {
	r.stop(nil)
	r.endWork(nil)
}

// start subscribes a filter to its endpoint, and runs it on what comes.
func (r *run) start(f *filter) error {
	messages, err := f.config.Subscriber.Subscribe(r.ctx, f.route.From)
	if err != nil {
		return fmt.Errorf("pipeline: filter %q: %w", f.name, err)
	}
	f.log.Debug("receiving", "from", f.route.From, "to", f.route.To)
	r.begin(f.name)
	go func() {
		defer r.end(f.name)
		for msg := range messages {
			r.begin(f.name)
			go func() {
				defer r.end(f.name)
				f.process(r, msg)
			}()
		}
		if r.ctx.Err() == nil {
			r.stop(fmt.Errorf("pipeline: filter %q: the subscription to %q ended", f.name, f.route.From))
		}
	}()
	return nil
}

// begin and end count what is active.
func (r *run) begin(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active[name]++
}

func (r *run) end(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active[name]--; r.active[name] == 0 {
		delete(r.active, name)
	}
	r.signal()
}

// signal closes idle when nothing is active. r.mu is held.
func (r *run) signal() {
	if r.closed && len(r.active) == 0 {
		select {
		case <-r.idle:
		default:
			close(r.idle)
		}
	}
}

// wait waits until nothing is active. It ends the contexts of the filters when
// the drain has taken its time, and gives up a moment later.
func (r *run) wait() error {
	r.mu.Lock()
	r.closed = true
	r.signal()
	r.mu.Unlock()
	end := time.AfterFunc(r.drain, func() {
		r.endWork(fmt.Errorf("pipeline: the filter was at work for %v after the pipeline was told to stop: %w", r.drain, context.Canceled))
	})
	defer end.Stop()
	limit := time.NewTimer(r.drain + abandonAfter)
	defer limit.Stop()
	select {
	case <-r.idle:
		return nil
	case <-limit.C:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.Sorted(maps.Keys(r.active))
	return fmt.Errorf("pipeline: filters did not return within %v: %s", r.drain+abandonAfter, strings.Join(left, ", "))
}

// context returns the context in which a message is handled: that of the
// message, until the run's filters are to stop.
func (r *run) context(msg *message.Message) (context.Context, context.CancelFunc) {
	outer := msg.Context()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	stopWork := context.AfterFunc(r.work, func() { cancel(context.Cause(r.work)) })
	stopOuter := context.AfterFunc(outer, func() {
		if r.ctx.Err() != nil && queue.FromContext(outer) == nil {
			// Plain transports end the contexts of all messages when a
			// subscription ends, but the drain has only begun.
			return
		}
		cancel(context.Cause(outer))
	})
	return ctx, func() {
		stopWork()
		stopOuter()
		cancel(nil)
	}
}
