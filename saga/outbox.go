package saga

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A letter is what a commit wants to be sent. Receivers drop repeats by ID.
//
// Letters are sent after the commit that writes them, by whoever made it; the
// next commit leaves them out, if they were sent. While there are any the
// execution has a wake-up, and whoever opens it then sends them again: nobody
// knows whether they have been. So a letter that still matters goes out at least
// once.
type letter struct {
	Kind letterKind      `json:"k,omitempty"`
	ID   string          `json:"id"`
	To   string          `json:"to"`
	Body json.RawMessage `json:"body,omitempty"`
	// Frame and Attempt tell whose command it is; a notice has no Attempt.
	Frame   string `json:"f,omitempty"`
	Step    string `json:"s,omitempty"`
	Undo    bool   `json:"u,omitempty"`
	Attempt int    `json:"a,omitempty"`
	// Group is that of a command whose step names one.
	Group string `json:"g,omitempty"`
	// Asks is the place of the child that mail is for, where an answer is
	// awaited.
	Asks *parentRef `json:"q,omitempty"`

	// How it stands with the sending of it, which guards this.
	queued, out, gone bool
}

// A letterKind is the way that a letter goes.
type letterKind string

const (
	// letterMessage is published, to an endpoint: a command, or a notice.
	letterMessage letterKind = ""
	// letterMail is mail for another execution.
	letterMail letterKind = "mail"
	// letterStart starts a child.
	letterStart letterKind = "start"
	// letterUnlock gives a lock back: To is the resource, and ID the request.
	letterUnlock letterKind = "unlock"
)

func encodeOutbox(codec Codec, letters []*letter) ([]byte, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	data, err := encodeJSON(codec, letters)
	if err != nil {
		return nil, fmt.Errorf("encode the outbox: %w", err)
	}
	return data, nil
}

// pending takes over what an earlier opening may not have sent.
func (a *actor) pending(stored []byte) error {
	if len(stored) == 0 {
		return nil
	}
	if err := decodeJSON(a.c.cfg.Codec, stored, &a.unsent); err != nil {
		return fmt.Errorf("decode the outbox: %w", err)
	}
	a.stale = true
	return nil
}

// again sends what an earlier opening may not have sent.
func (a *actor) again() {
	if !a.stale {
		return
	}
	a.stale = false
	a.m.dirty = true
	a.drop()
	a.post()
}

// drop forgets commands that nobody waits for any more. They must not go out: an
// action that comes after its undo is refused at best.
func (a *actor) drop() {
	a.tidy()
	var kept, dropped []*letter
	for _, l := range a.unsent {
		if l.Attempt > 0 && !a.m.expects(l) {
			dropped = append(dropped, l)
			continue
		}
		kept = append(kept, l)
	}
	a.unsent = kept
	if a.out != nil && len(dropped) > 0 {
		a.out.withdraw(dropped)
	}
}

// expects reports whether what comes of a letter is waited for.
func (m *machine) expects(l *letter) bool {
	f := m.frameAt(l.Frame)
	return f != nil && f.Step == l.Step && f.Undoing == l.Undo && f.Attempt == l.Attempt && f.Waiting
}

// stamp notes which commit sends the commands, and leaves out those that mail, come
// since they were made, has made pointless.
func (a *actor) stamp(commit string) {
	a.m.commands = slices.DeleteFunc(slices.Clone(a.m.commands), func(cmd *command) bool {
		f := a.m.frameAt(cmd.Frame)
		if f == nil || f.Step != cmd.Step || f.Undoing != (cmd.Command == commandUndo) || f.Attempt != cmd.Attempt || !f.Waiting {
			return true
		}
		f.Sent = commit
		return false
	})
}

// letters adds to the outbox what the commit brings.
func (a *actor) letters(c *store.Commit, next store.Next) error {
	a.drop()
	for _, cmd := range a.m.commands {
		cmd.Execution, cmd.Definition, cmd.Commit, cmd.ReplyTo = a.lease.ID, a.meta.Definition, c.CommitID, a.c.cfg.ReplyTo
		cmd.Locks = a.m.fences()
		undo := cmd.Command == commandUndo
		info := StepInfo{Execution: a.lease.ID, Frame: cmd.Frame, Step: cmd.Step, Visit: cmd.Visit, Undo: undo, Edits: cmd.edits}
		if cmd.Key = idempotencyKey(info); undo {
			cmd.Undoes = actionKey(info)
		}
		body, err := json.Marshal(cmd)
		if err != nil {
			return fmt.Errorf("encode a command: %w", err)
		}
		a.unsent = append(a.unsent, &letter{
			ID: fmt.Sprint(cmd.Key, "/", cmd.Attempt), To: cmd.to, Body: body, Group: cmd.group,
			Frame: cmd.Frame, Step: cmd.Step, Undo: undo, Attempt: cmd.Attempt,
		})
	}
	a.m.commands = nil
	if err := a.orders(); err != nil {
		return err
	}
	for _, l := range a.m.unlocks {
		a.unsent = append(a.unsent, &letter{Kind: letterUnlock, ID: l.Request, To: l.Resource})
	}
	a.m.unlocks = nil
	if next == store.End && a.meta.ReplyTo != "" {
		body, err := json.Marshal(notice{
			Waybill: messageFormat, Execution: a.lease.ID, Definition: a.meta.Definition,
			Status: a.m.status(), State: a.m.root.State, Cause: a.m.root.cause(),
		})
		if err != nil {
			return fmt.Errorf("encode the notice: %w", err)
		}
		a.unsent = append(a.unsent, &letter{ID: a.lease.ID + ".end", To: a.meta.ReplyTo, Body: body})
	}
	return nil
}

