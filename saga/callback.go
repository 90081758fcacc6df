package saga

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// Callback is a step that somebody outside completes: a person who approves, a
// service that takes its time. The action hands over the token of the task,
// [StepInfo].Token, in whatever way; when it has returned nil, the step waits
// until the token comes back by [Client.Complete], [Client.Fail], the command
// line or a message. Then complete, which may be nil, takes the result into the
// state. A result that it refuses, or that is no R, is noted in the history, and
// the step waits on for another.
//
// [Step.Retry] is about handing over. Who has said no, or nothing in time, is asked
// again only where a policy names that error.
//
// [Step.Timeout] is how long an attempt waits in all, a year if need be, and
// defaults to 24 hours, or to [Step.Within] where that is less; [Step.Heartbeat] how
// long without a [Client.Heartbeat]. A wait that ends without an answer has an
// [Unknown] outcome.
//
// Say the Timeout in a saga whose own time is less, and for the [Step.Pivot] and what
// comes after it: there a wait that ends without an answer is blocked, unless the
// step has a [Step.Catch], or a Retry, of [ErrorTimeout].
func Callback[T, R any](name string, action Action[T], complete func(state *T, result R) error) *Step[T] {
	s := Do(name, action)
	s.state.Callback, s.state.untold = true, true
	s.state.Timeout = 24 * time.Hour
	s.state.absorb = absorber(complete)
	return s
}

// Receive is a step that waits for a signal of some name, which [Client.Signal]
// sends, and takes what it brings into the state by apply, which may be nil. One
// that was sent before is taken at once. It waits for as long as it takes, or
// for [Step.Timeout] or [Step.Within].
func Receive[T, P any](name, signal string, apply func(state *T, payload P) error) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypeTask, Signal: signal, ReadOnly: true}}
	s.fault(signal == "", "the signal that it waits for has no name")
	s.fault(len(signal) > store.MaxID, "the name of the signal that it waits for has %d bytes, at most %d are allowed", len(signal), store.MaxID)
	s.state.absorb = absorber(apply)
	return s
}

func absorber[T, R any](apply func(*T, R) error) func(state, data []byte) ([]byte, error) {
	return func(state, data []byte) ([]byte, error) {
		if apply == nil {
			return state, nil
		}
		var r R
		if len(data) > 0 {
			if err := json.Unmarshal(data, &r); err != nil {
				return nil, fmt.Errorf("decode into %T: %w", r, err)
			}
		}
		return transform(func(v *T) error { return apply(v, r) })(state)
	}
}

// Heartbeat is how long a [Callback] may go without a [Client.Heartbeat], or a Do
// without a call of [Beat]. Then its attempt ends with the error
// [ErrorHeartbeat]. Defaults to no such bound.
func (s *Step[T]) Heartbeat(d time.Duration) *Step[T] {
	s.state.Heartbeat = d
	s.fault(d <= 0, "its Heartbeat is %s, want it positive", d)
	return s
}

// A taskToken names one wait of one execution, and proves that its holder was
// given it.
type taskToken struct {
	Execution string `json:"x,omitempty"`
	Frame     string `json:"f,omitempty"`
	Step      string `json:"s"`
	Visit     int    `json:"v"`
	Secret    string `json:"k"`
}

// ErrToken reports a task token that nobody waits for: it is another's, was used
// before, or its time is over.
var ErrToken = errors.New("saga: nobody waits for this task token")

func (t taskToken) String() string {
	data, _ := json.Marshal(t) // strings and a number
	return base64.RawURLEncoding.EncodeToString(data)
}

// maxToken bounds what is read as a token. JSON may write a byte of an id as six, and
// base64 three bytes as four.
const maxToken = 16 << 10

func parseToken(text string) (taskToken, error) {
	var t taskToken
	if len(text) > maxToken {
		return t, fmt.Errorf("%w: it has %d bytes", ErrToken, len(text))
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(text))
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil || t.Execution == "" || t.Step == "" || t.Secret == "" {
		return t, fmt.Errorf("%w: it is no token of ours", ErrToken)
	}
	return t, nil
}

