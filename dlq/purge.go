package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// ErrPurgeAll: a purge has neither a filter nor the name of its queue, or another
// name.
var ErrPurgeAll = errors.New("a purge wants a filter, or the name of the queue in full")

// ErrCrowded: a purge or an ingestion met so many messages that came after it began
// that it did not reach all that were there. Done again, it takes them up.
var ErrCrowded = errors.New("messages come into the queue faster than it is gone through")

// Purge deletes the messages of a dead-letter queue that a filter chooses, or all
// that are in it. The queue is named as for queue.Admin; one that itself has a
// redrive policy is refused with [ErrCounts]. What is not chosen is returned when
// Purge ends, and meanwhile hidden; see [Client.Groups] for what that costs.
//
// What is deleted is gone, but for what PurgeOptions.Archive has, which
// [Client.Import] restores. No message is deleted before the archive has it. Its
// payload, if that is in a store, stays there until its time is over, and the
// archive has no more of it than the message: the reference.
//
// With Config.Jobs, nobody else purges or redrives the queue meanwhile: if somebody
// does, the error is a [*store.JobHeldError], or a [*store.JobOpenError] where a
// redrive was interrupted. With Config.Audit, the purge is on record.
//
// Messages that could not be deleted are in a [*PurgeError]. When ctx ends, or the
// queue or the archive fails, the error comes with the report so far.
func (c *Client) Purge(ctx context.Context, name string, opts PurgeOptions) (PurgeReport, error) {
	if err := opts.validate(); err != nil {
		return PurgeReport{}, err
	}
	s, a, err := c.scanAll(ctx, name, "purge")
	if err != nil {
		return PurgeReport{}, err
	}
	if opts.Filter == nil && opts.All != s.queue.Name {
		return PurgeReport{}, fmt.Errorf("dlq: purge %q: %w; All is %q", s.queue.Name, ErrPurgeAll, opts.All)
	}
	p := c.newPurger(s, a, opts, AuditPurge)
	if opts.Archive != nil {
		p.keep = p.archive
	}
	spec := opts.spec()
	spec.Catalogue = c.catalogued
	err = p.work(ctx, a, spec)
	return p.report, err
}

func (c *Client) newPurger(s *scan, a queue.QueueAttributes, opts PurgeOptions, verb string) *purger {
	if s.queue.Endpoint.FIFO() {
		s.workers = 1 // another would find what the first one has hidden, and end
	}
	return &purger{
		PurgeOptions: opts, verb: verb, client: c, scan: s, cutoff: a.At.Add(clockMargin),
		partial: func(r PurgeReport) error { return &PurgeError{r} },
		report:  PurgeReport{Queue: s.queue.Name, DryRun: opts.DryRun, Total: s.total},
	}
}

// work takes its turn, if it is not a dry run, and runs.
func (p *purger) work(ctx context.Context, a queue.QueueAttributes, spec any) (err error) {
	if p.DryRun {
		return p.run(ctx)
	}
	p.turn, err = p.client.begin(ctx, p.scan.queue, a, work{Verb: p.verb, Owner: p.Owner, Reason: p.Reason, Spec: spec})
	if err != nil {
		p.report = PurgeReport{}
		return err
	}
	p.report.ID = p.turn.id()
	p.scan.hold.lapsed = p.turn.lapsed
	during, done := p.turn.context(ctx)
	defer done()
	err = p.run(during)
	return p.turn.end(ctx, p.report.recorded(), err)
}

// limited reports whether as much was chosen as may be.
func (p *purger) limited() bool { return p.Limit > 0 && p.matched == p.Limit }

func (p *purger) run(ctx context.Context) error {
	err := p.scan.runBatches(ctx, p.verb, func(letters []*Letter) bool { return p.handle(ctx, letters) })
	switch {
	case p.fatal != nil:
		return fmt.Errorf("dlq: %s %q: after %d messages: %w", p.verb, p.report.Queue, p.report.Deleted, p.fatal)
	case err == nil && p.report.Failed > 0:
		return p.partial(p.report)
	case err == nil && !p.limited() && p.scan.crowded(p.report.Seen):
		return fmt.Errorf("dlq: %s %q: %w: %d were seen, of %d that were there, and %d newer ones", p.verb, p.report.Queue, ErrCrowded, p.report.Seen, p.report.Total, p.report.Newer)
	}
	return err
}

func (o *PurgeOptions) validate() error {
	switch {
	case o.Filter == nil && o.All == "":
		return fmt.Errorf("dlq: PurgeOptions: %w", ErrPurgeAll)
	case o.Filter != nil && o.All != "":
		return errors.New("dlq: PurgeOptions has a Filter and All; want one of them")
	case o.Limit < 0:
		return fmt.Errorf("dlq: PurgeOptions: Limit is %d; want 1 or more, or 0 for none", o.Limit)
	}
	if err := checkWindow(o.Since, o.Until); err != nil {
		return fmt.Errorf("dlq: PurgeOptions: %w", err)
	}
	return nil
}

