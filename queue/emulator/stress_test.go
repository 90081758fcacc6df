package emulator_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

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
