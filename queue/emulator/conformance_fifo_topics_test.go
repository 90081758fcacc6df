package emulator_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func (p *probe) fifoTopic(attributes ...string) (arn string) {
	arn, err := p.tryTopic(p.name()+".fifo", append(attributes, "FifoTopic", "true")...)
	p.ok(err, "CreateTopic")
	return arn
}

// fed makes a FIFO topic with one queue subscribed to it, raw, to which it may send.
func (p *probe) fed(queue string, attributes ...string) (topic string) {
	topic = p.fifoTopic(attributes...)
	p.permit(topic, queue)
	_, err := p.trySubscribe(topic, p.arn(queue), "RawMessageDelivery", "true")
	p.ok(err, "Subscribe")
	return topic
}

func ofGroup(group, dedup string) publishEdit {
	return func(in *publishInput) {
		in.MessageGroupId = &group
		if dedup != "" {
			in.MessageDeduplicationId = &dedup
		}
	}
}

func (p *probe) publishFIFO(topic, message, group, dedup string) *sns.PublishOutput {
	in := &sns.PublishInput{TopicArn: &topic, Message: &message}
	ofGroup(group, dedup)(in)
	out, err := p.sns.Publish(p.ctx, in)
	p.ok(err, "Publish")
	return out
}

// arrived waits until a queue has a number of messages, and receives them: what is received while others of its
// group are on their way would hold these.
func (p *probe) arrived(url string, n int) []sqstypes.Message {
	for range 50 {
		if p.counts(url)[0] == fmt.Sprint(n) {
			break
		}
		p.sleep(100 * time.Millisecond)
	}
	return p.drain(url, n)
}

const (
	fifoTopics     = "Amazon SNS FIFO topics"
	fifoTopicDedup = "Amazon SNS message deduplication for FIFO topics"
)

