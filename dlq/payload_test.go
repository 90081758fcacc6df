package dlq_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// payloads is a store in memory that lets payloads go.
type payloads struct {
	mu   sync.Mutex
	all  map[string][]byte
	ends map[string]time.Time
}

func (p *payloads) Put(_ context.Context, key string, payload []byte, keep time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all, p.ends = map[string][]byte{}, map[string]time.Time{}
	}
	p.all[key], p.ends[key] = payload, time.Now().Add(keep)
	return nil
}

func (p *payloads) Get(_ context.Context, key string, _ int) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all[key] == nil || time.Now().After(p.ends[key]) {
		return nil, queue.ErrPayloadGone
	}
	return p.all[key], nil
}

// claiming makes the queues of fares, and a publisher that puts payloads of more
// than a kilobyte into a store.
func claiming(t *testing.T, s *server) (*queue.Endpoints, *payloads, *queue.Publisher) {
	t.Helper()
	s.queue("fares-dlq", "", 0)
	s.queue("fares", "fares-dlq", 1)
	endpoints, err := queue.NewEndpoints(s.ns, fares())
	if err != nil {
		t.Fatal(err)
	}
	store := new(payloads)
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws, Endpoints: endpoints, Payloads: store, ClaimAbove: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pub.Close() })
	return endpoints, store, pub
}

// A redrive has payloads kept for as long as their messages, and sends none back whose payload is gone.
func TestRedriveKeepsPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		endpoints, store, pub := claiming(t, s)
		publish := func(text string) {
			if err := pub.Publish("fares", message.NewMessage(text, []byte(strings.Repeat(text, 2000)))); err != nil {
				t.Fatal(err)
			}
		}
		publish("x")
		s.send("fares", "small")
		s.die("fares", "fares-dlq", 2)
		var key string
		for key = range store.all {
		}
		time.Sleep(time.Hour)
		admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws, Endpoints: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		c, err := dlq.New(dlq.Config{Queues: admin, Payloads: store})
		if err != nil {
			t.Fatal(err)
		}
		before := store.ends[key]
		if _, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", DryRun: true}); err != nil {
			t.Fatal(err)
		}
		if !store.ends[key].Equal(before) {
			t.Error("a dry run has the payload kept")
		}
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if err != nil || report.Sent != 2 {
			t.Fatalf("%+v, %v", report, err)
		}
		e, err := endpoints.Resolve("fares")
		if err != nil {
			t.Fatal(err)
		}
		if left, want := time.Until(store.ends[key]), e.Retention+e.DeadLetterRetention; left < want-time.Minute || left > want {
			t.Errorf("the payload is kept for %v, want %v", left, want)
		}

		clear(store.all)
		s.die("fares", "fares-dlq", 2)
		report, err = c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if err == nil || report.Sent != 1 || len(report.Failures) != 1 || report.Failures[0].Stage != dlq.StagePayload || report.Failures[0].Unknown {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
		if n := s.left("fares-dlq"); n != 1 {
			t.Errorf("%d dead letters are left, want 1", n)
		}
	})
}

// TestRedriveEditsClaims holds that an edit of a message whose payload is in a store
// leaves what it does not touch: the payload, and metadata that is packed.
func TestRedriveEditsClaims(t *testing.T) {
	for name, edit := range map[string]func(*dlq.Letter){
		"metadata": func(l *dlq.Letter) { l.Metadata.Set("note", "mended") },
		"body":     func(l *dlq.Letter) { l.Body = []byte("mended") },
		"both":     func(l *dlq.Letter) { l.Body = []byte("mended"); l.Metadata.Set("note", "mended") },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := embedded(t)
			endpoints, store, pub := claiming(t, s)
			want := message.NewMessage("u", []byte(strings.Repeat("x", 2000)))
			for _, key := range strings.Fields("a b c d e f g h i j k l") {
				want.Metadata.Set(key, "v")
			}
			if err := pub.Publish("fares", want); err != nil {
				t.Fatal(err)
			}
			s.die("fares", "fares-dlq", 1)
			admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws, Endpoints: endpoints})
			if err != nil {
				t.Fatal(err)
			}
			c, err := dlq.New(dlq.Config{Queues: admin, Payloads: store})
			if err != nil {
				t.Fatal(err)
			}
			report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Edit: func(_ context.Context, l *dlq.Letter) error { edit(l); return nil }})
			if err != nil || report.Sent != 1 {
				t.Fatalf("%s: %+v, %v", name, report, err)
			}
			sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: s.aws, Endpoints: endpoints, Payloads: store, DeliverUndecodable: true})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			ch, err := sub.Subscribe(t.Context(), "fares")
			if err != nil {
				t.Fatal(err)
			}
			got := <-ch
			got.Ack()
			if name != "metadata" {
				want.Payload = []byte("mended")
			}
			if name != "body" {
				want.Metadata.Set("note", "mended")
			}
			for _, mark := range []string{queue.KeyRedriveID, queue.KeyRedriveGeneration} {
				delete(got.Metadata, mark)
			}
			if !got.Equals(want) {
				t.Errorf("%s: received %.100q with %v (%v)", name, got.Payload, got.Metadata, queue.FromContext(got.Context()).Undecodable)
			}
		})
	}
}
