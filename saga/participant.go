package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/store"
)

// ParticipantConfig says how a participant works.
type ParticipantConfig struct {
	// Records keeps what came of commands, so that a repeat is answered and not
	// done again. All processes that take commands from one endpoint share
	// them. redisstore.Store and memstore.Store are such. Required.
	Records store.Idempotency

	// Publisher sends the replies, to the endpoints that the commands name.
	// Required.
	Publisher message.Publisher

	// Steps are what is done here: see [Serve]. Required.
	Steps []Served

	// ReplyTo lists the endpoints that replies may go to. A command that names
	// another is refused. Defaults to all that Publisher knows, which lets
	// whoever can send a command have a reply sent to any of them.
	ReplyTo []string

	// Lease is how long a command stays with a process that has died. It is
	// renewed while a handler runs, so handlers may take longer. Defaults to
	// 30 s.
	Lease time.Duration

	// Retention is how long what came of a command is kept. A repeat that comes
	// later is done again. Defaults to [store.DefaultIdempotencyRetention], 15
	// days, which tells when that is too short.
	Retention time.Duration

	// MaxCommand bounds a command, in bytes. Defaults to 1 MiB, the most that
	// SQS takes.
	MaxCommand int

	// MaxResult bounds the JSON of an action's result, in bytes: it is kept in
	// Records, goes through a queue, and into the saga's state. Defaults to
	// 256 KiB.
	MaxResult int

	// Classify says what the errors of handlers mean that say nothing by themselves,
	// and that their [Service.Classify] leaves as they are: see [Step.Classify].
	// Defaults to none.
	Classify func(error) error

	// Codec encrypts or compresses what is kept in Records. Defaults to none.
	Codec Codec

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// A Participant does steps for the sagas of other services, as commands from a
// queue tell it, and replies to them. [Remote] is the other side, and the package
// documentation tells what goes between them.
//
// [Participant.Handle] is a watermill handler; give it to a pipeline or a router.
// Any number of processes share the commands of an endpoint.
type Participant struct {
	cfg     ParticipantConfig
	records store.Once
	steps   map[string]*service
	log     *slog.Logger
}

// Bounds of what a participant reads, writes, and waits for.
const (
	defaultMaxCommand = 1 << 20
	maxKey            = 4 << 10 // bytes of a command's key, and of what is in it
	replyTimeout      = 15 * time.Second
)

// NewParticipant checks the configuration, and reports all that is wrong with
// it.
func NewParticipant(cfg ParticipantConfig) (*Participant, error) {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("saga: ParticipantConfig."+format, args...))
		}
	}
	check(cfg.Records == nil, "Records is nil")
	check(cfg.Publisher == nil, "Publisher is nil")
	check(len(cfg.Steps) == 0, "Steps is empty: there is nothing to do")
	check(cfg.Lease < 0, "Lease is %s, want it positive", cfg.Lease)
	check(cfg.Retention < 0, "Retention is %s, want it positive", cfg.Retention)
	check(cfg.MaxCommand < 0, "MaxCommand is %d, want it positive", cfg.MaxCommand)
	check(cfg.MaxResult < 0, "MaxResult is %d, want it positive", cfg.MaxResult)
	steps := make(map[string]*service)
	for i, served := range cfg.Steps {
		var s *service
		if served != nil {
			s = served.serve()
		}
		switch {
		case s == nil:
			check(true, "Steps[%d] is nil", i)
			continue
		case s.step == "":
			check(true, "Steps[%d] has no name", i)
		case s.do == nil:
			check(true, "Steps[%d], %q, has no function that does it", i, s.step)
		case steps[s.step] != nil:
			check(true, "Steps[%d]: %q is there twice", i, s.step)
		}
		steps[s.step] = s
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	setDefault(&cfg.Lease, store.DefaultClaimLease)
	setDefault(&cfg.Retention, store.DefaultIdempotencyRetention)
	setDefault(&cfg.MaxCommand, defaultMaxCommand)
	setDefault(&cfg.MaxResult, defaultMaxState)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Participant{
		cfg:     cfg,
		records: store.Once{Records: cfg.Records, Lease: cfg.Lease, Retention: cfg.Retention},
		steps:   steps,
		log:     cfg.Logger,
	}, nil
}

