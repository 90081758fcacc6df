package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/queue"
)

// The queues that subscribe to the topic of results.
const (
	completedQueue = "fares-completed"
	failedQueue    = "fares-failed"
)

// An audience receives the notices, and knows them by ride.
type audience struct {
	subscriber *queue.Subscriber
	stats      *queue.Stats
	receiving  sync.WaitGroup

	mu       sync.Mutex
	heard    map[string]*heard // by ride
	ended    []time.Time       // when rides were first heard of, in order
	repeats  int
	problems []string
}

// heard is what the audience knows of one ride.
type heard struct {
	completed, failed *fare.Notice
}

func newAudience(ctx context.Context, b *backend.Backend) (*audience, error) {
	a := &audience{stats: new(queue.Stats), heard: map[string]*heard{}}
	var err error
	a.subscriber, err = queue.NewSubscriber(queue.SubscriberConfig{
		AWSFor: b.AWSFor, Endpoints: b.Endpoints, Stats: a.stats, DrainTimeout: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	for _, endpoint := range []string{completedQueue, failedQueue} {
		messages, err := a.subscriber.Subscribe(ctx, endpoint)
		if err != nil {
			return nil, fmt.Errorf("notices: %w", err)
		}
		a.receiving.Go(func() {
			for msg := range messages {
				a.hear(endpoint, msg)
				msg.Ack()
			}
		})
	}
	return a, nil
}

// hear takes a notice in. Notices come at least once.
func (a *audience) hear(endpoint string, msg *message.Message) {
	var n fare.Notice
	err := json.Unmarshal(msg.Payload, &n)
	a.mu.Lock()
	defer a.mu.Unlock()
	complain := func(format string, args ...any) {
		a.problems = append(a.problems, fmt.Sprintf("a notice on %s: ", endpoint)+fmt.Sprintf(format, args...))
	}
	switch {
	case err != nil:
		complain("%v", err)
		return
	case n.IsSuccessful != (endpoint == completedQueue):
		complain("that of ride %s is of the other kind: the topic's filter is wrong", n.RideID)
	case n.RideID == "" || n.CustomerID == "" || n.Amount == 0 || !n.IsSuccessful && n.Cause == "":
		complain("that of ride %s lacks customer, amount or cause", n.RideID)
	}
	h := a.heard[n.RideID]
	if h == nil {
		h = &heard{}
		a.heard[n.RideID] = h
		a.ended = append(a.ended, time.Now())
	}
	kind := &h.failed
	if n.IsSuccessful {
		kind = &h.completed
	}
	if *kind != nil {
		a.repeats++
	}
	*kind = &n
}

// rides returns how many rides there are notices of.
func (a *audience) rides() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.heard)
}

// of returns which notices there are of a ride.
func (a *audience) of(rideID string) (completed, failed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.heard[rideID]
	return h != nil && h.completed != nil, h != nil && h.failed != nil
}

func (a *audience) close() error {
	err := a.subscriber.Close()
	a.receiving.Wait()
	return err
}
