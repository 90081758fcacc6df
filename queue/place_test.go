package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
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

// TestAWSFor holds that each endpoint can have an account, a region and
// credentials of its own, for queues and topics.
func TestAWSFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type account struct {
			*server
			id, key string
		}
		open := func(id, region string) *account {
			a := &account{id: id, key: "key-" + id}
			e := emulator.New(emulator.Config{Account: id, NoCooldowns: true})
			a.server = newServer("emulator", "http://"+id+".test")
			a.emulator, a.aws.Region, a.aws.HTTPClient = e, region, keyed{e.Client(), a.key}
			a.aws.Credentials = credentials.NewStaticCredentialsProvider(a.key, "secret", "")
			a.sqs, a.sns = sqs.NewFromConfig(a.aws), sns.NewFromConfig(a.aws)
			return a
		}
		one, two := open("111111111111", "us-east-1"), open("222222222222", "eu-west-1")
		accounts := map[string]*account{"one": one, "two": two, "topic": two}
		one.createQueue(t, "q")
		two.createTopic(t, "t", map[string]string{"RawMessageDelivery": "true"}, two.createQueue(t, "q"))
		endpoints, err := queue.NewEndpoints("",
			queue.Endpoint{Name: "one", URL: "sqs://q"},
			queue.Endpoint{Name: "two", URL: "sqs://q"},
			queue.Endpoint{Name: "topic", URL: "sns://222222222222/t"},
		)
		if err != nil {
			t.Fatal(err)
		}
		asked := map[string]int{}
		awsFor := func(e queue.Endpoint) aws.Config {
			asked[e.Name]++
			return accounts[e.Name].aws
		}
		pub := newPublisher(t, queue.PublisherConfig{AWSFor: awsFor, Endpoints: endpoints})
		sub := newSubscriber(t, queue.SubscriberConfig{AWSFor: awsFor, Endpoints: endpoints})
		for _, tt := range []struct{ to, from, owner string }{
			{"one", "one", one.id}, {"two", "two", two.id}, {"topic", "two", two.id}, {"one", "one", one.id},
		} {
			if err := pub.Publish(tt.to, message.NewMessage("u", []byte("to "+tt.to))); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ch, err := sub.Subscribe(ctx, tt.from)
			if err != nil {
				t.Fatal(err)
			}
			msg := next(t, ch)
			if d := queue.FromContext(msg.Context()); string(msg.Payload) != "to "+tt.to || !strings.Contains(d.QueueURL, tt.owner) {
				t.Errorf("%s: received %q from %s, want the queue of %s", tt.to, msg.Payload, d.QueueURL, tt.owner)
			}
			msg.Ack()
			cancel()
			for range ch {
			}
		}
		// One call for each endpoint that was published to, and each Subscribe.
		if want := map[string]int{"one": 3, "two": 3, "topic": 1}; !maps.Equal(asked, want) {
			t.Errorf("asked for %v, want %v", asked, want)
		}
	})
}

// A keyed client refuses requests that are not signed with a key.
type keyed struct {
	aws.HTTPClient
	key string
}

func (c keyed) Do(r *http.Request) (*http.Response, error) {
	if sign := r.Header.Get("Authorization"); !strings.Contains(sign, "Credential="+c.key+"/") {
		return nil, fmt.Errorf("%s: signed by another account: %s", r.URL, sign)
	}
	return c.HTTPClient.Do(r)
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

// TestDeadLetterPlace holds that a dead-letter queue is where its endpoint is, and
// that one of several places is not guessed at.
func TestDeadLetterPlace(t *testing.T) {
	role := "arn:aws:iam::222222222222:role/fares"
	set, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://a-dlq", Region: "eu-west-1", EndpointURL: "http://127.0.0.1:1", RoleARN: role, ExternalID: "x"},
		queue.Endpoint{Name: "b", URL: "sqs://b", DeadLetter: "sqs://b-dlq", Profile: "rides"},
		queue.Endpoint{Name: "c", URL: "sqs://c", DeadLetter: "sqs://b-dlq", Profile: "rides"},
		queue.Endpoint{Name: "d", URL: "sqs://d", DeadLetter: "sqs://d-dlq"},
		queue.Endpoint{Name: "e", URL: "sqs://e", DeadLetter: "sqs://d-dlq", Region: "eu-west-1"},
	)
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]queue.Place{
		"sqs://a-dlq": {Region: "eu-west-1", EndpointURL: "http://127.0.0.1:1", RoleARN: role, ExternalID: "x"},
		"sqs://b-dlq": {Profile: "rides"},
		"sqs://other": {},
	} {
		if e, err := set.Resolve(url); err != nil || e.Place() != want || e.URL != url {
			t.Errorf("%s is at %+v, %v; want %+v", url, e.Place(), err, want)
		}
	}
	if e, err := set.Resolve("sqs://d-dlq"); !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), `"d" and "e"`) {
		t.Errorf("of two regions: %+v, %v", e, err)
	}
	for want, e := range map[string]queue.Endpoint{
		"RoleARN":    {Name: "q", URL: "sqs://q", RoleARN: "role/fares"},
		"ExternalID": {Name: "q", URL: "sqs://q", ExternalID: "x"},
	} {
		if err := e.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want an error about %s", e, err, want)
		}
	}
}

// TestQueuesOfPlaces holds that the queues of each region are listed, though a server
// may give those of one name one URL, and those of one region once.
func TestQueuesOfPlaces(t *testing.T) {
	s := embedded(t)
	s.createQueue(t, "q")
	if _, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")}, func(o *sqs.Options) { o.Region = "eu-west-1" }); err != nil {
		t.Fatal(err)
	}
	set, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "here", URL: "sqs://q"},
		queue.Endpoint{Name: "profile", URL: "sqs://p", Profile: "rides"},
		queue.Endpoint{Name: "there", URL: "sqs://q", Region: "eu-west-1"},
	)
	if err != nil {
		t.Fatal(err)
	}
	a, err := queue.NewAdmin(queue.AdminConfig{AWSFor: func(queue.Endpoint) aws.Config { return s.aws }, Endpoints: set})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for q, err := range a.Queues(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, q.Endpoint.Name)
	}
	if got := strings.Join(names, " "); got != "here there" {
		t.Errorf("listed %s, want here and there", got)
	}
}
