package dlq

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// What shows first is extended first: with many messages held, a round takes long.
func TestHoldListsWhatShowsFirst(t *testing.T) {
	h := newHold(nil, shelf{}, time.Minute, slog.New(slog.DiscardHandler))
	now := time.Now()
	for i := range 100 {
		id := fmt.Sprint(i)
		h.held[id] = &heldMessage{raw: queue.RawMessage{ID: id}, until: now.Add(time.Duration(i*37%100) * time.Second)}
	}
	var last time.Time
	for _, raw := range h.list(func(*heldMessage) bool { return true }) {
		if until := h.held[raw.ID].until; until.Before(last) {
			t.Fatal("a message comes after one that is hidden for longer")
		} else {
			last = until
		}
	}
}
