package saga

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/store"
)

// ClientConfig says which executions a client talks to.
type ClientConfig struct {
	// Store keeps the executions. Required.
	Store Store
	// Codec is that of the coordinators.
	Codec Codec
	// MaxState bounds the JSON of an input, in bytes, as the coordinators' does.
	// Defaults to 256 KiB.
	MaxState int
	// EarlySignals is how long a signal waits for an execution that is not there
	// yet: see [Client.Signal]. Defaults to an hour; negative is no time.
	EarlySignals time.Duration
	// Ring, if set, is called with the id of an execution that has something
	// new to do: a way to tell coordinators in other processes at once what
	// their sweep finds out within a second. [Doorbell] makes one of a
	// watermill Publisher. Its errors do not matter.
	Ring func(ctx context.Context, id string)
}

// A Client starts executions, asks for them and gives them orders. It needs no
// coordinator in its process; [Coordinator.Client] returns one that is faster
// by having one.
type Client struct {
	cfg         ClientConfig
	store       Store
	coordinator *Coordinator // may be nil
}

// NewClient returns a client.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Store == nil {
		return nil, errors.New("saga: ClientConfig.Store is nil")
	}
	if cfg.MaxState < 0 {
		return nil, fmt.Errorf("saga: ClientConfig.MaxState is %d, want it positive", cfg.MaxState)
	}
	setDefault(&cfg.MaxState, defaultMaxState)
	setDefault(&cfg.EarlySignals, defaultEarlySignals)
	return &Client{cfg: cfg, store: cfg.Store}, nil
}

// Client returns a client whose executions this coordinator runs, while it has
// room for them and runs itself. So it does those that the client has something to
// say to, at once and at the cost of one script less, if nobody else holds them.
func (c *Coordinator) Client() *Client {
	cfg := ClientConfig{Store: c.store, Codec: c.cfg.Codec, MaxState: c.cfg.MaxState, EarlySignals: c.cfg.EarlySignals}
	return &Client{cfg: cfg, store: c.store, coordinator: c}
}

// A StartOption is a wish about one execution.
type StartOption func(*startOptions)

type startOptions struct {
	replyTo string
	delay   time.Duration
	parent  *parentRef
	pivoted bool
}

// NotifyTo makes the coordinator publish a notice to an endpoint when the
// execution has ended. It is delivered at least once; its message id is the
// execution's with ".end".
func NotifyTo(endpoint string) StartOption {
	return func(o *startOptions) { o.replyTo = endpoint }
}

// After delays the first step. The saga's own time begins with that step.
func After(d time.Duration) StartOption {
	return func(o *startOptions) { o.delay = max(d, 0) }
}

// start starts an execution, and reports whether this call created it and
// whether it is open in this process.
func (c *Client) start(ctx context.Context, def *Definition, id string, input []byte, opts []StartOption) (created, here bool, err error) {
	var options startOptions
	for _, opt := range opts {
		opt(&options)
	}
	input, err = def.decode(input)
	if err != nil {
		return false, false, Permanent(fmt.Errorf("start %q of saga %q: input: %w", id, def.name, err))
	}
	if err := checkState("", input, c.cfg.MaxState); err != nil {
		return false, false, fmt.Errorf("start %q of saga %q: %w", id, def.name, err)
	}
	if err := checkID(id); err != nil {
		return false, false, fmt.Errorf("start of saga %q: %w", def.name, err)
	}
	r, b, err := c.startRequest(def, id, input, options)
	if err != nil {
		return false, false, fmt.Errorf("start %q: %w", id, err)
	}
	k := c.coordinator
	if k != nil && k.defs[definitionKey{def.name, def.version}] == def && options.delay == 0 && k.take() {
		return c.startHere(ctx, def, input, r, b)
	}
	result, err := c.store.Start(ctx, r)
	if err == nil {
		c.ring(ctx, id)
	}
	return result.Created, false, c.sameStart(ctx, def, id, input, err)
}

// sameStart forgives a start that the store refused because the input differs,
// if it is the same to this process: another release's T, with a field more or
// less, wrote it otherwise.
func (c *Client) sameStart(ctx context.Context, def *Definition, id string, input []byte, err error) error {
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	r, getErr := c.store.Get(ctx, id)
	if getErr != nil {
		return err
	}
	var m meta
	if decodeErr := decodeJSON(c.cfg.Codec, r.Meta, &m); decodeErr != nil || m.Definition != def.name {
		return err
	}
	if there, decodeErr := def.decode(m.Input); decodeErr != nil || !bytes.Equal(there, input) {
		return err
	}
	return nil
}

// checkID refuses ids that nobody could type, or read in a log.
func checkID(id string) error {
	if !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return Permanent(fmt.Errorf("the id %.100q has control characters, or is no UTF-8: %w", id, store.ErrInvalid))
	}
	return nil
}

