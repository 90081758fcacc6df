package dlq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
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
//
// With Config.Jobs, one redrive at a time works on a queue: if there is another,
// the error is a [*store.JobHeldError], or, where that one was interrupted and
// nobody goes on with it, a [*store.JobOpenError]. A redrive that was interrupted,
// or does not know of all messages what became of them, is a [*ResumableError].
func (c *Client) Redrive(ctx context.Context, opts Options) (Report, error) {
	if err := opts.validate(); err != nil {
		return Report{}, err
	}
	if err := opts.compile(); err != nil {
		return Report{}, err
	}
	if opts.Resume && c.jobs == nil {
		return Report{}, errors.New("dlq: Options: Resume goes on with a journal; want a Config with Jobs")
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
	pace   *pace
	cutoff time.Time

	payloads   queue.PayloadStore // nil if none is known
	maxPayload int
	records    store.KeyRecords // nil if none are known

	journal     *journal  // nil if none is kept
	audit       *auditor  // nil if none is kept
	waitUntil   time.Time // messages may be hidden by earlier openings
	hiddenUntil time.Time // the same on the store's clock
	cutOff      bool      // and not only what the journal has

	telling sync.Mutex // held while Progress is called

	mu         sync.Mutex
	report     Report
	reserved   int                // messages that receives under way may bring
	claimed    int                // and that may be matched of what is in hand
	resent     map[string]bool    // SQS's ids of unmarked messages that were sent, and
	keptResent []string           // of those, what who goes on has to know
	pending    map[string]*Letter // sent, and not deleted yet, by SQS's id
	closed     map[string]error   // destinations that take nothing, by name
	flooded    bool               // it met too much of what is not for it
	exhausted  bool               // the queue showed no more
	oldest     time.Time          // when the oldest message seen was first sent
	streaks    map[string]int     // batches in a row that a destination took nothing of, by name
	entries    map[string]*entry  // what is in the journal, by SQS's id
	unseen     int                // entries of earlier openings whose messages were not received since
	lost       int                // batches in a row that did not stay hidden
	fatal      error              // ends the job
	watched    *watchedCanary     // nil if there is none
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
	subject := subjectOf(from, a)
	drawer, err := c.opened(ctx, from, &a)
	if err != nil {
		return nil, err
	}
	prior, s := store.Job{}, opts.spec(from, a)
	s.Catalogue = c.catalogued
	if opts.Resume {
		if prior, s, err = c.resumed(ctx, subject, &opts); err != nil {
			return nil, err
		}
		if s.Catalogue != c.catalogued {
			other := *c
			other.catalogued = s.Catalogue
			return other.newJob(ctx, opts)
		}
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
		pace:    newPace(opts.Rate, opts.Ramp),
		cutoff:  s.Cutoff,

		payloads: c.payloads, maxPayload: c.maxPayload, records: c.records,

		report: Report{
			ID: opts.ID, Queue: from.Name, DryRun: opts.DryRun,
			Snapshot: s.Snapshot, Destinations: map[string]int{}, Limit: opts.Limit, Started: time.Now(),
		},
		resent:  map[string]bool{},
		pending: map[string]*Letter{},
		closed:  map[string]error{},
		streaks: map[string]int{},
		entries: map[string]*entry{},
	}
	j.hold.drawer = drawer
	if opts.DryRun {
		return j, nil
	}
	if c.jobs != nil {
		if err := j.open(ctx, c, subject, prior, s); err != nil {
			return nil, err
		}
	}
	if drawer != nil {
		j.waitUntil = time.Time{} // nothing is hidden there
	}
	record := AuditEntry{Verb: AuditRedrive, Queue: from.Name, Job: j.ID, By: j.Owner, Reason: j.Reason}
	if j.audit, err = c.newAuditor(ctx, subject, j.journal, record, s); err != nil {
		if j.journal != nil {
			err = errors.Join(err, j.journal.close(ctx, len(j.entries) == 0 && prior.ID == "", statusFailed))
		}
		return nil, err
	}
	return j, nil
}

// run works until there is nothing more to do.
func (j *job) run(ctx context.Context) (Report, error) {
	stopHolding := j.hold.keep(ctx)
	if j.Canary.Messages == 0 || j.DryRun || j.report.Canary != nil || j.canary(ctx) {
		j.workAll(ctx)
	}
	j.finishDeletes(ctx)
	j.settle(ctx)
	stopHolding()
	j.noteExpired(j.hold.release(ctx))

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	a, err := j.attributes(last)
	j.finishReport(a, err)
	if err = j.err(ctx); j.journal != nil {
		err = j.closeJournal(ctx, err)
	}
	return j.report, j.audit.finish(ctx, j.report.recorded(), err)
}

// workAll works until there is nothing more to do for now.
func (j *job) workAll(ctx context.Context) {
	var workers sync.WaitGroup
	for range j.Workers {
		workers.Go(func() { j.work(ctx) })
	}
	workers.Wait()
}

// finishReport notes how it is at the end.
func (j *job) finishReport(a queue.QueueAttributes, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		j.report.Remaining = a.Visible + a.InFlight + a.Delayed
	}
	if j.flooded || j.report.Warning != "" && j.exhausted {
		j.report.NotReached = max(0, j.report.Snapshot-j.report.Seen)
	}
	j.report.WaitingUntil, j.report.Ended = time.Time{}, time.Now()
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
		if err == nil && len(letters) == 0 && j.awaits(ctx) {
			j.handled(n)
			j.progress()
			continue
		}
		if err != nil || len(letters) == 0 {
			j.handled(n)
			return
		}
		j.handle(ctx, letters)
		j.handled(n)
		j.recordSent(ctx)
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
	left := j.report.Snapshot - j.report.Seen
	if _, cancelled := j.journal.told(); cancelled {
		left = 0
	}
	n := min(batchSize, max(left, 0)+j.unseen-j.reserved)
	if limit := j.bound(); limit > 0 && j.bounded() {
		left := limit - j.report.Matched
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
	if n > 0 && j.unseen == 0 && j.report.CameBack+j.report.Newer >= max(j.report.Snapshot, batchSize) {
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
	if len(letters) > 0 {
		j.report.WaitingUntil = time.Time{}
	}
	j.exhausted = j.exhausted || err == nil && len(letters) == 0 && !time.Now().Before(j.waitUntil)
	for _, l := range letters {
		old := false
		if !l.again {
			l.entry, old = j.lookUp(l)
		}
		switch l.late = true; {
		case l.again || old || j.pending[l.MessageID] != nil:
			// It is counted already.
		case l.RedriveID == j.ID || j.resent[l.MessageID]:
			if !j.hasDied(l) {
				j.report.CameBack++
			}
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
	j.telling.Lock()
	defer j.telling.Unlock()
	j.mu.Lock() // not while it is called: the lease is to be renewed meanwhile
	r := j.report.clone()
	j.mu.Unlock()
	j.Progress(r)
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
		if l.entry != nil && l.entry.State == stateSent {
			sent = append(sent, l)
			continue
		}
		q, ok := j.destination(ctx, l)
		if !ok {
			continue
		}
		var err error
		var out *outgoing
		if j.DryRun {
			err = j.preview(ctx, l, q)
		} else {
			out, err = j.prepare(ctx, l, q, j.payloads)
		}
		switch {
		case errors.Is(err, ErrSkip):
			if l.entry != nil {
				j.fail(ctx, l, StageEdit, &doubtError{errors.New("dlq: the edit skips the message, which may have been sent before")})
				j.giveUp(l)
			}
			continue
		case err != nil:
			j.fail(ctx, l, editStage(err), err)
			if editStage(err) == StageEdit || forGood(err) {
				j.giveUp(l)
			}
			continue
		case j.DryRun:
			j.wouldSend(l, q)
			continue
		}
		if err := j.keepPayload(ctx, out, q); err != nil {
			j.fail(ctx, l, StagePayload, err)
			if forGood(err) {
				j.giveUp(l)
			}
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

// destination returns where a letter goes, if it is to be redriven.
func (j *job) destination(ctx context.Context, l *Letter) (*queue.Queue, bool) {
	if l.entry != nil {
		return j.known(ctx, l)
	}
	if _, cancelled := j.journal.told(); cancelled || l.late || !j.choose(ctx, l) {
		return nil, false
	}
	if err := j.hold.drawer.sticks(l); err != nil {
		j.fail(ctx, l, StageSend, err)
		return nil, false
	}
	q, err := j.to.of(ctx, l)
	if err != nil {
		j.fail(ctx, l, StageSource, err)
		return nil, false
	}
	return q, true
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
	case j.bound() > 0 && r.Matched >= j.bound():
		j.watched.beyond = append(j.watched.beyond, l)
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
	unknown := stage == StageSend && maybeSent(err) || stage != StageDelete && l.entry != nil && l.entry.State == stateSending
	if ctx.Err() != nil && !unknown && stage != StageDelete {
		return
	}
	j.hold.drawer.stick(l)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.fail(Failure{ID: l.ID, MessageID: l.MessageID, Stage: stage, Unknown: unknown, Err: err})
}
