package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// Defaults of a [WatchConfig].
const (
	DefaultWatchInterval = 30 * time.Second
	DefaultDiscover      = 10 * time.Minute
)

// A WatchConfig configures a [Watcher].
type WatchConfig struct {
	// Queues are the dead-letter queues to watch, named as for queue.Admin.
	// Defaults to all that [Client.List] finds, and goes on finding.
	Queues []string

	// Interval is how often each queue is read, with one request. At least a
	// second. Defaults to 30 seconds.
	Interval time.Duration

	// Discover is how often new queues are looked for where Queues is empty, with
	// the requests of a List. Defaults to 10 minutes.
	Discover time.Duration

	// Limits are those of all queues, and ByQueue those of some, where they differ:
	// by the name or URL of the dead-letter queue, or the name of an endpoint whose
	// dead-letter queue it is.
	Limits  Limits
	ByQueue map[string]Limits

	// Remind has a notice made again each time that an alarm has stood for so
	// long. Defaults to never.
	Remind time.Duration

	// Publisher publishes notices to Endpoint: see [Notice]. What cannot be
	// published is tried again, in order, until it is. Defaults to none.
	Publisher message.Publisher
	Endpoint  string

	// OnNotice is called with each notice when it is made, by one goroutine.
	// Defaults to none.
	OnNotice func(Notice)

	// Ages finds the ages of oldest messages, for notices and metrics, each time
	// that queues are read. Defaults to none.
	Ages AgeFinder
}

// A Watcher watches dead-letter queues, and raises alarms when they hold too much
// or grow too fast; see [Limits]. It keeps what it has seen in memory: one that is
// started anew knows of no alarm, and raises those that are due.
//
// A queue that cannot be read clears no alarm: see [AlarmUnreadable]. One that was
// taken away for good stays unreadable until a watcher is started anew.
type Watcher struct {
	client *Client
	config WatchConfig
	log    *slog.Logger
	outbox *outbox // nil without a Publisher

	mu      sync.Mutex
	watched map[string]*watched // by URL, or the name of one that was not found
	listing listing
	polls   int
	last    time.Time // when all that is watched was read last
}

// NewWatcher returns a watcher. It makes no calls.
func (c *Client) NewWatcher(config WatchConfig) (*Watcher, error) {
	bad := func(format string, args ...any) (*Watcher, error) {
		return nil, fmt.Errorf("dlq: WatchConfig: %w", fmt.Errorf(format, args...))
	}
	config.Interval = cmp.Or(config.Interval, DefaultWatchInterval)
	config.Discover = cmp.Or(config.Discover, DefaultDiscover)
	config.Queues = slices.Clone(config.Queues)
	config.ByQueue = maps.Clone(config.ByQueue)
	switch {
	case config.Interval < time.Second:
		return bad("Interval is %v; want 1s or more, or 0 for the default", config.Interval)
	case config.Discover < config.Interval:
		return bad("Discover is %v; want the Interval, %v, or more, or 0 for the default", config.Discover, config.Interval)
	case config.Remind < 0 || config.Remind > 0 && config.Remind < config.Interval:
		return bad("Remind is %v; want the Interval, %v, or more, or 0 for never", config.Remind, config.Interval)
	case (config.Publisher == nil) != (config.Endpoint == ""):
		return bad("want both Publisher and Endpoint, or neither")
	case slices.Contains(config.Queues, ""):
		return bad("Queues has an empty name; want the names of dead-letter queues")
	}
	if err := config.Limits.withDefaults().validate(config.Interval); err != nil {
		return bad("Limits: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(config.ByQueue)) {
		if err := config.ByQueue[name].over(config.Limits).withDefaults().validate(config.Interval); err != nil {
			return bad("ByQueue: %q: %w", name, err)
		}
	}
	w := &Watcher{client: c, config: config, log: c.log, watched: map[string]*watched{}, listing: newListing()}
	if config.Publisher != nil {
		w.outbox = newOutbox(config.Publisher, config.Endpoint, c.log)
	}
	return w, nil
}

// Run watches until ctx ends, and then publishes what notices it still has: until one
// fails, and for half a minute at most. It returns nil, or an error that says how many notices could not be
// published. A name of WatchConfig.Queues that is none, or whose queue does not
// exist, is an error at once; a service that cannot be reached is not. A Watcher
// runs once.
func (w *Watcher) Run(ctx context.Context) error {
	if err := w.find(ctx); err != nil {
		return err
	}
	var sending sync.WaitGroup
	if w.outbox != nil {
		sending.Go(func() { w.outbox.run(ctx) })
	}
	defer sending.Wait()
	discovered := time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		if len(w.config.Queues) == 0 && (w.listing.failed > 0 || began.Sub(discovered) >= w.config.Discover) {
			w.discover(ctx)
			discovered = began
		}
		w.poll(ctx)
		if !sleep(ctx, w.config.Interval-time.Since(began)) {
			break
		}
	}
	sending.Wait()
	return w.outbox.unsent()
}

