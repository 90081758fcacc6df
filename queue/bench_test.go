package queue_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmsqs "github.com/ThreeDotsLabs/watermill-aws/sqs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// BenchmarkHop moves messages from one queue to another and deletes them, in
// three ways: with this package under watermill's Router, with watermill-aws
// under the same Router, and with a loop on the bare SDK. The service is the
// emulator behind a socket, at once and with 8 ms a request, which is like the
// real one. It reports the requests a message and the messages a second.
func BenchmarkHop(b *testing.B) {
	mover := func(workers int) func(testing.TB, *server, int, func()) {
		return func(t testing.TB, s *server, n int, published func()) { watermillHop(t, s, workers, n, published) }
	}
	for _, delay := range []time.Duration{0, 8 * time.Millisecond} {
		for _, way := range []struct {
			name string
			move func(t testing.TB, s *server, n int, published func())
		}{
			{"waybill", func(t testing.TB, s *server, n int, published func()) { hop(t, s, nil, 0, n, published) }},
			{"bare-16", bareHop},
			{"watermill-aws", mover(1)},
			{"watermill-aws-16", mover(16)},
			{"watermill-aws-64", mover(64)},
		} {
			b.Run(fmt.Sprintf("delay=%v/%s", delay, way.name), func(b *testing.B) {
				s := behindSocket(b)
				s.createQueue(b, "in")
				s.createQueue(b, "out")
				fill(b, s, "in", b.N)
				s.emulator.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{Delay: delay} })
				before := requests(s)
				b.ResetTimer()
				way.move(b, s, b.N, b.StopTimer)
				b.ReportMetric(float64(requests(s)-before)/float64(b.N), "requests/msg")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// behindSocket returns an emulator that is reached through a loopback socket.
func behindSocket(t testing.TB) *server {
	t.Helper()
	e := emulator.New(emulator.Config{NoCooldowns: true})
	web := httptest.NewServer(e)
	t.Cleanup(web.Close)
	s := newServer("emulator", web.URL)
	s.emulator = e
	return s
}

func fill(t testing.TB, s *server, name string, n int) {
	t.Helper()
	p, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws})
	if err != nil {
		t.Fatal(err)
	}
	var all []*message.Message
	for i := range n {
		all = append(all, message.NewMessage(strconv.Itoa(i), []byte(`{"customerId":"c-1","fareAmount":"$20.00"}`)))
	}
	if err := p.Publish("sqs://"+name, all...); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// bareHop is what the SDK itself does with batches of ten.
func bareHop(t testing.TB, s *server, n int, published func()) {
	url := func(name string) *string {
		out, err := s.sqs.GetQueueUrl(background, &sqs.GetQueueUrlInput{QueueName: aws.String(name)})
		if err != nil {
			t.Fatal(err)
		}
		return out.QueueUrl
	}
	in, out := url("in"), url("out")
	var moved atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for moved.Load() < int64(n) {
				got, err := s.sqs.ReceiveMessage(background, &sqs.ReceiveMessageInput{QueueUrl: in, MaxNumberOfMessages: 10})
				if err != nil {
					t.Error(err)
					return
				}
				if len(got.Messages) == 0 {
					continue
				}
				send := &sqs.SendMessageBatchInput{QueueUrl: out}
				del := &sqs.DeleteMessageBatchInput{QueueUrl: in}
				for i, m := range got.Messages {
					send.Entries = append(send.Entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: m.Body})
					del.Entries = append(del.Entries, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
				}
				if _, err := s.sqs.SendMessageBatch(background, send); err != nil {
					t.Error(err)
					return
				}
				if _, err := s.sqs.DeleteMessageBatch(background, del); err != nil {
					t.Error(err)
					return
				}
				moved.Add(int64(len(got.Messages)))
			}
		})
	}
	wg.Wait()
	published()
}

func watermillHop(t testing.TB, s *server, workers, n int, published func()) {
	pub, err := wmsqs.NewPublisher(wmsqs.PublisherConfig{AWSConfig: s.aws}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := wmsqs.SubscriberConfig{AWSConfig: s.aws, ConsumeWorkers: workers}
	if workers > 1 {
		cfg.GenerateReceiveMessageInput = func(ctx context.Context, url wmsqs.QueueURL) (*sqs.ReceiveMessageInput, error) {
			in, err := wmsqs.GenerateReceiveMessageInputDefault(ctx, url)
			in.MaxNumberOfMessages = 10
			return in, err
		}
	}
	sub, err := wmsqs.NewSubscriber(cfg, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	route(t, sub, "in", pub, "out", 0, n, published)
}
