package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestDrain holds what happens to each message when a subscription ends: by
// Close, or by its context.
func TestDrain(t *testing.T) {
	for _, way := range []string{"close", "context"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				url := s.createQueue(t, "q")
				for i := range 12 {
					s.send(t, url, fmt.Sprint(i))
				}
				stats := new(queue.Stats)
				q := testQueue{s, "q", url}
				sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Stats: stats, DeleteLinger: time.Hour,
					Endpoints: q.endpoints(t, queue.Endpoint{Concurrency: 2, Pollers: 1})})
				type key struct{}
				ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
				ch, err := sub.Subscribe(ctx, "q")
				if err != nil {
					t.Fatal(err)
				}
				quick, slow := next(t, ch), next(t, ch)
				time.Sleep(time.Minute)
				quick.Ack()
				// Concurrency 2 receives two at a time: one waits for its turn
				// to be delivered, another for a slot.
				time.Sleep(time.Second)

				began := time.Now()
				ended := make(chan struct{})
				if way == "context" {
					cancel()
					synctest.Wait()
					go func() {
						for msg := range ch {
							t.Errorf("received %s while draining", msg.UUID)
						}
						close(ended)
					}()
				} else {
					go func() {
						if err := sub.Close(); err != nil {
							t.Error(err)
						}
						close(ended)
					}()
				}
				time.Sleep(2 * time.Second)
				if got := s.depth(t, url); got != "10 visible, 2 in flight" {
					t.Errorf("%s, want what was not delivered back at once", got)
				}
				time.Sleep(13 * time.Second)
				if err := slow.Context().Err(); err != nil || slow.Context().Value(key{}) != "value" {
					t.Errorf("the handler's context: %v", context.Cause(slow.Context()))
				}
				slow.Ack()
				<-ended
				if d := time.Since(began); d != 15*time.Second {
					t.Errorf("drained after %v, want when the last handler is done, at 15 s", d)
				}
				if _, ok := <-ch; ok {
					t.Error("the channel is open")
				}
				if got := s.depth(t, url); got != "10 visible, 0 in flight" {
					t.Errorf("%s, want the deletes flushed", got)
				}
				if f := stats.Figures(); f.Deleted != 2 || f.Returned != f.Received-2 || f.Requests["DeleteMessageBatch"] != 1 {
					t.Errorf("%+v", f)
				}
				cancel()
			})
		})
	}
}

// TestDrainTimeout holds that a handler which outlasts the drain has its context
// ended, and that its message is returned if it nacks in answer, and otherwise
// left to its visibility.
func TestDrainTimeout(t *testing.T) {
	for _, nack := range []bool{true, false} {
		t.Run(fmt.Sprintf("nack=%t", nack), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				url := s.createQueue(t, "q")
				s.send(t, url, "x")
				sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, DrainTimeout: 10 * time.Second})
				ch := subscribe(t, sub, "sqs://q")
				msg := next(t, ch)
				time.Sleep(time.Second)
				began := time.Now()
				go func() {
					<-msg.Context().Done()
					if cause := context.Cause(msg.Context()); !errors.Is(cause, queue.ErrClosed) || time.Since(began) != 10*time.Second {
						t.Errorf("the handler's context ended after %v: %v", time.Since(began), cause)
					}
					if nack {
						msg.Nack()
					}
				}()
				if err := sub.Close(); err != nil {
					t.Error(err)
				}
				d, got := time.Since(began), s.depth(t, url)
				if nack && (d > 11*time.Second || got != "1 visible, 0 in flight") {
					t.Errorf("Close took %v, and the queue has %s; want the message back", d, got)
				}
				if !nack && (d != 11*time.Second || got != "0 visible, 1 in flight") {
					t.Errorf("Close took %v, and the queue has %s; want the message left in flight", d, got)
				}
				msg.Ack() // too late, and harmless
				time.Sleep(time.Minute)
				if got := s.depth(t, url); got != "1 visible, 0 in flight" {
					t.Errorf("a minute later the queue has %s", got)
				}
			})
		})
	}
}

// A farReceiver is an SQS client whose received messages take a while to
// arrive, and are lost if the receive is cancelled meanwhile.
type farReceiver struct {
	*sqs.Client
	distance time.Duration
}

func (r farReceiver) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, opts ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	out, err := r.Client.ReceiveMessage(ctx, in, opts...)
	select {
	case <-time.After(r.distance):
		return out, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestDrainUnderBacklog holds that a receive which is about to bring messages
// when the subscription ends is not cancelled, since they would be lost to all
// until their visibility ends.
func TestDrainUnderBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "x")
		stats := new(queue.Stats)
		sub := newSubscriber(t, queue.SubscriberConfig{SQS: farReceiver{s.sqs, 200 * time.Millisecond}, Stats: stats})
		ch := subscribe(t, sub, "sqs://q")
		time.Sleep(100 * time.Millisecond)
		if got := s.depth(t, url); got != "0 visible, 1 in flight" {
			t.Fatalf("%s, want the message on its way", got)
		}
		began := time.Now()
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
		if _, ok := <-ch; ok {
			t.Error("delivered while draining")
		}
		if got := s.depth(t, url); got != "1 visible, 0 in flight" {
			t.Errorf("%s after Close, want the message back", got)
		}
		if f := stats.Figures(); f.Received != 1 || f.Returned != 1 || f.Undelivered != 1 {
			t.Errorf("%+v, want one message that no handler has seen", f)
		}
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("Close took %v", d)
		}
	})
}

