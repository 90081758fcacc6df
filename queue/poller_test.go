package queue_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestPollers holds that receives are open side by side under backlog only, and
// what an idle subscription costs.
func TestPollers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		var open, most atomic.Int64
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "ReceiveMessage" {
				return emulator.Fault{}
			}
			n := open.Add(1)
			time.AfterFunc(9*time.Millisecond, func() { open.Add(-1) }) // before the next can begin
			most.Store(max(most.Load(), n))
			return emulator.Fault{Delay: 10 * time.Millisecond}
		})
		q := testQueue{s, "q", url}
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{Pollers: 3})}), "q")
		receives := func() int64 { return s.emulator.Requests()["sqs.ReceiveMessage"] }

		time.Sleep(10 * time.Minute)
		if n := receives(); n > 31 || most.Load() != 1 {
			t.Errorf("idle for ten minutes: %d receives, up to %d at once; want one in 20 s", n, most.Load())
		}
		for i := range 500 {
			s.send(t, url, fmt.Sprint(i))
		}
		for range 500 {
			next(t, ch).Ack()
		}
		if most.Load() != 3 {
			t.Errorf("under backlog up to %d receives at once, want 3", most.Load())
		}
		time.Sleep(time.Minute)
		most.Store(0)
		before := receives()
		time.Sleep(10 * time.Minute)
		if n := receives() - before; n > 31 || most.Load() != 1 {
			t.Errorf("idle again for ten minutes: %d receives, up to %d at once; want one in 20 s", n, most.Load())
		}
	})
}

// TestMinPollers holds that as many receives are open as the endpoint says, under no
// load too, and more under backlog.
func TestMinPollers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		var open, most atomic.Int64
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "ReceiveMessage" {
				return emulator.Fault{}
			}
			n := open.Add(1)
			time.AfterFunc(9*time.Millisecond, func() { open.Add(-1) }) // before the next can begin
			most.Store(max(most.Load(), n))
			return emulator.Fault{Delay: 10 * time.Millisecond}
		})
		q := testQueue{s, "q", url}
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{MinPollers: 3, Pollers: 5})}), "q")
		receives := func() int64 { return s.emulator.Requests()["sqs.ReceiveMessage"] }
		idle := func(when string) {
			t.Helper()
			before := receives()
			time.Sleep(10 * time.Minute)
			if n := receives() - before; n < 3*29 || n > 3*31 {
				t.Errorf("%s for ten minutes: %d receives; want three in 20 s", when, n)
			}
		}
		idle("idle")
		if most.Load() > 3 {
			t.Errorf("idle up to %d receives at once, want 3", most.Load())
		}
		for i := range 500 {
			s.send(t, url, fmt.Sprint(i))
		}
		for range 500 {
			next(t, ch).Ack()
		}
		if most.Load() != 5 {
			t.Errorf("under backlog up to %d receives at once, want 5", most.Load())
		}
		time.Sleep(time.Minute)
		idle("idle again")
	})
}

// TestMinPollersThrottled holds that SQS's word is above the endpoint's, and that
// the pollers which stand by come back when it has no more to say.
func TestMinPollersThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		var busy atomic.Bool
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation == "ReceiveMessage" && busy.Load() {
				return emulator.Fault{Err: &emulator.Error{Code: "RequestThrottled", Message: "slow down", Status: 403}}
			}
			return emulator.Fault{}
		})
		q := testQueue{s, "q", url}
		subscribe(t, newSubscriber(t, queue.SubscriberConfig{
			AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{MinPollers: 8}), Logger: new(recorder).logger(),
		}), "q")
		receives := func(d time.Duration) int64 {
			before := s.emulator.Requests()["sqs.ReceiveMessage"]
			time.Sleep(d)
			return s.emulator.Requests()["sqs.ReceiveMessage"] - before
		}
		if n := receives(10 * time.Minute); n < 6*29 {
			t.Errorf("%d receives in ten minutes; want as many pollers as Concurrency has room for", n)
		}
		busy.Store(true)
		time.Sleep(2 * time.Minute)
		if n := receives(10 * time.Minute); n > 3*40 { // the SDK tries each three times
			t.Errorf("throttled: %d requests in ten minutes; want one poller's, with pauses", n)
		}
		busy.Store(false)
		time.Sleep(10 * time.Minute)
		if n := receives(10 * time.Minute); n < 6*29 {
			t.Errorf("after that: %d receives in ten minutes", n)
		}
	})
}

// TestDeleteLinger holds how long an acked message waits to be deleted.
func TestDeleteLinger(t *testing.T) {
	tests := []struct {
		name     string
		messages int
		linger   time.Duration
		want     time.Duration
		requests int64
	}{
		{"one", 1, 0, 50 * time.Millisecond, 1},
		{"ten", 10, 0, 0, 1},
		{"no linger", 1, -1, 0, 1},
		{"five with a longer linger", 5, time.Second, time.Second, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				url := s.createQueue(t, "q")
				for i := range tt.messages {
					s.send(t, url, fmt.Sprint(i))
				}
				var deleted atomic.Pointer[time.Time]
				s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
					if r.Operation == "DeleteMessageBatch" {
						now := time.Now()
						deleted.Store(&now)
					}
					return emulator.Fault{}
				})
				ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, DeleteLinger: tt.linger}), "sqs://q")
				var acked time.Time
				for range tt.messages {
					msg := next(t, ch)
					acked = time.Now()
					msg.Ack()
				}
				time.Sleep(2 * time.Second)
				at := deleted.Load()
				if n := s.emulator.Requests()["sqs.DeleteMessageBatch"]; n != tt.requests || at == nil || at.Sub(acked) != tt.want {
					t.Errorf("%d requests, at %v; want %d, %v after %v", n, at, tt.requests, tt.want, acked)
				}
			})
		})
	}
}
