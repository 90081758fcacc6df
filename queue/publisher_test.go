package queue_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// publishAll publishes n messages from as many goroutines, to FIFO in two groups.
func publishAll(t *testing.T, p *queue.Publisher, endpoint string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			msg := message.NewMessage(fmt.Sprintf("m-%d", i), []byte("x"))
			msg.Metadata.Set(queue.KeyOrder, fmt.Sprint(i%2))
			if err := p.Publish(endpoint, msg); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestLinger holds how long a message waits for company.
func TestLinger(t *testing.T) {
	tests := []struct {
		name     string
		messages int
		linger   time.Duration
		wait     time.Duration
		requests int64
	}{
		{"a lone message", 1, 0, 5 * time.Millisecond, 1},
		{"nine", 9, 0, 5 * time.Millisecond, 1},
		{"ten", 10, 0, 0, 1},
		{"thirty", 30, 0, 0, 3},
		{"no linger", 1, -1, 0, 1},
		{"longer linger", 3, time.Second, time.Second, 1},
	}
	for _, tt := range tests {
		for _, q := range [][]string{{"q"}, {"q.fifo", "FifoQueue", "true"}} {
			t.Run(tt.name+" to "+q[0], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := embedded(t)
					s.createQueue(t, q[0], q[1:]...)
					p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Linger: tt.linger})
					began := time.Now()
					publishAll(t, p, "sqs://"+q[0], tt.messages)
					if d := time.Since(began); d != tt.wait {
						t.Errorf("%d messages took %v, want %v", tt.messages, d, tt.wait)
					}
					if n := s.emulator.Requests()["sqs.SendMessageBatch"]; n != tt.requests {
						t.Errorf("%d requests, want %d", n, tt.requests)
					}
				})
			})
		}
	}
}

// TestLingerUnderLoad holds that a message which finds all senders busy waits
// for them in a batch that goes on filling.
func TestLingerUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault { return emulator.Fault{Delay: time.Second} })
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Sends: 1})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { publishAll(t, p, "sqs://q", 1) })
			time.Sleep(20 * time.Millisecond)
		}
		wg.Wait()
		if n := s.emulator.Requests()["sqs.SendMessageBatch"]; n != 2 {
			t.Errorf("%d requests, want 2: the first message, and the seven that came meanwhile", n)
		}
	})
}

// TestBatchBytes holds that a batch stays within the size limit.
func TestBatchBytes(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		q := newQueue(t, s)
		stats := new(queue.Stats)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{MaxMessageSize: 256 << 10}), Stats: stats})
		messages := make([]*message.Message, 6)
		for i := range messages {
			messages[i] = message.NewMessage(fmt.Sprint(i), []byte(strings.Repeat("x", 100<<10)))
		}
		if err := p.Publish("q", messages...); err != nil {
			t.Fatal(err)
		}
		if f := stats.Figures(); f.Requests["SendMessageBatch"] != 3 || f.Sent != 6 {
			t.Errorf("%+v, want 6 messages in 3 requests", f)
		}
	})
}

