package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/queue"
)

const (
	canaryPoll  = time.Second
	canarySlack = 30 * time.Second
	maxReckoned = time.Hour // of a wait that is not given

	// countsSettle is when SQS's counts can be relied on. What they say of a
	// destination before that, or before half of a shorter wait, does not count.
	countsSettle = time.Minute
)

// watch awaits the fate of the canary. It returns a [*CanaryError] where the rest is
// not to be sent.
func (j *job) watch(ctx context.Context) error {
	var before queue.QueueAttributes
	var wait time.Duration
	if err := j.trying(ctx, time.Now(), func() (err error) {
		before, wait, err = j.reckon(ctx)
		return err
	}); err != nil {
		return err
	}
	begun := time.Now()
	end := begun.Add(wait)
	j.watched.looked = begun
	for {
		var r CanaryReport
		var over bool
		if err := j.trying(ctx, end, func() (err error) {
			r, over, err = j.see(ctx, before, begun, end)
			return err
		}); err != nil {
			return err
		}
		j.progress()
		switch {
		case r.Died > j.Canary.MaxFailures || over && r.Died+r.Undecided > j.Canary.MaxFailures:
			return &CanaryError{Report: r, MaxFailures: j.Canary.MaxFailures}
		case r.Waiting == 0:
			return nil
		}
		if !sleep(ctx, min(canaryPoll, max(time.Until(end), 0))) {
			return context.Cause(ctx)
		}
	}
}

// trying makes a call again that fails in passing, until half a minute after a time.
func (j *job) trying(ctx context.Context, until time.Time, call func() error) error {
	for told := false; ; told = true {
		err := call()
		if err == nil || ctx.Err() != nil || !mayPass(err) || time.Since(until) >= canarySlack {
			return err
		}
		if !told {
			j.log.Warn("the canary cannot be watched; it is tried again", "queue", j.from.Name, "error", err)
		}
		if !sleep(ctx, canaryPoll) {
			return context.Cause(ctx)
		}
	}
}

// mayPass reports whether a call that failed may succeed when it is made again.
func mayPass(err error) bool {
	var e *queue.Error
	if errors.As(err, &e) {
		return errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrThrottled)
	}
	return passing(err)
}

func total(a queue.QueueAttributes) int { return a.Visible + a.InFlight + a.Delayed }

// see sees what has become of the canary so far, and decides the rest when the time
// is over.
func (j *job) see(ctx context.Context, before queue.QueueAttributes, begun, end time.Time) (r CanaryReport, over bool, err error) {
	over = !time.Now().Before(end)
	if err := j.ask(ctx, begun, end); err != nil {
		return r, over, err
	}
	a, err := j.from.Attributes(ctx)
	if err != nil {
		return r, over, err
	}
	grown := total(a) - total(before)
	r = j.tally()
	if r.Waiting == 0 || !over && (grown <= j.watched.grown || time.Since(j.watched.looked) < end.Sub(begun)/4) {
		return r, over, nil
	}
	unexplained, err := j.look(ctx, grown)
	if err != nil {
		return r, over, err
	}
	if over {
		j.infer(unexplained)
	}
	return j.tally(), over, nil
}

// reckon returns what the dead-letter queue holds and how long to watch, and notes
// how much the destinations hold, and whose dead letters go elsewhere.
func (j *job) reckon(ctx context.Context) (before queue.QueueAttributes, wait time.Duration, err error) {
	if before, err = j.from.Attributes(ctx); err != nil {
		return before, 0, err
	}
	wait = canarySlack
	w := j.watched
	for _, m := range w.messages {
		if _, known := w.depths[m.to.URL]; known {
			continue
		}
		a, err := m.to.Attributes(ctx)
		if err != nil {
			return before, 0, err
		}
		w.depths[m.to.URL] = a.Visible + a.Delayed
		w.strange[m.to.URL] = j.to.elsewhere(m.to, a)
		w.wait = max(w.wait, time.Duration(max(a.MaxReceiveCount, 1))*a.Visibility+canarySlack)
	}
	wait = min(max(wait, w.wait), maxReckoned)
	if j.Canary.Wait > 0 {
		wait = j.Canary.Wait
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.Canary.Wait = wait
	j.checkWait(wait)
	return before, wait, nil
}

// elsewhere reports whether dead letters of a queue are known to go to another queue
// than the one that the letters are from.
func (d *destinations) elsewhere(to *queue.Queue, a queue.QueueAttributes) bool {
	if a.DeadLetter != "" && queue.QueueName(a.DeadLetter) != d.from.Name {
		return true
	}
	for e := range d.queues.Endpoints().All() {
		if e.DeadLetter != "" && queue.SameQueue(e.URL, to.Endpoint.URL) && d.queues.Place(e) == d.queues.Place(to.Endpoint) &&
			!queue.SameQueue(e.DeadLetter, d.from.Endpoint.URL) {
			return true
		}
	}
	return false
}

// checkWait warns if the queue deletes messages while the canary is watched. j.mu is
// held.
func (j *job) checkWait(wait time.Duration) {
	left, ok := j.hold.shelf.left(j.oldest)
	if !ok || wait <= left || j.report.Warning != "" {
		return
	}
	j.report.Warning = fmt.Sprintf("the canary is watched for up to %v, and the queue deletes the oldest messages of those seen in %v, for their age; give it less time",
		wait, max(left, 0).Round(time.Second))
	j.log.Warn("messages may be deleted before the redrive reaches them", "queue", j.from.Name, "reason", j.report.Warning)
}

// ask asks for records, and how much the destinations hold.
func (j *job) ask(ctx context.Context, begun, end time.Time) error {
	settled := time.Since(begun) >= min(countsSettle, end.Sub(begun)/2)
	calls, callCtx := errgroup.WithContext(ctx)
	calls.SetLimit(visibilityCalls)
	seen := map[string]bool{}
	for _, m := range j.watched.messages {
		if m.fate != waiting {
			continue
		}
		if !seen[m.to.URL] && settled {
			seen[m.to.URL] = true
			a, err := m.to.Attributes(ctx)
			if err != nil {
				return errors.Join(err, calls.Wait())
			}
			if n := a.Visible + a.Delayed; n == 0 || n < j.watched.depths[m.to.URL] {
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
	// Not as many as the queue says: it may not have counted yet what came back.
	s := &scan{
		hold:  newHold(j.from, j.hold.shelf, j.Visibility, j.log),
		queue: j.from, total: total(a), bound: max(0, MaxLook-j.hold.len()),
	}
	s.hold.lapsed = j.hold.lapsed
	seen := 0
	err = s.see(ctx, "watch the canary in", func(l *Letter) bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		seen++
		if m := j.watched.byID[l.ID]; m != nil && m.fate != died && j.isBack(l) {
			m.fate = died
			j.report.CameBack++
		}
		return true
	})
	return max(0, min(grown, total(a)-seen-j.hold.len())), err
}

// isBack reports whether a letter with the id of one that was sent is that one. One
// that had no room for marks is known by its time. j.mu is held.
func (j *job) isBack(l *Letter) bool {
	return l.RedriveID == j.ID || j.resent[l.MessageID] || l.SentAt.After(j.cutoff)
}

// infer decides what the time has left open. Of a message whose destination hands
// nothing out, or has its dead letters elsewhere, and of as many as may be among what
// the dead-letter queue does not show, nothing is known.
func (j *job) infer(unexplained int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, m := range j.watched.messages {
		switch {
		case m.fate != waiting:
		case unexplained > 0:
			unexplained--
			m.fate = undecided
		case j.watched.drained[m.to.URL] && !j.watched.strange[m.to.URL]:
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
