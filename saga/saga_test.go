package saga_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A trip is the state of the sagas that tests run.
type trip struct {
	Log []string
}

// A journal collects what handlers did, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) do(name string) saga.Action[trip] {
	return func(ctx context.Context, s *trip) error {
		j.add("do %s", name)
		s.Log = append(s.Log, name)
		return nil
	}
}

func (j *journal) undo(name string) saga.Compensation[trip] {
	return func(ctx context.Context, s *trip, outcome saga.Outcome) error {
		j.add("undo %s %s %v", name, outcome, s.Log)
		return nil
	}
}

func (j *journal) fail(name string, err error) saga.Action[trip] {
	return func(ctx context.Context, s *trip) error {
		j.add("fail %s", name)
		s.Log = append(s.Log, "half "+name)
		return err
	}
}

var errRefused = saga.Permanent(errors.New("refused"))

// coordinate runs a coordinator for the sagas until the test ends.
func coordinate(t *testing.T, cfg saga.CoordinatorConfig) *saga.Client {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = memstore.New(memstore.Config{})
	}
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
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("coordinator: %v", err)
		}
	})
	synctest.Wait()
	return c.Client()
}

// logTo makes a logger that writes text.
func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// count counts events of a type in an execution's history.
func count(t *testing.T, c *saga.Client, id string, of saga.EventType) (n int) {
	t.Helper()
	h, err := c.History(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h {
		if e.Type == of {
			n++
		}
	}
	return n
}

// goexit ends the goroutine.
func goexit() { runtime.Goexit() }

func TestCompletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", j.do("B")).Undo(j.undo("B")),
			saga.Do("C", j.do("C")),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		got, err := s.Run(t.Context(), c, "1", trip{})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"A", "B", "C"}; !slices.Equal(got.Log, want) {
			t.Errorf("state %v, want %v", got.Log, want)
		}
	})
}

func TestUndoesInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip",
			saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("B", j.do("B")).Undo(j.undo("B")),
			saga.Do("C", j.fail("C", errRefused)).Undo(j.undo("C")),
			saga.Do("D", j.do("D")),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", trip{})
		if !errors.Is(err, saga.ErrCompensated) {
			t.Fatalf("error %v, want ErrCompensated", err)
		}
		want := []string{"do A", "do B", "fail C", "undo B done [A B]", "undo A done [A]"}
		if got := j.all(); !slices.Equal(got, want) {
			t.Errorf("handlers ran\n%q, want\n%q", got, want)
		}
	})
}