var errNoPublisher = errors.New("a message waits for a coordinator with a Publisher")

// post sends what the last commit wrote. What cannot be sent stays for the next
// commit, the next renewal of the lease, or the next opening. Mostly all has gone
// when it returns; what takes longer goes on beside the actor.
func (a *actor) post() {
	if len(a.unsent) == 0 {
		return
	}
	s := a.sends()
	s.send(a.unsent, a.valid)
	s.await(a.breath())
	a.tidy()
}

// carry takes a letter to its receiver.
func (a *actor) carry(ctx context.Context, l *letter) error {
	switch l.Kind {
	case letterMessage:
		return a.publish(ctx, l)
	case letterMail:
		return a.mail(ctx, l)
	case letterStart:
		return a.startChild(ctx, l)
	case letterUnlock:
		return a.c.Client().handOver(ctx, l.To, l.ID)
	}
	return fmt.Errorf("a letter of the unknown kind %q waits for a coordinator of a later release", l.Kind)
}

func (a *actor) publish(ctx context.Context, l *letter) error {
	if a.c.cfg.Publisher == nil {
		return errNoPublisher
	}
	msg := newMessage(l.ID, cmp.Or(l.Group, groupOf(a.lease.ID, l.Frame)), l.Body)
	msg.SetContext(ctx)
	if err := a.c.cfg.Publisher.Publish(l.To, msg); err != nil {
		return fmt.Errorf("send to %q: %w", l.To, err)
	}
	return nil
}

// mail posts mail to another execution. One that has ended, or that a Redis has
// lost, has no use for it.
func (a *actor) mail(ctx context.Context, l *letter) error {
	body := []byte(l.Body)
	if codec := a.c.cfg.Codec; codec != nil {
		var err error
		if body, err = codec.Encode(body); err != nil {
			return fmt.Errorf("encode mail to %q: %w", l.To, err)
		}
	}
	_, err := a.c.Client().deliver(ctx, store.PostRequest{ID: l.To, MailID: l.ID, Body: body, Limit: mailboxLimit + operatorHeadroom})
	switch {
	case l.Asks != nil && (errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrNotFound)):
		return a.unheard(ctx, l)
	case errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrGone), errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("mail to %q: %w", l.To, err)
	}
	return nil
}

// settle sends the outbox of an execution that has ended, and clears it. What
// is not sent stays, and is tried again later, ever less often.
func (a *actor) settle() error {
	before := len(a.unsent)
	var locks, others []*letter
	for _, l := range a.unsent {
		if l.Kind == letterUnlock {
			locks = append(locks, l)
		} else {
			others = append(others, l)
		}
	}
	if err := a.bring(others); err != nil {
		return err
	}
	if len(a.running) > 0 && len(locks) > 0 {
		a.returned(a.lapses()) // handlers that were cut off had the locks
	}
	if err := a.bring(locks); err != nil {
		return err
	}
	a.tidy()
	left := len(a.unsent)
	if left == 0 || left < before {
		c := a.follow(store.End, a.now().Add(a.c.cfg.Retention))
		var err error
		if c.Outbox, err = encodeOutbox(a.c.cfg.Codec, a.unsent); err != nil {
			return err
		}
		if _, err := a.c.store.Commit(a.term, c); err != nil {
			return fmt.Errorf("%w: %w", errDropped, err)
		}
		a.commit = c.CommitID
	}
	if left > 0 {
		a.c.release(a.lease)
		return fmt.Errorf("%w: %d messages of its end are yet to be sent", errDropped, left)
	}
	return nil
}

// bring sends letters of an execution that has ended, however long they take.
func (a *actor) bring(letters []*letter) error {
	if len(letters) == 0 {
		return nil
	}
	a.sends().send(letters, a.valid)
	for a.sendingOn() {
		third := a.renewed.Add(a.c.cfg.Lease / 3)
		if !time.Now().Before(third) {
			if _, err := a.extend(); err != nil {
				return err
			}
			a.out.extend(a.valid)
			continue
		}
		a.out.await(time.Until(third))
	}
	return nil
}
