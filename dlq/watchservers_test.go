package dlq_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// On each real server, an alarm is raised and its notice published, and a queue that
// vanishes clears none. On the emulator, tests in virtual time hold more.
func TestWatchOnServers(t *testing.T) {
	on(t, func(s *server) {
		if s.emulator != nil {
			return
		}
		s.TB.(*testing.T).Parallel()
		s.queue("dlq", "", 0)
		s.queue("pager", "", 0)
		s.sendMany("dlq", 2)
		pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws})
		if err != nil {
			s.Fatal(err)
		}
		defer pub.Close()
		notices := make(chan dlq.Notice, 10)
		w, err := s.client().NewWatcher(dlq.WatchConfig{
			Queues: []string{s.full("dlq")}, Interval: time.Second, Limits: dlq.Limits{Depth: 2, ClearAfter: 1},
			Publisher: pub, Endpoint: "sqs://" + s.full("pager"), OnNotice: func(n dlq.Notice) { notices <- n },
		})
		if err != nil {
			s.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		next := func() (n dlq.Notice) {
			select {
			case n = <-notices:
			case <-ctx.Done():
				s.Error("no notice came")
			}
			return n
		}
		if n := next(); n.Alarm != dlq.AlarmDepth || n.Event != dlq.EventRaised || n.Value != 2 {
			s.Errorf("the first notice is %+v", n)
		}
		if _, err := s.sqs.DeleteQueue(s.Context(), &sqs.DeleteQueueInput{QueueUrl: s.url("dlq")}); err != nil {
			s.Fatal(err)
		}
		if n := next(); n.Alarm != dlq.AlarmUnreadable || n.Event != dlq.EventRaised || n.Error == "" {
			s.Errorf("the second notice is %+v", n)
		}
		got := map[dlq.AlarmKind]bool{} // a standard queue has no order
		for len(got) < 2 {              // one whose answer was lost comes twice
			out, err := s.sqs.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("pager"), WaitTimeSeconds: 10, VisibilityTimeout: 60})
			if err != nil || ctx.Err() != nil {
				s.Fatalf("the pager got %v, %v, %v", got, err, ctx.Err())
			}
			if len(out.Messages) == 0 {
				continue
			}
			var n dlq.Notice
			if err := json.Unmarshal([]byte(*out.Messages[0].Body), &n); err != nil {
				s.Fatal(err)
			}
			got[n.Alarm] = true
		}
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
		if !got[dlq.AlarmDepth] || !got[dlq.AlarmUnreadable] {
			s.Errorf("the pager got %v", got)
		}
	})
}
