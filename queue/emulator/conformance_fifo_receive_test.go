package emulator_test

import (
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

var fifoOrderRules = []rule{
	{
		name: "fifo-order/group", source: guide(deliveryLogic),
		says: "The messages of a group come in the order in which they were sent.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "a3", "a4", "a5")
			for _, want := range []string{"a1 a2", "a3 a4", "a5"} {
				for _, m := range p.came(p.receive(url, atMost(2)), want) {
					p.delete(url, m.ReceiptHandle)
				}
			}
		},
	},
	{
		name: "fifo-order/batch", source: guide(deliveryLogic),
		says: "A receive returns as many messages of one group as it can, and then those of others.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "b1", "a2", "b2", "a3")
			p.equal("the messages", inOrder(p.receive(url, atMost(4))), "a1 a2 a3 b1")
		},
	},
	{
		name: "fifo-order/blocked", source: guide(deliveryLogic),
		says: "While a message is in flight, no later one of its group comes; other groups go on.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "b1", "a3", "b2")
			p.equal("the first", inOrder(p.receive(url, atMost(1))), "a1")
			p.equal("the others", inOrder(p.receive(url)), "b1 b2")
			p.sendAll(url, "a4", "b3", "c1")
			p.equal("what came later", inOrder(p.receive(url)), "c1")
		},
	},
	{
		name: "fifo-order/deleted", source: guide(deliveryLogic),
		says: "A group goes on when all that was received of it is deleted, and not before.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "a3")
			got := p.came(p.receive(url, atMost(2)), "a1 a2")
			p.delete(url, got[0].ReceiptHandle)
			p.empty(url, "with one of two deleted")
			p.delete(url, got[1].ReceiptHandle)
			p.equal("the next", inOrder(p.receive(url)), "a3")
		},
	},
	{
		name: "fifo-order/deleted-out-of-order", source: guide(deliveryLogic),
		says: "A message that is deleted out of order is gone, and does not let its group go on.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "a3")
			got := p.came(p.receive(url, atMost(2), hiding(8)), "a1 a2") // a peer with other work takes seconds
			p.delete(url, got[1].ReceiptHandle)
			p.empty(url, "with the second of two deleted")
			p.equal("what comes after the timeout", inOrder(p.receive(url, waiting(15))), "a1 a3")
		},
	},
	{
		name: "fifo-order/again", source: guide(deliveryLogic),
		says: "Messages that become visible again come again in their order, before later ones of their group.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "a3")
			p.equal("the messages", inOrder(p.receive(url, atMost(2), hiding(1))), "a1 a2")
			p.sendAll(url, "a4")
			p.equal("what comes after the timeout", inOrder(p.receive(url, waiting(5))), "a1 a2 a3 a4")
		},
	},
	{
		name: "fifo-order/released", source: "LocalStack, tests/aws/services/sqs/test_sqs.py, validated against AWS",
		says: "A message that is made visible again comes again, also while a later one of its group is in flight, and that one does not.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "a3", "b1")
			got := p.came(p.receive(url, atMost(2)), "a1 a2")
			p.visibility(url, got[0].ReceiptHandle, 0)
			p.equal("the messages", inOrder(p.receive(url)), "b1 a1")
		},
	},
	{
		name: "fifo-order/released-later", source: guide(deliveryLogic),
		says: "A message that is made visible again does not come while an earlier one of its group is in flight.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "a3")
			got := p.came(p.receive(url, atMost(2)), "a1 a2")
			p.visibility(url, got[1].ReceiptHandle, 0)
			p.empty(url, "with the first in flight")
			p.delete(url, got[0].ReceiptHandle)
			p.equal("the messages", inOrder(p.receive(url)), "a2 a3")
		},
	},
	{
		name: "fifo-order/zero", source: "LocalStack, tests/aws/services/sqs/test_sqs.py, validated against AWS",
		says: "A receive with a VisibilityTimeout of 0 returns each message once; its groups then go behind the others.",
		test: func(p *probe) {
			url := p.byContent("VisibilityTimeout", "0")
			p.sendAll(url, "a1", "b1", "b2", "c1", "a2")
			p.equal("the messages", inOrder(p.receive(url, atMost(3))), "a1 a2 b1")
			p.equal("the messages again", inOrder(p.receive(url)), "c1 a1 a2 b1 b2")
		},
	},
	{
		name: "fifo-order/wakes", source: guide(deliveryLogic),
		says: "A long poll returns the next message of a group when the one before is deleted.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2")
			first := p.next(url)
			var poll sync.WaitGroup
			poll.Go(func() {
				p.sleep(time.Second)
				_ = p.tryDelete(url, first.ReceiptHandle)
			})
			start := time.Now()
			p.equal("the message", inOrder(p.receive(url, waiting(10))), "a2")
			if waited := time.Since(start); waited > 5*time.Second {
				p.errorf("it came after %v", waited)
			}
			poll.Wait()
		},
	},
	{
		name: "fifo-order/counts", source: api("GetQueueAttributes"),
		says: "Messages that wait for one of their group count as visible.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "a3", "b1")
			p.receive(url, atMost(1))
			p.equal("the counts", p.counts(url), [3]string{"3", "1", "0"})
		},
	},
}

