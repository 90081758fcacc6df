package emulator_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// Many senders and receivers at once, some of whom give messages back: every message comes to somebody, and
// is gone after it was deleted.
func TestNothingIsLost(t *testing.T) {
	const senders, receivers, batches = 4, 6, 40
	_, c := newSQS(t, emulator.Config{})
	url := createQueue(t, c, "q")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	var mu sync.Mutex
	missing := make(map[string]bool)
	for s := range senders {
		for i := range batches * 10 {
			missing[fmt.Sprintf("%d-%d", s, i)] = true
		}
	}
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for b := range batches {
				var entries []sqstypes.SendMessageBatchRequestEntry
				for i := range 10 {
					entries = append(entries, entryOf(strconv.Itoa(i), fmt.Sprintf("%d-%d", s, b*10+i)))
				}
				if _, err := c.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for r := range receivers {
		all.Go(func() {
			for ctx.Err() == nil {
				out, err := c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				for _, m := range out.Messages {
					if r == 0 && rand.IntN(2) == 0 {
						changeVisibility(t, c, url, m.ReceiptHandle, 0)
						continue
					}
					if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
						t.Error(err)
					}
					mu.Lock()
					if !missing[*m.Body] {
						t.Errorf("%s came after it was deleted", *m.Body)
					}
					delete(missing, *m.Body)
					if len(missing) == 0 {
						stop()
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if got := receive(t, c, url); len(got) != 0 {
		t.Errorf("%d messages are left", len(got))
	}
}

// Many receivers of a FIFO queue at once, some of whom give messages back, or ask again for what they got: each
// group is handled in order, and each message once.
func TestGroupsInOrder(t *testing.T) {
	const groups, receivers, each = 5, 6, 100
	_, c := newSQS(t, emulator.Config{})
	out, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q.fifo"), Attributes: map[string]string{"FifoQueue": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	url := *out.QueueUrl
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	var all sync.WaitGroup
	for g := range groups {
		all.Go(func() {
			for i := range each {
				for range 1 + i%2 { // every second one twice
					if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
						QueueUrl: &url, MessageBody: aws.String(strconv.Itoa(i)),
						MessageGroupId: aws.String(strconv.Itoa(g)), MessageDeduplicationId: aws.String(fmt.Sprint(g, "-", i)),
					}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	var mu sync.Mutex
	handled, left := make(map[string]int), groups*each
	handle := func(m sqstypes.Message) {
		mu.Lock()
		defer mu.Unlock()
		group := m.Attributes["MessageGroupId"]
		if want := strconv.Itoa(handled[group]); *m.Body != want {
			t.Errorf("%s of group %s comes when it is the turn of %s", *m.Body, group, want)
		}
		handled[group]++
		if left--; left == 0 {
			stop()
		}
	}
	for r := range receivers {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				in := &sqs.ReceiveMessageInput{
					QueueUrl: &url, MaxNumberOfMessages: 4, WaitTimeSeconds: 20,
					MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"MessageGroupId"},
					ReceiveRequestAttemptId:     aws.String(fmt.Sprint(r, "-", n)),
				}
				out, err := c.ReceiveMessage(ctx, in)
				if r == 1 && err == nil && len(out.Messages) > 0 {
					out, err = c.ReceiveMessage(ctx, in) // the first answer was lost, say
				}
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				returned := make(map[string]bool)
				for _, m := range out.Messages {
					group := m.Attributes["MessageGroupId"]
					if returned[group] || r == 0 && rand.IntN(2) == 0 {
						returned[group] = true // and what follows it
						continue
					}
					handle(m)
					if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
						t.Error(err)
					}
				}
				for _, m := range slices.Backward(out.Messages) {
					if returned[m.Attributes["MessageGroupId"]] {
						// What was deleted before it answers with an error, of which nothing comes.
						_, _ = c.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle})
					}
				}
			}
		})
	}
	all.Wait()
	if got := receive(t, c, url); len(got) != 0 {
		t.Errorf("%d messages are left", len(got))
	}
}
