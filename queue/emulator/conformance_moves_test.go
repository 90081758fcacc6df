package emulator_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// bury sends messages and has them go to the dead-letter queue.
func (p *probe) bury(url, dlq string, bodies ...string) {
	for i, body := range bodies {
		p.send(url, body, withAttribute("n", "Number", fmt.Sprint(i)))
		p.glance(url)
		p.empty(url, "after maxReceiveCount receives")
	}
	p.equal("the counts of the dead-letter queue", p.counts(dlq), [3]string{fmt.Sprint(len(bodies)), "0", "0"})
}

func (p *probe) tryMove(dlq, to string, rate int32) (string, error) {
	in := &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(p.arn(dlq))}
	if to != "" {
		in.DestinationArn = aws.String(p.arn(to))
	}
	if rate != 0 {
		in.MaxNumberOfMessagesPerSecond = &rate
	}
	out, err := p.sqs.StartMessageMoveTask(p.ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.TaskHandle), nil
}

func (p *probe) move(dlq, to string, rate int32) (handle string) {
	handle, err := p.tryMove(dlq, to, rate)
	p.ok(err, "StartMessageMoveTask")
	return handle
}

func (p *probe) moves(dlq string, most int32) []sqstypes.ListMessageMoveTasksResultEntry {
	out, err := p.sqs.ListMessageMoveTasks(p.ctx, &sqs.ListMessageMoveTasksInput{SourceArn: aws.String(p.arn(dlq)), MaxResults: &most})
	p.ok(err, "ListMessageMoveTasks")
	return out.Results
}

// ended waits for the latest task of a queue to be over.
func (p *probe) ended(dlq string) sqstypes.ListMessageMoveTasksResultEntry {
	for range 100 {
		if tasks := p.moves(dlq, 1); len(tasks) == 1 {
			if s := aws.ToString(tasks[0].Status); s != "CREATED" && s != "RUNNING" && s != "CANCELLING" {
				return tasks[0]
			}
		}
		p.sleep(100 * time.Millisecond)
	}
	p.fatalf("the task has not ended after 10 s")
	panic("unreachable")
}

const (
	redriveGuide = "Learn how to configure a dead-letter queue redrive in Amazon SQS"
	startMove    = "StartMessageMoveTask"
	listMoves    = "ListMessageMoveTasks"
	cancelMove   = "CancelMessageMoveTask"
)