var fifoReceiptRules = []rule{
	{
		name: "fifo-receipts/expired", source: "re:Post, \"ReceiptHandleIsInvalid or InvalidParameterValue when deleting messages\"",
		says: "After its visibility timeout, a receipt handle of a FIFO queue deletes nothing, and changes nothing: InvalidParameterValue.",
		test: func(p *probe) {
			url := p.byContent("VisibilityTimeout", "1")
			p.sendAll(url, "a1")
			m := p.next(url)
			p.sleep(1500 * time.Millisecond)
			p.refused(p.tryDelete(url, m.ReceiptHandle), "InvalidParameterValue", "DeleteMessage")
			p.refused(p.tryVisibility(url, m.ReceiptHandle, 5), "InvalidParameterValue", "ChangeMessageVisibility")
			p.equal("the message", inOrder(p.receive(url)), "a1")
		},
	},
	{
		name: "fifo-receipts/older", source: api("DeleteMessage"),
		says: "Nor does an older receipt handle of a message that was received again.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1")
			old := p.glance(url)
			latest := p.next(url)
			p.refused(p.tryDelete(url, old.ReceiptHandle), "InvalidParameterValue", "DeleteMessage")
			p.refused(p.tryVisibility(url, old.ReceiptHandle, 0), "InvalidParameterValue", "ChangeMessageVisibility")
			p.delete(url, latest.ReceiptHandle)
		},
	},
	{
		name: "fifo-receipts/released", source: "re:Post, \"ReceiptHandleIsInvalid or InvalidParameterValue when deleting messages\"",
		says: "A message that was made visible, by a timeout of 0, cannot be deleted.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "b1")
			p.refused(p.tryDelete(url, p.glance(url).ReceiptHandle), "InvalidParameterValue", "after ChangeMessageVisibility to 0")
			p.set(url, "VisibilityTimeout", "0")
			got := p.came(p.receive(url), "b1 a1")
			p.refused(p.tryDelete(url, got[0].ReceiptHandle), "InvalidParameterValue", "after ReceiveMessage with 0")
		},
	},
	{
		name: "fifo-receipts/batch", source: "github.com/smaskalik/sqsmover, issue 54, which shows what AWS answers",
		says: "In a batch, an expired receipt handle fails its entry alone, as ReceiptHandleIsInvalid.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "b1")
			got := p.came(p.receive(url), "a1 b1")
			p.visibility(url, got[0].ReceiptHandle, 0)
			entries := make([]sqstypes.DeleteMessageBatchRequestEntry, 2)
			for i, id := range []string{"x", "y"} {
				entries[i] = sqstypes.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: got[i].ReceiptHandle}
			}
			out, err := p.sqs.DeleteMessageBatch(p.ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: entries})
			p.ok(err, "DeleteMessageBatch")
			p.failed(out.Failed, "x", "ReceiptHandleIsInvalid")
			p.equal("what is left", inOrder(p.receive(url)), "a1")
		},
	},
	{
		name: "fifo-receipts/deleted", source: api("DeleteMessage"),
		says: "Deleting a message of a FIFO queue again is no error.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1")
			m := p.next(url)
			p.delete(url, m.ReceiptHandle)
			p.ok(p.tryDelete(url, m.ReceiptHandle), "DeleteMessage again")
		},
	},
}

func attempt(id string) receiveEdit {
	return func(in *sqs.ReceiveMessageInput) { in.ReceiveRequestAttemptId = &id }
}

