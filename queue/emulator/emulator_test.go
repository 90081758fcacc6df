package emulator_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// awsConfig returns a configuration that reaches the server without a socket.
func awsConfig(s *emulator.Server) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://emulator"),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   s.Client(),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

type sqsAttribute = sqstypes.QueueAttributeName

// newSQS returns a server with a client of its SQS.
func newSQS(t *testing.T, cfg emulator.Config) (*emulator.Server, *sqs.Client) {
	t.Helper()
	s := emulator.New(cfg)
	return s, sqs.NewFromConfig(awsConfig(s))
}

// createQueue makes a queue with attributes given as name, value, name, value.
func createQueue(t *testing.T, c *sqs.Client, name string, attributes ...string) string {
	t.Helper()
	in := &sqs.CreateQueueInput{QueueName: &name, Attributes: make(map[string]string)}
	for i := 0; i < len(attributes); i += 2 {
		in.Attributes[attributes[i]] = attributes[i+1]
	}
	out, err := c.CreateQueue(t.Context(), in)
	if err != nil {
		t.Fatalf("CreateQueue(%s): %v", name, err)
	}
	return *out.QueueUrl
}

func send(t *testing.T, c *sqs.Client, url, body string) string {
	t.Helper()
	out, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body})
	if err != nil {
		t.Errorf("SendMessage: %v", err)
		return ""
	}
	return *out.MessageId
}

// receive receives up to ten messages with all their attributes.
func receive(t *testing.T, c *sqs.Client, url string, edit ...func(*sqs.ReceiveMessageInput)) []sqstypes.Message {
	t.Helper()
	in := &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: 10,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
	}
	for _, f := range edit {
		f(in)
	}
	out, err := c.ReceiveMessage(t.Context(), in)
	if err != nil {
		t.Errorf("ReceiveMessage: %v", err)
		return nil
	}
	return out.Messages
}

func TestRoundTrip(t *testing.T) {
	_, c := newSQS(t, emulator.Config{})
	url := createQueue(t, c, "q")
	_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("hello \"world\"\n\u2028 <&> \U0001F600"),
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{
			"s": {DataType: aws.String("String"), StringValue: aws.String("v")},
			"n": {DataType: aws.String("Number.int"), StringValue: aws.String("12")},
			"b": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 2, 255}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := receive(t, c, url)
	if len(got) != 1 || *got[0].Body != "hello \"world\"\n\u2028 <&> \U0001F600" || len(got[0].MessageAttributes) != 3 {
		t.Fatalf("received %+v", got)
	}
	if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: got[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c, url); len(got) != 0 {
		t.Fatalf("received %d after the deletion", len(got))
	}
}

func TestPublish(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	topics := sns.NewFromConfig(awsConfig(s))
	ctx := t.Context()
	topic, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	url := createQueue(t, c, "q")
	sub, err := topics.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:000000000000:q"),
		Attributes: map[string]string{"FilterPolicy": `{"a":["x"]}`}, ReturnSubscriptionArn: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Publish(ctx, &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("no")}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c, url); len(got) != 0 {
		t.Fatalf("received %d", len(got))
	}
	if _, err := topics.SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{SubscriptionArn: sub.SubscriptionArn, AttributeName: aws.String("FilterPolicy"), AttributeValue: aws.String("{}")}); err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Publish(ctx, &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("yes")}); err != nil {
		t.Fatal(err)
	}
	got := receive(t, c, url)
	if len(got) != 1 {
		t.Fatalf("received %d", len(got))
	}
}
