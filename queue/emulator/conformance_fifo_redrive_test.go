package emulator_test

import (
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// fifoRedriven makes a FIFO queue with a dead-letter queue.
func (p *probe) fifoRedriven(maxReceiveCount string) (url, dlq string) {
	dlq = p.byContent()
	return p.byContent("RedrivePolicy", p.policy(dlq, maxReceiveCount)), dlq
}

var fifoRedriveRules = []rule{
	{
		name: "fifo-redrive/type", source: api("CreateQueue"),
		says: "The dead-letter queue of a FIFO queue is a FIFO queue, and that of a standard queue a standard queue: InvalidParameterValue.",
		test: func(p *probe) {
			p.refused(p.trySet(p.fifo(), "RedrivePolicy", p.policy(p.queue(), "3")), "InvalidParameterValue", "a standard queue")
			p.refused(p.trySet(p.queue(), "RedrivePolicy", p.policy(p.fifo(), "3")), "InvalidParameterValue", "a FIFO queue")
			p.ok(p.trySet(p.fifo(), "RedrivePolicy", p.policy(p.fifo(), "3")), "both FIFO queues")
		},
	},
	{
		name: "fifo-redrive/goes-on", source: guide("Avoid large message backlogs with the same message group ID in Amazon SQS"),
		says: "When a message has moved to the dead-letter queue, its group goes on.",
		test: func(p *probe) {
			url, dlq := p.fifoRedriven("2")
			p.sendAll(url, "a1", "a2", "b1")
			for range 2 {
				a := p.came(p.receive(url, atMost(1)), "a1")[0]
				b := p.came(p.receive(url, atMost(1)), "b1")[0]
				p.visibility(url, a.ReceiptHandle, 0)
				p.visibility(url, b.ReceiptHandle, 0)
			}
			p.equal("the messages", inOrder(p.receive(url)), "a2")
			p.equal("the dead letters", inOrder(p.drain(dlq, 2)), "a1 b1")
		},
	},
	{
		name: "fifo-redrive/keeps", source: guide("Learn how to configure a dead-letter queue redrive in Amazon SQS"),
		says: "A dead letter of a FIFO queue keeps its id, its group and its receive count; its deduplication id is its id.",
		test: func(p *probe) {
			url, dlq := p.fifoRedriven("1")
			id := *p.send(url, "x", inGroup("g"), withDedup("d")).MessageId
			p.glance(url)
			p.empty(url, "after maxReceiveCount receives")
			dead := p.next(dlq)
			p.equal("the id", *dead.MessageId, id)
			p.equal("MessageGroupId", dead.Attributes["MessageGroupId"], "g")
			p.equal("ApproximateReceiveCount", dead.Attributes["ApproximateReceiveCount"], "2")
			p.equal("MessageDeduplicationId", dead.Attributes["MessageDeduplicationId"], id)
		},
	},
	{
		name: "fifo-redrive/order", source: guide(deliveryLogic),
		says: "Dead letters of a group keep their order, with increasing SequenceNumbers.",
		test: func(p *probe) {
			url, dlq := p.fifoRedriven("1")
			p.sendAll(url, "a1", "a2", "b1", "a3", "b2")
			p.set(url, "VisibilityTimeout", "0")
			p.receive(url)
			p.empty(url, "after maxReceiveCount receives")
			got := p.came(p.drain(dlq, 5), "a1 a2 a3 b1 b2")
			for i := range got[1:] {
				if a, b := got[i].Attributes["SequenceNumber"], got[i+1].Attributes["SequenceNumber"]; a >= b {
					p.errorf("the number %s comes before %s", a, b)
				}
			}
		},
	},
	{
		name: "fifo-redrive/no-duplicates", source: guide("Learn how to configure a dead-letter queue redrive in Amazon SQS"),
		says: "The dead-letter queue takes no dead letter for the duplicate of another, though their contents be the same.",
		test: func(p *probe) {
			url, dlq := p.fifoRedriven("1")
			p.send(url, "x", inGroup("g"), withDedup("1"))
			p.send(url, "x", inGroup("g"), withDedup("2"))
			p.send(dlq, "x", inGroup("g"))
			p.set(url, "VisibilityTimeout", "0")
			p.receive(url)
			p.empty(url, "after maxReceiveCount receives")
			p.equal("the dead letters", inOrder(p.drain(dlq, 3)), "x x x")
		},
	},
	{
		name: "fifo-redrive/time", source: guide("Setting-up dead-letter queue retention in Amazon SQS"),
		says: "A dead letter of a FIFO queue has the time of its move as its SentTimestamp.",
		test: func(p *probe) {
			url, dlq := p.fifoRedriven("1")
			p.sendAll(url, "a1")
			first := p.next(url)
			p.sleep(time.Second)
			p.visibility(url, first.ReceiptHandle, 0)
			p.empty(url, "after maxReceiveCount receives")
			sent, err := strconv.ParseInt(first.Attributes["SentTimestamp"], 10, 64)
			p.ok(err, "SentTimestamp")
			moved, err := strconv.ParseInt(p.next(dlq).Attributes["SentTimestamp"], 10, 64)
			p.ok(err, "SentTimestamp in the dead-letter queue")
			if d := moved - sent; d < 900 {
				p.errorf("SentTimestamp is %d ms later, want a second", d)
			}
		},
	},
	{
		name: "fifo-redrive/back", source: guide("Learn how to configure a dead-letter queue redrive in Amazon SQS"),
		says: "A move task takes the messages of a group back in order, as new ones: what they were before makes no duplicates of them.",
		test: func(p *probe) {
			url, dlq := p.fifoRedriven("1")
			p.sendAll(url, "a1", "a2", "b1")
			p.set(url, "VisibilityTimeout", "0")
			p.receive(url)
			p.empty(url, "after maxReceiveCount receives")
			p.set(url, "VisibilityTimeout", "30")
			_, err := p.sqs.StartMessageMoveTask(p.ctx, &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(p.arn(dlq))})
			p.ok(err, "StartMessageMoveTask")
			var got []string
			for len(got) < 3 {
				m := p.next(url)
				got = append(got, *m.Body)
				p.delete(url, m.ReceiptHandle)
			}
			p.equal("whether a1 comes before a2", slices.Index(got, "a1") < slices.Index(got, "a2"), true)
			p.equal("the counts of the dead-letter queue", p.counts(dlq), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "fifo-redrive/back-type", source: guide("Learn how to configure a dead-letter queue redrive in Amazon SQS"),
		says: "A move task moves between queues of one type only: InvalidParameterValue.",
		test: func(p *probe) {
			_, dlq := p.fifoRedriven("1")
			_, err := p.sqs.StartMessageMoveTask(p.ctx, &sqs.StartMessageMoveTaskInput{
				SourceArn: aws.String(p.arn(dlq)), DestinationArn: aws.String(p.arn(p.queue())),
			})
			p.refused(err, "InvalidParameterValue", "a standard queue as the destination of a FIFO queue")
		},
	},
	{
		name: "fifo-redrive/retention", source: guide("Setting-up dead-letter queue retention in Amazon SQS"), long: true,
		says: "Retention in the dead-letter queue of a FIFO queue counts from the move.",
		test: func(p *probe) {
			url, dlq := p.fifoRedriven("1")
			p.set(dlq, "MessageRetentionPeriod", "60")
			p.sendAll(url, "a1")
			p.sleep(50 * time.Second)
			p.glance(url)
			p.empty(url, "after maxReceiveCount receives")
			p.sleep(59 * time.Second)
			p.equal("the counts 59 s after the move", p.counts(dlq), [3]string{"1", "0", "0"})
			p.sleep(time.Second)
			p.equal("the counts 60 s after the move", p.counts(dlq), [3]string{"0", "0", "0"})
		},
	},
}

const fairDetails = "How Amazon SQS fair queues work"

// busy makes a standard queue of whose group a so many messages are in flight, and more wait.
func (p *probe) busy(inFlight int) (url string) {
	url = p.queue("VisibilityTimeout", "600")
	for range inFlight/10 + 1 {
		entries := entriesOf(10)
		for i := range entries {
			entries[i].MessageBody, entries[i].MessageGroupId = aws.String("a"), aws.String("a")
		}
		p.sendBatch(url, entries...)
	}
	for n := 0; n < inFlight; {
		got := len(p.receive(url, atMost(int32(min(10, inFlight-n)))))
		if got == 0 {
			p.fatalf("%d messages came, want %d", n, inFlight)
		}
		n += got
	}
	return url
}

var fairRules = []rule{
	{
		name: "fair/quiet", source: guide(fairDetails),
		says: "A group of a standard queue that has 30 messages in flight, and more than a tenth of all, is noisy: messages of others come before its own.",
		test: func(p *probe) {
			url := p.busy(30)
			p.send(url, "b", inGroup("b"))
			p.send(url, "c", inGroup("c"))
			p.equal("the next messages", inOrder(p.receive(url, atMost(3))), "b c a")
		},
	},
	{
		name: "fair/own", source: guide(fairDetails),
		says: "A message without a group is nobody else's, and not held back.",
		test: func(p *probe) {
			url := p.busy(30)
			p.send(url, "b", inGroup("b"))
			p.send(url, "x")
			p.send(url, "y")
			p.equal("the next messages", inOrder(p.receive(url, atMost(4))), "b x y a")
		},
	},
	{
		name: "fair/few", source: guide(fairDetails),
		says: "With fewer in flight, messages come in the order in which they were sent.",
		test: func(p *probe) {
			url := p.busy(29)
			p.send(url, "b", inGroup("b"))
			p.equal("the next messages", inOrder(p.receive(url, atMost(1))), "a")
		},
	},
	{
		name: "fair/several", source: guide(fairDetails),
		says: "Of several noisy groups, the one with the fewest messages in flight comes first.",
		test: func(p *probe) {
			url := p.busy(40)
			entries := entriesOf(10)
			for range 4 {
				for i := range entries {
					entries[i].MessageBody, entries[i].MessageGroupId = aws.String("b"), aws.String("b")
				}
				p.sendBatch(url, entries...)
			}
			for range 3 {
				p.equal("what comes first", inOrder(p.receive(url)), "b b b b b b b b b b")
			}
			p.equal("the one with the fewest", inOrder(p.receive(url, atMost(3))), "b b b")
		},
	},
	{
		name: "fair/parallel", source: api("SendMessage"),
		says: "Messages of one group of a standard queue are received side by side.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "1", inGroup("g"))
			p.send(url, "2", inGroup("g"))
			p.next(url)
			p.next(url)
		},
	},
	{
		name: "fair/alone", source: guide(fairDetails),
		says: "A noisy group that is alone is received as ever.",
		test: func(p *probe) {
			url := p.busy(30)
			p.equal("the number of messages", len(p.receive(url)), 10)
		},
	},
}
