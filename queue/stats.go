package queue

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// Stats counts exactly what a [Publisher] and a [Subscriber] do. Its zero
// value is ready for use, by any number of them and concurrently; a nil Stats
// counts nothing.
type Stats struct {
	mu       sync.Mutex
	requests map[string]int64

	sent, received, deleted, extended, returned, undelivered atomic.Int64
}

// Figures are the counts of a [Stats] at one moment.
type Figures struct {
	// Requests counts the requests to SQS and SNS by operation, such as
	// "ReceiveMessage". Every attempt counts, so the SDK's retries do.
	Requests map[string]int64

	// Sent counts the messages that the service accepted.
	Sent int64

	// Received counts the messages received, repeats included.
	Received int64

	// Deleted counts the messages deleted after they were acked.
	Deleted int64

	// Extended counts extensions of a message's visibility by the heartbeat.
	Extended int64

	// Returned counts the messages given back: nacked, or not handled when
	// the subscriber closed.
	Returned int64

	// Undelivered counts the messages that were received and that no handler
	// has seen; see [Endpoint.Concurrency]. Each has spent a receive.
	Undelivered int64
}

// Total returns the number of all requests.
func (f Figures) Total() int64 {
	var n int64
	for _, count := range f.Requests {
		n += count
	}
	return n
}

// Figures returns the counts so far.
func (s *Stats) Figures() Figures {
	if s == nil {
		return Figures{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Figures{
		Requests: maps.Clone(s.requests),
		Sent:     s.sent.Load(),
		Received: s.received.Load(),
		Deleted:  s.deleted.Load(),
		Extended: s.extended.Load(),
		Returned: s.returned.Load(),

		Undelivered: s.undelivered.Load(),
	}
}

// Count adds a middleware to an operation of the SDK that counts its requests.
// Publishers and subscribers do so themselves; add it to the APIOptions of an
// aws.Config to count the requests of another client. Several Stats may count
// the same request; one that is added twice counts it once.
func (s *Stats) Count(stack *middleware.Stack) error {
	if s == nil {
		return nil
	}
	id := fmt.Sprintf("WaybillCountRequests%p", s)
	if _, ok := stack.Deserialize.Get(id); ok {
		return nil
	}
	// Behind the retryer, so that it sees every attempt.
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc(id,
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			s.mu.Lock()
			if s.requests == nil {
				s.requests = map[string]int64{}
			}
			s.requests[awsmiddleware.GetOperationName(ctx)]++
			s.mu.Unlock()
			return next.HandleDeserialize(ctx, in)
		}), middleware.After)
}
