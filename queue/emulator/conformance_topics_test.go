package emulator_test

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
)

var topicRules = []rule{
	{
		name: "topics/create-again", source: snsAPI("CreateTopic"), sns: true,
		says: "Creating a topic that exists returns its ARN.",
		test: func(p *probe) {
			name := p.name()
			first, err := p.tryTopic(name)
			p.ok(err, "CreateTopic")
			again, err := p.tryTopic(name)
			p.ok(err, "CreateTopic")
			p.equal("the ARN", again, first)
			if !strings.HasPrefix(first, "arn:aws:sns:us-east-1:") || !strings.HasSuffix(first, ":"+name) {
				p.errorf("the ARN is %s", first)
			}
		},
	},
	{
		name: "topics/names", source: snsAPI("CreateTopic"), sns: true,
		says: "A topic's name has 1 to 256 letters, digits, hyphens and underscores.",
		test: func(p *probe) {
			_, err := p.tryTopic(p.name() + strings.Repeat("x", 256-len(p.namespace)-2))
			p.ok(err, "CreateTopic with 256 characters")
			for _, bad := range []string{"a.b", "a b", "a/b", strings.Repeat("x", 256)} {
				_, err := p.tryTopic(p.name() + bad)
				p.refused(err, "InvalidParameter", "the name "+bad)
			}
		},
	},
	{
		name: "topics/missing", source: snsAPI("Publish"), sns: true,
		says: "A topic that does not exist is NotFound.",
		test: func(p *probe) {
			arn := p.topic() + "-none"
			_, err := p.tryPublish(arn, "x")
			p.refused(err, "NotFound", "Publish")
			_, err = p.sns.GetTopicAttributes(p.ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
			p.refused(err, "NotFound", "GetTopicAttributes")
			_, err = p.trySubscribe(arn, p.arn(p.queue()))
			p.refused(err, "NotFound", "Subscribe")
		},
	},
	{
		name: "topics/delete", source: snsAPI("DeleteTopic"), sns: true,
		says: "Deleting a topic twice is no error, and takes its subscriptions with it.",
		test: func(p *probe) {
			arn, _, subscription := p.subscribed()
			for range 2 {
				_, err := p.sns.DeleteTopic(p.ctx, &sns.DeleteTopicInput{TopicArn: &arn})
				p.ok(err, "DeleteTopic")
			}
			_, err := p.tryPublish(arn, "x")
			p.refused(err, "NotFound", "Publish")
			_, err = p.sns.GetSubscriptionAttributes(p.ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &subscription})
			p.refused(err, "NotFound", "GetSubscriptionAttributes")
		},
	},
	{
		name: "topics/list", source: snsAPI("ListTopics"), sns: true,
		says: "ListTopics returns all topics, a hundred a page.",
		test: func(p *probe) {
			want := p.topic()
			pages := sns.NewListTopicsPaginator(p.sns, &sns.ListTopicsInput{})
			for pages.HasMorePages() {
				out, err := pages.NextPage(p.ctx)
				p.ok(err, "ListTopics")
				if slices.ContainsFunc(out.Topics, func(t snstypes.Topic) bool { return *t.TopicArn == want }) {
					return
				}
			}
			p.errorf("the topic is not listed")
		},
	},
	{
		name: "topics/attributes", source: snsAPI("GetTopicAttributes"), sns: true,
		says: "A topic's attributes tell its ARN, owner, display name and number of subscriptions.",
		test: func(p *probe) {
			arn, _, _ := p.subscribed()
			_, err := p.sns.SetTopicAttributes(p.ctx, &sns.SetTopicAttributesInput{
				TopicArn: &arn, AttributeName: aws.String("DisplayName"), AttributeValue: aws.String("Rides"),
			})
			p.ok(err, "SetTopicAttributes")
			out, err := p.sns.GetTopicAttributes(p.ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
			p.ok(err, "GetTopicAttributes")
			p.equal("TopicArn", out.Attributes["TopicArn"], arn)
			p.equal("Owner", out.Attributes["Owner"], strings.Split(arn, ":")[4])
			p.equal("DisplayName", out.Attributes["DisplayName"], "Rides")
			p.equal("SubscriptionsConfirmed", out.Attributes["SubscriptionsConfirmed"], "1")
		},
	},
	{
		name: "topics/tags", source: snsAPI("TagResource"), sns: true,
		says: "Tags are added, replaced and removed by key.",
		test: func(p *probe) {
			arn := p.topic()
			tag := func(k, v string) snstypes.Tag { return snstypes.Tag{Key: &k, Value: &v} }
			_, err := p.sns.TagResource(p.ctx, &sns.TagResourceInput{ResourceArn: &arn, Tags: []snstypes.Tag{tag("a", "1"), tag("b", "2")}})
			p.ok(err, "TagResource")
			_, err = p.sns.TagResource(p.ctx, &sns.TagResourceInput{ResourceArn: &arn, Tags: []snstypes.Tag{tag("b", "3")}})
			p.ok(err, "TagResource")
			_, err = p.sns.UntagResource(p.ctx, &sns.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"a"}})
			p.ok(err, "UntagResource")
			out, err := p.sns.ListTagsForResource(p.ctx, &sns.ListTagsForResourceInput{ResourceArn: &arn})
			p.ok(err, "ListTagsForResource")
			got := make(map[string]string)
			for _, t := range out.Tags {
				got[*t.Key] = *t.Value
			}
			p.equal("the tags", got, map[string]string{"b": "3"})
		},
	},
	{
		name: "topics/unknown-operation", source: "SNS API reference, Common errors", sns: true,
		says: "An action that there is not is InvalidAction.",
		test: func(p *probe) {
			status, _, body := p.postForm("Action=FoldTopic&Version=2010-03-31")
			if status < 400 || status > 499 || !strings.Contains(body, "InvalidAction") {
				p.errorf("the answer is %d %s", status, body)
			}
		},
	},
}

