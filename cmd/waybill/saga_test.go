package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

type fare struct{ Cents int64 }

// sagas runs a coordinator on the stack. Fares over 100 cents fail, and their
// refund fails until mended.
func (c *cli) sagas() (client *saga.Client, def *saga.Saga[fare], mended *atomic.Bool) {
	c.Helper()
	mended = new(atomic.Bool)
	def = saga.New("fare",
		saga.Do("Charge", func(context.Context, *fare) error { return nil }).
			Undo(func(context.Context, *fare, saga.Outcome) error {
				if !mended.Load() {
					return saga.Permanent(errors.New("refund refused"))
				}
				return nil
			}),
		saga.Do("Credit", func(_ context.Context, f *fare) error {
			if f.Cents > 100 {
				return saga.Permanent(errors.New("account closed"))
			}
			return nil
		}).ReadOnly(),
	)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: c.stack.Store, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	c.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.Error(err)
		}
	})
	return coordinator.Client(), def, mended
}

// ended waits for the end of an execution that may be blocked until a
// coordinator has read an order.
func (c *cli) ended(client *saga.Client, id string) *saga.Execution {
	c.Helper()
	for {
		x, err := client.Get(c.Context(), id)
		if err != nil {
			c.Fatal(err)
		}
		if x.Status.Ended() {
			return x
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestSaga(t *testing.T) {
	c := newStackCLI(t, "")
	if out := c.ok("saga", "ls"); strings.TrimSpace(out) != "[]" {
		t.Errorf("without executions: %s", out)
	}
	client, def, mended := c.sagas()
	if _, err := def.Run(t.Context(), client, "good", fare{20}); err != nil {
		t.Fatal(err)
	}
	if _, err := def.Run(t.Context(), client, "bad", fare{200}); !errors.Is(err, saga.ErrBlocked) {
		t.Fatal(err)
	}

	list := decode[[]saga.Execution](t, c.ok("saga", "ls"))
	if len(list) != 2 {
		t.Fatalf("listed %+v", list)
	}
	lines := strings.Split(c.ok("saga", "ls", "--status", "blocked", "-o", "table"), "\n")
	if len(lines) != 3 || squeeze(lines[0]) != "ID DEFINITION STATUS STEP STARTED CAUSE" ||
		!strings.HasPrefix(squeeze(lines[1]), "bad fare blocked Charge 20") || !strings.Contains(lines[1], "refund refused") {
		t.Errorf("blocked ones:\n%s", strings.Join(lines, "\n"))
	}
	if list := decode[[]saga.Execution](t, c.ok("saga", "ls", "--definition", "other")); len(list) != 0 {
		t.Errorf("of another definition: %v", list)
	}

	x := decode[saga.Execution](t, c.ok("saga", "show", "bad"))
	if x.ID != "bad" || x.Status != saga.Blocked || x.Trouble == nil {
		t.Errorf("show: %+v", x)
	}
	text := c.ok("saga", "show", "bad", "-o", "table")
	for _, want := range []string{"id bad", "status blocked", "step Charge", `input {"Cents":200}`, "refund refused", "account closed"} {
		if !strings.Contains(squeeze(text), want) {
			t.Errorf("show lacks %q:\n%s", want, text)
		}
	}

	events := decode[[]saga.Event](t, c.ok("saga", "history", "bad"))
	if events[0].Type != saga.ExecutionStarted || events[len(events)-1].Type != saga.ExecutionBlocked {
		t.Errorf("history: %+v", events)
	}

	mended.Store(true)
	o := decode[ordered](t, c.ok("saga", "retry", "bad", "--reason", "account is open again"))
	if !o.Given || o.Execution != "bad" || o.Order != "retry" {
		t.Errorf("retry: %+v", o)
	}
	if x := c.ended(client, "bad"); x.Status != saga.Compensated {
		t.Fatalf("after the retry: %+v", x)
	}
	text = c.ok("saga", "history", "bad", "-o", "table")
	if !strings.Contains(text, "by ada@") || !strings.Contains(text, "account is open again") {
		t.Errorf("history lacks who and why:\n%s", text)
	}
	c.fails(exitFailed, `execution "good" is completed: there is nothing to cancel`, "saga", "cancel", "good", "--yes")
}

func TestSagaCancel(t *testing.T) {
	c := newStackCLI(t, "")
	entered, release := make(chan struct{}), make(chan struct{})
	def := saga.New("slow",
		saga.Do("One", func(context.Context, *fare) error { close(entered); <-release; return nil }).
			Undo(func(context.Context, *fare, saga.Outcome) error { return nil }),
		saga.Do("Two", func(context.Context, *fare) error { return nil }).ReadOnly(),
	)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: c.stack.Store, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if _, err := def.Start(t.Context(), coordinator.Client(), "s", fare{}); err != nil {
		t.Fatal(err)
	}
	<-entered
	r := c.run("saga", "cancel", "s")
	if o := decode[ordered](t, r.stdout); r.code != exitOK || o.Given || !strings.Contains(r.stderr, "dry run: nothing was done; give --yes to cancel") {
		t.Errorf("dry run: %+v", r)
	}
	if o := decode[ordered](t, c.ok("saga", "cancel", "s", "--yes", "--reason", "customer left", "--by", "grace")); !o.Given {
		t.Errorf("cancel: %+v", o)
	}
	close(release)
	x, err := coordinator.Client().Wait(t.Context(), "s")
	if err != nil || x.Status != saga.Compensated || x.Cause.By != "grace" || x.Cause.Note != "customer left" {
		t.Errorf("after the cancel: %+v, %v", x, err)
	}
}

func TestSagaNotFound(t *testing.T) {
	c := newStackCLI(t, "")
	for _, args := range [][]string{{"show", "x"}, {"history", "x"}, {"cancel", "x"}, {"retry", "x"}} {
		c.fails(exitNotFound, `execution "x": not found`, append([]string{"saga"}, args...)...)
	}
}

// A namespace that was mistyped is said to be missing, and not made.
func TestSagaNamespaceNotFound(t *testing.T) {
	c := newStackCLI(t, "")
	for _, args := range [][]string{{"ls"}, {"show", "x"}, {"cancel", "x", "--yes"}} {
		c.fails(exitNotFound, `namespace "typo" is not in use on this Redis`, append([]string{"saga", "--namespace", "typo"}, args...)...)
	}
}

func TestSagaWithoutRedis(t *testing.T) {
	c := newCLI(t, "")
	c.fails(exitFailed, "nothing answers there: check --endpoint-url and --redis", "saga", "ls", "--redis", "127.0.0.1:1")
}

func TestInterrupted(t *testing.T) {
	c := newStackCLI(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := c.runContext(ctx, "saga", "ls"); r.code != exitInterrupted {
		t.Errorf("exit code %d, stderr %s", r.code, r.stderr)
	}
}

// State that a codec has changed is shown as it is.
func TestCompact(t *testing.T) {
	for text, want := range map[string]string{"": "-", "{ \"a\": 1\n}": `{"a":1}`, "\x01sealed": "\x01sealed"} {
		if got := compact(json.RawMessage(text)); got != want {
			t.Errorf("compact(%q) is %q, want %q", text, got, want)
		}
	}
}