// A completion is how a task ends.
type completion struct {
	Result json.RawMessage `json:"r,omitempty"`
	Error  string          `json:"e,omitempty"` // its name
	Cause  string          `json:"c,omitempty"`
}

// errRepeated reports a completion that was taken before.
var errRepeated = fmt.Errorf("%w: it was used before", ErrToken)

// errUnread reports a completion after another that the execution has not read yet:
// nobody knows whether they are the same, or whether that one fits.
var errUnread = fmt.Errorf("%w: it was used before, and what came with it is yet to be read", ErrToken)

// mostSpent bounds the completions that an execution remembers.
const mostSpent = 32

// spentMark tells a completion from others, without giving its token away.
func spentMark(t taskToken, c completion) string {
	data, _ := json.Marshal(c) // which came as JSON, or is text
	return digest([]byte(t.Secret + " " + string(data)))[:20]
}

// spend notes a completion that was taken, so that a repeat of it is told.
func (m *machine) spend(t taskToken, c completion) {
	m.root.Spent = append(m.root.Spent, spentMark(t, c))
	m.root.Spent = m.root.Spent[max(0, len(m.root.Spent)-mostSpent):]
	m.touch(m.root)
}

// spent reports whether a completion was taken before.
func (f *frame) spent(mark string) bool {
	return slices.ContainsFunc(f.Spent, func(s string) bool { return subtle.ConstantTimeCompare([]byte(s), []byte(mark)) == 1 })
}

// Complete ends the task of a token with a result, which is written as JSON. A
// token is good for one time, but for results that the step has refused: see
// [Callback]. It is an error that matches [ErrToken] if nobody waits for it; also,
// where the store's answer was lost, if it was this very call that it was used by.
func (c *Client) Complete(ctx context.Context, token string, result any) error {
	data, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("saga: complete a task: encode its result: %w", err)
	}
	if why := excess(data, c.cfg.MaxState); why != "" {
		return Permanent(fmt.Errorf("saga: complete a task: its result %s", why))
	}
	return c.finish(ctx, token, completion{Result: data})
}

// Fail ends the task of a token with an error of a name, which the step's Retry
// and Catch go by, and a text. The task is taken to have had no effect.
func (c *Client) Fail(ctx context.Context, token, errorName, text string) error {
	if errorName == "" {
		errorName = ErrorTaskFailed
	}
	return c.finish(ctx, token, completion{Error: cutText(errorName), Cause: errorText(errors.New(text))})
}

// Heartbeat tells that whoever has the token is at work: see [Step.Heartbeat].
func (c *Client) Heartbeat(ctx context.Context, token string) error {
	t, _, err := c.waited(ctx, token, nil)
	if err != nil {
		return err
	}
	return c.tell(ctx, t.Execution, newID(), mail{Kind: mailBeat, Token: &t})
}

func (c *Client) finish(ctx context.Context, token string, end completion) error {
	t, misfits, err := c.waited(ctx, token, &end)
	if err != nil {
		return err
	}
	// Whoever comes second with the same token finds its mail there.
	id := "complete." + digest([]byte(t.String()))[:16] // however it was spelt
	if misfits > 0 {                                    // those before were of no use
		id += "." + strconv.Itoa(misfits)
	}
	return c.tell(ctx, t.Execution, id, mail{Kind: mailComplete, Token: &t, End: &end})
}