// handles returns the receipt handles of messages.
func handles(list []sqstypes.Message) []string {
	var out []string
	for _, m := range list {
		out = append(out, *m.ReceiptHandle)
	}
	return out
}

var attemptRules = []rule{
	{
		name: "fifo-attempts/again", source: api("ReceiveMessage"),
		says: "A receive with the ReceiveRequestAttemptId of one before returns the same messages with the same receipt handles.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "b1")
			first := p.came(p.receive(url, atMost(2), attempt("try")), "a1 a2")
			again := p.came(p.receive(url, atMost(2), attempt("try")), "a1 a2")
			p.equal("the receipt handles", handles(again), handles(first))
			p.equal("ApproximateReceiveCount", again[0].Attributes["ApproximateReceiveCount"], "1")
			p.equal("the messages of another attempt", inOrder(p.receive(url, attempt("other"))), "b1")
			for _, m := range again {
				p.delete(url, m.ReceiptHandle)
			}
		},
	},
	{
		name: "fifo-attempts/visibility", source: api("ReceiveMessage"),
		says: "The repetition starts the visibility timeout anew.",
		test: func(p *probe) {
			url := p.byContent("VisibilityTimeout", "2")
			p.sendAll(url, "a1")
			p.receive(url, attempt("try"))
			p.sleep(time.Second)
			p.equal("the messages", inOrder(p.receive(url, attempt("try"))), "a1")
			p.sleep(1500 * time.Millisecond)
			p.empty(url, "before the second timeout has passed")
			p.equal("the messages after it", inOrder(p.receive(url, waiting(3))), "a1")
		},
	},
	{
		name: "fifo-attempts/changed", source: api("ReceiveMessage"),
		says: "An attempt cannot be repeated after a message of it was deleted or had its visibility changed: InvalidParameterValue.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2", "b1")
			got := p.came(p.receive(url, atMost(2), attempt("one")), "a1 a2")
			p.delete(url, got[0].ReceiptHandle)
			_, err := p.tryReceive(url, attempt("one"))
			p.refused(err, "InvalidParameterValue", "after DeleteMessage")
			got = p.came(p.receive(url, attempt("two")), "b1")
			p.visibility(url, got[0].ReceiptHandle, 100)
			_, err = p.tryReceive(url, attempt("two"))
			p.refused(err, "InvalidParameterValue", "after ChangeMessageVisibility")
		},
	},
	{
		name: "fifo-attempts/expired", source: api("ReceiveMessage"),
		says: "After the visibility timeout, the attempt receives anew.",
		test: func(p *probe) {
			url := p.byContent()
			p.sendAll(url, "a1", "a2")
			first := p.came(p.receive(url, atMost(1), attempt("try"), hiding(1)), "a1")
			p.sleep(1500 * time.Millisecond)
			again := p.came(p.receive(url, attempt("try"), waiting(3)), "a1 a2")
			if *again[0].ReceiptHandle == *first[0].ReceiptHandle {
				p.errorf("the receipt handle is the same")
			}
			p.equal("ApproximateReceiveCount", again[0].Attributes["ApproximateReceiveCount"], "2")
		},
	},
	{
		name: "fifo-attempts/interval", source: api("ReceiveMessage"), long: true,
		says: "An attempt can be repeated for five minutes after it.",
		test: func(p *probe) {
			url := p.byContent("VisibilityTimeout", "1000")
			p.sendAll(url, "a1", "b1")
			p.receive(url, atMost(1), attempt("try"))
			p.sleep(5*time.Minute - time.Second)
			p.equal("the messages", inOrder(p.receive(url, attempt("try"))), "a1")
			p.sleep(time.Second)
			p.equal("the messages after five minutes", inOrder(p.receive(url, attempt("try"))), "b1")
		},
	},
	{
		name: "fifo-attempts/id", source: api("ReceiveMessage"),
		says: "A ReceiveRequestAttemptId is 1 to 128 letters, digits and punctuation, and of FIFO queues alone.",
		test: func(p *probe) {
			_, err := p.tryReceive(p.fifo(), attempt("a b"))
			p.refused(err, "InvalidParameterValue", "a space")
			_, err = p.tryReceive(p.queue(), attempt("try"))
			p.refused(err, "InvalidParameterValue", "a standard queue")
		},
	},
}
