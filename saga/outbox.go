package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

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
	ID   string          `json:"id"`
	To   string          `json:"to"`
	Body json.RawMessage `json:"body"`
	// Frame and Attempt tell whose command it is; a notice has no Attempt.
	Frame   string `json:"f,omitempty"`
	Step    string `json:"s,omitempty"`
	Undo    bool   `json:"u,omitempty"`
	Attempt int    `json:"a,omitempty"`
}

func encodeOutbox(codec Codec, letters []letter) ([]byte, error) {
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

// drop forgets commands that nobody waits for any more, and sends those again
// that an earlier opening may not have sent.
func (a *actor) drop() {
	if !a.stale {
		return
	}
	a.stale = false
	kept := a.unsent[:0]
	for _, l := range a.unsent {
		f := a.m.frameAt(l.Frame)
		if l.Attempt > 0 && (f == nil || f.Step != l.Step || f.Undoing != l.Undo || f.Attempt != l.Attempt || !f.Waiting) {
			a.m.dirty = true
			continue
		}
		kept = append(kept, l)
	}
	a.unsent = kept
	if len(kept) > 0 {
		a.post()
		a.m.dirty = true
	}
}

// letters adds to the outbox what the commit brings.
func (a *actor) letters(c *store.Commit, next store.Next) error {
	for _, cmd := range a.m.commands {
		cmd.Execution, cmd.Definition, cmd.Commit, cmd.ReplyTo = a.lease.ID, a.meta.Definition, c.CommitID, a.c.cfg.ReplyTo
		undo := cmd.Command == commandUndo
		cmd.Key = idempotencyKey(StepInfo{Execution: a.lease.ID, Frame: cmd.Frame, Step: cmd.Step, Visit: cmd.Visit, Undo: undo})
		body, err := json.Marshal(cmd)
		if err != nil {
			return fmt.Errorf("encode a command: %w", err)
		}
		a.unsent = append(a.unsent, letter{
			ID: fmt.Sprint(cmd.Key, "/", cmd.Attempt), To: cmd.to, Body: body,
			Frame: cmd.Frame, Step: cmd.Step, Undo: undo, Attempt: cmd.Attempt,
		})
	}
	a.m.commands = nil
	if next == store.End && a.meta.ReplyTo != "" {
		body, err := json.Marshal(notice{
			Waybill: messageFormat, Execution: a.lease.ID, Definition: a.meta.Definition,
			Status: a.m.status(), State: a.m.root.State, Cause: a.m.root.cause(),
		})
		if err != nil {
			return fmt.Errorf("encode the notice: %w", err)
		}
		a.unsent = append(a.unsent, letter{ID: a.lease.ID + ".end", To: a.meta.ReplyTo, Body: body})
	}
	return nil
}

var errNoPublisher = errors.New("a message waits for a coordinator with a Publisher")

// post sends what the last commit wrote. What cannot be sent stays for the next
// commit, or for the next opening.
func (a *actor) post() {
	if len(a.unsent) == 0 {
		return
	}
	var left []letter
	for _, l := range a.unsent {
		if err := a.publish(l); err != nil {
			a.log.Warn("a message was not sent, and will be tried again", "to", l.To, "error", err)
			left = append(left, l)
		}
	}
	a.unsent = left
}

func (a *actor) publish(l letter) error {
	if a.c.cfg.Publisher == nil {
		return errNoPublisher
	}
	msg := message.NewMessage(l.ID, message.Payload(l.Body))
	ctx, cancel := context.WithDeadline(a.c.background, a.valid)
	defer cancel()
	msg.SetContext(ctx)
	if err := a.c.cfg.Publisher.Publish(l.To, msg); err != nil {
		return fmt.Errorf("send to %q: %w", l.To, err)
	}
	return nil
}

// settle sends the outbox of an execution that has ended, and clears it. What
// is not sent stays, and is tried again later, ever less often.
func (a *actor) settle() error {
	for _, l := range a.unsent {
		if err := a.publish(l); err != nil {
			a.c.release(a.lease)
			return fmt.Errorf("%w: %w", errDropped, err)
		}
	}
	a.unsent = nil
	ctx, cancel := context.WithDeadline(a.c.background, a.valid)
	defer cancel()
	if _, err := a.c.store.Commit(ctx, a.follow(store.End, a.now().Add(a.c.cfg.Retention))); err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	return nil
}
