package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue"
)

// samples are messages that are hard to carry.
func samples() map[string]*message.Message {
	many := message.Metadata{}
	for i := range 30 {
		many[fmt.Sprintf("key-%d", i)] = fmt.Sprint("value ", i)
	}
	number := message.NewMessage("u-numbers", []byte(`{"fare":20}`))
	queue.SetNumber(number, "fare", 20.5)
	number.Metadata.Set("text", "1")
	all := map[string]*message.Message{"numbers": number}
	for name, m := range map[string]struct {
		payload  string
		metadata message.Metadata
	}{
		"plain":             {"hello", message.Metadata{"key": "value"}},
		"empty":             {"", message.Metadata{"key": "value"}},
		"looks empty":       {"(empty)", nil},
		"binary":            {"\x00\x01\xfe\xff", nil},
		"unicode":           {"Zürich ✓ 𝔉 \u007f\u0085\ud7ff\ue000\ufffd", message.Metadata{"city": "Zürich ✓"}},
		"line breaks":       {"a\r\nb\tc\n", nil},
		"markup":            {`<a href="x">&amp;</a>`, message.Metadata{"m": `<>&"'`}},
		"control":           {"a\x07b", message.Metadata{"bell": "\x07"}},
		"many keys":         {"x", many},
		"many and binary":   {"\xff", many},
		"awkward keys":      {"x", message.Metadata{"two words": "1", "": "2", "AWS.key": "3", ".a": "4", "ключ": "5", strings.Repeat("k", 300): "6"}},
		"awkward values":    {"x", message.Metadata{"empty": "", "nul": "\x00", "invalid": "\xff\xfe", "space": " "}},
		"names of the wire": {"x", message.Metadata{queue.AttrUUID: "1", queue.AttrEncoding: "base64", queue.AttrMetadata: "{"}},
		"a JSON envelope":   {`{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:eu-west-1:1:t","Message":"inner","Timestamp":"2026-01-02T03:04:05Z"}`, nil},
	} {
		msg := message.NewMessage("u-"+name, []byte(m.payload))
		maps.Copy(msg.Metadata, m.metadata)
		all[name] = msg
	}
	return all
}

// TestMessages holds that messages arrive as they were published: over a queue,
// over a topic with raw delivery, and over one without.
func TestMessages(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		t.Run("queue", func(t *testing.T) {
			q := newQueue(t, s)
			testMessages(t, s, "sqs://"+q.name, q)
		})
		if s.sns == nil {
			return
		}
		for name, attributes := range map[string]map[string]string{"topic raw": {"RawMessageDelivery": "true"}, "topic enveloped": nil} {
			t.Run(name, func(t *testing.T) {
				q := newQueue(t, s)
				s.createTopic(t, q.name, attributes, q.url)
				testMessages(t, s, "sns://"+q.name, q)
			})
		}
	})
}

func testMessages(t *testing.T, s *server, endpoint string, q testQueue) {
	stats := new(queue.Stats)
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Stats: stats})
	ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Stats: stats}), "sqs://"+q.name)
	want := samples()
	var all []*message.Message
	for _, msg := range want {
		all = append(all, msg)
	}
	if err := p.Publish(endpoint, all...); err != nil {
		t.Fatal(err)
	}
	for range want {
		got := next(t, ch)
		got.Ack()
		msg := want[strings.TrimPrefix(got.UUID, "u-")]
		if msg == nil {
			t.Errorf("received an unknown UUID %q: %q", got.UUID, got.Payload)
		} else if !got.Equals(msg) {
			t.Errorf("received %q\n%q %q\nwant\n%q %q", got.UUID, got.Payload, got.Metadata, msg.Payload, msg.Metadata)
		}
	}
}

