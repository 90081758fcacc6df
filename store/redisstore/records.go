package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
)

// PutDefinition implements store.Definitions.
func (s *Store) PutDefinition(ctx context.Context, name, version string, graph, old []byte) (bool, error) {
	if err := store.CheckDefinition(name, version); err != nil {
		return false, err
	}
	args := []any{name + "\x00" + version, graph}
	if old != nil {
		args = append(args, old)
	}
	a, err := s.ask(ctx, s.scripts.define, []string{s.keys.definitions()}, args...)
	if err != nil {
		return false, fmt.Errorf("put definition %q: %w", name, err)
	}
	return a.int(0) == 1, nil
}

// Definition implements store.Definitions.
func (s *Store) Definition(ctx context.Context, name, version string) ([]byte, error) {
	var graph []byte
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		graph, err = s.client.HGet(ctx, s.keys.definitions(), name+"\x00"+version).Bytes()
		return err
	})
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("definition %q version %q: %w", name, version, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("redisstore: definition %q: %w", name, err)
	}
	return graph, nil
}

// DefinitionVersions implements store.Definitions.
func (s *Store) DefinitionVersions(ctx context.Context) (map[string][]string, error) {
	var fields []string
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		fields, err = s.client.HKeys(ctx, s.keys.definitions()).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: definitions: %w", err)
	}
	slices.Sort(fields)
	versions := make(map[string][]string)
	for _, field := range fields {
		if name, version, ok := strings.Cut(field, "\x00"); ok {
			versions[name] = append(versions[name], version)
		}
	}
	return versions, nil
}

// Heartbeat implements store.Members.
func (s *Store) Heartbeat(ctx context.Context, worker string, d time.Duration) ([]string, error) {
	if err := errors.Join(store.CheckID("worker", worker), store.CheckDuration("heartbeat", d)); err != nil {
		return nil, err
	}
	a, err := s.ask(ctx, s.scripts.heartbeat, []string{s.keys.workers()}, worker, ceilMillis(d))
	if err != nil {
		return nil, err
	}
	workers := make([]string, len(a))
	for i := range a {
		workers[i] = a.str(i)
	}
	slices.Sort(workers)
	return workers, nil
}

// Leave implements store.Members.
func (s *Store) Leave(ctx context.Context, worker string) error {
	err := s.retry(ctx, func(ctx context.Context) error { return s.client.ZRem(ctx, s.keys.workers(), worker).Err() })
	if err != nil {
		return fmt.Errorf("redisstore: leave: %w", err)
	}
	return nil
}

// Claim implements store.Idempotency.
func (s *Store) Claim(ctx context.Context, c store.Claim) (store.Claimed, error) {
	if err := c.Validate(); err != nil {
		return store.Claimed{}, err
	}
	a, err := s.ask(ctx, s.scripts.claim, []string{s.keys.idempotency(c.Key)},
		c.Token, ceilMillis(c.Lease), c.Attempt, ceilMillis(c.Remember))
	if err != nil {
		return store.Claimed{}, err
	}
	switch a.str(0) {
	case "CLAIMED":
		return store.Claimed{Seen: int(a.int(1))}, nil
	case "DONE":
		return store.Claimed{Done: true, Result: a.bytes(1)}, nil
	case "STALE":
		return store.Claimed{}, fmt.Errorf("claim %q for attempt %d after %d: %w", c.Key, c.Attempt, a.int(1), store.ErrStale)
	}
	return store.Claimed{}, fmt.Errorf("claim %q: %w", c.Key, store.ErrBusy)
}

// InspectKey implements store.KeyRecords.
func (s *Store) InspectKey(ctx context.Context, key string) (store.KeyRecord, error) {
	if err := store.CheckID("key", key); err != nil {
		return store.KeyRecord{}, err
	}
	a, err := s.ask(ctx, s.scripts.record, []string{s.keys.idempotency(key)})
	if err != nil {
		return store.KeyRecord{}, err
	}
	state := a.str(0)
	return store.KeyRecord{Done: state == "DONE", Failed: state == "FAILED", Held: state == "HELD"}, nil
}

// Complete implements store.Idempotency.
func (s *Store) Complete(ctx context.Context, c store.Completion) error {
	if err := c.Validate(); err != nil {
		return err
	}
	a, err := s.ask(ctx, s.scripts.complete, []string{s.keys.idempotency(c.Key)},
		c.Token, c.Result, ceilMillis(c.Retention), c.Attempt)
	if err != nil {
		return err
	}
	if a.str(0) != "OK" {
		return failure(a, "complete", c.Key)
	}
	return nil
}

// Forget implements store.Idempotency.
func (s *Store) Forget(ctx context.Context, key, token string) error {
	if err := store.CheckClaim(key, token); err != nil {
		return err
	}
	_, err := s.ask(ctx, s.scripts.forget, []string{s.keys.idempotency(key)}, token)
	return err
}
