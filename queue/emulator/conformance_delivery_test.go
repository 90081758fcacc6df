package emulator_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// envelope is what a message looks like that is not delivered raw.
type envelope struct {
	Type, MessageId, TopicArn, Subject, Message, Timestamp      string
	SignatureVersion, Signature, SigningCertURL, UnsubscribeURL string
	MessageAttributes                                           map[string]struct{ Type, Value string }
}

func (p *probe) open(body string) envelope {
	var e envelope
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		p.fatalf("the body is not an envelope: %v: %s", err, body)
	}
	return e
}

var deliveryRules = []rule{
	{
		name: "delivery/envelope", source: snsGuide("Parsing Amazon SNS message formats"), sns: true,
		says: "A message is delivered in an envelope of JSON, with id, topic, subject, time, signature and attributes.",
		test: func(p *probe) {
			topic, url, arn := p.subscribed()
			id := p.publish(topic, "hello", publishing("n", "Number", "7"), publishing("s", "String", "v"),
				func(in *sns.PublishInput) { in.Subject = aws.String("Ride") })
			m := p.next(url)
			p.equal("the number of attributes of the SQS message", len(m.MessageAttributes), 0)
			e := p.open(*m.Body)
			p.equal("Type", e.Type, "Notification")
			p.equal("MessageId", e.MessageId, id)
			p.equal("TopicArn", e.TopicArn, topic)
			p.equal("Subject", e.Subject, "Ride")
			p.equal("Message", e.Message, "hello")
			p.equal("SignatureVersion", e.SignatureVersion, "1")
			p.equal("the attributes", fmt.Sprint(e.MessageAttributes), "map[n:{Number 7} s:{String v}]")
			if _, err := time.Parse("2006-01-02T15:04:05.000Z", e.Timestamp); err != nil {
				p.errorf("Timestamp is %q", e.Timestamp)
			}
			if e.Signature == "" || e.SigningCertURL == "" || !strings.Contains(e.UnsubscribeURL, "Action=Unsubscribe") || !strings.Contains(e.UnsubscribeURL, arn[strings.LastIndex(arn, ":")+1:]) {
				p.errorf("signature %q, certificate %q, unsubscribe %q", e.Signature, e.SigningCertURL, e.UnsubscribeURL)
			}
		},
	},
	{
		name: "delivery/envelope-bare", source: snsGuide("Parsing Amazon SNS message formats"), sns: true,
		says: "The envelope has no Subject and no MessageAttributes if the message has none.",
		test: func(p *probe) {
			topic, url, _ := p.subscribed()
			p.publish(topic, "x")
			var got map[string]any
			p.ok(json.Unmarshal([]byte(*p.next(url).Body), &got), "decoding")
			for _, name := range []string{"Subject", "MessageAttributes"} {
				if _, has := got[name]; has {
					p.errorf("the envelope has %s", name)
				}
			}
		},
	},
	{
		name: "delivery/envelope-binary", source: snsGuide("Amazon SNS message attributes"), sns: true,
		says: "A Binary attribute is base64 in the envelope.",
		test: func(p *probe) {
			topic, url, _ := p.subscribed()
			p.publish(topic, "x", publishing("b", "Binary", "\x00\xff"))
			p.equal("the attributes", fmt.Sprint(p.open(*p.next(url).Body).MessageAttributes), "map[b:{Binary AP8=}]")
		},
	},
	{
		name: "delivery/raw", source: snsGuide("Amazon SNS raw message delivery"), sns: true,
		says: "Raw delivery gives the message as the body, and its attributes as those of SQS.",
		test: func(p *probe) {
			topic, url, _ := p.subscribed("RawMessageDelivery", "true")
			p.publish(topic, "hello", publishing("n", "Number", "7"), publishing("b", "Binary", "\x00\xff"))
			m := p.next(url)
			p.equal("the body", *m.Body, "hello")
			p.equal("MD5OfBody", *m.MD5OfBody, md5OfHello)
			if len(m.MessageAttributes) != 2 {
				p.fatalf("received %d attributes, want 2", len(m.MessageAttributes))
			}
			p.equal("the type of n", aws.ToString(m.MessageAttributes["n"].DataType), "Number")
			p.equal("n", aws.ToString(m.MessageAttributes["n"].StringValue), "7")
			p.equal("b", string(m.MessageAttributes["b"].BinaryValue), "\x00\xff")
		},
	},
	{
		name: "delivery/raw-eleven", source: snsGuide("Amazon SNS raw message delivery"), sns: true,
		says: "A message of more than ten attributes is not delivered raw: SNS takes it for a client error and discards it.",
		test: func(p *probe) {
			topic, url, _ := p.subscribed("RawMessageDelivery", "true")
			var edits []publishEdit
			for i := range 11 {
				edits = append(edits, publishing("a"+strconv.Itoa(i), "String", "v"))
			}
			p.publish(topic, "eleven", edits...)
			p.publish(topic, "ten", edits[:10]...)
			for range 2 {
				if body := *p.next(url).Body; body != "ten" {
					p.errorf("received %s, want ten alone", body)
					continue
				}
				break
			}
			p.empty(url, "besides the message of ten attributes")
		},
	},
	{
		name: "delivery/raw-eleven-dead", source: snsGuide("Amazon SNS dead-letter queues"), sns: true,
		says: "What cannot be delivered goes to the subscription's dead-letter queue.",
		test: func(p *probe) {
			dlq := p.queue()
			topic, _, _ := p.subscribed("RawMessageDelivery", "true", "RedrivePolicy", `{"deadLetterTargetArn":"`+p.arn(dlq)+`"}`)
			p.permit(topic, dlq)
			var edits []publishEdit
			for i := range 11 {
				edits = append(edits, publishing("a"+strconv.Itoa(i), "String", "v"))
			}
			p.publish(topic, "eleven", edits...)
			p.equal("the body", *p.next(dlq).Body, "eleven")
		},
	},
	{
		name: "delivery/gone-dead", source: snsGuide("Amazon SNS dead-letter queues"), sns: true,
		says: "A message for a queue that is gone goes to the subscription's dead-letter queue.",
		test: func(p *probe) {
			dlq := p.queue()
			topic, url, _ := p.subscribed("RedrivePolicy", `{"deadLetterTargetArn":"`+p.arn(dlq)+`"}`)
			p.permit(topic, dlq)
			_, err := p.sqs.DeleteQueue(p.ctx, deleteQueue(url))
			p.ok(err, "DeleteQueue")
			p.publish(topic, "x")
			p.equal("Message", p.open(*p.next(dlq).Body).Message, "x")
		},
	},
	{
		name: "delivery/fan-out", source: snsGuide("Fanout to Amazon SQS queues"), sns: true,
		says: "Every subscription gets the message.",
		test: func(p *probe) {
			topic, a, _ := p.subscribed()
			b := p.queue()
			p.permit(topic, b)
			_, err := p.trySubscribe(topic, p.arn(b), "RawMessageDelivery", "true")
			p.ok(err, "Subscribe")
			p.publish(topic, "x")
			p.equal("Message", p.open(*p.next(a).Body).Message, "x")
			p.equal("the body", *p.next(b).Body, "x")
		},
	},
	{
		name: "delivery/policy", source: snsGuide("Subscribing an Amazon SQS queue to an Amazon SNS topic"), sns: true,
		says: "A topic delivers to a queue only if the queue's policy lets it, also within one account. What it may not deliver is lost.",
		test: func(p *probe) {
			topic, other := p.topic(), p.topic()
			allowed := p.queue()
			_, err := p.trySubscribe(topic, p.arn(allowed), "RawMessageDelivery", "true")
			p.ok(err, "Subscribe")
			p.permit(topic, allowed)
			without, another, denied := p.queue(), p.queue(), p.queue()
			p.set(another, "Policy", p.statement("Allow", another, other))
			p.set(denied, "Policy", p.statement("Deny", denied, topic))
			for _, url := range []string{without, another, denied} {
				_, err := p.trySubscribe(topic, p.arn(url), "RawMessageDelivery", "true")
				p.ok(err, "Subscribe")
			}
			p.publish(topic, "x")
			p.equal("the body", *p.next(allowed).Body, "x")
			p.empty(without, "without a policy")
			p.empty(another, "where the policy lets another topic send")
			p.empty(denied, "where the policy denies it")
		},
	},
	{
		name: "delivery/policy-dead", source: snsGuide("Amazon SNS dead-letter queues"), sns: true,
		says: "What a queue's policy keeps out goes to the subscription's dead-letter queue, if the policy of that lets the topic send.",
		test: func(p *probe) {
			topic, url, dlq, shut := p.topic(), p.queue(), p.queue(), p.queue()
			p.permit(topic, dlq)
			_, err := p.trySubscribe(topic, p.arn(url), "RedrivePolicy", `{"deadLetterTargetArn":"`+p.arn(dlq)+`"}`)
			p.ok(err, "Subscribe")
			_, err = p.trySubscribe(topic, p.arn(p.queue()), "RedrivePolicy", `{"deadLetterTargetArn":"`+p.arn(shut)+`"}`)
			p.ok(err, "Subscribe")
			p.publish(topic, "x")
			p.equal("Message", p.open(*p.next(dlq).Body).Message, "x")
			p.empty(shut, "without a policy")
		},
	},
	{
		name: "delivery/structure", source: snsAPI("Publish"), sns: true,
		says: "With MessageStructure json, a subscription gets the text for its protocol, or the default, which must be there.",
		test: func(p *probe) {
			topic, url, _ := p.subscribed("RawMessageDelivery", "true")
			structured := func(in *sns.PublishInput) { in.MessageStructure = aws.String("json") }
			p.publish(topic, `{"default":"d","sqs":"q"}`, structured)
			p.equal("the body", *p.next(url).Body, "q")
			p.publish(topic, `{"default":"d","email":"e"}`, structured)
			p.equal("the body", *p.next(url).Body, "d")
			for _, bad := range []string{`{"sqs":"q"}`, `nonsense`} {
				_, err := p.tryPublish(topic, bad, structured)
				p.refused(err, "InvalidParameter", bad)
			}
		},
	},
	{
		name: "delivery/empty", source: snsAPI("Publish"), sns: true,
		says: "An empty message is InvalidParameter.",
		test: func(p *probe) {
			_, err := p.tryPublish(p.topic(), "")
			p.refused(err, "InvalidParameter", "an empty message")
		},
	},
	{
		name: "delivery/size", source: snsAPI("Publish"), sns: true,
		says: "A message has at most 262,144 bytes, attributes included.",
		test: func(p *probe) {
			topic := p.topic()
			p.publish(topic, strings.Repeat("x", 262_144))
			_, err := p.tryPublish(topic, strings.Repeat("x", 262_145))
			p.refused(err, "InvalidParameter", "a message over 256 KiB")
			_, err = p.tryPublish(topic, strings.Repeat("x", 262_144), publishing("a", "String", "v"))
			p.refused(err, "InvalidParameter", "message and attribute over 256 KiB")
		},
	},
	{
		name: "delivery/subject", source: snsAPI("Publish"), sns: true,
		says: "A subject has at most 100 characters, without line breaks.",
		test: func(p *probe) {
			topic := p.topic()
			with := func(s string) publishEdit { return func(in *sns.PublishInput) { in.Subject = &s } }
			p.publish(topic, "x", with(strings.Repeat("s", 100)))
			for _, bad := range []string{strings.Repeat("s", 101), "a\nb"} {
				_, err := p.tryPublish(topic, "x", with(bad))
				p.refused(err, "InvalidParameter", fmt.Sprintf("the subject %.10q", bad))
			}
		},
	},
	{
		name: "delivery/attributes", source: snsGuide("Amazon SNS message attributes"), sns: true,
		says: "An attribute has a type of String, String.Array, Number or Binary and a value that is not empty.",
		test: func(p *probe) {
			topic := p.topic()
			p.publish(topic, "x", publishing("a", "String.Array", `["x",1,true,null]`), publishing("b", "Number", "1e3"))
			for _, a := range []struct{ dataType, value string }{{"Float", "1"}, {"String", ""}, {"Number", "x"}} {
				_, err := p.tryPublish(topic, "x", publishing("a", a.dataType, a.value))
				if code := codeOf(err); code != "InvalidParameterValue" && code != "InvalidParameter" && code != "ParameterValueInvalid" {
					p.errorf("a %s of %q: %v, want it refused", a.dataType, a.value, err)
				}
			}
		},
	},
	{
		name: "delivery/batch", source: snsAPI("PublishBatch"), sns: true,
		says: "A batch of up to ten is published, with a message id for each entry.",
		test: func(p *probe) {
			topic, url, _ := p.subscribed("RawMessageDelivery", "true")
			out, err := p.publishBatch(topic, publishEntries(10)...)
			p.ok(err, "PublishBatch")
			p.equal("the number of successful entries", len(out.Successful), 10)
			p.equal("the number of failed entries", len(out.Failed), 0)
			got := make(map[string]bool)
			for _, m := range p.drain(url, 10) {
				got[*m.Body] = true
			}
			p.equal("the number of messages", len(got), 10)
		},
	},
	{
		name: "delivery/batch-refused", source: snsAPI("PublishBatch"), sns: true,
		says: "A batch has 1 to 10 entries with distinct ids of letters, digits, hyphens and underscores.",
		test: func(p *probe) {
			topic := p.topic()
			_, err := p.publishBatch(topic, []snstypes.PublishBatchRequestEntry{}...)
			p.refused(err, "EmptyBatchRequest", "no entries")
			_, err = p.publishBatch(topic, publishEntries(11)...)
			p.refused(err, "TooManyEntriesInBatchRequest", "eleven entries")
			_, err = p.publishBatch(topic, publishEntry("a", "1"), publishEntry("a", "2"))
			p.refused(err, "BatchEntryIdsNotDistinct", "one id twice")
			_, err = p.publishBatch(topic, publishEntry("a.b", "1"))
			p.refused(err, "InvalidBatchEntryId", "the id a.b")
		},
	},
	{
		name: "delivery/batch-size", source: snsAPI("PublishBatch"), sns: true,
		says: "A batch has at most 262,144 bytes in all: BatchRequestTooLong.",
		test: func(p *probe) {
			half := strings.Repeat("x", 131_072)
			topic := p.topic()
			_, err := p.publishBatch(topic, publishEntry("a", half), publishEntry("b", half))
			p.ok(err, "PublishBatch of 256 KiB")
			_, err = p.publishBatch(topic, publishEntry("a", half), publishEntry("b", half+"x"))
			p.refused(err, "BatchRequestTooLong", "a batch over 256 KiB")
		},
	},
	{
		name: "delivery/batch-partial", source: snsAPI("PublishBatch"), sns: true,
		says: "An entry that is refused fails alone, by the sender's fault.",
		test: func(p *probe) {
			topic, url, _ := p.subscribed("RawMessageDelivery", "true")
			out, err := p.publishBatch(topic, publishEntry("good", "x"), publishEntry("bad", ""))
			p.ok(err, "PublishBatch")
			if len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "bad" || !out.Failed[0].SenderFault {
				p.fatalf("%d entries succeeded and %d failed", len(out.Successful), len(out.Failed))
			}
			p.equal("the body", *p.next(url).Body, "x")
		},
	},
}
