package emulator

import (
	"math/rand/v2"
	"sync"
	"time"
)

// content is the part of a message that never changes. Deliveries share it without a lock.
type content struct {
	id       string
	body     string
	bodyMD5  string
	attrs    map[string]attribute
	attrsMD5 string
	trace    string // AWSTraceHeader
	traceMD5 string
	group    string // MessageGroupId; on a standard queue, a tenant of fair queues
	sender   string
	sentAt   time.Time
}

type state uint8

const (
	gone     state = iota // deleted, expired, or on its way to another queue
	ready                 // may be received
	delayed               // not yet
	inFlight              // received and hidden
)

// message is a content's place in one queue. The queue's lock guards it.
type message struct {
	*content
	number        uint64
	state         state
	visibleAt     time.Time // when delayed or inFlight ends
	receivedAt    time.Time // the latest receive
	firstReceived time.Time
	receives      int    // ApproximateReceiveCount; goes on counting in a dead-letter queue
	receipt       uint32 // the latest receive in this queue, 0 before the first
	source        string // DeadLetterQueueSourceArn

	prev, next *message // in queue.ready
	hiddenPos  int      // in queue.hidden
	agePos     int      // in queue.ages
}

// queue is one standard queue. Its lock is the only one on the way of a message, and is held for no
// I/O; no two queues' locks are ever held together, since dead-letter queues may form a ring.
//
// Time acts lazily: each operation first settles what is due. A timer runs only while somebody waits.
type queue struct {
	key     queueKey
	arn     string
	serial  uint64 // tells this queue's receipt handles from any other's
	clock   Clock
	created time.Time

	mu       sync.Mutex
	set      settings
	modified time.Time
	tags     map[string]string
	purged   time.Time
	deleted  bool

	last     uint64              // the latest message's number
	messages map[uint64]*message // all of them
	ready    readyList           // those that may be received
	hidden   timeHeap            // those delayed or in flight, by visibleAt
	ages     timeHeap            // all, by sentAt
	inFlight int                 // how many of hidden are in flight

	waiters   []*waiter
	stopTimer func() bool // of the timer for the earliest of hidden, nil if none runs
	timerAt   time.Time
}

func newQueue(key queueKey, arn string, set settings, tags map[string]string, clock Clock) *queue {
	now := clock.Now()
	return &queue{
		key: key, arn: arn, serial: rand.Uint64(), clock: clock,
		created: now, modified: now,
		set: set, tags: tags,
		messages: make(map[uint64]*message),
		hidden: timeHeap{
			at:  func(m *message) time.Time { return m.visibleAt },
			pos: func(m *message) *int { return &m.hiddenPos },
		},
		ages: timeHeap{
			at:  func(m *message) time.Time { return m.sentAt },
			pos: func(m *message) *int { return &m.agePos },
		},
	}
}

// arrival is a message on its way into a queue.
type arrival struct {
	*message
	delay time.Duration
}

// add puts messages into the queue, and reports false if the queue was deleted meanwhile.
func (q *queue) add(arrivals ...arrival) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return false
	}
	now := q.clock.Now()
	q.settle(now)
	for _, a := range arrivals {
		q.last++
		m := a.message
		m.number, m.receipt = q.last, 0
		q.messages[m.number] = m
		q.ages.push(m)
		if a.delay > 0 {
			q.hide(m, delayed, now.Add(a.delay))
		} else {
			q.show(m)
		}
	}
	q.wake()
	return true
}

// settle lets time act: what is due becomes ready, and what is too old goes.
func (q *queue) settle(now time.Time) {
	for m := q.ages.first(); m != nil && now.Sub(m.sentAt) >= q.set.retention; m = q.ages.first() {
		q.drop(m)
	}
	for m := q.hidden.first(); m != nil && !m.visibleAt.After(now); m = q.hidden.first() {
		q.show(m)
	}
}

// show makes a message ready.
func (q *queue) show(m *message) {
	q.leave(m)
	m.state = ready
	q.ready.pushBack(m)
}