// TestPlainConsumer holds what a consumer that knows nothing of this package
// sees.
func TestPlainConsumer(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		q := newQueue(t, s)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
		msg := message.NewMessage("u", []byte("hello"))
		msg.Metadata.Set("key", "value")
		queue.SetNumber(msg, "fare", 20)
		if err := p.Publish("sqs://"+q.name, msg); err != nil {
			t.Fatal(err)
		}
		m := s.receive(t, q.url)
		got := map[string]string{}
		for name, a := range m.MessageAttributes {
			got[name] = aws.ToString(a.DataType) + " " + aws.ToString(a.StringValue)
		}
		want := map[string]string{"_watermill_message_uuid": "String u", "key": "String value", "fare": "Number 20"}
		if aws.ToString(m.Body) != "hello" || !maps.Equal(got, want) {
			t.Errorf("received %q %q, want hello %q", aws.ToString(m.Body), got, want)
		}
	})
}

// TestPlainProducer holds what a subscriber sees of a message from a producer
// that knows nothing of this package.
func TestPlainProducer(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		q := newQueue(t, s)
		_, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: aws.String(q.url), MessageBody: aws.String("body"),
			MessageAttributes: map[string]sqstypes.MessageAttributeValue{
				"text":  {DataType: aws.String("String"), StringValue: aws.String("t")},
				"fare":  {DataType: aws.String("Number"), StringValue: aws.String("20")},
				"photo": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		msg := next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://"+q.name))
		msg.Ack()
		want := message.Metadata{"text": "t", "fare": "20", "photo": "\x00\xff", queue.KeyTypes: "fare=Number,photo=Binary"}
		if string(msg.Payload) != "body" || msg.UUID != queue.FromContext(msg.Context()).MessageID || !maps.Equal(msg.Metadata, want) {
			t.Errorf("received %s %q %q, want %q", msg.UUID, msg.Payload, msg.Metadata, want)
		}
	})
}

// TestEnvelope holds what a subscriber sees of a message that SNS wrapped.
func TestEnvelope(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		if s.sns == nil {
			return
		}
		q := newQueue(t, s)
		arn := s.createTopic(t, q.name, nil, q.url)
		out, err := s.sns.Publish(t.Context(), &sns.PublishInput{TopicArn: aws.String(arn), Message: aws.String("body"), Subject: aws.String("Fare charged")})
		if err != nil {
			t.Fatal(err)
		}
		msg := next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://"+q.name))
		msg.Ack()
		if string(msg.Payload) != "body" || msg.UUID != aws.ToString(out.MessageId) || msg.Metadata.Get(queue.KeySubject) != "Fare charged" {
			t.Errorf("received %s %q %q", msg.UUID, msg.Payload, msg.Metadata)
		}
		if d := queue.FromContext(msg.Context()); d.Topic != arn {
			t.Errorf("topic %q, want %q", d.Topic, arn)
		}
	})
}

// TestNumericFilter holds that a filter of SNS sees numbers as numbers, and
// keeps seeing the keys it names when there are more than fit.
func TestNumericFilter(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		if s.sns == nil {
			return
		}
		q := newQueue(t, s)
		filter := json.RawMessage(`{"fare":[{"numeric":[">=",50]}],"city":["Zagreb"]}`)
		s.createTopic(t, q.name, map[string]string{"RawMessageDelivery": "true", "FilterPolicy": string(filter)}, q.url)
		endpoints, err := queue.NewEndpoints("",
			queue.Endpoint{Name: "rides", URL: "sns://" + q.name, Subscriptions: []queue.Subscription{{Endpoint: "extraordinary", Filter: filter}}},
			queue.Endpoint{Name: "extraordinary", URL: "sqs://" + q.name})
		if err != nil {
			t.Fatal(err)
		}
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Endpoints: endpoints})
		for _, fare := range []float64{9, 49.99, 50, 100} {
			msg := message.NewMessage(fmt.Sprint(fare), []byte("x"))
			for i := range 20 {
				msg.Metadata.Set(fmt.Sprintf("a-%d", i), "x")
			}
			msg.Metadata.Set("city", "Zagreb")
			queue.SetNumber(msg, "fare", fare)
			if err := p.Publish("rides", msg); err != nil {
				t.Fatal(err)
			}
		}
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: endpoints}), "extraordinary")
		got := map[string]bool{}
		for range 2 {
			msg := next(t, ch)
			msg.Ack()
			got[msg.UUID] = true
		}
		if !got["50"] || !got["100"] {
			t.Errorf("received %v, want the fares of at least 50", got)
		}
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://q")
		began := time.Now()
		for _, delay := range []time.Duration{90 * time.Second, 0, 1500 * time.Millisecond, 15 * time.Minute} {
			msg := message.NewMessage(delay.String(), []byte("x"))
			queue.SetDelay(msg, delay)
			if err := p.Publish("sqs://q", msg); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []time.Duration{0, 2 * time.Second, 90 * time.Second, 15 * time.Minute} {
			msg := <-ch
			if d := time.Since(began); d < want || d > want+time.Second {
				t.Errorf("the message with a delay of %s came after %v, want %v", msg.UUID, d, want)
			}
			if msg.Metadata.Get(queue.KeyDelay) != "" {
				t.Error("the delay is on the received message, and would delay it again")
			}
			msg.Ack()
		}
	})
}

