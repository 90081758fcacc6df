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

// message is a content's place in one queue. The queue's lock guards it. There may be millions of them: what
// only messages with a group have is in place.
type message struct {
	*content
	*place               // nil without a group
	number        uint64 // by arrival
	shown         uint64 // by when it became ready
	visibleAt     age    // when delayed or inFlight ends
	receivedAt    age    // the latest receive in this queue
	firstReceived int64  // in milliseconds of Unix time, 0 before the first
	receives      int    // ApproximateReceiveCount; goes on counting in a dead-letter queue
	source        string // DeadLetterQueueSourceArn

	at        links[message] // in queue.ready, tenant.ready or line.messages
	hiddenPos int32          // in queue.hidden
	agePos    int32          // in queue.ages
	receipt   uint32         // the latest receive in this queue, 0 before the first
	state     state
}

func (m *message) links() *links[message] { return &m.at }

// age is a time, as the age of the queue then. It takes a third of a time.Time, and there may be millions.
type age time.Duration

func (q *queue) age(t time.Time) age { return age(t.Sub(q.created)) }

// place is what a message with a group has in its queue. In a standard queue, all of a tenant share one.
type place struct {
	tenant  *tenant  // in a standard queue
	line    *line    // in a FIFO queue
	dedup   string   // MessageDeduplicationId
	attempt *attempt // of the latest receive, if that had an id
}

// queue is one queue, standard or FIFO. Its lock is the only one on the way of a message, and is held for no
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
	ready    messageList         // those that may be received, and have no group
	hidden   timeHeap            // those delayed or in flight, by visibleAt
	ages     timeHeap            // all, by sentAt
	inFlight int                 // how many of hidden are in flight
	shown    uint64              // the latest message.shown
	fair     *tenants            // the messages with a group, nil in a FIFO queue
	fifo     *fifo               // the order of a FIFO queue, nil in another

	dead    []burial   // those to be moved to a dead-letter queue, in order
	burying sync.Mutex // held while they are moved; taken before mu

	waiters   []*waiter
	stopTimer func() bool // of the timer for what is due next, nil if none runs
	timerAt   age
}

func newQueue(key queueKey, arn string, set settings, tags map[string]string, clock Clock) *queue {
	return newQueueAt(clock.Now(), key, arn, set, tags, clock)
}

// newQueueAt returns an empty queue that was made at a time.
func newQueueAt(created time.Time, key queueKey, arn string, set settings, tags map[string]string, clock Clock) *queue {
	q := &queue{
		key: key, arn: arn, serial: rand.Uint64(), clock: clock,
		created: created, modified: created,
		set: set, tags: tags,
		messages: make(map[uint64]*message),
		hidden: timeHeap{
			at:  func(m *message) age { return m.visibleAt },
			pos: func(m *message) *int32 { return &m.hiddenPos },
		},
		ages: timeHeap{
			at:  func(m *message) age { return age(m.sentAt.Sub(created)) },
			pos: func(m *message) *int32 { return &m.agePos },
		},
	}
	if set.fifo {
		q.fifo = newFIFO(created)
	} else {
		q.fair = newTenants()
	}
	return q
}

// arrival is a message on its way into a queue. A FIFO queue wants content.group and dedup set.
type arrival struct {
	*message
	delay time.Duration
	dedup string // MessageDeduplicationId; matters to FIFO queues alone
	moved bool   // taken over from another queue, where it was accepted: never a duplicate

	// What add leaves for the sender to be told: of a duplicate, with the id and the number of the first.
	sent     *content
	sequence string
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
	for i := range arrivals {
		a := &arrivals[i]
		a.sent = a.content
		if a.dedup == "" {
			a.dedup = a.content.id // a topic's dead letter, say: its own, and no duplicate
		}
		if q.fifo != nil && q.fifo.known(a, q.set.dedupByGroup) {
			continue
		}
		q.enter(a, now)
	}
	q.wake()
	return true
}

// enter puts one message at the end of the queue.
func (q *queue) enter(a *arrival, now time.Time) {
	q.last++
	m := a.message
	m.number, m.receipt = q.last, 0
	switch {
	case q.fifo != nil:
		q.fifo.enter(m, a.dedup)
		a.sequence = q.fifo.sequence(m.number)
		q.fifo.remember(a, now, q.set.dedupByGroup)
	case m.group != "":
		m.place = q.fair.enter(m.group)
	default:
		m.place = nil
	}
	q.messages[m.number] = m
	q.ages.push(m)
	if a.delay > 0 {
		q.hide(m, delayed, now.Add(a.delay))
	} else {
		q.show(m)
	}
}

