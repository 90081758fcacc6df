package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

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
// inferred, and counted apart. It has died when it came back.
//
// To see what came back, the redrive looks through the dead-letter queue: at the
// end of Wait if not all are done by record, and before where the queue has grown,
// at most four times. Each look costs about 0.2 requests for each message of the
// queue, and raises their receive counts.
type Canary struct {
	// Messages is how many messages are redriven first. 0 for no canary.
	Messages int

	// Wait is how long to watch them, at most: as soon as all are done by record,
	// or too many have died, it is over. Defaults to how long a receiver that
	// fails always keeps a message from the dead-letter queue, by the destination's
	// visibility timeout and redrive policy, and half a minute; at most an hour.
	Wait time.Duration

	// MaxFailures is how many may die for the redrive to go on. Defaults to 0.
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
	// went nobody seems to receive, or the dead-letter queue holds messages that it
	// does not show.
	Undecided int `json:"undecided"`

	// Waiting counts those whose fate is open still, while it is watched.
	Waiting int `json:"waiting,omitempty"`

	// Passed says that the redrive has gone on.
	Passed bool `json:"passed"`

	// Wait is for how long they are watched at most.
	Wait time.Duration `json:"-"`
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
		text = fmt.Sprintf("the canary of %d messages: %d died, and nothing tells of %d what became of them; see whether their receivers run, or give it longer", r.Messages, r.Died, r.Undecided)
	}
	return text + "; the rest was not sent"
}

// Bounds of a [Canary].
const (
	MaxCanary     = 10_000
	MaxCanaryWait = 12 * time.Hour
)

const (
	canaryPoll  = time.Second
	canarySlack = 30 * time.Second
	maxReckoned = time.Hour // of a wait that is not given
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
	base     int  // Report.Matched before
	messages []*canaryMessage
	byID     map[string]*canaryMessage
	beyond   []*Letter // in hand, and for later
	depths   map[string]int
	drained  map[string]bool // destinations that hand messages out
	grown    int             // of the dead-letter queue, at the last look
	looked   time.Time
}

