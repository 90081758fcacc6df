package dlq

import (
	"slices"
	"strings"
	"time"
)

// A WatchStatus is how a [Watcher] stands.
type WatchStatus struct {
	// Queues are what it watches, by name.
	Queues []WatchedQueue

	// Polls counts how often it has read them, and LastSuccess is when it read
	// all of them last. ListErrors counts how often they could not be listed.
	Polls       int
	LastSuccess time.Time
	ListErrors  int

	// Sent counts the notices that were published, Pending those that are not yet,
	// and Failed the tries that failed.
	Sent, Pending, Failed int
}

// A WatchedQueue is a queue as a [Watcher] has read it last.
type WatchedQueue struct {
	// Name and URL are the queue's; URL is empty until it is found.
	Name, URL string

	// Read says that it was read at all: without, the counts mean nothing.
	Read bool

	// Depth is how many messages it holds, InFlight how many of them receivers
	// have, and Growth how many more than a Window before.
	Depth, InFlight, Growth int

	// Oldest is the age of the oldest message, if OldestKnown.
	Oldest      time.Duration
	OldestKnown bool

	// Alarms are those that are raised.
	Alarms []AlarmKind

	// Errors counts how often it could not be read, and LastSuccess is when it
	// was read last.
	Errors      int
	LastSuccess time.Time
}

// Status returns how the watcher stands. It may be called at any time.
func (w *Watcher) Status() WatchStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := WatchStatus{Polls: w.polls, LastSuccess: w.last, ListErrors: w.listing.errors}
	for _, q := range w.watched {
		v := WatchedQueue{
			Name: q.name, Read: q.read > 0, Depth: q.last.depth, InFlight: q.last.inFlight, Growth: q.last.growth,
			Errors: q.errors, LastSuccess: q.last.at,
		}
		if q.queue != nil {
			v.URL = q.queue.URL
		}
		if q.oldest != nil {
			v.Oldest, v.OldestKnown = *q.oldest, true
		}
		for _, a := range []struct {
			kind AlarmKind
			bound
		}{{AlarmDepth, q.depth}, {AlarmGrowth, q.growth}, {AlarmUnreadable, q.unreadable}} {
			if a.raised {
				v.Alarms = append(v.Alarms, a.kind)
			}
		}
		s.Queues = append(s.Queues, v)
	}
	slices.SortFunc(s.Queues, func(a, b WatchedQueue) int { return strings.Compare(a.Name+"\n"+a.URL, b.Name+"\n"+b.URL) })
	if o := w.outbox; o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		s.Sent, s.Pending, s.Failed = o.sent, len(o.pending), o.failed
	}
	return s
}
