package redisstore_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/waybill-dev/waybill/store"
)

// outlives is by how much the time to live of a key is longer than the time
// that its record stands, by the stored time.
func outlives(t *testing.T, tg target, key string) time.Duration {
	t.Helper()
	text, err := tg.client.HGet(t.Context(), key, "u").Result()
	if err != nil {
		t.Fatal(err)
	}
	until, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	now := tg.now() // before the time to live is read, which goes down
	ttl, err := tg.client.PTTL(t.Context(), key).Result()
	if err != nil || ttl <= 0 {
		t.Fatalf("%s lives for %v, %v", key, ttl, err)
	}
	return ttl - time.UnixMilli(until).Sub(now)
}

// TestKeysOutliveTheirRecords: the time that is stored decides how long a claim
// and a result stand, so Redis keeps their keys for longer than that.
func TestKeysOutliveTheirRecords(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			tg.partitions = 1
			st := tg.open(t)
			ctx := t.Context()
			key := tg.namespace + ":{p0}:k:k"
			// What a call and the ways there and back may last, on a clock that runs.
			const slack = 10 * time.Second
			check := func(what string, margin time.Duration) {
				t.Helper()
				if got := outlives(t, tg, key); got < margin-slack || got > margin+slack || tg.still && got != margin {
					t.Errorf("%s: its key outlives it by %v, want %v", what, got, margin)
				}
			}
			claim := func(lease time.Duration) {
				t.Helper()
				if _, _, err := st.Claim(ctx, "k", "token", lease); err != nil {
					t.Fatal(err)
				}
			}
			claim(30 * time.Second)
			check("a claim", time.Minute)
			claim(time.Hour)
			check("a claim that was extended", time.Minute)
			if err := st.Complete(ctx, "k", "token", []byte("result"), store.DefaultIdempotencyRetention); err != nil {
				t.Fatal(err)
			}
			check("a result", time.Hour)
		})
	}
}

// TestKeysThatExpireEarly: a server that is early with what it expires, by less
// than a minute, takes no claim from its holder, and no result from a repeat.
func TestKeysThatExpireEarly(t *testing.T) {
	const lease, retention = 30 * time.Second, time.Minute
	mini := miniredis.RunT(t)
	mini.SetTime(epoch) // it stands still; the times to live go down by FastForward alone
	tg := target{client: dial(t, mini.Addr()), namespace: "test"}
	st := tg.open(t)
	claim := func(token string) (bool, error) {
		_, done, err := st.Claim(t.Context(), "k", token, lease)
		return done, err
	}
	if _, err := claim("holder"); err != nil {
		t.Fatal(err)
	}
	mini.FastForward(lease + time.Minute - time.Millisecond)
	if _, err := claim("other"); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a claim that stands was taken: %v", err)
	}
	if err := st.Complete(t.Context(), "k", "holder", nil, retention); err != nil {
		t.Fatal(err)
	}
	mini.FastForward(retention + time.Hour - time.Millisecond)
	if done, err := claim("other"); !done || err != nil {
		t.Errorf("a result that stands is gone: %v", err)
	}
	// The key is there still, and does not count any longer.
	mini.SetTime(epoch.Add(retention))
	if done, err := claim("other"); done || err != nil {
		t.Errorf("a result stands after its retention: done %t, %v", done, err)
	}
}
