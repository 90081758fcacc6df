package emulator_test

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func (p *probe) trySendBatch(url string, entries ...sqstypes.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
	return p.sqs.SendMessageBatch(p.ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries})
}

func (p *probe) sendBatch(url string, entries ...sqstypes.SendMessageBatchRequestEntry) *sqs.SendMessageBatchOutput {
	out, err := p.trySendBatch(url, entries...)
	p.ok(err, "SendMessageBatch")
	return out
}

func entryOf(id, body string) sqstypes.SendMessageBatchRequestEntry {
	return sqstypes.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body}
}

func entriesOf(n int) []sqstypes.SendMessageBatchRequestEntry {
	var out []sqstypes.SendMessageBatchRequestEntry
	for i := range n {
		out = append(out, entryOf("e"+strconv.Itoa(i), strconv.Itoa(i)))
	}
	return out
}

// failed expects one entry to have failed, by the sender's fault, with a code.
func (p *probe) failed(list []sqstypes.BatchResultErrorEntry, id, code string) {
	if len(list) != 1 || aws.ToString(list[0].Id) != id {
		p.fatalf("failed entries are %v, want %s alone", failures(list), id)
	}
	if got := normal(aws.ToString(list[0].Code)); got != code {
		p.errorf("the entry's code is %s, want %s", got, code)
	}
	if !list[0].SenderFault {
		p.errorf("SenderFault is false")
	}
}

func failures(list []sqstypes.BatchResultErrorEntry) []string {
	var out []string
	for _, e := range list {
		out = append(out, aws.ToString(e.Id)+": "+aws.ToString(e.Code))
	}
	return out
}

