package emulator

import (
	"strconv"
	"time"
)

// fifo is the order of a FIFO queue. The queue's lock guards it.
//
// Each group is a line. A message can be received if it and all before it in its line are visible: while one is
// in flight, those behind it wait, and one that became visible again goes before them. So a look at the head of
// a line tells whether anything of it can be received, and the lines of which that is so are in a list of their
// own, in the order in which they opened. What waits costs a receive nothing, however much it is.
type fifo struct {
	lines map[string]*line
	open  lineList
	dedup dedups
	tries attempts
	first uint64 // the sequence numbers start above
}

// line is one group of a FIFO queue: all its messages, visible or not, by arrival.
type line struct {
	group    string
	messages messageList

	open bool // in fifo.open: its head can be received
	at   links[line]
}

func (l *line) links() *links[line] { return &l.at }

// newFIFO returns the order of a queue made now.
func newFIFO(now time.Time) *fifo {
	f := &fifo{lines: make(map[string]*line), first: 10_000_000_000_000_000_000}
	if t := now.UnixNano(); t > 0 {
		f.first += uint64(t) // a queue that is made again goes on from a higher number
	}
	return f
}

// sequence returns the SequenceNumber of the message with a number: twenty digits, and "large,
// non-consecutive" (SQS API reference, SendMessage).
func (f *fifo) sequence(number uint64) string {
	return strconv.FormatUint(f.first+number<<8, 10)
}

// enter puts a message at the end of its line.
func (f *fifo) enter(m *message, dedup string) {
	m.place = &place{line: f.line(m.group), dedup: dedup}
	m.line.messages.pushBack(m)
}

func (f *fifo) line(group string) *line {
	l := f.lines[group]
	if l == nil {
		l = &line{group: group}
		f.lines[group] = l
	}
	return l
}

// leave takes a message out of its line, which may open by that.
func (f *fifo) leave(m *message) {
	m.line.messages.remove(m)
	if m.line.messages.n == 0 {
		delete(f.lines, m.group)
	}
	f.update(m.line)
}

// update files a line by whether its head can be received.
func (f *fifo) update(l *line) {
	head := l.messages.head
	open := head != nil && head.state == ready
	switch {
	case open && !l.open:
		f.open.pushBack(l)
	case !open && l.open:
		f.open.remove(l)
	}
	l.open = open
}

// oldest returns the message with the least number that can be received, if that is no more than last.
func (f *fifo) oldest(last uint64) *message {
	var m *message
	for l := f.open.head; l != nil; l = l.at.next {
		if head := l.messages.head; head.number <= last && (m == nil || head.number < m.number) {
			m = head
		}
	}
	return m
}

// forget lets go of what is too old to be repeated.
func (f *fifo) forget(now time.Time) {
	f.dedup.forget(now)
	f.tries.forget(now)
}

// purge forgets what was sent and received, as a purge does with AWS.
func (f *fifo) purge() {
	f.dedup, f.tries = dedups{}, attempts{}
}

// takeLines receives from the lines in turn, as many messages of each as there are. A line that is still
// open then goes behind the others.
func (q *queue) takeLines(now time.Time, opts receiveOptions) ([]delivery, *Error) {
	var try *attempt
	if opts.attempt != "" {
		if out, err := q.again(now, opts); len(out) > 0 || err != nil {
			return out, err
		}
		try = new(attempt)
	}
	var out []delivery
	for n := q.fifo.open.n; n > 0 && len(out) < opts.max && q.room(); n-- {
		l := q.fifo.open.head
		out = q.takeLine(l, now, opts, try, out)
		if l.open {
			q.fifo.open.remove(l)
			q.fifo.open.pushBack(l)
		}
	}
	if try != nil && len(out) > 0 {
		q.fifo.tries.keep(opts.attempt, try, now)
	}
	return out, nil // with no error for a full queue: SQS API reference (ChangeMessageVisibility)
}

func (q *queue) takeLine(l *line, now time.Time, opts receiveOptions, try *attempt, out []delivery) []delivery {
	for m := l.messages.head; m != nil && m.state == ready && len(out) < opts.max; {
		next := m.at.next
		switch {
		case opts.dead(m):
			q.drop(m)
			q.dead = append(q.dead, burial{m, opts.dlq})
		case !q.room():
			return out
		default:
			m.attempt = try
			out = append(out, q.deliver(m, now, opts))
			try.add(m)
		}
		m = next
	}
	return out
}

// delayAnew applies a changed delay to the messages that are still delayed: on FIFO queues the setting is
// retroactive (SQS developer guide, "Amazon SQS delay queues").
func (q *queue) delayAnew() {
	var all []*message
	for _, m := range q.hidden.items {
		if m.state == delayed {
			all = append(all, m)
		}
	}
	for _, m := range all {
		q.hide(m, delayed, m.sentAt.Add(q.set.delay))
	}
}