// TestUndecodable holds that a message which cannot be decoded ends in the
// dead-letter queue, by the queue's redrive policy or by a handler that takes
// such messages, and holds no other up.
func TestUndecodable(t *testing.T) {
	bad := func(t *testing.T, s *server, url string) {
		t.Helper()
		_, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: aws.String(url), MessageBody: aws.String("not base64"),
			MessageAttributes: map[string]sqstypes.MessageAttributeValue{
				queue.AttrEncoding: {DataType: aws.String("String"), StringValue: aws.String("base64")},
				"key":              {DataType: aws.String("String"), StringValue: aws.String("value")},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("returned", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := embedded(t)
			dlq := s.createQueue(t, "dlq")
			url := s.createQueue(t, "q", "RedrivePolicy", s.redrivePolicy(t, dlq, 3))
			bad(t, s, url)
			s.send(t, url, "good")
			log := &recorder{}
			ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Logger: log.logger()}), "sqs://q")
			if msg := next(t, ch); string(msg.Payload) != "good" {
				t.Errorf("received %q", msg.Payload)
			} else {
				msg.Ack()
			}
			none(t, ch, time.Minute)
			if got := s.bodies(t, "dlq"); len(got) != 1 || got[0] != "not base64" {
				t.Errorf("the dead-letter queue has %q", got)
			}
			if n := log.count("cannot be decoded"); n != 3 {
				t.Errorf("logged %d times, want once for each receive", n)
			}
		})
	})
	t.Run("delivered", func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		bad(t, s, q.url)
		msg := next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, DeliverUndecodable: true}), "sqs://"+q.name))
		msg.Ack()
		d := queue.FromContext(msg.Context())
		want := message.Metadata{"key": "value", queue.KeyRawEncoding: "base64"}
		if string(msg.Payload) != "not base64" || !maps.Equal(msg.Metadata, want) || !errors.Is(d.Undecodable, queue.ErrUndecodable) {
			t.Errorf("received %q %q, %v", msg.Payload, msg.Metadata, d.Undecodable)
		}
		// It travels on as it is, with the record of its failure.
		if err := queue.NewFailure(queue.ReasonUndecodable, d.Undecodable).Attach(msg, d.Endpoint); err != nil {
			t.Fatal(err)
		}
		dlq := newQueue(t, s)
		if err := newPublisher(t, queue.PublisherConfig{AWS: s.aws}).Publish("sqs://"+dlq.name, republish(msg)); err != nil {
			t.Fatal(err)
		}
		dead := next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://"+dlq.name))
		dead.Ack()
		f, ok, err := queue.DecodeFailure(dead.Metadata)
		if !ok || err != nil || f.Reason != queue.ReasonUndecodable || string(dead.Payload) != "not base64" || dead.Metadata.Get(queue.KeyRawEncoding) != "base64" {
			t.Errorf("dead letter %q %q: %+v, %t, %v", dead.Payload, dead.Metadata, f, ok, err)
		}
	})
}

// republish returns the message without the context that its ack has ended.
func republish(msg *message.Message) *message.Message { return msg.Copy() }