// TestPartialFailure holds that each caller gets the result of its own message,
// and that what the service failed to take is sent again.
func TestPartialFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		var mu sync.Mutex
		flaky := 0
		s.emulator.SetFault(func(emulator.Request) emulator.Fault {
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case e.Body == "bad":
					return &emulator.Error{Code: "InvalidMessageContents", Message: "bad", Status: 400}
				case e.Body == "flaky" && flaky < 2:
					flaky++
					return &emulator.Error{Code: "InternalError", Message: "try again", Status: 500}
				}
				return nil
			}}
		})
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
		errs := map[string]error{}
		var wg sync.WaitGroup
		for _, body := range []string{"good", "bad", "flaky"} {
			wg.Go(func() {
				err := p.Publish("sqs://q", message.NewMessage(body, []byte(body)))
				mu.Lock()
				defer mu.Unlock()
				errs[body] = err
			})
		}
		wg.Wait()
		if errs["good"] != nil || errs["flaky"] != nil || !errors.Is(errs["bad"], queue.ErrInvalid) {
			t.Errorf("errors %v, want one for the bad message alone", errs)
		}

		err := p.Publish("sqs://q", message.NewMessage("0", []byte("a")), message.NewMessage("1", []byte("bad")), message.NewMessage("2", []byte("c")))
		var failed *queue.PublishError
		if !errors.As(err, &failed) || failed.Messages != 3 || len(failed.Failed) != 1 || failed.Failed[0].Index != 1 || failed.Failed[0].UUID != "1" {
			t.Errorf("%v, want an error about the second of three messages", err)
		}
		if got := s.bodies(t, "q"); !slices.Equal(got, []string{"a", "c", "flaky", "good"}) {
			t.Errorf("the queue has %q", got)
		}
	})
}

// TestEntryRetriesEnd holds that a message which the service fails to take for
// long is reported as such.
func TestEntryRetriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		s.emulator.SetFault(func(emulator.Request) emulator.Fault {
			return emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error {
				return &emulator.Error{Code: "ThrottlingException", Message: "slow down", Status: 400}
			}}
		})
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
		err := p.Publish("sqs://q", message.NewMessage("u", []byte("x")))
		var e *queue.Error
		if !errors.Is(err, queue.ErrThrottled) || !errors.As(err, &e) || e.Code != "ThrottlingException" {
			t.Errorf("got %v, want ErrThrottled", err)
		}
		if n := s.emulator.Requests()["sqs.SendMessageBatch"]; n != 4 {
			t.Errorf("%d requests, want 4", n)
		}
	})
}

// A sender is an SQS client whose sends pass through a hook.
type sender struct {
	*sqs.Client
	hook func(*sqs.SendMessageBatchInput) error
}

func (s sender) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, opts ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	if err := s.hook(in); err != nil {
		return nil, err
	}
	return s.Client.SendMessageBatch(ctx, in, opts...)
}

// TestRefusedRequest holds that a request which the service refuses as a whole,
// for what one message is, fails that message alone.
func TestRefusedRequest(t *testing.T) {
	s := embedded(t)
	s.createQueue(t, "q")
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, SQS: sender{s.sqs, func(in *sqs.SendMessageBatchInput) error {
		for _, e := range in.Entries {
			if aws.ToString(e.MessageBody) == "bad" {
				return &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: "no", Fault: smithy.FaultClient}
			}
		}
		return nil
	}}})
	var messages []*message.Message
	for _, body := range []string{"a", "b", "bad", "c", "d"} {
		messages = append(messages, message.NewMessage(body, []byte(body)))
	}
	err := p.Publish("sqs://q", messages...)
	var failed *queue.PublishError
	if !errors.As(err, &failed) || len(failed.Failed) != 1 || failed.Failed[0].UUID != "bad" {
		t.Errorf("got %v, want the one message to fail", err)
	}
	if got := s.bodies(t, "q"); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("the queue has %q", got)
	}
}

// TestDamagedSend holds that an MD5 other than the body's is an error.
func TestDamagedSend(t *testing.T) {
	s := embedded(t)
	s.createQueue(t, "q")
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, SQS: sender{s.sqs, func(in *sqs.SendMessageBatchInput) error {
		in.Entries[0].MessageBody = aws.String("damaged")
		return nil
	}}})
	err := p.Publish("sqs://q", message.NewMessage("u", []byte("body")))
	if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "MD5") {
		t.Errorf("got %v, want an error about the MD5", err)
	}
}