func (p *probe) subscriptionAttributes(arn string) map[string]string {
	out, err := p.sns.GetSubscriptionAttributes(p.ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &arn})
	p.ok(err, "GetSubscriptionAttributes")
	return out.Attributes
}

func (p *probe) trySetSubscription(arn, name, value string) error {
	_, err := p.sns.SetSubscriptionAttributes(p.ctx, &sns.SetSubscriptionAttributesInput{
		SubscriptionArn: &arn, AttributeName: &name, AttributeValue: &value,
	})
	return err
}

var subscriptionRules = []rule{
	{
		name: "subscriptions/again", source: snsAPI("Subscribe"), sns: true,
		says: "Subscribing a queue twice with the same attributes returns the same subscription.",
		test: func(p *probe) {
			topic, queue := p.topic(), p.arn(p.queue())
			first, err := p.trySubscribe(topic, queue, "RawMessageDelivery", "true")
			p.ok(err, "Subscribe")
			again, err := p.trySubscribe(topic, queue, "RawMessageDelivery", "true")
			p.ok(err, "Subscribe")
			p.equal("the ARN", again, first)
			if !strings.HasPrefix(first, topic+":") {
				p.errorf("the ARN is %s, want one that starts with the topic's", first)
			}
		},
	},
	{
		name: "subscriptions/otherwise", source: snsAPI("Subscribe"), sns: true,
		says: "Subscribing a queue again with other attributes is InvalidParameter.",
		test: func(p *probe) {
			topic, queue := p.topic(), p.arn(p.queue())
			_, err := p.trySubscribe(topic, queue, "RawMessageDelivery", "true")
			p.ok(err, "Subscribe")
			_, err = p.trySubscribe(topic, queue, "RawMessageDelivery", "false")
			p.refused(err, "InvalidParameter", "other attributes")
		},
	},
	{
		name: "subscriptions/endpoint", source: snsAPI("Subscribe"), sns: true,
		says: "The endpoint of the protocol sqs is a queue's ARN.",
		test: func(p *probe) {
			topic := p.topic()
			for _, bad := range []string{"nonsense", "http://localhost/x"} {
				_, err := p.trySubscribe(topic, bad)
				p.refused(err, "InvalidParameter", "the endpoint "+bad)
			}
		},
	},
	{
		name: "subscriptions/protocol", source: snsAPI("Subscribe"), sns: true,
		says: "A protocol that there is not is InvalidParameter.",
		test: func(p *probe) {
			_, err := p.sns.Subscribe(p.ctx, &sns.SubscribeInput{TopicArn: aws.String(p.topic()), Protocol: aws.String("pigeon"), Endpoint: aws.String("x")})
			p.refused(err, "InvalidParameter", "the protocol pigeon")
		},
	},
	{
		name: "subscriptions/attributes", source: snsAPI("GetSubscriptionAttributes"), sns: true,
		says: "A subscription tells its topic, endpoint, protocol and owner; RawMessageDelivery is false by default.",
		test: func(p *probe) {
			topic, queue := p.topic(), p.arn(p.queue())
			arn, err := p.trySubscribe(topic, queue)
			p.ok(err, "Subscribe")
			got := p.subscriptionAttributes(arn)
			p.equal("SubscriptionArn", got["SubscriptionArn"], arn)
			p.equal("TopicArn", got["TopicArn"], topic)
			p.equal("Endpoint", got["Endpoint"], queue)
			p.equal("Protocol", got["Protocol"], "sqs")
			p.equal("Owner", got["Owner"], strings.Split(topic, ":")[4])
			p.equal("RawMessageDelivery", got["RawMessageDelivery"], "false")
			p.equal("PendingConfirmation", got["PendingConfirmation"], "false")
		},
	},
	{
		name: "subscriptions/set", source: snsAPI("SetSubscriptionAttributes"), sns: true,
		says: "Attributes of a subscription can be changed; unknown ones, and values that are none, are InvalidParameter.",
		test: func(p *probe) {
			_, _, arn := p.subscribed()
			p.ok(p.trySetSubscription(arn, "RawMessageDelivery", "true"), "RawMessageDelivery")
			p.equal("RawMessageDelivery", p.subscriptionAttributes(arn)["RawMessageDelivery"], "true")
			p.refused(p.trySetSubscription(arn, "RawMessageDelivery", "maybe"), "InvalidParameter", "RawMessageDelivery maybe")
			p.refused(p.trySetSubscription(arn, "Colour", "red"), "InvalidParameter", "an unknown attribute")
		},
	},
	{
		name: "subscriptions/list", source: snsAPI("ListSubscriptionsByTopic"), sns: true,
		says: "ListSubscriptionsByTopic returns the topic's subscriptions.",
		test: func(p *probe) {
			topic, _, arn := p.subscribed()
			p.subscribed()
			out, err := p.sns.ListSubscriptionsByTopic(p.ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: &topic})
			p.ok(err, "ListSubscriptionsByTopic")
			if len(out.Subscriptions) != 1 || *out.Subscriptions[0].SubscriptionArn != arn {
				p.errorf("%d subscriptions are listed, want one", len(out.Subscriptions))
			}
		},
	},
	{
		name: "subscriptions/unsubscribe", source: snsAPI("Unsubscribe"), sns: true,
		says: "After Unsubscribe nothing is delivered.",
		test: func(p *probe) {
			topic, url, arn := p.subscribed()
			_, err := p.sns.Unsubscribe(p.ctx, &sns.UnsubscribeInput{SubscriptionArn: &arn})
			p.ok(err, "Unsubscribe")
			p.publish(topic, "x")
			p.equal("the number of messages", len(p.receive(url, waiting(1))), 0)
		},
	},
}

func (p *probe) publishBatch(topic string, entries ...snstypes.PublishBatchRequestEntry) (*sns.PublishBatchOutput, error) {
	return p.sns.PublishBatch(p.ctx, &sns.PublishBatchInput{TopicArn: &topic, PublishBatchRequestEntries: entries})
}

func publishEntry(id, message string) snstypes.PublishBatchRequestEntry {
	return snstypes.PublishBatchRequestEntry{Id: &id, Message: &message}
}

func publishEntries(n int) []snstypes.PublishBatchRequestEntry {
	var out []snstypes.PublishBatchRequestEntry
	for i := range n {
		out = append(out, publishEntry("e"+strconv.Itoa(i), strconv.Itoa(i)))
	}
	return out
}
