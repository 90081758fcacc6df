package redispayload

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/queue"
)

// DefaultPrefix is the default of Config.Prefix.
const DefaultPrefix = "waybill:payload:"

// put stores a payload, or prolongs the time of the one that is there.
//
//go:embed put.lua
var putSource string

var put = redis.NewScript(putSource)

// A Config configures a [Store].
type Config struct {
	// Client is the Redis, of version 6.2 or later. It stays the caller's to
	// close. Required.
	Client redis.UniversalClient

	// Prefix is what keys begin with. Defaults to [DefaultPrefix].
	Prefix string
}

// A Store is a [queue.PayloadStore] in Redis. It is safe for concurrent use.
type Store struct {
	client redis.UniversalClient
	prefix string
}

var _ queue.PayloadStore = (*Store)(nil)

// New returns a store. It makes no calls.
func New(config Config) (*Store, error) {
	if config.Client == nil {
		return nil, errors.New("redispayload: Config: Client is nil; want a client of Redis")
	}
	if config.Prefix == "" {
		config.Prefix = DefaultPrefix
	}
	return &Store{config.Client, config.Prefix}, nil
}

// Put stores a payload for at least the time keep.
func (s *Store) Put(ctx context.Context, key string, payload []byte, keep time.Duration) error {
	if len(payload) == 0 || keep < time.Second {
		return fmt.Errorf("redispayload: put %q: %d bytes for %v; want some, for a second or more", key, len(payload), keep)
	}
	if err := put.Run(ctx, s.client, []string{s.prefix + key}, payload, keep.Milliseconds()).Err(); err != nil {
		return fmt.Errorf("redispayload: put %q: %w", key, err)
	}
	return nil
}

// Get returns a payload of at most limit bytes.
func (s *Store) Get(ctx context.Context, key string, limit int) ([]byte, error) {
	// The end of a range is in it, so this is a byte more than the limit.
	payload, err := s.client.GetRange(ctx, s.prefix+key, 0, int64(limit)).Bytes()
	switch {
	case err != nil:
		return nil, fmt.Errorf("redispayload: get %q: %w", key, err)
	case len(payload) == 0:
		return nil, fmt.Errorf("redispayload: get %q: %w", key, queue.ErrPayloadGone)
	case len(payload) > limit:
		return nil, fmt.Errorf("redispayload: get %q: %w: it has more than %d bytes", key, queue.ErrTooLarge, limit)
	}
	return payload, nil
}
