package dlq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// exampleConfig returns the configuration of an SQS in this process, with a
// dead-letter queue that holds three messages.
func exampleConfig(ctx context.Context) aws.Config {
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://emulator"),
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""),
		HTTPClient:  emulator.New(emulator.Config{}).Client(),
	}
	client := sqs.NewFromConfig(cfg)
	dead, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("fares-dlq")})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("fares"), Attributes: map[string]string{
		"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:fares-dlq","maxReceiveCount":5}`,
	}}); err != nil {
		log.Fatal(err)
	}
	for _, body := range []string{`{"fare":"f1","amount":20}`, `{"fare":"f2","amount":-3}`, `{"fare":"f3","amount":40}`} {
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: dead.QueueUrl, MessageBody: &body}); err != nil {
			log.Fatal(err)
		}
	}
	return cfg
}

func exampleClient(ctx context.Context) *dlq.Client {
	queues, err := queue.NewAdmin(queue.AdminConfig{AWS: exampleConfig(ctx)})
	if err != nil {
		log.Fatal(err)
	}
	c, err := dlq.New(dlq.Config{Queues: queues})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// Redrive what is fine, and mend the rest on its way.
func Example() {
	ctx := context.Background()
	c := exampleClient(ctx)
	fine, err := dlq.ParseFilter(`.body.amount > 0`)
	if err != nil {
		log.Fatal(err)
	}
	report, err := c.Redrive(ctx, dlq.Options{From: "fares-dlq", Filter: fine})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent", report.Sent, "left", report.Remaining)

	report, err = c.Redrive(ctx, dlq.Options{From: "fares-dlq", Edit: func(_ context.Context, l *dlq.Letter) error {
		l.Body = bytes.ReplaceAll(l.Body, []byte("-3"), []byte("3"))
		return nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent", report.Sent, "left", report.Remaining)
	// Output:
	// sent 2 left 1
	// sent 1 left 0
}

func ExampleClient_List() {
	ctx := context.Background()
	list, err := exampleClient(ctx).List(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, q := range list {
		fmt.Println(q.Name, q.Messages, q.Sources)
	}
	// Output: fares-dlq 3 [{fares  5}]
}

func ExampleClient_Peek() {
	ctx := context.Background()
	letters, err := exampleClient(ctx).Peek(ctx, "fares-dlq", 1)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range letters {
		fmt.Printf("%s received %d times, recorded failure: %v\n", l.Body, l.ReceiveCount, l.Failure != nil)
	}
	// Output: {"fare":"f1","amount":20} received 0 times, recorded failure: false
}

func ExampleClient_Groups() {
	ctx := context.Background()
	causes, err := exampleClient(ctx).Groups(ctx, "fares-dlq", dlq.GroupOptions{By: []dlq.Dimension{dlq.ByReason, dlq.ByBody}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(causes.Seen, "of", causes.Total, "looked at")
	for _, g := range causes.Groups {
		fmt.Println(g.Count, g.Key[dlq.ByReason], g.Key[dlq.ByBody])
	}
	// Output:
	// 3 of 3 looked at
	// 3 unrecorded {amount: number, fare: string}
}

func ExampleClient_Show() {
	ctx := context.Background()
	_, err := exampleClient(ctx).Show(ctx, "fares-dlq", "f4", 0)
	fmt.Println(errors.Is(err, dlq.ErrNoMessage), err)
	// Output: true dlq: message "f4" is not among the 3 messages of "fares-dlq" that were looked at
}

func ExampleParseEdit() {
	ctx := context.Background()
	mend, err := dlq.ParseEdit(`if .body.amount < 0 then .body.amount |= -. else empty end`)
	if err != nil {
		log.Fatal(err)
	}
	report, err := exampleClient(ctx).Redrive(ctx, dlq.Options{From: "fares-dlq", Edit: mend.Apply, DryRun: true, Diffs: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("would be sent", report.WouldSend, "and stay", report.Skipped)
	_, lines, _ := strings.Cut(report.Diffs[0].Text, "@@\n") // before it is the message's id
	fmt.Print(lines)
	// Output:
	// would be sent 1 and stay 2
	//  body:
	//  {
	// -  "amount": -3,
	// +  "amount": 3,
	//    "fare": "f2"
	//  }
}

// printer is a publisher that prints.
type printer struct{ printed func() }

func (p printer) Publish(endpoint string, messages ...*message.Message) error {
	for _, m := range messages {
		var n dlq.Notice
		if err := json.Unmarshal(m.Payload, &n); err != nil {
			return err
		}
		fmt.Printf("to %s: %s of %s is %s, at %d\n", endpoint, n.Alarm, n.Queue, n.Event, n.Value)
		p.printed()
	}
	return nil
}

func (printer) Close() error { return nil }

// A queue.Publisher takes the place of the printer, with an endpoint that is a topic.
func ExampleClient_NewWatcher() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w, err := exampleClient(ctx).NewWatcher(dlq.WatchConfig{
		Interval: time.Second, Limits: dlq.Limits{Depth: 3}, Publisher: printer{printed: cancel}, Endpoint: "alarms",
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(ctx); err != nil { // until it is told to end, here by the printer
		log.Fatal(err)
	}
	// Output: to alarms: depth of fares-dlq is raised, at 3
}
