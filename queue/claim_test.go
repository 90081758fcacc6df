package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybill-dev/waybill/queue"
)

// payloads is a store in memory.
type payloads struct {
	mu      sync.Mutex
	all     map[string][]byte
	keep    time.Duration // of the last Put
	down    bool
	refuses error // of Put
	limit   int   // of the last Get
	gets    int
}

func (p *payloads) Put(_ context.Context, key string, payload []byte, keep time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return errors.New("the store is down")
	}
	if p.refuses != nil {
		return p.refuses
	}
	if p.all == nil {
		p.all = map[string][]byte{}
	}
	p.all[key], p.keep = bytes.Clone(payload), keep
	return nil
}

func (p *payloads) Get(_ context.Context, key string, limit int) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = limit
	p.gets++
	switch payload, ok := p.all[key]; {
	case p.down:
		return nil, errors.New("the store is down")
	case !ok:
		return nil, queue.ErrPayloadGone
	case len(payload) > limit:
		return nil, queue.ErrTooLarge
	default:
		return payload, nil
	}
}

// set changes the store beside its users.
func (p *payloads) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func large(text string, n int) *message.Message {
	msg := message.NewMessage("u", []byte(strings.Repeat(text, n)))
	for i := range 12 {
		msg.Metadata.Set(fmt.Sprint("k", i), "v")
	}
	return msg
}

// TestClaimCheck holds that a payload which is too large for the queue, or to go
// through a topic, is delivered whole, from the store and with all metadata.
func TestClaimCheck(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		q := newQueue(t, s)
		store := new(payloads)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{MaxMessageSize: 4096}), Payloads: store})
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Payloads: store}), "sqs://"+q.name)
		for _, text := range []string{"plain ", "\x00binary"} {
			want := large(text, 10_000)
			if err := p.Publish("q", want); err != nil {
				t.Fatal(err)
			}
			got := next(t, ch)
			if d := queue.FromContext(got.Context()); d.Undecodable != nil || !got.Equals(want) {
				t.Errorf("received %d bytes with %v (%v), want %d with %v", len(got.Payload), got.Metadata, d.Undecodable, len(want.Payload), want.Metadata)
			}
			got.Ack()
		}
		if err := p.Publish("q", message.NewMessage("small", []byte("x"))); err != nil || len(store.all) != 2 {
			t.Errorf("%v; %d payloads stored, want 2", err, len(store.all))
		}
		if want := queue.DefaultRetention * 2; store.keep != want {
			t.Errorf("kept for %v, want %v", store.keep, want)
		}
	})
}

// TestClaimTopic holds that a claim goes through SNS's envelope.
func TestClaimTopic(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	s.createTopic(t, "events", nil, q.url)
	store := new(payloads)
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
	want := message.NewMessage("u", bytes.Repeat([]byte("x"), 2000))
	want.Metadata.Set("k", "v")
	if err := p.Publish("sns://events", want); err != nil {
		t.Fatal(err)
	}
	msg := next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Payloads: store}), "sqs://"+q.name))
	defer msg.Ack()
	if !msg.Equals(want) {
		t.Errorf("received %q with %v", msg.Payload, msg.Metadata)
	}
	if store.keep != 28*24*time.Hour {
		t.Errorf("kept for %v", store.keep)
	}
}

// TestNoClaim holds that a payload goes to the store only if that makes its message
// smaller: least of all a reference, which is the body of a dead letter whose payload
// is gone.
func TestNoClaim(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	store := new(payloads)
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
	msg := message.NewMessage("u", []byte(`{"v":1,"sha256":"`+strings.Repeat("0", 64)+`","size":1000000000}`))
	msg.Metadata.Set(queue.KeyRawEncoding, "claim")
	msg.Metadata.Set(queue.KeyFailure, strings.Repeat("v", 2000))
	if err := p.Publish("sqs://"+q.name, msg); err != nil {
		t.Fatal(err)
	}
	if got := s.receive(t, q.url); aws.ToString(got.Body) != string(msg.Payload) || len(store.all) != 0 {
		t.Errorf("sent %q, and stored %d payloads", aws.ToString(got.Body), len(store.all))
	}
}

