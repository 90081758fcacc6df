package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// begin is how every method starts: a context that has ended stops it before
// anything happens, as it does on a network.
func (s *Store) begin(ctx context.Context, verb, id string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: %s %q: %w", verb, id, err)
	}
	return nil
}

// Start implements store.Executions.
func (s *Store) Start(ctx context.Context, r store.StartRequest) (store.StartResult, error) {
	if err := r.Validate(); err != nil {
		return store.StartResult{}, err
	}
	if err := s.begin(ctx, "start", r.ID); err != nil {
		return store.StartResult{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(r.ID), s.now()
	if x := p.executions[r.ID]; x != nil {
		if x.match != r.Match {
			return store.StartResult{}, fmt.Errorf("start %q: %w", r.ID, store.ErrExists)
		}
		// The same start again finds its own commit or lease.
		opened := r.Nonce != "" && x.nonce == r.Nonce && x.epoch == 1
		created := opened || x.commit == r.Commit
		result := store.StartResult{Created: created, Opened: opened, Status: x.status, Now: millis(now)}
		if opened {
			result.Mailbox = x.mailAfter(x.absorbed)
		}
		return result, nil
	}
	if p.gone(r.ID, now) {
		return store.StartResult{}, fmt.Errorf("start %q: %w", r.ID, store.ErrGone)
	}
	x := &execution{
		match:   r.Match,
		status:  r.Status,
		index:   r.Index,
		meta:    clone(r.Meta),
		frames:  map[string][]byte{store.RootFrame: clone(r.Root)},
		started: now,
		commit:  r.Commit,
		wake:    now + ceil(r.Wake),
	}
	if early := p.early[r.ID]; early != nil {
		early.expire(now)
		x.mailbox = *early
		delete(p.early, r.ID)
	}
	result := store.StartResult{Created: true, Status: r.Status, Now: millis(now)}
	switch {
	case r.Nonce != "":
		x.open(r.Nonce, now+ceil(r.Lease))
		p.timers[r.ID] = x.until
		result.Opened, result.Mailbox = true, x.mailAfter(0)
	case len(x.mail) > 0:
		p.timers[r.ID] = now
	default:
		p.timers[r.ID] = x.wake
	}
	if len(r.History) > 0 {
		x.history = [][]byte{clone(r.History)}
	}
	p.executions[r.ID] = x
	p.enlist(r.Index, r.ID, now)
	return result, nil
}

// Open implements store.Executions.
func (s *Store) Open(ctx context.Context, r store.OpenRequest) (*store.Opening, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, "open", r.ID); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(r.ID), s.now()
	x := p.executions[r.ID]
	switch {
	case x == nil:
		delete(p.timers, r.ID)
		return nil, fmt.Errorf("open %q: %w", r.ID, p.missing(r.ID, now))
	case x.nonce == r.Nonce:
		// The same opening again: its answer was lost.
		return x.opening(r.ID, now), nil
	case x.until > now:
		p.timers[r.ID] = x.until
		return nil, &store.HeldError{ID: r.ID, Until: millis(x.until)}
	case x.ended && len(x.outbox) == 0 && x.wake != 0:
		if x.wake > now {
			p.timers[r.ID] = x.wake
		}
		return nil, fmt.Errorf("open %q: %w", r.ID, store.ErrEnded)
	case x.wake > now && x.posted == x.absorbed:
		p.timers[r.ID] = x.wake
		return nil, &store.NotDueError{ID: r.ID, Wake: millis(x.wake)}
	}
	x.open(r.Nonce, now+ceil(r.Lease))
	p.timers[r.ID] = x.until
	return x.opening(r.ID, now), nil
}

// Commit implements store.Executions.
func (s *Store) Commit(ctx context.Context, c *store.Commit) (store.CommitResult, error) {
	if err := c.Validate(); err != nil {
		return store.CommitResult{}, err
	}
	if err := s.begin(ctx, "commit to", c.ID); err != nil {
		return store.CommitResult{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partition(c.ID)
	x := p.executions[c.ID]
	switch {
	case x != nil && x.commit == c.CommitID:
		// The same commit again: its answer was lost.
		return store.CommitResult{Applied: true, Mailbox: x.mailAfter(c.Absorbed)}, nil
	case x == nil || !x.holds(c.Lease):
		return store.CommitResult{}, fmt.Errorf("commit to %q: %w", c.ID, store.ErrLeaseLost)
	case x.commit != c.Previous:
		return store.CommitResult{}, fmt.Errorf("commit to %q: %w", c.ID, store.ErrConflict)
	case c.Absorbed < x.absorbed || c.Absorbed > x.posted:
		return store.CommitResult{}, fmt.Errorf("commit to %q: %w: it absorbs mail up to %d, want %d to %d",
			c.ID, store.ErrInvalid, c.Absorbed, x.absorbed, x.posted)
	case c.Index != "" && c.OldIndex != x.index:
		return store.CommitResult{}, fmt.Errorf("commit to %q: %w: it leaves index %q, but stands in %q",
			c.ID, store.ErrInvalid, c.OldIndex, x.index)
	case c.Next != store.Continue && x.posted > c.Absorbed:
		return store.CommitResult{Mailbox: x.mailAfter(c.Absorbed)}, nil
	}
	x.apply(c)
	if c.Index != "" && c.Index != x.index {
		delete(p.indexes[x.index], c.ID)
		p.enlist(c.Index, c.ID, x.started)
		x.index = c.Index
	}
	if c.Releases() {
		x.release(ceilTime(c.Wake))
		p.timers[c.ID] = x.wake
	}
	return store.CommitResult{Applied: true, Mailbox: x.mailAfter(c.Absorbed)}, nil
}

// apply writes what a commit changes in the execution itself.
func (x *execution) apply(c *store.Commit) {
	x.commit, x.openings = c.CommitID, 0
	if c.Sole {
		maps.DeleteFunc(x.frames, func(name string, _ []byte) bool { return name != store.RootFrame })
	}
	for name, frame := range c.Set {
		x.frames[name] = clone(frame)
	}
	for _, name := range c.Delete {
		delete(x.frames, name)
	}
	if len(c.History) > 0 {
		x.history = append(x.history, clone(c.History))
	}
	x.mail = x.mail[c.Absorbed-x.absorbed:]
	x.absorbed = c.Absorbed
	x.outbox = clone(c.Outbox)
	if c.Status != "" {
		x.status = c.Status
	}
	if c.Next == store.End {
		x.ended = true
	}
}

// Renew implements store.Executions.
func (s *Store) Renew(ctx context.Context, l store.Lease, d time.Duration, read int64) (store.Renewal, error) {
	if err := errors.Join(l.Validate(), store.CheckDuration("lease", d)); err != nil {
		return store.Renewal{}, err
	}
	if err := s.begin(ctx, "renew the lease on", l.ID); err != nil {
		return store.Renewal{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x, now := s.partition(l.ID).executions[l.ID], s.now()
	if x == nil || !x.holds(l) {
		return store.Renewal{}, fmt.Errorf("renew the lease on %q: %w", l.ID, store.ErrLeaseLost)
	}
	x.until = now + ceil(d)
	return store.Renewal{Now: millis(now), Mailbox: x.mailAfter(read)}, nil
}

// Release implements store.Executions.
func (s *Store) Release(ctx context.Context, l store.Lease, d time.Duration) error {
	if err := l.Validate(); err != nil {
		return err
	}
	if err := s.begin(ctx, "release", l.ID); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(l.ID), s.now()
	x := p.executions[l.ID]
	if x == nil || !x.holds(l) {
		return nil
	}
	if x.openings > 0 {
		x.epoch--
		x.openings--
	}
	x.release(now + ceil(d))
	p.timers[l.ID] = x.wake
	return nil
}

// Purge implements store.Executions.
func (s *Store) Purge(ctx context.Context, id string, d time.Duration) (bool, error) {
	if err := store.CheckDuration("tombstone", d); err != nil {
		return false, err
	}
	if err := s.begin(ctx, "purge", id); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(id), s.now()
	x := p.executions[id]
	if x == nil {
		delete(p.timers, id)
		return true, nil
	}
	if !x.ended || x.wake == 0 || x.wake > now || len(x.outbox) > 0 {
		return false, nil
	}
	delete(p.executions, id)
	delete(p.timers, id)
	delete(p.indexes[x.index], id)
	for other, until := range p.tombstones {
		if until <= now {
			delete(p.tombstones, other)
		}
	}
	p.tombstones[id] = now + ceil(d)
	return true, nil
}

// missing tells whether an execution was purged or never was.
func (p *partition) missing(id string, now int64) error {
	if p.gone(id, now) {
		return store.ErrGone
	}
	return store.ErrNotFound
}
