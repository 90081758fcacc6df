package emulator_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// manualClock is a clock that a test moves.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*manualTimer]bool
}

type manualTimer struct {
	at time.Time
	f  func()
}

func newManualClock() *manualClock {
	return &manualClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), timers: make(map[*manualTimer]bool)}
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	timer := &manualTimer{c.now.Add(d), f}
	c.timers[timer] = true
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := c.timers[timer]
		delete(c.timers, timer)
		return was
	}
}

func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []func()
	for timer := range c.timers {
		if !timer.at.After(c.now) {
			due = append(due, timer.f)
			delete(c.timers, timer)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// pending returns how many timers wait.
func (c *manualClock) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

func TestManualClock(t *testing.T) {
	clock := newManualClock()
	_, c := newSQS(t, emulator.Config{Clock: clock})
	url := createQueue(t, c, "q", "VisibilityTimeout", "30")
	send(t, c, url, "x")
	first := receive(t, c, url)
	if len(first) != 1 {
		t.Fatalf("received %d messages, want 1", len(first))
	}
	clock.advance(30*time.Second - time.Nanosecond)
	if got := receive(t, c, url); len(got) != 0 {
		t.Fatal("received before the visibility timeout")
	}
	clock.advance(time.Nanosecond)
	if got := receive(t, c, url); len(got) != 1 || got[0].Attributes["ApproximateReceiveCount"] != "2" {
		t.Fatalf("received %d messages after the visibility timeout, want 1", len(got))
	}
	if n := clock.pending(); n != 0 {
		t.Errorf("%d timers run while nobody waits", n)
	}
}

// The times at which things happen are exact to the nanosecond in virtual time.
func TestTimesAreExact(t *testing.T) {
	type preparation = func(t *testing.T, c *sqs.Client, url string, others *sync.WaitGroup)
	for _, c := range []struct {
		name    string
		prepare preparation
		after   time.Duration
	}{
		{"delay", func(t *testing.T, c *sqs.Client, url string, others *sync.WaitGroup) {
			body := "x"
			if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, DelaySeconds: 7}); err != nil {
				t.Fatal(err)
			}
		}, 7 * time.Second},
		{"visibility", func(t *testing.T, c *sqs.Client, url string, others *sync.WaitGroup) {
			send(t, c, url, "x")
			receive(t, c, url, hiding(11))
		}, 11 * time.Second},
		{"changed visibility", func(t *testing.T, c *sqs.Client, url string, others *sync.WaitGroup) {
			send(t, c, url, "x")
			m := receive(t, c, url, hiding(900))
			changeVisibility(t, c, url, m[0].ReceiptHandle, 3)
		}, 3 * time.Second},
		{"arrival", func(t *testing.T, c *sqs.Client, url string, others *sync.WaitGroup) {
			others.Go(func() {
				time.Sleep(1234 * time.Millisecond)
				send(t, c, url, "x")
			})
		}, 1234 * time.Millisecond},
		{"nothing", func(*testing.T, *sqs.Client, string, *sync.WaitGroup) {}, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, client := newSQS(t, emulator.Config{})
				url := createQueue(t, client, "q")
				var others sync.WaitGroup
				defer others.Wait()
				c.prepare(t, client, url, &others)
				start := time.Now()
				receive(t, client, url, waiting(20))
				if took := time.Since(start); took != c.after {
					t.Errorf("the long poll took %v, want %v", took, c.after)
				}
			})
		})
	}
}

func changeVisibility(t *testing.T, c *sqs.Client, url string, handle *string, seconds int32) {
	t.Helper()
	_, err := c.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &url, ReceiptHandle: handle, VisibilityTimeout: seconds,
	})
	if err != nil {
		t.Errorf("ChangeMessageVisibility: %v", err)
	}
}

// One arrival wakes one of several long polls, and leaves the others waiting.
func TestLongPollsWakeInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q")
		var mu sync.Mutex
		var order []int
		took := make(map[int]time.Duration)
		var polls sync.WaitGroup
		for i := range 3 {
			polls.Go(func() {
				start := time.Now()
				got := receive(t, c, url, waiting(20))
				mu.Lock()
				defer mu.Unlock()
				took[i] = time.Since(start)
				if len(got) > 0 {
					order = append(order, i)
				}
			})
			synctest.Wait() // so that they stand in line
		}
		time.Sleep(time.Second)
		send(t, c, url, "a")
		synctest.Wait()
		time.Sleep(time.Second)
		send(t, c, url, "b")
		polls.Wait()
		if len(order) != 2 || order[0] != 0 || order[1] != 1 {
			t.Errorf("polls %v received, want 0 and then 1", order)
		}
		if took[0] != time.Second || took[1] != 2*time.Second || took[2] != 20*time.Second {
			t.Errorf("the polls took %v", took)
		}
	})
}

