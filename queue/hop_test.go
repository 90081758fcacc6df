package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// TestRequestsPerHop holds the promise of at most 0.35 requests for a message
// and hop, receive, send and delete, under backlog.
func TestRequestsPerHop(t *testing.T) {
	const messages = 2000
	for _, handler := range []time.Duration{0, 30 * time.Millisecond} {
		t.Run(fmt.Sprint(handler), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				s.createQueue(t, "in")
				s.createQueue(t, "out")
				filler := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
				for i := range messages / 10 {
					var batch []*message.Message
					for j := range 10 {
						batch = append(batch, message.NewMessage(fmt.Sprint(i*10+j), []byte("x")))
					}
					if err := filler.Publish("sqs://in", batch...); err != nil {
						t.Fatal(err)
					}
				}
				before := requests(s)
				stats := new(queue.Stats)
				hop(t, s, stats, handler, messages)
				f := stats.Figures()
				perMessage := float64(f.Total()) / messages
				t.Logf("%.3f requests a message: %v", perMessage, f.Requests)
				if perMessage > 0.35 {
					t.Errorf("%.3f requests a message, want at most 0.35", perMessage)
				}
				if f.Received != messages || f.Deleted != messages || f.Sent != messages {
					t.Errorf("%+v, want each message received, sent and deleted once", f)
				}
				if n := requests(s) - before; n != f.Total() {
					t.Errorf("counted %d requests, and the server %d", f.Total(), n)
				}
			})
		})
	}
}

// requests returns how many requests the emulator has had.
func requests(s *server) int64 {
	var n int64
	for _, count := range s.emulator.Requests() {
		n += count
	}
	return n
}

// hop moves messages from one queue to another under watermill's Router.
func hop(t testing.TB, s *server, stats *queue.Stats, handler time.Duration, messages int) {
	t.Helper()
	sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Stats: stats})
	pub := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Stats: stats})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	var left sync.WaitGroup
	left.Add(messages)
	router.AddHandler("hop", "sqs://in", sub, "sqs://out", keepOpen{pub}, func(msg *message.Message) ([]*message.Message, error) {
		defer left.Done()
		time.Sleep(handler)
		return message.Messages{msg.Copy()}, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- router.Run(ctx) }()
	left.Wait()
	cancel()
	if err := router.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// keepOpen keeps the Router from closing a publisher that others use.
type keepOpen struct{ message.Publisher }

func (keepOpen) Close() error { return nil }
