package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// Kinds of mail.
const (
	mailCancel    = "cancel"
	mailRetry     = "retry"
	mailEdit      = "edit"
	mailSkip      = "skip"
	mailTerminate = "terminate"
	mailSuspend   = "suspend"
	mailResume    = "resume"
	mailRelease   = "release"
	mailComplete  = "complete"
	mailBeat      = "beat"
	mailSignal    = "signal"
	mailReply     = "reply"
	mailChild     = "child"  // a child's report
	mailUndo      = "undo"   // a parent's: what has completed is undone
	mailSettle    = "settle" // a parent's: it will not be undone
	mailLock      = "lock"
)

// mail is what others have to say to an execution.
type mail struct {
	Kind string `json:"k"`
	By   string `json:"b,omitempty"`
	Note string `json:"n,omitempty"`
	// Token and End are of the completion of a task, and Signal is a signal.
	Token  *taskToken  `json:"t,omitempty"`
	End    *completion `json:"e,omitempty"`
	Signal *signal     `json:"s,omitempty"`
	// Reply is a participant's.
	Reply *replyMessage `json:"r,omitempty"`
	// Edit is another input for what is blocked.
	Edit *inputEdit `json:"i,omitempty"`
	// Skip is what is skipped, where earlier releases tell nothing.
	Skip *skipped `json:"p,omitempty"`
	// Parent says that a parent passes on what it was told itself.
	Parent bool `json:"h,omitempty"`
	// Child is a child's report.
	Child *childReport `json:"c,omitempty"`
	// Lock tells what has become of a request for a lock.
	Lock *lockMail `json:"l,omitempty"`
}

// Limits of the unread mail of one execution. Operators have headroom.
const (
	mailboxLimit     = 1000
	operatorHeadroom = 100
)

func encodeMail(codec Codec, m mail) ([]byte, error) { return encodeJSON(codec, m) }

// A letterError is mail that this worker does not understand.
type letterError struct {
	err   error
	later bool // it is of a kind that a later release may know
	wait  bool // it is understood, and has to wait for an answer
}

func (e *letterError) Error() string { return e.err.Error() }

// absorb applies one mail to the machine.
func (a *actor) absorb(body []byte) *letterError {
	var m mail
	if err := decodeJSON(a.c.cfg.Codec, body, &m); err != nil {
		return &letterError{err: fmt.Errorf("decode mail: %w", err)}
	}
	if a.m.isolated(m) {
		return nil
	}
	switch now := a.now(); m.Kind {
	case mailRelease:
		a.m.discharge(m.By, m.Note, now)
	case mailCancel:
		a.m.cancel(m.By, m.Note, now)
	case mailRetry:
		a.m.retry(m.By, m.Note, now)
	case mailEdit:
		if m.Edit == nil {
			return &letterError{err: errors.New("mail of the kind \"edit\" without an edit")}
		}
		a.m.edit(m.Edit, m.By, m.Note, now)
	case mailSkip:
		a.m.skip(m.Skip, m.By, m.Note, now)
	case mailTerminate:
		a.m.terminate(m.By, m.Note)
	case mailSuspend, mailResume:
		switch {
		case m.Parent:
			a.m.heed(m.Kind, m.By, m.Note, now)
		case m.Kind == mailSuspend:
			a.m.suspend(m.By, m.Note, now)
		default:
			a.m.goOn(m.By, m.Note, now)
		}
	case mailComplete, mailBeat:
		if m.Token == nil || m.Kind == mailComplete && m.End == nil {
			return &letterError{err: fmt.Errorf("mail of the kind %q without a token or an end", m.Kind)}
		}
		if f, err := a.m.callee(*m.Token); err == nil && f.running {
			return &letterError{wait: true} // the handler that handed the token over is yet to return
		}
		if m.Kind == mailBeat {
			a.m.beat(*m.Token, now)
		} else {
			a.m.complete(*m.Token, *m.End, now)
		}
	case mailReply:
		if m.Reply == nil {
			return &letterError{err: errors.New("mail of the kind \"reply\" without a reply")}
		}
		if why := a.lacks(m.Reply); why != "" {
			a.m.quarantine(m.Reply.String()+": "+why, now)
			return nil
		}
		a.m.hearReply(m.Reply, now)
	case mailChild:
		if m.Child == nil {
			return &letterError{err: errors.New("mail of the kind \"child\" without a report")}
		}
		a.m.hearChild(m.Child, now)
	case mailUndo:
		a.m.revert(m.By, m.Note, now)
	case mailSettle:
		a.m.settle()
	case mailLock:
		if m.Lock == nil {
			return &letterError{err: errors.New("mail of the kind \"lock\" without a lock")}
		}
		if m.Lock.Broken {
			a.m.broken(m.Lock.Resource, m.Lock.Request, m.By, m.Note, now)
		} else {
			a.m.granted(m.Lock.Resource, m.Lock.Request, m.Lock.Fence, now)
		}
	case mailSignal:
		if m.Signal == nil {
			return &letterError{err: errors.New("mail of the kind \"signal\" without a signal")}
		}
		a.m.signal(*m.Signal, now)
	default:
		return &letterError{err: fmt.Errorf("mail of the unknown kind %q", m.Kind), later: m.Kind != ""}
	}
	return nil
}

// urgent reports whether mail is about locks.
func (a *actor) urgent(body []byte) bool {
	var m mail
	return decodeJSON(a.c.cfg.Codec, body, &m) == nil && m.Kind == mailLock && m.Lock != nil
}

// Mail that is not understood leaves its execution to others, who may: a codec
// that fails may work again, and a worker of a later release may know the kind.
// When it has puzzled this process for a while it is set aside: noted in the
// history, body and all.
const (
	mostPuzzles = 3
	laterWithin = 10 * time.Minute
	keptBody    = 4096 // bytes of it
)

// setAside notes mail in the history that has puzzled for long enough.
func (a *actor) setAside(body []byte, why *letterError) bool {
	n, since := a.c.puzzles.count(a.lease)
	if n < mostPuzzles || why.later && since < laterWithin {
		return false
	}
	a.c.puzzles.forget(a.lease.ID)
	a.m.record(a.m.root, Event{
		Type: MailDiscarded, Error: errorText(why), Note: strings.ToValidUTF8(string(body[:min(len(body), keptBody)]), "\uFFFD"),
	})
	return true
}

// puzzles counts the openings of executions that ended at mail which was not
// understood.
type puzzles struct {
	mu   sync.Mutex
	seen map[string]*puzzle // by execution
}

type puzzle struct {
	openings int
	nonce    string // of the last
	first    time.Time
}

// mostPuzzled bounds the memory of them.
const mostPuzzled = 10_000

func (p *puzzles) count(l store.Lease) (openings int, since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil || len(p.seen) > mostPuzzled {
		p.seen = make(map[string]*puzzle)
	}
	x := p.seen[l.ID]
	if x == nil {
		x = &puzzle{first: time.Now()}
		p.seen[l.ID] = x
	}
	if x.nonce != l.Nonce {
		x.openings, x.nonce = x.openings+1, l.Nonce
	}
	return x.openings, time.Since(x.first)
}

func (p *puzzles) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, id)
}

// notice is what an execution that was started with a reply address sends
// there when it has ended.
type notice struct {
	Waybill    int             `json:"waybill"`
	Execution  string          `json:"execution"`
	Definition string          `json:"definition"`
	Status     Status          `json:"status"`
	State      json.RawMessage `json:"state"`
	Cause      *Cause          `json:"cause,omitempty"`
}

const messageFormat = 1
