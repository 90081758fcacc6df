package emulator

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// Request tells a fault hook about a request.
type Request struct {
	Service   string // "sqs" or "sns"
	Operation string // "SendMessageBatch"
	Region    string
	Resource  string // the name of the queue or topic it is about, if any

	// Number counts the requests for this operation since the server was made, from 1.
	Number int64
}

// Fault is what goes wrong with a request. Its zero value is nothing.
type Fault struct {
	// Delay is waited before anything else is done. It ends early if the client gives up, and then
	// nothing is done.
	Delay time.Duration

	// Err is answered, and nothing is done.
	Err *Error

	// DropRequest closes the connection, and nothing is done.
	DropRequest bool

	// DropAnswer does the work, and closes the connection without an answer.
	DropAnswer bool

	// FailEntry is asked about each entry of a batch that would succeed. Where it returns an error,
	// the entry is not carried out and fails with it, while the others go on.
	FailEntry func(Entry) *Error

	// Twice makes ReceiveMessage leave a second copy of each message that it returns, which can be
	// received at once, as when one of the service's servers missed the receive (SQS developer guide,
	// "At-least-once delivery"). The copy has the same message id, and outlives the deletion of the first.
	// It does nothing to FIFO queues, which deliver exactly once.
	Twice bool
}

// Entry tells a fault hook about an entry of a batch.
type Entry struct {
	ID   string // the entry's id in the batch
	Body string // the message, where the operation sends one
}

// SetFault makes hook decide on each request from now on. A nil hook ends all faults. The hook is called
// from many goroutines at once.
func (s *Server) SetFault(hook func(Request) Fault) {
	if hook == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&hook)
}

// Requests returns how many requests each operation has had, by "sqs.SendMessage". It counts every
// request that named an operation, those that failed or were dropped too, and leaves out what had none.
func (s *Server) Requests() map[string]int64 {
	out := make(map[string]int64)
	for name, n := range s.counters {
		if v := n.Load(); v > 0 {
			out[name] = v
		}
	}
	return out
}

func newCounters() map[string]*atomic.Int64 {
	out := make(map[string]*atomic.Int64)
	for _, name := range slices.Sorted(maps.Keys(sqsOperations)) {
		out["sqs."+name] = new(atomic.Int64)
	}
	for _, name := range slices.Sorted(maps.Keys(snsOperations)) {
		out["sns."+name] = new(atomic.Int64)
	}
	return out
}
