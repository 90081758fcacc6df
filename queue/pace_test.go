package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/waybill-dev/waybill/queue"
)

// An endless queue always has messages. It answers a receive after 200 ms, and
// throttles what it is told to.
type endless struct {
	throttle func(open int) bool

	mu                    sync.Mutex
	open, most            int
	number, throttledSeen int
	panics                int // receives that are to panic
}

func (q *endless) GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	return &sqs.GetQueueUrlOutput{QueueUrl: aws.String("http://endless.test/q")}, nil
}

func (q *endless) GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	return &sqs.GetQueueAttributesOutput{}, nil
}

func (q *endless) ReceiveMessage(_ context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	q.mu.Lock()
	q.open++
	q.most = max(q.most, q.open)
	refuse := q.throttle != nil && q.throttle(q.open)
	if q.panics > 0 {
		q.panics--
		q.open--
		q.mu.Unlock()
		panic("a broken client")
	}
	q.mu.Unlock()
	time.Sleep(200 * time.Millisecond)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if refuse {
		q.throttledSeen++
		return nil, &smithy.GenericAPIError{Code: "RequestThrottled", Message: "slow down"}
	}
	out := &sqs.ReceiveMessageOutput{}
	for range in.MaxNumberOfMessages {
		q.number++
		id := aws.String(fmt.Sprint(q.number))
		out.Messages = append(out.Messages, sqstypes.Message{MessageId: id, ReceiptHandle: id, Body: id})
	}
	return out, nil
}

func (q *endless) DeleteMessageBatch(_ context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	out := &sqs.DeleteMessageBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, sqstypes.DeleteMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

func (q *endless) ChangeMessageVisibilityBatch(_ context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	out := &sqs.ChangeMessageVisibilityBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, sqstypes.ChangeMessageVisibilityBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

// watch returns what a minute brings: messages, refusals, and how many receives
// were open at once.
func (q *endless) watch() (messages, refused, most int) {
	q.mu.Lock()
	before, refusedBefore := q.number, q.throttledSeen
	q.most = 0
	q.mu.Unlock()
	time.Sleep(time.Minute)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.number - before, q.throttledSeen - refusedBefore, q.most
}

func (q *endless) allow(throttle func(open int) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.throttle = throttle
}

// TestThrottling holds that a subscription which is throttled goes down to the
// receives that the service takes, and comes back when it takes more.
func TestThrottling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(endless)
		set, err := queue.NewEndpoints("", queue.Endpoint{Name: "q", URL: "sqs://q", Pollers: 8, Concurrency: 160})
		if err != nil {
			t.Fatal(err)
		}
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{SQS: q, Endpoints: set, Logger: new(recorder).logger()}), "q")
		go func() {
			for msg := range ch {
				msg.Ack()
			}
		}()
		if n, refused, most := q.watch(); most != 8 || refused != 0 {
			t.Errorf("%d messages with %d receives at once, %d refused; want 8 at once", n, most, refused)
		}

		q.allow(func(open int) bool { return open > 2 })
		time.Sleep(time.Minute)
		n, refused, most := q.watch()
		t.Logf("two at once allowed: %d messages, %d refused, %d at once", n, refused, most)
		if most > 4 || refused > 30 || n < 3000 {
			t.Errorf("two at once allowed: %d messages, %d refused, %d at once; want about two at once", n, refused, most)
		}

		q.allow(func(int) bool { return true })
		time.Sleep(time.Minute)
		n, refused, most = q.watch()
		t.Logf("none allowed: %d messages, %d refused, %d at once", n, refused, most)
		if most > 1 || refused > 8 {
			t.Errorf("none allowed: %d refused, %d at once; want one in up to 20 s", refused, most)
		}

		q.allow(nil)
		time.Sleep(3 * time.Minute)
		if n, _, most := q.watch(); most != 8 {
			t.Errorf("%d messages with %d receives at once after throttling; want 8 at once again", n, most)
		}
	})
}

// TestPollerPanics holds that a client which panics does not end a subscription,
// nor keep the slots of its receive.
func TestPollerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &endless{panics: 12}
		set, err := queue.NewEndpoints("", queue.Endpoint{Name: "q", URL: "sqs://q", Pollers: 2, Concurrency: 10})
		if err != nil {
			t.Fatal(err)
		}
		log := new(recorder)
		sub := newSubscriber(t, queue.SubscriberConfig{SQS: q, Endpoints: set, Logger: log.logger()})
		ch := subscribe(t, sub, "q")
		time.Sleep(time.Second)
		if sub.Err() == nil || log.count("a broken client") == 0 {
			t.Errorf("Err is %v, and the log has no panic", sub.Err())
		}
		time.Sleep(5 * time.Minute)
		for range 30 {
			next(t, ch).Ack()
		}
	})
}

// A clumsy client panics when it has received messages, for a while.
type clumsy struct {
	*sqs.Client
	panics atomic.Int64
}

func (c *clumsy) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, opts ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	out, err := c.Client.ReceiveMessage(ctx, in, opts...)
	if err == nil && len(out.Messages) > 0 && c.panics.Add(-1) >= 0 {
		panic("a broken client")
	}
	return out, err
}

// TestPollerPanicsOverMessages holds that a poller which panics with messages in its
// hands loses none, nor their order: they come again when their visibility ends.
func TestPollerPanicsOverMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q.fifo", "FifoQueue", "true", "ContentBasedDeduplication", "true")
		want := []string{"a", "b", "c"}
		for _, body := range want {
			if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: aws.String("g")}); err != nil {
				t.Fatal(err)
			}
		}
		c := &clumsy{Client: s.sqs}
		c.panics.Store(2)
		began := time.Now()
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{SQS: c, Logger: new(recorder).logger()}), "sqs://q.fifo")
		time.Sleep(2 * queue.DefaultVisibility)
		var got []string
		for range want {
			msg := next(t, ch)
			if n := queue.FromContext(msg.Context()).ReceiveCount; n != 3 {
				t.Errorf("%s was received %d times, want once more than a poller panicked", msg.Payload, n)
			}
			got = append(got, string(msg.Payload))
			msg.Ack()
		}
		if d := time.Since(began); !slices.Equal(got, want) || d > 2*queue.DefaultVisibility+time.Minute {
			t.Errorf("received %q after %v", got, d)
		}
		none(t, ch, time.Minute)
		if got := s.depth(t, url); got != "0 visible, 0 in flight" {
			t.Error(got)
		}
	})
}
