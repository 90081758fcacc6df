package saga

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A LostError reports a reply to an execution that is not there and was not
// purged, as far as its tombstone tells: the store has lost it, after a command of
// its had gone out. So the step may be done, and nobody will undo it. Or the reply
// is not for this store's namespace, or is older than [CoordinatorConfig.Tombstone].
type LostError struct {
	Execution string
	Frame     string
	Step      string
	Attempt   int
	Undo      bool // the reply is to the step's undo
	Outcome   Outcome
	Commit    string // that sent the command
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%s of the execution %q, which is not there and has left no tombstone: the store has lost it, or the reply is another namespace's",
		replyText(e.Step, e.Frame, e.Attempt, e.Undo, e.Outcome), e.Execution)
}

// Unwrap makes it match store.ErrNotFound.
func (e *LostError) Unwrap() error { return store.ErrNotFound }

// Permanent reports that a retry would not help.
func (e *LostError) Permanent() bool { return true }

func replyText(step, frame string, attempt int, undo bool, outcome Outcome) string {
	what := "step " + step
	if undo {
		what = "the undo of " + what
	}
	if frame != "" {
		what += " in " + frame
	}
	return fmt.Sprintf("the reply %q to attempt %d of %s", outcome, attempt, what)
}

func (r *replyMessage) String() string {
	return replyText(r.Step, r.Frame, r.Attempt, r.Reply == commandUndo, r.Outcome)
}

// lost is the error of a reply whose execution is missing.
func (r *replyMessage) lost() *LostError {
	return &LostError{
		Execution: r.Execution, Frame: r.Frame, Step: r.Step, Attempt: r.Attempt, Undo: r.Reply == commandUndo,
		Outcome: r.Outcome, Commit: r.Commit,
	}
}

// A commitID names a commit: the epoch and the nonce of the lease that it was made
// under, and its number there. So of two commits of one chain it tells which came
// first, and of any whether it can be in the chain at all. The one that a start
// makes is of no epoch.
type commitID struct {
	epoch int64
	nonce string
	seq   int
}

func (c commitID) String() string {
	return strconv.FormatInt(c.epoch, 10) + "." + c.nonce + "." + strconv.Itoa(c.seq)
}

// parseCommit reads what String writes.
func parseCommit(id string) (c commitID, ok bool) {
	parts := strings.Split(id, ".")
	if len(parts) == 1 {
		return commitID{nonce: id}, id != ""
	}
	if len(parts) != 3 {
		return c, false
	}
	epoch, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return c, false
	}
	seq, err := strconv.Atoi(parts[2])
	return commitID{epoch: epoch, nonce: parts[1], seq: seq}, err == nil
}

// follows reports whether the commit cannot be among those up to the other one.
func (c commitID) follows(last commitID) bool {
	switch {
	case c.epoch != last.epoch:
		return c.epoch > last.epoch
	case c.nonce != last.nonce: // an epoch has one lease
		return true
	}
	return c.seq > last.seq
}

// lacks tells why the chain cannot have the commit that sent the command of a
// reply; empty: it can. What was replied to had been sent, and so committed, before
// the reply came.
func (a *actor) lacks(r *replyMessage) string {
	sent, ok := parseCommit(r.Commit)
	if !ok || sent.epoch == 0 {
		return "" // the participant does not tell
	}
	last := a.opened
	if sent.epoch == a.lease.Epoch && sent.nonce == a.lease.Nonce {
		last = commitID{epoch: a.lease.Epoch, nonce: a.lease.Nonce, seq: a.seq}
	}
	if a.traced && sent.follows(last) {
		return fmt.Sprintf("its command was sent by commit %s, and the last one there is %s", sent, last)
	}
	f := a.m.frameAt(r.Frame)
	if f != nil && a.m.answers(f, r) && f.Waiting && r.Attempt == f.Attempt && f.Sent != "" && f.Sent != r.Commit {
		return fmt.Sprintf("its command was sent by commit %s, and that of this attempt by %s", sent, f.Sent)
	}
	return ""
}

// quarantine stops an execution of which a write has been lost.
func (m *machine) quarantine(why string, now time.Time) {
	m.record(m.root, Event{Type: ExecutionQuarantined, Error: why})
	if m.root.Quarantine != nil {
		return
	}
	m.root.Quarantine = &quarantine{Why: why, Suspended: m.root.Suspended > 0}
	if m.root.Suspended == 0 {
		m.root.Suspended = toMillis(now)
	}
}

// A quarantine is why an execution is not run. Suspended says that an operator had
// stopped it before.
type quarantine struct {
	Why       string `json:"w"`
	Suspended bool   `json:"s,omitempty"`
}

func (q *quarantine) cause() *Cause { return &Cause{Kind: CauseLost, Error: q.Why} }

// isolated takes what somebody orders a quarantined execution, and reports whether
// that is all that comes of it. What its parent passes on holds after the quarantine.
func (m *machine) isolated(order mail) bool {
	q := m.root.Quarantine
	if q == nil {
		return false
	}
	switch order.Kind {
	case mailSuspend, mailResume:
		if !order.Parent {
			break
		}
		switch suspend := order.Kind == mailSuspend; {
		case suspend && !q.Suspended:
			q.Suspended, m.root.Halted = true, true
		case !suspend && m.root.Halted:
			q.Suspended, m.root.Halted = false, false
		}
		m.touch(m.root)
		return true
	case mailCancel, mailRetry, mailEdit, mailSkip:
	default:
		return false
	}
	m.refuse(order.By, order.Note, "it is quarantined: it can be released or terminated")
	return true
}

// discharge ends the quarantine, by an operator's order.
func (m *machine) discharge(by, note string, now time.Time) {
	q := m.root.Quarantine
	if q == nil {
		m.refuse(by, note, "it is not quarantined")
		return
	}
	m.root.Quarantine = nil
	m.record(m.root, Event{Type: ExecutionReleased, By: by, Note: note})
	if !q.Suspended {
		m.unsuspend(note, now)
	}
}

// Release lets a quarantined execution go on from where it stands, as if nothing had
// been lost: an operator has seen to what its steps have done. Commands that are sent
// again have the keys that they had, so participants that keep records do nothing
// twice.
func (c *Client) Release(ctx context.Context, id string, o Order) error {
	return c.post(ctx, id, mail{Kind: mailRelease, By: o.By, Note: o.Note})
}