// waited checks that somebody waits for a token or, with an end, that what was done
// with it is yet to be undone, and tells how many results came with it that did not
// fit. The execution decides, when it reads the mail.
func (c *Client) waited(ctx context.Context, token string, end *completion) (t taskToken, misfits int, err error) {
	if t, err = parseToken(token); err != nil {
		return t, 0, err
	}
	fields, err := c.store.Frames(ctx, t.Execution, frameField(t.Frame), frameField(""))
	if err != nil {
		return t, 0, fmt.Errorf("saga: look for the task of a token: %w", err)
	}
	stored, ok := fields[frameField(t.Frame)]
	var root frame
	if end != nil && len(fields[frameField("")]) > 0 {
		if err := decodeJSON(c.cfg.Codec, fields[frameField("")], &root); err != nil {
			return t, 0, &ReadError{ID: t.Execution, What: "frame", Err: err}
		}
		if root.spent(spentMark(t, *end)) {
			return t, 0, errRepeated
		}
	}
	if !ok {
		return t, 0, ErrToken
	}
	var f frame
	if err := decodeJSON(c.cfg.Codec, stored, &f); err != nil {
		return t, 0, &ReadError{ID: t.Execution, What: "frame", Err: err}
	}
	begun := f.Undoing && f.Step == t.Step && !fromMillis(f.At).After(time.Now())
	if end != nil && !begun && f.owes(t) && f.toUndo(t.Step, t.Visit) != nil {
		return t, 0, nil
	}
	if f.Step != t.Step || f.visit(t.Step) != t.Visit || subtle.ConstantTimeCompare([]byte(f.Token), []byte(t.Secret)) != 1 {
		return t, 0, ErrToken
	}
	return t, f.Misfits, nil
}

// tell posts mail under an id. A second completion is an error. Heartbeats, which
// come in any number, leave the mailbox's headroom to others.
func (c *Client) tell(ctx context.Context, id, mailID string, m mail) error {
	m.Token.Execution = "" // it is in that one's box
	body, err := encodeMail(c.cfg.Codec, m)
	if err != nil {
		return fmt.Errorf("saga: %s: %w", m.Kind, err)
	}
	limit := mailboxLimit
	if m.Kind == mailComplete {
		limit += operatorHeadroom
	}
	posted, err := c.deliver(ctx, store.PostRequest{ID: id, MailID: mailID, Body: body, Limit: limit})
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone), errors.Is(err, store.ErrEnded):
		return fmt.Errorf("%w: %w", ErrToken, err)
	case err != nil:
		return fmt.Errorf("saga: %s: %w", m.Kind, err)
	case !posted:
		return errUnread
	}
	return nil
}

// Signal sends a signal to an execution, with a payload that is written as JSON.
// The id tells repeats: a signal of the same id is sent once. It returns when the
// signal is durable; the execution takes it when it comes to a [Receive] of that
// name.
//
// A signal may come before its execution is started. Then it waits for
// ClientConfig.EarlySignals: an execution that starts within that time takes it,
// before signals that come later, and otherwise it is dropped, unless one before it
// waits longer. So a misspelt id is no error. A signal to an execution that has
// ended, or was purged, is one: it matches [store.ErrEnded] or [store.ErrGone].
func (c *Client) Signal(ctx context.Context, execution, name, id string, payload any) error {
	data, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("saga: signal %q: encode its payload: %w", name, err)
	}
	switch {
	case name == "":
		return errors.New("saga: signal: the name is empty")
	case store.CheckID("name", name) != nil:
		return Permanent(fmt.Errorf("saga: signal: %w", store.CheckID("name", name)))
	case checkID(execution) != nil:
		return fmt.Errorf("saga: signal %q: %w", name, checkID(execution))
	case excess(data, c.cfg.MaxState) != "":
		return Permanent(fmt.Errorf("saga: signal %q: its payload %s", name, excess(data, c.cfg.MaxState)))
	}
	if id == "" {
		id = newID()
	}
	body, err := encodeMail(c.cfg.Codec, mail{Kind: mailSignal, Signal: &signal{Name: name, Data: data}})
	if err != nil {
		return fmt.Errorf("saga: signal %q: %w", name, err)
	}
	_, err = c.deliver(ctx, store.PostRequest{
		ID: execution, MailID: "signal." + id, Body: body, Limit: mailboxLimit, Early: max(c.cfg.EarlySignals, 0),
	})
	if err != nil {
		return fmt.Errorf("saga: signal %q: %w", name, err)
	}
	return nil
}
