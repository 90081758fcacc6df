package queue_test

import (
	"maps"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	wmsns "github.com/ThreeDotsLabs/watermill-aws/sns"
	wmsqs "github.com/ThreeDotsLabs/watermill-aws/sqs"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// TestWatermillAWS holds that messages keep their UUID, metadata and payload
// between this package and watermill-aws, both ways, as far as watermill-aws
// can carry them.
func TestWatermillAWS(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		theirs := func() *message.Message {
			msg := message.NewMessage(watermill.NewUUID(), []byte(`{"fare":20}`))
			msg.Metadata = message.Metadata{"correlation_id": "c", "city": "Zürich"}
			return msg
		}
		check := func(t *testing.T, got, want *message.Message) {
			t.Helper()
			got.Ack()
			if !got.Equals(want) {
				t.Errorf("received %s %q %q, want %s %q %q", got.UUID, got.Payload, got.Metadata, want.UUID, want.Payload, want.Metadata)
			}
		}
		t.Run("from watermill-aws", func(t *testing.T) {
			q := newQueue(t, s)
			pub, err := wmsqs.NewPublisher(wmsqs.PublisherConfig{AWSConfig: s.aws}, watermill.NopLogger{})
			if err != nil {
				t.Fatal(err)
			}
			want := theirs()
			if err := pub.Publish(q.name, want); err != nil {
				t.Fatal(err)
			}
			check(t, next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://"+q.name)), want)
		})
		t.Run("to watermill-aws", func(t *testing.T) {
			q := newQueue(t, s)
			want, packed := theirs(), theirs()
			packed.Metadata.Set("empty", "")
			if err := newPublisher(t, queue.PublisherConfig{AWS: s.aws}).Publish("sqs://"+q.name, want, packed); err != nil {
				t.Fatal(err)
			}
			ch := watermillAWS(t, s, q.name)
			for range 2 {
				got := next(t, ch)
				if got.UUID == packed.UUID {
					// What cannot be an attribute arrives in one, opaque.
					packed.Metadata = message.Metadata{"correlation_id": "c", "city": "Zürich", queue.AttrMetadata: `{"v":1,"s":{"empty":""}}`}
					check(t, got, packed)
				} else {
					check(t, got, want)
				}
			}
		})
		if s.sns == nil {
			return
		}
		t.Run("from its topic", func(t *testing.T) {
			q := newQueue(t, s)
			arn := s.createTopic(t, q.name, map[string]string{"RawMessageDelivery": "true"}, q.url)
			pub, err := wmsns.NewPublisher(wmsns.PublisherConfig{AWSConfig: s.aws, TopicResolver: wmsns.TransparentTopicResolver{}}, watermill.NopLogger{})
			if err != nil {
				t.Fatal(err)
			}
			want := theirs()
			if err := pub.Publish(arn, want); err != nil {
				t.Fatal(err)
			}
			check(t, next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://"+q.name)), want)
		})
		t.Run("to its subscription", func(t *testing.T) {
			q := newQueue(t, s)
			s.createTopic(t, q.name, map[string]string{"RawMessageDelivery": "true"}, q.url)
			want := theirs()
			if err := newPublisher(t, queue.PublisherConfig{AWS: s.aws}).Publish("sns://"+q.name, want); err != nil {
				t.Fatal(err)
			}
			check(t, next(t, watermillAWS(t, s, q.name)), want)
		})
	})
}

func watermillAWS(t *testing.T, s *server, queueName string) <-chan *message.Message {
	t.Helper()
	sub, err := wmsqs.NewSubscriber(wmsqs.SubscriberConfig{AWSConfig: s.aws, DoNotCreateQueueIfNotExists: true}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
	})
	ch, err := sub.Subscribe(t.Context(), queueName)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// TestPublishLeavesMessage holds that Publish does not change the message.
func TestPublishLeavesMessage(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	msg := message.NewMessage("u", []byte("x"))
	msg.Metadata = message.Metadata{queue.KeyDelay: "1s", queue.KeyTypes: "n=Number", "n": "1", "empty": ""}
	want := maps.Clone(msg.Metadata)
	if err := newPublisher(t, queue.PublisherConfig{AWS: s.aws}).Publish("sqs://"+q.name, msg); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(msg.Metadata, want) || string(msg.Payload) != "x" {
		t.Errorf("Publish changed the message: %q", msg.Metadata)
	}
}
