package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
)

// nowhere is a Publisher whose messages nobody gets.
type nowhere struct{}

func (nowhere) Publish(string, ...*message.Message) error { return nil }
func (nowhere) Close() error                              { return nil }

// An execution of which a reply proves that a write was lost is shown, and released or
// terminated.
func TestSagaRelease(t *testing.T) {
	c := newStackCLI(t, "")
	def := saga.New("fare", saga.Remote("Charge", "payments",
		func(f *fare) (int64, error) { return f.Cents, nil }, func(*fare, int) error { return nil }))
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: c.stack.Store, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Publisher: nowhere{}, ReplyTo: "replies",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	client := coordinator.Client()
	for _, id := range []string{"one", "two"} {
		if _, err := def.Start(t.Context(), client, id, fare{1}); err != nil {
			t.Fatal(err)
		}
		reply := `{"waybill": 1, "reply": "do", "execution": "` + id + `", "step": "Charge", "visit": 1, "attempt": 1, "commit": "9.N.1", "outcome": "done", "result": 7}`
		if err := coordinator.HandleMessage(message.NewMessage("r", []byte(reply))); err != nil {
			t.Fatal(err)
		}
		if x, err := client.Wait(t.Context(), id); err != nil || x.Status != saga.Quarantined {
			t.Fatalf("it is %+v, %v", x, err)
		}
	}
	text := squeeze(c.ok("saga", "show", "one", "-o", "table"))
	for _, want := range []string{"status quarantined", `quarantined lost write: the reply "done" to attempt 1 of step Charge: its command was sent by commit 9.N.1`} {
		if !strings.Contains(text, want) {
			t.Errorf("show lacks %q:\n%s", want, text)
		}
	}
	if list := decode[[]saga.Execution](t, c.ok("saga", "ls", "--status", "quarantined")); len(list) != 2 {
		t.Errorf("listed are %+v", list)
	}
	c.fails(exitFailed, "refused: it is quarantined: it can be released or terminated", "saga", "cancel", "one", "--yes")
	if o := decode[ordered](t, c.ok("saga", "release", "one")); !o.DryRun || o.Status != saga.Quarantined {
		t.Errorf("a dry run: %+v", o)
	}
	if o := decode[ordered](t, c.ok("saga", "release", "one", "--yes", "--reason", "charged by hand")); o.DryRun || !o.Heeded {
		t.Errorf("release: %+v", o)
	}
	if x, err := client.Get(t.Context(), "one"); err != nil || x.Status != saga.Running {
		t.Errorf("released, it is %+v, %v", x, err)
	}
	c.fails(exitFailed, "refused: it is not quarantined", "saga", "release", "one", "--yes")
	c.ok("saga", "terminate", "two", "--yes")
	if x, err := client.Wait(t.Context(), "two"); err != nil || x.Status != saga.Terminated {
		t.Errorf("terminated, it is %+v, %v", x, err)
	}
}