// TestClaimOfDeadLetter holds that the payload of a message that is published to a
// dead-letter queue is kept for as long as that keeps the message.
func TestClaimOfDeadLetter(t *testing.T) {
	s := embedded(t)
	q, dlq, own := newQueue(t, s), newQueue(t, s), newQueue(t, s)
	store := new(payloads)
	endpoints, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "q", URL: "sqs://" + q.name, DeadLetter: "sqs://" + dlq.name},
		queue.Endpoint{Name: "p", URL: "sqs://" + own.name, DeadLetter: "sqs://" + own.name + "-dlq", DeadLetterRetention: 10 * 24 * time.Hour},
		queue.Endpoint{Name: "dead", URL: "sqs://" + own.name + "-dlq"},
	)
	if err != nil {
		t.Fatal(err)
	}
	s.createQueue(t, own.name+"-dlq")
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Endpoints: endpoints, Payloads: store, ClaimAbove: 1000})
	for to, retention := range map[string]time.Duration{
		"sqs://" + dlq.name:          queue.DefaultDeadLetterRetention,
		"dead":                       10 * 24 * time.Hour,
		"sqs://" + own.name + "-dlq": 10 * 24 * time.Hour,
	} {
		if err := p.Publish(to, message.NewMessage("u", bytes.Repeat([]byte("x"), 2000))); err != nil {
			t.Fatal(err)
		}
		if store.keep != retention {
			t.Errorf("to %s it is kept for %v, and its message for %v", to, store.keep, retention)
		}
	}
	// Of a queue that configuration does not name, nothing is known.
	far := message.NewMessage("u", bytes.Repeat([]byte("x"), 2000))
	queue.SetDelay(far, queue.MaxDelay)
	if err := p.Publish("sqs://"+newQueue(t, s).name, far); err != nil || store.keep != queue.MaxDelay+2*14*24*time.Hour {
		t.Errorf("to another queue it is kept for %v: %v", store.keep, err)
	}
}

// TestClaimFails holds that a message whose payload cannot be had goes back to its
// queue and comes again, and that what is wrong for good is told.
func TestClaimFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		store := new(payloads)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
		want := large("x", 2000)
		publish := func() error { return p.Publish("sqs://"+q.name, want) }

		store.down = true
		if err := publish(); !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("with the store down: %v", err)
		}
		store.down = false
		store.refuses = fmt.Errorf("%w: there is no bucket", queue.ErrConfiguration)
		if err := publish(); !errors.Is(err, queue.ErrConfiguration) || errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrInvalid) {
			t.Errorf("with a store that is set up wrong: %v", err)
		}
		store.refuses = nil
		if err := publish(); err != nil {
			t.Fatal(err)
		}

		log := new(recorder)
		cfg := queue.SubscriberConfig{AWS: s.aws, Payloads: store, DeliverUndecodable: true, Logger: log.logger(), Backoff: queue.NoBackoff}
		store.down = true
		sub := newSubscriber(t, cfg)
		ch := subscribe(t, sub, "sqs://"+q.name)
		time.Sleep(10 * time.Second)
		if n := log.count("the store is down"); n < 2 {
			t.Errorf("%d tries while the store is down", n)
		}
		store.set(func() { store.down = false })
		msg := next(t, ch)
		if !msg.Equals(want) || store.limit != 2000 {
			t.Errorf("received %q by a Get of up to %d bytes", msg.Payload, store.limit)
		}

		var key string
		store.set(func() {
			for key = range store.all {
				store.all[key] = bytes.Repeat([]byte("y"), 2000)
			}
		})
		msg.Nack()
		msg = next(t, ch)
		if err := queue.FromContext(msg.Context()).Undecodable; !errors.Is(err, queue.ErrUndecodable) || !strings.Contains(err.Error(), "another payload") {
			t.Errorf("with another payload: %v", err)
		}
		store.set(func() { store.all[key] = bytes.Repeat([]byte("x"), 2001) })
		msg.Nack()
		msg = next(t, ch)
		if err := queue.FromContext(msg.Context()).Undecodable; !errors.Is(err, queue.ErrUndecodable) {
			t.Errorf("with a larger payload: %v", err)
		}
		store.set(func() { clear(store.all) })
		msg.Nack()
		msg = next(t, ch)
		if err := queue.FromContext(msg.Context()).Undecodable; !errors.Is(err, queue.ErrPayloadGone) || !errors.Is(err, queue.ErrUndecodable) {
			t.Errorf("with no payload: %v", err)
		}
		if msg.Metadata["k0"] != "v" || msg.Metadata["k11"] != "v" {
			t.Errorf("with no payload it has %v", msg.Metadata)
		}
		// What a pipeline does with it: the reference survives the move.
		dlq := newQueue(t, s)
		if err := p.Publish("sqs://"+dlq.name, msg); err != nil {
			t.Fatal(err)
		}
		if err := publish(); err != nil { // the payload is back
			t.Fatal(err)
		}
		if got := s.receive(t, dlq.url); !strings.Contains(aws.ToString(got.Body), key) {
			t.Errorf("the dead letter is %q", aws.ToString(got.Body))
		}
		msg.Ack()
		next(t, ch).Ack()
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slowPayloads is a store whose answers do not come.
type slowPayloads struct{ payloads }