// hide takes a message out of reach until a time.
func (q *queue) hide(m *message, s state, until time.Time) {
	q.leave(m)
	m.state, m.visibleAt = s, until
	q.hidden.push(m)
	if s == inFlight {
		q.inFlight++
	}
}

// leave takes a message out of the structure that its state keeps it in.
func (q *queue) leave(m *message) {
	switch m.state {
	case ready:
		q.ready.remove(m)
	case inFlight:
		q.inFlight--
		q.hidden.remove(m)
	case delayed:
		q.hidden.remove(m)
	}
	m.state = gone
}

// drop takes a message out of the queue.
func (q *queue) drop(m *message) {
	q.leave(m)
	q.ages.remove(m)
	delete(q.messages, m.number)
}

// find returns the message that a receipt handle names. It is nil, with a nil error, if the message is
// gone or has been received again since: the SQS API reference (DeleteMessage) makes only the latest
// handle good.
func (q *queue) find(handle string) (*message, *Error) {
	serial, number, receipt, ok := parseReceiptHandle(handle)
	if !ok || serial != q.serial {
		return nil, errReceiptHandleIsInvalid(handle)
	}
	m := q.messages[number]
	if m == nil || m.receipt != receipt {
		return nil, nil
	}
	return m, nil
}

// delete removes the message of a receipt handle. A stale handle is no error.
func (q *queue) delete(handle string) *Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return errQueueDoesNotExist()
	}
	q.settle(q.clock.Now())
	m, err := q.find(handle)
	if err != nil {
		return err
	}
	if m != nil {
		q.drop(m)
	}
	return nil
}

// changeVisibility hides the message of a receipt handle for d from now, or shows it if d is 0.
func (q *queue) changeVisibility(handle string, d time.Duration) *Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return errQueueDoesNotExist()
	}
	now := q.clock.Now()
	q.settle(now)
	m, err := q.find(handle)
	switch {
	case err != nil:
		return err
	case m == nil:
		return errInvalidParameterValue("Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", clip(handle))
	case m.state != inFlight:
		return errSimpleQueueService("MessageNotInflight", "The message referred to isn't in flight.")
	case now.Add(d).Sub(m.receivedAt) > maxVisibility:
		// Twelve hours are counted from the receive: SQS developer guide, "Amazon SQS visibility timeout".
		return errInvalidParameterValue("Value %d for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds].", int(d/time.Second))
	}
	if d == 0 {
		q.show(m)
	} else {
		q.hide(m, inFlight, now.Add(d))
	}
	q.wake()
	return nil
}

// purge drops all messages. PurgeQueue is allowed once in cooldown.
func (q *queue) purge(cooldown time.Duration) *Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	switch {
	case q.deleted:
		return errQueueDoesNotExist()
	case !q.purged.IsZero() && now.Sub(q.purged) < cooldown:
		err := errSimpleQueueService("PurgeQueueInProgress", "Only one PurgeQueue operation on %s is allowed every 60 seconds.", q.key.name)
		err.Status = 403
		return err
	}
	q.purged = now
	for _, m := range q.messages {
		q.drop(m)
	}
	return nil
}

// close ends the queue: those who wait are sent away, and nothing is taken any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deleted = true
	clear(q.messages)
	for _, w := range q.waiters {
		w.notify()
	}
	q.arm()
}

// counts returns the three Approximate numbers, which here are exact.
func (q *queue) counts() (visible, notVisible, later int) {
	return q.ready.n, q.inFlight, q.hidden.len() - q.inFlight
}

// readyList holds the messages that may be received, linked through themselves so that any can leave.
type readyList struct {
	head, tail *message
	n          int
}

func (l *readyList) pushBack(m *message) {
	m.prev, m.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = m
	} else {
		l.head = m
	}
	l.tail = m
	l.n++
}

func (l *readyList) remove(m *message) {
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		l.head = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	} else {
		l.tail = m.prev
	}
	m.prev, m.next = nil, nil
	l.n--
}
