package saga_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// run runs a coordinator; the returned function ends it and gives Run's error.
func run(t *testing.T, cfg saga.CoordinatorConfig) (*saga.Coordinator, func() error) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	c, err := saga.NewCoordinator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	synctest.Wait()
	return c, sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// A logBuffer keeps what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestRunRegistersDefinitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		one := saga.New("one", saga.Do("A", nothing))
		old, two := saga.New("two", saga.Do("A", nothing)), saga.New("two", saga.Do("B", nothing))
		_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{one, old, two}})
		for _, d := range []*saga.Definition{one.Definition(), old.Definition(), two.Definition()} {
			graph, err := st.Definition(t.Context(), d.Name(), d.Version())
			want, _ := d.MarshalJSON()
			if err != nil || !bytes.Equal(graph, want) {
				t.Errorf("%s %s is registered as %s (%v), want %s", d.Name(), d.Version(), graph, err, want)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// slowToJoin is a store whose heartbeat waits.
type slowToJoin struct {
	saga.Store
	join chan struct{}
}

func (s slowToJoin) Heartbeat(ctx context.Context, worker string, d time.Duration) ([]string, error) {
	<-s.join
	return s.Store.Heartbeat(ctx, worker, d)
}

// What starts once the coordinator is ready is opened by the script that starts
// it.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		def := saga.New("one", saga.Do("A", nothing))
		st := slowToJoin{memstore.New(memstore.Config{}), make(chan struct{})}
		c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}})
		select {
		case <-c.Ready():
			t.Error("it is ready before it has a share")
		default:
		}
		close(st.join)
		<-c.Ready()
		begun := time.Now()
		if _, err := def.Run(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("the saga waited %s to be found", took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestRunFails(t *testing.T) {
	for op, want := range map[string]string{"Definition": `register saga "trip"`, "PutDefinition": `register saga "trip"`, "Heartbeat": ""} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := saga.New("trip", saga.Do("A", nothing))
				st := memstore.New(memstore.Config{})
				faulty := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
					if c.Op == op {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				})
				c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: faulty, Sagas: []saga.Definer{s}})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Run(t.Context()); !errors.Is(err, storetest.ErrInjected) || !strings.Contains(err.Error(), want) {
					t.Errorf("Run: %v", err)
				}
				// It does not take on what nobody would wait for.
				if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if x, err := c.Client().Get(t.Context(), "1"); err != nil || !x.HeldUntil.IsZero() {
					t.Errorf("a coordinator that does not run holds %+v (%v)", x, err)
				}
			})
		})
	}
}

func TestRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", nothing))
		c, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
		for range 2 {
			if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "runs once") {
				t.Errorf("a second Run: %v", err)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

// An execution of a version that a coordinator does not have is left alone: it
// is neither run nor counted as an opening, and goes on with one who has it.
func TestUnknownVersionIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		old := saga.New("trip", saga.Do("A", nothing))
		current := saga.New("trip", saga.Do("B", func(context.Context, *trip) error {
			t.Error("the new version's step ran")
			return nil
		}))
		client, err := saga.NewClient(saga.ClientConfig{Store: st})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		var log logBuffer
		var openings atomic.Int64
		counted := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			if c.Op == "Open" {
				openings.Add(1)
			}
			return storetest.Fault{}
		})
		_, stop := run(t, saga.CoordinatorConfig{
			Store: counted, Sagas: []saga.Definer{current}, MaxOpenings: 2,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		time.Sleep(time.Hour)
		x, err := client.Get(t.Context(), "1")
		if err != nil || x.Status != saga.Running || x.Version != old.Definition().Version() || !x.HeldUntil.IsZero() {
			t.Errorf("after an hour with another version: %+v (%v)", x, err)
		}
		if got := openings.Load(); got > 150 {
			t.Errorf("it was opened %d times in an hour for nothing", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := strings.Count(log.String(), "definition that this process does not have"); got != 1 {
			t.Errorf("it was reported %d times, want once:\n%s", got, log.String())
		}
		_, stop = run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{current, old}})
		if x, err = client.Wait(t.Context(), "1"); err != nil || x.Status != saga.Completed {
			t.Errorf("with its own version: %+v (%v)", x, err)
		}
		h, err := client.History(t.Context(), "1")
		if err != nil || len(h) != 6 {
			t.Errorf("the wait left traces: %+v (%v)", h, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Of several versions the last one given is started, and the others go on.
func TestVersionsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var j journal
		old, current := saga.New("trip", saga.Do("Old", j.do("Old"))), saga.New("trip", saga.Do("New", j.do("New")))
		client, err := saga.NewClient(saga.ClientConfig{Store: st})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{old, current}})
		if err := c.HandleStart(startMessage(`{"waybill":1,"start":"trip","id":"2","input":{}}`)); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]string{"1": old.Definition().Version(), "2": current.Definition().Version()} {
			if x, err := client.Wait(t.Context(), id); err != nil || x.Version != want || x.Status != saga.Completed {
				t.Errorf("%s: %+v (%v), want version %s", id, x, err, want)
			}
		}
		if got := j.all(); len(got) != 2 || !slices.Contains(got, "do Old") || !slices.Contains(got, "do New") {
			t.Errorf("%q", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A frame that does not fit its definition is left alone, with an error in the
// log, and takes no worker down.
func TestDamagedFrameIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", nothing))
		client, err := saga.NewClient(saga.ClientConfig{Store: st})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		o, err := st.Open(t.Context(), store.OpenRequest{ID: "1", Nonce: "n", Lease: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Commit(t.Context(), &store.Commit{
			Lease: o.Lease, Previous: o.Commit, CommitID: "c", Next: store.Park, Wake: time.Now(),
			Set: map[string][]byte{store.RootFrame: []byte(`{"s":"Nobody","e":1}`)},
		}); err != nil {
			t.Fatal(err)
		}
		var log logBuffer
		c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Minute)
		if !strings.Contains(log.String(), `the frame is at step \"Nobody\", which saga \"trip\" does not have`) {
			t.Errorf("the log says\n%s", log.String())
		}
		if _, err := s.Run(t.Context(), c.Client(), "2", trip{}); err != nil {
			t.Errorf("others do not run: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