var fifoTopicRules = []rule{
	{
		name: "fifo-topics/names", source: snsAPI("CreateTopic"), sns: true,
		says: "The name of a FIFO topic ends with .fifo, and only with FifoTopic=true.",
		test: func(p *probe) {
			_, err := p.tryTopic(p.name(), "FifoTopic", "true")
			p.refused(err, "InvalidParameter", "a FIFO topic without the suffix")
			_, err = p.tryTopic(p.name() + ".fifo")
			p.refused(err, "InvalidParameter", "the suffix without FifoTopic")
			p.fifoTopic()
		},
	},
	{
		name: "fifo-topics/attributes", source: snsAPI("CreateTopic"), sns: true,
		says: "A FIFO topic tells FifoTopic and ContentBasedDeduplication, by default false; the latter can be changed, and a standard topic has neither.",
		test: func(p *probe) {
			topic := p.fifoTopic()
			get := func() map[string]string {
				out, err := p.sns.GetTopicAttributes(p.ctx, &sns.GetTopicAttributesInput{TopicArn: &topic})
				p.ok(err, "GetTopicAttributes")
				return out.Attributes
			}
			p.equal("FifoTopic", get()["FifoTopic"], "true")
			p.equal("ContentBasedDeduplication", get()["ContentBasedDeduplication"], "false")
			set := func(arn, name, value string) error {
				_, err := p.sns.SetTopicAttributes(p.ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: &name, AttributeValue: &value})
				return err
			}
			p.ok(set(topic, "ContentBasedDeduplication", "true"), "SetTopicAttributes")
			p.equal("ContentBasedDeduplication", get()["ContentBasedDeduplication"], "true")
			p.refused(set(p.topic(), "ContentBasedDeduplication", "true"), "InvalidParameter", "of a standard topic")
		},
	},
	{
		name: "fifo-topics/required", source: snsAPI("Publish"), sns: true,
		says: "A FIFO topic wants a MessageGroupId, and a MessageDeduplicationId or ContentBasedDeduplication.",
		test: func(p *probe) {
			topic := p.fifoTopic()
			_, err := p.tryPublish(topic, "x")
			p.refused(err, "InvalidParameter", "no group")
			_, err = p.tryPublish(topic, "x", ofGroup("g", ""))
			p.refused(err, "InvalidParameter", "no deduplication id")
			_, err = p.tryPublish(p.fifoTopic("ContentBasedDeduplication", "true"), "x", ofGroup("g", ""))
			p.ok(err, "Publish with ContentBasedDeduplication")
		},
	},
	{
		name: "fifo-topics/standard", source: snsAPI("Publish"), sns: true,
		says: "MessageDeduplicationId is of FIFO topics alone.",
		test: func(p *probe) {
			_, err := p.tryPublish(p.topic(), "x", ofGroup("g", "d"))
			p.refused(err, "InvalidParameter", "of a standard topic")
		},
	},
	{
		name: "fifo-topics/order", source: snsGuide(fifoTopics), sns: true,
		says: "A FIFO queue gets the messages of a FIFO topic in order, with their group and deduplication id.",
		test: func(p *probe) {
			url := p.fifo()
			topic := p.fed(url)
			for i := range 5 {
				p.publishFIFO(topic, fmt.Sprint(i), "g", "d"+fmt.Sprint(i))
			}
			got := p.arrived(url, 5)
			for i, m := range got {
				p.equal("the body", *m.Body, fmt.Sprint(i))
				p.equal("MessageGroupId", m.Attributes["MessageGroupId"], "g")
				p.equal("MessageDeduplicationId", m.Attributes["MessageDeduplicationId"], "d"+fmt.Sprint(i))
			}
		},
	},
	{
		name: "fifo-topics/numbers", source: snsAPI("Publish"), sns: true,
		says: "Publish returns a SequenceNumber of 20 digits, which increases.",
		test: func(p *probe) {
			topic := p.fifoTopic()
			first := aws.ToString(p.publishFIFO(topic, "a", "g", "1").SequenceNumber)
			second := aws.ToString(p.publishFIFO(topic, "b", "g", "2").SequenceNumber)
			if len(first) != 20 || len(second) != 20 || first >= second {
				p.errorf("the numbers are %q and %q", first, second)
			}
		},
	},
	{
		name: "fifo-topics/deduplication", source: snsGuide(fifoTopicDedup), sns: true,
		says: "A duplicate within five minutes is accepted with the first one's id and number, and is not delivered.",
		test: func(p *probe) {
			url := p.fifo()
			topic := p.fed(url)
			first := p.publishFIFO(topic, "a", "g", "1")
			again := p.publishFIFO(topic, "b", "g", "1")
			p.publishFIFO(topic, "c", "g", "2")
			p.equal("the bodies", bodies(p.arrived(url, 2)), []string{"a", "c"})
			p.equal("the message id", aws.ToString(again.MessageId), aws.ToString(first.MessageId))
			p.equal("the number", aws.ToString(again.SequenceNumber), aws.ToString(first.SequenceNumber))
		},
	},
	{
		name: "fifo-topics/by-content", source: snsGuide(fifoTopicDedup), sns: true,
		says: "With ContentBasedDeduplication the same message is a duplicate, whatever its attributes.",
		test: func(p *probe) {
			url := p.fifo()
			topic := p.fed(url, "ContentBasedDeduplication", "true")
			p.publishFIFO(topic, "a", "g", "")
			_, err := p.tryPublish(topic, "a", ofGroup("g", ""), publishing("k", "String", "v"))
			p.ok(err, "Publish")
			p.publishFIFO(topic, "b", "g", "")
			p.equal("the bodies", bodies(p.arrived(url, 2)), []string{"a", "b"})
		},
	},
	{
		name: "fifo-topics/scope", source: snsAPI("CreateTopic"), sns: true,
		says: "With FifoThroughputScope=MessageGroup, messages of other groups are no duplicates.",
		test: func(p *probe) {
			url := p.fifo("DeduplicationScope", "messageGroup", "FifoThroughputLimit", "perMessageGroupId")
			topic := p.fed(url, "FifoThroughputScope", "MessageGroup")
			p.publishFIFO(topic, "a", "g", "1")
			p.publishFIFO(topic, "b", "h", "1")
			p.publishFIFO(topic, "c", "h", "1")
			p.publishFIFO(topic, "d", "h", "2")
			p.equal("the bodies", bodies(p.arrived(url, 3)), []string{"a", "b", "d"})
		},
	},
	{
		name: "fifo-topics/queues", source: snsGuide("Amazon SNS message delivery for FIFO topics"), sns: true,
		says: "A FIFO topic delivers to FIFO and standard queues, and not by other protocols; a standard topic does not deliver to FIFO queues.",
		test: func(p *probe) {
			url := p.queue()
			topic := p.fed(url)
			p.publishFIFO(topic, "x", "g", "1")
			p.equal("the body", *p.next(url).Body, "x")
			_, err := p.sns.Subscribe(p.ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("http"), Endpoint: aws.String("http://localhost/x")})
			p.refused(err, "InvalidParameter", "the protocol http")
			_, err = p.trySubscribe(p.topic(), p.arn(p.fifo()))
			p.refused(err, "InvalidParameter", "a FIFO queue")
		},
	},
	{
		name: "fifo-topics/envelope", source: snsGuide("Parsing Amazon SNS message formats"), sns: true,
		says: "The envelope of a FIFO topic's message has its SequenceNumber.",
		test: func(p *probe) {
			url := p.fifo()
			topic := p.fifoTopic()
			p.permit(topic, url)
			_, err := p.trySubscribe(topic, p.arn(url))
			p.ok(err, "Subscribe")
			out := p.publishFIFO(topic, "x", "g", "1")
			if body := *p.next(url).Body; !strings.Contains(body, aws.ToString(out.SequenceNumber)) {
				p.errorf("the envelope %s has no number %s", body, aws.ToString(out.SequenceNumber))
			}
		},
	},
	{
		name: "fifo-topics/batch", source: snsAPI("PublishBatch"), sns: true,
		says: "PublishBatch keeps the order of its entries, and drops the duplicates among them.",
		test: func(p *probe) {
			url := p.fifo()
			topic := p.fed(url)
			var entries []snstypes.PublishBatchRequestEntry
			for i, dedup := range []string{"1", "2", "1", "3"} {
				e := publishEntry(fmt.Sprint("e", i), fmt.Sprint(i))
				e.MessageGroupId, e.MessageDeduplicationId = aws.String("g"), aws.String(dedup)
				entries = append(entries, e)
			}
			out, err := p.publishBatch(topic, entries...)
			p.ok(err, "PublishBatch")
			p.equal("the number of successes", len(out.Successful), 4)
			got := p.arrived(url, 3)
			p.equal("the bodies", []string{*got[0].Body, *got[1].Body, *got[2].Body}, []string{"0", "1", "3"})
		},
	},
}
