package redisstore_test

import (
	"bytes"
	"crypto/rand"
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
				if _, err := st.Claim(ctx, store.Claim{Key: "k", Token: "token", Lease: lease}); err != nil {
					t.Fatal(err)
				}
			}
			claim(30 * time.Second)
			check("a claim", time.Minute)
			claim(time.Hour)
			check("a claim that was extended", time.Minute)
			if err := st.Complete(ctx, store.Completion{Key: "k", Token: "token", Result: []byte("result"), Retention: store.DefaultIdempotencyRetention}); err != nil {
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
		got, err := st.Claim(t.Context(), store.Claim{Key: "k", Token: token, Lease: lease})
		return got.Done, err
	}
	if _, err := claim("holder"); err != nil {
		t.Fatal(err)
	}
	mini.FastForward(lease + time.Minute - time.Millisecond)
	if _, err := claim("other"); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a claim that stands was taken: %v", err)
	}
	if err := st.Complete(t.Context(), store.Completion{Key: "k", Token: "holder", Retention: retention}); err != nil {
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

// TestRecordSize holds the table of memory in the package documentation to a
// redis-server, as far as MEMORY USAGE shows it.
func TestRecordSize(t *testing.T) {
	for _, server := range servers(t) {
		if server.name != "redis-server" {
			continue // others count otherwise
		}
		tg := server.new(t)
		tg.partitions = 1
		st := tg.open(t)
		const id = "charge/fc9ab3d4-8e52-4f2b-9d3c-50a1e7" // 36 bytes
		key := tg.namespace + ":{p0}:k:" + id
		for result, documented := range map[int]int64{0: 230, 64: 300, 200: 650, 1000: 1450} {
			for attempt, documented := range []int64{documented, documented + 110} {
				if err := tg.client.Del(t.Context(), key).Err(); err != nil {
					t.Fatal(err)
				}
				if err := st.Complete(t.Context(), store.Completion{
					Key: id, Token: rand.Text(), Attempt: attempt, Result: bytes.Repeat([]byte("r"), result), Retention: time.Hour,
				}); err != nil {
					t.Fatal(err)
				}
				got, err := tg.client.MemoryUsage(t.Context(), key, 0).Result() // all fields
				if err != nil {
					t.Fatal(err)
				}
				if got > documented || got < documented/2 {
					t.Errorf("a record of %d bytes of attempt %d takes %d, documented are %d with what is shown nowhere",
						result, attempt, got, documented)
				}
			}
		}
	}
}
