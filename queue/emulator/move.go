package emulator

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

// A move task moves the messages of a dead-letter queue somewhere else, at most moveRate a second, for moveTime at
// most, and no more than maxMoves do so at a time: SQS developer guide, "Learn how to configure a dead-letter queue
// redrive". AWS picks a rate of its own where none is asked for; here that is the highest.
const (
	moveRate = 500
	moveTime = 36 * time.Hour
	maxMoves = 100 // of an account in a region
)

// movePause is how long a task rests at least between its steps.
const movePause = 20 * time.Millisecond

// moveStatus is the status of a move task.
type moveStatus string

const (
	moveRunning    moveStatus = "RUNNING"
	moveCompleted  moveStatus = "COMPLETED"
	moveCancelling moveStatus = "CANCELLING"
	moveCancelled  moveStatus = "CANCELLED"
	moveFailed     moveStatus = "FAILED"
)

// Why a move task failed.
const (
	reasonUnknownSource = "CouldNotDetermineMessageSource"
	reasonNoQueue       = "AWS.SimpleQueueService.NonExistentQueue"
	reasonTooLong       = "The task has run for 36 hours."
)

// move is a message move task. It moves what could be received when it began, and not what comes meanwhile,
// so it ends even if all that it moves comes back.
type move struct {
	handle  string
	source  *queue
	target  string // the ARN, or "" for each message's own source
	rate    int    // a second, as asked for, or 0
	started time.Time
	toMove  int
	last    uint64 // the number of the latest message in source then
	lookup  func(arn string) *queue
	changed func() // told of each step

	mu     sync.Mutex
	status moveStatus
	moved  int
	reason string
}

// begin starts the task.
func (m *move) begin() {
	m.source.mu.Lock()
	m.started = m.source.clock.Now()
	m.source.settle(m.started)
	m.last = m.source.last
	m.toMove, _, _ = m.source.counts()
	m.source.mu.Unlock()
	m.status = moveRunning
	m.rest()
}

// speed returns how many messages the task moves in a second.
func (m *move) speed() int {
	if m.rate > 0 {
		return m.rate
	}
	return moveRate
}

// rest has the next step come when there is something to do.
func (m *move) rest() {
	n := time.Duration(m.speed())
	m.source.clock.AfterFunc(max(movePause, (time.Second+n-1)/n), m.step) // not a moment too soon
}

// step moves as many messages as are due by now.
func (m *move) step() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status == moveCancelling {
		m.status = moveCancelled
		return
	}
	defer m.changed()
	elapsed := m.source.clock.Now().Sub(m.started)
	if elapsed >= moveTime {
		m.end(moveFailed, reasonTooLong)
		return
	}
	due := int(int64(elapsed) * int64(m.speed()) / int64(time.Second))
	for m.moved < due {
		msg, from := m.source.oldest(m.last)
		if msg == nil {
			m.end(m.fate())
			return
		}
		moved, reason := m.carry(msg, from)
		if reason != "" {
			m.end(moveFailed, reason)
			return
		}
		if moved {
			m.moved++
		}
	}
	if msg, _ := m.source.oldest(m.last); msg == nil {
		m.end(m.fate())
		return
	}
	m.rest()
}

// fate is how a task ends that finds nothing more to move.
func (m *move) fate() (moveStatus, string) {
	if m.source.isDeleted() {
		return moveFailed, reasonNoQueue
	}
	return moveCompleted, ""
}

func (m *move) end(status moveStatus, reason string) { m.status, m.reason = status, reason }

// carry moves a message, which came from a queue, and reports false if somebody else has it meanwhile. What cannot be
// moved stays, with the reason.
func (m *move) carry(msg *message, from string) (moved bool, reason string) {
	target := m.target
	if target == "" {
		target = from
	}
	if target == "" {
		return false, reasonUnknownSource
	}
	to := m.lookup(target)
	if to == nil {
		return false, reasonNoQueue
	}
	m.source.burying.Lock() // so that what is saved meanwhile has the message
	defer m.source.burying.Unlock()
	if !m.source.takeOut(msg) {
		return false, ""
	}
	if !to.add(arrival{message: &message{content: msg.anew(to.clock.Now())}}) {
		m.source.putBack(msg)
		return false, reasonNoQueue
	}
	return true, ""
}

// anew returns the content as a message of its own: a moved message has a new id, and its retention begins
// again.
func (c *content) anew(now time.Time) *content {
	out := *c
	out.id, out.sentAt = uuid.NewString(), now
	return &out
}

// oldest returns the first message up to a number that may be received, or nil, and the ARN of the queue that it
// came from.
func (q *queue) oldest(last uint64) (m *message, from string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(q.clock.Now())
	if m = q.first(last); m == nil {
		return nil, ""
	}
	return m, m.source
}

func (q *queue) first(last uint64) *message {
	if q.fifo != nil {
		return q.fifo.oldest(last)
	}
	old := func(m *message) bool { return m.number <= last }
	m := q.ready.find(old)
	for _, t := range q.fair.heap {
		if own := t.ready.find(old); own != nil && (m == nil || own.shown < m.shown) {
			m = own
		}
	}
	return m
}

// takeOut takes a message that may be received out of the queue, and reports false if it is no such any more.
func (q *queue) takeOut(m *message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted || m.state != ready || q.messages[m.number] != m {
		return false
	}
	q.drop(m)
	return true
}

// isDeleted reports whether the queue was deleted.
func (q *queue) isDeleted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.deleted
}

// cancel has the task end before its next step, and returns how many messages it has moved.
func (m *move) cancel() (moved int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status != moveRunning {
		return 0, false
	}
	m.status = moveCancelling
	return m.moved, true
}

func (m *move) active() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status == moveRunning || m.status == moveCancelling
}
