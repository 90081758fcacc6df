package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// A Canary has a redrive begin with a few messages, and go on only when it has
// seen what became of them.
//
// A message is done when its receiver has a record of it in Config.Records: the
// record that pipeline.Idempotent keeps, under the name of the filter that the
// message failed in. Where there is none, as with receivers that keep no such
// records, the message is taken to be done when Wait has passed, it has not come
// back to the dead-letter queue, and its destination hands messages out. That is
// inferred, and counted apart; nothing is where the destination's dead letters are
// known to go elsewhere. It has died when it came back.
//
// A message that could not be sent is none of the canary: another takes its place.
//
// To see what came back, the redrive looks through the dead-letter queue: at the
// end of Wait if not all are done by record, and before where the queue has grown,
// at most four times. Where the endpoint does not show messages otherwise, each look
// costs about 0.2 requests for each message of the queue, and raises their receive
// counts.
type Canary struct {
	// Messages is how many messages are redriven first. 0 for no canary.
	Messages int

	// Wait is how long to watch them, at most: as soon as all are done by record,
	// or too many have died, it is over. Defaults to how long a receiver that
	// fails always keeps a message from the dead-letter queue, by the destination's
	// visibility timeout and redrive policy, and half a minute; at most an hour.
	Wait time.Duration

	// MaxFailures is how many may die, or have nothing tell of them, for the
	// redrive to go on. Defaults to 0.
	MaxFailures int

	// Receiver is the name of the receiver whose records tell what is done. Defaults
	// to the filter that each message failed in.
	Receiver string
}

// A CanaryReport is what became of the first messages of a redrive.
type CanaryReport struct {
	// Messages were sent. Done of them are done by their receivers' records, and
	// Inferred are taken to be; Died came back to the dead-letter queue.
	Messages int `json:"messages"`
	Done     int `json:"done"`
	Inferred int `json:"inferred"`
	Died     int `json:"died"`

	// Undecided are those of which nothing tells what became of them: where they
	// went nobody seems to receive, or its dead letters go to another queue, or the
	// dead-letter queue holds messages that it does not show.
	Undecided int `json:"undecided"`

	// Waiting counts those whose fate is open still, while it is watched.
	Waiting int `json:"waiting,omitempty"`

	// Passed says that the redrive has gone on.
	Passed bool `json:"passed"`

	// Wait is for how long they are watched at most. In JSON it is wait_seconds.
	Wait time.Duration `json:"-"`
}

// plainCanary is a CanaryReport without its methods.
type plainCanary CanaryReport

// A jsonCanary is a CanaryReport as JSON has it: durations are in seconds.
type jsonCanary struct {
	plainCanary
	WaitSeconds float64 `json:"wait_seconds"`
}

// MarshalJSON encodes the report with its wait in seconds.
func (r CanaryReport) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonCanary{plainCanary(r), r.Wait.Seconds()})
}

// UnmarshalJSON decodes what MarshalJSON encodes.
func (r *CanaryReport) UnmarshalJSON(data []byte) error {
	var j jsonCanary
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*r = CanaryReport(j.plainCanary)
	r.Wait = time.Duration(j.WaitSeconds * float64(time.Second))
	return nil
}

// A CanaryError says that a redrive ended after its canary: too many messages had
// died, or of too many nothing told what became of them. What it had not sent is
// in the dead-letter queue, as are those that died.
type CanaryError struct {
	Report      CanaryReport
	MaxFailures int
}

func (e *CanaryError) Error() string {
	r := e.Report
	text := fmt.Sprintf("the canary of %d messages: %d died, and at most %d may", r.Messages, r.Died, e.MaxFailures)
	if r.Died <= e.MaxFailures {
		text = fmt.Sprintf("the canary of %d messages: %d died, and nothing tells of %d what became of them; see whether their receivers run and their dead letters come to this queue, or give it longer", r.Messages, r.Died, r.Undecided)
	}
	return text + "; the rest was not sent"
}

// Bounds of a [Canary].
const (
	MaxCanary     = 10_000
	MaxCanaryWait = 12 * time.Hour
)

func (c Canary) validate() error {
	switch {
	case c.Messages < 0 || c.Messages > MaxCanary:
		return fmt.Errorf("Canary.Messages is %d; want 1 to %d, or 0 for none", c.Messages, MaxCanary)
	case c.Wait < 0 || c.Wait > MaxCanaryWait:
		return fmt.Errorf("Canary.Wait is %v; want more than 0 up to %v, or 0 for the default", c.Wait, MaxCanaryWait)
	case c.MaxFailures < 0:
		return fmt.Errorf("Canary.MaxFailures is %d; want 0 or more", c.MaxFailures)
	case c.Messages == 0 && (c.Wait != 0 || c.MaxFailures != 0 || c.Receiver != ""):
		return errors.New("Canary has no Messages; want how many to begin with")
	}
	return nil
}