// TestLostSendAnswer holds what happens when the answer to a send is lost: the
// SDK sends again, and the copies share their UUID.
func TestLostSendAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			return emulator.Fault{DropAnswer: r.Operation == "SendMessageBatch" && r.Number == 1}
		})
		stats := new(queue.Stats)
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Stats: stats})
		if err := p.Publish("sqs://q", message.NewMessage("u", []byte("x"))); err != nil {
			t.Fatal(err)
		}
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws})
		ch := subscribe(t, sub, "sqs://q")
		one, two := next(t, ch), next(t, ch)
		if one.UUID != "u" || two.UUID != "u" || queue.FromContext(one.Context()).MessageID == queue.FromContext(two.Context()).MessageID {
			t.Error("want two messages of the same UUID")
		}
		one.Ack()
		two.Ack()
		if n := stats.Figures().Requests["SendMessageBatch"]; n != 2 {
			t.Errorf("counted %d requests, want the retry counted", n)
		}
	})
}

func TestPublisherClose(t *testing.T) {
	for _, q := range [][]string{{"q"}, {"q.fifo", "FifoQueue", "true"}} {
		t.Run(q[0], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { publisherClose(t, q[0], q[1:]...) })
		})
	}
}

// publisherClose holds that Close sends what waits.
func publisherClose(t *testing.T, name string, attributes ...string) {
	s := embedded(t)
	s.createQueue(t, name, attributes...)
	to := "sqs://" + name
	one := func(id string) *message.Message {
		msg := message.NewMessage(id, []byte("x"))
		msg.Metadata.Set(queue.KeyOrder, "g")
		return msg
	}
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Linger: time.Hour, CloseTimeout: 10 * time.Second})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Publish(to, one("u")); err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	began := time.Now()
	for range 3 {
		wg.Go(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(began); d != 0 {
		t.Errorf("Close took %v, want it to flush at once", d)
	}
	if err := p.Publish(to, one("v")); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}

	// A service that does not answer holds Close up for CloseTimeout.
	p = newPublisher(t, queue.PublisherConfig{AWS: s.aws, CloseTimeout: 10 * time.Second})
	s.emulator.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{Delay: time.Hour} })
	wg.Go(func() {
		if err := p.Publish(to, one("w")); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("interrupted by Close: %v, want ErrClosed", err)
		}
	})
	time.Sleep(time.Second)
	began = time.Now()
	if err := p.Close(); err != nil || time.Since(began) != 10*time.Second {
		t.Errorf("Close returned %v after %v, want 10 s", err, time.Since(began))
	}
	wg.Wait()
}

func TestPublishErrors(t *testing.T) {
	s := embedded(t)
	s.createQueue(t, "q")
	endpoints, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "q", URL: "sqs://q"},
		queue.Endpoint{Name: "small", URL: "sqs://q", MaxMessageSize: 100},
		queue.Endpoint{Name: "missing", URL: "sqs://missing"},
		queue.Endpoint{Name: "missing-topic", URL: "sns://missing"},
		queue.Endpoint{Name: "topic", URL: "sns://topic"},
		queue.Endpoint{Name: "fifo", URL: "sqs://q.fifo"},
		queue.Endpoint{Name: "kafka", URL: "kafka://topic"},
	)
	if err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Endpoints: endpoints})
	tests := []struct {
		name, endpoint string
		body           string
		metadata       message.Metadata
		kind           error
		want           string
	}{
		{"unknown endpoint", "qq", "x", nil, queue.ErrUnknownEndpoint, `endpoint "qq" is not configured (fifo, kafka, missing, missing-topic, q, small, topic are)`},
		{"no such queue", "missing", "x", nil, queue.ErrNotFound, `endpoint "missing" (sqs://missing)`},
		{"no such topic", "missing-topic", "x", nil, queue.ErrNotFound, `endpoint "missing-topic" (sns://missing)`},
		{"other transport", "kafka", "x", nil, queue.ErrInvalid, `kafka://topic is neither sqs:// nor sns://`},
		{"too large", "small", strings.Repeat("x", 100), nil, queue.ErrTooLarge, `the limit of endpoint "small" is 100`},
		{"metadata counts", "small", "x", message.Metadata{"k": strings.Repeat("x", 100)}, queue.ErrTooLarge, `the limit`},
		{"delay", "q", "x", message.Metadata{queue.KeyDelay: "337h"}, queue.ErrInvalid, `Waybill-Delay is "337h"; want a duration of 0s to 336h0m0s`},
		{"delay of a topic", "topic", "x", message.Metadata{queue.KeyDelay: "1s"}, queue.ErrInvalid, "a topic, which cannot delay"},
		{"delay on FIFO", "fifo", "x", message.Metadata{queue.KeyDelay: "1s", queue.KeyGroup: "g"}, queue.ErrInvalid, "FIFO, which delays all messages alike"},
		{"no group", "fifo", "x", nil, queue.ErrInvalid, "has no metadata Waybill-Group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := message.NewMessage("u", []byte(tt.body))
			maps.Copy(msg.Metadata, tt.metadata)
			err := p.Publish(tt.endpoint, msg)
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v\nwant %v with %q", err, tt.kind, tt.want)
			}
		})
	}
	for op, n := range s.emulator.Requests() {
		if strings.HasPrefix(op, "sqs.Send") && n > 0 {
			t.Errorf("%d requests %s, want none", n, op)
		}
	}
}

