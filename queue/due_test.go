package queue_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// delayed publishes a message with a delay and metadata that has to be packed.
func delayed(t *testing.T, q testQueue, delay time.Duration) *message.Message {
	t.Helper()
	msg := large("x", 10)
	queue.SetDelay(msg, delay)
	msg.Metadata.Set(queue.KeyGroup, "tenant")
	if err := newPublisher(t, queue.PublisherConfig{AWS: q.aws}).Publish("sqs://"+q.name, msg); err != nil {
		t.Fatal(err)
	}
	delete(msg.Metadata, queue.KeyDelay)
	return msg
}

// receiveUntil returns the messages that a subscription delivers within a time.
func receiveUntil(t *testing.T, q testQueue, d time.Duration, cfg queue.SubscriberConfig) (all []*message.Message, at []time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	cfg.AWS = q.aws
	cfg.Logger = new(recorder).logger()
	sub := newSubscriber(t, cfg)
	ch, err := sub.Subscribe(ctx, "sqs://"+q.name)
	if err != nil {
		t.Fatal(err)
	}
	for msg := range ch {
		all, at = append(all, msg), append(at, time.Now())
		msg.Ack()
	}
	return all, at
}

// TestLongDelay holds that a message which is delayed by three days comes when
// these are over, whole and once, though its queue keeps a message for an hour,
// receivers die with it, requests are lost, and subscriptions end and begin.
func TestLongDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		dlq := newQueue(t, s)
		q := newQueue(t, s, "MessageRetentionPeriod", "3600", "RedrivePolicy", s.redrivePolicy(t, dlq.url, 3))
		const delay = 72 * time.Hour
		due := time.Now().Add(delay)
		want := delayed(t, q, delay)
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			return emulator.Fault{DropRequest: r.Number%7 == 3 && r.Operation != "GetQueueUrl"}
		})
		for range 5 {
			if got, _ := receiveUntil(t, q, 10*time.Hour, queue.SubscriberConfig{}); len(got) != 0 {
				t.Fatalf("delivered %v before it is due", got[0].UUID)
			}
			s.emulator.SetFault(nil)
			time.Sleep(16 * time.Minute)
			s.receive(t, q.url) // by one that dies with it
		}
		got, at := receiveUntil(t, q, 24*time.Hour, queue.SubscriberConfig{})
		if len(got) != 1 || !got[0].Equals(want) {
			t.Fatalf("delivered %d messages, want %v", len(got), want.Metadata)
		}
		if late := at[0].Sub(due); late < 0 || late > 2*time.Second {
			t.Errorf("delivered %v late", late)
		}
		if n := queue.FromContext(got[0].Context()).ReceiveCount; n != 1 {
			t.Errorf("it was received %d times since it was last sent, want 1", n)
		}
		if got := s.depth(t, q.url) + ", " + s.depth(t, dlq.url); got != "0 visible, 0 in flight, 0 visible, 0 in flight" {
			t.Error(got)
		}
	})
}

// TestLongDelayTwice holds that a hop whose process dies between sending and
// deleting loses nothing: the message comes twice, and both are on time.
func TestLongDelayTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		due := time.Now().Add(time.Hour)
		want := delayed(t, q, time.Hour)
		var died atomic.Bool
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "DeleteMessageBatch" || died.Swap(true) {
				return emulator.Fault{}
			}
			return emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error {
				return &emulator.Error{Code: "ReceiptHandleIsInvalid", Message: "so it is not tried again"}
			}}
		})
		got, at := receiveUntil(t, q, 2*time.Hour, queue.SubscriberConfig{})
		if len(got) != 2 || !got[0].Equals(want) || !got[1].Equals(want) {
			t.Fatalf("delivered %d messages, want 2", len(got))
		}
		for i := range at {
			if late := at[i].Sub(due); late < 0 || late > 2*time.Second {
				t.Errorf("delivered %v late", late)
			}
		}
	})
}

// TestLongDelayKeepsTrace holds that a message which is sent again keeps the X-Ray
// header that it came with.
func TestLongDelayKeepsTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		const header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
		text := func(value string) (a sqstypes.MessageAttributeValue) {
			a.DataType, a.StringValue = aws.String("String"), &value
			return a
		}
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &q.url, MessageBody: aws.String("x"),
			MessageAttributes: map[string]sqstypes.MessageAttributeValue{queue.KeyDue: text(time.Now().Add(time.Hour).UTC().Format(time.RFC3339))},
			MessageSystemAttributes: map[string]sqstypes.MessageSystemAttributeValue{
				"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String(header)},
			},
		}); err != nil {
			t.Fatal(err)
		}
		got, _ := receiveUntil(t, q, 2*time.Hour, queue.SubscriberConfig{})
		if len(got) != 1 {
			t.Fatalf("delivered %d messages, want 1", len(got))
		}
		if d := queue.FromContext(got[0].Context()); d.Trace != header || d.Due.IsZero() {
			t.Errorf("delivered with the header %q, due at %v", d.Trace, d.Due)
		}
	})
}

// A reader is an SQS client that may not send.
type reader struct{ queue.SQSReceiver }

