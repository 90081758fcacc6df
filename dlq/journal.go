package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A journal is what a job writes down of the messages that it has in hand, and
// the lease that it holds meanwhile. A nil journal writes nothing and holds
// always.
//
// The notes of an opening come one after the other, so one goroutine makes them
// all, and puts into one what the workers bring meanwhile.
type journal struct {
	jobs  store.Jobs
	note  store.JobNote // what is the same of all notes
	lease time.Duration

	// progress returns what is kept with a note after which so many messages are
	// through, by destination.
	progress func(done map[string]int) []byte

	requests chan noteRequest
	kick     chan struct{}
	stopped  chan struct{} // closed when the goroutine has ended

	over context.Context // ends when nothing more is to be sent
	stop context.CancelFunc

	mu          sync.Mutex
	until       time.Time      // the lease stands until then at least
	removals    []removal      // ride with the next note
	done        map[string]int // messages that are through, by destination, and removed
	err         error          // nothing more can be noted
	cancelledBy string
	cancelled   bool
}

// A noteRequest is what a worker has to say, and awaits.
type noteRequest struct {
	set    []store.JobEntry
	answer chan error
}

// A removal is an entry of which nothing more can come. Through is the destination
// of a message that was sent and deleted.
type removal struct{ key, through string }

// maxRemovals is how many removals wait for another note before they are one of
// their own.
const maxRemovals = store.MaxJobEntries / 2

// An entry is what the journal has of a message.
type entry struct {
	State string `json:"state"`
	To    string `json:"to"` // the destination's URL
	Name  string `json:"name"`
	ID    string `json:"id"` // the message's own
	Dedup string `json:"dedup,omitempty"`
	NewID string `json:"new_id,omitempty"` // that the destination gave it

	old   bool // of an earlier opening
	seen  bool // and received since
	noted bool // the journal has this state
}

const (
	stateSending = "sending" // it may be with its destination
	stateSent    = "sent"    // it is, and is only to be deleted
)

func (e *entry) of(messageID string) store.JobEntry {
	state, err := json.Marshal(e)
	if err != nil {
		panic(err) // it is all text
	}
	return store.JobEntry{Key: messageID, State: state}
}

// newJournal returns a journal of an opening that was asked for at a time.
func newJournal(jobs store.Jobs, o store.JobOpening, fence int64, asked time.Time) *journal {
	over, stop := context.WithCancel(context.Background())
	return &journal{
		over: over, stop: stop,
		jobs:     jobs,
		note:     store.JobNote{Subject: o.Subject, ID: o.ID, Token: o.Token, Fence: fence, Lease: o.Lease},
		lease:    o.Lease,
		requests: make(chan noteRequest),
		kick:     make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		until:    asked.Add(o.Lease),
		done:     map[string]int{},
	}
}

// run makes notes until the requests are closed.
func (n *journal) run(ctx context.Context) {
	defer close(n.stopped)
	ctx = context.WithoutCancel(ctx)
	tick := time.NewTicker(n.lease / 3)
	defer tick.Stop()
	for {
		var batch []noteRequest
		select {
		case r, open := <-n.requests:
			if !open {
				return
			}
			batch = n.gather(r)
		case <-n.kick:
		case <-tick.C:
		}
		err := n.write(ctx, batch)
		for _, r := range batch {
			r.answer <- err
		}
	}
}

// gather takes what other workers bring at the same moment into one note.
func (n *journal) gather(first noteRequest) []noteRequest {
	batch, size := []noteRequest{first}, len(first.set)
	for size+batchSize <= store.MaxJobEntries {
		select {
		case r, open := <-n.requests:
			if !open {
				return batch
			}
			batch, size = append(batch, r), size+len(r.set)
		default:
			return batch
		}
	}
	return batch
}

// write makes one note. One whose outcome is not known it makes again, under the
// same number, for as long as the lease stands.
func (n *journal) write(ctx context.Context, batch []noteRequest) error {
	if err := n.failure(); err != nil {
		return err
	}
	note := n.compose(batch)
	for backoff := noteBackoff; ; backoff = min(2*backoff, n.lease/4) {
		asked := time.Now()
		callCtx, cancel := context.WithDeadline(ctx, n.standsUntil())
		noted, err := n.jobs.NoteJob(callCtx, note)
		cancel()
		if err == nil {
			n.noted(noted, asked)
			return nil
		}
		final := errors.Is(err, store.ErrLeaseLost) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrInvalid)
		if left := time.Until(n.standsUntil()); !final && left > 0 {
			sleep(ctx, min(backoff, left))
			continue
		}
		if !final {
			err = fmt.Errorf("%w: the store did not answer for as long as it stood: %w", store.ErrLeaseLost, err)
		}
		return n.fail(fmt.Errorf("journal: %w", err))
	}
}