// find makes the first list of what is watched.
func (w *Watcher) find(ctx context.Context) error {
	if len(w.config.Queues) == 0 {
		w.discover(ctx)
		return nil
	}
	for _, name := range w.config.Queues {
		q, err := w.client.queues.Queue(ctx, name)
		if err != nil && !errors.Is(err, queue.ErrUnavailable) && !errors.Is(err, queue.ErrThrottled) && !errors.Is(err, queue.ErrAccess) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("dlq: watch: %w", err)
		}
		found := &watched{name: name, queue: q}
		for e := range w.client.queues.Endpoints().All() {
			if q != nil && e.DeadLetter != "" && queue.SameQueue(e.DeadLetter, q.Endpoint.URL) && w.client.queues.Place(e) == w.client.queues.Place(q.Endpoint) {
				source, _ := e.Resource()
				found.sources, found.endpoints = append(found.sources, source), append(found.endpoints, e.Name)
			}
		}
		w.add(found)
	}
	w.tellUnknown()
	return nil
}

// listTimeout bounds one list of all queues.
const listTimeout = 2 * time.Minute

// discover adds the dead-letter queues that are not watched yet.
func (w *Watcher) discover(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := w.client.List(within)
	if ctx.Err() != nil {
		return
	}
	w.noteListing(err)
	if err != nil {
		w.log.Warn("the dead-letter queues cannot be listed; those that are known are watched on", "error", err)
		return
	}
	for _, q := range list {
		if q.Unreadable && len(q.Sources) == 0 {
			continue // it is not known to be one
		}
		found := &watched{name: q.Name, queue: q.queue}
		for _, s := range q.Sources {
			found.sources = append(found.sources, s.Name)
			found.endpoints = append(found.endpoints, s.Endpoint)
		}
		w.add(found)
	}
	w.tellUnknown()
}

// add watches a queue, if it is not watched.
func (w *Watcher) add(found *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if q := found.queue; q != nil {
		found.name = q.Name
		if missing := w.watched[q.Name]; missing != nil && missing.queue == nil { // it was not there before
			delete(w.watched, q.Name)
			missing.queue = q
			w.watched[missing.key()] = missing
		}
	}
	known := w.watched[found.key()]
	if found.queue == nil { // where it is not is not known, if it has vanished
		for _, q := range w.watched {
			if q.name == found.name {
				known = q
			}
		}
	}
	if known != nil {
		known.sources, known.endpoints = found.sources, found.endpoints
		return
	}
	found.init(w.limitsOf(found))
	w.watched[found.key()] = found
}

// limitsOf returns the limits of a queue.
func (w *Watcher) limitsOf(q *watched) Limits {
	for _, name := range slices.Sorted(maps.Keys(w.config.ByQueue)) {
		if w.means(name, q) {
			return w.config.ByQueue[name].over(w.config.Limits).withDefaults()
		}
	}
	return w.config.Limits.withDefaults()
}

// means reports whether a key of ByQueue is that of a queue.
func (w *Watcher) means(name string, q *watched) bool {
	if name == q.name || slices.Contains(q.endpoints, name) || q.queue != nil && (name == q.queue.URL || name == q.queue.Endpoint.Name) {
		return true
	}
	endpoints := w.client.queues.Endpoints()
	if bare, _, err := queue.ParseURL(queue.Qualify(endpoints.Namespace(), queue.SchemeSQS+"://"+name)); err == nil && bare == q.name {
		return true
	}
	e, err := endpoints.Resolve(name)
	if err != nil || e.Name != name || e.DeadLetter == "" {
		return false
	}
	dead, _, _ := queue.ParseURL(e.DeadLetter)
	return dead == q.name && (q.queue == nil || w.client.queues.Place(e) == w.client.queues.Place(q.queue.Endpoint))
}

// tellUnknown warns of limits that are no queue's.
func (w *Watcher) tellUnknown() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(w.config.ByQueue)) {
		if !slices.ContainsFunc(slices.Collect(maps.Values(w.watched)), func(q *watched) bool { return w.means(name, q) }) {
			w.log.Warn("there are limits for a queue that is not watched", "queue", name)
		}
	}
}
