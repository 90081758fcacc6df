package queue_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// none fails the test if a message arrives within d.
func none(t *testing.T, ch <-chan *message.Message, d time.Duration) {
	t.Helper()
	select {
	case msg := <-ch:
		t.Fatalf("received %s, want nothing for %v", msg.UUID, d)
	case <-time.After(d):
	}
}

func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		dlq := s.createQueue(t, "dlq")
		url := s.createQueue(t, "q", "RedrivePolicy", s.redrivePolicy(t, dlq, 2))
		sent := time.Now()
		s.send(t, url, "body")
		time.Sleep(10 * time.Second)

		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Backoff: func(int) time.Duration { return 7 * time.Second }})
		ch := subscribe(t, sub, "sqs://q")
		msg := next(t, ch)
		d := queue.FromContext(msg.Context())
		received := time.Now()
		if d.Endpoint.Name != "sqs://q" || !strings.HasSuffix(d.QueueURL, "/q") || d.MessageID == "" || msg.UUID != d.MessageID ||
			d.ReceiveCount != 1 || d.MaxReceiveCount != 2 || d.Last() || d.Undecodable != nil || d.Topic != "" ||
			!d.SentAt.Equal(sent) || d.Age() != 10*time.Second || !d.FirstReceivedAt.Equal(received) || !d.ReceivedAt.Equal(received) {
			t.Errorf("first delivery: %+v", d)
		}
		msg.Nack()

		again := next(t, ch)
		d = queue.FromContext(again.Context())
		if wait := time.Since(received); wait < 7*time.Second || wait > 8*time.Second {
			t.Errorf("redelivered after %v, want 7 s", wait)
		}
		if again.UUID != msg.UUID || d.ReceiveCount != 2 || !d.Last() || !d.FirstReceivedAt.Equal(received) || d.ReceivedAt.Equal(received) {
			t.Errorf("second delivery: %+v", d)
		}
		again.Nack()
		time.Sleep(10 * time.Second)
		none(t, ch, time.Minute)
		if got := s.bodies(t, "dlq"); len(got) != 1 {
			t.Errorf("the dead-letter queue has %q", got)
		}
	})
}

// TestMaxReceiveCount holds where the limit of receives comes from.
func TestMaxReceiveCount(t *testing.T) {
	tests := []struct {
		name     string
		policy   string // of the queue; %s is the ARN of the dead-letter queue
		endpoint queue.Endpoint
		want     int
	}{
		{"none", "", queue.Endpoint{}, 0},
		{"the queue's", `{"deadLetterTargetArn":"%s","maxReceiveCount":3}`, queue.Endpoint{DeadLetter: "sqs://dlq", MaxReceiveCount: 9}, 3},
		{"the queue's, as text", `{"deadLetterTargetArn":"%s","maxReceiveCount":"4"}`, queue.Endpoint{}, 4},
		{"the endpoint's", "", queue.Endpoint{DeadLetter: "sqs://dlq", MaxReceiveCount: 9}, 9},
		{"the endpoint's default", "", queue.Endpoint{DeadLetter: "sqs://dlq"}, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := embedded(t)
			dlq := s.createQueue(t, "dlq")
			var attributes []string
			if tt.policy != "" {
				attributes = []string{"RedrivePolicy", fmt.Sprintf(tt.policy, s.queueARN(t, dlq))}
			}
			q := newQueue(t, s, attributes...)
			s.send(t, q.url, "x")
			sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: q.endpoints(t, tt.endpoint)})
			msg := next(t, subscribe(t, sub, "q"))
			msg.Ack()
			if n := queue.FromContext(msg.Context()).MaxReceiveCount; n != tt.want {
				t.Errorf("MaxReceiveCount %d, want %d", n, tt.want)
			}
		})
	}
}

