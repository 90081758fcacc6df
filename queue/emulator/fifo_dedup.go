package emulator

import "time"

// dedupInterval is how long a FIFO queue remembers what was sent to it, and by which attempt messages were
// received: SQS API reference (SendMessage, ReceiveMessage).
const dedupInterval = 5 * time.Minute

// dedups are the sends that a FIFO queue remembers, whether their messages are still there or not.
type dedups struct {
	known map[dedupKey]*dedup
	order []*dedup // by time
}

// dedupKey is what makes two messages the same. The group is "" where the queue is the scope.
type dedupKey struct{ group, id string }

// dedup is one remembered send.
type dedup struct {
	at       time.Time
	group    string
	id       string // MessageDeduplicationId
	message  string // MessageId
	sequence string
	key      dedupKey
}

func (d *dedup) keyBy(byGroup bool) dedupKey {
	if byGroup {
		return dedupKey{d.group, d.id}
	}
	return dedupKey{id: d.id}
}

func (ds *dedups) add(d *dedup) {
	if ds.known == nil {
		ds.known = make(map[dedupKey]*dedup)
	}
	ds.known[d.key] = d
	ds.order = append(ds.order, d)
}

// forget drops the sends that are older than the interval.
func (ds *dedups) forget(now time.Time) {
	for len(ds.order) > 0 && now.Sub(ds.order[0].at) >= dedupInterval {
		d := ds.order[0]
		ds.order[0] = nil
		ds.order = ds.order[1:]
		if ds.known[d.key] == d {
			delete(ds.known, d.key)
		}
	}
}

// rescope makes what is remembered count in another scope.
func (ds *dedups) rescope(byGroup bool) {
	clear(ds.known)
	for _, d := range ds.order {
		d.key = d.keyBy(byGroup)
		if ds.known[d.key] == nil {
			ds.known[d.key] = d // the first
		}
	}
}

// known reports whether a message is the duplicate of one that was sent before, and what to answer then.
func (f *fifo) known(a *arrival, byGroup bool) bool {
	if a.moved {
		return false
	}
	d := f.dedup.known[(&dedup{group: a.group, id: a.dedup}).keyBy(byGroup)]
	if d == nil {
		return false
	}
	sent := *a.content // with its own digests, which the sender checks
	sent.id = d.message
	a.sent, a.sequence = &sent, d.sequence
	return true
}

// remember keeps what was sent.
func (f *fifo) remember(a *arrival, now time.Time, byGroup bool) {
	d := &dedup{at: now, group: a.group, id: a.dedup, message: a.content.id, sequence: a.sequence}
	d.key = d.keyBy(byGroup)
	f.dedup.add(d)
}
