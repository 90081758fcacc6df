package queue_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
)

// TestPlaces holds that an endpoint is found in its own region, account and
// service, whichever the client's are.
func TestPlaces(t *testing.T) {
	here, there := behindSocket(t), behindSocket(t)
	here.createQueue(t, "q")
	there.createQueue(t, "elsewhere")
	_, err := here.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("abroad")}, func(o *sqs.Options) { o.Region = "eu-west-1" })
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "here", URL: "sqs://q"},
		queue.Endpoint{Name: "account", URL: "sqs://000000000000/q"},
		queue.Endpoint{Name: "abroad", URL: "sqs://abroad", Region: "eu-west-1"},
		queue.Endpoint{Name: "elsewhere", URL: "sqs://elsewhere", EndpointURL: aws.ToString(there.aws.BaseEndpoint)},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, clients := range []string{"made", "given"} {
		t.Run(clients, func(t *testing.T) {
			pubs, subs := queue.PublisherConfig{AWS: here.aws, Endpoints: endpoints}, queue.SubscriberConfig{AWS: here.aws, Endpoints: endpoints}
			if clients == "given" {
				pubs.SQS, subs.SQS = here.sqs, here.sqs
			}
			pub, sub := newPublisher(t, pubs), newSubscriber(t, subs)
			for _, name := range []string{"here", "account", "abroad", "elsewhere"} {
				if err := pub.Publish(name, message.NewMessage(name, []byte("x"))); err != nil {
					t.Errorf("publish to %s: %v", name, err)
					continue
				}
				ctx, cancel := context.WithCancel(t.Context())
				ch, err := sub.Subscribe(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				msg := next(t, ch)
				if d := queue.FromContext(msg.Context()); msg.UUID != name || d.Endpoint.Name != name {
					t.Errorf("received %s from %s, want %s", msg.UUID, d.Endpoint.Name, name)
				}
				msg.Ack()
				cancel()
				for range ch {
				}
			}
		})
	}
}

// TestTopicPlace holds that a topic with an account in its URL needs no look-up.
func TestTopicPlace(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	s.createTopic(t, "topic", nil, q.url)
	for _, given := range []bool{false, true} {
		cfg := queue.PublisherConfig{AWS: s.aws}
		if given {
			cfg = queue.PublisherConfig{SQS: s.sqs, SNS: s.sns}
		}
		if err := newPublisher(t, cfg).Publish("sns://000000000000/topic", message.NewMessage("u", []byte("x"))); err != nil {
			t.Error(err)
		}
	}
	if n := s.emulator.Requests()["sns.ListTopics"]; n != 0 {
		t.Errorf("listed the topics %d times", n)
	}
}

// TestSubject holds that a message's subject reaches SNS, and its subscribers.
func TestSubject(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	s.createTopic(t, q.name, nil, q.url)
	msg := message.NewMessage("u", []byte("x"))
	msg.Metadata.Set(queue.KeySubject, "Transaction Succeeded")
	if err := newPublisher(t, queue.PublisherConfig{AWS: s.aws}).Publish("sns://"+q.name, msg); err != nil {
		t.Fatal(err)
	}
	var envelope struct{ Subject string }
	if err := json.Unmarshal([]byte(aws.ToString(s.receive(t, q.url).Body)), &envelope); err != nil || envelope.Subject != "Transaction Succeeded" {
		t.Errorf("subject %q, %v", envelope.Subject, err)
	}
}

// TestDeadLetterSource holds that a message which SQS moved tells from where.
func TestDeadLetterSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		dlq := s.createQueue(t, "dlq")
		url := s.createQueue(t, "q", "RedrivePolicy", s.redrivePolicy(t, dlq, 1))
		s.send(t, url, "x")
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Backoff: queue.NoBackoff})
		next(t, subscribe(t, sub, "sqs://q")).Nack()
		dead := next(t, subscribe(t, sub, "sqs://dlq"))
		dead.Ack()
		if d := queue.FromContext(dead.Context()); !strings.HasSuffix(d.DeadLetterSource, ":q") || d.ReceiveCount != 2 {
			t.Errorf("source %q, receive %d", d.DeadLetterSource, d.ReceiveCount)
		}
	})
}

// TestOtherTransport holds that code which asks for a delivery works with the
// messages of other transports.
func TestOtherTransport(t *testing.T) {
	d := queue.FromContext(t.Context())
	if d != nil || d.Last() || d.Age() != 0 {
		t.Error("a context without a delivery has one")
	}
	d.Retry(time.Second, "")
	want := &queue.Delivery{ReceiveCount: 2, MaxReceiveCount: 2}
	if got := queue.FromContext(queue.NewContext(t.Context(), want)); got != want || !got.Last() {
		t.Error("the delivery is not the one that the context was given")
	}
}
