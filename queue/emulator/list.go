package emulator

// messageList holds messages in order, linked through themselves so that any can leave.
type messageList struct {
	head, tail *message
	n          int
}

func (l *messageList) pushBack(m *message) {
	m.prev, m.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = m
	} else {
		l.head = m
	}
	l.tail = m
	l.n++
}

func (l *messageList) remove(m *message) {
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

// restore puts a message back where its number belongs.
func (l *messageList) restore(m *message) {
	after := l.head
	for after != nil && after.number < m.number {
		after = after.next
	}
	if after == nil {
		l.pushBack(m)
		return
	}
	m.prev, m.next = after.prev, after
	if m.prev != nil {
		m.prev.next = m
	} else {
		l.head = m
	}
	after.prev = m
	l.n++
}

// first returns the first message with a number up to last, or nil.
func (l *messageList) first(last uint64) *message {
	for m := l.head; m != nil; m = m.next {
		if m.number <= last {
			return m
		}
	}
	return nil
}