// A receiver is an SQS client whose received messages pass through a hook.
type receiver struct {
	*sqs.Client
	hook func(*sqstypes.Message)
}

func (r receiver) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, opts ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	out, err := r.Client.ReceiveMessage(ctx, in, opts...)
	if err == nil {
		for i := range out.Messages {
			r.hook(&out.Messages[i])
		}
	}
	return out, err
}

// TestDamage holds that a message whose body is not what the queue's MD5 says is
// read again until it is, whoever takes undecodable messages, and affects no
// other message of its batch. Each time that it is damaged again takes longer.
func TestDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "good", "bad")
		const damages = 4
		var reads []time.Duration
		began := time.Now()
		client := receiver{s.sqs, func(m *sqstypes.Message) {
			if aws.ToString(m.Body) == "bad" {
				if reads = append(reads, time.Since(began)); len(reads) <= damages {
					m.Body = aws.String("damaged")
				}
			}
		}}
		log := &recorder{}
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{SQS: client, DeliverUndecodable: true, Backoff: queue.NoBackoff, Logger: log.logger()}), "sqs://q")
		for _, want := range []string{"good", "bad"} {
			msg := next(t, ch)
			msg.Ack()
			if d := queue.FromContext(msg.Context()); string(msg.Payload) != want || d.Undecodable != nil {
				t.Errorf("received %q with %v, want %s", msg.Payload, d.Undecodable, want)
			}
		}
		for i, least := range []time.Duration{0, 0, 500 * time.Millisecond, time.Second, 2 * time.Second} {
			if i >= len(reads) || i > 0 && reads[i]-reads[i-1] < least {
				t.Fatalf("read at %v, want read %d at least %v after the one before", reads, i, least)
			}
		}
		if reads[1]-reads[0] > 100*time.Millisecond {
			t.Errorf("read at %v, want the second read at once", reads)
		}
		if n := log.count("MD5"); n != damages {
			t.Errorf("logged %d times, want %d", n, damages)
		}
	})
}

// TestDamageBeforeTheDeadLetterQueue holds that of a message which is always
// damaged the dead-letter queue gets the one that was sent.
func TestDamageBeforeTheDeadLetterQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		dlq := s.createQueue(t, "dlq")
		url := s.createQueue(t, "q", "RedrivePolicy", s.redrivePolicy(t, dlq, 3))
		s.send(t, url, "intact")
		client := receiver{s.sqs, func(m *sqstypes.Message) { m.Body = aws.String("damaged") }}
		none(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{SQS: client, DeliverUndecodable: true}), "sqs://q"), time.Minute)
		if got := s.bodies(t, "dlq"); len(got) != 1 || got[0] != "intact" {
			t.Errorf("the dead-letter queue has %q", got)
		}
	})
}

// TestDamageOfRawMessages holds that Receive gives out no damaged message, and
// returns it to the queue.
func TestDamageOfRawMessages(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	s.send(t, q.url, "good", "bad")
	client := receiver{s.sqs, func(m *sqstypes.Message) {
		if aws.ToString(m.Body) == "bad" {
			m.Body = aws.String("damaged")
		}
	}}
	log := &recorder{}
	admin, err := queue.NewAdmin(queue.AdminConfig{SQS: client, Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	at, err := admin.Queue(t.Context(), q.name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := at.Receive(t.Context(), 10, time.Minute, 0)
	if err != nil || len(got) != 1 || got[0].Body != "good" {
		t.Errorf("received %v, %v, want good", got, err)
	}
	got, err = at.Receive(t.Context(), 10, time.Minute, 0)
	if len(got) != 0 || !errors.Is(err, queue.ErrDamaged) || !errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrUndecodable) {
		t.Errorf("received %v, %v, want ErrDamaged", got, err)
	}
	if d := s.depth(t, q.url); d != "1 visible, 1 in flight" || log.count("MD5") != 2 {
		t.Errorf("the queue has %s, and %d lines of the log tell", d, log.count("MD5"))
	}
}
