package queue_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
)

// A recordingSender keeps what it is asked to send, as clients of tests do.
type recordingSender struct {
	*sqs.Client
	mu   sync.Mutex
	sent []*sqs.SendMessageBatchInput
}

func (r *recordingSender) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, opts ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	r.mu.Lock()
	r.sent = append(r.sent, in)
	r.mu.Unlock()
	return r.Client.SendMessageBatch(ctx, in, opts...)
}

// TestSenderKeepsInput holds that what a client of the user's was given stays as it
// was, also after further messages.
func TestSenderKeepsInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		q := newQueue(t, s)
		sender := &recordingSender{Client: s.sqs}
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, SQS: sender})
		want := []string{"red", "green", "blue"}
		for _, colour := range want {
			msg := message.NewMessage(colour, []byte("x"))
			msg.Metadata.Set("colour", colour)
			if err := p.Publish("sqs://"+q.name, msg); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		sender.mu.Lock()
		defer sender.mu.Unlock()
		if len(sender.sent) != len(want) {
			t.Fatalf("%d requests, want %d", len(sender.sent), len(want))
		}
		for i, in := range sender.sent {
			if got := aws.ToString(in.Entries[0].MessageAttributes["colour"].StringValue); got != want[i] {
				t.Errorf("request %d has the colour %q now, want %q", i, got, want[i])
			}
		}
	})
}
