package saga

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/store"
)

// Store is what a coordinator keeps executions in; redisstore.Store and
// memstore.Store are.
type Store interface {
	store.Executions
	store.Definitions
	store.Members
	store.Locks
}

// CoordinatorConfig says how a coordinator works.
type CoordinatorConfig struct {
	// Store keeps the executions. Required.
	Store Store

	// Sagas are the definitions that this process has the code for. Executions
	// of others are left to other coordinators. Required.
	Sagas []Definer

	// Name tells this coordinator from others in the store. Defaults to a
	// random one.
	Name string

	// Concurrency is how many executions are open at once. Defaults to 100.
	Concurrency int

	// Lease is how long an execution stays with a coordinator that has died.
	// It is renewed while handlers run, so handlers may take longer. At least
	// 100 ms. Defaults to 30 s.
	Lease time.Duration

	// Sweep is how often the coordinator looks for executions whose wake-up
	// has come, and so how late a wait may end. Defaults to 1 s.
	Sweep time.Duration

	// Drain is how long Run waits for running handlers after its context has
	// ended, before it ends theirs. Handlers that do not heed that hold Run up
	// for a lease more. Defaults to 20 s.
	Drain time.Duration

	// Retention is how long an execution is kept after its end. Defaults to 7
	// days.
	Retention time.Duration

	// Tombstone is how long its id cannot be used again after that. It must be
	// longer than a message that starts the execution may wait on its queue.
	// Defaults to 15 days.
	Tombstone time.Duration

	// NotifyTo lists the endpoints that start messages may name as their replyTo.
	// A message that names another is refused. Defaults to all that Publisher
	// knows, which lets whoever can send a start have a notice sent to any of them.
	NotifyTo []string

	// MaxState bounds the JSON of a state, in bytes. Defaults to 256 KiB. It has at
	// most 1,000 levels in any case.
	MaxState int

	// EarlySignals is how long a signal that comes by this coordinator waits for
	// an execution that is not there yet: see [Client.Signal]. Defaults to an hour;
	// negative is no time.
	EarlySignals time.Duration

	// MaxOpenings is how many openings in a row may end without a commit, and
	// how many attempts in a row of one step without an answer, before the
	// execution is blocked, because it kills its workers. Defaults to 5.
	MaxOpenings int

	// Publisher sends commands to participants, and the notices of executions
	// that were started with [NotifyTo]; it may be nil where there are none. A
	// coordinator without one leaves notices to others, and they wait.
	Publisher message.Publisher

	// ReplyTo is the endpoint that participants reply to: see [Remote]. Its
	// messages are for [Coordinator.HandleMessage]. Required where a saga has
	// Remote steps.
	ReplyTo string

	// Classify says what the errors of handlers mean that say nothing by themselves,
	// and that their steps' own Classify leaves as they are: see [Step.Classify].
	// Defaults to none.
	Classify func(error) error

	// Codec encrypts or compresses state and history. All processes that share
	// a namespace need the same. Defaults to none.
	Codec Codec

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// A Coordinator runs executions. Any number of them share one store.
type Coordinator struct {
	cfg   CoordinatorConfig
	store Store
	log   *slog.Logger
	defs  map[definitionKey]*Definition
	names map[string]*Definition // the definition that a name starts

	slots chan struct{} // one taken for each open execution
	kick  chan struct{} // tells the sweeper not to wait
	ready chan struct{} // closed when Run takes executions on
	drain chan struct{} // closed when Run is to end

	background context.Context // of calls to the store; ends when Run gives up on what is open
	cut        context.CancelFunc
	handlers   context.Context // ends when draining has taken too long
	stop       context.CancelFunc

	mu      sync.Mutex
	started bool
	open    bool // takes executions on
	members *members
	actors  sync.WaitGroup
	running sync.WaitGroup // handlers
	busy    busy           // what they run for

	waiters   waiters
	missing   sync.Map // definitionKey -> struct{}: reported already
	strangers strangers
	puzzles   puzzles
}

type definitionKey struct{ name, version string }

// NewCoordinator checks the configuration and the sagas, and reports all that is
// wrong with them. Nothing runs before [Coordinator.Run].
func NewCoordinator(cfg CoordinatorConfig) (*Coordinator, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Coordinator{
		cfg:   cfg,
		store: cfg.Store,
		log:   cfg.Logger.With("coordinator", cfg.Name),
		defs:  make(map[definitionKey]*Definition),
		names: make(map[string]*Definition),
		slots: make(chan struct{}, cfg.Concurrency),
		kick:  make(chan struct{}, 1),
		ready: make(chan struct{}),
		drain: make(chan struct{}),
	}
	c.background, c.cut = context.WithCancel(context.Background())
	c.handlers, c.stop = context.WithCancel(context.Background())
	var errs []error
	var given []*Definition
	for i, s := range cfg.Sagas {
		var d *Definition
		var err error
		if s != nil {
			d, err = s.definition()
		}
		if d == nil {
			err = fmt.Errorf("saga: CoordinatorConfig.Sagas[%d] is nil", i)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		key := definitionKey{d.name, d.version}
		if c.defs[key] != nil {
			errs = append(errs, fmt.Errorf("saga %q is registered twice", d.name))
		}
		// Of several versions the last one given is started; the others go on.
		c.defs[key], c.names[d.name] = d, d
		given = append(given, d)
	}
	for _, d := range given {
		errs = append(errs, c.family(d)...)
	}
	for _, d := range c.defs {
		if d.remote(d.root) && (cfg.ReplyTo == "" || cfg.Publisher == nil) {
			errs = append(errs, fmt.Errorf("saga %q has steps that are done elsewhere: set CoordinatorConfig.Publisher and ReplyTo", d.name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

func (cfg *CoordinatorConfig) complete() error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("saga: CoordinatorConfig."+format, args...))
		}
	}
	check(cfg.Store == nil, "Store is nil")
	check(len(cfg.Sagas) == 0, "Sagas is empty: there is nothing to run")
	check(cfg.Concurrency < 0, "Concurrency is %d, want it positive", cfg.Concurrency)
	check(cfg.Lease != 0 && cfg.Lease < 100*time.Millisecond, "Lease is %s, want at least 100ms", cfg.Lease)
	check(cfg.MaxState < 0, "MaxState is %d, want it positive", cfg.MaxState)
	check(cfg.MaxOpenings < 0, "MaxOpenings is %d, want it positive", cfg.MaxOpenings)
	for name, d := range map[string]time.Duration{
		"Sweep": cfg.Sweep, "Drain": cfg.Drain, "Retention": cfg.Retention, "Tombstone": cfg.Tombstone,
	} {
		check(d < 0, "%s is %s, want it positive", name, d)
	}
	setDefault(&cfg.Name, "coordinator-"+rand.Text()[:10])
	setDefault(&cfg.Concurrency, 100)
	setDefault(&cfg.Lease, 30*time.Second)
	setDefault(&cfg.Sweep, time.Second)
	setDefault(&cfg.Drain, 20*time.Second)
	setDefault(&cfg.Retention, 7*24*time.Hour)
	setDefault(&cfg.Tombstone, 15*24*time.Hour)
	setDefault(&cfg.MaxState, defaultMaxState)
	setDefault(&cfg.EarlySignals, defaultEarlySignals)
	setDefault(&cfg.MaxOpenings, 5)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return errors.Join(errs...)
}

const (
	defaultMaxState     = 256 << 10
	defaultEarlySignals = time.Hour
)

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run registers the definitions in the store, which a [VersionError] may refuse,
// and runs executions until the
// context ends. Then it takes on nothing more, lets running handlers finish for
// CoordinatorConfig.Drain, commits, and gives every lease back. Handlers that
// take longer see their contexts end, and have as long again as a lease. Those
// that do not heed that are left behind and named in the error; their executions
// go on elsewhere when their leases expire, and what they answer is lost.
//
// A coordinator runs once.
func (c *Coordinator) Run(ctx context.Context) error {
	if err := c.register(ctx); err != nil {
		return unlessStopped(ctx, err)
	}
	c.mu.Lock()
	if c.started {
		c.mu.Unlock()
		return errors.New("saga: a coordinator runs once")
	}
	c.started = true
	c.mu.Unlock()
	defer c.stop()

	members, err := newMembers(ctx, c)
	if err != nil {
		if err = unlessStopped(ctx, err); err == nil {
			members.leave() // the store may have heard it
		}
		return err
	}
	c.mu.Lock()
	c.open, c.members = true, members
	c.mu.Unlock()
	close(c.ready)
	var loops sync.WaitGroup
	loops.Go(func() { members.run(ctx) })
	loops.Go(func() { c.sweep(ctx, members) })
	<-ctx.Done()

	c.mu.Lock()
	c.open = false
	c.mu.Unlock()
	close(c.drain)
	loops.Wait()
	return c.finish()
}

// unlessStopped is an error that the end of the context does not explain: to be
// stopped before it has begun is an end in order.
func unlessStopped(ctx context.Context, err error) error {
	refused := (*VersionError)(nil)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.As(err, &refused) {
		return nil
	}
	return err
}

// Ready returns a channel that is closed once [Coordinator.Run] has registered
// the definitions and takes executions on.
func (c *Coordinator) Ready() <-chan struct{} { return c.ready }

// finish waits for what is open.
func (c *Coordinator) finish() error {
	done := make(chan struct{})
	go func() {
		c.actors.Wait()
		c.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(c.cfg.Drain):
	}
	c.stop()
	select {
	case <-done:
		return nil
	case <-time.After(c.cfg.Lease):
	}
	c.cut()
	return fmt.Errorf("saga: coordinator %s: handlers still run %s after their contexts ended: %s",
		c.cfg.Name, c.cfg.Lease, c.stillBusy())
}

// busy is what handlers are at work for.
type busy struct {
	mu    sync.Mutex
	infos map[*StepInfo]struct{}
}

func (b *busy) add(i *StepInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.infos == nil {
		b.infos = make(map[*StepInfo]struct{})
	}
	b.infos[i] = struct{}{}
}

func (b *busy) remove(i *StepInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.infos, i)
}

// each calls yield for each of them, until it returns false.
func (b *busy) each(yield func(*StepInfo) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.infos {
		if !yield(i) {
			return
		}
	}
}

// stillBusy names some of the handlers that run.
func (c *Coordinator) stillBusy() string {
	const most = 10
	var names []string
	c.busy.each(func(info *StepInfo) bool {
		name := fmt.Sprintf("%s of %q", info.Step, info.Execution)
		if info.Undo {
			name = "the undo of " + name
		}
		names = append(names, name)
		return len(names) < most
	})
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (c *Coordinator) draining() bool {
	select {
	case <-c.drain:
		return true
	default:
		return false
	}
}

// take takes a slot, and enters the caller as an actor that finish waits for.
// It reports false where none is free, or the coordinator drains.
func (c *Coordinator) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return false
	}
	select {
	case c.slots <- struct{}{}:
		c.actors.Add(1)
		return true
	default:
		return false
	}
}

// takeWhenFree waits for a slot and takes it. It reports false when the context
// has ended or the coordinator drains.
func (c *Coordinator) takeWhenFree(ctx context.Context) bool {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		<-c.slots
		return false
	}
	c.actors.Add(1)
	return true
}

// give gives the slot back.
func (c *Coordinator) give() {
	<-c.slots
	c.actors.Done()
	c.wake()
}

// wake tells the sweeper to look now.
func (c *Coordinator) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Ring tells the coordinator that an execution has something to do. Without it
// the sweeper finds the execution within CoordinatorConfig.Sweep. It returns
// at once.
func (c *Coordinator) Ring(id string) {
	if c.take() {
		c.spawn(id, newID())
	}
}

// spawn opens an execution, under a nonce, and runs it in the slot that the caller
// took.
func (c *Coordinator) spawn(id, nonce string) {
	go c.openAndRun(id, nonce)
}