func (p *slowPayloads) Get(ctx context.Context, _ string, _ int) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestClaimAndClose holds that a subscriber that closes waits for no payload, and gives
// the message back at once, also one that has failed before.
func TestClaimAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		store := new(slowPayloads)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
		if err := p.Publish("sqs://"+q.name, message.NewMessage("u", bytes.Repeat([]byte("x"), 2000))); err != nil {
			t.Fatal(err)
		}
		for range 3 { // its third receive would otherwise have it wait
			sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Payloads: store})
			subscribe(t, sub, "sqs://"+q.name)
			time.Sleep(time.Second)
			began := time.Now()
			if err := sub.Close(); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("Close took %v", d)
			}
			if got := s.depth(t, q.url); got != "1 visible, 0 in flight" {
				t.Fatal(got)
			}
		}
	})
}

// brokenPayloads is a store that panics once in each method.
type brokenPayloads struct {
	payloads
	put, once sync.Once
}

func (p *brokenPayloads) Put(ctx context.Context, key string, payload []byte, keep time.Duration) error {
	p.put.Do(func() { panic("out of order") })
	return p.payloads.Put(ctx, key, payload, keep)
}

func (p *brokenPayloads) Get(ctx context.Context, key string, limit int) ([]byte, error) {
	p.once.Do(func() { panic("out of order") })
	return p.payloads.Get(ctx, key, limit)
}

// TestClaimPanic holds that a store that panics costs a message another receive, or
// an error of its own, and not the process.
func TestClaimPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		store := new(brokenPayloads)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
		msg := message.NewMessage("u", bytes.Repeat([]byte("x"), 2000))
		err := p.Publish("sqs://"+q.name, message.NewMessage("small", []byte("x")), msg)
		var e *queue.PublishError
		if !errors.As(err, &e) || len(e.Failed) != 1 || e.Failed[0].UUID != "u" || !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "out of order") {
			t.Fatalf("published with %v", err)
		}
		s.receive(t, q.url)
		if err := p.Publish("sqs://"+q.name, msg); err != nil {
			t.Fatal(err)
		}
		log := new(recorder)
		msg = next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Payloads: store, Logger: log.logger()}), "sqs://"+q.name))
		if n := queue.FromContext(msg.Context()).ReceiveCount; n != 2 || log.count("out of order") != 1 {
			t.Errorf("it came with receive %d, and %d words of the panic", n, log.count("out of order"))
		}
		msg.Ack()
	})
}

// TestClaimLimits holds that no more is fetched than allowed, and that a message
// with a payload in a store is left to subscribers that have one.
func TestClaimLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		store := new(payloads)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
		if err := p.Publish("sqs://"+q.name, message.NewMessage("u", bytes.Repeat([]byte("x"), 2000))); err != nil {
			t.Fatal(err)
		}
		for text, cfg := range map[string]queue.SubscriberConfig{
			"set SubscriberConfig.Payloads": {},
			"MaxPayload is 1999":            {Payloads: store, MaxPayload: 1999},
		} {
			log := new(recorder)
			cfg.AWS, cfg.Logger = s.aws, log.logger()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			ch, err := newSubscriber(t, cfg).Subscribe(ctx, "sqs://"+q.name)
			if err != nil {
				t.Fatal(err)
			}
			for range ch {
				t.Error("delivered")
			}
			cancel()
			if log.count(text) == 0 || store.limit != 0 {
				t.Errorf("no word of %q", text)
			}
			time.Sleep(time.Minute)
		}
		if got := s.depth(t, q.url); got != "1 visible, 0 in flight" {
			t.Error(got)
		}
	})
}

// TestClaimOfLaterRelease holds that a reference of a later form is left to those who
// know it, whatever else is in it.
func TestClaimOfLaterRelease(t *testing.T) {
	for body, newer := range map[string]bool{
		`{"v":2,"sha256":["x"],"size":"5"}`: true,
		`{"v":2}`:                           true,
		`{"v":1,"sha256":["x"],"size":"5"}`: false,
		`{"v":"2"}`:                         false,
	} {
		m := queue.RawMessage{Body: body, Attributes: map[string]queue.RawAttribute{queue.AttrEncoding: {Type: "String", Value: "claim"}}}
		if _, err := m.Decode(); errors.Is(err, queue.ErrNewer) != newer || !errors.Is(err, queue.ErrUndecodable) {
			t.Errorf("%s: %v; of a later release: %t", body, err, newer)
		}
	}
}

// FuzzClaim holds that no body that is marked as a reference does harm.
func FuzzClaim(f *testing.F) {
	f.Add(`{"v":1,"sha256":"` + strings.Repeat("0", 64) + `","size":5}`)
	f.Add(`{"v":2}`)
	f.Add(`{"v":1,"sha256":"../../etc/passwd","size":-1}`)
	f.Fuzz(func(t *testing.T, body string) {
		m := queue.RawMessage{Body: body, Attributes: map[string]queue.RawAttribute{queue.AttrEncoding: {Type: "String", Value: "claim"}}}
		msg, err := m.Decode()
		if !errors.Is(err, queue.ErrUndecodable) || string(msg.Payload) != body {
			t.Errorf("decoded as %q, %v", msg.Payload, err)
		}
	})
}
