package emulator_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// mover has a dead-letter queue with as many messages as asked for, each sent there from a queue.
type mover struct {
	*testing.T
	sqs      *sqs.Client
	url, dlq string
}

const arnPrefix = "arn:aws:sqs:us-east-1:000000000000:"

func newMover(t *testing.T, n int) *mover {
	_, c := newSQS(t, emulator.Config{NoCooldowns: true})
	m := &mover{T: t, sqs: c}
	m.dlq = createQueue(t, c, "dlq")
	m.url = createQueue(t, c, "q", "VisibilityTimeout", "0", "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+`dlq","maxReceiveCount":1}`)
	m.bury(n)
	return m
}

func (m *mover) bury(n int) {
	for i := range n {
		send(m.T, m.sqs, m.url, fmt.Sprint(i))
	}
	for i := 0; i < 2*n+10; i += 10 {
		receive(m.T, m.sqs, m.url, func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 10 })
	}
}

func (m *mover) start(edits ...func(*sqs.StartMessageMoveTaskInput)) string {
	m.Helper()
	in := &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnPrefix + "dlq")}
	for _, edit := range edits {
		edit(in)
	}
	out, err := m.sqs.StartMessageMoveTask(m.Context(), in)
	if err != nil {
		m.Fatal(err)
	}
	return *out.TaskHandle
}

func (m *mover) tasks() []sqstypes.ListMessageMoveTasksResultEntry {
	m.Helper()
	out, err := m.sqs.ListMessageMoveTasks(m.Context(), &sqs.ListMessageMoveTasksInput{SourceArn: aws.String(arnPrefix + "dlq"), MaxResults: aws.Int32(10)})
	if err != nil {
		m.Fatal(err)
	}
	return out.Results
}

// is checks the latest task, and how many messages can be received from the queues.
func (m *mover) is(status string, moved int64, dead, back string) sqstypes.ListMessageMoveTasksResultEntry {
	m.Helper()
	task := m.tasks()[0]
	if got := aws.ToString(task.Status); got != status || task.ApproximateNumberOfMessagesMoved != moved {
		m.Errorf("the task is %s with %d moved, want %s with %d", got, task.ApproximateNumberOfMessagesMoved, status, moved)
	}
	for url, want := range map[string]string{m.dlq: dead, m.url: back} {
		out, err := m.sqs.GetQueueAttributes(m.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{"ApproximateNumberOfMessages"}})
		if err != nil {
			m.Fatal(err)
		}
		if got := out.Attributes["ApproximateNumberOfMessages"]; got != want {
			m.Errorf("%s has %s messages, want %s", url, got, want)
		}
	}
	return task
}

func to(name string) func(*sqs.StartMessageMoveTaskInput) {
	return func(in *sqs.StartMessageMoveTaskInput) { in.DestinationArn = aws.String(arnPrefix + name) }
}

func atRate(n int32) func(*sqs.StartMessageMoveTaskInput) {
	return func(in *sqs.StartMessageMoveTaskInput) { in.MaxNumberOfMessagesPerSecond = &n }
}

// Move tasks in virtual time: the rates are exact, and what happens to a queue meanwhile counts.
func TestMoves(t *testing.T) {
	for name, test := range map[string]func(m *mover){
		"the rate asked for": func(m *mover) {
			m.start(atRate(3))
			m.is("RUNNING", 0, "20", "0")
			time.Sleep(2*time.Second + time.Millisecond)
			m.is("RUNNING", 6, "14", "6")
			time.Sleep(5 * time.Second)
			m.is("COMPLETED", 20, "0", "20")
		},
		"the highest rate": func(m *mover) {
			m.start()
			time.Sleep(20*time.Millisecond + time.Microsecond)
			m.is("RUNNING", 10, "10", "10")
			time.Sleep(20 * time.Millisecond)
			m.is("COMPLETED", 20, "0", "20")
		},
		"nothing to move": func(m *mover) {
			m.start(to("q"))
			time.Sleep(time.Second)
			m.is("COMPLETED", 20, "0", "20")
			m.start()
			time.Sleep(time.Second)
			m.is("COMPLETED", 0, "0", "20")
		},
		"cancelled at once": func(m *mover) {
			handle := m.start(atRate(1))
			time.Sleep(1500 * time.Millisecond)
			out, err := m.sqs.CancelMessageMoveTask(m.Context(), &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle})
			if err != nil || out.ApproximateNumberOfMessagesMoved != 1 {
				m.Errorf("cancelled with %+v, %v", out, err)
			}
			if task := m.is("CANCELLING", 1, "19", "1"); task.TaskHandle != nil {
				m.Error("a task that is not running has a handle")
			}
			time.Sleep(time.Minute)
			m.is("CANCELLED", 1, "19", "1")
			m.start()
			time.Sleep(time.Second)
			m.is("COMPLETED", 19, "0", "20")
		},
		"what comes meanwhile stays": func(m *mover) {
			m.start(atRate(1))
			time.Sleep(time.Second / 2)
			m.bury(5)
			time.Sleep(time.Hour)
			m.is("COMPLETED", 20, "5", "20")
		},
		"what is in flight stays": func(m *mover) {
			receive(m.T, m.sqs, m.dlq, func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages, in.VisibilityTimeout = 4, 60 })
			m.start(atRate(500))
			time.Sleep(time.Second)
			task := m.is("COMPLETED", 16, "0", "16")
			if n := aws.ToInt64(task.ApproximateNumberOfMessagesToMove); n != 16 {
				m.Errorf("%d messages were to be moved, want 16", n)
			}
			time.Sleep(time.Minute)
			m.is("COMPLETED", 16, "4", "16")
		},
		"the destination goes": func(m *mover) {
			other := createQueue(m.T, m.sqs, "other")
			m.start(to("other"), atRate(1))
			time.Sleep(3500 * time.Millisecond)
			if _, err := m.sqs.DeleteQueue(m.Context(), &sqs.DeleteQueueInput{QueueUrl: &other}); err != nil {
				m.Fatal(err)
			}
			time.Sleep(time.Minute)
			task := m.is("FAILED", 3, "17", "0")
			if got := aws.ToString(task.FailureReason); got != "AWS.SimpleQueueService.NonExistentQueue" {
				m.Errorf("the reason is %q", got)
			}
		},
		"the source goes": func(m *mover) {
			m.start(atRate(1))
			time.Sleep(1500 * time.Millisecond)
			if _, err := m.sqs.DeleteQueue(m.Context(), &sqs.DeleteQueueInput{QueueUrl: &m.dlq}); err != nil {
				m.Fatal(err)
			}
			time.Sleep(time.Minute)
			m.dlq = createQueue(m.T, m.sqs, "dlq")
			if tasks := m.tasks(); len(tasks) != 0 {
				m.Errorf("the new queue has tasks: %+v", tasks)
			}
			m.start()
			time.Sleep(time.Minute)
			m.is("COMPLETED", 0, "0", "1")
		},
		"ten are kept": func(m *mover) {
			for range 12 {
				m.start()
				time.Sleep(time.Second)
			}
			if n := len(m.tasks()); n != 10 {
				m.Errorf("%d tasks are listed, want 10", n)
			}
		},
		"a long poll hears of it": func(m *mover) {
			m.start(atRate(1))
			got := receive(m.T, m.sqs, m.url, func(in *sqs.ReceiveMessageInput) { in.WaitTimeSeconds = 20 })
			if len(got) != 1 || *got[0].Body != "0" {
				m.Errorf("received %v", got)
			}
		},
		"onto itself": func(m *mover) {
			_, err := m.sqs.StartMessageMoveTask(m.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnPrefix + "dlq"), DestinationArn: aws.String(arnPrefix + "dlq")})
			if err == nil {
				m.Error("a queue may be its own destination")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(newMover(t, 20)) })
		})
	}
}

// A task does not go on for longer than 36 hours, however long that is on the server's clock at once.
func TestMoveForTooLong(t *testing.T) {
	for name, jump := range map[string]time.Duration{"a little": 36*time.Hour + time.Second, "years": 50 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			clock := newManualClock()
			_, c := newSQS(t, emulator.Config{Clock: clock})
			m := &mover{T: t, sqs: c, dlq: createQueue(t, c, "dlq", "MessageRetentionPeriod", "1209600")}
			m.url = createQueue(t, c, "q", "MessageRetentionPeriod", "1209600", "VisibilityTimeout", "0", "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+`dlq","maxReceiveCount":1}`)
			m.bury(3)
			m.start(atRate(1))
			clock.advance(time.Second)
			clock.advance(jump)
			task := m.tasks()[0]
			if got := aws.ToString(task.Status); got != "FAILED" || task.ApproximateNumberOfMessagesMoved != 1 || aws.ToString(task.FailureReason) == "" {
				t.Errorf("the task is %s with %d moved and the reason %q, want it to have failed with one", got, task.ApproximateNumberOfMessagesMoved, aws.ToString(task.FailureReason))
			}
			if n := clock.pending(); n != 0 {
				t.Errorf("%d timers are left", n)
			}
		})
	}
}

// An account has at most a hundred tasks at a time.
func TestMovesAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newSQS(t, emulator.Config{})
		start := func(i int) error {
			_, err := c.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnPrefix + fmt.Sprint("dlq-", i))})
			return err
		}
		for i := range 101 {
			createQueue(t, c, fmt.Sprint("dlq-", i))
			createQueue(t, c, fmt.Sprint("q-", i), "RedrivePolicy", fmt.Sprintf(`{"deadLetterTargetArn":"%sdlq-%d","maxReceiveCount":1}`, arnPrefix, i))
		}
		for i := range 100 {
			if err := start(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := start(100); codeOf(err) != "OverLimit" {
			t.Errorf("task 101: %v, want OverLimit", err)
		}
		time.Sleep(time.Second) // all have ended
		if err := start(100); err != nil {
			t.Error(err)
		}
	})
}
