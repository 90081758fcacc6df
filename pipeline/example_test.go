package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

type ride struct {
	ID       string
	Distance int
}

type bill struct {
	Ride   string
	Amount int
}

func price(_ context.Context, r ride) (bill, error) {
	if r.Distance < 0 {
		return bill{}, pipeline.Permanent(fmt.Errorf("ride %s has distance %d", r.ID, r.Distance))
	}
	return bill{Ride: r.ID, Amount: 3 * r.Distance}, nil
}

func addTax(_ context.Context, b bill) (bill, error) {
	b.Amount += b.Amount / 5
	return b, nil
}

// Two filters in a row, on watermill's Pub/Sub in memory. With package queue
// the names are endpoints.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	pubsub := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	p, err := pipeline.New(pipeline.Config{Publisher: pubsub, Subscriber: pubsub})
	if err != nil {
		log.Fatal(err)
	}
	p.Handle("price", pipeline.Func(price), pipeline.From("rides"), pipeline.To("bills"))
	p.Handle("tax", pipeline.Func(addTax), pipeline.From("bills"), pipeline.To("taxed"))
	p.Handle("print", pipeline.Sink(func(_ context.Context, b bill) error {
		fmt.Println(b.Ride, b.Amount)
		stop()
		return nil
	}), pipeline.From("taxed"))

	if err := pubsub.Publish("rides", message.NewMessage("m1", []byte(`{"ID": "r1", "Distance": 10}`))); err != nil {
		log.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: r1 36
}

// Configuration puts the same filters into another order.
func ExampleWiring() {
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	p, err := pipeline.New(pipeline.Config{
		Publisher: pubsub, Subscriber: pubsub,
		Wiring: pipeline.Wiring{
			"tax":      {From: "bills", To: []string{"taxed"}},
			"discount": {From: "taxed", To: []string{"final", "audit"}},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	discount := func(_ context.Context, b bill) (bill, error) { return b, nil }
	p.Handle("discount", pipeline.Func(discount), pipeline.From("bills"), pipeline.To("discounted"))
	p.Handle("tax", pipeline.Func(addTax), pipeline.From("discounted"), pipeline.To("final"))
	for _, name := range p.Filters() {
		r, _ := p.Route(name)
		fmt.Println(name, r.From, r.To)
	}
	// Output:
	// discount taxed [final audit]
	// tax bills [taxed]
}

// A filter sees the rest of its message through the context. Here it sets an
// attribute that the filters of a topic's subscriptions match on.
func ExampleFromContext() {
	announce := func(ctx context.Context, b bill) (bill, error) {
		call := pipeline.FromContext(ctx)
		call.Set("IsSuccessful", "true")
		call.SetNumber("amount", float64(b.Amount))
		return b, nil
	}
	_, err := announce(context.Background(), bill{Ride: "r1", Amount: 30}) // a filter is a function
	fmt.Println(err)
	// Output: <nil>
}

// The general form of a filter chooses an outlet for each output.
func ExampleMessages() {
	big := pipeline.Messages(func(_ context.Context, in pipeline.Msg[bill]) ([]pipeline.Msg[bill], error) {
		out := pipeline.Msg[bill]{Body: in.Body}
		if in.Body.Amount >= 100 {
			out.Outlet = "large"
		}
		return []pipeline.Msg[bill]{out}, nil
	})
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	p, err := pipeline.New(pipeline.Config{Publisher: pubsub, Subscriber: pubsub})
	if err != nil {
		log.Fatal(err)
	}
	p.Handle("sort", big, pipeline.From("bills"), pipeline.To("small"), pipeline.Outlet("large", "approval"))
	r, _ := p.Route("sort")
	fmt.Println(r.To, r.Outlets)
	// Output: [small] map[large:[approval]]
}

// An idempotent filter handles a message once, however often it comes.
func ExampleIdempotent() {
	records := memstore.New(memstore.Config{}) // redisstore in earnest
	pubsub := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	p, err := pipeline.New(pipeline.Config{Publisher: pubsub, Subscriber: pubsub})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.Handle("price", pipeline.Func(func(ctx context.Context, r ride) (bill, error) {
		fmt.Println("pricing", r.ID)
		return price(ctx, r)
	}), pipeline.From("rides"), pipeline.To("bills"), pipeline.Use(pipeline.Idempotent(store.Once{Records: records})))
	received := 0
	p.Handle("count", pipeline.Sink(func(context.Context, bill) error {
		if received++; received == 2 {
			stop()
		}
		return nil
	}), pipeline.From("bills"))

	for range 2 {
		if err := pubsub.Publish("rides", message.NewMessage("m1", []byte(`{"ID": "r1", "Distance": 10}`))); err != nil {
			log.Fatal(err)
		}
	}
	if err := p.Run(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("outputs:", received)
	// Output:
	// pricing r1
	// outputs: 2
}

func ExamplePermanent() {
	err := fmt.Errorf("charge: %w", pipeline.Permanent(errors.New("card expired")))
	fmt.Println(err, pipeline.IsPermanent(err))
	// Output: charge: card expired true
}

// A pipeline over SQS: the set of endpoints is the same for all three.
func ExampleNew() {
	endpoints, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "rides", URL: "sqs://rides", DeadLetter: "sqs://rides-dlq"},
		queue.Endpoint{Name: "bills", URL: "sqs://bills", DeadLetter: "sqs://bills-dlq"},
	)
	if err != nil {
		log.Fatal(err)
	}
	cfg := awsConfig() // as config.LoadDefaultConfig gives it
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Endpoints: endpoints})
	if err != nil {
		log.Fatal(err)
	}
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Endpoints: endpoints, DeliverUndecodable: true})
	if err != nil {
		log.Fatal(err)
	}
	p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints})
	if err != nil {
		log.Fatal(err)
	}
	p.Handle("price", pipeline.Func(price), pipeline.From("rides"), pipeline.To("bills"))
	fmt.Println(p.Filters())
	// Output: [price]
}

func awsConfig() aws.Config { return aws.Config{Region: "us-east-1"} }
