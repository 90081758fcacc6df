package redispayload_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/payloadtest"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/redispayload"
)

func newStore(t *testing.T) (*redispayload.Store, *redis.Client, string) {
	t.Helper()
	if !testserver.HasRedisServer() {
		t.Skip("there is no redis-server on the PATH")
	}
	client := redis.NewClient(&redis.Options{Addr: testserver.StartRedis(t)})
	t.Cleanup(func() { _ = client.Close() })
	s, err := redispayload.New(redispayload.Config{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	return s, client, redispayload.DefaultPrefix
}

// TestStore holds that a payload comes back as it is, is kept for the longest time
// that it was put for, and is read no further than asked for.
func TestStore(t *testing.T) {
	s, client, prefix := newStore(t)
	ctx := t.Context()
	if _, err := s.Get(ctx, "k", 10); !errors.Is(err, queue.ErrPayloadGone) {
		t.Errorf("before: %v", err)
	}
	for _, put := range []struct{ keep, want time.Duration }{
		{time.Hour, time.Hour},
		{3 * time.Hour, 3 * time.Hour},
		{2 * time.Hour, 3 * time.Hour},
	} {
		if err := s.Put(ctx, "k", []byte("a\x00bc"), put.keep); err != nil {
			t.Fatal(err)
		}
		if ttl := client.TTL(ctx, prefix+"k").Val(); ttl > put.want || ttl < put.want-time.Minute {
			t.Errorf("put for %v it is kept for %v, want %v", put.keep, ttl, put.want)
		}
	}
	if got, err := s.Get(ctx, "k", 4); err != nil || string(got) != "a\x00bc" {
		t.Errorf("Get: %q, %v", got, err)
	}
	if _, err := s.Get(ctx, "k", 3); !errors.Is(err, queue.ErrTooLarge) {
		t.Errorf("Get of less: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "k", 4); err == nil || errors.Is(err, queue.ErrPayloadGone) {
		t.Errorf("without Redis: %v", err)
	}
	if err := s.Put(ctx, "k", []byte("x"), time.Hour); err == nil {
		t.Error("put without Redis")
	}
}

// TestConformance holds the store to the suite that all stores pass.
func TestConformance(t *testing.T) {
	s, _, _ := newStore(t)
	payloadtest.Test(t, s)
}

// TestPersistent holds that a payload without an end keeps none.
func TestPersistent(t *testing.T) {
	s, client, prefix := newStore(t)
	if err := client.Set(t.Context(), prefix+"k", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "k", []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if ttl := client.TTL(t.Context(), prefix+"k").Val(); ttl >= 0 {
		t.Errorf("it goes in %v", ttl)
	}
}

// TestConfig holds that a store wants a client.
func TestConfig(t *testing.T) {
	if _, err := redispayload.New(redispayload.Config{}); err == nil {
		t.Error("made without a client")
	}
}
