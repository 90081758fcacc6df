package topology_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

func newTopic(name string) *sns.CreateTopicInput {
	return &sns.CreateTopicInput{Name: aws.String(name)}
}

func Example() {
	ctx := context.Background()
	awsConfig := aws.Config{ // of the emulator; config.Load gives the real one
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://emulator"),
		HTTPClient:   emulator.New(emulator.Config{}).Client(),
		Credentials:  credentials.NewStaticCredentialsProvider("any", "any", ""),
	}
	endpoints, err := queue.NewEndpoints("dev",
		queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"},
		queue.Endpoint{Name: "rides", URL: "sns://rides", Subscriptions: []queue.Subscription{{Endpoint: "fares"}}})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		plan, err := topology.NewPlan(ctx, topology.NewClients(awsConfig), endpoints)
		if err != nil {
			log.Fatal(err)
		}
		for _, step := range plan.Steps() {
			fmt.Println(step.Action, step.Kind, step.Name)
		}
		if err := plan.Apply(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// create queue sqs://dev-fares-dlq
	// create queue sqs://dev-fares
	// create topic sns://dev-rides
	// create permission sns://dev-rides -> sqs://dev-fares
	// create subscription sns://dev-rides -> sqs://dev-fares
	// keep queue sqs://dev-fares-dlq
	// keep queue sqs://dev-fares
	// keep topic sns://dev-rides
	// keep permission sns://dev-rides -> sqs://dev-fares
	// keep subscription sns://dev-rides -> sqs://dev-fares
}
