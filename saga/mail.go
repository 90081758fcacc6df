package saga

import (
	"encoding/json"
	"fmt"
)

// Kinds of mail.
const (
	mailCancel = "cancel"
	mailRetry  = "retry"
)

// mail is what others have to say to an execution.
type mail struct {
	Kind string `json:"k"`
	By   string `json:"b,omitempty"`
	Note string `json:"n,omitempty"`
}

// Limits of the unread mail of one execution. Operators have headroom.
const (
	mailboxLimit     = 1000
	operatorHeadroom = 100
)

func encodeMail(codec Codec, m mail) ([]byte, error) { return encodeJSON(codec, m) }

// absorb applies one mail to the machine. Mail that cannot be understood is
// noted in the history, never lost in silence and never in the way.
func (a *actor) absorb(body []byte) {
	var m mail
	err := decodeJSON(a.c.cfg.Codec, body, &m)
	now := a.now()
	switch {
	case err == nil && m.Kind == mailCancel:
		a.m.cancel(m.By, m.Note, now)
	case err == nil && m.Kind == mailRetry:
		a.m.retry(m.By, m.Note, now)
	case err == nil:
		a.m.record(a.m.root, Event{Type: MailDiscarded, Error: fmt.Sprintf("unknown kind %q", m.Kind)})
	default:
		a.m.record(a.m.root, Event{Type: MailDiscarded, Error: errorText(err)})
	}
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

// outbox is what a commit wants to be sent. Receivers drop repeats by ID.
type outbox struct {
	ID   string          `json:"id"`
	To   string          `json:"to"`
	Body json.RawMessage `json:"body"`
}

const messageFormat = 1