func (c *Client) startRequest(def *Definition, id string, input []byte, options startOptions) (store.StartRequest, *beginning, error) {
	m := begin(def, input)
	m.root.Pivoted = options.pivoted
	b := &beginning{root: m.root, meta: meta{
		Definition: def.name, Version: def.version, Input: input, ReplyTo: options.replyTo,
		Delay: options.delay.Milliseconds(), Parent: options.parent, Part: def.part,
	}}
	r := store.StartRequest{
		ID:     id,
		Match:  def.name + "/" + digest(input),
		Status: string(Running),
		Index:  b.meta.index(Running),
		Commit: newID(),
		Wake:   options.delay,
	}
	if p := options.parent; p != nil { // it is nobody else's
		r.Match += "/" + digest([]byte(p.Execution))
	}
	var err error
	if r.Meta, err = encodeJSON(c.cfg.Codec, b.meta); err != nil {
		return r, nil, err
	}
	if r.Root, err = encodeJSON(c.cfg.Codec, m.root); err != nil {
		return r, nil, err
	}
	// The time is the start's, on the store's clock, which is not known yet.
	r.History, err = encodeEntry(c.cfg.Codec, time.Time{}, m.events, nil)
	m.committed()
	return r, b, err
}

// startHere starts an execution and opens it in the same call, in the slot that
// the caller took.
func (c *Client) startHere(ctx context.Context, def *Definition, input []byte, r store.StartRequest, b *beginning) (created, here bool, err error) {
	k := c.coordinator
	r.Nonce, r.Lease = newID(), k.cfg.Lease
	sent := time.Now()
	result, err := c.store.Start(ctx, r)
	if err != nil || !result.Opened {
		k.give()
		return result.Created, false, c.sameStart(ctx, def, r.ID, input, err)
	}
	o := &store.Opening{
		Lease: store.Lease{ID: r.ID, Epoch: 1, Nonce: r.Nonce}, Now: result.Now, Started: result.Now,
		Commit: r.Commit, Openings: 1, Status: r.Status, Match: r.Match, Index: r.Index, Meta: r.Meta, Root: r.Root,
		Mailbox: result.Mailbox, // signals that came before
	}
	go k.run(o, sent, b)
	return true, true, nil
}

func digest(input []byte) string {
	sum := sha256.Sum256(input)
	return hex.EncodeToString(sum[:16])
}

// ring tells a coordinator about an execution.
func (c *Client) ring(ctx context.Context, id string) {
	if c.coordinator != nil {
		c.coordinator.Ring(id)
	}
	if c.cfg.Ring != nil {
		c.cfg.Ring(ctx, id)
	}
}

// An Order is what an operator gives with an instruction, for the history.
type Order struct {
	By   string // who gives it
	Note string // why
}

// Cancel asks for an execution to be undone. What is being done right now is
// awaited first. An execution past its pivot refuses, and one that is being
// undone goes on; either is noted in its history. It is an error if the
// execution has ended or is not there.
func (c *Client) Cancel(ctx context.Context, id string, o Order) error {
	return c.post(ctx, id, mail{Kind: mailCancel, By: o.By, Note: o.Note})
}

// Retry lets a blocked execution try again where it is blocked, with a fresh
// count of attempts, and one that waits between attempts try at once.
func (c *Client) Retry(ctx context.Context, id string, o Order) error {
	return c.post(ctx, id, mail{Kind: mailRetry, By: o.By, Note: o.Note})
}

// Terminate ends an execution where it stands. Nothing is undone: [Client.Cancel]
// is what undoes. The contexts of handlers that are at work end when the coordinator
// hears of it, within a third of its lease, and what they answer is not heard.
func (c *Client) Terminate(ctx context.Context, id string, o Order) error {
	return c.post(ctx, id, mail{Kind: mailTerminate, By: o.By, Note: o.Note})
}

// Suspend stops an execution, and the children that it waits for: handlers that
// run may finish and are heard, as are replies and completions, and nothing more
// begins. The clocks of its steps and of the saga stand still until
// [Client.Resume]; signals are kept, orders are followed.
func (c *Client) Suspend(ctx context.Context, id string, o Order) error {
	return c.post(ctx, id, mail{Kind: mailSuspend, By: o.By, Note: o.Note})
}

// Resume lets a suspended execution go on, and the children that were suspended
// with it.
func (c *Client) Resume(ctx context.Context, id string, o Order) error {
	return c.post(ctx, id, mail{Kind: mailResume, By: o.By, Note: o.Note})
}

func (c *Client) post(ctx context.Context, id string, m mail) error {
	body, err := encodeMail(c.cfg.Codec, m)
	if err != nil {
		return fmt.Errorf("%s %q: %w", m.Kind, id, err)
	}
	_, err = c.deliver(ctx, store.PostRequest{
		ID: id, MailID: newID(), Body: body, Limit: mailboxLimit + operatorHeadroom,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", m.Kind, err)
	}
	return nil
}

// newID returns a name for a lease, a commit or a mail: 80 random bits. Each
// execution keeps two of them for as long as it lives, so they are short.
func newID() string { return rand.Text()[:16] }
