package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// exampleConfig returns the configuration of an embedded SQS with the given
// queues. In production it is config.LoadDefaultConfig's.
func exampleConfig(queues ...string) aws.Config {
	cfg := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://sqs.test"),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   emulator.New(emulator.Config{}).Client(),
	}
	client := sqs.NewFromConfig(cfg)
	for _, name := range queues {
		if _, err := client.CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: aws.String(name)}); err != nil {
			log.Fatal(err)
		}
	}
	return cfg
}

func Example() {
	cfg := exampleConfig("dev-fares")
	endpoints, err := queue.NewEndpoints("dev", queue.Endpoint{Name: "fares", URL: "sqs://fares"})
	if err != nil {
		log.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Endpoints: endpoints})
	if err != nil {
		log.Fatal(err)
	}
	defer pub.Close()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Endpoints: endpoints})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()

	msg := message.NewMessage("ride-1", []byte(`{"fareAmount":"$20.00"}`))
	msg.Metadata.Set("city", "Zagreb")
	if err := pub.Publish("fares", msg); err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	messages, err := sub.Subscribe(ctx, "fares")
	if err != nil {
		log.Fatal(err)
	}
	for msg := range messages {
		d := queue.FromContext(msg.Context())
		fmt.Printf("%s %s from %s, receive %d\n", msg.UUID, msg.Payload, msg.Metadata.Get("city"), d.ReceiveCount)
		msg.Ack()
		cancel() // drains, and closes the channel
	}
	// Output: ride-1 {"fareAmount":"$20.00"} from Zagreb, receive 1
}

func ExampleEndpoints_Resolve() {
	endpoints, err := queue.NewEndpoints("staging",
		queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"})
	if err != nil {
		log.Fatal(err)
	}
	e, _ := endpoints.Resolve("fares")
	fmt.Println(e.URL, e.DeadLetter, e.Visibility, e.MaxReceiveCount)

	_, err = endpoints.Resolve("payments")
	fmt.Println(errors.Is(err, queue.ErrUnknownEndpoint))
	fmt.Println(err)
	// Output:
	// sqs://staging-fares sqs://staging-fares-dlq 30s 5
	// true
	// endpoint "payments" is not configured (fares are); add endpoints.payments.url: sqs://payments to the configuration file, or set WAYBILL_ENDPOINTS_PAYMENTS_URL
}

func ExamplePublishError() {
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: exampleConfig("fares")})
	if err != nil {
		log.Fatal(err)
	}
	defer pub.Close()
	ok := message.NewMessage("ride-1", []byte("{}"))
	large := message.NewMessage("ride-2", make([]byte, 2<<20))
	err = pub.Publish("sqs://fares", ok, large)
	var failed *queue.PublishError
	if errors.As(err, &failed) {
		for _, f := range failed.Failed {
			fmt.Println(f.Index, f.UUID, errors.Is(f.Err, queue.ErrTooLarge))
		}
	}
	// Output: 1 ride-2 true
}

func ExampleDelivery_Retry() {
	handle := func(msg *message.Message) {
		err := errors.New("the payment provider is down until 14:00")
		queue.FromContext(msg.Context()).Retry(20*time.Minute, err.Error())
		msg.Nack()
	}
	handle(message.NewMessage("ride-1", nil))
	// Output:
}

func ExampleSetNumber() {
	msg := message.NewMessage("ride-1", nil)
	queue.SetNumber(msg, "fare", 72.5)
	// SNS can now filter with {"fare": [{"numeric": [">=", 50]}]}.
	fmt.Println(msg.Metadata.Get("fare"), msg.Metadata.Get(queue.KeyTypes))
	// Output: 72.5 fare=Number
}

func ExampleFailure() {
	cause := fmt.Errorf("charge ride-1: %w", errors.New("card expired"))
	f := queue.NewFailure(queue.ReasonPermanent, cause)
	f.Filter, f.Source = "charge", "sqs://fares"

	msg := message.NewMessage("ride-1", []byte("{}"))
	if err := f.Attach(msg, queue.Endpoint{Name: "fares-dlq", URL: "sqs://fares-dlq"}); err != nil {
		log.Fatal(err)
	}
	got, _, err := queue.DecodeFailure(msg.Metadata)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Reason, "in", got.Filter, "from", got.Source)
	for _, link := range got.Chain {
		fmt.Println(link)
	}
	// Output:
	// permanent in charge from sqs://fares
	// *fmt.wrapError: charge ride-1: card expired
	// *errors.errorString: card expired
}

func ExampleStats() {
	stats := new(queue.Stats)
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: exampleConfig("fares"), Stats: stats})
	if err != nil {
		log.Fatal(err)
	}
	defer pub.Close()
	var messages []*message.Message
	for i := range 30 {
		messages = append(messages, message.NewMessage(fmt.Sprint(i), []byte("{}")))
	}
	if err := pub.Publish("sqs://fares", messages...); err != nil {
		log.Fatal(err)
	}
	f := stats.Figures()
	fmt.Println(f.Sent, "messages in", f.Requests["SendMessageBatch"], "requests")
	// Output: 30 messages in 3 requests
}

// A breaker stops receiving while the provider that the handler calls is down.
func ExampleBreaker() {
	provider := queue.NewBreaker(queue.BreakerConfig{
		Failures: 3,
		Cooldown: 30 * time.Second,
		OnChange: func(s queue.BreakerState) { fmt.Println("provider:", s) },
	})
	_ = queue.SubscriberConfig{
		// AWS, Endpoints, ...
		BreakerFor: func(e queue.Endpoint) *queue.Breaker {
			if e.Name == "fares" {
				return provider
			}
			return nil
		},
	}
	// The handler of fares reports what it sees.
	for range 3 {
		provider.Report(errors.New("503 Service Unavailable"))
	}
	provider.Reset() // as an operator might
	// Output:
	// provider: open
	// provider: closed
}
