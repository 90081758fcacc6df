package memstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

type definition struct{ name, version string }

// PutDefinition implements store.Definitions.
func (s *Store) PutDefinition(ctx context.Context, name, version string, graph []byte) error {
	if err := store.CheckDefinition(name, version); err != nil {
		return err
	}
	if err := s.begin(ctx, "put definition", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.definitions[definition{name, version}] = append([]byte{}, graph...)
	return nil
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

// A claim is an idempotency record: held, or done.
type claim struct {
	token  string
	until  int64
	done   bool
	result []byte
}

// Claim implements store.Idempotency.
func (s *Store) Claim(ctx context.Context, key, token string, lease time.Duration) ([]byte, bool, error) {
	if err := store.CheckClaim(key, token); err != nil {
		return nil, false, err
	}
	if err := store.CheckDuration("lease", lease); err != nil {
		return nil, false, err
	}
	if err := s.begin(ctx, "claim", key); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if c := s.claims[key]; c != nil && c.until > now {
		if c.done {
			return clone(c.result), true, nil
		}
		if c.token != token {
			return nil, false, fmt.Errorf("claim %q: %w", key, store.ErrBusy)
		}
	}
	s.sweep(now)
	s.claims[key] = &claim{token: token, until: now + ceil(lease)}
	return nil, false, nil
}

// sweep drops expired claims each time their number has doubled.
func (s *Store) sweep(now int64) {
	if len(s.claims) < s.sweepAt {
		return
	}
	maps.DeleteFunc(s.claims, func(_ string, c *claim) bool { return c.until <= now })
	s.sweepAt = max(1024, 2*len(s.claims))
}

// Complete implements store.Idempotency.
func (s *Store) Complete(ctx context.Context, key, token string, result []byte, retention time.Duration) error {
	if err := store.CheckClaim(key, token); err != nil {
		return err
	}
	if err := store.CheckDuration("retention", retention); err != nil {
		return err
	}
	if err := s.begin(ctx, "complete", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if c := s.claims[key]; c != nil && c.until > now {
		if c.token != token {
			return fmt.Errorf("complete %q: %w", key, store.ErrLeaseLost)
		}
		if c.done {
			return nil
		}
	}
	s.claims[key] = &claim{token: token, until: now + ceil(retention), done: true, result: clone(result)}
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
		delete(s.claims, key)
	}
	return nil
}
