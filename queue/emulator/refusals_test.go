package emulator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// What the server does not have, and what it knows to be wrong beyond the table of conformance, it refuses
// with an error that names the thing.
func TestRefusals(t *testing.T) {
	s, queues := newSQS(t, emulator.Config{})
	topics := sns.NewFromConfig(awsConfig(s))
	url := createQueue(t, queues, "q")
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{
		Name: aws.String("t"), Attributes: map[string]string{"DisplayName": "Rides"}, Tags: []snstypes.Tag{{Key: aws.String("a"), Value: aws.String("1")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:000000000000:q"),
	})
	if err != nil {
		t.Fatal(err)
	}

	create := func(name string, attributes ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: pairs(attributes)})
			return err
		}
	}
	createTopic := func(name string, attributes ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: pairs(attributes)})
			return err
		}
	}
	publish := func(edit func(*sns.PublishInput)) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("x")}
			edit(in)
			_, err := topics.Publish(ctx, in)
			return err
		}
	}
	subscribe := func(protocol, endpoint string, attributes ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := topics.Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: &protocol, Endpoint: &endpoint, Attributes: pairs(attributes)})
			return err
		}
	}
	const q2 = "arn:aws:sqs:us-east-1:000000000000:q2"
	manyTags := make(map[string]string)
	for i := range 51 {
		manyTags[fmt.Sprint(i)] = ""
	}

	for _, c := range []struct {
		name     string
		call     func(context.Context) error
		code     string
		contains string
	}{
		{"the name of a FIFO queue", create("q.fifo"), "InvalidParameterValue", "1 to 80 in length"},
		{"FifoQueue of another queue", create("other", "FifoQueue", "true"), "InvalidParameterValue", "must end with .fifo suffix"},
		{"a scope of another queue", create("other", "DeduplicationScope", "queue"), "InvalidAttributeName", "only when FifoQueue is set to true"},
		{"a scope that is none", create("other.fifo", "FifoQueue", "true", "DeduplicationScope", "x"), "InvalidAttributeValue", "queue or messageGroup"},
		{"a limit that its scope forbids", create("other.fifo", "FifoQueue", "true", "FifoThroughputLimit", "perMessageGroupId"), "InvalidAttributeValue", "DeduplicationScope is messageGroup"},
		{"FifoQueue false", create("other", "FifoQueue", "false"), "InvalidAttributeName", "FifoQueue"},
		{"no queue name", create(""), "MissingParameter", "QueueName"},
		{"a policy that is none", create("other", "Policy", "x"), "InvalidAttributeValue", "Policy"},
		{"a switch that is none", create("other", "SqsManagedSseEnabled", "maybe"), "InvalidAttributeValue", "SqsManagedSseEnabled"},
		{"a permission that is none", create("other", "RedriveAllowPolicy", `{"redrivePermission":"some"}`), "InvalidParameterValue", "redrivePermission"},
		{"allowAll with queues", create("other", "RedriveAllowPolicy", `{"redrivePermission":"allowAll","sourceQueueArns":["a"]}`), "InvalidParameterValue", "byQueue only"},
		{"byQueue without queues", create("other", "RedriveAllowPolicy", `{"redrivePermission":"byQueue"}`), "InvalidParameterValue", "1 to 10"},
		{"an allow policy that is no JSON", create("other", "RedriveAllowPolicy", `x`), "InvalidParameterValue", "not a valid JSON map"},
		{"a redrive policy with another member", create("other", "RedrivePolicy", `{"x":1}`), "InvalidParameterValue", "Unknown member x"},
		{"a fractional count", create("other", "RedrivePolicy", `{"deadLetterTargetArn":"a","maxReceiveCount":1.5}`), "InvalidParameterValue", "integer from 1 to 1000"},
		{"a queue as its own dead-letter queue", func(ctx context.Context) error {
			_, err := queues.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{
				"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:q","maxReceiveCount":1}`,
			}})
			return err
		}, "InvalidParameterValue", "its own dead letter target"},
		{"a dead-letter queue of another region", func(ctx context.Context) error {
			cfg := awsConfig(s)
			cfg.Region = "eu-west-1"
			_, err := sqs.NewFromConfig(cfg).CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("other"), Attributes: map[string]string{
				"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:q","maxReceiveCount":1}`,
			}})
			return err
		}, "InvalidParameterValue", "same region"},
		{"too many tags", func(ctx context.Context) error {
			_, err := queues.TagQueue(ctx, &sqs.TagQueueInput{QueueUrl: &url, Tags: manyTags})
			return err
		}, "InvalidParameterValue", "at most 50"},
		{"a tag's key too long", func(ctx context.Context) error {
			_, err := queues.TagQueue(ctx, &sqs.TagQueueInput{QueueUrl: &url, Tags: map[string]string{strings.Repeat("k", 129): ""}})
			return err
		}, "InvalidParameterValue", "1 to 128 characters"},
		{"a queue of another account", func(ctx context.Context) error {
			_, err := queues.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("q"), QueueOwnerAWSAccountId: aws.String("123456789012")})
			return err
		}, "QueueDoesNotExist", ""},
		{"a URL of another account", func(ctx context.Context) error {
			_, err := queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://h/123456789012/q")})
			return err
		}, "QueueDoesNotExist", ""},
		{"a URL that is none", func(ctx context.Context) error {
			_, err := queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String("q")})
			return err
		}, "InvalidAddress", "The address q"},
		{"a group that is none", func(ctx context.Context) error {
			_, err := queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageGroupId: aws.String("a b")})
			return err
		}, "InvalidParameterValue", "MessageGroupId"},
		{"a list of values", func(ctx context.Context) error {
			_, err := queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageAttributes: map[string]sqstypes.MessageAttributeValue{
				"a": {DataType: aws.String("String"), StringListValues: []string{"x"}},
			}})
			return err
		}, "UnsupportedOperation", "list values"},
		{"an empty trace header", func(ctx context.Context) error {
			_, err := queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageSystemAttributes: map[string]sqstypes.MessageSystemAttributeValue{
				"AWSTraceHeader": {DataType: aws.String("Number"), StringValue: aws.String("1")},
			}})
			return err
		}, "InvalidParameterValue", "AWSTraceHeader"},
		{"a page token that is none", func(ctx context.Context) error {
			_, err := queues.ListQueues(ctx, &sqs.ListQueuesInput{NextToken: aws.String("%"), MaxResults: aws.Int32(1)})
			return err
		}, "InvalidParameterValue", "NextToken"},
		{"a page too long", func(ctx context.Context) error {
			_, err := queues.ListQueues(ctx, &sqs.ListQueuesInput{MaxResults: aws.Int32(1001)})
			return err
		}, "InvalidParameterValue", "MaxResults"},
		{"a FIFO topic that is not said to be one", createTopic("t.fifo"), "InvalidParameter", "Topic Name"},
		{"a FIFO topic without the suffix", createTopic("t2", "FifoTopic", "true"), "InvalidParameter", "ends with .fifo"},
		{"FifoTopic maybe", createTopic("t2.fifo", "FifoTopic", "maybe"), "InvalidParameter", "Topic Name"},
		{"another scope", createTopic("t2.fifo", "FifoTopic", "true", "FifoThroughputScope", "Queue"), "InvalidParameter", "must be Topic or MessageGroup"},
		{"an archive", createTopic("t2.fifo", "FifoTopic", "true", "ArchivePolicy", "{}"), "InvalidParameter", "archives no messages"},
		{"an attribute of FIFO topics", createTopic("t2", "ContentBasedDeduplication", "true"), "InvalidParameter", "only FIFO topics"},
		{"an unknown attribute", createTopic("t2", "Colour", "red"), "InvalidParameter", "AttributeName"},
		{"the topic with another attribute", createTopic("t", "DisplayName", "Fares"), "InvalidParameter", "different attributes"},
		{"the topic with other tags", func(ctx context.Context) error {
			_, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("t"), Tags: []snstypes.Tag{{Key: aws.String("a"), Value: aws.String("2")}}})
			return err
		}, "InvalidParameter", "different tags"},
		{"tags of no topic", func(ctx context.Context) error {
			_, err := topics.ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: aws.String(*topic.TopicArn + "x")})
			return err
		}, "ResourceNotFound", "Resource does not exist"},
		{"an ARN that is none", func(ctx context.Context) error {
			_, err := topics.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: aws.String("t")})
			return err
		}, "InvalidParameter", "at least 6 elements"},
		{"a telephone", publish(func(in *sns.PublishInput) { in.TopicArn, in.PhoneNumber = nil, aws.String("+41") }), "InvalidParameter", "topics only"},
		{"a structure that is none", publish(func(in *sns.PublishInput) { in.MessageStructure = aws.String("xml") }), "InvalidParameter", "MessageStructure"},
		{"a message with a control character", publish(func(in *sns.PublishInput) { in.Message = aws.String("\x01") }), "InvalidParameter", "Invalid characters"},
		{"a deduplication id", publish(func(in *sns.PublishInput) { in.MessageDeduplicationId = aws.String("d") }), "InvalidParameter", "MessageDeduplicationId"},
		{"a structured message of another type", publish(func(in *sns.PublishInput) {
			in.MessageStructure, in.Message = aws.String("json"), aws.String(`{"default":7}`)
		}), "InvalidParameter", "must be a string"},
		{"another protocol", subscribe("email", "a@b.example"), "InvalidParameter", "delivers by http, https, lambda, sqs, not by email"},
		{"a FIFO queue for a standard topic", subscribe("sqs", q2+".fifo"), "InvalidParameter", "FIFO"},
		{"a dead-letter queue that is none", subscribe("sqs", q2, "RedrivePolicy", `{"deadLetterTargetArn":"q"}`), "InvalidParameter", "deadLetterTargetArn"},
		{"a filter policy that is none", subscribe("sqs", q2, "FilterPolicy", `{"fare":[{"numeric":[">","5"]}]}`), "InvalidParameter", "fare: numeric: a number is due"},
		{"a scope that does not fit the policy", func(ctx context.Context) error {
			for _, a := range [][2]string{{"FilterPolicyScope", "MessageBody"}, {"FilterPolicy", `{"a":{"b":["x"]}}`}, {"FilterPolicyScope", "MessageAttributes"}} {
				_, err := topics.SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{SubscriptionArn: subscription.SubscriptionArn, AttributeName: &a[0], AttributeValue: &a[1]})
				if err != nil {
					return err
				}
			}
			return nil
		}, "InvalidParameter", "do not nest"},
		{"no subscription", func(ctx context.Context) error {
			_, err := topics.SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{SubscriptionArn: aws.String(*subscription.SubscriptionArn + "x"), AttributeName: aws.String("RawMessageDelivery"), AttributeValue: aws.String("true")})
			return err
		}, "NotFound", "Subscription does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(t.Context())
			if err == nil {
				t.Fatal("accepted")
			}
			if codeOf(err) != c.code || !strings.Contains(err.Error(), c.contains) {
				t.Errorf("refused with %v; want %s and %q", err, c.code, c.contains)
			}
		})
	}
}

