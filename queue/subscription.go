package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sync/semaphore"
)

// A subscription receives from one queue for one call of Subscribe. Its
// goroutines are:
//
//	run      owns the others, and ends after them
//	poll     one a poller: receives, and delivers what it received in order
//	follow   one a delivered message (or FIFO group): waits for its ack or nack
//	beat     the heartbeat
//
// and the workers of the two batchers. A message's stations are received, with
// the poller, under a slot that it got before; delivered, with the reader of out; settled, with a batcher.
type subscription struct {
	config   SubscriberConfig
	endpoint Endpoint
	client   SQSReceiver
	opt      func(*sqs.Options)
	tracer   SubscribeTracer // nil if there is none
	stats    *Stats
	log      *slog.Logger

	// What lookup found.
	url             atomic.Pointer[string]
	maxReceiveCount atomic.Int64
	redriveCount    atomic.Int64 // the queue's own; 0 if it has no redrive policy

	// handled counts the messages that are acked and not yet deleted, by
	// their ids. s.mu guards it.
	handled map[string]int

	// failing is the error of the last receive of poller 0, or nil.
	failing atomic.Pointer[Error]

	out chan *message.Message

	// draining is closed when the subscription stops receiving and
	// delivering, abandoned when it stops waiting for handlers.
	draining  chan struct{}
	abandoned chan struct{}

	// handlers is the parent of the messages' contexts.
	handlers    context.Context
	endHandlers context.CancelCauseFunc

	// settling ends when Close waits no longer for messages to be settled.
	settling    context.Context
	endSettling context.CancelFunc

	// slots has one for each message that is out, is on its way there, or may
	// be in the answer to a receive. taking is with the poller that takes some.
	slots  chan struct{}
	taking chan struct{}

	breaker *Breaker // nil if there is none
	pace    *pace

	held      *semaphore.Weighted
	following sync.WaitGroup

	// mu guards what is to be given back when the last receive is over, and the
	// last lane of each FIFO group that has one.
	mu     sync.Mutex
	polled bool
	late   []*held
	groups map[string]chan struct{}

	beats   *heartbeat
	deletes *batcher[*held]
	changes *batcher[visibilityChange]
	hops    *batcher[hop]
}

const (
	// pendingDeletes is how many messages may wait for their deletion, or
	// behind others of their FIFO group, beyond those that are out, before
	// receiving pauses.
	pendingDeletes = 1000

	// settleRequests caps the requests of each batcher under way at once.
	settleRequests = 16

	// changeLinger is how long a nacked message waits for others to share the
	// request that changes their visibility.
	changeLinger = 5 * time.Millisecond

	// abandonAfter is how long handlers have to nack their message after
	// their context ended because the drain ran out of time.
	abandonAfter = time.Second

	// settleTimeout is how much longer the service has to settle messages.
	settleTimeout = 5 * time.Second
)

func newSubscription(config SubscriberConfig, e Endpoint) *subscription {
	s := &subscription{
		config:    config,
		endpoint:  e,
		client:    config.SQS,
		opt:       sqsOptions(e, config.Stats),
		stats:     config.Stats,
		log:       config.Logger.With("endpoint", e.Name, "url", e.URL),
		out:       make(chan *message.Message),
		draining:  make(chan struct{}),
		abandoned: make(chan struct{}),
		slots:     make(chan struct{}, e.Concurrency),
		taking:    make(chan struct{}, 1),
		groups:    map[string]chan struct{}{},
		held:      semaphore.NewWeighted(int64(e.Concurrency + pendingDeletes)),
		pace:      newPace(e.Pollers),
		handled:   map[string]int{},
	}
	s.tracer = guardSubscribe(config.Tracer, s.log)
	if config.BreakerFor != nil {
		s.breaker = config.BreakerFor(e)
	}
	s.beats = newHeartbeat(e.Visibility, config.MaxHold, s.extend, s.lost)
	s.deletes = &batcher[*held]{linger: config.DeleteLinger, workers: settleRequests, flush: s.flushDeletes}
	s.changes = &batcher[visibilityChange]{linger: changeLinger, workers: settleRequests, flush: s.flushChanges}
	s.hops = &batcher[hop]{size: hop.size, maxBytes: e.MaxMessageSize, linger: changeLinger, workers: settleRequests, flush: s.flushHops}
	return s
}

// batchSize returns how many messages a receive asks for.
func batchSize(e Endpoint) int { return min(maxBatch, e.Concurrency) }

// run receives until ctx ends or closing is closed, drains, and closes out.
func (s *subscription) run(ctx context.Context, closing <-chan struct{}) {
	defer close(s.out)
	s.handlers, s.endHandlers = context.WithCancelCause(context.WithoutCancel(ctx))
	defer s.endHandlers(ErrClosed)

	s.settling, s.endSettling = context.WithCancel(context.Background())
	defer s.endSettling()

	beating, stopBeating := context.WithCancel(s.settling)
	var beat sync.WaitGroup
	beat.Go(func() { s.beats.run(beating) })

	polling, stopPolling := context.WithCancel(context.Background())
	var polls sync.WaitGroup
	full := make(chan struct{}, s.endpoint.Pollers)
	for i := range s.endpoint.Pollers {
		polls.Go(func() { s.poll(polling, i, full) })
	}

	select {
	case <-ctx.Done():
	case <-closing:
	}
	s.log.Debug("draining")
	close(s.draining)
	giveUp := time.AfterFunc(s.config.DrainTimeout+abandonAfter+settleTimeout, s.endSettling)
	defer giveUp.Stop()
	stopPolling()
	polls.Wait()
	s.giveBackLate()
	s.awaitHandlers()
	s.hops.close() // which adds to the others
	s.changes.close()
	s.deletes.close()
	stopBeating()
	beat.Wait()
	s.log.Debug("drained")
}

// awaitHandlers waits for the messages that are out. When that takes longer
// than the drain may, it ends their contexts, gives the handlers a moment to
// nack, and then waits no longer.
func (s *subscription) awaitHandlers() {
	end := time.AfterFunc(s.config.DrainTimeout, func() {
		s.endHandlers(fmt.Errorf("queue: the subscription to %q is %w, and the handler did not finish within %v", s.endpoint.Name, ErrClosed, s.config.DrainTimeout))
	})
	defer end.Stop()
	abandon := time.AfterFunc(s.config.DrainTimeout+abandonAfter, func() { close(s.abandoned) })
	defer abandon.Stop()
	s.following.Wait()
}