var batchRules = []rule{
	{
		name: "batch/send", source: api("SendMessageBatch"),
		says: "A batch of up to ten is sent, with an id and digests for each entry.",
		test: func(p *probe) {
			url := p.queue()
			out := p.sendBatch(url, entriesOf(10)...)
			p.equal("the number of successful entries", len(out.Successful), 10)
			p.equal("the number of failed entries", len(out.Failed), 0)
			ids := make(map[string]string)
			for _, e := range out.Successful {
				ids[*e.MessageId] = strings.TrimPrefix(*e.Id, "e")
			}
			for _, m := range p.drain(url, 10) {
				p.equal("the body of "+*m.MessageId, *m.Body, ids[*m.MessageId])
			}
		},
	},
	{
		name: "batch/entry-options", source: api("SendMessageBatchRequestEntry"),
		says: "Each entry has its own delay and attributes.",
		test: func(p *probe) {
			url := p.queue()
			late, soon := entryOf("late", "late"), entryOf("soon", "soon")
			late.DelaySeconds = 900
			soon.MessageAttributes = map[string]sqstypes.MessageAttributeValue{"a": attributeValue("String", "v")}
			p.sendBatch(url, late, soon)
			m := p.next(url)
			p.equal("the body", *m.Body, "soon")
			p.equal("the attribute", aws.ToString(m.MessageAttributes["a"].StringValue), "v")
			p.empty(url, "before the delay")
		},
	},
	{
		name: "batch/empty", source: api("SendMessageBatch"),
		says: "A batch without entries is EmptyBatchRequest.",
		test: func(p *probe) {
			url := p.queue()
			_, err := p.trySendBatch(url, []sqstypes.SendMessageBatchRequestEntry{}...)
			p.refusedOrBody(err, "EmptyBatchRequest", "AmazonSQS.SendMessageBatch", `{"QueueUrl":"`+url+`","Entries":[]}`)
		},
	},
	{
		name: "batch/too-many", source: api("SendMessageBatch"),
		says: "A batch of more than ten is TooManyEntriesInBatchRequest.",
		test: func(p *probe) {
			_, err := p.trySendBatch(p.queue(), entriesOf(11)...)
			p.refused(err, "TooManyEntriesInBatchRequest", "eleven entries")
		},
	},
	{
		name: "batch/distinct", source: api("SendMessageBatch"),
		says: "Two entries with one id are BatchEntryIdsNotDistinct.",
		test: func(p *probe) {
			_, err := p.trySendBatch(p.queue(), entryOf("a", "1"), entryOf("a", "2"))
			p.refused(err, "BatchEntryIdsNotDistinct", "one id twice")
		},
	},
	{
		name: "batch/ids", source: api("SendMessageBatchRequestEntry"),
		says: "An entry's id has 1 to 80 letters, digits, hyphens and underscores: InvalidBatchEntryId.",
		test: func(p *probe) {
			url := p.queue()
			p.equal("the number of successful entries", len(p.sendBatch(url, entryOf("aB9-_"+strings.Repeat("x", 75), "x")).Successful), 1)
			for _, id := range []string{"", "a.b", "a b", "ä", strings.Repeat("x", 81)} {
				_, err := p.trySendBatch(url, entryOf(id, "x"))
				p.refused(err, "InvalidBatchEntryId", fmt.Sprintf("the id %q", id))
			}
		},
	},
	{
		name: "batch/size", source: guide(quotas),
		says: "A batch has at most 1,048,576 bytes in all: BatchRequestTooLong.",
		test: func(p *probe) {
			url := p.queue()
			half := strings.Repeat("x", 1<<19)
			p.equal("the number of successful entries", len(p.sendBatch(url, entryOf("a", half), entryOf("b", half)).Successful), 2)
			_, err := p.trySendBatch(url, entryOf("a", half), entryOf("b", half), entryOf("c", "x"))
			p.refused(err, "BatchRequestTooLong", "a batch over 1 MiB")
		},
	},
	{
		name: "batch/partial-characters", source: api("SendMessageBatch"),
		says: "An entry with characters that are not allowed fails alone, by the sender's fault.",
		test: func(p *probe) {
			url := p.queue()
			out := p.sendBatch(url, entryOf("good", "x"), entryOf("bad", "\x01"), entryOf("fine", "y"))
			p.equal("the number of successful entries", len(out.Successful), 2)
			p.failed(out.Failed, "bad", "InvalidMessageContents")
			p.equal("the counts", p.counts(url), [3]string{"2", "0", "0"})
		},
	},
	{
		name: "batch/partial-size", source: api("SendMessageBatch"),
		says: "An entry over the queue's MaximumMessageSize fails alone, by the sender's fault.",
		test: func(p *probe) {
			url := p.queue("MaximumMessageSize", "1024")
			out := p.sendBatch(url, entryOf("good", "x"), entryOf("bad", strings.Repeat("x", 1025)))
			p.equal("the number of successful entries", len(out.Successful), 1)
			p.failed(out.Failed, "bad", "InvalidParameterValue")
		},
	},
	{
		name: "batch/partial-delay", source: api("SendMessageBatch"),
		says: "An entry with a delay out of bounds fails alone, by the sender's fault.",
		test: func(p *probe) {
			bad := entryOf("bad", "x")
			bad.DelaySeconds = 901
			out := p.sendBatch(p.queue(), entryOf("good", "x"), bad)
			p.equal("the number of successful entries", len(out.Successful), 1)
			p.failed(out.Failed, "bad", "InvalidParameterValue")
		},
	},
	{
		name: "batch/delete", source: api("DeleteMessageBatch"),
		says: "DeleteMessageBatch deletes each entry's message; a bad receipt handle fails alone.",
		test: func(p *probe) {
			url := p.queue()
			p.sendBatch(url, entriesOf(3)...)
			entries := []sqstypes.DeleteMessageBatchRequestEntry{{Id: aws.String("bad"), ReceiptHandle: aws.String("nonsense")}}
			for i, m := range p.drain(url, 3) {
				entries = append(entries, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
			}
			out, err := p.sqs.DeleteMessageBatch(p.ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: entries})
			p.ok(err, "DeleteMessageBatch")
			p.equal("the number of successful entries", len(out.Successful), 3)
			p.equal("the counts", p.counts(url), [3]string{"0", "0", "0"})
			p.failed(out.Failed, "bad", "ReceiptHandleIsInvalid")
		},
	},
	{
		name: "batch/visibility", source: api("ChangeMessageVisibilityBatch"),
		says: "ChangeMessageVisibilityBatch changes each entry's message; a bad receipt handle fails alone.",
		test: func(p *probe) {
			url := p.queue("VisibilityTimeout", "900")
			p.sendBatch(url, entriesOf(2)...)
			entries := []sqstypes.ChangeMessageVisibilityBatchRequestEntry{{Id: aws.String("bad"), ReceiptHandle: aws.String("nonsense"), VisibilityTimeout: 5}}
			for i, m := range p.drain(url, 2) {
				entries = append(entries, sqstypes.ChangeMessageVisibilityBatchRequestEntry{
					Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0,
				})
			}
			out, err := p.sqs.ChangeMessageVisibilityBatch(p.ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: entries})
			p.ok(err, "ChangeMessageVisibilityBatch")
			p.equal("the number of successful entries", len(out.Successful), 2)
			p.drain(url, 2)
			p.failed(out.Failed, "bad", "ReceiptHandleIsInvalid")
		},
	},
	{
		name: "batch/receive-and-delete-rules", source: api("DeleteMessageBatch"),
		says: "The rules on the number and ids of entries hold for deletes and visibility changes too.",
		test: func(p *probe) {
			url := p.queue()
			var deletes []sqstypes.DeleteMessageBatchRequestEntry
			var changes []sqstypes.ChangeMessageVisibilityBatchRequestEntry
			for i := range 11 {
				id := aws.String(strconv.Itoa(i))
				deletes = append(deletes, sqstypes.DeleteMessageBatchRequestEntry{Id: id, ReceiptHandle: aws.String("x")})
				changes = append(changes, sqstypes.ChangeMessageVisibilityBatchRequestEntry{Id: id, ReceiptHandle: aws.String("x")})
			}
			_, err := p.sqs.DeleteMessageBatch(p.ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: deletes})
			p.refused(err, "TooManyEntriesInBatchRequest", "eleven deletes")
			_, err = p.sqs.ChangeMessageVisibilityBatch(p.ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: changes})
			p.refused(err, "TooManyEntriesInBatchRequest", "eleven changes")
			deletes[1].Id = deletes[0].Id
			_, err = p.sqs.DeleteMessageBatch(p.ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: deletes[:2]})
			p.refused(err, "BatchEntryIdsNotDistinct", "one id twice")
		},
	},
}