// TestDrainOfGroups holds that the messages of a FIFO group which wait behind one
// that is out go back to the queue, each once, and are counted.
func TestDrainOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q.fifo", "FifoQueue", "true", "ContentBasedDeduplication", "true")
		for i := range 5 {
			if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(fmt.Sprint(i)), MessageGroupId: aws.String("g")}); err != nil {
				t.Fatal(err)
			}
		}
		stats := new(queue.Stats)
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Stats: stats})
		ch := subscribe(t, sub, "sqs://q.fifo")
		next(t, ch).Ack()
		second := next(t, ch)
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if err := sub.Close(); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		go func() {
			for msg := range ch {
				t.Errorf("received %s while draining", msg.Payload)
				msg.Ack()
			}
		}()
		synctest.Wait()
		second.Ack()
		<-closed
		if f := stats.Figures(); f.Received != 5 || f.Deleted != 2 || f.Returned != 3 || f.Undelivered != 3 {
			t.Errorf("%+v, want three messages returned that no handler has seen", f)
		}
		if got := s.depth(t, url); got != "3 visible, 0 in flight" {
			t.Error(got)
		}
	})
}

// TestDrainIdle holds that an idle long poll does not hold Close up.
func TestDrainIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws})
		subscribe(t, sub, "sqs://q")
		time.Sleep(5 * time.Second)
		began := time.Now()
		if err := sub.Close(); err != nil || time.Since(began) != 0 {
			t.Errorf("Close of an idle subscriber took %v: %v", time.Since(began), err)
		}
	})
}

// TestDrainWithoutService holds that Close ends although the service does not
// answer.
func TestDrainWithoutService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "a", "b")
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, DrainTimeout: 10 * time.Second})
		ch := subscribe(t, sub, "sqs://q")
		one, two := next(t, ch), next(t, ch)
		s.emulator.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{Delay: time.Hour} })
		one.Ack()
		two.Nack()
		began := time.Now()
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("Close took %v, want DrainTimeout and some seconds", d)
		}
	})
}

// TestCloseStates closes subscribers in every state they can be in. The bubble
// fails the test if a goroutine is left.
func TestCloseStates(t *testing.T) {
	const endpoint = "sqs://q"
	states := []struct {
		name    string
		prepare func(t *testing.T, s *server, sub *queue.Subscriber)
	}{
		{"new", func(*testing.T, *server, *queue.Subscriber) {}},
		{"subscribed", func(t *testing.T, s *server, sub *queue.Subscriber) { subscribe(t, sub, endpoint) }},
		{"subscribed twice", func(t *testing.T, s *server, sub *queue.Subscriber) {
			subscribe(t, sub, endpoint)
			subscribe(t, sub, endpoint)
		}},
		{"nobody reads", func(t *testing.T, s *server, sub *queue.Subscriber) { subscribe(t, sub, endpoint); synctest.Wait() }},
		{"a message is out", func(t *testing.T, s *server, sub *queue.Subscriber) { next(t, subscribe(t, sub, endpoint)) }},
		{"acked", func(t *testing.T, s *server, sub *queue.Subscriber) { next(t, subscribe(t, sub, endpoint)).Ack() }},
		{"nacked", func(t *testing.T, s *server, sub *queue.Subscriber) { next(t, subscribe(t, sub, endpoint)).Nack() }},
		{"receiving fails", func(t *testing.T, s *server, sub *queue.Subscriber) {
			subscribe(t, sub, endpoint)
			s.emulator.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{DropRequest: true} })
			time.Sleep(time.Minute)
		}},
		{"its context has ended", func(t *testing.T, s *server, sub *queue.Subscriber) {
			ctx, cancel := context.WithCancel(t.Context())
			ch, err := sub.Subscribe(ctx, endpoint)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			for range ch {
			}
		}},
	}
	for _, state := range states {
		t.Run(state.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				s.send(t, s.createQueue(t, "q"), "a", "b", "c")
				sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws})
				state.prepare(t, s, sub)
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						if err := sub.Close(); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				s.emulator.SetFault(nil)
				if _, err := sub.Subscribe(t.Context(), endpoint); !errors.Is(err, queue.ErrClosed) {
					t.Errorf("Subscribe after Close: %v, want ErrClosed", err)
				}
			})
		})
	}
}

// TestCloseRace closes while messages come and go.
func TestCloseRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Linger: -1})
		const messages = 500
		var publishing sync.WaitGroup
		for i := range messages {
			publishing.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				if err := p.Publish("sqs://q", message.NewMessage(fmt.Sprint(i), []byte("x"))); err != nil {
					t.Error(err)
				}
			})
		}
		seen := map[string]bool{}
		for round := 0; len(seen) < messages; round++ {
			sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Backoff: queue.NoBackoff})
			ch := subscribe(t, sub, "sqs://q")
			var reading sync.WaitGroup
			reading.Go(func() {
				for msg := range ch {
					seen[msg.UUID] = true
					msg.Ack()
				}
			})
			time.Sleep(time.Duration(round%20) * 50 * time.Millisecond)
			if err := sub.Close(); err != nil {
				t.Fatal(err)
			}
			reading.Wait()
			if round > 1000 {
				t.Fatalf("%d of %d messages after %d rounds", len(seen), messages, round)
			}
		}
		publishing.Wait()
	})
}
