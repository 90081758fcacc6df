package queue_test

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// TestDecodeFrom holds that a message comes with its payload, or with its reference
// and the reason, and that no more is fetched than is asked for.
func TestDecodeFrom(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	store := new(payloads)
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
	want, small := large("x", 3000), message.NewMessage("s", []byte("small"))
	if err := p.Publish("sqs://"+q.name, want, small); err != nil {
		t.Fatal(err)
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws})
	if err != nil {
		t.Fatal(err)
	}
	found, err := admin.Queue(t.Context(), q.name)
	if err != nil {
		t.Fatal(err)
	}
	received, err := found.Receive(t.Context(), 10, time.Minute, 0)
	if err != nil || len(received) != 2 {
		t.Fatalf("received %d messages, %v", len(received), err)
	}
	stored, own := received[0], received[1]
	if _, err := own.Decode(); err != nil {
		stored, own = own, stored
	}

	if msg, err := own.DecodeFrom(t.Context(), store, 1); err != nil || !msg.Equals(small) || store.gets != 0 {
		t.Errorf("what has its payload itself: %q, %v, after %d gets", msg.Payload, err, store.gets)
	}
	if msg, err := stored.DecodeFrom(t.Context(), store, 3000); err != nil || !msg.Equals(want) {
		t.Errorf("got %d bytes with %v, %v", len(msg.Payload), msg.Metadata, err)
	}
	whole := bytes.Clone(want.Payload)
	gets := store.gets
	for _, tt := range []struct {
		name   string
		store  queue.PayloadStore
		limit  int
		change func()
		kind   error
		text   string
	}{
		{"without a store", nil, 3000, func() {}, queue.ErrUndecodable, "not in the message, but in a store"},
		{"too large", store, 2999, func() {}, queue.ErrTooLarge, "it has 3000 bytes, and the limit is 2999"},
		{"down", store, 3000, func() { store.down = true }, nil, "the store is down"},
		{"another", store, 3000, func() { store.down = false; whole[0]++; setAll(store, whole) }, nil, "another payload there"},
		{"gone", store, 3000, func() { clear(store.all) }, queue.ErrPayloadGone, ""},
	} {
		store.set(tt.change)
		msg, err := stored.DecodeFrom(t.Context(), tt.store, tt.limit)
		delete(msg.Metadata, queue.KeyRawEncoding)
		if !errors.Is(err, queue.ErrPayloadStored) || tt.kind != nil && !errors.Is(err, tt.kind) || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, want ErrPayloadStored, %v and %q", tt.name, err, tt.kind, tt.text)
		}
		if string(msg.Payload) != stored.Body || msg.UUID != want.UUID || !maps.Equal(msg.Metadata, want.Metadata) {
			t.Errorf("%s: got %q as %s with %v, want the reference with all metadata", tt.name, msg.Payload, msg.UUID, msg.Metadata)
		}
	}
	if n := store.gets - gets; n != 3 {
		t.Errorf("the store was asked %d times, want 3", n)
	}
}

// setAll has the store give a payload under all keys.
func setAll(p *payloads, payload []byte) {
	for key := range p.all {
		p.all[key] = payload
	}
}
