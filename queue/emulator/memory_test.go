package emulator_test

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// heap returns how many bytes are in use.
func heap() int64 {
	for range 2 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

const mebibyte = 1 << 20

// TestDeletedMessagesAreLetGo holds that a FIFO queue, which remembers for five minutes what was received by which
// attempt, does not keep the messages for as long.
func TestDeletedMessagesAreLetGo(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	q := createQueue(t, c, "q.fifo", "FifoQueue", "true")
	body := strings.Repeat("x", mebibyte)
	before := heap()
	for i := range 40 {
		sendFIFO(t, c, q, body, "g", fmt.Sprint(i))
		got := receive(t, c, q, func(in *sqs.ReceiveMessageInput) { in.ReceiveRequestAttemptId = aws.String(fmt.Sprint("try", i)) })
		if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &q, ReceiptHandle: got[0].ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	if more := heap() - before; more > 10*mebibyte {
		t.Errorf("the empty queue keeps %d MiB", more/mebibyte)
	}
	runtime.KeepAlive(s)
}

// TestDeletedQueuesAreLetGo holds that a queue that was deleted keeps no messages, though what is known of its move
// tasks has not gone.
func TestDeletedQueuesAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSQS(t, emulator.Config{NoCooldowns: true})
		body := strings.Repeat("x", mebibyte)
		before := heap()
		for _, kind := range []string{"standard", "fair", "fifo"} {
			attributes, suffix := []string(nil), "-"+kind
			if kind == "fifo" {
				attributes, suffix = []string{"FifoQueue", "true", "ContentBasedDeduplication", "true"}, ".fifo"
			}
			dlq := createQueue(t, c, "dlq"+suffix, attributes...)
			createQueue(t, c, "q"+suffix, append(attributes, "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+"dlq"+suffix+`","maxReceiveCount":1}`)...)
			for i := range 20 {
				in := &sqs.SendMessageInput{QueueUrl: &dlq, MessageBody: aws.String(fmt.Sprint(i) + body[10:])}
				if kind != "standard" {
					in.MessageGroupId = aws.String("g")
				}
				if _, err := c.SendMessage(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnPrefix + "dlq" + suffix)}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &dlq}); err != nil {
				t.Fatal(err)
			}
		}
		if more := heap() - before; more > 10*mebibyte {
			t.Errorf("the deleted queues keep %d MiB", more/mebibyte)
		}
		runtime.KeepAlive(s)
	})
}

// TestDeepParameters holds that the names of a form's parameters do not grow into a tree that is much larger.
func TestDeepParameters(t *testing.T) {
	s := emulator.New(emulator.Config{})
	form := []string{"Action=ListQueues", "Version=2012-11-05"}
	for i := range 9_000 {
		form = append(form, url.QueryEscape(fmt.Sprint(i)+strings.Repeat(".1", 120))+"=")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resp, err := s.Client().Post("http://emulator/", "application/x-www-form-urlencoded", strings.NewReader(strings.Join(form, "&")))
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the answer is %s", resp.Status)
	}
	if n := (after.TotalAlloc - before.TotalAlloc) / mebibyte; n > 150 {
		t.Errorf("2.5 MiB took %d MiB", n)
	}
}
