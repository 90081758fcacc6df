package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/waybill-dev/waybill/queue"
)

// TestGroupWaitsForAnotherPolicy holds that a message which fails as often as the
// redrive policy had allowed holds its group where the policy allows more by now.
func TestGroupWaitsForAnotherPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{MaxReceiveCount: 2})
		r.publish(t, 4, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.handle(ctx, t, queue.SubscriberConfig{Backoff: seconds5}, func(msg *message.Message) bool {
			n := queue.FromContext(msg.Context()).ReceiveCount
			if msg.UUID == "a1" && n == 1 {
				policy := r.redrivePolicy(t, r.queueNamed(t, "dlq.fifo"), 9)
				if _, err := r.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &r.url, Attributes: map[string]string{"RedrivePolicy": policy}}); err != nil {
					t.Error(err)
				}
			}
			return msg.UUID != "a1" || n == 4
		})
		if got := r.of("a"); got != "a1- a1- a1- a1+ a2+ a3+ a4+" {
			t.Errorf("handled %s", got)
		}
	})
}

// queueNamed returns the URL of a queue.
func (r *fifoRun) queueNamed(t *testing.T, name string) string {
	t.Helper()
	out, err := r.sqs.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return *out.QueueUrl
}

// TestRefusedRequestHoldsGroup holds that where a request is refused as a whole, for
// what one message is, those behind this in its group are not sent, and others are.
func TestRefusedRequestHoldsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{})
		p := newPublisher(t, queue.PublisherConfig{AWS: r.aws, Endpoints: r.endpoints, SQS: sender{r.sqs, func(in *sqs.SendMessageBatchInput) error {
			for _, e := range in.Entries {
				if aws.ToString(e.MessageBody) == "a3" {
					return &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: "no", Fault: smithy.FaultClient}
				}
			}
			return nil
		}}})
		var all []*message.Message
		for _, body := range []string{"a1", "b1", "a2", "a3", "b2", "a4", "b3", "a5"} {
			msg := message.NewMessage(body, []byte(body))
			msg.Metadata.Set(queue.KeyGroup, body[:1])
			all = append(all, msg)
		}
		var failed *queue.PublishError
		if err := p.Publish("q", all...); !errors.As(err, &failed) {
			t.Fatal(err)
		}
		for _, f := range failed.Failed {
			if held := f.UUID != "a3"; errors.Is(f.Err, queue.ErrHeld) != held || !held && !errors.Is(f.Err, queue.ErrInvalid) {
				t.Errorf("%s: %v", f.UUID, f.Err)
			}
		}
		if got := r.bodies(t, "q.fifo"); !slices.Equal(got, []string{"a1", "a2", "b1", "b2", "b3"}) || len(failed.Failed) != 3 {
			t.Errorf("sent were %q, and %d have failed", got, len(failed.Failed))
		}
	})
}

// TestGroupBatchBytes holds that a batch to a FIFO queue stays within the size limit,
// and that a group keeps its order over batches.
func TestGroupBatchBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{MaxMessageSize: 256 << 10})
		stats := new(queue.Stats)
		p := newPublisher(t, queue.PublisherConfig{AWS: r.aws, Endpoints: r.endpoints, Stats: stats})
		var all []*message.Message
		for i := range 6 {
			msg := message.NewMessage(fmt.Sprint(i), []byte(strings.Repeat(fmt.Sprint(i), 100<<10)))
			msg.Metadata.Set(queue.KeyGroup, "a")
			all = append(all, msg)
		}
		if err := p.Publish("q", all...); err != nil {
			t.Fatal(err)
		}
		if f := stats.Figures(); f.Requests["SendMessageBatch"] != 3 || f.Sent != 6 {
			t.Errorf("%+v, want 6 messages in 3 requests", f)
		}
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: r.aws, Endpoints: r.endpoints}), "q")
		for i := range 6 {
			msg := next(t, ch)
			if msg.UUID != fmt.Sprint(i) {
				t.Errorf("message %d is %s", i, msg.UUID)
			}
			msg.Ack()
		}
	})
}