// TestLongDelayWithoutSending holds that a subscription which may not send hides
// the message where it is.
func TestLongDelayWithoutSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		due := time.Now().Add(30 * time.Hour)
		delayed(t, q, 30*time.Hour)
		got, at := receiveUntil(t, q, 40*time.Hour, queue.SubscriberConfig{SQS: reader{s.sqs}})
		if len(got) != 1 {
			t.Fatalf("delivered %d messages, want 1", len(got))
		}
		if late := at[0].Sub(due); late < 0 || late > 2*time.Second {
			t.Errorf("delivered %v late", late)
		}
		if n := queue.FromContext(got[0].Context()).ReceiveCount; n > 4 {
			t.Errorf("it was received %d times", n)
		}
	})
}

// TestImpossibleDue holds that what no publisher writes hides no message, and that
// a long delay is refused where one of a second is.
func TestImpossibleDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
		for _, text := range []string{"tomorrow", "9999-01-01T00:00:00Z", "", "1999-01-01T00:00:00Z"} {
			msg := message.NewMessage("u", []byte("x"))
			msg.Metadata.Set(queue.KeyDue, text)
			if err := p.Publish("sqs://"+q.name, msg); err != nil {
				t.Fatal(err)
			}
		}
		got, _ := receiveUntil(t, q, time.Minute, queue.SubscriberConfig{})
		if len(got) != 4 {
			t.Errorf("delivered %d messages, want 4", len(got))
		}
		for _, msg := range got {
			if due, ok := msg.Metadata[queue.KeyDue]; ok {
				t.Errorf("delivered with %q", due)
			}
		}
		s.createQueue(t, "q.fifo", "FifoQueue", "true")
		msg := message.NewMessage("u", []byte("x"))
		queue.SetDelay(msg, 20*time.Minute)
		msg.Metadata.Set(queue.KeyGroup, "g")
		if err := p.Publish("sqs://q.fifo", msg); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("on FIFO: %v", err)
		}
	})
}

// TestLongDelayOfPayload holds that a message whose payload is in a store fetches it
// when it is due, and no sooner: that the store is down until then costs nothing.
func TestLongDelayOfPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		dlq := newQueue(t, s)
		q := newQueue(t, s, "RedrivePolicy", s.redrivePolicy(t, dlq.url, 3))
		store := new(payloads)
		want := large("x", 2000)
		queue.SetDelay(want, 5*time.Hour)
		if err := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000}).Publish("sqs://"+q.name, want); err != nil {
			t.Fatal(err)
		}
		delete(want.Metadata, queue.KeyDelay)
		began := time.Now()
		store.set(func() { store.down = true })
		time.AfterFunc(4*time.Hour, func() { store.set(func() { store.down = false }) })
		got, at := receiveUntil(t, q, 6*time.Hour, queue.SubscriberConfig{Payloads: store})
		if len(got) != 1 || !got[0].Equals(want) {
			t.Fatalf("delivered %d messages, want %v", len(got), want.Metadata)
		}
		if d := at[0].Sub(began); d < 5*time.Hour || d > 5*time.Hour+2*time.Second {
			t.Errorf("delivered after %v", d)
		}
		if n := queue.FromContext(got[0].Context()).ReceiveCount; n != 1 || store.gets != 1 {
			t.Errorf("it was received %d times since it was last sent, and fetched %d times, want 1 of each", n, store.gets)
		}
	})
}

// A tardyPayloads is a store that takes its time.
type tardyPayloads struct{ payloads }

func (p *tardyPayloads) Get(ctx context.Context, key string, limit int) ([]byte, error) {
	time.Sleep(2 * time.Second)
	return p.payloads.Get(ctx, key, limit)
}

// TestDueWhileFetching holds that a message which becomes due while the payloads of
// others are fetched is delivered with its own.
func TestDueWhileFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		store := new(tardyPayloads)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
		due := time.Now().Add(15*time.Minute + time.Second)
		late := message.NewMessage("late", bytes.Repeat([]byte("x"), 2000))
		queue.SetDelay(late, time.Until(due))
		if err := p.Publish("sqs://"+q.name, late); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Minute)
		if err := p.Publish("sqs://"+q.name, message.NewMessage("now", bytes.Repeat([]byte("y"), 2000))); err != nil {
			t.Fatal(err)
		}
		got, at := receiveUntil(t, q, time.Minute, queue.SubscriberConfig{Payloads: store, DeliverUndecodable: true})
		if len(got) != 2 {
			t.Fatalf("delivered %d messages, want 2", len(got))
		}
		for i, msg := range got {
			if d := queue.FromContext(msg.Context()); d.Undecodable != nil || len(msg.Payload) != 2000 || d.ReceiveCount != 1 {
				t.Errorf("%s came with %d bytes, receive %d: %v", msg.UUID, len(msg.Payload), d.ReceiveCount, d.Undecodable)
			}
			if msg.UUID == "late" && at[i].Before(due) {
				t.Errorf("delivered %v early", due.Sub(at[i]))
			}
		}
	})
}