// canary redrives the first messages, watches them, and returns whether to go on.
func (j *job) canary(ctx context.Context) bool {
	j.mu.Lock()
	j.watched = &watchedCanary{open: true, base: j.report.Matched, byID: map[string]*canaryMessage{}, depths: map[string]int{}, drained: map[string]bool{}}
	j.report.Canary = &CanaryReport{Wait: j.Canary.Wait}
	j.mu.Unlock()
	j.workAll(ctx)
	j.mu.Lock()
	j.watched.open = false
	fatal := j.fatal != nil
	j.mu.Unlock()
	if fatal || ctx.Err() != nil {
		return false
	}
	if len(j.watched.messages) > 0 {
		watchCtx, stop := j.journal.waiting(ctx)
		err := j.watch(watchCtx)
		ended := watchCtx.Err() != nil
		stop()
		if ended {
			return false // cancelled, interrupted, or without its lease
		}
		if err != nil {
			j.stop(err)
			return false
		}
	}
	j.mu.Lock()
	j.report.Canary.Passed = true
	j.exhausted = false
	j.mu.Unlock()
	j.progress()
	for later := j.watched.beyond; len(later) > 0 && ctx.Err() == nil; {
		n := min(batchSize, len(later))
		j.handle(ctx, later[:n])
		later = later[n:]
	}
	return true
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

// watch awaits the fate of the canary. It returns a [*CanaryError] where the rest is
// not to be sent.
func (j *job) watch(ctx context.Context) error {
	before, err := j.from.Attributes(ctx)
	if err != nil {
		return err
	}
	wait, err := j.reckonWait(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	j.watched.looked = begun
	for {
		if err := j.ask(ctx); err != nil {
			return err
		}
		a, err := j.from.Attributes(ctx)
		if err != nil {
			return err
		}
		grown := total(a) - total(before)
		over := time.Since(begun) >= wait
		r := j.tally()
		if r.Waiting > 0 && (over || grown > j.watched.grown && time.Since(j.watched.looked) >= wait/4) {
			unexplained, err := j.look(ctx, grown)
			if err != nil {
				return err
			}
			if over {
				j.infer(unexplained)
			}
			r = j.tally()
		}
		j.progress()
		switch {
		case r.Died > j.Canary.MaxFailures || over && r.Undecided > 0:
			return &CanaryError{Report: r, MaxFailures: j.Canary.MaxFailures}
		case r.Waiting == 0:
			return nil
		}
		if !sleep(ctx, min(canaryPoll, max(wait-time.Since(begun), 0))) {
			return context.Cause(ctx)
		}
	}
}

func total(a queue.QueueAttributes) int { return a.Visible + a.InFlight + a.Delayed }

// reckonWait returns how long to watch, and notes how much the destinations hold.
func (j *job) reckonWait(ctx context.Context) (time.Duration, error) {
	wait := canarySlack
	for _, m := range j.watched.messages {
		if _, known := j.watched.depths[m.to.URL]; known {
			continue
		}
		a, err := m.to.Attributes(ctx)
		if err != nil {
			return 0, err
		}
		j.watched.depths[m.to.URL] = a.Visible
		wait = max(wait, time.Duration(max(a.MaxReceiveCount, 1))*a.Visibility+canarySlack)
	}
	wait = min(wait, maxReckoned)
	if j.Canary.Wait > 0 {
		wait = j.Canary.Wait
	}
	j.mu.Lock()
	j.report.Canary.Wait = wait
	j.mu.Unlock()
	return wait, nil
}

// ask asks for records, and how much the destinations hold.
func (j *job) ask(ctx context.Context) error {
	calls, callCtx := errgroup.WithContext(ctx)
	calls.SetLimit(visibilityCalls)
	seen := map[string]bool{}
	for _, m := range j.watched.messages {
		if m.fate != waiting {
			continue
		}
		if !seen[m.to.URL] {
			seen[m.to.URL] = true
			a, err := m.to.Attributes(ctx)
			if err != nil {
				return errors.Join(err, calls.Wait())
			}
			if a.Visible == 0 || a.Visible < j.watched.depths[m.to.URL] {
				j.watched.drained[m.to.URL] = true
			}
		}
		if m.key == "" {
			continue
		}
		calls.Go(func() error {
			r, err := j.records.InspectKey(callCtx, m.key)
			if err == nil && r.Done {
				m.fate = done // each has its own goroutine, which is awaited
			}
			return err
		})
	}
	return calls.Wait()
}

// look looks for messages that came back, and returns how many may have that it did
// not see: not more than the dead-letter queue has grown by, nor than it has that
// neither the look saw nor the job holds.
func (j *job) look(ctx context.Context, grown int) (unexplained int, err error) {
	j.watched.grown, j.watched.looked = grown, time.Now()
	a, err := j.from.Attributes(ctx)
	if err != nil {
		return 0, err
	}
	s := &scan{
		hold:  newHold(j.from, j.hold.shelf, j.Visibility, j.log),
		queue: j.from, total: total(a), bound: min(a.Visible, MaxLook),
	}
	s.hold.lapsed = j.hold.lapsed
	seen := 0
	err = s.see(ctx, "watch the canary in", func(l *Letter) bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		seen++
		if m := j.watched.byID[l.ID]; m != nil && m.fate != died && (l.RedriveID == j.ID || j.resent[l.MessageID]) {
			m.fate = died
			j.report.CameBack++
		}
		return true
	})
	return max(0, min(grown, total(a)-seen-j.hold.len())), err
}

// infer decides what Wait has left open. Of a message whose destination hands
// nothing out, and of as many as may be among what the dead-letter queue does not
// show, nothing is known.
func (j *job) infer(unexplained int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, m := range j.watched.messages {
		switch {
		case m.fate != waiting:
		case unexplained > 0:
			unexplained--
			m.fate = undecided
		case j.watched.drained[m.to.URL]:
			m.fate = inferred
		default:
			m.fate = undecided
		}
	}
}

// tally counts the fates.
func (j *job) tally() CanaryReport {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := map[fate]int{}
	for _, m := range j.watched.messages {
		n[m.fate]++
	}
	r := CanaryReport{
		Messages: len(j.watched.messages), Done: n[done], Inferred: n[inferred], Died: n[died],
		Undecided: n[undecided], Waiting: n[waiting], Wait: j.report.Canary.Wait,
	}
	*j.report.Canary = r
	return r
}
