package memstore

import (
	"context"
	"fmt"

	"github.com/waybill-dev/waybill/store"
)

// Post implements store.Executions.
func (s *Store) Post(ctx context.Context, r store.PostRequest) (bool, error) {
	if err := r.Validate(); err != nil {
		return false, err
	}
	if err := s.begin(ctx, "post to", r.ID); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(r.ID), s.now()
	_, posted, err := p.post(&r, now)
	return posted, err
}

// Deliver implements store.Executions.
func (s *Store) Deliver(ctx context.Context, r store.PostRequest, o store.OpenRequest) (store.Delivery, error) {
	if err := store.CheckDelivery(&r, &o); err != nil {
		return store.Delivery{}, err
	}
	if err := s.begin(ctx, "post to", r.ID); err != nil {
		return store.Delivery{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(r.ID), s.now()
	x, posted, err := p.post(&r, now)
	switch {
	case err != nil:
		return store.Delivery{}, err
	case x == nil:
		return store.Delivery{Posted: posted}, nil // it waits for its execution
	case !posted && x.nonce == o.Nonce:
		// The same delivery again: its answer was lost.
		return store.Delivery{Posted: true, Opening: x.opening(r.ID, now)}, nil
	case !posted || x.until > now:
		return store.Delivery{Posted: posted}, nil
	}
	x.open(o.Nonce, now+ceil(o.Lease))
	p.timers[r.ID] = x.until
	return store.Delivery{Posted: true, Opening: x.opening(r.ID, now)}, nil
}

// post appends mail, unless it came before, and wakes the execution. Where that is
// nil, the mail waits for it.
func (p *partition) post(r *store.PostRequest, now int64) (x *execution, posted bool, err error) {
	x = p.executions[r.ID]
	l := letter{id: r.MailID, body: append([]byte{}, r.Body...)}
	if x == nil {
		if r.Early <= 0 || p.gone(r.ID, now) {
			return nil, false, fmt.Errorf("post to %q: %w", r.ID, p.missing(r.ID, now))
		}
		l.until = now + ceil(r.Early)
		posted, err = p.keep(r, l, now)
		return nil, posted, err
	}
	switch {
	case x.seen[r.MailID]:
		return x, false, nil
	case x.ended:
		return x, false, fmt.Errorf("post to %q: %w", r.ID, store.ErrEnded)
	case len(x.mail) >= r.Limit:
		return x, false, fmt.Errorf("post to %q: %w", r.ID, store.ErrMailboxFull)
	}
	x.add(l)
	due := max(now, x.until)
	if timer, ok := p.timers[r.ID]; !ok || timer > due {
		p.timers[r.ID] = due
	}
	return x, true, nil
}

// keep keeps mail for an execution that is not there.
func (p *partition) keep(r *store.PostRequest, l letter, now int64) (bool, error) {
	for id, b := range p.early {
		if b.expire(now); len(b.mail) == 0 {
			delete(p.early, id)
		}
	}
	b := p.early[r.ID]
	switch {
	case b == nil:
		b = new(mailbox)
		p.early[r.ID] = b
	case b.seen[r.MailID]:
		return false, nil
	case len(b.mail) >= r.Limit:
		return false, fmt.Errorf("post to %q: %w", r.ID, store.ErrMailboxFull)
	}
	b.add(l)
	return true, nil
}
