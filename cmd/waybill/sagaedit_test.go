package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A compensation that is blocked is tried again with another input, by hand or
// from a file; what may have had its effect is confirmed first.
func TestSagaRetryWithInput(t *testing.T) {
	c := newStackCLI(t, "")
	refusals := map[int64]error{1: saga.Permanent(errors.New("refused")), 2: saga.Permanent(saga.Uncertain(errors.New("the line was cut")))}
	def := saga.New("fare",
		saga.Do("Charge", func(context.Context, *fare) error { return nil }).
			Undo(func(_ context.Context, f *fare, _ saga.Outcome) error { return refusals[f.Cents] }),
		saga.Do("Credit", func(context.Context, *fare) error { return saga.Permanent(errors.New("account closed")) }).ReadOnly(),
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
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	client := coordinator.Client()
	if _, err := def.Run(t.Context(), client, "ride", fare{1}); !errors.Is(err, saga.ErrBlocked) {
		t.Fatal(err)
	}

	c.fails(exitUsage, "--confirm-unknown goes with --input", "saga", "retry", "ride", "--confirm-unknown")
	c.fails(exitUsage, "--step goes with --input", "saga", "retry", "ride", "--step", "Charge")
	c.fails(exitUsage, `--input is "{"; want JSON, or @FILE`, "saga", "retry", "ride", "--input", "{")
	file := filepath.Join(t.TempDir(), "input.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.fails(exitUsage, "is not JSON", "saga", "retry", "ride", "--input", "@"+file)
	c.fails(exitFailed, "no such file", "saga", "retry", "ride", "--input", "@"+file+".none")
	c.fails(exitFailed, "saga is not blocked there but at Charge", "saga", "retry", "ride", "--input", "{}", "--step", "Credit")
	c.fails(exitFailed, "step Charge does not take the input", "saga", "retry", "ride", "--input", "7")

	o := decode[ordered](t, c.ok("saga", "retry", "ride", "--input", `{"Cents": 2}`, "--reason", "two"))
	if o.Order != "retry" || !o.Heeded {
		t.Errorf("retry: %+v", o)
	}
	// It is blocked again, under the new key.
	if x, err := client.Wait(t.Context(), "ride"); err != nil || x.Status != saga.Blocked || x.Attempt != 2 {
		t.Errorf("after the retry it is %+v, %v", x, err)
	}
	text := squeeze(c.ok("saga", "show", "ride", "-o", "table"))
	for _, want := range []string{"unsure an attempt has an unknown outcome", `undo input {"Cents":2} (edited)`} {
		if !strings.Contains(text, want) {
			t.Errorf("show lacks %q:\n%s", want, text)
		}
	}
	if err := os.WriteFile(file, []byte(`{"Cents": 3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.fails(exitFailed, "see to it, and confirm with --confirm-unknown", "saga", "retry", "ride", "--input", "@"+file)
	c.ok("saga", "retry", "ride", "--input", "@"+file, "--confirm-unknown", "--by", "ann")
	if x := c.ended(client, "ride"); x.Status != saga.Compensated {
		t.Errorf("it is %s", x.Status)
	}
	text = squeeze(c.ok("saga", "history", "ride", "-o", "table"))
	if !strings.Contains(text, "CompensationInputEdited Charge - - by ") || !strings.Contains(text, "CompensationInputEdited Charge - unknown by ann") {
		t.Errorf("the history does not tell of the edits:\n%s", text)
	}
}
