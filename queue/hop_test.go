package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// TestRequestsPerHop holds the promise of at most 0.31 requests for a message
// and hop, receive, send and delete, under backlog.
func TestRequestsPerHop(t *testing.T) {
	const messages = 2000
	for _, tt := range []struct {
		name     string
		endpoint queue.Endpoint
		handler  time.Duration
	}{
		{"0s", queue.Endpoint{}, 0},
		{"30ms", queue.Endpoint{}, 30 * time.Millisecond},
		{"16 pollers", queue.Endpoint{Pollers: 16, Concurrency: 320}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
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
				hop(t, s, tt.endpoint, stats, tt.handler, messages, func() {})
				f := stats.Figures()
				perMessage := float64(f.Total()) / messages
				t.Logf("%.3f requests a message: %v", perMessage, f.Requests)
				if perMessage > 0.31 {
					t.Errorf("%.3f requests a message, want at most 0.31", perMessage)
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

// hop moves messages from one queue to another with this package. The endpoint
// says how they are received.
func hop(t testing.TB, s *server, e queue.Endpoint, stats *queue.Stats, handler time.Duration, messages int, published func()) {
	t.Helper()
	in := testQueue{s, "in", ""}
	route(t,
		newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: in.endpoints(t, e), Stats: stats, Logger: slog.New(slog.DiscardHandler)}), "q",
		newPublisher(t, queue.PublisherConfig{AWS: s.aws, Stats: stats, Logger: slog.New(slog.DiscardHandler)}), "sqs://out",
		handler, messages, published)
}

// route moves a number of messages under watermill's Router. It calls published
// when the last is, and then closes.
func route(t testing.TB, sub message.Subscriber, from string, pub message.Publisher, to string, handler time.Duration, messages int, published func()) {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	counted := &counter{Publisher: pub, left: int64(messages), done: make(chan struct{})}
	router.AddHandler("hop", from, sub, to, counted, func(msg *message.Message) ([]*message.Message, error) {
		time.Sleep(handler)
		return message.Messages{msg.Copy()}, nil
	})
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.Background()) }()
	<-counted.done
	published()
	if err := router.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// A counter tells when a number of messages are published.
type counter struct {
	message.Publisher
	mu   sync.Mutex
	left int64
	done chan struct{}
}

func (c *counter) Publish(topic string, messages ...*message.Message) error {
	err := c.Publisher.Publish(topic, messages...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.left > 0 {
		if c.left -= int64(len(messages)); c.left <= 0 {
			close(c.done)
		}
	}
	return err
}