const noteBackoff = 50 * time.Millisecond

// compose makes the next note of what workers bring, and of as many removals as
// have room beside it.
func (n *journal) compose(batch []noteRequest) store.JobNote {
	set := map[string]store.JobEntry{}
	for _, r := range batch {
		for _, e := range r.set {
			set[e.Key] = e
		}
	}
	n.mu.Lock()
	n.note.Number++
	note := n.note
	gone := map[string]bool{}
	for len(n.removals) > 0 && len(set)+len(gone) < store.MaxJobEntries {
		r := n.removals[0]
		n.removals = n.removals[1:]
		if _, again := set[r.key]; again || gone[r.key] {
			continue // it is in hand once more
		}
		gone[r.key] = true
		if r.through != "" {
			n.done[r.through]++
		}
	}
	done := maps.Clone(n.done)
	n.mu.Unlock()
	note.Remove = slices.Sorted(maps.Keys(gone))
	for _, key := range slices.Sorted(maps.Keys(set)) {
		note.Set = append(note.Set, set[key])
	}
	note.Progress = n.progress(done)
	return note
}

func (n *journal) noted(noted store.JobNoted, asked time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.until = asked.Add(n.lease)
	if noted.Cancelled() {
		n.cancelled, n.cancelledBy = true, noted.CancelledBy
		n.stop()
	}
}

func (n *journal) fail(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
	n.stop()
	return err
}

func (n *journal) failure() error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

func (n *journal) standsUntil() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.until
}

// set writes entries, and returns when they are written, or cannot be.
func (n *journal) set(entries []store.JobEntry) error {
	r := noteRequest{entries, make(chan error, 1)}
	n.requests <- r
	return <-r.answer
}

// remove has an entry removed with one of the next notes. Through is the
// destination of a message that was sent and deleted, or empty.
func (n *journal) remove(key, through string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removals = append(n.removals, removal{key, through})
	if len(n.removals) >= maxRemovals {
		select {
		case n.kick <- struct{}{}:
		default:
		}
	}
}

// stands returns nil if the lease stands for long enough to send something. If
// that is not sure, it renews it first.
func (n *journal) stands() error {
	if n == nil {
		return nil
	}
	if err := n.failure(); err != nil {
		return err
	}
	if time.Until(n.standsUntil()) >= n.lease/4 {
		return nil
	}
	return n.set(nil)
}

// lapsed reports whether somebody else may have the lease.
func (n *journal) lapsed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err != nil || !time.Now().Before(n.until)
}

// waiting returns a context for what can wait long before something is sent.
func (n *journal) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if n != nil {
		stop := context.AfterFunc(n.over, cancel)
		return ctx, func() { stop(); cancel() }
	}
	return ctx, cancel
}

// told tells whether somebody told the job to stop.
func (n *journal) told() (by string, cancelled bool) {
	if n == nil {
		return "", false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cancelledBy, n.cancelled
}

// flush writes the removals that wait for a note.
func (n *journal) flush() error {
	for {
		n.mu.Lock()
		left := len(n.removals)
		n.mu.Unlock()
		if left == 0 {
			return n.failure()
		}
		if err := n.set(nil); err != nil {
			return err
		}
	}
}

// close ends the notes and gives the lease back.
func (n *journal) close(ctx context.Context, ended bool, status string) error {
	close(n.requests)
	<-n.stopped
	defer n.stop()
	if err := n.failure(); errors.Is(err, store.ErrLeaseLost) {
		return err
	}
	n.mu.Lock()
	done := maps.Clone(n.done)
	n.mu.Unlock()
	c := store.JobClosing{
		Subject: n.note.Subject, ID: n.note.ID, Fence: n.note.Fence, Token: n.note.Token,
		Ended: ended, Status: status, Progress: n.progress(done), Retention: jobRetention,
	}
	ctx = context.WithoutCancel(ctx)
	for backoff := noteBackoff; ; backoff *= 2 {
		callCtx, cancel := context.WithDeadline(ctx, n.standsUntil())
		err := n.jobs.CloseJob(callCtx, c)
		cancel()
		final := err == nil || errors.Is(err, store.ErrLeaseLost) || errors.Is(err, store.ErrInvalid)
		var entries *store.JobEntriesError
		if errors.As(err, &entries) {
			c.Ended, c.Status = false, statusInPart
			continue
		}
		left := time.Until(n.standsUntil())
		if final || left <= 0 {
			return err
		}
		sleep(ctx, min(backoff, left))
	}
}
