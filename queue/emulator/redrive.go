package emulator

// burial is a message on its way to a dead-letter queue.
type burial struct {
	*message
	dlq *queue
}

// bury moves the messages of q.dead to their dead-letter queues, in order, though many may call it at once. It
// returns when those are there that were in q.dead when it was called. A message keeps its id and its receive
// count, and in a standard queue its enqueue time: SQS developer guide, "Using dead-letter queues".
func (q *queue) bury() {
	q.burying.Lock()
	defer q.burying.Unlock()
	q.mu.Lock()
	dead := q.dead
	q.dead = nil
	q.mu.Unlock()
	for len(dead) > 0 {
		n := 1
		for n < len(dead) && dead[n].dlq == dead[0].dlq {
			n++
		}
		q.move(dead[:n])
		dead = dead[n:]
	}
}

// move moves messages to one dead-letter queue, or back if that was deleted in this moment.
func (q *queue) move(dead []burial) {
	arrivals, sources := make([]arrival, len(dead)), make([]string, len(dead))
	for i, b := range dead {
		m := b.message
		sources[i] = m.source
		if q.fifo != nil {
			m = q.reborn(m)
		}
		m.source = q.arn
		arrivals[i] = arrival{message: m, dedup: m.content.id, moved: true}
	}
	if dead[0].dlq.add(arrivals...) {
		return
	}
	for i, b := range dead {
		b.source = sources[i]
		q.putBack(b.message)
	}
}

// reborn returns a message of a FIFO queue as its dead-letter queue gets it. There the enqueue time is that of
// the move, and the deduplication id the message's own id, so that no message is taken for the duplicate of
// another: SQS developer guide, "Setting-up dead-letter queue retention", "Learn how to configure a dead-letter
// queue redrive".
func (q *queue) reborn(m *message) *message {
	c := *m.content
	c.sentAt = q.clock.Now()
	return &message{content: &c, receives: m.receives, firstReceived: m.firstReceived}
}

// putBack puts a message that was taken out back: in a FIFO queue where it was, and else at the end.
func (q *queue) putBack(m *message) {
	if q.fifo == nil {
		q.add(arrival{message: m})
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return
	}
	q.messages[m.number] = m
	q.ages.push(m)
	m.line = q.fifo.line(m.group)
	behind := m.line.messages.find(func(o *message) bool { return o.number > m.number })
	m.line.messages.insert(m, behind)
	q.show(m)
	q.wake()
}
