package emulator_test

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

var receiveRules = []rule{
	{
		name: "receive/at-most", source: api("ReceiveMessage"),
		says: "MaxNumberOfMessages bounds what is returned, by default to 1.",
		test: func(p *probe) {
			url := p.queue()
			for i := range 4 {
				p.send(url, strconv.Itoa(i))
			}
			p.equal("the number of messages by default", len(p.receive(url, maximum(0))), 1)
			p.equal("the number of messages of 2", len(p.receive(url, maximum(2), waiting(2))), 2)
		},
	},
	{
		name: "receive/bounds", source: api("ReceiveMessage"),
		says: "MaxNumberOfMessages is from 1 to 10, WaitTimeSeconds from 0 to 20, VisibilityTimeout from 0 to 43,200.",
		test: func(p *probe) {
			url := p.queue()
			for _, n := range []int32{-1, 11} {
				_, err := p.tryReceive(url, maximum(n))
				p.refused(err, "InvalidParameterValue", fmt.Sprintf("MaxNumberOfMessages %d", n))
			}
			for _, n := range []int32{-1, 21} {
				_, err := p.tryReceive(url, waiting(n))
				p.refused(err, "InvalidParameterValue", fmt.Sprintf("WaitTimeSeconds %d", n))
			}
			for _, n := range []int32{-1, 43_201} {
				_, err := p.tryReceive(url, hiding(n))
				p.refused(err, "InvalidParameterValue", fmt.Sprintf("VisibilityTimeout %d", n))
			}
		},
	},
	{
		name: "receive/zero", source: api("ReceiveMessage"),
		says: "A MaxNumberOfMessages of 0 is InvalidParameterValue.",
		test: func(p *probe) {
			status, header, body := p.post("AmazonSQS.ReceiveMessage", `{"QueueUrl":"`+p.queue()+`","MaxNumberOfMessages":0}`)
			p.equal("the status ("+body+header.Get("X-Amzn-Query-Error")+")", status, 400)
		},
	},
	{
		name: "receive/order", source: guide("Amazon SQS standard queues: message ordering"),
		says: "Order is best effort; messages sent one after the other come in that order when nothing disturbs it.",
		test: func(p *probe) {
			url := p.queue()
			for i := range 5 {
				p.send(url, strconv.Itoa(i))
				// ElasticMQ goes by the time in milliseconds, and mixes what has the same.
				p.sleep(time.Millisecond)
			}
			for i, m := range p.drain(url, 5) {
				p.equal("message "+strconv.Itoa(i), *m.Body, strconv.Itoa(i))
			}
		},
	},
	{
		name: "receive/system-attributes", source: api("ReceiveMessage"),
		says: "SenderId, SentTimestamp, ApproximateReceiveCount and ApproximateFirstReceiveTimestamp come with a message.",
		test: func(p *probe) {
			url := p.queue()
			before := time.Now().Add(-time.Second).UnixMilli()
			p.send(url, "x")
			a := p.next(url).Attributes
			after := time.Now().Add(time.Second).UnixMilli()
			if a["SenderId"] == "" {
				p.errorf("SenderId is missing")
			}
			p.equal("ApproximateReceiveCount", a["ApproximateReceiveCount"], "1")
			for _, name := range []string{"SentTimestamp", "ApproximateFirstReceiveTimestamp"} {
				at, err := strconv.ParseInt(a[name], 10, 64)
				if err != nil || at < before || at > after {
					p.errorf("%s is %q, want milliseconds of now", name, a[name])
				}
			}
		},
	},
	{
		name: "receive/system-attributes-chosen", source: api("ReceiveMessage"),
		says: "System attributes come only if asked for, by the new parameter or by the old AttributeNames.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "a")
			m := p.next(url, func(in *sqs.ReceiveMessageInput) { in.MessageSystemAttributeNames = nil })
			p.equal("the number of attributes", len(m.Attributes), 0)
			p.send(url, "b")
			m = p.next(url, func(in *sqs.ReceiveMessageInput) {
				in.MessageSystemAttributeNames = []sqstypes.MessageSystemAttributeName{"ApproximateReceiveCount"}
			})
			p.equal("the attributes", m.Attributes, map[string]string{"ApproximateReceiveCount": "1"})
			p.send(url, "c")
			m = p.next(url, func(in *sqs.ReceiveMessageInput) {
				in.MessageSystemAttributeNames = nil
				//lint:ignore SA1019 the old name is what is tested
				in.AttributeNames = []sqstypes.QueueAttributeName{"ApproximateReceiveCount"}
			})
			p.equal("the attributes by the old name", m.Attributes, map[string]string{"ApproximateReceiveCount": "1"})
		},
	},
	{
		name: "receive/attributes-chosen", source: api("ReceiveMessage"),
		says: "Message attributes come only if asked for: by name, by prefix.* or by All or .*.",
		test: func(p *probe) {
			url := p.queue()
			for _, c := range []struct {
				names []string
				want  int
			}{
				{nil, 0}, {[]string{"a.x"}, 1}, {[]string{"a.*"}, 2}, {[]string{"All"}, 3}, {[]string{".*"}, 3}, {[]string{"none"}, 0},
			} {
				p.send(url, "x", withAttribute("a.x", "String", "1"), withAttribute("a.y", "String", "2"), withAttribute("b", "String", "3"))
				m := p.next(url, func(in *sqs.ReceiveMessageInput) { in.MessageAttributeNames = c.names })
				p.equal(fmt.Sprintf("the number of attributes for %q", c.names), len(m.MessageAttributes), c.want)
			}
		},
	},
	{
		name: "receive/none", source: api("ReceiveMessage"),
		says: "A short poll of an empty queue returns at once, with no messages.",
		test: func(p *probe) {
			url := p.queue()
			start := time.Now()
			p.empty(url, "from an empty queue")
			if took := time.Since(start); took > 5*time.Second {
				p.errorf("a short poll took %v", took)
			}
		},
	},
	{
		name: "receive/long-poll", source: guide("Amazon SQS short and long polling"),
		says: "A long poll returns when a message arrives.",
		test: func(p *probe) {
			url := p.queue()
			sent := make(chan error, 1)
			go func() {
				p.sleep(300 * time.Millisecond) // so that the poll is there first
				_, err := p.trySend(url, "x")
				sent <- err
			}()
			start := time.Now()
			got := p.receive(url, waiting(15))
			p.ok(<-sent, "SendMessage")
			if took := time.Since(start); len(got) != 1 || took > 10*time.Second {
				p.errorf("received %d messages after %v, want 1 at once", len(got), took)
			}
		},
	},
	{
		name: "receive/long-poll-ends", source: guide("Amazon SQS short and long polling"),
		says: "A long poll of an empty queue returns with no messages when WaitTimeSeconds have passed.",
		test: func(p *probe) {
			url := p.queue()
			start := time.Now()
			p.equal("the number of messages", len(p.receive(url, waiting(1))), 0)
			if took := time.Since(start); took < 900*time.Millisecond || took > 10*time.Second {
				p.errorf("the poll took %v, want 1s", took)
			}
		},
	},
	{
		name: "receive/queue-wait", source: api("SetQueueAttributes"),
		says: "ReceiveMessageWaitTimeSeconds makes long polls of requests that do not say.",
		test: func(p *probe) {
			url := p.queue("ReceiveMessageWaitTimeSeconds", "1")
			start := time.Now()
			status, _, _ := p.post("AmazonSQS.ReceiveMessage", `{"QueueUrl":"`+url+`"}`)
			p.equal("the status", status, 200)
			if took := time.Since(start); took < 900*time.Millisecond {
				p.errorf("the poll took %v, want 1s", took)
			}
			p.set(url, "ReceiveMessageWaitTimeSeconds", "20")
			start = time.Now()
			p.post("AmazonSQS.ReceiveMessage", `{"QueueUrl":"`+url+`","WaitTimeSeconds":0}`)
			if took := time.Since(start); took > 10*time.Second {
				p.errorf("the poll with WaitTimeSeconds 0 took %v", took)
			}
		},
	},
	{
		name: "receive/long-poll-sees-delayed", source: guide("Amazon SQS short and long polling"),
		says: "A long poll returns a message whose delay ends while it waits.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x", func(in *sqs.SendMessageInput) { in.DelaySeconds = 1 })
			p.equal("the number of messages", len(p.receive(url, waiting(5))), 1)
		},
	},
	{
		name: "receive/delete", source: api("DeleteMessage"),
		says: "A deleted message is gone; deleting it again is no error.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x")
			m := p.next(url, hiding(1))
			p.delete(url, m.ReceiptHandle)
			p.delete(url, m.ReceiptHandle)
			p.equal("the number of messages after the visibility timeout", len(p.receive(url, waiting(2))), 0)
			p.equal("the counts", p.counts(url), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "receive/delete-visible", source: api("DeleteMessage"),
		says: "A message can be deleted after its visibility timeout has passed, by its latest receipt handle.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x")
			m := p.glance(url)
			p.delete(url, m.ReceiptHandle)
			p.empty(url, "after the deletion")
		},
	},
	{
		name: "receive/delete-stale", source: api("DeleteMessage"),
		says: "Only the latest receipt handle deletes; with an older one the request succeeds and the message stays.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x")
			first := p.glance(url)
			second := p.glance(url)
			if *first.ReceiptHandle == *second.ReceiptHandle {
				p.errorf("two receives have one receipt handle")
			}
			p.delete(url, first.ReceiptHandle)
			third := p.next(url)
			p.delete(url, third.ReceiptHandle)
			p.equal("the counts", p.counts(url), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "receive/handle-invalid", source: api("DeleteMessage"),
		says: "A receipt handle that is none is ReceiptHandleIsInvalid.",
		test: func(p *probe) {
			url := p.queue()
			p.refused(p.tryDelete(url, aws.String("nonsense")), "ReceiptHandleIsInvalid", "DeleteMessage")
			p.refused(p.tryVisibility(url, aws.String("nonsense"), 5), "ReceiptHandleIsInvalid", "ChangeMessageVisibility")
		},
	},
	{
		name: "receive/handle-foreign", source: api("DeleteMessage"),
		says: "A receipt handle of another queue is ReceiptHandleIsInvalid.",
		test: func(p *probe) {
			a, b := p.queue(), p.queue()
			p.send(a, "x")
			p.refused(p.tryDelete(b, p.next(a).ReceiptHandle), "ReceiptHandleIsInvalid", "DeleteMessage")
		},
	},
}