var moveRules = []rule{
	{
		name: "moves/home", source: api(startMove),
		says: "A move task without a destination moves messages to the queues that they came from.",
		test: func(p *probe) {
			a, dlq := p.redriven("1")
			b := p.queue("RedrivePolicy", p.policy(dlq, "1"))
			p.bury(a, dlq, "a")
			p.send(b, "b")
			p.glance(b)
			p.empty(b, "after maxReceiveCount receives")
			p.move(dlq, "", 0)
			p.equal("the status", aws.ToString(p.ended(dlq).Status), "COMPLETED")
			p.equal("what has come to the first queue", *p.next(a).Body, "a")
			p.equal("what has come to the second queue", *p.next(b).Body, "b")
			p.equal("the counts of the dead-letter queue", p.counts(dlq), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "moves/destination", source: api(startMove),
		says: "A move task with a destination moves all messages there, also those that were sent to the dead-letter queue.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			to := p.queue()
			p.bury(url, dlq, "dead")
			p.send(dlq, "sent")
			p.move(dlq, to, 0)
			task := p.ended(dlq)
			p.equal("the status", aws.ToString(task.Status), "COMPLETED")
			p.equal("the destination", aws.ToString(task.DestinationArn), p.arn(to))
			p.equal("how many were moved", task.ApproximateNumberOfMessagesMoved, int64(2))
			got := p.drain(to, 2)
			p.equal("the bodies", bodies(got), []string{"dead", "sent"})
		},
	},
	{
		name: "moves/anew", source: guide(redriveGuide),
		says: "A moved message keeps its body and attributes; it has a new id, and its count and its retention begin again.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			sent := p.send(url, "x", withAttribute("a", "String", "v"))
			p.glance(url)
			p.empty(url, "after maxReceiveCount receives")
			before := time.Now()
			p.sleep(time.Second)
			p.move(dlq, "", 0)
			p.ended(dlq)
			m := p.next(url)
			p.equal("the attribute", aws.ToString(m.MessageAttributes["a"].StringValue), "v")
			p.equal("ApproximateReceiveCount", m.Attributes["ApproximateReceiveCount"], "1")
			if m.Attributes["SentTimestamp"] <= fmt.Sprint(before.UnixMilli()) {
				p.errorf("SentTimestamp is still that of the first send")
			}
			if *m.MessageId == *sent.MessageId {
				p.errorf("the message has its old id")
			}
		},
	},
	{
		name: "moves/unknown-source", source: guide(redriveGuide),
		says: "Without a destination, a message that was sent to the dead-letter queue fails the task: CouldNotDetermineMessageSource. It stays.",
		test: func(p *probe) {
			_, dlq := p.redriven("1")
			p.send(dlq, "sent")
			p.move(dlq, "", 0)
			task := p.ended(dlq)
			p.equal("the status", aws.ToString(task.Status), "FAILED")
			p.equal("the reason", aws.ToString(task.FailureReason), "CouldNotDetermineMessageSource")
			p.equal("what is left", *p.next(dlq).Body, "sent")
		},
	},
	{
		name: "moves/source", source: api(startMove),
		says: "The source is a queue that is another's dead-letter queue; source and destination exist.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second) // ElasticMQ thinks about it for 20 s
			defer cancel()
			_, err := p.sqs.StartMessageMoveTask(ctx, &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(p.arn(p.queue()))})
			p.refused(err, "InvalidParameterValue", "a queue that is no dead-letter queue")
			none := aws.String(p.arn(dlq) + "-none")
			_, err = p.sqs.StartMessageMoveTask(p.ctx, &sqs.StartMessageMoveTaskInput{SourceArn: none})
			p.refused(err, "ResourceNotFound", "a source that does not exist")
			_, err = p.sqs.StartMessageMoveTask(p.ctx, &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(p.arn(dlq)), DestinationArn: none})
			p.refused(err, "ResourceNotFound", "a destination that does not exist")
			_, err = p.sqs.ListMessageMoveTasks(p.ctx, &sqs.ListMessageMoveTasksInput{SourceArn: none})
			p.refused(err, "ResourceNotFound", "the tasks of a source that does not exist")
			p.empty(url, "before any move")
		},
	},
	{
		name: "moves/bounds", source: api(startMove) + "; " + listMoves,
		says: "MaxNumberOfMessagesPerSecond is from 1 to 500, MaxResults from 1 to 10.",
		test: func(p *probe) {
			_, dlq := p.redriven("1")
			for _, rate := range []int32{-1, 501} {
				_, err := p.tryMove(dlq, "", rate)
				p.refused(err, "InvalidParameterValue", fmt.Sprint("a rate of ", rate))
			}
			for _, most := range []int32{-1, 11} {
				_, err := p.sqs.ListMessageMoveTasks(p.ctx, &sqs.ListMessageMoveTasksInput{SourceArn: aws.String(p.arn(dlq)), MaxResults: &most})
				p.refused(err, "InvalidParameterValue", fmt.Sprint("MaxResults of ", most))
			}
		},
	},
	{
		name: "moves/rate", source: api(startMove),
		says: "MaxNumberOfMessagesPerSecond bounds the rate.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			p.bury(url, dlq, "a", "b", "c", "d")
			began := time.Now()
			p.move(dlq, "", 2)
			p.ended(dlq)
			if d := time.Since(began); d < time.Second {
				p.errorf("four messages took %v at two a second", d)
			}
		},
	},
	{
		name: "moves/one", source: api(startMove),
		says: "A source has one task at a time; a running one is listed with its handle, and can be cancelled, which leaves the rest where it is.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			p.bury(url, dlq, "a", "b", "c", "d", "e", "f")
			handle := p.move(dlq, "", 1)
			_, err := p.tryMove(dlq, "", 0)
			p.refused(err, "InvalidParameterValue", "a second task")
			p.sleep(500 * time.Millisecond)
			tasks := p.moves(dlq, 10)
			p.equal("the number of tasks", len(tasks), 1)
			p.equal("the status", aws.ToString(tasks[0].Status), "RUNNING")
			p.equal("the handle", aws.ToString(tasks[0].TaskHandle), handle)
			p.equal("the rate", aws.ToInt32(tasks[0].MaxNumberOfMessagesPerSecond), int32(1))
			p.equal("the number to move", aws.ToInt64(tasks[0].ApproximateNumberOfMessagesToMove), int64(6))
			_, err = p.sqs.CancelMessageMoveTask(p.ctx, &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle})
			p.ok(err, cancelMove)
			task := p.ended(dlq)
			p.equal("the status", aws.ToString(task.Status), "CANCELLED")
			p.equal("whether an ended task has a handle", task.TaskHandle != nil, false)
			if left := p.counts(dlq)[0]; left == "0" {
				p.errorf("nothing was left to cancel")
			}
			_, err = p.sqs.CancelMessageMoveTask(p.ctx, &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle})
			p.refused(err, "ResourceNotFound", "cancelling it again")
		},
	},
	{
		name: "moves/listed", source: api(listMoves),
		says: "The latest tasks are listed, the newest first, by default one.",
		test: func(p *probe) {
			url, dlq := p.redriven("1")
			to := p.queue()
			p.bury(url, dlq, "a")
			p.move(dlq, "", 0)
			p.ended(dlq)
			p.glance(url)
			p.empty(url, "after maxReceiveCount receives")
			p.move(dlq, to, 0)
			p.ended(dlq)
			tasks := p.moves(dlq, 10)
			p.equal("the number of tasks", len(tasks), 2)
			p.equal("the destination of the newest", aws.ToString(tasks[0].DestinationArn), p.arn(to))
			p.equal("whether the older has a destination", tasks[1].DestinationArn != nil, false)
			out, err := p.sqs.ListMessageMoveTasks(p.ctx, &sqs.ListMessageMoveTasksInput{SourceArn: aws.String(p.arn(dlq))})
			p.ok(err, listMoves)
			p.equal("the number without MaxResults", len(out.Results), 1)
		},
	},
}

// bodies returns the bodies of messages in order.
func bodies(messages []sqstypes.Message) []string {
	out := make([]string, len(messages))
	for i, m := range messages {
		out[i] = *m.Body
	}
	slices.Sort(out)
	return out
}
