// Package payloadtest is the conformance suite of what keeps payloads beside
// their messages.
package payloadtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// Test holds a store to what [queue.PayloadStore] promises, apart from the time
// for which it keeps what it has. The store is empty.
func Test(t *testing.T, store queue.PayloadStore) {
	put := func(t *testing.T, key string, payload []byte) {
		t.Helper()
		if err := store.Put(t.Context(), key, payload, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("gone", func(t *testing.T) {
		if got, err := store.Get(t.Context(), "gone", 10); !errors.Is(err, queue.ErrPayloadGone) {
			t.Errorf("what nobody has put: %q, %v; want ErrPayloadGone", got, err)
		}
	})
	t.Run("whole", func(t *testing.T) {
		payload := []byte("a\x00b\r\n\xff")
		put(t, "whole", payload)
		if got, err := store.Get(t.Context(), "whole", len(payload)); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%q, %v; want %q", got, err, payload)
		}
	})
	t.Run("large", func(t *testing.T) {
		payload := random(3 << 20)
		put(t, "large", payload)
		for _, limit := range []int{len(payload), 64 << 20} {
			if got, err := store.Get(t.Context(), "large", limit); err != nil || !bytes.Equal(got, payload) {
				t.Errorf("of %d bytes it has %d, %v", len(payload), len(got), err)
			}
		}
	})
	t.Run("limit", func(t *testing.T) {
		put(t, "limit", []byte("12345"))
		for _, limit := range []int{0, 1, 4} {
			if got, err := store.Get(t.Context(), "limit", limit); !errors.Is(err, queue.ErrTooLarge) || errors.Is(err, queue.ErrPayloadGone) {
				t.Errorf("with a limit of %d: %q, %v; want ErrTooLarge", limit, got, err)
			}
		}
	})
	t.Run("again", func(t *testing.T) {
		for range 3 {
			put(t, "again", []byte("same"))
		}
		if got, err := store.Get(t.Context(), "again", 4); err != nil || string(got) != "same" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("together", func(t *testing.T) {
		payload := random(100 << 10)
		var at sync.WaitGroup
		for range 8 {
			at.Go(func() {
				if err := store.Put(t.Context(), "together", payload, time.Hour); err != nil {
					t.Error(err)
				}
				if got, err := store.Get(t.Context(), "together", len(payload)); err != nil || !bytes.Equal(got, payload) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		at.Wait()
	})
	t.Run("refused", func(t *testing.T) {
		if err := store.Put(t.Context(), "refused", nil, time.Hour); err == nil {
			t.Error("it took a payload of no bytes")
		}
		for _, keep := range []time.Duration{0, -time.Hour, time.Millisecond} {
			if err := store.Put(t.Context(), "refused", []byte("x"), keep); err == nil {
				t.Errorf("it took a payload for %v", keep)
			}
		}
		if _, err := store.Get(t.Context(), "refused", 1); !errors.Is(err, queue.ErrPayloadGone) {
			t.Errorf("after it was refused: %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := store.Put(ctx, "cancelled", []byte("x"), time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("Put: %v", err)
		}
		if _, err := store.Get(ctx, "again", 4); !errors.Is(err, context.Canceled) || errors.Is(err, queue.ErrPayloadGone) {
			t.Errorf("Get: %v", err)
		}
	})
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