// refusedOrBody is refused, for a request that the SDK may refuse to send itself.
func (p *probe) refusedOrBody(err error, code, target, body string) {
	if codeOf(err) == code {
		return
	}
	status, header, answer := p.post(target, body)
	if status == 200 || !strings.Contains(answer+header.Get("X-Amzn-Query-Error"), code) {
		p.errorf("the answer is %d %s, want %s", status, answer, code)
	}
}

var wireRules = []rule{
	{
		name: "wire/error", source: "AWS JSON 1.0 protocol (Smithy), operation error serialization",
		says: "An error is its shape's name as __type, with a message.",
		test: func(p *probe) {
			status, header, body := p.post("AmazonSQS.GetQueueUrl", `{"QueueName":"`+p.name()+`"}`)
			p.equal("the status", status, 400)
			p.equal("Content-Type", header.Get("Content-Type"), "application/x-amz-json-1.0")
			if !strings.Contains(body, `"__type"`) || !strings.Contains(body, `QueueDoesNotExist"`) || !strings.Contains(body, `"message"`) {
				p.errorf("the body is %s", body)
			}
		},
	},
	{
		name: "wire/query-error", source: "awsQueryCompatible trait (Smithy)",
		says: "The x-amzn-query-error header names the code that the Query protocol had, and whose fault it is.",
		test: func(p *probe) {
			_, header, _ := p.post("AmazonSQS.GetQueueUrl", `{"QueueName":"`+p.name()+`"}`)
			p.equal("x-amzn-query-error", header.Get("X-Amzn-Query-Error"), "AWS.SimpleQueueService.NonExistentQueue;Sender")
		},
	},
	{
		name: "wire/request-id", source: api("Common response elements"),
		says: "Every answer has an id, x-amzn-RequestId.",
		test: func(p *probe) {
			for _, body := range []string{`{"QueueNamePrefix":"` + p.namespace + `"}`, `{"MaxResults":-1}`} {
				_, header, _ := p.post("AmazonSQS.ListQueues", body)
				if header.Get("X-Amzn-Requestid") == "" {
					p.errorf("the answer to %s has no x-amzn-RequestId", body)
				}
			}
		},
	},
	{
		name: "wire/unknown-operation", source: "AWS JSON 1.0 protocol (Smithy); SQS API reference, Common errors",
		says: "An operation that there is not is refused by the client's fault.",
		test: func(p *probe) {
			status, _, body := p.post("AmazonSQS.FoldMessage", `{}`)
			if status < 400 || status > 499 {
				p.errorf("the answer is %d %s", status, body)
			}
		},
	},
	{
		name: "wire/malformed", source: "AWS JSON 1.0 protocol (Smithy)",
		says: "A body that is no JSON, or has another type, is refused by the client's fault.",
		test: func(p *probe) {
			for _, body := range []string{`{`, `[]`, `{"QueueUrl":7}`} {
				status, _, answer := p.post("AmazonSQS.SendMessage", body)
				if status < 400 || status > 499 {
					p.errorf("the answer to %s is %d %s", body, status, answer)
				}
			}
		},
	},
	{
		name: "wire/missing-parameter", source: api("Common errors"),
		says: "A request without its QueueUrl is refused by the client's fault.",
		test: func(p *probe) {
			status, _, answer := p.post("AmazonSQS.ReceiveMessage", `{}`)
			if status < 400 || status > 499 {
				p.errorf("the answer is %d %s", status, answer)
			}
		},
	},
}
