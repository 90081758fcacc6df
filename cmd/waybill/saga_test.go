package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
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

// ended waits for the end of an execution, whose coordinator has read what let it
// go on.
func (c *cli) ended(client *saga.Client, id string) *saga.Execution {
	c.Helper()
	x, err := client.Wait(c.Context(), id)
	if err != nil || !x.Status.Ended() {
		c.Fatalf("execution %q is left as %+v, %v", id, x, err)
	}
	return x
}

// An observed store tells of what a coordinator has from it.
type observed struct {
	*redisstore.Store
	parked chan string // the ids of executions that it has given back
	heard  chan string // and of those whose renewed lease brought mail
}

func observe(st *redisstore.Store) *observed {
	return &observed{Store: st, parked: make(chan string, 100), heard: make(chan string, 100)}
}

func (s *observed) Commit(ctx context.Context, c *store.Commit) (store.CommitResult, error) {
	r, err := s.Store.Commit(ctx, c)
	if err == nil && r.Applied && c.Next == store.Park {
		s.parked <- c.ID
	}
	return r, err
}

func (s *observed) Renew(ctx context.Context, l store.Lease, d time.Duration, read int64) (store.Renewal, error) {
	r, err := s.Store.Renew(ctx, l, d, read)
	if err == nil && len(r.Mail) > 0 {
		s.heard <- l.ID
	}
	return r, err
}

