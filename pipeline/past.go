package pipeline

import (
	"container/list"
	"sync"
	"time"
)

// maxPast bounds the failures that a filter remembers.
const maxPast = 10_000

// A past remembers the failures of messages that went back to their queue, for
// when this process receives them again: a queue has no place for it. It keeps
// the newest. The zero time and count mean that nothing is known.
type past struct {
	limit int

	mu      sync.Mutex
	records map[string]*list.Element // of *record
	order   list.List                // the newest first
}

// A record is what is known of one message.
type record struct {
	uuid string

	mu          sync.Mutex
	count       int
	first, last time.Time
}

func newPast(limit int) *past {
	return &past{limit: limit, records: map[string]*list.Element{}}
}

// begin returns the record of a message, which may be new.
func (p *past) begin(uuid string) *record {
	if uuid == "" {
		return new(record)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.records[uuid]; ok {
		p.order.MoveToFront(e)
		return e.Value.(*record)
	}
	r := &record{uuid: uuid}
	p.records[uuid] = p.order.PushFront(r)
	if p.order.Len() > p.limit {
		oldest := p.order.Remove(p.order.Back()).(*record)
		delete(p.records, oldest.uuid)
	}
	return r
}

// forget drops the record of a message that is done with.
func (p *past) forget(uuid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.records[uuid]; ok {
		p.order.Remove(e)
		delete(p.records, uuid)
	}
}

// attempt counts a run of the filter.
func (r *record) attempt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
}

// note takes down when a run failed, if it did.
func (r *record) note(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	if r.first.IsZero() {
		r.first = r.last
	}
}

func (r *record) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func (r *record) times() (first, last time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first, r.last
}