// TestUnreadablePolicy holds that a subscriber does without the permission to
// read the redrive policy.
func TestUnreadablePolicy(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	s.send(t, q.url, "x")
	s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
		if r.Operation != "GetQueueAttributes" {
			return emulator.Fault{}
		}
		return emulator.Fault{Err: &emulator.Error{Code: "AccessDenied", Message: "no", Status: http.StatusForbidden}}
	})
	sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{DeadLetter: "sqs://dlq"})})
	msg := next(t, subscribe(t, sub, "q"))
	msg.Ack()
	if n := queue.FromContext(msg.Context()).MaxReceiveCount; n != 5 {
		t.Errorf("MaxReceiveCount %d, want the endpoint's 5", n)
	}
}

// TestRetry holds after which delay a nacked message is redelivered: by the
// backoff, or by its handler where that gives one.
func TestRetry(t *testing.T) {
	tests := []struct {
		name  string
		retry func(*queue.Delivery)
		want  time.Duration
	}{
		{"backoff", func(*queue.Delivery) {}, time.Minute},
		{"rounded up", func(d *queue.Delivery) { d.Retry(2*time.Hour+time.Millisecond, "busy") }, 2*time.Hour + time.Second},
		{"at once", func(d *queue.Delivery) { d.Retry(0, "busy") }, 0},
		{"the last counts", func(d *queue.Delivery) { d.Retry(0, "busy"); d.Retry(time.Hour, "busy") }, time.Hour},
		{"at most 12 hours", func(d *queue.Delivery) { d.Retry(24*time.Hour, "busy") }, 12*time.Hour - time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				s.send(t, s.createQueue(t, "q"), "x")
				log := &recorder{}
				sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Logger: log.logger(), Backoff: func(n int) time.Duration { return time.Duration(n) * time.Minute }})
				ch := subscribe(t, sub, "sqs://q")
				msg := next(t, ch)
				tt.retry(queue.FromContext(msg.Context()))
				nacked := time.Now()
				msg.Nack()
				(<-ch).Ack()
				if d := time.Since(nacked); d < tt.want || d > tt.want+time.Second {
					t.Errorf("redelivered after %v, want %v", d, tt.want)
				}
				if tt.name != "backoff" && log.count("reason=busy") != 1 {
					t.Error("the reason is not logged")
				}
			})
		})
	}
}

func TestDefaultBackoff(t *testing.T) {
	for _, tt := range []struct {
		count int
		most  time.Duration
	}{{-1, time.Second}, {0, time.Second}, {1, time.Second}, {2, 2 * time.Second}, {5, 16 * time.Second}, {10, 512 * time.Second}, {11, 15 * time.Minute}, {1 << 40, 15 * time.Minute}} {
		for range 100 {
			if d := queue.DefaultBackoff(tt.count); d < tt.most/2 || d > tt.most {
				t.Fatalf("after %d receives %v, want %v to %v", tt.count, d, tt.most/2, tt.most)
			}
		}
	}
}

// TestConcurrency holds the cap of messages that are out, and that a
// subscription takes no more from the queue.
func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		for i := range 100 {
			s.send(t, url, fmt.Sprint(i))
		}
		q := testQueue{s, "q", url}
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{
			AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{Concurrency: 12, Pollers: 2}),
		}), "q")
		var out []*message.Message
		for range 12 {
			out = append(out, next(t, ch))
		}
		none(t, ch, time.Minute)
		if got := s.depth(t, url); got != "88 visible, 12 in flight" {
			t.Errorf("%s, want no more taken than can be out", got)
		}
		out[3].Ack()
		out = append(out, next(t, ch))
		none(t, ch, time.Second)
		for _, msg := range out {
			msg.Ack()
		}
		for range 87 {
			next(t, ch).Ack()
		}
		time.Sleep(time.Second)
		if got := s.depth(t, url); got != "0 visible, 0 in flight" {
			t.Error(got)
		}
	})
}

