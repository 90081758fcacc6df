package dlq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// A lineInHand is a line that is to be sent.
type lineInHand struct {
	number  int
	key     string
	raw     queue.RawMessage
	unnamed bool

	state   lineState
	token   string    // of the claim
	claimed time.Time // when that was asked for
	unsure  bool      // an earlier import had it in hand
	err     error     // of one that failed
}

type lineState int

const (
	lineOpen    lineState = iota // nothing came of it
	lineClaimed                  // this import's to send
	lineKnown                    // imported before
	lineSent
	lineFailed
)

func (l *lineInHand) fail(err error) { l.state, l.err = lineFailed, err }

// importPoll is how often a line is asked about that another import has in hand.
const importPoll = time.Second

var errGroupStuck = errors.New("an earlier message of its group was not sent")

// send imports a batch of lines.
func (i *importer) send(ctx context.Context, lines []*lineInHand) {
	defer i.done(ctx, lines)
	i.claimAll(ctx, lines)
	claimed := inState(lines, lineClaimed)
	if err := i.turn.stands(); err != nil {
		i.end(err)
	}
	if ctx.Err() != nil || i.failed() != nil {
		i.forgetAll(ctx, slices.DeleteFunc(slices.Clone(lines), func(l *lineInHand) bool {
			return l.token == "" // also where the claim's answer was lost
		}))
		return
	}
	for attempt := 1; len(claimed) > 0; attempt++ {
		var again []*lineInHand
		last := attempt == sendAttempts || ctx.Err() != nil
		for k, result := range i.sendOnce(ctx, claimed) {
			l, err := claimed[k], sendError(i.to, result)
			switch {
			case err == nil:
				l.state = lineSent
			case !last && knownUnsent(err) && time.Since(l.claimed) < importLease/4:
				again = append(again, l)
			default:
				l.fail(err)
			}
		}
		if claimed = again; len(claimed) > 0 && !sleep(ctx, sendBackoff<<(attempt-1)) {
			break
		}
	}
	i.completeAll(ctx, inState(lines, lineSent))
	i.forgetAll(ctx, inState(lines, lineClaimed)) // the context ended
	var unsent []*lineInHand
	for _, l := range inState(lines, lineFailed) {
		if l.token != "" && !maybeSent(l.err) { // else the claim stands, until it runs out
			unsent = append(unsent, l)
		}
	}
	i.forgetAll(ctx, unsent)
}

// sendOnce sends messages, not with ctx: its end would leave open what was sent.
func (i *importer) sendOnce(ctx context.Context, lines []*lineInHand) []queue.Sent {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), importLease/2)
	defer cancel()
	raws := make([]queue.RawMessage, len(lines))
	for k, l := range lines {
		raws[k] = l.raw
	}
	return i.to.Send(ctx, raws)
}

func inState(lines []*lineInHand, state lineState) (all []*lineInHand) {
	for _, l := range lines {
		if l.state == state {
			all = append(all, l)
		}
	}
	return all
}

// each calls f for all lines at once.
func each(lines []*lineInHand, f func(*lineInHand)) {
	var calls sync.WaitGroup
	for _, l := range lines {
		calls.Go(func() { f(l) })
	}
	calls.Wait()
}

// claimAll claims what is this import's to send: in a FIFO queue nothing of a
// group of which a message failed.
func (i *importer) claimAll(ctx context.Context, lines []*lineInHand) {
	each(lines, func(l *lineInHand) {
		if i.isStuck(l) {
			l.fail(errGroupStuck)
			return
		}
		i.claim(ctx, l)
	})
	for _, l := range lines { // in their order
		if l.state == lineClaimed && i.isStuck(l) {
			i.forgetAll(ctx, []*lineInHand{l})
			l.fail(errGroupStuck)
		}
		if l.state == lineFailed {
			i.stick(l)
		}
	}
	// The claims of those that did not have to wait may be about to run out.
	each(inState(lines, lineClaimed), func(l *lineInHand) {
		if time.Since(l.claimed) > importLease/4 {
			i.claim(ctx, l)
		}
	})
}

