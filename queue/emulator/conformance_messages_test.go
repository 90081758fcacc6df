package emulator_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// The digests below are computed by hand, as the developer guide describes.
const (
	md5OfHello      = "5d41402abc4b2a76b9719d911017c592" // "hello"
	md5OfAttributes = "53946b8953d239486553379e5231e5d0" // of the attributes in messages/attributes-md5
)

var messageRules = []rule{
	{
		name: "messages/body-md5", source: api("SendMessage"),
		says: "SendMessage and ReceiveMessage return the MD5 digest of the body.",
		test: func(p *probe) {
			url := p.queue()
			p.equal("MD5OfMessageBody", *p.send(url, "hello").MD5OfMessageBody, md5OfHello)
			p.equal("MD5OfBody", *p.next(url).MD5OfBody, md5OfHello)
		},
	},
	{
		name: "messages/attributes-md5", source: guide("Calculating the MD5 message digest for message attributes"),
		says: "The digest of attributes is of their names in order, with types and values, each with its length.",
		test: func(p *probe) {
			url := p.queue()
			out := p.send(url, "hello",
				withAttribute("b", "Binary", "\x00\xff"), withAttribute("a", "String", "ä"), withAttribute("n", "Number.int", "7"))
			p.equal("MD5OfMessageAttributes of SendMessage", aws.ToString(out.MD5OfMessageAttributes), md5OfAttributes)
			p.equal("MD5OfMessageAttributes of ReceiveMessage", aws.ToString(p.next(url).MD5OfMessageAttributes), md5OfAttributes)
		},
	},
	{
		name: "messages/characters", source: api("SendMessage"),
		says: "A body may hold #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and #x10000 to #x10FFFF, and comes back as it was.",
		test: func(p *probe) {
			url := p.queue()
			const body = "\t\n\r ~\u007f\u0085\u2028\ud7ff\ue000\ufffd\U00010000\U0010ffff<&>\"'\\"
			p.send(url, body)
			p.equal("the body", *p.next(url).Body, body)
		},
	},
	{
		name: "messages/characters-refused", source: api("SendMessage"),
		says: "Other characters in a body are InvalidMessageContents.",
		test: func(p *probe) {
			url := p.queue()
			for _, c := range []string{"\x00", "\x01", "\x0b", "\x1f", "\ufffe", "\uffff"} {
				_, err := p.trySend(url, "x"+c)
				p.refused(err, "InvalidMessageContents", fmt.Sprintf("a body with %q", c))
			}
		},
	},
	{
		name: "messages/empty", source: api("SendMessage"),
		says: "A body has at least one character.",
		test: func(p *probe) {
			_, err := p.trySend(p.queue(), "")
			if err == nil {
				p.errorf("an empty body was accepted")
			}
		},
	},
	{
		name: "messages/size", source: guide(quotas),
		says: "A message has at most 1,048,576 bytes, attributes included.",
		test: func(p *probe) {
			url := p.queue()
			const most = 1 << 20
			_, err := p.trySend(url, strings.Repeat("x", most))
			p.ok(err, "SendMessage of 1 MiB")
			_, err = p.trySend(url, strings.Repeat("x", most+1))
			p.refused(err, "InvalidParameterValue", "a body over 1 MiB")
		},
	},
	{
		name: "messages/queue-size", source: api("SetQueueAttributes"),
		says: "MaximumMessageSize bounds body and attributes together.",
		test: func(p *probe) {
			url := p.queue("MaximumMessageSize", "1024")
			_, err := p.trySend(url, strings.Repeat("x", 1024))
			p.ok(err, "SendMessage of 1 KiB")
			_, err = p.trySend(url, strings.Repeat("x", 1025))
			p.refused(err, "InvalidParameterValue", "a body over MaximumMessageSize")
			// name + type + value = 1 + 6 + 3
			_, err = p.trySend(url, strings.Repeat("x", 1014), withAttribute("a", "String", "xyz"))
			p.ok(err, "SendMessage of 1 KiB with its attribute")
			_, err = p.trySend(url, strings.Repeat("x", 1015), withAttribute("a", "String", "xyz"))
			p.refused(err, "InvalidParameterValue", "body and attribute over MaximumMessageSize")
		},
	},
	{
		name: "messages/attributes", source: guide("Amazon SQS message attributes"),
		says: "Attributes are of String, Number or Binary, with a custom label, and come back as they were.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x", withAttribute("s", "String", "v"), withAttribute("s.l", "String.label", "ä"),
				withAttribute("n", "Number", "-1.5e3"), withAttribute("b", "Binary.png", "\x00\xff"))
			got := p.next(url).MessageAttributes
			if len(got) != 4 {
				p.fatalf("received %d attributes, want 4", len(got))
			}
			p.equal("the type of s", aws.ToString(got["s"].DataType), "String")
			p.equal("s", aws.ToString(got["s"].StringValue), "v")
			p.equal("the type of s.l", aws.ToString(got["s.l"].DataType), "String.label")
			p.equal("s.l", aws.ToString(got["s.l"].StringValue), "ä")
			p.equal("n", aws.ToString(got["n"].StringValue), "-1.5e3")
			p.equal("the type of b", aws.ToString(got["b"].DataType), "Binary.png")
			p.equal("b", string(got["b"].BinaryValue), "\x00\xff")
		},
	},
	{
		name: "messages/attributes-ten", source: guide(quotas),
		says: "A message has at most ten attributes.",
		test: func(p *probe) {
			url := p.queue()
			with := func(n int) sendEdit {
				return func(in *sqs.SendMessageInput) {
					for i := range n {
						withAttribute("a"+strconv.Itoa(i), "String", "v")(in)
					}
				}
			}
			_, err := p.trySend(url, "x", with(10))
			p.ok(err, "SendMessage with ten attributes")
			_, err = p.trySend(url, "x", with(11))
			p.refused(err, "InvalidParameterValue", "eleven attributes")
		},
	},
	{
		name: "messages/attribute-names", source: guide("Message attribute components"),
		says: "A name has 1 to 256 of A-Z a-z 0-9 _ - ., no period at either end or twice in a row, and does not start with AWS. or Amazon.",
		test: func(p *probe) {
			url := p.queue()
			for _, good := range []string{"a", "A-b_c.9", strings.Repeat("x", 255)} {
				_, err := p.trySend(url, "x", withAttribute(good, "String", "v"))
				p.ok(err, "the name "+good)
			}
			for _, bad := range []string{".a", "a.", "a..b", "a b", "a/b", "ä", "AWS.x", "aws.x", "Amazon.x", strings.Repeat("x", 257)} {
				_, err := p.trySend(url, "x", withAttribute(bad, "String", "v"))
				p.refused(err, "InvalidParameterValue", "the name "+bad)
			}
		},
	},
	{
		name: "messages/attribute-values", source: guide("Message attribute components"),
		says: "An attribute has a type of String, Number or Binary and a value that is not empty.",
		test: func(p *probe) {
			url := p.queue()
			for _, a := range []struct{ dataType, value, what string }{
				{"String", "", "an empty String"},
				{"Binary", "", "an empty Binary"},
				{"Float", "1", "the type Float"},
				{"", "x", "no type"},
			} {
				_, err := p.trySend(url, "x", withAttribute("a", a.dataType, a.value))
				p.refused(err, "InvalidParameterValue", a.what)
			}
		},
	},
	{
		name: "messages/attribute-characters", source: api("MessageAttributeValue"),
		says: "The text of an attribute has the same characters as a body.",
		test: func(p *probe) {
			_, err := p.trySend(p.queue(), "x", withAttribute("a", "String", "x\x01"))
			if code := codeOf(err); code != "InvalidParameterValue" && code != "InvalidMessageContents" {
				p.errorf("a control character: %v, want it refused", err)
			}
		},
	},
	{
		name: "messages/attribute-numbers", source: guide("Message attribute data types"),
		says: "A Number is a number, with at most 38 digits, from 10^-128 to 10^126.",
		test: func(p *probe) {
			url := p.queue()
			for _, good := range []string{"0", "-0.5", "1e126", "1e-128", strings.Repeat("9", 38)} {
				_, err := p.trySend(url, "x", withAttribute("a", "Number", good))
				p.ok(err, "the Number "+good)
			}
			for _, bad := range []string{"x", "1x", "--1", "."} {
				_, err := p.trySend(url, "x", withAttribute("a", "Number", bad))
				p.refused(err, "InvalidParameterValue", "the Number "+bad)
			}
		},
	},
	{
		name: "messages/trace", source: api("SendMessage"),
		says: "AWSTraceHeader is the one system attribute that can be sent, and comes back with the message.",
		test: func(p *probe) {
			url := p.queue()
			const trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
			p.send(url, "x", func(in *sqs.SendMessageInput) {
				in.MessageSystemAttributes = map[string]sqstypes.MessageSystemAttributeValue{
					"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String(trace)},
				}
			})
			p.equal("AWSTraceHeader", p.next(url).Attributes["AWSTraceHeader"], trace)
			_, err := p.trySend(url, "x", func(in *sqs.SendMessageInput) {
				in.MessageSystemAttributes = map[string]sqstypes.MessageSystemAttributeValue{
					"SenderId": {DataType: aws.String("String"), StringValue: aws.String("x")},
				}
			})
			p.refused(err, "InvalidParameterValue", "another system attribute")
		},
	},
	{
		name: "messages/delay", source: guide("Amazon SQS message timers"),
		says: "A message with DelaySeconds cannot be received before.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x", func(in *sqs.SendMessageInput) { in.DelaySeconds = 3 })
			p.empty(url, "before the delay")
			p.equal("the body", *p.next(url).Body, "x")
		},
	},
	{
		name: "messages/queue-delay", source: guide("Amazon SQS delay queues"),
		says: "A queue's DelaySeconds goes for messages without their own; a message's own may be 0.",
		test: func(p *probe) {
			url := p.queue("DelaySeconds", "900")
			p.send(url, "late")
			status, _, _ := p.post("AmazonSQS.SendMessage", `{"QueueUrl":"`+url+`","MessageBody":"soon","DelaySeconds":0}`)
			p.equal("the status", status, 200)
			p.equal("the body", *p.next(url).Body, "soon")
			p.empty(url, "before the queue's delay")
		},
	},
	{
		name: "messages/delay-bounds", source: api("SendMessage"),
		says: "DelaySeconds is from 0 to 900.",
		test: func(p *probe) {
			url := p.queue()
			for _, n := range []int32{-1, 901} {
				_, err := p.trySend(url, "x", func(in *sqs.SendMessageInput) { in.DelaySeconds = n })
				p.refused(err, "InvalidParameterValue", fmt.Sprintf("DelaySeconds %d", n))
			}
		},
	},
	{
		name: "messages/retention", source: api("SetQueueAttributes"),
		long: true,
		says: "A message is gone when MessageRetentionPeriod has passed since it was sent, in flight or not.",
		test: func(p *probe) {
			url := p.queue("MessageRetentionPeriod", "60")
			p.send(url, "a")
			p.glance(url)
			p.send(url, "b")
			p.sleep(61 * time.Second)
			p.empty(url, "after the retention period")
			p.equal("the counts", p.counts(url), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "messages/group", source: guide("Amazon SQS fair queues"),
		says: "A message of a standard queue may have a MessageGroupId, which comes back with it.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x", func(in *sqs.SendMessageInput) { in.MessageGroupId = aws.String("tenant-1") })
			p.equal("MessageGroupId", p.next(url).Attributes["MessageGroupId"], "tenant-1")
		},
	},
	{
		name: "messages/deduplication", source: api("SendMessage"),
		says: "MessageDeduplicationId is of FIFO queues alone.",
		test: func(p *probe) {
			_, err := p.trySend(p.queue(), "x", func(in *sqs.SendMessageInput) { in.MessageDeduplicationId = aws.String("d") })
			p.refused(err, "InvalidParameterValue", "MessageDeduplicationId")
		},
	},
}