func TestSubscriberConfig(t *testing.T) {
	region := aws.Config{Region: "us-east-1"}
	tests := []struct {
		name   string
		config queue.SubscriberConfig
		want   string
	}{
		{"defaults", queue.SubscriberConfig{AWS: region}, ""},
		{"no region", queue.SubscriberConfig{}, "AWS has no Region"},
		{"poll wait", queue.SubscriberConfig{AWS: region, PollWait: 21 * time.Second}, "PollWait is 21s; want whole seconds up to 20s"},
		{"fraction", queue.SubscriberConfig{AWS: region, PollWait: time.Millisecond}, "PollWait is 1ms"},
		{"drain", queue.SubscriberConfig{AWS: region, DrainTimeout: -1}, "DrainTimeout is -1ns"},
		{"grace", queue.SubscriberConfig{AWS: region, ReceiveGrace: time.Minute}, "ReceiveGrace is 1m0s"},
		{"hold", queue.SubscriberConfig{AWS: region, MaxHold: 12 * time.Hour}, "MaxHold is 12h0m0s; want up to 11h59m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := queue.NewSubscriber(tt.config)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestSubscribeErrors holds the errors at start.
func TestSubscribeErrors(t *testing.T) {
	s := embedded(t)
	endpoints, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "missing", URL: "sqs://missing"},
		queue.Endpoint{Name: "accounting", URL: "sqs://accounting"},
		queue.Endpoint{Name: "rides", URL: "sns://rides", Subscriptions: []queue.Subscription{{Endpoint: "accounting"}, {Endpoint: "missing"}}},
		queue.Endpoint{Name: "lonely", URL: "sns://lonely"},
		queue.Endpoint{Name: "kafka", URL: "kafka://topic"},
	)
	if err != nil {
		t.Fatal(err)
	}
	sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: endpoints})
	tests := []struct {
		endpoint string
		kind     error
		want     string
	}{
		{"missing", queue.ErrNotFound, `endpoint "missing" (sqs://missing)`},
		{"nowhere", queue.ErrUnknownEndpoint, "WAYBILL_ENDPOINTS_NOWHERE_URL"},
		{"rides", queue.ErrInvalid, `subscribe to an endpoint that the topic delivers to: "accounting", "missing"`},
		{"lonely", queue.ErrInvalid, "add a queue to the endpoint's subscriptions"},
		{"kafka", queue.ErrInvalid, "kafka://topic is not sqs://"},
		{"sqs://no spaces", nil, "cannot name a queue"},
	}
	for _, tt := range tests {
		t.Run(tt.endpoint, func(t *testing.T) {
			_, err := sub.Subscribe(t.Context(), tt.endpoint)
			if err == nil || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %v with %q", err, tt.kind, tt.want)
			}
		})
	}
	var unknown *queue.UnknownEndpointError
	if _, err := sub.Subscribe(t.Context(), "nowhere"); !errors.As(err, &unknown) || unknown.Name != "nowhere" || len(unknown.Known) != 5 {
		t.Errorf("got %v, want an *UnknownEndpointError", err)
	}
}

