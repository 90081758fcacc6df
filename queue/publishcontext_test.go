package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestPublishContext holds that a message's context bounds Publish.
func TestPublishContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := p.Publish("sqs://q", message.NewMessageWithContext(ctx, "u", []byte("x")))
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "not sent") {
			t.Errorf("with a context that has ended: %v", err)
		}
		namesEndpoint(t, err)
		if n := s.emulator.Requests()["sqs.SendMessageBatch"]; n != 0 {
			t.Errorf("%d requests, want none", n)
		}

		// While one message's context ends, the other's is sent.
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "SendMessageBatch" {
				return emulator.Fault{}
			}
			return emulator.Fault{Delay: 30 * time.Second}
		})
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			err := p.Publish("sqs://q", message.NewMessageWithContext(ctx, "u", []byte("x")))
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "may have been sent") || time.Since(began) != time.Second {
				t.Errorf("with a deadline of 1 s: %v after %v", err, time.Since(began))
			}
			namesEndpoint(t, err)
		})
		wg.Go(func() {
			if err := p.Publish("sqs://q", message.NewMessage("v", []byte("x"))); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()

		// When no caller is left the request is given up.
		began = time.Now()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = p.Publish("sqs://q", message.NewMessageWithContext(ctx, "w", []byte("x")))
		synctest.Wait()
		if err := p.Close(); err != nil || time.Since(began) != time.Second {
			t.Errorf("Close returned %v after %v, want at once", err, time.Since(began))
		}
	})
}

// namesEndpoint checks that an error which a context's end explains says of
// which endpoint it is, by itself and with no kind.
func namesEndpoint(t *testing.T, err error) {
	t.Helper()
	var p *queue.PublishError
	var e *queue.Error
	if !errors.As(err, &p) || !errors.As(p.Failed[0].Err, &e) || e.URL != "sqs://q" || e.Kind != nil || !strings.Contains(e.Error(), "sqs://q") {
		t.Errorf("the message's error names no endpoint: %v", err)
	}
}