// claim claims a line, or claims it again, and waits for whoever has it in hand:
// as long as a claim stands that nobody renews.
func (i *importer) claim(ctx context.Context, l *lineInHand) {
	first := l.token == ""
	if first {
		l.token = rand.Text()
	}
	c := store.Claim{Key: l.key, Token: l.token, Lease: importLease, Attempt: 1, Remember: i.Retention}
	deadline := time.Now().Add(importLease + 2*importPoll)
	for {
		asked := time.Now()
		got, err := i.Records.Claim(ctx, c)
		switch {
		case err == nil && got.Done:
			l.state, l.token = lineKnown, ""
			return
		case err == nil:
			l.state, l.claimed, l.unsure = lineClaimed, asked, l.unsure || first && got.Seen > 0
			return
		case !errors.Is(err, store.ErrBusy):
			if ctx.Err() == nil {
				i.end(fmt.Errorf("the records of what was imported: %w", err))
			}
			return
		case time.Now().After(deadline):
			l.fail(fmt.Errorf("another import has it in hand: %w", err))
			l.token = ""
			return
		case !sleep(ctx, importPoll):
			return
		}
	}
}

// completeAll has it on record that lines were sent, also after ctx ended: what
// is not is sent again.
func (i *importer) completeAll(ctx context.Context, lines []*lineInHand) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	each(lines, func(l *lineInHand) {
		err := i.Records.Complete(ctx, store.Completion{Key: l.key, Token: l.token, Retention: i.Retention})
		if err != nil && !errors.Is(err, store.ErrLeaseLost) { // then another has it, and will tell
			i.end(fmt.Errorf("line %d (message %s) was sent, and that is not on record, so that the next import sends it again, with the same id: %w", l.number, l.raw.ID, err))
		}
	})
}

// forgetAll gives claims back. Those that it cannot give back run out.
func (i *importer) forgetAll(ctx context.Context, lines []*lineInHand) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	each(lines, func(l *lineInHand) {
		_ = i.Records.Forget(ctx, l.key, l.token)
		if l.token = ""; l.state == lineClaimed {
			l.state = lineOpen
		}
	})
}

// end ends the import.
func (i *importer) end(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fatal == nil {
		i.fatal = err
	}
}

func (i *importer) isStuck(l *lineInHand) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stuck[l.raw.Group]
}

// stick keeps the rest of a failed line's group from a FIFO queue.
func (i *importer) stick(l *lineInHand) {
	if i.to.Endpoint.FIFO() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.stuck[l.raw.Group] = true
	}
}

// done counts what became of lines that are no longer in hand.
func (i *importer) done(ctx context.Context, lines []*lineInHand) {
	for _, l := range inState(lines, lineFailed) {
		i.stick(l)
	}
	defer i.record(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	r := &i.report
	var last error
	sent, failed := 0, 0
	for _, l := range lines {
		delete(i.inHand, l.key)
		switch l.state {
		case lineKnown:
			r.Skipped++
		case lineSent:
			sent++
			i.turn.did(l.raw.ID)
			if l.unsure {
				r.Unsure++
			}
			if l.unnamed {
				r.Unnamed++
			}
		case lineFailed:
			failed++
			last = l.err
			e := newLineError(l.number, l.err)
			e.MessageID, e.Unknown = l.raw.ID, maybeSent(l.err)
			r.fail(e)
		}
	}
	r.Sent += sent
	switch {
	case failed < len(lines):
		i.streak = 0
	default:
		if i.streak++; i.streak == maxStreak && i.fatal == nil {
			i.fatal = fmt.Errorf("%d batches in a row could not be sent: %w", maxStreak, last)
		}
	}
	if i.Progress != nil {
		i.Progress(r.clone())
	}
}

// record has it on record what was sent, when a page of it is full.
func (i *importer) record(ctx context.Context) {
	if err := i.turn.flush(ctx); err != nil {
		i.log.Warn("what was imported could not be recorded; it is tried again", "queue", i.to.Name, "error", err)
	}
}