// A purger is one purge, or one ingestion: both delete what is chosen, when it is
// kept elsewhere.
type purger struct {
	PurgeOptions
	verb   string
	client *Client
	scan   *scan
	turn   *turn // nil in a dry run
	cutoff time.Time

	mu      sync.Mutex
	report  PurgeReport
	matched int
	streak  int   // batches in a row of which nothing could be deleted
	fatal   error // ends the purge

	partial func(PurgeReport) error // what is returned where messages failed

	// keep has letters kept elsewhere before they are deleted, and returns those
	// that are. An error ends the purge. It is nil where nothing is kept.
	keep    func(context.Context, []*Letter) ([]*Letter, error)
	writing sync.Mutex // the archive
}

// handle deletes what is chosen of a batch, and reports whether to go on.
func (p *purger) handle(ctx context.Context, letters []*Letter) bool {
	var chosen []*Letter
	for _, l := range letters {
		take, ok := p.choose(ctx, l)
		if !ok {
			break
		}
		if take {
			chosen = append(chosen, l)
		}
	}
	if !p.DryRun {
		kept, ok := p.store(ctx, p.stillHeld(chosen))
		if !ok || !p.standing() {
			return false
		}
		p.delete(ctx, p.stillHeld(kept))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Progress != nil {
		p.Progress(p.report.clone())
	}
	return ctx.Err() == nil && p.fatal == nil && (p.Limit == 0 || p.matched < p.Limit)
}

// choose reports whether a letter is to be deleted, and counts it; or that the
// purge was stopped before that was known.
func (p *purger) choose(ctx context.Context, l *Letter) (take, ok bool) {
	v, err := choice(ctx, l, p.Since, p.Until, p.Filter, p.client.payloads, p.client.maxPayload)
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil || p.fatal != nil {
		return false, false
	}
	r := &p.report
	if l.SentAt.After(p.cutoff) {
		r.Newer++
		p.scan.pass()
		return false, true
	}
	r.Seen++
	switch {
	case !r.add(v, err):
	case p.Limit > 0 && p.matched == p.Limit:
		r.Beyond++
	default:
		if p.matched++; p.DryRun {
			r.WouldDelete++
		}
		return true, true
	}
	return false, true
}

// stillHeld returns the letters that are sure to stay hidden until they are
// deleted. The others may be with another receiver by then.
func (p *purger) stillHeld(letters []*Letter) []*Letter {
	return slices.DeleteFunc(letters, func(l *Letter) bool {
		lost := p.scan.hold.safe(l) != nil
		if lost {
			p.fail(l, StageHold, fmt.Errorf("dlq: %q: %w", p.report.Queue, queue.ErrVisibilityLost))
		}
		return lost
	})
}

// standing reports whether the turn is still this purge's.
func (p *purger) standing() bool {
	err := p.turn.stands()
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fatal = cmp.Or(p.fatal, err)
	}
	return err == nil
}

// store has letters kept, and returns those that are, or false where the purge is to
// end.
func (p *purger) store(ctx context.Context, letters []*Letter) ([]*Letter, bool) {
	if p.keep == nil || len(letters) == 0 {
		return letters, true
	}
	kept, err := p.keep(ctx, letters)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.fatal = cmp.Or(p.fatal, err)
		return nil, false
	}
	p.report.Archived += len(kept)
	return kept, true
}

// archive writes letters to the archive. After a failure nothing more is written,
// behind what may be half a line. What cannot be written as it is stays in the queue.
func (p *purger) archive(_ context.Context, letters []*Letter) ([]*Letter, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	failed := p.fatal
	p.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	var lines []byte
	var kept []*Letter
	for _, l := range letters {
		line, err := encodeKept(p.report.Queue, l)
		if err != nil {
			p.fail(l, StageKeep, err)
			continue
		}
		lines, kept = append(lines, line...), append(kept, l)
	}
	if err := writeSynced(p.Archive, lines); err != nil {
		err = fmt.Errorf("archive: %w", err)
		p.mu.Lock()
		p.fatal = cmp.Or(p.fatal, err) // before another writes
		p.mu.Unlock()
		return nil, err
	}
	return kept, nil
}

// writeSynced writes to a file, and to its disk.
func writeSynced(w io.Writer, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if f, ok := w.(interface{ Sync() error }); ok {
		return f.Sync()
	}
	return nil
}

// delete deletes letters, also when the purge is stopped meanwhile.
func (p *purger) delete(ctx context.Context, letters []*Letter) {
	if len(letters) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	raws := make([]queue.RawMessage, len(letters))
	for i, l := range letters {
		raws[i] = l.raw
	}
	var failed error
	deleted := 0
	for i, err := range p.scan.hold.remove(ctx, raws) {
		if err != nil {
			p.fail(letters[i], StageDelete, err)
			failed = err
			continue
		}
		p.scan.hold.drop(letters[i])
		p.turn.did(letters[i].MessageID)
		deleted++
	}
	if err := p.turn.flush(ctx); err != nil {
		p.client.log.Warn("what was done could not be recorded; it is tried again", "queue", p.report.Queue, "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Deleted += deleted
	if deleted > 0 {
		p.streak = 0
	} else if p.streak++; p.streak == maxStreak && p.fatal == nil {
		p.fatal = fmt.Errorf("%d batches in a row could not be deleted: %w", maxStreak, failed)
	}
}

func (p *purger) fail(l *Letter, stage Stage, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.report
	r.Failed++
	if len(r.Failures) < maxFailures {
		r.Failures = append(r.Failures, Failure{ID: l.ID, MessageID: l.MessageID, Stage: stage, Err: err, Error: err.Error()})
	}
}