// A canaryMessage is a message of the canary.
type canaryMessage struct {
	id  string
	key string // of its receiver's record; empty if none is known
	to  *queue.Queue
	fate
}

type fate int

const (
	waiting fate = iota
	done         // by record
	died
	inferred
	undecided
)

// A watched canary is what a job knows of it.
type watchedCanary struct {
	open     bool // it is being sent
	base     int  // Report.Matched before, and what could not be sent since
	messages []*canaryMessage
	byID     map[string]*canaryMessage
	beyond   []*Letter // in hand, and for later
	depths   map[string]int
	drained  map[string]bool // destinations that hand messages out
	strange  map[string]bool // destinations whose dead letters go elsewhere
	wait     time.Duration   // that the destinations ask for
	grown    int             // of the dead-letter queue, at the last look
	looked   time.Time
}

// canary redrives the first messages, watches them, and returns whether to go on.
func (j *job) canary(ctx context.Context) bool {
	if _, cancelled := j.journal.told(); cancelled {
		return true // with what is in hand
	}
	j.mu.Lock()
	j.watched = &watchedCanary{
		open: true, base: j.report.Matched, byID: map[string]*canaryMessage{},
		depths: map[string]int{}, drained: map[string]bool{}, strange: map[string]bool{},
	}
	j.report.Canary = &CanaryReport{Wait: j.Canary.Wait}
	j.mu.Unlock()
	j.sendCanary(ctx)
	if j.failed() || ctx.Err() != nil {
		return false
	}
	if len(j.watched.messages) > 0 {
		watchCtx, stop := j.journal.waiting(ctx)
		err := j.watch(watchCtx)
		ended := watchCtx.Err() != nil
		stop()
		if lost := j.journal.failure(); lost != nil {
			j.stop(lost)
			return false
		}
		if _, cancelled := j.journal.told(); ended {
			return cancelled && ctx.Err() == nil
		}
		if err != nil {
			j.stop(err)
			return false
		}
	}
	if _, cancelled := j.journal.told(); cancelled {
		return true
	}
	j.mu.Lock()
	j.report.Canary.Passed = true
	j.exhausted = false
	later := j.watched.beyond
	j.watched.beyond = nil
	j.mu.Unlock()
	j.progress()
	j.handleAll(ctx, later)
	return true
}

// sendCanary sends the first messages: as many as it was told to, for what cannot be
// sent tells nothing of the rest.
func (j *job) sendCanary(ctx context.Context) {
	w := j.watched
	for {
		j.workAll(ctx)
		j.mu.Lock()
		matched, missing := j.report.Matched, j.Canary.Messages-len(w.messages)
		switch {
		case missing <= 0, j.fatal != nil, ctx.Err() != nil,
			len(w.beyond) == 0 && matched < j.bound(), // there is no more
			j.Limit > 0 && matched >= j.Limit:
			w.open = false
			j.mu.Unlock()
			return
		}
		w.base = matched + missing - j.Canary.Messages
		later := w.beyond
		w.beyond = nil
		j.mu.Unlock()
		j.handleAll(ctx, later)
	}
}

// handleAll handles letters that are in hand.
func (j *job) handleAll(ctx context.Context, letters []*Letter) {
	for batch := range slices.Chunk(letters, batchSize) {
		if ctx.Err() != nil || j.failed() {
			return
		}
		j.handle(ctx, batch)
		j.recordSent(ctx)
	}
}

// failed reports whether something has ended the job.
func (j *job) failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fatal != nil
}

// bounded reports whether the bound holds for what is looked at: but for the canary,
// what an earlier opening had in hand is looked for everywhere first. j.mu is held.
func (j *job) bounded() bool {
	return j.unseen == 0 || j.watched != nil && j.watched.open
}

// bound returns how many messages may be matched for now, 0 for any number. j.mu is
// held.
func (j *job) bound() int {
	if j.watched == nil || !j.watched.open {
		return j.Limit
	}
	first := j.watched.base + j.Canary.Messages
	if j.Limit > 0 {
		first = min(first, j.Limit)
	}
	return first
}

// watchFor notes a message of the canary that was sent. j.mu is held.
func (j *job) watchFor(to *queue.Queue, l *Letter) {
	if j.watched == nil || !j.watched.open {
		return
	}
	m := &canaryMessage{id: l.ID, to: to}
	receiver := j.Canary.Receiver
	if receiver == "" && l.Failure != nil {
		receiver = l.Failure.Filter
	}
	if receiver != "" && j.records != nil {
		m.key = store.MessageKey(receiver, l.ID)
	}
	j.watched.messages = append(j.watched.messages, m)
	j.watched.byID[l.ID] = m
}

// hasDied reports whether a message that came back is one of the canary that is
// counted already. j.mu is held.
func (j *job) hasDied(l *Letter) bool {
	if j.watched == nil {
		return false
	}
	m := j.watched.byID[l.ID]
	return m != nil && m.fate == died
}