// A poll that is given up passes its wake-up on: no message waits while somebody waits for it.
func TestLongPollGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q")
		ctx, cancel := context.WithCancel(t.Context())
		var polls sync.WaitGroup
		polls.Go(func() {
			_, err := c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
			if err == nil {
				t.Error("the poll was not given up")
			}
		})
		synctest.Wait()
		start := time.Now()
		polls.Go(func() {
			if got := receive(t, c, url, waiting(20)); len(got) != 1 {
				t.Errorf("received %d messages, want 1", len(got))
			}
		})
		synctest.Wait()
		cancel()
		send(t, c, url, "x")
		polls.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("the second poll took %v, want no time", took)
		}
		if got := receive(t, c, url); len(got) != 0 {
			t.Errorf("received %d messages besides", len(got))
		}
	})
}

// Deleting a queue ends the polls on it.
func TestLongPollOfDeletedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q")
		var poll sync.WaitGroup
		poll.Go(func() {
			_, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
			if codeOf(err) != "QueueDoesNotExist" {
				t.Errorf("the poll ended with %v, want QueueDoesNotExist", err)
			}
		})
		synctest.Wait()
		start := time.Now()
		if _, err := c.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
			t.Fatal(err)
		}
		poll.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("the poll went on for %v", took)
		}
	})
}

// A long poll of the source moves dead letters and goes on waiting.
func TestLongPollBuriesDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newSQS(t, emulator.Config{})
		dlq := createQueue(t, c, "dlq")
		url := createQueue(t, c, "q", "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dlq","maxReceiveCount":1}`)
		send(t, c, url, "x")
		receive(t, c, url, hiding(5))
		start := time.Now()
		var polls sync.WaitGroup
		polls.Go(func() {
			got := receive(t, c, dlq, waiting(20))
			if len(got) != 1 || time.Since(start) != 5*time.Second {
				t.Errorf("received %d dead letters after %v, want 1 after 5s", len(got), time.Since(start))
			}
		})
		if got := receive(t, c, url, waiting(20)); len(got) != 0 || time.Since(start) != 20*time.Second {
			t.Errorf("received %d messages after %v, want none after 20s", len(got), time.Since(start))
		}
		polls.Wait()
	})
}

func TestCooldowns(t *testing.T) {
	for _, off := range []bool{false, true} {
		clock := newManualClock()
		_, c := newSQS(t, emulator.Config{Clock: clock, NoCooldowns: off})
		url := createQueue(t, c, "q")
		purge := func() error {
			_, err := c.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &url})
			return err
		}
		again := func() error {
			if _, err := c.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
				t.Fatal(err)
			}
			name := "q"
			_, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
			return err
		}
		if err := purge(); err != nil {
			t.Fatal(err)
		}
		if err := purge(); (err == nil) != off {
			t.Errorf("NoCooldowns %v: a second purge: %v", off, err)
		}
		clock.advance(time.Minute)
		if err := purge(); err != nil {
			t.Errorf("a purge after a minute: %v", err)
		}
		if err := again(); (err == nil) != off {
			t.Errorf("NoCooldowns %v: the queue made again: %v", off, err)
		}
		if off {
			continue
		}
		clock.advance(time.Minute)
		createQueue(t, c, "q")
	}
}

// A batch that arrives serves as many long polls as it has messages for.
func TestBatchWakesSeveralLongPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q")
		start := time.Now()
		var polls sync.WaitGroup
		for range 3 {
			polls.Go(func() {
				if got := receive(t, c, url, waiting(20), maximum(1)); len(got) != 1 {
					t.Errorf("received %d messages, want 1", len(got))
				}
			})
		}
		synctest.Wait()
		if _, err := c.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entriesOf(3)}); err != nil {
			t.Fatal(err)
		}
		polls.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("the polls took %v, want no time", took)
		}
	})
}

// A message in flight that expires lets those behind it in its group through, and makes room at the limit: a long
// poll hears of it then.
func TestLongPollWakesWhenAMessageExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q.fifo", "FifoQueue", "true", "MessageRetentionPeriod", "60")
		sendFIFO(t, c, url, "a", "g", "1")
		receive(t, c, url, hiding(3600))
		time.Sleep(45 * time.Second)
		sendFIFO(t, c, url, "b", "g", "2")
		start := time.Now()
		got := receive(t, c, url, waiting(20))
		if len(got) != 1 || *got[0].Body != "b" || time.Since(start) != 15*time.Second {
			t.Errorf("received %d messages after %v, want the second after 15s", len(got), time.Since(start))
		}
	})
}