// TestPollerErrors holds that a subscription outlasts the errors of receiving.
func TestPollerErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		log := &recorder{}
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Logger: log.logger()})
		ch := subscribe(t, sub, "sqs://q")
		receives := func(body string) *queue.Delivery {
			t.Helper()
			s.send(t, url, body)
			msg := next(t, ch)
			if string(msg.Payload) != body {
				t.Errorf("received %q, want %q", msg.Payload, body)
			}
			msg.Ack()
			time.Sleep(time.Second)
			if err := sub.Err(); err != nil {
				t.Errorf("Err while it works: %v", err)
			}
			return queue.FromContext(msg.Context())
		}
		receives("before")

		throttled := func(r emulator.Request) emulator.Fault {
			if r.Operation != "ReceiveMessage" {
				return emulator.Fault{}
			}
			return emulator.Fault{Err: &emulator.Error{Code: "ThrottlingException", Message: "slow down", Status: 400}}
		}
		s.emulator.SetFault(throttled)
		time.Sleep(10 * time.Minute)
		if err := sub.Err(); !errors.Is(err, queue.ErrThrottled) {
			t.Errorf("Err while throttled: %v", err)
		}
		if n := log.count("cannot receive"); n != 1 {
			t.Errorf("ten minutes of one error logged %d times, want once", n)
		}
		if n := s.emulator.Requests()["sqs.ReceiveMessage"]; n > 300 {
			t.Errorf("%d requests in ten minutes of throttling, want a backoff", n)
		}
		s.emulator.SetFault(nil)
		receives("after throttling")
		if log.count("receiving again") != 1 {
			t.Error("the end of the error is not logged")
		}

		if _, err := s.sqs.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: aws.String(url)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if err := sub.Err(); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Err without the queue: %v", err)
		}
		dlq := s.createQueue(t, "dlq")
		url = s.createQueue(t, "q", "RedrivePolicy", s.redrivePolicy(t, dlq, 7))
		if n := receives("from the new queue").MaxReceiveCount; n != 7 {
			t.Errorf("MaxReceiveCount %d, want that of the new queue", n)
		}

		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			return emulator.Fault{DropRequest: r.Operation == "ReceiveMessage"}
		})
		time.Sleep(time.Minute)
		s.emulator.SetFault(nil)
		receives("after the network")
	})
}

// TestLostAnswers holds that no answer that is lost loses a message.
func TestLostAnswers(t *testing.T) {
	for _, operation := range []string{"ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				url := s.createQueue(t, "q")
				s.send(t, url, "x")
				s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
					return emulator.Fault{DropAnswer: r.Operation == operation && r.Number == 1}
				})
				ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Backoff: queue.NoBackoff}), "sqs://q")
				var msg *message.Message
				for range 2 {
					select {
					case msg = <-ch:
					case <-time.After(time.Minute):
						t.Fatal("no message for a minute")
					}
					if operation != "ChangeMessageVisibilityBatch" {
						break
					}
					if queue.FromContext(msg.Context()).ReceiveCount == 1 {
						msg.Nack()
					}
				}
				msg.Ack()
				none(t, ch, 10*time.Minute)
				if got := s.depth(t, url); got != "0 visible, 0 in flight" {
					t.Error(got)
				}
			})
		})
	}
}

// TestPartialDelete holds that the entries which the service fails to delete
// are deleted again, and that the others are not affected.
func TestPartialDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "a", "b", "c")
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "DeleteMessageBatch" || r.Number > 3 {
				return emulator.Fault{}
			}
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				if e.ID != "0" {
					return nil
				}
				return &emulator.Error{Code: "InternalError", Message: "try again", Status: 500}
			}}
		})
		stats := new(queue.Stats)
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Stats: stats}), "sqs://q")
		for range 3 {
			next(t, ch).Ack()
		}
		none(t, ch, 5*time.Minute)
		if f := stats.Figures(); f.Deleted != 3 || f.Requests["DeleteMessageBatch"] != 4 {
			t.Errorf("%+v, want 3 messages deleted by 4 requests", f)
		}
	})
}

// TestDuplicate holds that a message which SQS delivers twice is delivered
// twice, each with its own receipt.
func TestDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "x")
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			return emulator.Fault{Twice: r.Operation == "ReceiveMessage" && r.Number == 1}
		})
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://q")
		one, two := next(t, ch), next(t, ch)
		if one.UUID != two.UUID {
			t.Errorf("UUIDs %s and %s, want the same", one.UUID, two.UUID)
		}
		one.Ack()
		two.Ack()
		none(t, ch, time.Minute)
	})
}

// TestOrder holds that what one receive brings is delivered in its order.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint(i))
		}
		s.send(t, url, want...)
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://q")
		var got []string
		for range want {
			msg := next(t, ch)
			got = append(got, string(msg.Payload))
			msg.Ack()
		}
		if !slices.Equal(got, want) {
			t.Errorf("received %q", got)
		}
	})
}
