package waybilltest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/waybilltest"
)

// In a test, Start takes the place of Open and Close.
func Example() {
	ctx := context.Background()
	stack, err := waybilltest.Open(ctx, waybilltest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer stack.Close()

	client := sqs.NewFromConfig(stack.AWS)
	q, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("fares")})
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: q.QueueUrl, MessageBody: aws.String("hello")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stack.Emulator.Requests()["sqs.SendMessage"])
	// Output:
	// 1
}
