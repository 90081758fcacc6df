package emulator_test

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

var dedupRules = []rule{
	{
		name: "fifo-deduplication/id", source: api("SendMessage"),
		says: "A message with the MessageDeduplicationId of another is accepted, is not delivered, and is answered with the other's id and SequenceNumber.",
		test: func(p *probe) {
			url := p.fifo()
			first := p.send(url, "x", inGroup("g"), withDedup("d"))
			second := p.send(url, "y", inGroup("g"), withDedup("d"))
			p.equal("the messages", inOrder(p.receive(url)), "x")
			p.equal("the second's MessageId", *second.MessageId, *first.MessageId)
			p.equal("the second's SequenceNumber", aws.ToString(second.SequenceNumber), aws.ToString(first.SequenceNumber))
		},
	},
	{
		name: "fifo-deduplication/deleted", source: guide("Amazon SQS FIFO queue key terms"),
		says: "A deduplication id is remembered after its message was received, and after it was deleted.",
		test: func(p *probe) {
			url := p.fifo()
			p.send(url, "x", inGroup("g"), withDedup("d"))
			m := p.next(url)
			p.send(url, "x", inGroup("h"), withDedup("d"))
			p.empty(url, "after the message was received")
			p.delete(url, m.ReceiptHandle)
			p.send(url, "x", inGroup("g"), withDedup("d"))
			p.empty(url, "after the message was deleted")
		},
	},
	{
		name: "fifo-deduplication/content", source: guide(exactlyOnce),
		says: "With ContentBasedDeduplication, the SHA-256 of the body is the deduplication id; the attributes do not count.",
		test: func(p *probe) {
			url := p.byContent()
			p.send(url, "x", inGroup("g"), withAttribute("a", "String", "1"))
			p.send(url, "x", inGroup("g"), withAttribute("a", "String", "2"))
			p.send(url, "y", inGroup("g"), withAttribute("a", "String", "1"))
			got := p.came(p.receive(url), "x y")
			sum := sha256.Sum256([]byte("x"))
			p.equal("MessageDeduplicationId", got[0].Attributes["MessageDeduplicationId"], hex.EncodeToString(sum[:]))
		},
	},
	{
		name: "fifo-deduplication/override", source: api("SendMessage"),
		says: "A MessageDeduplicationId goes before the content's, and is the duplicate of one that was made of a content.",
		test: func(p *probe) {
			url := p.byContent()
			p.send(url, "x", inGroup("g"))
			p.send(url, "x", inGroup("g"), withDedup("d"))
			sum := sha256.Sum256([]byte("x"))
			p.send(url, "y", inGroup("g"), withDedup(hex.EncodeToString(sum[:])))
			p.equal("the messages", inOrder(p.receive(url)), "x x")
		},
	},
	{
		name: "fifo-deduplication/queue", source: api("CreateQueue"),
		says: "By default, messages of different groups are duplicates of each other.",
		test: func(p *probe) {
			url := p.byContent()
			p.send(url, "x", inGroup("g"))
			p.send(url, "x", inGroup("h"))
			p.equal("the messages", inOrder(p.receive(url)), "x")
		},
	},
	{
		name: "fifo-deduplication/message-group", source: api("CreateQueue"),
		says: "With DeduplicationScope messageGroup, only messages of one group are duplicates.",
		test: func(p *probe) {
			url := p.byContent("DeduplicationScope", "messageGroup")
			for _, group := range []string{"g", "h", "g", "h"} {
				p.send(url, "x", inGroup(group))
			}
			p.equal("the messages", inOrder(p.receive(url)), "x x")
		},
	},
	{
		name: "fifo-deduplication/interval", source: api("SendMessage"), long: true,
		says: "Deduplication lasts five minutes from the first send; duplicates do not prolong it.",
		test: func(p *probe) {
			url := p.byContent("VisibilityTimeout", "0")
			p.send(url, "x", inGroup("g"))
			p.sleep(5*time.Minute - time.Second)
			p.send(url, "x", inGroup("g"))
			p.equal("the messages", inOrder(p.receive(url)), "x")
			p.sleep(time.Second)
			p.send(url, "x", inGroup("g"))
			p.equal("the messages after five minutes", inOrder(p.receive(url)), "x x")
		},
	},
	{
		name: "fifo-deduplication/batch", source: api("SendMessageBatch"),
		says: "Entries of a batch are duplicates of each other, too, and succeed.",
		test: func(p *probe) {
			url := p.fifo()
			entries := entriesOf(3)
			for i := range entries {
				entries[i].MessageGroupId, entries[i].MessageDeduplicationId = aws.String("g"), aws.String("d")
			}
			entries[2].MessageDeduplicationId = aws.String("e")
			out := p.sendBatch(url, entries...)
			p.came(p.receive(url), "0 2")
			if len(out.Successful) != 3 {
				p.fatalf("%d entries succeeded, want 3", len(out.Successful))
			}
			p.equal("the second's MessageId", *out.Successful[1].MessageId, *out.Successful[0].MessageId)
		},
	},
	{
		name: "fifo-deduplication/purge", source: "LocalStack, tests/aws/services/sqs/test_sqs.py, validated against AWS",
		says: "A purge forgets what was sent.",
		test: func(p *probe) {
			url := p.fifo()
			p.send(url, "x", inGroup("g"), withDedup("d"))
			_, err := p.sqs.PurgeQueue(p.ctx, &sqs.PurgeQueueInput{QueueUrl: &url})
			p.ok(err, "PurgeQueue")
			p.send(url, "y", inGroup("g"), withDedup("d"))
			p.equal("the message", *p.next(url).Body, "y")
		},
	},
}
