package emulator_test

import (
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	deliveryLogic = "FIFO queue delivery logic in Amazon SQS"
	exactlyOnce   = "Exactly-once processing in Amazon SQS"
)

// fifo makes a FIFO queue.
func (p *probe) fifo(attributes ...string) (url string) {
	url, err := p.tryQueue(p.name()+".fifo", append(attributes, "FifoQueue", "true")...)
	p.ok(err, "CreateQueue")
	return url
}

// byContent makes a FIFO queue with content-based deduplication.
func (p *probe) byContent(attributes ...string) (url string) {
	return p.fifo(append(attributes, "ContentBasedDeduplication", "true")...)
}

func inGroup(group string) sendEdit {
	return func(in *sqs.SendMessageInput) { in.MessageGroupId = &group }
}

func withDedup(id string) sendEdit {
	return func(in *sqs.SendMessageInput) { in.MessageDeduplicationId = &id }
}

// sendAll sends messages to a queue with content-based deduplication, each in the group that its body starts
// with: "a1" is of group a.
func (p *probe) sendAll(url string, bodies ...string) {
	for _, body := range bodies {
		p.send(url, body, inGroup(body[:1]))
	}
}

// inOrder returns the bodies of messages.
func inOrder(list []sqstypes.Message) string {
	var out []string
	for _, m := range list {
		out = append(out, *m.Body)
	}
	return strings.Join(out, " ")
}

// came stops the test unless these messages were received.
func (p *probe) came(list []sqstypes.Message, want string) []sqstypes.Message {
	if got := inOrder(list); got != want {
		p.fatalf("the messages are %q, want %q", got, want)
	}
	return list
}

func atMost(n int32) receiveEdit {
	return func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = n }
}

var fifoQueueRules = []rule{
	{
		name: "fifo-queues/name", source: api("CreateQueue"),
		says: "The name of a FIFO queue ends in .fifo, which counts towards its 80 characters.",
		test: func(p *probe) {
			name := p.name()
			_, err := p.tryQueue(name+strings.Repeat("x", 75-len(name))+".fifo", "FifoQueue", "true")
			p.ok(err, "CreateQueue with 80 characters")
			_, err = p.tryQueue(name+strings.Repeat("x", 76-len(name))+".fifo", "FifoQueue", "true")
			p.refused(err, "InvalidParameterValue", "81 characters")
			_, err = p.tryQueue(p.name(), "FifoQueue", "true")
			p.refused(err, "InvalidParameterValue", "a name without .fifo")
			_, err = p.tryQueue(p.name()+".x.fifo", "FifoQueue", "true")
			p.refused(err, "InvalidParameterValue", "another period")
		},
	},
	{
		name: "fifo-queues/suffix", source: api("CreateQueue"),
		says: "Without FifoQueue, a name that ends in .fifo is InvalidParameterValue.",
		test: func(p *probe) {
			_, err := p.tryQueue(p.name() + ".fifo")
			p.refused(err, "InvalidParameterValue", "a standard queue's name in .fifo")
		},
	},
	{
		name: "fifo-queues/defaults", source: api("CreateQueue"),
		says: "A FIFO queue has FifoQueue true, ContentBasedDeduplication false, DeduplicationScope queue and FifoThroughputLimit perQueue; a standard queue has none of them.",
		test: func(p *probe) {
			names := []string{"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"}
			all := p.attributes(p.fifo(), "All")
			for i, want := range []string{"true", "false", "queue", "perQueue"} {
				p.equal(names[i], all[names[i]], want)
			}
			all = p.attributes(p.queue(), "All")
			for _, name := range names {
				p.equal(name+" of a standard queue", all[name], "")
			}
		},
	},
	{
		name: "fifo-queues/type", source: api("SetQueueAttributes"),
		says: "The type of a queue cannot be changed: FifoQueue is InvalidAttributeName on a standard queue, and InvalidAttributeValue on a FIFO queue unless it is true.",
		test: func(p *probe) {
			p.refused(p.trySet(p.queue(), "FifoQueue", "true"), "InvalidAttributeName", "a standard queue")
			url := p.fifo()
			p.refused(p.trySet(url, "FifoQueue", "false"), "InvalidAttributeValue", "a FIFO queue")
			p.ok(p.trySet(url, "FifoQueue", "true"), "FifoQueue true of a FIFO queue")
		},
	},
	{
		name: "fifo-queues/alone", source: api("CreateQueue"),
		says: "A standard queue takes none of the attributes of FIFO queues, not even FifoQueue false: InvalidAttributeName.",
		test: func(p *probe) {
			for _, of := range [][]string{
				{"FifoQueue", "false"}, {"ContentBasedDeduplication", "true"}, {"DeduplicationScope", "queue"}, {"FifoThroughputLimit", "perQueue"},
			} {
				_, err := p.tryQueue(p.name(), of...)
				p.refused(err, "InvalidAttributeName", "CreateQueue with "+of[0])
			}
		},
	},
	{
		name: "fifo-queues/values", source: api("CreateQueue"),
		says: "Another value of an attribute of FIFO queues is InvalidAttributeValue.",
		test: func(p *probe) {
			url := p.fifo()
			for _, name := range []string{"ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"} {
				p.refused(p.trySet(url, name, "maybe"), "InvalidAttributeValue", name)
			}
		},
	},
	{
		name: "fifo-queues/throughput", source: api("CreateQueue"),
		says: "FifoThroughputLimit perMessageGroupId goes with DeduplicationScope messageGroup only.",
		test: func(p *probe) {
			url := p.fifo()
			p.refused(p.trySet(url, "FifoThroughputLimit", "perMessageGroupId"), "InvalidAttributeValue", "with the scope queue")
			p.set(url, "FifoThroughputLimit", "perMessageGroupId", "DeduplicationScope", "messageGroup")
			p.equal("FifoThroughputLimit", p.attribute(url, "FifoThroughputLimit"), "perMessageGroupId")
			p.refused(p.trySet(url, "DeduplicationScope", "queue"), "InvalidAttributeValue", "back to the scope queue alone")
		},
	},
	{
		name: "fifo-queues/create-otherwise", source: api("CreateQueue"),
		says: "Creating a FIFO queue that exists with another value of an attribute is QueueNameExists.",
		test: func(p *probe) {
			name := p.name() + ".fifo"
			first, err := p.tryQueue(name, "FifoQueue", "true")
			p.ok(err, "CreateQueue")
			again, err := p.tryQueue(name, "FifoQueue", "true", "ContentBasedDeduplication", "false")
			p.ok(err, "CreateQueue with a default")
			p.equal("the URL", again, first)
			_, err = p.tryQueue(name, "FifoQueue", "true", "ContentBasedDeduplication", "true")
			p.refused(err, "QueueNameExists", "another ContentBasedDeduplication")
		},
	},
}

