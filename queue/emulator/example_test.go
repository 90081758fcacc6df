package emulator_test

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// An SDK in the same process uses the server without a port.
func Example() {
	ctx := context.Background()
	server := emulator.New(emulator.Config{})
	client := sqs.NewFromConfig(aws.Config{
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("any", "thing", ""),
		BaseEndpoint: aws.String("http://emulator"),
		HTTPClient:   server.Client(),
	})

	queue, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("rides")})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: aws.String("ride 7")})
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*queue.QueueUrl, *got.Messages[0].Body)
	// Output:
	// http://emulator/000000000000/rides ride 7
}

// A fault hook makes the second send fail as a throttled service would.
func ExampleServer_SetFault() {
	ctx := context.Background()
	server := emulator.New(emulator.Config{})
	server.SetFault(func(r emulator.Request) emulator.Fault {
		if r.Operation == "SendMessage" && r.Number == 2 {
			return emulator.Fault{Err: &emulator.Error{Code: "RequestThrottled", Message: "Rate exceeded", Status: 403}}
		}
		return emulator.Fault{}
	})
	client := sqs.NewFromConfig(aws.Config{
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("any", "thing", ""),
		BaseEndpoint: aws.String("http://emulator"),
		HTTPClient:   server.Client(),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	})

	queue, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("rides")})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: aws.String("x")})
		fmt.Println(err == nil)
	}
	fmt.Println(server.Requests())
	// Output:
	// true
	// false
	// true
	// map[sqs.CreateQueue:1 sqs.SendMessage:3]
}

// One in ten sends is carried out and not answered, so that the sender has to try again.
func ExampleFaults() {
	server := emulator.New(emulator.Config{Fault: emulator.Faults(1, emulator.FaultRule{
		Operation:   "SendMessage*",
		Resource:    "fares",
		Probability: 0.1,
		Fault:       emulator.Fault{DropAnswer: true},
	})})
	cfg := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://emulator"),
		Credentials:  aws.AnonymousCredentials{},
		HTTPClient:   server.Client(),
	}
	client := sqs.NewFromConfig(cfg)
	ctx := context.Background()
	queue, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("fares")})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 20 {
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: aws.String("x")}); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("sends:", server.Requests()["sqs.SendMessage"] > 20)
	// Output: sends: true
}
