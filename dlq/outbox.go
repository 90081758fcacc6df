package dlq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// An outbox publishes notices in their order, each until it is out. A nil one has
// none.
type outbox struct {
	publisher message.Publisher
	endpoint  string
	log       *slog.Logger
	more      chan struct{} // there may be pending ones

	mu      sync.Mutex
	pending []*message.Message
	sent    int
	failed  int // tries
	err     error
}

const (
	// publishTimeout bounds one try to publish a notice.
	publishTimeout = 10 * time.Second

	// flushTimeout is how long tries begin for after the watcher was stopped.
	flushTimeout = 10 * time.Second

	// The first wait after a failure, and the longest.
	publishBackoff    = time.Second
	maxPublishBackoff = time.Minute
)

func newOutbox(p message.Publisher, endpoint string, log *slog.Logger) *outbox {
	return &outbox{publisher: p, endpoint: endpoint, log: log, more: make(chan struct{}, 1)}
}

func (o *outbox) add(n Notice) {
	msg, err := n.message()
	if err != nil { // it is made of nothing that has no JSON
		o.log.Error("a notice cannot be encoded", "queue", n.Queue, "error", err)
		return
	}
	o.mu.Lock()
	o.pending = append(o.pending, msg)
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends, and then what is left.
func (o *outbox) run(ctx context.Context) {
	backoff := publishBackoff
	for {
		msg := o.first()
		switch {
		case ctx.Err() != nil:
			o.flush(ctx)
			return
		case msg == nil:
			select {
			case <-o.more:
			case <-ctx.Done():
			}
		case o.publish(ctx, msg):
			backoff = publishBackoff
		default:
			sleep(ctx, backoff)
			backoff = min(2*backoff, maxPublishBackoff)
		}
	}
}

// flush publishes what is left when ctx has ended, until one fails.
func (o *outbox) flush(ctx context.Context) {
	until := time.Now().Add(flushTimeout)
	for msg := o.first(); msg != nil && time.Now().Before(until) && o.publish(ctx, msg); msg = o.first() {
	}
}

func (o *outbox) first() *message.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 {
		return nil
	}
	return o.pending[0]
}

// publish publishes the first notice, and reports whether it is out. What has begun
// is not broken off when ctx ends: then nobody would know whether it is out.
func (o *outbox) publish(ctx context.Context, msg *message.Message) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	try := msg.Copy() // a publisher may add to it
	try.SetContext(ctx)
	err := o.publisher.Publish(o.endpoint, try)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err = err; err != nil {
		o.failed++
		o.log.Warn("a notice cannot be published, and is tried again", "endpoint", o.endpoint, "notice", msg.UUID, "error", err)
		return false
	}
	o.sent++
	o.pending = o.pending[1:]
	return true
}

// unsent returns an error if there are notices that are not out.
func (o *outbox) unsent() error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 {
		return nil
	}
	err := o.err
	if err == nil {
		err = errors.New("there was no more time")
	}
	return fmt.Errorf("dlq: watch: %d notices could not be published to %q: %w", len(o.pending), o.endpoint, err)
}
