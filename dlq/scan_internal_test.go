package dlq

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestScanKeepsNoBodies holds that of the messages that a scan has seen it keeps
// only what returns them, so that a queue of large ones fits into memory.
func TestScanKeepsNoBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := aws.Config{
			Region: "us-east-1", BaseEndpoint: aws.String("http://emulator"), HTTPClient: emulator.New(emulator.Config{}).Client(),
			Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""),
		}
		client := sqs.NewFromConfig(cfg)
		out, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
		if err != nil {
			t.Fatal(err)
		}
		const n = 100
		for range n {
			if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: aws.String("body")}); err != nil {
				t.Fatal(err)
			}
		}
		queues, err := queue.NewAdmin(queue.AdminConfig{AWS: cfg})
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(Config{Queues: queues})
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.newScan(t.Context(), "q", "look at", 0)
		if err != nil {
			t.Fatal(err)
		}
		seen, held, most := make(chan struct{}, n), 0, 0
		if err := s.run(t.Context(), "look at", func(*Letter) bool {
			seen <- struct{}{}
			s.hold.mu.Lock()
			defer s.hold.mu.Unlock()
			whole := 0
			for _, m := range s.hold.held {
				if m.raw.Body != "" || m.raw.Attributes != nil {
					whole++
				}
			}
			held, most = max(held, len(s.hold.held)), max(most, whole)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if len(seen) != n || held != n || most > 0 {
			t.Errorf("%d seen, %d held, and %d bodies of those kept; want none", len(seen), held, most)
		}
	})
}

// TestHoldReturnsInTime holds that many messages are returned within the time
// there is for it, and kept hidden until then.
func TestHoldReturnsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := emulator.New(emulator.Config{})
		e.SetFault(func(r emulator.Request) (f emulator.Fault) {
			if r.Operation == "ChangeMessageVisibilityBatch" {
				f.Delay = 100 * time.Millisecond
			}
			return f
		})
		cfg := aws.Config{
			Region: "us-east-1", BaseEndpoint: aws.String("http://emulator"), HTTPClient: e.Client(),
			Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""),
		}
		client := sqs.NewFromConfig(cfg)
		out, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
		if err != nil {
			t.Fatal(err)
		}
		const n = 5000 // 500 calls: 50 seconds, if one after the other
		for range n {
			if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: aws.String("body")}); err != nil {
				t.Fatal(err)
			}
		}
		queues, err := queue.NewAdmin(queue.AdminConfig{AWS: cfg})
		if err != nil {
			t.Fatal(err)
		}
		q, err := queues.Queue(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		h := newHold(q, shelf{}, time.Hour, slog.New(slog.DiscardHandler))
		for range n / batchSize {
			if letters, err := h.receive(t.Context(), batchSize); err != nil || len(letters) != batchSize {
				t.Fatalf("%d letters, %v", len(letters), err)
			}
		}
		h.release(context.WithoutCancel(t.Context()))
		a, err := q.Attributes(t.Context())
		if err != nil || a.Visible != n {
			t.Errorf("%d of %d are returned, %v", a.Visible, n, err)
		}
	})
}
