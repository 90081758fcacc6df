package topology_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

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

// emulated is the configuration of an emulator; config.Load gives the real one.
func emulated() aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://emulator"),
		HTTPClient:   emulator.New(emulator.Config{}).Client(),
		Credentials:  credentials.NewStaticCredentialsProvider("any", "any", ""),
	}
}

func Example() {
	ctx := context.Background()
	awsConfig := emulated()
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

func ExampleCheck() {
	ctx := context.Background()
	clients := topology.NewClients(emulated())
	endpoints, err := queue.NewEndpoints("dev",
		queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq", DeadLetterRetention: 24 * time.Hour},
		queue.Endpoint{Name: "rides", URL: "sqs://rides", DeadLetter: "sqs://rides-dlq", MaxReceiveCount: 1})
	if err != nil {
		log.Fatal(err)
	}
	plan, err := topology.NewPlan(ctx, clients, endpoints)
	if err != nil {
		log.Fatal(err)
	}
	if err := plan.Apply(ctx); err != nil {
		log.Fatal(err)
	}
	findings, err := topology.Check(ctx, clients, endpoints, topology.CheckConfig{
		HandlerTimeouts: map[string]time.Duration{"rides": time.Minute},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		fmt.Println(f.Severity, f.Endpoint, f.Rule, f.Apply)
		fmt.Println("   ", f.Remedy)
	}
	// Output:
	// error fares dead-letter-retention leaves
	//     set dead_letter_retention to 14d
	// warning rides max-receive-count leaves
	//     set max_receive_count to 3 or more
	// warning rides visibility leaves
	//     set visibility to 1m or more
}

func ExamplePlan_Alarms() {
	endpoints, err := queue.NewEndpoints("dev", queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"})
	if err != nil {
		log.Fatal(err)
	}
	plan, err := topology.NewPlan(context.Background(), topology.NewClients(emulated()), endpoints)
	if err != nil {
		log.Fatal(err)
	}
	alarms, err := plan.Alarms(topology.AlarmConfig{Actions: []string{"arn:aws:sns:us-east-1:123456789012:alarms"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range alarms {
		fmt.Println(a.Region, a.AlarmName, a.MetricName, a.Threshold)
	}
	text, err := json.Marshal(alarms[1].Dimensions) // an Alarm itself is the input of PutMetricAlarm
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
	// Output:
	// us-east-1 waybill-dev-fares-dlq-age ApproximateAgeOfOldestMessage 648000
	// us-east-1 waybill-dev-fares-dlq-depth ApproximateNumberOfMessagesVisible 0
	// [{"Name":"QueueName","Value":"dev-fares-dlq"}]
}
