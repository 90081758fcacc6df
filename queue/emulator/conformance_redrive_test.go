package emulator_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// redriven makes a queue with a dead-letter queue.
func (p *probe) redriven(maxReceiveCount string, attributes ...string) (url, dlq string) {
	dlq = p.queue()
	url = p.queue(append(attributes, "RedrivePolicy", p.policy(dlq, maxReceiveCount))...)
	return url, dlq
}

func (p *probe) policy(dlq, maxReceiveCount string) string {
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%s}`, p.arn(dlq), maxReceiveCount)
}

var redriveRules = []rule{
	{
		name: "redrive/moves", source: guide("Using dead-letter queues in Amazon SQS"),
		says: "A message that would be received more than maxReceiveCount times goes to the dead-letter queue instead.",
		test: func(p *probe) {
			url, dlq := p.redriven("2")
			id := *p.send(url, "x").MessageId
			p.glance(url)
			p.glance(url)
			p.empty(dlq, "before the limit was passed")
			p.empty(url, "after maxReceiveCount receives")
			p.equal("the id of the dead letter", *p.next(dlq).MessageId, id)
			p.equal("the counts of the source", p.counts(url), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "redrive/count", source: guide("Using dead-letter queues in Amazon SQS"),
		says: "The receive count goes on counting in the dead-letter queue.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			p.send(url, "x")
			p.glance(url)
			p.empty(url, "after maxReceiveCount receives")
			p.equal("ApproximateReceiveCount", p.next(dlq).Attributes["ApproximateReceiveCount"], "2")
		},
	},
	{
		name: "redrive/keeps", source: guide("Using dead-letter queues in Amazon SQS"),
		says: "A dead letter keeps its body, its attributes and, from a standard queue, the time it was sent at.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			p.send(url, "x", withAttribute("a", "String", "v"))
			first := p.next(url, hiding(1))
			p.equal("the number of messages after maxReceiveCount receives", len(p.receive(url, waiting(2))), 0)
			dead := p.next(dlq)
			p.equal("the body", *dead.Body, "x")
			p.equal("the attribute", *dead.MessageAttributes["a"].StringValue, "v")
			p.equal("SentTimestamp", dead.Attributes["SentTimestamp"], first.Attributes["SentTimestamp"])
		},
	},
	{
		name: "redrive/source", source: api("ReceiveMessage"),
		says: "A dead letter names the queue it came from as DeadLetterQueueSourceArn.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			p.send(url, "x")
			p.glance(url)
			p.empty(url, "after maxReceiveCount receives")
			p.equal("DeadLetterQueueSourceArn", p.next(dlq).Attributes["DeadLetterQueueSourceArn"], p.arn(url))
		},
	},
	{
		name: "redrive/retention", source: guide("Configuring queue message retention for dead-letter queues"), long: true,
		says: "Retention in a dead-letter queue counts from when the message was first sent.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			p.set(dlq, "MessageRetentionPeriod", "60")
			p.send(url, "x")
			p.sleep(50 * time.Second)
			p.glance(url)
			p.empty(url, "after maxReceiveCount receives")
			p.equal("the counts of the dead-letter queue", p.counts(dlq), [3]string{"1", "0", "0"})
			p.sleep(11 * time.Second)
			p.equal("the counts 61 s after sending", p.counts(dlq), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "redrive/count-as-text", source: api("SetQueueAttributes"),
		says: "maxReceiveCount may be a number or its text.",
		test: func(p *probe) {
			for _, n := range []string{`3`, `"3"`} {
				url, _ := p.redriven(n)
				if got := p.attribute(url, "RedrivePolicy"); !strings.Contains(got, "3") {
					p.errorf("RedrivePolicy is %q", got)
				}
			}
		},
	},
	{
		// LocalStack keeps the nonsense, and while it does no task of any queue starts.
		name: "redrive/checked", source: api("SetQueueAttributes"), alone: true,
		says: "A redrive policy needs both members, a count of 1 to 1,000, and a queue that exists: InvalidParameterValue.",
		test: func(p *probe) {
			url, dlq := p.queue(), p.queue()
			for _, policy := range []string{
				p.policy(dlq, "0"), p.policy(dlq, "1001"), p.policy(dlq, `"x"`),
				fmt.Sprintf(`{"deadLetterTargetArn":%q}`, p.arn(dlq)), `{"maxReceiveCount":3}`, `nonsense`,
				`{"deadLetterTargetArn":"` + p.arn(dlq) + `-none","maxReceiveCount":3}`,
			} {
				p.refused(p.trySet(url, "RedrivePolicy", policy), "InvalidParameterValue", policy)
			}
		},
	},
	{
		name: "redrive/removed", source: api("SetQueueAttributes"),
		says: "An empty RedrivePolicy takes the policy away.",
		test: func(p *probe) {
			url, _ := p.redriven("1")
			p.set(url, "RedrivePolicy", "")
			_, has := p.attributes(url, "All")["RedrivePolicy"]
			p.equal("whether there is a policy", has, false)
			p.send(url, "x")
			for range 3 {
				p.glance(url)
			}
		},
	},
	{
		name: "redrive/allow", source: api("SetQueueAttributes"),
		says: "A dead-letter queue's RedriveAllowPolicy says which queues may use it.",
		test: func(p *probe) {
			url, dlq := p.queue(), p.queue("RedriveAllowPolicy", `{"redrivePermission":"denyAll"}`)
			p.refused(p.trySet(url, "RedrivePolicy", p.policy(dlq, "3")), "InvalidParameterValue", "denyAll")
			p.set(dlq, "RedriveAllowPolicy", fmt.Sprintf(`{"redrivePermission":"byQueue","sourceQueueArns":[%q]}`, p.arn(url)))
			p.ok(p.trySet(url, "RedrivePolicy", p.policy(dlq, "3")), "byQueue with the queue")
			p.refused(p.trySet(p.queue(), "RedrivePolicy", p.policy(dlq, "3")), "InvalidParameterValue", "byQueue with another queue")
		},
	},
	{
		name: "redrive/sources", source: api("ListDeadLetterSourceQueues"),
		says: "ListDeadLetterSourceQueues returns the queues whose redrive policy names the queue.",
		test: func(p *probe) {
			dlq := p.queue()
			want := []string{p.queue("RedrivePolicy", p.policy(dlq, "3")), p.queue("RedrivePolicy", p.policy(dlq, "4"))}
			p.queue()
			out, err := p.sqs.ListDeadLetterSourceQueues(p.ctx, &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: &dlq})
			p.ok(err, "ListDeadLetterSourceQueues")
			slices.Sort(out.QueueUrls)
			p.equal("the list", out.QueueUrls, want)
		},
	},
}
