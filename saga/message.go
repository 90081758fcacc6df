package saga

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/store"
)

// startMessage is the message that starts an execution: see the package
// documentation.
type startMessage struct {
	Waybill int             `json:"waybill"`
	Start   string          `json:"start"`
	ID      string          `json:"id"`
	Input   json.RawMessage `json:"input"`
	ReplyTo string          `json:"replyTo"`
}

// taskMessage is a message for an execution: see the package documentation.
type taskMessage struct {
	Waybill   int             `json:"waybill"`
	Start     string          `json:"start"`
	Complete  string          `json:"complete"`
	Fail      string          `json:"fail"`
	Heartbeat string          `json:"heartbeat"`
	Signal    string          `json:"signal"`
	Reply     string          `json:"reply"`
	Result    json.RawMessage `json:"result"`
	Error     string          `json:"error"`
	Cause     string          `json:"cause"`
	Execution string          `json:"execution"`
	ID        string          `json:"id"`
	Payload   json.RawMessage `json:"payload"`
}

// HandleMessage is a watermill handler for all messages that package saga knows:
// starts, as [Coordinator.HandleStart] takes them, completions and heartbeats of
// tasks, signals, and the replies of participants. It acknowledges a message once what it says is durable,
// and a repeat of a completion that was taken; one that comes after another
// which is yet to be read is an error until that is. An
// error that a retry cannot cure, such as a token that nobody waits for, has a
// method Permanent() bool that answers true.
func (c *Coordinator) HandleMessage(msg *message.Message) error {
	var m taskMessage
	if err := readMessage(msg.Payload, &m, &m.Waybill); err != nil {
		return Permanent(fmt.Errorf("message %s: %w", msg.UUID, err))
	}
	client, ctx := c.Client(), msg.Context()
	var err error
	switch {
	case m.Start != "":
		return c.HandleStart(msg)
	case m.Complete != "":
		err = decided(ctx, func() error { return client.Complete(ctx, m.Complete, orNull(m.Result)) })
	case m.Fail != "":
		err = decided(ctx, func() error { return client.Fail(ctx, m.Fail, m.Error, m.Cause) })
	case m.Heartbeat != "":
		err = client.Heartbeat(ctx, m.Heartbeat)
	case m.Reply != "":
		err = client.reply(ctx, msg.Payload)
	case m.Signal != "":
		err = client.Signal(ctx, m.Execution, m.Signal, cmp.Or(m.ID, msg.UUID), orNull(m.Payload))
	default:
		err = Permanent(errors.New(`want one of "start", "complete", "fail", "heartbeat", "signal" and "reply" in it`))
	}
	if err == nil || errors.Is(err, errRepeated) {
		return nil
	}
	if late := (*doneLate)(nil); errors.As(err, &late) {
		c.log.Warn("a participant has done a step that was undone, and the saga has ended: see what there is",
			"execution", late.Execution, "frame", late.Frame, "step", late.Step, "attempt", late.Attempt)
		return nil
	}
	err = fmt.Errorf("message %s: %w", msg.UUID, err)
	if errors.Is(err, errUnread) {
		return err // when that is read, this one is a repeat or another
	}
	if errors.Is(err, ErrToken) || errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrEnded) ||
		errors.Is(err, store.ErrGone) {
		return Permanent(err)
	}
	return err
}

