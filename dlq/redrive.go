package dlq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/waybill-dev/waybill/queue"
)

// Redrive sends the messages of a dead-letter queue back to where they came
// from, or to another queue.
//
// Each message is sent as it is, without the record of its failure, and with
// its own id, so that a receiver can tell a message that it has handled
// already. It is deleted when its destination has accepted it, and only then.
// So nothing is lost, whatever fails and whenever the process dies; a message
// can be sent twice.
//
// Redrive ends when it has looked at as many messages as the queue said it held
// when Redrive began, or when the queue shows no more. What failed again
// meanwhile, and what failed first, stays and does not count; where it is as
// much as the queue held, Redrive ends all the same, and the report says how
// many messages it did not reach.
//
// When ctx ends, Redrive returns the messages that it holds to the queue, at
// once, and the report so far, with an error that wraps the cause of the
// context. Messages that could not be redriven, or were not reached, are in a
// [*PartialError]; the same redrive, run again, takes them up. Other errors are
// of the queues as such; the report says how far it came.
func (c *Client) Redrive(ctx context.Context, opts Options) (Report, error) {
	if err := opts.validate(); err != nil {
		return Report{}, err
	}
	opts.setDefaults()
	j, err := c.newJob(ctx, opts)
	if err != nil {
		return Report{}, err
	}
	return j.run(ctx)
}

// A job is one redrive.
type job struct {
	Options
	from   *queue.Queue
	to     *destinations
	log    *slog.Logger
	hold   *hold
	limit  *rate.Limiter
	cutoff time.Time

	payloads   queue.PayloadStore // nil if none is known
	maxPayload int

	mu        sync.Mutex
	report    Report
	reserved  int                // messages that receives under way may bring
	claimed   int                // and that may be matched of what is in hand
	resent    map[string]bool    // SQS's ids of unmarked messages that were sent
	pending   map[string]*Letter // sent, and not deleted yet, by SQS's id
	closed    map[string]error   // destinations that take nothing, by name
	flooded   bool               // it met too much of what is not for it
	exhausted bool               // the queue showed no more
	oldest    time.Time          // when the oldest message seen was first sent
	streaks   map[string]int     // batches in a row that a destination took nothing of, by name
	lost      int                // batches in a row that did not stay hidden
	fatal     error              // ends the job
}

// maxStreak is how many batches in a row may fail as a whole before the job
// gives up on their destination.
const maxStreak = 5

// clockMargin is how much older than its queue's messages the service's time
// may be: it is told in whole seconds, and some servers tell a cached one.
const clockMargin = 5 * time.Second

func (c *Client) newJob(ctx context.Context, opts Options) (*job, error) {
	from, err := c.queues.Queue(ctx, opts.From)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	a, err := from.Attributes(ctx)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	if err := harmless(from, a, "redrive"); err != nil && !opts.Live {
		return nil, err
	}
	to, err := c.newDestinations(ctx, from, opts.To)
	if err != nil {
		return nil, err
	}
	if from.Endpoint.FIFO() {
		opts.Workers = 1
	}
	j := &job{
		Options: opts,
		from:    from,
		to:      to,
		log:     c.log,
		hold:    newHold(from, newShelf(a), opts.Visibility, c.log),
		limit:   rate.NewLimiter(rate.Inf, batchSize),
		cutoff:  a.At.Add(clockMargin),

		payloads: c.payloads, maxPayload: c.maxPayload,

		report: Report{
			ID: opts.ID, Queue: from.Name, DryRun: opts.DryRun,
			Snapshot: a.Visible + a.InFlight + a.Delayed, Destinations: map[string]int{}, Started: time.Now(),
		},
		resent:  map[string]bool{},
		pending: map[string]*Letter{},
		closed:  map[string]error{},
		streaks: map[string]int{},
	}
	if opts.Rate > 0 {
		j.limit = rate.NewLimiter(rate.Limit(opts.Rate), batchSize)
	}
	return j, nil
}

// run works until there is nothing more to do.
func (j *job) run(ctx context.Context) (Report, error) {
	stopHolding := j.hold.keep(ctx)
	var workers sync.WaitGroup
	for range j.Workers {
		workers.Go(func() { j.work(ctx) })
	}
	workers.Wait()
	j.finishDeletes(ctx)
	stopHolding()
	j.noteExpired(j.hold.release(ctx))

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if a, err := j.from.Attributes(last); err == nil {
		j.report.Remaining = a.Visible + a.InFlight + a.Delayed
	}
	if j.flooded || j.report.Warning != "" && j.exhausted {
		j.report.NotReached = max(0, j.report.Snapshot-j.report.Seen)
	}
	j.report.Ended = time.Now()
	return j.report, j.err(ctx)
}

// err returns the error of a job that has ended.
func (j *job) err(ctx context.Context) error {
	switch {
	case j.fatal != nil:
		return fmt.Errorf("dlq: redrive %s of %q: %w", j.ID, j.from.Name, j.fatal)
	case ctx.Err() != nil:
		return fmt.Errorf("dlq: redrive %s of %q was stopped, and has returned what it held: %w", j.ID, j.from.Name, context.Cause(ctx))
	case j.report.Failed > 0 || j.report.NotReached > 0:
		return &PartialError{j.report}
	}
	return nil
}