// TestAccessErrors holds the errors of credentials that the service refuses,
// and of those that cannot be found.
func TestAccessErrors(t *testing.T) {
	refused := embedded(t)
	refused.createQueue(t, "q")
	refused.createTopic(t, "topic", nil)
	refused.emulator.SetFault(func(r emulator.Request) emulator.Fault {
		return emulator.Fault{Err: &emulator.Error{Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid.", Status: http.StatusForbidden}}
	})
	missing := embedded(t)
	missing.aws.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no EC2 IMDS role found")
	})
	for name, s := range map[string]*server{"refused": refused, "missing": missing} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
			for _, endpoint := range []string{"sqs://q", "sns://topic"} {
				if err := p.Publish(endpoint, message.NewMessage("u", []byte("x"))); !errors.Is(err, queue.ErrAccess) {
					t.Errorf("publish to %s: %v, want ErrAccess", endpoint, err)
				}
			}
			if _, err := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}).Subscribe(t.Context(), "sqs://q"); !errors.Is(err, queue.ErrAccess) {
				t.Errorf("subscribe: %v, want ErrAccess", err)
			}
		})
	}
}

// TestQueueReturns holds that a publisher finds a queue that was made after it
// was first missed, and one that was made again.
func TestQueueReturns(t *testing.T) {
	s := embedded(t)
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
	publish := func() error { return p.Publish("sqs://q", message.NewMessage("u", []byte("x"))) }
	if err := publish(); !errors.Is(err, queue.ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	url := s.createQueue(t, "q")
	if err := publish(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.sqs.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: aws.String(url)}); err != nil {
		t.Fatal(err)
	}
	if err := publish(); !errors.Is(err, queue.ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	s.createQueue(t, "q")
	if err := publish(); err != nil {
		t.Fatal(err)
	}
}

func TestPublisherConfig(t *testing.T) {
	region := aws.Config{Region: "us-east-1"}
	regional, err := queue.NewEndpoints("", queue.Endpoint{Name: "q", URL: "sqs://q", Region: "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		config queue.PublisherConfig
		want   string
	}{
		{"defaults", queue.PublisherConfig{AWS: region}, ""},
		{"no region", queue.PublisherConfig{}, "AWS has no Region"},
		{"regions of endpoints", queue.PublisherConfig{Endpoints: regional}, ""},
		{"sends", queue.PublisherConfig{AWS: region, Sends: -1}, "Sends is -1"},
		{"close timeout", queue.PublisherConfig{AWS: region, CloseTimeout: -1}, "CloseTimeout is -1ns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := queue.NewPublisher(tt.config)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}
