package pipeline_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// fifoEndpoint has a dead-letter queue that it shares.
func fifoEndpoint(name string) queue.Endpoint {
	return queue.Endpoint{Name: name, URL: "sqs://" + name + ".fifo", DeadLetter: "sqs://dlq.fifo", MaxReceiveCount: 20}
}

func (s *stack) sendFIFO(name, body, dedup string) {
	s.Helper()
	_, err := s.sqs.SendMessage(s.Context(), &sqs.SendMessageInput{
		QueueUrl: aws.String(s.urls[name]), MessageBody: &body, MessageGroupId: aws.String("g"), MessageDeduplicationId: &dedup,
	})
	if err != nil {
		s.Fatal(err)
	}
}

func decline(*message.Message) error { return pipeline.Permanent(errDeclined) }

// What queues of a FIFO topic have one deduplication id for, and what one queue
// has had twice, five minutes apart, are dead letters each: a dead-letter queue
// that took one for a repeat of another would lose it.
func TestDeadLettersOnFIFOAreNoRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, fifoEndpoint("a"), fifoEndpoint("b"))
		s.sendFIFO("a.fifo", `{"id":"1"}`, "d")
		s.sendFIFO("b.fifo", `{"id":"2"}`, "d")
		time.Sleep(6 * time.Minute)
		s.sendFIFO("a.fifo", `{"id":"3"}`, "d")
		p := s.process().pipeline()
		for _, name := range []string{"a", "b"} {
			p.Handle(name, pipeline.Consume(decline), pipeline.From(name))
		}
		s.start(p)
		settle(time.Minute)
		got := s.take("dlq.fifo")
		if len(got) != 3 {
			t.Errorf("the dead-letter queue holds %q, want all three", bodies(got))
		}
		for _, dead := range got {
			if f := dead.failure(t); f.Reason != queue.ReasonPermanent {
				t.Errorf("%s: %s", dead.body, asJSON(t, f))
			}
		}
	})
}

// A message that is moved twice, because its delete failed for long, is there once.
func TestDeadLetterOnFIFOThatIsMovedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, fifoEndpoint("a"))
		s.sendFIFO("a.fifo", `{"id":"1"}`, "d")
		moves := 0
		p := s.process().pipeline()
		p.Handle("a", pipeline.Consume(func(msg *message.Message) error {
			moves++
			return decline(msg)
		}), pipeline.From("a"))
		mend := s.faulty("DeleteMessageBatch", "a.fifo", emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error { return errInternal }})
		s.start(p)
		settle(2 * time.Minute)
		mend()
		settle(time.Minute)
		if moves < 2 {
			t.Fatalf("it was moved %d times", moves)
		}
		if got := s.take("dlq.fifo"); len(got) != 1 {
			t.Errorf("the dead-letter queue holds it %d times", len(got))
		}
		if n := s.left("a.fifo"); n != 0 {
			t.Errorf("a holds %d messages", n)
		}
	})
}
