package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// TestShow holds that a message is found by either of its ids, on every server.
func TestShow(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		for i := range 12 {
			s.bury("fares-dlq", fmt.Sprint("m", i), fmt.Sprintf(`{"n":%d}`, i), "fares", func(f *queue.Failure) { f.Attempts = i })
		}
		c := s.client(fares())
		l, err := c.Show(s.Context(), "fares-dlq", "m7", 0)
		if err != nil {
			s.Fatal(err)
		}
		if l.ID != "m7" || string(l.Body) != `{"n":7}` || l.Failure == nil || l.Failure.Attempts != 7 || len(l.Failure.Chain) != 1 || l.Metadata["colour"] != "red" {
			s.Errorf("letter %+v", l)
		}
		again, err := c.Show(s.Context(), "fares-dlq", l.MessageID, 0)
		if err != nil || again.ID != "m7" {
			s.Errorf("by SQS's id: %+v, %v", again, err)
		}
		_, err = c.Show(s.Context(), "fares-dlq", "m99", 0)
		var missing *dlq.NoMessageError
		if !errors.Is(err, dlq.ErrNoMessage) || !errors.As(err, &missing) || missing.ID != "m99" || missing.Seen != 12 || missing.Total != 12 {
			s.Errorf("of none: %v", err)
		}
		_, err = c.Show(s.Context(), "fares-dlq", "m99", 3)
		if !errors.As(err, &missing) || missing.Seen != 3 || !strings.Contains(err.Error(), `message "m99" is not among the 3 messages of`) || !strings.Contains(err.Error(), "of 12: the others are beyond the limit") {
			s.Errorf("of none among 3: %v", err)
		}
		if n := s.visible("fares-dlq"); n != "12" {
			s.Errorf("%s messages can be received, want 12", n)
		}
		if _, err := c.Show(s.Context(), "fares", "m1", 0); !errors.Is(err, dlq.ErrCounts) {
			s.Errorf("of a queue with a redrive policy: %v", err)
		}
		if _, err := c.Show(s.Context(), "no-such", "m1", 0); !errors.Is(err, queue.ErrNotFound) || errors.Is(err, dlq.ErrNoMessage) {
			s.Errorf("of no queue: %v", err)
		}
		if _, err := c.Show(s.Context(), "fares-dlq", "", 0); err == nil || !strings.Contains(err.Error(), "the id is empty") {
			s.Errorf("without an id: %v", err)
		}
		if _, err := c.Show(s.Context(), "fares-dlq", "m1", -1); err == nil || !strings.Contains(err.Error(), "Limit is -1") {
			s.Errorf("with a limit below 0: %v", err)
		}
	})
}

func TestShowStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		s.send("q", "a")
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("Ctrl-C")
		cancel(stopped)
		if _, err := s.client().Show(ctx, s.full("q"), "m1", 0); !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) || errors.Is(err, dlq.ErrNoMessage) {
			t.Errorf("got %v", err)
		}
		if n := s.visible("q"); n != "1" {
			t.Errorf("%s messages can be received", n)
		}
	})
}

// TestShowPayload holds that the payload is shown that is in the store.
func TestShowPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, publish := claims(t)
		publish("fares-dlq", strings.Repeat("x", 2000))
		letters, err := s.claimClient(dlq.Config{Payloads: store}).Peek(t.Context(), "fares-dlq", 1)
		if err != nil || len(letters) != 1 {
			t.Fatal(letters, err)
		}
		for _, tt := range []struct {
			config dlq.Config
			stored bool
		}{{dlq.Config{Payloads: store}, false}, {dlq.Config{}, true}} {
			l, err := s.claimClient(tt.config).Show(t.Context(), "fares-dlq", letters[0].ID, 0)
			if err != nil || l.Stored != tt.stored || l.Stored == (string(l.Body) == strings.Repeat("x", 2000)) {
				t.Errorf("%+v, %v", l, err)
			}
		}
	})
}
