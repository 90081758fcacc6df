package queue

import (
	"sync"
	"time"
)

// A groupBatcher collects messages to a FIFO endpoint into batches, and hands
// each to flush. A batch is due as those of a [batcher] are. The messages of a
// group are in one batch at a time, and in their order, while other groups go on
// beside it.
//
// It has a goroutine only while there is something to flush. It is safe for
// concurrent use.
type groupBatcher struct {
	maxBytes int           // of a batch
	linger   time.Duration // 0 or less makes every batch due at once
	workers  int           // flushes at work at once, at most

	// flush sends a batch, and tells done of each message that it is through
	// with.
	flush func(batch []*outgoing, done func(*outgoing))

	mu      sync.Mutex
	groups  map[string]*group
	free    []*group // those of which nothing is being sent, in line
	waiting int      // messages of these
	timer   *time.Timer
	due     bool // what waits has waited long enough
	busy    int  // workers running
	running sync.WaitGroup
	closed  bool
}

// A group is what waits of one message group.
type group struct {
	waiting []*outgoing
	sending int
}

// add puts the messages in line, in their order. It does not wait for them to be
// flushed. It returns false if the batcher is closed.
func (b *groupBatcher) add(messages ...*outgoing) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	now := time.Now()
	for _, o := range messages {
		o.queued = now
		g := b.groups[o.group]
		if g == nil {
			g = new(group)
			b.groups[o.group] = g
		}
		g.waiting = append(g.waiting, o)
		if g.sending > 0 {
			continue
		}
		b.waiting++
		if len(g.waiting) == 1 {
			b.free = append(b.free, g)
		}
	}
	b.arrange()
	return true
}

// arrange has what waits flushed when it is due. b.mu is held.
func (b *groupBatcher) arrange() {
	switch {
	case b.waiting == 0:
		return
	case b.linger <= 0 || b.closed:
		b.due = true
	case !b.due && b.timer == nil:
		b.timer = time.AfterFunc(b.linger-time.Since(b.free[0].waiting[0].queued), b.expire)
	}
	for n := b.waiting; (n >= maxBatch || n > 0 && b.due) && b.busy < b.workers; n -= maxBatch {
		b.busy++
		b.running.Go(b.worker)
	}
}

// expire makes due what waits.
func (b *groupBatcher) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = nil
	b.due = b.waiting > 0
	b.arrange()
}

func (b *groupBatcher) worker() {
	for {
		batch := b.next()
		if batch == nil {
			return
		}
		b.flush(batch, b.done)
	}
}

// next returns a batch that is due, or nil to end the worker.
func (b *groupBatcher) next() []*outgoing {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == 0 || b.waiting < maxBatch && !b.due {
		b.busy--
		return nil
	}
	var batch []*outgoing
	for bytes, full := 0, false; len(b.free) > 0 && !full; {
		g := b.free[0]
		before := len(g.waiting)
		for len(g.waiting) > 0 && !full {
			o := g.waiting[0]
			full = len(batch) == maxBatch || len(batch) > 0 && bytes+o.wire.size() > b.maxBytes
			if !full {
				batch, bytes = append(batch, o), bytes+o.wire.size()
				g.waiting = g.waiting[1:]
				g.sending++
			}
		}
		if g.sending == 0 {
			break // nothing of it went in: it is the next batch's
		}
		b.free = b.free[1:]
		b.waiting -= before
	}
	if b.waiting == 0 {
		b.due = false
		if b.timer != nil {
			b.timer.Stop()
			b.timer = nil
		}
	}
	return batch
}

// done notes that a message is sent or has failed, and lets its group go on after
// the last.
func (b *groupBatcher) done(o *outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[o.group]
	if g.sending--; g.sending > 0 {
		return
	}
	if len(g.waiting) == 0 {
		delete(b.groups, o.group)
		return
	}
	b.free = append(b.free, g)
	b.waiting += len(g.waiting)
	b.arrange()
}

// close makes everything due and waits until it is flushed. It may be called
// more than once.
func (b *groupBatcher) close() {
	b.mu.Lock()
	b.closed = true
	b.arrange()
	b.mu.Unlock()
	b.running.Wait()
}
