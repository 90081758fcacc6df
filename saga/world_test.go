package saga_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A world is a store with a provider, and workers that come and go.
type world struct {
	*testing.T
	scenario *scenario
	store    *memstore.Store
	provider *provider
	client   *saga.Client // of a process without a coordinator
	def      *saga.Definition
	bell     *bell
	begun    time.Time
	service  *service
	faults   func(storetest.Call) storetest.Fault // of worker one's messages

	errands errands // of those outside
	rested  bool    // frames were left folded, as far as look has seen

	mu      sync.Mutex
	workers map[string]*worker
	first   *worker
}

type worker struct {
	coordinator *saga.Coordinator
	client      *saga.Client
	saga        *saga.Saga[trip]
	stop        context.CancelFunc
	done        chan error
}

func newWorld(t *testing.T) *world {
	st := memstore.New(memstore.Config{Partitions: 8})
	client, err := saga.NewClient(saga.ClientConfig{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: st, provider: newProvider(st), client: client, bell: &bell{}, begun: time.Now(), workers: make(map[string]*worker)}
	w.service = newService(w)
	w.provider.person = &person{world: w, asked: make(map[string]bool)}
	t.Cleanup(func() {
		w.errands.Wait()
		for name := range w.workers {
			w.stop(name)
		}
	})
	return w
}

// work starts a worker on a store, which may be faulty.
func (w *world) work(name string, st saga.Store) {
	s := w.scenario.saga(w.provider, name)
	out := wire{world: w}
	if name == "one" {
		out.fault = w.faults
	}
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Name: name, Sagas: []saga.Definer{s}, Publisher: out, ReplyTo: "replies",
		Logger: slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &worker{coordinator: c, client: c.Client(), saga: s, stop: cancel, done: make(chan error, 1)}
	w.mu.Lock()
	w.workers[name], w.def = k, s.Definition()
	if w.first == nil {
		w.first = k
	}
	w.mu.Unlock()
	go func() { k.done <- c.Run(ctx) }()
	synctest.Wait()
}

// stop ends a worker, which must come to its end in an orderly way.
func (w *world) stop(name string) {
	w.mu.Lock()
	k := w.workers[name]
	delete(w.workers, name)
	w.mu.Unlock()
	if k == nil {
		return
	}
	k.stop()
	if err := <-k.done; err != nil {
		w.Errorf("coordinator %s: %v", name, err)
	}
}

// start starts the saga in worker one, and anywhere else if that fails.
func (w *world) start() {
	one := w.first // which may be dead already
	_, err := one.saga.Start(w.Context(), one.client, "1", trip{}, w.scenario.start...)
	for err != nil {
		time.Sleep(time.Second)
		_, err = one.saga.Start(w.Context(), w.client, "1", trip{}, w.scenario.start...)
	}
}

// wait waits until the execution has ended or is blocked. It looks rarely: some
// thousand worlds make a minute of processor time out of less.
func (w *world) wait() *saga.Execution {
	pause := 5 * time.Second
	if w.scenario.folds {
		pause = 2 * time.Second
	}
	for range 1000 {
		if w.look() != saga.Running {
			break
		}
		time.Sleep(pause)
	}
	x, err := w.client.Get(w.Context(), "1")
	if err != nil {
		w.Fatal(err)
	}
	return x
}

// look looks at the record.
func (w *world) look() saga.Status {
	r, err := w.store.Get(w.Context(), "1")
	if err != nil {
		w.Fatal(err)
	}
	w.rested = w.rested || rests(r)
	return saga.Status(r.Status)
}

func (w *world) retryWhenBlocked() {
	for x := w.wait(); x.Status == saga.Blocked; x = w.wait() {
		if err := w.client.Retry(w.Context(), "1", saga.Order{By: "ann"}); err != nil {
			w.Error(err)
		}
		time.Sleep(time.Minute)
	}
}

func (w *world) editWhenBlocked() {
	for x := w.wait(); x.Status == saga.Blocked; x = w.wait() {
		for range 2 { // the second may come too late
			err := w.client.RetryWith(w.Context(), "1", saga.Edit{Input: mended, ConfirmUnknown: true}, saga.Order{By: "ann"})
			if err != nil && !errors.Is(err, saga.ErrNotBlocked) && !errors.Is(err, store.ErrEnded) {
				w.Error(err)
			}
		}
		time.Sleep(time.Minute)
	}
}

func (w *world) cancelAfter(d time.Duration) {
	time.Sleep(d)
	if err := w.client.Cancel(w.Context(), "1", saga.Order{By: "ann"}); err != nil && !errors.Is(err, store.ErrEnded) {
		w.Error(err)
	}
}

// signalAfter sends the signal "go".
func (w *world) signalAfter(d time.Duration) {
	time.Sleep(d)
	if err := w.handle([]byte(`{"waybill": 1, "signal": "go", "execution": "1", "id": "s", "payload": 7}`)); err != nil && !errors.Is(err, store.ErrEnded) {
		w.Error(err)
	}
}

// A bell is a Publisher that counts.
type bell struct {
	mu       sync.Mutex
	messages []*message.Message
	topics   []string
	fail     func(n int) error // of the nth call, from 1 on
	calls    int
}

func (b *bell) Publish(topic string, messages ...*message.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.fail != nil {
		if err := b.fail(b.calls); err != nil {
			return err
		}
	}
	for _, m := range messages {
		b.messages, b.topics = append(b.messages, m), append(b.topics, topic)
	}
	return nil
}

func (b *bell) Close() error { return nil }

func (b *bell) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.messages)
}

// logHistory shows the history of execution 1.
func logHistory(t *testing.T, c *saga.Client) {
	t.Helper()
	h, err := c.History(t.Context(), "1")
	if err != nil {
		t.Error(err)
	}
	for _, e := range h {
		t.Logf("%3d %s %s %s %s %d %s %s", e.ID, e.Time.Format("04:05.000"), e.Type, e.Frame, e.Step, e.Attempt, e.Outcome, e.Error)
	}
}

// errands are goroutines that may begin while others are awaited.
type errands struct {
	mu sync.Mutex
	n  int
}

func (e *errands) Go(f func()) {
	e.add(1)
	go func() {
		defer e.add(-1)
		f()
	}()
}

func (e *errands) add(n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n += n
	return e.n
}

// Wait waits until there is none, in a bubble's time.
func (e *errands) Wait() {
	for e.add(0) > 0 {
		time.Sleep(time.Second)
	}
}
