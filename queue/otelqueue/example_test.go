package otelqueue_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/otelqueue"
)

// A message is handled in the trace that it was published in.
func Example() {
	ctx := context.Background()
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://emulator"),
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""),
		HTTPClient:  emulator.New(emulator.Config{}).Client(),
	}
	if _, err := sqs.NewFromConfig(cfg).CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("fares")}); err != nil {
		log.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder() // a program has an exporter
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))

	tracer := otelqueue.New(otelqueue.Config{TracerProvider: provider})
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Tracer: tracer})
	if err != nil {
		log.Fatal(err)
	}
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Tracer: tracer})
	if err != nil {
		log.Fatal(err)
	}
	fares, err := sub.Subscribe(ctx, "sqs://fares")
	if err != nil {
		log.Fatal(err)
	}

	published, span := provider.Tracer("rides").Start(ctx, "end of the ride")
	msg := message.NewMessage("fare-1", []byte(`{"cents": 730}`))
	msg.SetContext(published)
	if err := pub.Publish("sqs://fares", msg); err != nil {
		log.Fatal(err)
	}
	span.End()

	received := <-fares
	_, work := provider.Tracer("payments").Start(received.Context(), "charge")
	work.End()
	received.Ack()
	if err := sub.Close(); err != nil {
		log.Fatal(err)
	}
	if err := pub.Close(); err != nil {
		log.Fatal(err)
	}

	byID := map[trace.SpanID]sdk.ReadOnlySpan{}
	for _, s := range spans.Ended() {
		byID[s.SpanContext().SpanID()] = s
	}
	for s := byID[work.SpanContext().SpanID()]; s != nil; s = byID[s.Parent().SpanID()] {
		fmt.Println(s.Name())
	}
	// Output:
	// charge
	// process fares
	// create fares
	// end of the ride
}