func maximum(n int32) receiveEdit {
	return func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = n }
}

var visibilityRules = []rule{
	{
		name: "visibility/hides", source: guide("Amazon SQS visibility timeout"),
		says: "A received message is hidden until its visibility timeout has passed, and then comes again with a higher count.",
		test: func(p *probe) {
			url := p.queue("VisibilityTimeout", "3")
			p.send(url, "x")
			first := p.next(url)
			p.empty(url, "before the visibility timeout")
			second := p.next(url)
			p.equal("the message id", *second.MessageId, *first.MessageId)
			p.equal("ApproximateReceiveCount", second.Attributes["ApproximateReceiveCount"], "2")
			p.equal("ApproximateFirstReceiveTimestamp", second.Attributes["ApproximateFirstReceiveTimestamp"], first.Attributes["ApproximateFirstReceiveTimestamp"])
			p.equal("SentTimestamp", second.Attributes["SentTimestamp"], first.Attributes["SentTimestamp"])
		},
	},
	{
		name: "visibility/of-the-request", source: api("ReceiveMessage"),
		says: "VisibilityTimeout of ReceiveMessage goes before the queue's.",
		test: func(p *probe) {
			url := p.queue("VisibilityTimeout", "900")
			p.send(url, "x")
			p.next(url, hiding(1))
			p.equal("ApproximateReceiveCount", p.next(url).Attributes["ApproximateReceiveCount"], "2")
		},
	},
	{
		name: "visibility/zero", source: api("ReceiveMessage"),
		says: "A VisibilityTimeout of 0 leaves the message visible.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x")
			for want := range 3 {
				status, _, body := p.post("AmazonSQS.ReceiveMessage", `{"QueueUrl":"`+url+`","VisibilityTimeout":0}`)
				p.equal("the status of receive "+strconv.Itoa(want)+" ("+body+")", status, 200)
			}
			p.equal("ApproximateReceiveCount", p.next(url).Attributes["ApproximateReceiveCount"], "4")
		},
	},
	{
		name: "visibility/extend", source: api("ChangeMessageVisibility"),
		says: "ChangeMessageVisibility hides a message for so long from now on.",
		test: func(p *probe) {
			url := p.queue("VisibilityTimeout", "1")
			p.send(url, "x")
			p.visibility(url, p.next(url).ReceiptHandle, 900)
			p.equal("the number of messages after the first timeout", len(p.receive(url, waiting(2))), 0)
		},
	},
	{
		name: "visibility/shorten", source: api("ChangeMessageVisibility"),
		says: "ChangeMessageVisibility to 0 makes a message visible at once.",
		test: func(p *probe) {
			url := p.queue("VisibilityTimeout", "900")
			p.send(url, "x")
			p.visibility(url, p.next(url).ReceiptHandle, 0)
			p.equal("ApproximateReceiveCount", p.next(url).Attributes["ApproximateReceiveCount"], "2")
		},
	},
	{
		name: "visibility/wakes", source: guide("Amazon SQS short and long polling"),
		says: "A long poll returns a message that becomes visible while it waits.",
		test: func(p *probe) {
			url := p.queue("VisibilityTimeout", "900")
			p.send(url, "x")
			m := p.next(url)
			changed := make(chan error, 1)
			go func() {
				p.sleep(300 * time.Millisecond)
				changed <- p.tryVisibility(url, m.ReceiptHandle, 0)
			}()
			start := time.Now()
			got := p.receive(url, waiting(15))
			p.ok(<-changed, "ChangeMessageVisibility")
			if took := time.Since(start); len(got) != 1 || took > 10*time.Second {
				p.errorf("received %d messages after %v, want 1 at once", len(got), took)
			}
		},
	},
	{
		name: "visibility/bounds", source: api("ChangeMessageVisibility"),
		says: "VisibilityTimeout is from 0 to 43,200.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x")
			m := p.next(url)
			for _, n := range []int32{-1, 43_201} {
				p.refused(p.tryVisibility(url, m.ReceiptHandle, n), "InvalidParameterValue", fmt.Sprintf("VisibilityTimeout %d", n))
			}
		},
	},
	{
		name: "visibility/total", source: guide("Amazon SQS visibility timeout"), long: true,
		says: "A message is hidden for at most 12 hours from its receive.",
		test: func(p *probe) {
			url := p.queue("VisibilityTimeout", "43200")
			p.send(url, "x")
			m := p.next(url)
			p.sleep(10 * time.Second)
			p.refused(p.tryVisibility(url, m.ReceiptHandle, 43_200), "InvalidParameterValue", "12 hours from now")
			p.visibility(url, m.ReceiptHandle, 43_190)
		},
	},
	{
		name: "visibility/not-in-flight", source: api("ChangeMessageVisibility"),
		says: "A message that is visible again is MessageNotInflight.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x")
			m := p.next(url, hiding(1))
			p.visibility(url, m.ReceiptHandle, 0)
			p.refused(p.tryVisibility(url, m.ReceiptHandle, 5), "MessageNotInflight", "a visible message")
		},
	},
	{
		name: "visibility/deleted", source: api("ChangeMessageVisibility"),
		says: "The visibility of a deleted message cannot be changed: InvalidParameterValue.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "x")
			m := p.next(url)
			p.delete(url, m.ReceiptHandle)
			p.refused(p.tryVisibility(url, m.ReceiptHandle, 5), "InvalidParameterValue", "a deleted message")
		},
	},
}
