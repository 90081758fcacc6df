package otelqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/otelqueue"
)

// TestRequestsPerHop holds that traces take no requests: a hop under backlog has
// as many as without.
func TestRequestsPerHop(t *testing.T) {
	const messages = 1000
	requests := map[bool]int64{}
	for _, traced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			in, _ := b.queue()
			out, _ := b.queue()
			var batch []*message.Message
			for i := range messages {
				batch = append(batch, newMessage(fmt.Sprint(i)))
			}
			var tracer *otelqueue.Tracer
			if traced {
				tracer = b.tracer()
			}
			b.publish(b.publisher(tracer), laden(t, t.Context()), in, batch...)
			pub, sub := b.publisher(tracer), b.subscriber(tracer, func(c *queue.SubscriberConfig) { c.DeleteLinger = 0 })
			p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub})
			if err != nil {
				t.Fatal(err)
			}
			p.Handle("hop", pipeline.Func(func(_ context.Context, in string) (string, error) { return in, nil }), pipeline.From("sqs://"+in), pipeline.To("sqs://"+out))
			before := b.emulator.Requests()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			time.Sleep(10 * time.Second)
			cancel()
			if err := errors.Join(<-done, sub.Close(), pub.Close()); err != nil {
				t.Fatal(err)
			}
			for operation, n := range b.emulator.Requests() {
				if strings.HasSuffix(operation, "Batch") || strings.HasSuffix(operation, "ReceiveMessage") {
					requests[traced] += n - before[operation]
				}
			}
			if traced {
				if n := len(b.named("create " + out)); n != messages {
					t.Errorf("%d messages were traced, want %d", n, messages)
				}
				b.ended()
			}
		})
	}
	t.Logf("%d requests for %d messages without traces, %d with", requests[false], messages, requests[true])
	if requests[true] > messages*31/100 || requests[true] > requests[false]+5 {
		t.Errorf("%d requests for %d messages with traces, and %d without", requests[true], messages, requests[false])
	}
}

// BenchmarkTraces publishes ten messages in a call, and receives them, without a
// tracer, with one whose spans are not sampled, and with all spans.
func BenchmarkTraces(b *testing.B) {
	for _, tt := range []struct {
		name   string
		tracer *otelqueue.Tracer
	}{
		{"off", nil},
		{"unsampled", otelqueue.New(otelqueue.Config{TracerProvider: sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample()))})},
		{"on", otelqueue.New(otelqueue.Config{TracerProvider: sdk.NewTracerProvider()})},
	} {
		b.Run(tt.name, func(b *testing.B) {
			cfg := aws.Config{
				Region: "us-east-1", BaseEndpoint: aws.String("http://emulator.test"),
				Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
				HTTPClient:  emulator.New(emulator.Config{}).Client(),
			}
			if _, err := sqs.NewFromConfig(cfg).CreateQueue(b.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")}); err != nil {
				b.Fatal(err)
			}
			pubConfig, subConfig := queue.PublisherConfig{AWS: cfg}, queue.SubscriberConfig{AWS: cfg, ReceiveGrace: time.Millisecond}
			if tt.tracer != nil {
				pubConfig.Tracer, subConfig.Tracer = tt.tracer, tt.tracer
			}
			pub, err := queue.NewPublisher(pubConfig)
			if err != nil {
				b.Fatal(err)
			}
			sub, err := queue.NewSubscriber(subConfig)
			if err != nil {
				b.Fatal(err)
			}
			ch, err := sub.Subscribe(b.Context(), "sqs://q")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				batch := make([]*message.Message, 10)
				for i := range batch {
					batch[i] = newMessage("m")
				}
				if err := pub.Publish("sqs://q", batch...); err != nil {
					b.Fatal(err)
				}
				for range batch {
					(<-ch).Ack()
				}
			}
			if err := errors.Join(sub.Close(), pub.Close()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