// work handles batch after batch.
func (j *job) work(ctx context.Context) {
	for ctx.Err() == nil {
		n := j.reserve()
		if n == 0 {
			return
		}
		letters, err := j.hold.receiveTrying(ctx, n)
		j.received(letters, n, err)
		if err != nil || len(letters) == 0 {
			j.handled(n)
			return
		}
		j.handle(ctx, letters)
		j.handled(n)
		j.progress()
	}
}

// reserve returns how many messages to receive next: none when the job has
// looked at all, or has sent as many as it may.
func (j *job) reserve() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fatal != nil {
		return 0
	}
	n := min(batchSize, j.report.Snapshot-j.report.Seen-j.reserved)
	if j.Limit > 0 {
		left := j.Limit - j.report.Matched
		if !j.chooses() {
			left -= j.claimed
		}
		if left <= 0 {
			return 0
		}
		if !j.chooses() {
			n = min(n, left)
		}
	}
	n = max(n, 0)
	if n > 0 && j.report.CameBack+j.report.Newer >= max(j.report.Snapshot, batchSize) {
		j.flooded = true
		return 0
	}
	j.reserved += n
	j.claimed += n
	return n
}

// received notes what a receive has brought.
func (j *job) received(letters []*Letter, reserved int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reserved -= reserved
	if err != nil && j.fatal == nil {
		j.fatal = err
	}
	j.exhausted = j.exhausted || err == nil && len(letters) == 0
	for _, l := range letters {
		switch l.late = true; {
		case l.again || j.pending[l.MessageID] != nil:
			// It is counted already.
		case l.RedriveID == j.ID || j.resent[l.MessageID]:
			j.report.CameBack++
		case l.SentAt.After(j.cutoff):
			j.report.Newer++
		default:
			l.late = false
			j.report.Seen++
		}
	}
	j.checkAge(letters)
}

// handled gives back the claim on the limit that reserve made. Until then what
// was matched counts twice, which at most ends another worker early.
func (j *job) handled(claimed int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.claimed -= claimed
}

func (j *job) progress() {
	if j.Progress == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Progress(j.report.clone())
}

// handle redrives what is chosen of a batch.
func (j *job) handle(ctx context.Context, letters []*Letter) {
	var sent []*Letter
	batches := map[string][]*outgoing{}
	var order []*queue.Queue
	for _, l := range letters {
		if old := j.pendingLetter(l); old != nil {
			sent = append(sent, l) // sent before, and only to be deleted
			continue
		}
		if l.late || !j.choose(ctx, l) {
			continue
		}
		q, err := j.to.of(ctx, l)
		if err != nil {
			j.fail(ctx, l, StageSource, err)
			continue
		}
		var out *outgoing
		if j.DryRun {
			err = j.preview(ctx, l, q)
		} else {
			out, err = j.prepare(ctx, l, q, j.payloads)
		}
		switch {
		case errors.Is(err, ErrSkip):
			continue
		case err != nil:
			j.fail(ctx, l, editStage(err), err)
			continue
		case j.DryRun:
			j.wouldSend(l, q)
			continue
		}
		if err := j.keepPayload(ctx, out, q); err != nil {
			j.fail(ctx, l, StagePayload, err)
			continue
		}
		if batches[q.Name] == nil {
			order = append(order, q)
		}
		batches[q.Name] = append(batches[q.Name], out)
	}
	for _, q := range order {
		sent = append(sent, j.send(ctx, q, batches[q.Name])...)
	}
	j.delete(ctx, sent)
}

// pendingLetter returns the letter that was sent and could not be deleted
// before, if this is it again.
func (j *job) pendingLetter(l *Letter) *Letter {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pending[l.MessageID]
}

// choose reports whether the letter is to be redriven, and counts it.
func (j *job) choose(ctx context.Context, l *Letter) bool {
	v, err := choice(ctx, l, j.Since, j.Until, j.Filter, j.payloads, j.maxPayload)
	var unseen *unseenError
	if errors.As(err, &unseen) {
		j.fail(ctx, l, StagePayload, unseen.error)
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &j.report
	switch {
	case v == outside:
		r.Outside++
	case err != nil:
		r.Filtered++
		if r.FilterErrors++; r.FilterErrors == 1 {
			r.FilterError = err.Error()
		}
	case v == filtered:
		r.Filtered++
	case j.Limit > 0 && r.Matched >= j.Limit:
		r.Beyond++
	default:
		r.Matched++
		return true
	}
	return false
}

func (j *job) wouldSend(l *Letter, q *queue.Queue) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.noteUnkept(l)
	j.report.WouldSend++
	j.report.Destinations[q.Name]++
}

// fail notes that a letter could not be redriven. What fails because the job is
// stopped is no failure: it is taken up like what the job did not reach.
func (j *job) fail(ctx context.Context, l *Letter, stage Stage, err error) {
	unknown := stage == StageSend && maybeSent(err)
	if ctx.Err() != nil && !unknown && stage != StageDelete {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.fail(Failure{ID: l.ID, MessageID: l.MessageID, Stage: stage, Unknown: unknown, Err: err})
}
