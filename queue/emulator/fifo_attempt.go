package emulator

import "time"

// attempts are the receives of a FIFO queue that had a ReceiveRequestAttemptId.
type attempts struct {
	known map[string]*attempt
	order []*attempt // by time
}

// attempt is one of them, with the messages that it received.
type attempt struct {
	id      string
	at      time.Time
	spoiled bool       // one was deleted or had its visibility changed
	got     []received // nil once it is spoiled, so that messages go when they are deleted
}

// received is a message, and which receive of it this was.
type received struct {
	*message
	receipt uint32
}

func (t *attempt) add(m *message) {
	if t != nil {
		t.got = append(t.got, received{m, m.receipt})
	}
}

// spoil notes that a message of the attempt has been changed.
func (t *attempt) spoil() {
	if t != nil {
		t.spoiled, t.got = true, nil
	}
}

func (ts *attempts) keep(id string, t *attempt, now time.Time) {
	if ts.known == nil {
		ts.known = make(map[string]*attempt)
	}
	t.id, t.at = id, now
	ts.known[id] = t
	ts.order = append(ts.order, t)
}

// forget drops the attempts that are older than the interval.
func (ts *attempts) forget(now time.Time) {
	for len(ts.order) > 0 && now.Sub(ts.order[0].at) >= dedupInterval {
		t := ts.order[0]
		ts.order[0] = nil
		ts.order = ts.order[1:]
		if ts.known[t.id] == t {
			delete(ts.known, t.id)
		}
	}
}

// again returns what an attempt has received before, with the same receipt handles, and hides it anew. It
// fails if a message of it was deleted or had its visibility changed, and returns nothing, so that the attempt
// counts as a new one, if they are no longer in flight: SQS API reference (ReceiveMessage).
func (q *queue) again(now time.Time, opts receiveOptions) ([]delivery, *Error) {
	t := q.fifo.tries.known[opts.attempt]
	if t == nil {
		return nil, nil
	}
	if t.spoiled {
		return nil, errInvalidParameterValue("Value %s for parameter ReceiveRequestAttemptId is invalid. Reason: The receiveRequestAttemptId is not valid anymore since the receive call is not retryable.", clip(opts.attempt))
	}
	for _, r := range t.got {
		if r.state != inFlight || r.message.receipt != r.receipt {
			return nil, nil
		}
	}
	out := make([]delivery, len(t.got))
	for i, r := range t.got {
		r.receivedAt = q.age(now)
		q.conceal(r.message, now, opts.visibility)
		out[i] = q.delivery(r.message)
	}
	return out, nil
}