// settle lets time act: what is due becomes ready, and what is too old goes.
func (q *queue) settle(now time.Time) {
	for m := q.ages.first(); m != nil && now.Sub(m.sentAt) >= q.set.retention; m = q.ages.first() {
		q.drop(m)
	}
	for m := q.hidden.first(); m != nil && m.visibleAt <= q.age(now); m = q.hidden.first() {
		q.show(m)
	}
	if q.fifo != nil {
		q.fifo.forget(now)
	}
}

// show makes a message ready.
func (q *queue) show(m *message) {
	q.leave(m)
	q.shown++
	m.state, m.shown = ready, q.shown
	switch {
	case q.fifo != nil:
		q.fifo.update(m.line)
	case m.place != nil:
		q.fair.push(m)
	default:
		q.ready.pushBack(m)
	}
}

// hide takes a message out of reach until a time.
func (q *queue) hide(m *message, s state, until time.Time) {
	q.leave(m)
	m.state, m.visibleAt = s, q.age(until)
	q.hidden.push(m)
	if s == inFlight {
		q.inFlight++
		if q.fair != nil && m.place != nil {
			m.tenant.inFlight++
		}
	}
	if q.fifo != nil {
		q.fifo.update(m.line)
	}
}

// leave takes a message out of the structure that its state keeps it in. In a FIFO queue it keeps its place
// in its line.
func (q *queue) leave(m *message) {
	switch m.state {
	case ready:
		switch {
		case q.fifo != nil:
		case m.place != nil:
			q.fair.remove(m)
		default:
			q.ready.remove(m)
		}
	case inFlight:
		q.inFlight--
		if q.fair != nil && m.place != nil {
			m.tenant.inFlight--
		}
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
	switch {
	case q.fifo != nil:
		q.fifo.leave(m)
	case m.place != nil:
		q.fair.leave(m)
	}
}

// find returns the message that a receipt handle names, or nil if it is gone. The handle is the latest unless
// the message has been received again since: the SQS API reference (DeleteMessage) makes only that one good.
func (q *queue) find(handle string) (m *message, latest bool, err *Error) {
	serial, number, receipt, ok := parseReceiptHandle(handle)
	if !ok || serial != q.serial {
		return nil, false, errReceiptHandleIsInvalid(handle)
	}
	m = q.messages[number]
	return m, m != nil && m.receipt == receipt, nil
}

// delete removes the message of a receipt handle. To a standard queue, a stale handle is no error.
func (q *queue) delete(handle string) *Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return errQueueDoesNotExist()
	}
	q.settle(q.clock.Now())
	m, latest, err := q.find(handle)
	switch {
	case err != nil:
		return err
	case m == nil:
		return nil
	case q.fifo != nil:
		if !latest || m.state != inFlight {
			return errReceiptHandleExpired(handle)
		}
		m.attempt.spoil()
	case !latest:
		return nil
	}
	q.drop(m)
	q.wake() // it may have kept its group, or all, waiting
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
	m, latest, err := q.find(handle)
	switch {
	case err != nil:
		return err
	case m != nil && q.fifo != nil && (!latest || m.state != inFlight):
		return errReceiptHandleExpired(handle)
	case !latest:
		return errInvalidParameterValue("Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", clip(handle))
	case m.state != inFlight:
		return errSimpleQueueService("MessageNotInflight", "The message referred to isn't in flight.")
	case q.age(now.Add(d))-m.receivedAt > age(maxVisibility):
		// Twelve hours are counted from the receive: SQS developer guide, "Amazon SQS visibility timeout".
		return errInvalidParameterValue("Value %d for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds].", int(d/time.Second))
	}
	if q.fifo != nil {
		m.attempt.spoil()
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
	if q.fifo != nil {
		q.fifo.purge()
	}
	return nil
}

// close ends the queue: those who wait are sent away, and nothing is taken any more. Its messages go, though a move
// task may hold on to the queue.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deleted = true
	clear(q.messages)
	q.ready, q.hidden.items, q.ages.items, q.inFlight = messageList{}, nil, nil, 0
	if q.fifo != nil {
		*q.fifo = fifo{first: q.fifo.first}
	} else {
		*q.fair = tenants{}
	}
	for _, w := range q.waiters {
		w.notify()
	}
	q.arm()
}

// counts returns the three Approximate numbers, which here are exact.
func (q *queue) counts() (visible, notVisible, later int) {
	return len(q.messages) - q.hidden.len(), q.inFlight, q.hidden.len() - q.inFlight
}