// Handle does what a command says, and replies. It is a watermill handler: it
// returns nil, and the command may be acknowledged, once the reply is sent.
//
// What it returns an error for is neither done nor replied to, as far as this
// process knows, and comes again as the same attempt. An error that a retry
// cannot cure has a method Permanent() bool that answers true: the message is no
// command, or one for a step that is not done here. [store.ErrBusy] is in the
// error while another process has the command, or another attempt of it.
//
// Failures of the step are replies, and no errors of Handle: the saga decides
// what comes of them, and when there is another attempt.
func (p *Participant) Handle(msg *message.Message) error {
	c, s, err := p.read(msg.Payload)
	if err != nil {
		return Permanent(fmt.Errorf("command %s: %w", msg.UUID, err))
	}
	a, err := p.settle(msg.Context(), c, s)
	if err == nil {
		err = p.reply(msg.Context(), c, a)
	}
	if err != nil {
		return fmt.Errorf("command %q, attempt %d: %w", c.Key, c.Attempt, err)
	}
	return nil
}

// read reads a command, and finds who does it.
func (p *Participant) read(payload []byte) (*command, *service, error) {
	if len(payload) > p.cfg.MaxCommand {
		return nil, nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(payload), p.cfg.MaxCommand)
	}
	c := new(command)
	if err := readMessage(payload, c, &c.Waybill); err != nil {
		return nil, nil, err
	}
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	if len(p.cfg.ReplyTo) > 0 && !slices.Contains(p.cfg.ReplyTo, c.ReplyTo) {
		return nil, nil, fmt.Errorf(`"replyTo" is %.100q, want %s`, c.ReplyTo, strings.Join(p.cfg.ReplyTo, " or "))
	}
	s := p.steps[c.Step]
	switch {
	case s == nil:
		return nil, nil, fmt.Errorf("the step %.100q is not done here, only %s", c.Step, strings.Join(sortedKeys(p.steps), ", "))
	case c.Command == commandUndo && s.undo == nil:
		return nil, nil, fmt.Errorf("the step %q is not undone here: it was served without Undo", c.Step)
	}
	return c, s, nil
}

// check reports what is missing in a command, or cannot be.
func (c *command) check() error {
	switch {
	case c.Command != commandDo && c.Command != commandUndo:
		return fmt.Errorf(`"command" is %.100q, want "do" or "undo"`, c.Command)
	case c.Execution == "" || c.Definition == "" || c.Step == "":
		return errors.New(`"execution", "definition" and "step" are required, and one is missing`)
	case c.Visit < 1 || c.Attempt < 1 || c.Attempt >= store.LastAttempt:
		return fmt.Errorf(`"visit" is %d and "attempt" is %d, want 1 or more`, c.Visit, c.Attempt)
	case c.NotAfter < 1:
		return fmt.Errorf(`"notAfter" is %d, want milliseconds since 1970`, c.NotAfter)
	case len(c.Input) == 0:
		return errors.New(`"input" is missing`)
	case excess(c.Input, 0) != "":
		return fmt.Errorf(`"input" %s`, excess(c.Input, 0))
	case c.ReplyTo == "":
		return errors.New(`"replyTo" is empty, want the endpoint of the reply`)
	case c.Command == commandUndo && c.Outcome != Done && c.Outcome != Unknown:
		return fmt.Errorf(`"outcome" of what is to be undone is %.100q, want %q or %q`, c.Outcome, Done, Unknown)
	}
	for name, key := range map[string]string{"key": c.Key, "undoes": c.Undoes} {
		if name == "undoes" && c.Command == commandDo {
			continue
		}
		if key == "" || len(key) > maxKey {
			return fmt.Errorf("%q has %d bytes, want 1 to %d", name, len(key), maxKey)
		}
		if err := checkID(key); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// reply sends what came of a command. It is late in Handle, and is tried though
// the message's context has ended: the reply is on record already.
func (p *Participant) reply(ctx context.Context, c *command, a *answer) error {
	body, err := json.Marshal(replyMessage{
		Waybill: messageFormat, Reply: c.Command, Key: c.Key, Execution: c.Execution, Frame: c.Frame, Step: c.Step,
		Visit: c.Visit, Attempt: c.Attempt, Commit: c.Commit,
		Outcome: a.Outcome, Result: a.Result, Error: a.Name, Cause: a.Cause, Permanent: a.Permanent,
	})
	if err != nil {
		return fmt.Errorf("encode the reply: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replyTimeout)
	defer cancel()
	id := fmt.Sprint(c.Key, "/", c.Attempt, "/", strings.ReplaceAll(string(a.Outcome), " ", "-"))
	msg := newMessage(id, groupOf(c.Execution, c.Frame), body)
	msg.SetContext(ctx)
	if err := p.cfg.Publisher.Publish(c.ReplyTo, msg); err != nil {
		return fmt.Errorf("reply to %q: %w", c.ReplyTo, err)
	}
	return nil
}
