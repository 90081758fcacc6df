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
func (s *Store) PutDefinition(ctx context.Context, name, version string, graph []byte) error {
	if err := store.CheckDefinition(name, version); err != nil {
		return err
	}
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.client.HSet(ctx, s.keys.definitions(), name+"\x00"+version, graph).Err()
	})
	if err != nil {
		return fmt.Errorf("redisstore: put definition %q: %w", name, err)
	}
	return nil
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
func (s *Store) Claim(ctx context.Context, key, token string, lease time.Duration) ([]byte, bool, error) {
	if err := errors.Join(store.CheckClaim(key, token), store.CheckDuration("lease", lease)); err != nil {
		return nil, false, err
	}
	a, err := s.ask(ctx, s.scripts.claim, []string{s.keys.idempotency(key)}, token, ceilMillis(lease))
	if err != nil {
		return nil, false, err
	}
	switch a.str(0) {
	case "CLAIMED":
		return nil, false, nil
	case "DONE":
		return a.bytes(1), true, nil
	}
	return nil, false, fmt.Errorf("claim %q: %w", key, store.ErrBusy)
}

// Complete implements store.Idempotency.
func (s *Store) Complete(ctx context.Context, key, token string, result []byte, retention time.Duration) error {
	if err := errors.Join(store.CheckClaim(key, token), store.CheckDuration("retention", retention)); err != nil {
		return err
	}
	a, err := s.ask(ctx, s.scripts.complete, []string{s.keys.idempotency(key)}, token, result, ceilMillis(retention))
	if err != nil {
		return err
	}
	if a.str(0) != "OK" {
		return failure(a, "complete", key)
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
