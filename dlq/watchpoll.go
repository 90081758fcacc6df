package dlq

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/queue"
)

// A watched is a queue that a watcher reads. Watcher.mu guards it, but for name and
// queue, which the goroutine of Run alone writes.
type watched struct {
	name               string
	queue              *queue.Queue // nil until it is found
	sources, endpoints []string

	limits                    Limits
	depth, growth, unreadable bound

	read     int // how often
	readings []reading
	last     reading
	oldest   *time.Duration // nil: not known
	failed   int            // how often in a row it could not be read
	errors   int            // and in all
	err      error          // why
}

// A reading is what a queue held.
type reading struct {
	at              time.Time
	depth, inFlight int
	growth          int
}

// A listing is how the list of queues stands.
type listing struct {
	failed     int // in a row
	errors     int
	unreadable bound
}

func unreadableBound() bound { return newBound(UnreadableAfter, 1, 1, 1) }
func newListing() listing    { return listing{unreadable: unreadableBound()} }
func (q *watched) key() string {
	if q.queue != nil {
		return q.queue.URL
	}
	return q.name
}

func (q *watched) init(l Limits) {
	q.limits = l
	q.depth = newBound(l.Depth, l.DepthLow, l.RaiseAfter, l.ClearAfter)
	q.growth = newBound(l.Growth, l.GrowthLow, l.RaiseAfter, l.ClearAfter)
	q.unreadable = unreadableBound()
}

// poll reads all queues once.
func (w *Watcher) poll(ctx context.Context) {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.watched))
	w.mu.Unlock()
	slices.SortFunc(all, func(a, b *watched) int { return strings.Compare(a.key(), b.key()) })
	found, attributes, errs := make([]*queue.Queue, len(all)), make([]queue.QueueAttributes, len(all)), make([]error, len(all))
	var calls errgroup.Group
	calls.SetLimit(listCalls)
	for i, q := range all {
		calls.Go(func() error {
			found[i], attributes[i], errs[i] = w.readQueue(ctx, q)
			return nil
		})
	}
	_ = calls.Wait()
	ages := w.ages(ctx, found, errs)
	if ctx.Err() != nil {
		return // what failed may have failed for that
	}
	w.rekey(all, found)
	now := time.Now()
	whole := true
	for i, q := range all {
		if errs[i] != nil {
			whole = false
			w.missed(q, errs[i], now)
			continue
		}
		w.seen(q, attributes[i], ages[i], now)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polls++
	if whole && w.listing.failed == 0 {
		w.last = now
	}
}

func (w *Watcher) readQueue(ctx context.Context, q *watched) (found *queue.Queue, a queue.QueueAttributes, err error) {
	if found = q.queue; found == nil {
		if found, err = w.client.queues.Queue(ctx, q.name); err != nil {
			return nil, a, err
		}
	}
	a, err = found.Attributes(ctx)
	return found, a, err
}

// rekey files the queues that were found.
func (w *Watcher) rekey(all []*watched, found []*queue.Queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, q := range all {
		if q.queue == nil && found[i] != nil {
			delete(w.watched, q.key())
			q.queue, q.name = found[i], found[i].Name
			w.watched[q.key()] = q
		}
	}
}

// ages returns the ages of oldest messages that are known.
func (w *Watcher) ages(ctx context.Context, found []*queue.Queue, errs []error) []*time.Duration {
	ages := make([]*time.Duration, len(found))
	if w.config.Ages == nil {
		return ages
	}
	var queues []*queue.Queue
	var at []int
	for i, q := range found {
		if errs[i] == nil {
			queues, at = append(queues, q), append(at, i)
		}
	}
	for i, age := range w.config.Ages.OldestAges(ctx, queues) {
		switch {
		case age.Err == nil:
			ages[at[i]] = &age.Age
		case !errors.Is(age.Err, queue.ErrNoAge) && ctx.Err() == nil:
			w.log.Warn("the age of the oldest message cannot be had", "queue", queues[i].Name, "error", age.Err)
		}
	}
	return ages
}

// seen takes a reading.
func (w *Watcher) seen(q *watched, a queue.QueueAttributes, oldest *time.Duration, now time.Time) {
	w.mu.Lock()
	q.failed, q.err, q.oldest = 0, nil, oldest
	q.last = reading{at: now, depth: a.Visible + a.InFlight + a.Delayed, inFlight: a.InFlight}
	q.readings = append(q.readings, q.last)
	for len(q.readings) > 1 && now.Sub(q.readings[1].at) >= q.limits.Window {
		q.readings = q.readings[1:]
	}
	q.last.growth = q.last.depth - q.readings[0].depth
	q.read++
	notices := slices.Concat(
		q.judge(&q.unreadable, AlarmUnreadable, 0, now, w.config.Remind),
		q.judge(&q.depth, AlarmDepth, q.last.depth, now, w.config.Remind),
		q.judge(&q.growth, AlarmGrowth, q.last.growth, now, w.config.Remind))
	w.mu.Unlock()
	w.tell(notices)
}

// missed takes that there is no reading.
func (w *Watcher) missed(q *watched, err error, now time.Time) {
	w.mu.Lock()
	q.failed++
	q.errors++
	q.err = err
	notices := q.judge(&q.unreadable, AlarmUnreadable, q.failed, now, w.config.Remind)
	first := q.failed == 1
	w.mu.Unlock()
	if first {
		w.log.Warn("a dead-letter queue cannot be read; its alarms stay as they are", "queue", q.name, "error", err)
	}
	w.tell(notices)
}

// noteListing takes whether the queues could be listed.
func (w *Watcher) noteListing(err error) {
	now := time.Now()
	w.mu.Lock()
	if err == nil {
		w.listing.failed = 0
	} else {
		w.listing.failed++
		w.listing.errors++
	}
	all := &watched{failed: w.listing.failed, err: err}
	notices := all.judge(&w.listing.unreadable, AlarmUnreadable, w.listing.failed, now, w.config.Remind)
	w.mu.Unlock()
	w.tell(notices)
}

// judge returns the notice of a reading, if there is one.
func (q *watched) judge(b *bound, alarm AlarmKind, value int, now time.Time, remind time.Duration) []Notice {
	event := EventRaised
	switch changed := b.read(value, now); {
	case changed && !b.raised:
		event = EventCleared
	case changed:
	case b.raised && remind > 0 && now.Sub(b.remindedAt) >= remind:
		event, b.remindedAt = EventStill, now
	default:
		return nil
	}
	n := Notice{
		Version: 1, Event: event, Alarm: alarm, Queue: q.name, Sources: q.sources, Value: value, High: b.high, Low: b.low,
		Depth: q.last.depth, InFlight: q.last.inFlight, Growth: q.last.growth, WindowSeconds: q.limits.Window.Seconds(),
		Since: b.since, At: now,
	}
	if q.queue != nil {
		n.URL = q.queue.URL
	}
	if q.oldest != nil {
		seconds := q.oldest.Seconds()
		n.OldestSeconds = &seconds
	}
	if q.err != nil {
		n.Error = q.err.Error()
	}
	return []Notice{n}
}

// tell says what there is to say.
func (w *Watcher) tell(notices []Notice) {
	for _, n := range notices {
		if w.config.OnNotice != nil {
			w.config.OnNotice(n)
		}
		if w.outbox != nil {
			w.outbox.add(n)
		}
	}
}
