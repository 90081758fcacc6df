package memstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

type definition struct{ name, version string }

// PutDefinition implements store.Definitions.
func (s *Store) PutDefinition(ctx context.Context, name, version string, graph, old []byte) (bool, error) {
	if err := store.CheckDefinition(name, version); err != nil {
		return false, err
	}
	if err := s.begin(ctx, "put definition", name); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := definition{name, version}
	switch there, ok := s.definitions[key]; {
	case ok && bytes.Equal(there, graph):
		return true, nil
	case ok != (old != nil) || !bytes.Equal(there, old):
		return false, nil
	}
	s.definitions[key] = append([]byte{}, graph...)
	return true, nil
}

// Definition implements store.Definitions.
func (s *Store) Definition(ctx context.Context, name, version string) ([]byte, error) {
	if err := s.begin(ctx, "definition", name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	graph, ok := s.definitions[definition{name, version}]
	if !ok {
		return nil, fmt.Errorf("definition %q version %q: %w", name, version, store.ErrNotFound)
	}
	return append([]byte{}, graph...), nil
}

// DefinitionVersions implements store.Definitions.
func (s *Store) DefinitionVersions(ctx context.Context) (map[string][]string, error) {
	if err := s.begin(ctx, "definitions", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := make(map[string][]string)
	for d := range s.definitions {
		versions[d.name] = append(versions[d.name], d.version)
	}
	for _, list := range versions {
		slices.Sort(list)
	}
	return versions, nil
}

// Heartbeat implements store.Members.
func (s *Store) Heartbeat(ctx context.Context, worker string, d time.Duration) ([]string, error) {
	if err := store.CheckID("worker", worker); err != nil {
		return nil, err
	}
	if err := store.CheckDuration("heartbeat", d); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, "heartbeat of", worker); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.workers[worker] = now + ceil(d)
	maps.DeleteFunc(s.workers, func(_ string, until int64) bool { return until <= now })
	return slices.Sorted(maps.Keys(s.workers)), nil
}

// Leave implements store.Members.
func (s *Store) Leave(ctx context.Context, worker string) error {
	if err := s.begin(ctx, "leave of", worker); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.workers, worker)
	return nil
}

// A claim is an idempotency record: held, or done, or no more than the memory
// of attempts.
type claim struct {
	token  string
	until  int64
	done   bool
	result []byte
	of     int // the attempt that the result is of alone; 0: of all

	seen       int   // the highest attempt
	remembered int64 // until when
	before     int   // what had been seen before the token came
}

// stands reports whether the claim or the result counts still.
func (c *claim) stands(now int64) bool { return c != nil && c.until > now }

// held reports whether somebody is at work.
func (c *claim) held(now int64) bool { return c.stands(now) && !c.done }

// attempt is the highest attempt seen.
func (c *claim) attempt(now int64) int {
	if c == nil || c.remembered <= now {
		return 0
	}
	return c.seen
}

// Claim implements store.Idempotency.
func (s *Store) Claim(ctx context.Context, r store.Claim) (store.Claimed, error) {
	if err := r.Validate(); err != nil {
		return store.Claimed{}, err
	}
	if err := s.begin(ctx, "claim", r.Key); err != nil {
		return store.Claimed{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	c := s.claims[r.Key]
	seen := c.attempt(now)
	before := seen
	switch {
	case c.stands(now) && c.done && (c.of == 0 || c.of == r.Attempt):
		return store.Claimed{Done: true, Result: clone(c.result)}, nil
	case c.held(now) && c.token == r.Token:
		before = c.before
	case r.Attempt < seen:
		return store.Claimed{}, fmt.Errorf("claim %q for attempt %d after %d: %w", r.Key, r.Attempt, seen, store.ErrStale)
	case c.held(now):
		if r.Attempt > 0 {
			c.seen, c.remembered = r.Attempt, max(c.remembered, now+ceil(r.Remember))
		}
		return store.Claimed{}, fmt.Errorf("claim %q: %w", r.Key, store.ErrBusy)
	}
	s.sweep(now)
	next := &claim{token: r.Token, until: now + ceil(r.Lease), seen: max(seen, r.Attempt), before: before}
	if c != nil {
		next.remembered = c.remembered
	}
	if r.Attempt > 0 {
		next.remembered = max(next.remembered, now+ceil(r.Remember))
	}
	s.claims[r.Key] = next
	return store.Claimed{Seen: before}, nil
}

// InspectKey implements store.KeyRecords.
func (s *Store) InspectKey(ctx context.Context, key string) (store.KeyRecord, error) {
	if err := store.CheckID("key", key); err != nil {
		return store.KeyRecord{}, err
	}
	if err := s.begin(ctx, "inspect record", key); err != nil {
		return store.KeyRecord{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	c := s.claims[key]
	if !c.stands(now) {
		return store.KeyRecord{}, nil
	}
	return store.KeyRecord{Done: c.done && c.of == 0, Failed: c.done && c.of != 0, Held: !c.done}, nil
}

// sweep drops expired claims each time their number has doubled.
func (s *Store) sweep(now int64) {
	if len(s.claims) < s.sweepAt {
		return
	}
	maps.DeleteFunc(s.claims, func(_ string, c *claim) bool { return c.until <= now && c.remembered <= now })
	s.sweepAt = max(1024, 2*len(s.claims))
}

// Complete implements store.Idempotency.
func (s *Store) Complete(ctx context.Context, r store.Completion) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if err := s.begin(ctx, "complete", r.Key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	c := s.claims[r.Key]
	if c.stands(now) {
		if c.token != r.Token {
			return fmt.Errorf("complete %q: %w", r.Key, store.ErrLeaseLost)
		}
		if c.done {
			return nil
		}
	}
	if r.Attempt > 0 && r.Attempt < c.attempt(now) {
		c.until = 0
		return nil
	}
	until := now + ceil(r.Retention)
	next := &claim{token: r.Token, until: until, done: true, result: clone(r.Result), of: r.Attempt}
	if r.Attempt > 0 {
		next.seen, next.remembered = r.Attempt, until
	}
	s.claims[r.Key] = next
	return nil
}

// Forget implements store.Idempotency.
func (s *Store) Forget(ctx context.Context, key, token string) error {
	if err := store.CheckClaim(key, token); err != nil {
		return err
	}
	if err := s.begin(ctx, "forget", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.claims[key]; c != nil && c.token == token && !c.done {
		c.until, c.token = 0, "" // what remains is the memory of attempts
	}
	return nil
}