// The link in an envelope ends the subscription, as a browser would follow it.
func TestUnsubscribeLink(t *testing.T) {
	s, queues := newSQS(t, emulator.Config{})
	topics := sns.NewFromConfig(awsConfig(s))
	url := createQueue(t, queues, "q")
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:000000000000:q")}); err != nil {
		t.Fatal(err)
	}
	publish := func() {
		if _, err := topics.Publish(t.Context(), &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("x")}); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	got := receive(t, queues, url)
	if len(got) != 1 {
		t.Fatalf("received %d messages, want 1", len(got))
	}
	p := &probe{}
	resp, err := s.Client().Get(p.open(*got[0].Body).UnsubscribeURL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the link answers %s", resp.Status)
	}
	publish()
	if got := receive(t, queues, url); len(got) != 0 {
		t.Errorf("received %d messages after the link was followed", len(got))
	}
}

// More than a hundred topics and subscriptions come in pages.
func TestPagesOfSNS(t *testing.T) {
	s := emulator.New(emulator.Config{})
	topics := sns.NewFromConfig(awsConfig(s))
	for i := range 201 {
		out, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(fmt.Sprintf("t%d", i))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: out.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:000000000000:q")}); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := make(map[string]bool), 0
	for p := sns.NewListTopicsPaginator(topics, &sns.ListTopicsInput{}); p.HasMorePages(); pages++ {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range out.Topics {
			seen[*topic.TopicArn] = true
		}
	}
	for p := sns.NewListSubscriptionsPaginator(topics, &sns.ListSubscriptionsInput{}); p.HasMorePages(); pages++ {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, subscription := range out.Subscriptions {
			seen[*subscription.SubscriptionArn] = true
		}
	}
	if len(seen) != 402 || pages != 6 {
		t.Errorf("%d topics and subscriptions on %d pages, want 402 on 6", len(seen), pages)
	}
}
