package waybilltest_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/waybilltest"
)

// A queue whose policy does not let the topic send gets nothing, as on AWS, also
// where the emulator is configured otherwise.
func TestTopicsNeedAPolicy(t *testing.T) {
	stack := waybilltest.Start(t, waybilltest.NoSockets(), waybilltest.Emulator(emulator.Config{NoCooldowns: true}))
	endpoints := stack.Apply(t, fares...)
	publisher := stack.Publisher(t, endpoints)
	client := sqs.NewFromConfig(stack.AWS)
	queue, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("test-fares")})
	if err != nil {
		t.Fatal(err)
	}
	received := func() int {
		msg := message.NewMessage("1", []byte("hello"))
		msg.Metadata.Set("long", "yes")
		if err := publisher.Publish("rides", msg); err != nil {
			t.Fatal(err)
		}
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Messages)
	}
	if n := received(); n != 1 {
		t.Errorf("received %d messages under the policy that Apply wrote, want 1", n)
	}
	if _, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: queue.QueueUrl, Attributes: map[string]string{"Policy": ""}}); err != nil {
		t.Fatal(err)
	}
	if n := received(); n != 0 {
		t.Errorf("received %d messages without a policy, want none", n)
	}
}
