package emulator

// Fair queues: a standard queue whose messages have groups keeps a tenant that is busy from delaying the others
// (SQS developer guide, "How Amazon SQS fair queues work").
//
// A tenant is noisy while it has at least noisyInFlight messages in flight that are more than a tenth of all.
// A receive takes the messages of the others first, in the order in which they became visible, and then those
// of the noisy tenant that has the fewest in flight. A message without a group is nobody else's, and never
// noisy. Unlike AWS, the server does not measure how long messages take, and forgets a tenant's noise at once.

// noisyInFlight is the least number of messages in flight that makes a tenant noisy.
const noisyInFlight = 30

// tenant is a group of a standard queue.
type tenant struct {
	place    // that all its messages share
	group    string
	n        int // its messages in the queue
	inFlight int
	ready    messageList // by message.shown
	heapPos  int         // in tenants.heap, while there are ready messages
}

// tenants are the groups of a standard queue. The queue's lock guards them.
type tenants struct {
	known map[string]*tenant
	heap  []*tenant // those with ready messages, the one whose first is the oldest on top
}

func newTenants() *tenants { return new(tenants) }

// enter counts a message of a group, and returns its place.
func (ts *tenants) enter(group string) *place {
	t := ts.known[group]
	if t == nil {
		if ts.known == nil {
			ts.known = make(map[string]*tenant)
		}
		t = &tenant{group: group}
		t.tenant = t
		ts.known[group] = t
	}
	t.n++
	return &t.place
}

// leave discounts a message that is no longer in the queue.
func (ts *tenants) leave(m *message) {
	t := m.tenant
	t.n--
	if t.n == 0 {
		delete(ts.known, t.group)
	}
}

// push puts a message at the end of its tenant's.
func (ts *tenants) push(m *message) {
	t := m.tenant
	t.ready.pushBack(m)
	if t.ready.n == 1 {
		t.heapPos = len(ts.heap)
		ts.heap = append(ts.heap, t)
		ts.up(t.heapPos)
	}
}

// remove takes a message from its tenant's.
func (ts *tenants) remove(m *message) {
	t := m.tenant
	first := t.ready.head == m
	t.ready.remove(m)
	switch {
	case t.ready.n == 0:
		last := len(ts.heap) - 1
		i := t.heapPos
		ts.swap(i, last)
		ts.heap[last] = nil
		ts.heap = ts.heap[:last]
		if i < last {
			ts.down(i)
			ts.up(i)
		}
	case first:
		ts.down(t.heapPos) // its first is a younger one now
	}
}

func (ts *tenants) less(i, j int) bool {
	return ts.heap[i].ready.head.shown < ts.heap[j].ready.head.shown
}

func (ts *tenants) swap(i, j int) {
	ts.heap[i], ts.heap[j] = ts.heap[j], ts.heap[i]
	ts.heap[i].heapPos, ts.heap[j].heapPos = i, j
}

func (ts *tenants) up(i int) {
	for i > 0 && ts.less(i, (i-1)/2) {
		ts.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (ts *tenants) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(ts.heap) {
			return
		}
		if right := child + 1; right < len(ts.heap) && ts.less(right, child) {
			child = right
		}
		if !ts.less(child, i) {
			return
		}
		ts.swap(i, child)
		i = child
	}
}

func (t *tenant) noisy(inFlight int) bool {
	return t.inFlight >= noisyInFlight && 10*t.inFlight > inFlight
}

// quiet returns the tenant below i in the heap that is not noisy and whose first message is the oldest, or nil.
// It looks at those alone whose first became ready no later than limit. Fewer than ten can be noisy, and it
// looks no further than one that is not.
func (ts *tenants) quiet(i int, limit uint64, inFlight int) *tenant {
	if i >= len(ts.heap) || ts.heap[i].ready.head.shown > limit {
		return nil
	}
	if t := ts.heap[i]; !t.noisy(inFlight) {
		return t
	}
	a, b := ts.quiet(2*i+1, limit, inFlight), ts.quiet(2*i+2, limit, inFlight)
	if a == nil || b != nil && b.ready.head.shown < a.ready.head.shown {
		return b
	}
	return a
}

// calmest returns the tenant below i in the heap that has the fewest messages in flight, or nil. All of them
// are noisy, so they are few.
func (ts *tenants) calmest(i int, limit uint64) *tenant {
	if i >= len(ts.heap) || ts.heap[i].ready.head.shown > limit {
		return nil
	}
	best := ts.heap[i]
	for _, child := range []int{2*i + 1, 2*i + 2} {
		t := ts.calmest(child, limit)
		if t != nil && (t.inFlight < best.inFlight || t.inFlight == best.inFlight && t.ready.head.shown < best.ready.head.shown) {
			best = t
		}
	}
	return best
}

// next returns the message that a receive of a standard queue takes next, of those that became ready no later
// than limit, or nil.
func (q *queue) next(limit uint64) *message {
	own := q.ready.head
	if own != nil && own.shown > limit {
		own = nil
	}
	if len(q.fair.heap) == 0 {
		return own
	}
	t := q.fair.quiet(0, limit, q.inFlight)
	switch {
	case own != nil && (t == nil || own.shown < t.ready.head.shown):
		return own
	case t == nil:
		t = q.fair.calmest(0, limit)
	}
	if t == nil {
		return nil
	}
	return t.ready.head
}