func TestSaga(t *testing.T) {
	c := newStackCLI(t, "")
	if r := c.run("saga", "ls"); strings.TrimSpace(r.stdout) != "[]" || r.stderr != "namespace \"test\" has no executions\n" {
		t.Errorf("without executions: %+v", r)
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
	if r := c.run("saga", "ls", "--definition", "other"); strings.TrimSpace(r.stdout) != "[]" || r.stderr != "namespace \"test\" has no such executions\n" {
		t.Errorf("of another definition: %+v", r)
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
	if strings.Contains(text, "next wake") || strings.Contains(text, "kept until") {
		t.Errorf("a blocked execution waits for an order alone:\n%s", text)
	}
	text = c.ok("saga", "show", "good", "-o", "table")
	if !strings.Contains(text, "kept until") || strings.Contains(text, "next wake") || strings.Contains(text, "attempt") {
		t.Errorf("of one that has ended:\n%s", text)
	}

	events := decode[[]saga.Event](t, c.ok("saga", "history", "bad"))
	if events[0].Type != saga.ExecutionStarted || events[len(events)-1].Type != saga.ExecutionBlocked {
		t.Errorf("history: %+v", events)
	}

	mended.Store(true)
	o := decode[ordered](t, c.ok("saga", "retry", "bad", "--reason", "account is open again"))
	if o.DryRun || o.Execution != "bad" || o.Order != "retry" {
		t.Errorf("retry: %+v", o)
	}
	if x := c.ended(client, "bad"); x.Status != saga.Compensated {
		t.Fatalf("after the retry: %+v", x)
	}
	text = c.ok("saga", "history", "bad", "-o", "table")
	if !strings.Contains(text, "by ada@") || !strings.Contains(text, "account is open again") {
		t.Errorf("history lacks who and why:\n%s", text)
	}
	for args, want := range map[string]string{
		"cancel good --yes": `execution "good" is completed: there is nothing to cancel`,
		"cancel bad":        `execution "bad" is compensated: there is nothing to cancel`,
		"retry bad":         `execution "bad" is compensated: there is nothing to retry`,
	} {
		c.fails(exitFailed, want, append([]string{"saga"}, strings.Fields(args)...)...)
	}
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
	if o := decode[ordered](t, r.stdout); r.code != exitOK || !o.DryRun || !strings.Contains(r.stderr, "dry run: nothing was done; give --yes to cancel") {
		t.Errorf("dry run: %+v", r)
	}
	if out := squeezeLines(c.ok("saga", "cancel", "s", "-o", "table")); out != squeezeLines("EXECUTION ORDER STATUS BEFORE STEP\ns cancel (dry run) running One") {
		t.Errorf("dry run:\n%s", out)
	}
	if o := decode[ordered](t, c.ok("saga", "cancel", "s", "--yes", "--reason", "customer left", "--by", "grace")); o.DryRun {
		t.Errorf("cancel: %+v", o)
	}
	close(release)
	x, err := coordinator.Client().Wait(t.Context(), "s")
	if err != nil || x.Status != saga.Compensated || x.Cause.By != "grace" || x.Cause.Note != "customer left" {
		t.Errorf("after the cancel: %+v, %v", x, err)
	}
}

// An order that the execution refuses is an error, and is foreseen where that is
// possible.
func TestSagaRefusesOrders(t *testing.T) {
	c := newStackCLI(t, "")
	entered, release := make(chan struct{}), make(chan struct{})
	def := saga.New("late",
		saga.Do("Pivot", func(context.Context, *fare) error { return nil }).Pivot(),
		saga.Do("Tell", func(context.Context, *fare) error {
			close(entered)
			<-release
			return nil
		}),
	)
	st := observe(c.stack.Store)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Lease: time.Second, Logger: slog.New(slog.DiscardHandler),
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
	for _, args := range [][]string{{"cancel", "s"}, {"cancel", "s", "--yes"}} {
		c.fails(exitFailed, `execution "s" is past its point of no return, and only goes forward: it cannot be cancelled`, append([]string{"saga"}, args...)...)
	}
	// What runs cannot be retried; that is known once the order is read.
	go func() {
		select {
		case <-st.heard:
		case <-ctx.Done():
		}
		close(release)
	}()
	r := c.run("saga", "retry", "s")
	if r.code == exitOK {
		if _, err := coordinator.Client().Wait(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
	}
	if r.code != exitFailed || !strings.Contains(r.stderr, `execution "s" refused: it neither is blocked nor waits for an attempt`) {
		t.Errorf("retry of what runs: %+v", r)
	}
}

func TestSagaSuspendsSkipsAndTerminates(t *testing.T) {
	c := newStackCLI(t, "")
	client, def, _ := c.sagas()
	if _, err := def.Run(t.Context(), client, "bad", fare{500}); !errors.Is(err, saga.ErrBlocked) {
		t.Fatal(err)
	}
	if o := decode[ordered](t, c.ok("saga", "suspend", "bad", "--reason", "look into it")); !o.Heeded {
		t.Errorf("suspend: %+v", o)
	}
	if x := decode[saga.Execution](t, c.ok("saga", "show", "bad")); x.Suspended.IsZero() {
		t.Errorf("suspended it is shown as %+v", x)
	}
	c.fails(exitFailed, `execution "bad" refused: it is suspended, or has ended, already`, "saga", "suspend", "bad")
	c.ok("saga", "resume", "bad")
	if r := c.run("saga", "skip", "bad"); !strings.Contains(r.stderr, "give --yes to skip") {
		t.Errorf("skip without --yes: %+v", r)
	}
	c.fails(exitUsage, "--attempt is 0; want 1 or more", "saga", "skip", "bad", "--yes", "--attempt", "0")
	c.fails(exitFailed, `saga is not blocked there`, "saga", "skip", "bad", "--yes", "--frame", "Items:0")
	c.fails(exitFailed, `saga is not blocked there`, "saga", "skip", "bad", "--yes", "--attempt", "77")
	c.ok("saga", "skip", "bad", "--yes", "--reason", "refunded by hand")
	if x := c.ended(client, "bad"); x.Status != saga.Compensated {
		t.Errorf("after the skip: %+v", x)
	}
	if _, err := def.Run(t.Context(), client, "worse", fare{500}); !errors.Is(err, saga.ErrBlocked) {
		t.Fatal(err)
	}
	c.ok("saga", "terminate", "worse", "--yes")
	if x := c.ended(client, "worse"); x.Status != saga.Terminated {
		t.Errorf("after the end: %+v", x)
	}
}

func TestSagaNotFound(t *testing.T) {
	c := newStackCLI(t, "")
	for _, args := range [][]string{{"show", "x"}, {"history", "x"}, {"cancel", "x"}, {"retry", "x"}} {
		r := c.fails(exitNotFound, `execution "x": not found`, append([]string{"saga"}, args...)...)
		if strings.Count(r.stderr, "execution") != 1 {
			t.Errorf("it stutters: %s", r.stderr)
		}
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