var twentyDigits = regexp.MustCompile(`^[0-9]{20}$`)

var fifoSendRules = []rule{
	{
		name: "fifo-send/group", source: api("SendMessage"),
		says: "A message for a FIFO queue without a MessageGroupId is MissingParameter.",
		test: func(p *probe) {
			_, err := p.trySend(p.fifo(), "x", withDedup("d"))
			p.refused(err, "MissingParameter", "no MessageGroupId")
		},
	},
	{
		name: "fifo-send/deduplication", source: api("SendMessage"),
		says: "A message without a MessageDeduplicationId is InvalidParameterValue, unless the queue deduplicates by content.",
		test: func(p *probe) {
			url := p.fifo()
			_, err := p.trySend(url, "x", inGroup("g"))
			p.refused(err, "InvalidParameterValue", "no MessageDeduplicationId")
			p.set(url, "ContentBasedDeduplication", "true")
			p.send(url, "x", inGroup("g"))
			p.set(url, "ContentBasedDeduplication", "false")
			_, err = p.trySend(url, "x", inGroup("g"))
			p.refused(err, "InvalidParameterValue", "no MessageDeduplicationId again")
		},
	},
	{
		name: "fifo-send/ids", source: api("SendMessage"),
		says: "MessageGroupId and MessageDeduplicationId are 1 to 128 letters, digits and punctuation.",
		test: func(p *probe) {
			url := p.fifo()
			all := "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~azAZ09"
			long := all + strings.Repeat("x", 128-len(all))
			p.send(url, "x", inGroup(long), withDedup(long))
			p.equal("MessageGroupId", p.next(url).Attributes["MessageGroupId"], long)
			for _, bad := range []string{"a b", "ä", long + "x"} {
				_, err := p.trySend(url, "x", inGroup(bad), withDedup("1"))
				p.refused(err, "InvalidParameterValue", "the group "+bad)
				_, err = p.trySend(url, "x", inGroup("g"), withDedup(bad))
				p.refused(err, "InvalidParameterValue", "the deduplication id "+bad)
			}
		},
	},
	{
		name: "fifo-send/delay", source: api("SendMessage"),
		says: "DelaySeconds cannot be set for a message of a FIFO queue: InvalidParameterValue.",
		test: func(p *probe) {
			_, err := p.trySend(p.byContent(), "x", inGroup("g"), func(in *sqs.SendMessageInput) { in.DelaySeconds = 2 })
			p.refused(err, "InvalidParameterValue", "DelaySeconds")
		},
	},
	{
		name: "fifo-send/queue-delay", source: guide("Amazon SQS delay queues"),
		says: "The delay of a FIFO queue holds for all its messages, which come in order after it.",
		test: func(p *probe) {
			url := p.byContent("DelaySeconds", "1")
			p.sendAll(url, "a1", "a2", "b1")
			p.empty(url, "before the delay has passed")
			got := inOrder(p.arrived(url, 3))           // LocalStack lets them in one after the other
			if got != "a1 a2 b1" && got != "b1 a1 a2" { // one group may come before the other
				p.errorf("the messages are %s", got)
			}
		},
	},
	{
		name: "fifo-send/delay-changed", source: guide("Amazon SQS delay queues"),
		says: "A change of the delay of a FIFO queue holds for the messages that are in it.",
		test: func(p *probe) {
			url := p.byContent("DelaySeconds", "900")
			p.sendAll(url, "a1", "a2")
			p.set(url, "DelaySeconds", "0")
			p.equal("the messages", inOrder(p.receive(url, waiting(2))), "a1 a2")
		},
	},
	{
		name: "fifo-send/sequence", source: api("SendMessage"),
		says: "A message of a FIFO queue has a SequenceNumber of twenty digits that increases in its group, from sending on.",
		test: func(p *probe) {
			url := p.byContent()
			last := ""
			var sent []string
			for _, body := range []string{"1", "2", "3"} {
				n := aws.ToString(p.send(url, body, inGroup("g")).SequenceNumber)
				if !twentyDigits.MatchString(n) || n <= last {
					p.errorf("the number is %q, after %q", n, last)
				}
				last = n
				sent = append(sent, n)
			}
			for i, m := range p.came(p.receive(url), "1 2 3") {
				p.equal("the number received", m.Attributes["SequenceNumber"], sent[i])
			}
			standard := p.queue()
			p.equal("the number on a standard queue", aws.ToString(p.send(standard, "x").SequenceNumber), "")
			p.equal("the number from a standard queue", p.next(standard).Attributes["SequenceNumber"], "")
		},
	},
	{
		name: "fifo-send/attributes", source: api("ReceiveMessage"),
		says: "MessageGroupId and MessageDeduplicationId come with a message, if asked for.",
		test: func(p *probe) {
			url := p.fifo("VisibilityTimeout", "0")
			p.send(url, "x", inGroup("g"), withDedup("d"))
			m := p.next(url)
			p.equal("MessageGroupId", m.Attributes["MessageGroupId"], "g")
			p.equal("MessageDeduplicationId", m.Attributes["MessageDeduplicationId"], "d")
			m = p.next(url, func(in *sqs.ReceiveMessageInput) {
				in.MessageSystemAttributeNames = []sqstypes.MessageSystemAttributeName{"MessageDeduplicationId"}
			})
			p.equal("what is asked for", m.Attributes, map[string]string{"MessageDeduplicationId": "d"})
		},
	},
	{
		name: "fifo-send/batch", source: api("SendMessageBatch"),
		says: "The entries of a batch are sent in order, each with its SequenceNumber.",
		test: func(p *probe) {
			url := p.byContent()
			entries := entriesOf(10)
			for i := range entries {
				entries[i].MessageGroupId = aws.String("g")
			}
			out := p.sendBatch(url, entries...)
			p.equal("the number of successful entries", len(out.Successful), 10)
			numbers := make(map[string]string)
			last := ""
			for _, e := range out.Successful {
				n := aws.ToString(e.SequenceNumber)
				if n <= last {
					p.errorf("the number of %s is %q, after %q", *e.Id, n, last)
				}
				last = n
				numbers[*e.MessageId] = n
			}
			for _, m := range p.came(p.receive(url), "0 1 2 3 4 5 6 7 8 9") {
				p.equal("the number received", m.Attributes["SequenceNumber"], numbers[*m.MessageId])
			}
		},
	},
	{
		name: "fifo-send/batch-ids", source: api("SendMessageBatch"),
		says: "An entry without a MessageGroupId, or without a MessageDeduplicationId where it is needed, fails the whole batch: InvalidParameterValue.",
		test: func(p *probe) {
			url := p.fifo()
			good, noDedup, noGroup := entryOf("good", "x"), entryOf("bad", "y"), entryOf("bad", "z")
			good.MessageGroupId, good.MessageDeduplicationId = aws.String("g"), aws.String("1")
			noDedup.MessageGroupId = aws.String("g")
			noGroup.MessageDeduplicationId = aws.String("2")
			_, err := p.trySendBatch(url, good, noDedup)
			p.refused(err, "InvalidParameterValue", "no MessageDeduplicationId")
			_, err = p.trySendBatch(url, good, noGroup)
			p.refused(err, "InvalidParameterValue", "no MessageGroupId")
			p.empty(url, "after the batches failed")
		},
	},
	{
		name: "fifo-send/batch-delay", source: api("SendMessageBatchRequestEntry"),
		says: "An entry with DelaySeconds fails alone.",
		test: func(p *probe) {
			url := p.byContent()
			good, late := entryOf("good", "x"), entryOf("late", "y")
			good.MessageGroupId, late.MessageGroupId = aws.String("g"), aws.String("g")
			late.DelaySeconds = 1
			out := p.sendBatch(url, late, good)
			p.failed(out.Failed, "late", "InvalidParameterValue")
			p.equal("the messages", inOrder(p.receive(url)), "x")
		},
	},
}
