package emulator_test

import "maps"

// deviations are what the other servers do otherwise, by rule: in the versions that CONFORMANCE.md names, as
// the tests find them.
var deviations = func() map[string]map[peer]deviation {
	all := maps.Clone(plainDeviations)
	maps.Copy(all, fifoDeviations)
	return all
}()

// fifoDeviations are the deviations from the rules of FIFO and fair queues.
var fifoDeviations = map[string]map[peer]deviation{
	"fifo-queues/name": {
		elasticMQ: {"refuses a bad name as InvalidAttributeName", "81 characters: refused with InvalidAttributeName"},
	},
	"fifo-queues/suffix": {
		elasticMQ: {"refuses it as InvalidAttributeName", "refused with InvalidAttributeName"},
		moto:      {"makes a standard queue", "accepted, want InvalidParameterValue"},
	},
	"fifo-queues/defaults": {
		elasticMQ: {"lacks the attributes that it does not act on", "DeduplicationScope is , want queue"},
	},
	"fifo-queues/type": {
		elasticMQ: {"takes FifoQueue and ignores it", "a standard queue: accepted"},
		moto:      {"takes FifoQueue and ignores it", "a standard queue: accepted"},
	},
	"fifo-queues/alone": {
		elasticMQ: {"takes them", "CreateQueue with FifoQueue: accepted"},
		moto:      {"takes them", "CreateQueue with FifoQueue: accepted"},
	},
	"fifo-queues/values": {
		localStack: {"takes any value", "ContentBasedDeduplication: accepted"},
		elasticMQ:  {"has the attributes on creation at most", "ContentBasedDeduplication: refused with InvalidAttributeName"},
		moto:       {"takes any value", "ContentBasedDeduplication: accepted"},
	},
	"fifo-queues/throughput": {
		localStack: {"does not look at the scope", "with the scope queue: accepted"},
		elasticMQ:  {"does not have the attribute", "refused with InvalidAttributeName"},
		moto:       {"does not look at the scope", "with the scope queue: accepted"},
	},

	"fifo-send/deduplication": {
		elasticMQ: {"cannot change ContentBasedDeduplication", "The attribute ContentBasedDeduplication is invalid"},
	},
	"fifo-send/ids": {
		moto: {"takes any group", "the group a b: accepted"},
	},
	"fifo-send/delay-changed": {
		localStack: {"shows the messages when the first delay has passed", "the messages is , want a1 a2"},
		elasticMQ:  {"keeps the delay that the messages had", "the messages is , want a1 a2"},
		moto:       {"keeps the delay that the messages had", "the messages is , want a1 a2"},
	},
	"fifo-send/sequence": {
		elasticMQ: {"counts from 1", `the number is "`},
		moto:      {"answers SendMessage without a SequenceNumber", `the number is "", after ""`},
	},
	"fifo-send/batch": {
		elasticMQ: {"answers without SequenceNumbers", `the number of e0 is ""`},
		moto:      {"answers without SequenceNumbers", `the number of e0 is ""`},
	},
	"fifo-send/batch-ids": {
		elasticMQ: {"fails the entry alone", "no MessageDeduplicationId: accepted"},
		moto:      {"refuses a batch without a group as MissingParameter", "no MessageGroupId: refused with MissingParameter"},
	},
	"fifo-send/batch-delay": {
		moto: {"fails the whole batch", "Value 1 for parameter DelaySeconds is invalid"},
	},

	"fifo-deduplication/id": {
		localStack: {"answers with a new SequenceNumber", "the second's SequenceNumber is"},
		moto:       {"answers with a new id", "the second's MessageId is"},
	},
	"fifo-deduplication/deleted": {
		moto: {"forgets an id with its message", "after the message was deleted, want none"},
	},
	"fifo-deduplication/message-group": {
		localStack: {"remembers the latest message of an id alone, so groups that take turns are not deduplicated", "the messages is x x x x"},
		elasticMQ:  {"does not have DeduplicationScope", "the messages is x, want x x"},
		moto:       {"does not act on DeduplicationScope", "the messages is x, want x x"},
	},
	"fifo-deduplication/batch": {
		moto: {"answers with a new id", "the second's MessageId is"},
	},

	"fifo-order/batch": {
		moto: {"returns messages in the order in which they were sent", "the messages is a1 b1 a2 b2"},
	},
	"fifo-order/again": {
		moto: {"skips a message that became visible again", "what comes after the timeout is a2 a3 a4"},
	},
	"fifo-order/released": {
		localStack: {"lets the group go on behind the one in flight", "the messages is b1 a1 a3"},
		elasticMQ:  {"does not put the group behind the others", "the messages is a1 b1"},
		moto:       {"waits for the whole group", "the messages is b1, want b1 a1"},
	},
	"fifo-order/released-later": {
		localStack: {"lets the group go on before the one in flight", "received 2 messages with the first in flight"},
	},
	"fifo-order/zero": {
		elasticMQ: {"does not put the groups behind the others", "the messages again is a1 a2 b1 b2 c1"},
		moto:      {"returns messages in the order in which they were sent", "the messages is a1 b1 b2"},
	},
	"fifo-order/wakes": {
		moto: {"does not look again while it waits", "the message is , want a2"},
	},

	"fifo-receipts/expired": {
		localStack: {"hides the visible message", "ChangeMessageVisibility: accepted"},
		elasticMQ:  {"deletes by any latest receipt handle", "DeleteMessage: accepted"},
		moto:       {"deletes by any receipt handle", "DeleteMessage: accepted"},
	},
	"fifo-receipts/older": {
		localStack: {"deletes by any receipt handle of a message in flight", "DeleteMessage: accepted"},
		elasticMQ:  {"refuses it as ReceiptHandleIsInvalid", "refused with ReceiptHandleIsInvalid"},
		moto:       {"deletes by any receipt handle", "DeleteMessage: accepted"},
	},
	"fifo-receipts/released": {
		elasticMQ: {"deletes by any latest receipt handle", "after ChangeMessageVisibility to 0: accepted"},
		moto:      {"deletes by any receipt handle", "after ChangeMessageVisibility to 0: accepted"},
	},
	"fifo-receipts/batch": {
		localStack: {"refuses it as InvalidParameterValue", "code is InvalidParameterValue"},
		elasticMQ:  {"deletes by any latest receipt handle", "failed entries are []"},
		moto:       {"deletes by any receipt handle", "failed entries are []"},
	},
	"fifo-receipts/deleted": {
		elasticMQ: {"refuses a second deletion as ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"},
	},

	"fifo-attempts/again": {
		localStack: {"does not act on ReceiveRequestAttemptId", `the messages are "b1"`},
		elasticMQ:  {"gives new receipt handles", "the receipt handles is"},
		moto:       {"does not act on ReceiveRequestAttemptId", `the messages are "b1"`},
	},
	"fifo-attempts/visibility": {
		localStack: {"does not act on ReceiveRequestAttemptId", "the messages is , want a1"},
		moto:       {"does not act on ReceiveRequestAttemptId", "the messages is , want a1"},
	},
	"fifo-attempts/changed": {
		localStack: {"does not act on ReceiveRequestAttemptId", "after DeleteMessage: accepted"},
		elasticMQ:  {"answers with an internal error", "after DeleteMessage: refused with no API error"},
		moto:       {"does not act on ReceiveRequestAttemptId", "after DeleteMessage: accepted"},
	},
	"fifo-attempts/expired": {
		elasticMQ: {"returns what the attempt had received", `the messages are "a1", want "a1 a2"`},
	},
	"fifo-attempts/id": {
		localStack: {"does not act on ReceiveRequestAttemptId", "a space: accepted"},
		moto:       {"does not act on ReceiveRequestAttemptId", "a space: accepted"},
	},

	"fifo-redrive/type": {
		localStack: {"takes queues of either type", "a standard queue: accepted"},
		elasticMQ:  {"takes queues of either type", "a standard queue: accepted"},
		moto:       {"refuses it as InvalidParameterCombination", "refused with InvalidParameterCombination"},
	},
	"fifo-redrive/keeps": {
		localStack: {"keeps the deduplication id", "MessageDeduplicationId is d"},
		moto:       {"keeps the deduplication id", "MessageDeduplicationId is d"},
	},
	"fifo-redrive/order": {
		elasticMQ: {"keeps the SequenceNumbers, which go across groups", "comes before"},
		moto:      {"moves one message of a group, and then waits for it", "2 messages came, want 5"},
	},
	"fifo-redrive/no-duplicates": {
		moto: {"moves one message of a group, and then waits for it", "2 messages came, want 3"},
	},
	"fifo-redrive/back": {
		localStack: {"does not deliver them: they count as the duplicates of what they were", "nothing came, want a message"},
		elasticMQ:  {"does not deliver them", "nothing came, want a message"},
		moto:       {noMoves, "StatusCode: 500"},
	},
	"fifo-redrive/back-type": {
		localStack: {"moves between queues of either type", "accepted, want InvalidParameterValue"},
		elasticMQ:  {"moves between queues of either type", "accepted, want InvalidParameterValue"},
		moto:       {noMoves, "StatusCode: 500"},
	},
	"fifo-redrive/time": {
		localStack: {"keeps the time", "SentTimestamp is 0 ms later"},
		elasticMQ:  {"keeps the time", "SentTimestamp is 0 ms later"},
		moto:       {"keeps the time", "SentTimestamp is 0 ms later"},
	},

	"fair/quiet": {
		localStack: {"does not have fair queues", "the next messages is a a a"},
		elasticMQ:  {"does not have fair queues", "the next messages is a a a"},
		moto:       {"does not have fair queues", "the next messages is a a a"},
	},
	"fair/own": {
		localStack: {"does not have fair queues", "the next messages is a a a a"},
		elasticMQ:  {"does not have fair queues", "the next messages is a a a a"},
		moto:       {"does not have fair queues", "the next messages is a a a a"},
	},
	"fair/several": {
		localStack: {"does not have fair queues", "what comes first is a a a a"},
		elasticMQ:  {"does not have fair queues", "what comes first is a a a a"},
		moto:       {"does not have fair queues", "what comes first is a a a a"},
	},
}
