package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
)

// A fifo is an SQS of one FIFO queue that keeps what it is sent.
type fifo struct {
	*sqs.Client
	mu   sync.Mutex
	sent []string
	fail string // the body that it fails to take once
}

func (f *fifo) GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	return &sqs.GetQueueUrlOutput{QueueUrl: aws.String("http://sqs.test/1/q.fifo")}, nil
}

func (f *fifo) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	time.Sleep(10 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		if aws.ToString(e.MessageBody) == f.fail {
			f.fail = ""
			out.Failed = append(out.Failed, sqstypes.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError"), Message: aws.String("no")})
			continue
		}
		f.sent = append(f.sent, aws.ToString(e.MessageBody)+" "+aws.ToString(e.MessageGroupId)+" "+aws.ToString(e.MessageDeduplicationId))
		out.Successful = append(out.Successful, sqstypes.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

// TestPublishOrder holds that messages to a FIFO queue are sent in the order in
// which they are published, and that one which failed is not sent again behind
// others.
func TestPublishOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fifo{fail: "17"}
		p := newPublisher(t, queue.PublisherConfig{SQS: f, AWS: aws.Config{Region: "r"}})
		var want []string
		var wg sync.WaitGroup
		for i := range 60 {
			msg := message.NewMessage(fmt.Sprint("u", i), []byte(fmt.Sprint(i)))
			msg.Metadata.Set(queue.KeyGroup, "g")
			if i%2 == 0 {
				msg.Metadata.Set(queue.KeyDeduplication, fmt.Sprint("d", i))
			}
			if i != 17 {
				want = append(want, fmt.Sprintf("%d g %c%d", i, "du"[i%2], i))
			}
			wg.Go(func() {
				if err := p.Publish("sqs://q.fifo", msg); (i == 17) != errors.Is(err, queue.ErrUnavailable) {
					t.Errorf("message %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if !slices.Equal(f.sent, want) {
			t.Errorf("sent %q", f.sent)
		}
	})
}

// TestGroups holds that the messages of a FIFO group are delivered one after
// the other and in order, while groups do not wait for each other.
func TestGroups(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		name := testserver.Namespace(t) + ".fifo"
		_, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name), Attributes: map[string]string{"FifoQueue": "true"}})
		if err != nil {
			t.Fatal(err)
		}
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
		var all []*message.Message
		for i := range 6 {
			msg := message.NewMessage(fmt.Sprint(i), []byte(fmt.Sprint(i)))
			msg.Metadata.Set(queue.KeyGroup, fmt.Sprint("g", i%2))
			all = append(all, msg)
		}
		if err := p.Publish("sqs://"+name, all...); err != nil {
			t.Fatal(err)
		}
		// Some servers notice only at the next receive that a group is free.
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Backoff: queue.NoBackoff, PollWait: time.Second})
		ch := subscribe(t, sub, "sqs://"+name)
		first := map[string]*message.Message{}
		for range 2 {
			msg := next(t, ch)
			first[msg.Metadata.Get(queue.KeyGroup)] = msg
		}
		if len(first) != 2 || first["g0"].UUID != "0" || first["g1"].UUID != "1" || first["g0"].Metadata.Get(queue.KeyDeduplication) != "0" {
			t.Fatalf("received first %v", first)
		}
		select {
		case msg := <-ch:
			t.Fatalf("received %s while its group is out", msg.UUID)
		case <-time.After(300 * time.Millisecond):
		}
		first["g1"].Ack()
		if msg := next(t, ch); msg.UUID != "3" {
			t.Errorf("received %s, want 3", msg.UUID)
		} else {
			msg.Ack()
		}
		if msg := next(t, ch); msg.UUID != "5" {
			t.Errorf("received %s, want 5", msg.UUID)
		} else {
			msg.Ack()
		}
		if s.name == "moto" {
			return // it skips messages whose visibility ended, as its deviations say
		}
		first["g0"].Nack()
		for _, want := range []string{"0", "2", "4"} {
			msg := next(t, ch)
			if msg.UUID != want {
				t.Errorf("received %s, want %s", msg.UUID, want)
			}
			msg.Ack()
		}
	})
}

// TestFairGroups holds that the group of a message is its tenant on a standard
// queue, and reaches it through a standard topic.
func TestFairGroups(t *testing.T) {
	s := embedded(t)
	q := newQueue(t, s)
	s.createTopic(t, "events", map[string]string{"RawMessageDelivery": "true"}, q.url)
	p := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
	for _, to := range []string{"sqs://" + q.name, "sns://events"} {
		msg := message.NewMessage("u", []byte("x"))
		msg.Metadata.Set(queue.KeyGroup, "tenant-7")
		if err := p.Publish(to, msg); err != nil {
			t.Fatal(err)
		}
		if got := s.receive(t, q.url).Attributes["MessageGroupId"]; got != "tenant-7" {
			t.Errorf("by %s: MessageGroupId is %q", to, got)
		}
	}
}