// decided calls f, which completes a task, and again for a moment while another
// completion of the task is yet to be read: mostly that is about to be.
func decided(ctx context.Context, f func() error) error {
	for pause := firstLook; ; pause *= 2 {
		err := f()
		if !errors.Is(err, errUnread) || pause > lastLook {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// readMessage decodes a message of the version of its format that is read here.
func readMessage(payload []byte, into any, waybill *int) error {
	err := json.Unmarshal(payload, into)
	if *waybill != messageFormat && (err == nil || *waybill != 0) {
		// Said first: a later version may look otherwise.
		return fmt.Errorf(`"waybill" is %d, want %d, the version of the message's format`, *waybill, messageFormat)
	}
	return err
}

// reply gives a participant's reply to its execution. One that comes after the
// end, or again, is of no use to anybody.
func (c *Client) reply(ctx context.Context, payload []byte) error {
	var r replyMessage
	if err := json.Unmarshal(payload, &r); err != nil {
		return Permanent(err)
	}
	if err := r.check(); err != nil {
		return Permanent(err)
	}
	if r.Reply == commandUndo {
		r.Result = nil // which nobody asks for
	}
	if why := excess(r.Result, c.cfg.MaxState); why != "" {
		// What was done cannot be taken into the state, and so is to be undone.
		r.Outcome, r.Permanent, r.Error, r.Cause = Unknown, true, "", "the result "+why
		r.Result = nil
	}
	r.Error, r.Cause = cutText(r.Error), cutText(r.Cause)
	body, err := encodeMail(c.cfg.Codec, mail{Kind: mailReply, Reply: &r})
	if err != nil {
		return err
	}
	id := fmt.Sprint("reply.", digest([]byte(fmt.Sprint(r.Frame, "/", r.Step, "/", r.Visit, "/", r.Reply, "/", r.Attempt, "/", r.Outcome, "/", r.Commit)))[:16])
	_, err = c.deliver(ctx, store.PostRequest{ID: r.Execution, MailID: id, Body: body, Limit: mailboxLimit + operatorHeadroom})
	switch {
	case errors.Is(err, store.ErrEnded):
		return c.afterEnd(ctx, &r)
	case errors.Is(err, store.ErrGone):
		return nil
	case errors.Is(err, store.ErrNotFound):
		if k := c.coordinator; k != nil {
			k.log.Error("a reply came to an execution that is missing without a tombstone: the store has lost it, or the reply is another namespace's",
				"execution", r.Execution, "step", r.Step, "attempt", r.Attempt, "outcome", r.Outcome)
		}
		return r.lost()
	}
	return err
}

// A doneLate is a reply that an action is done which was undone, unseen, by an
// execution that has ended since.
type doneLate struct{ *replyMessage }

func (e *doneLate) Error() string {
	return fmt.Sprintf("step %s of the execution %q was done after it was undone", e.Step, e.Execution)
}

// afterEnd tells whether a reply that comes after the execution's end matters to
// somebody.
func (c *Client) afterEnd(ctx context.Context, r *replyMessage) error {
	if r.Reply != commandDo || r.Outcome != Done {
		return nil
	}
	fields, err := c.store.Frames(ctx, r.Execution, store.RootFrame)
	stored, ok := fields[store.RootFrame]
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) || err == nil && !ok {
		return nil
	}
	if err != nil {
		return err
	}
	var root frame
	if err := decodeJSON(c.cfg.Codec, stored, &root); err != nil {
		return &ReadError{ID: r.Execution, What: "frame", Err: err}
	}
	if root.guessed(r) {
		return &doneLate{r}
	}
	return nil
}

// orNull is JSON that may be missing.
func orNull(data json.RawMessage) json.RawMessage {
	if len(data) == 0 {
		return json.RawMessage("null")
	}
	return data
}

// HandleStart is a watermill handler for messages that start executions of the
// coordinator's sagas. It acknowledges a message once the execution is durable,
// and a repeated message too. An error that a retry cannot cure, such as an
// unknown saga or an id that is taken, has a method Permanent() bool that
// answers true: package pipeline moves such messages to the dead-letter queue.
func (c *Coordinator) HandleStart(msg *message.Message) error {
	var m startMessage
	if err := readMessage(msg.Payload, &m, &m.Waybill); err != nil {
		return Permanent(fmt.Errorf("start message %s: %w", msg.UUID, err))
	}
	switch {
	case m.ID == "":
		return Permanent(fmt.Errorf(`start message %s: "id" is empty, want an id of your own for the execution`, msg.UUID))
	case len(m.ID) > store.MaxID:
		return Permanent(fmt.Errorf("start message %s: %w", msg.UUID, store.CheckID("id", m.ID)))
	case len(m.Input) == 0:
		return Permanent(fmt.Errorf(`start message %s: "input" is missing`, msg.UUID))
	}
	def := c.names[m.Start]
	if def == nil {
		return Permanent(fmt.Errorf(`start message %s: "start" is %.100q: %w, have %s`, msg.UUID, m.Start,
			ErrUnknownDefinition, strings.Join(sortedKeys(c.names), ", ")))
	}
	var opts []StartOption
	if allowed := c.cfg.NotifyTo; m.ReplyTo != "" && len(allowed) > 0 && !slices.Contains(allowed, m.ReplyTo) {
		return Permanent(fmt.Errorf(`start message %s: "replyTo" is %.100q, want %s`, msg.UUID, m.ReplyTo, strings.Join(allowed, " or ")))
	}
	if m.ReplyTo != "" {
		opts = append(opts, NotifyTo(m.ReplyTo))
	}
	_, _, err := c.Client().start(msg.Context(), def, m.ID, m.Input, opts)
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrInvalid) {
		return Permanent(err)
	}
	return err
}

// Doorbell returns a function for ClientConfig.Ring that publishes the
// execution's id to a topic. Coordinators hear it by [Coordinator.HandleRing].
func Doorbell(publisher message.Publisher, topic string) func(context.Context, string) {
	return func(ctx context.Context, id string) {
		msg := newMessage(watermill.NewUUID(), id, []byte(id))
		msg.SetContext(ctx)
		// Nobody depends on the bell: the sweep finds what it misses.
		_ = publisher.Publish(topic, msg)
	}
}

// HandleRing is a watermill handler for what [Doorbell] publishes. What is no id is
// nothing to it.
func (c *Coordinator) HandleRing(msg *message.Message) error {
	if id := string(msg.Payload); store.CheckID("id", id) == nil && checkID(id) == nil {
		c.Ring(id)
	}
	return nil
}
