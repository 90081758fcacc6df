package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
)

// unheard publishes to nobody.
type unheard struct{}

func (unheard) Publish(string, ...*message.Message) error { return nil }
func (unheard) Close() error                              { return nil }

// What the history tells of an earlier order is not taken for what came of this
// one: a cancel that waits for the answer of a pivot has nothing to tell yet.
func TestSagaOrderIsNotAnEarlierOne(t *testing.T) {
	c := newStackCLI(t, "")
	def := saga.New("far", saga.Remote("Pivot", "there", func(*fare) (int, error) { return 0, nil }, func(*fare, int) error { return nil }).
		Pivot().Timeout(time.Hour))
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: c.stack.Store, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Publisher: unheard{}, ReplyTo: "here",
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
	for x := new(saga.Execution); !x.Waiting; {
		if x, err = coordinator.Client().Get(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
	}
	c.fails(exitFailed, `execution "s" refused: it is not suspended`, "saga", "resume", "s")
	if o := decode[ordered](t, c.ok("saga", "cancel", "s", "--yes")); !o.Heeded {
		t.Errorf("cancel: %+v", o)
	}
	c.fails(exitFailed, `execution "s" refused: a cancel waits for the answer of its pivot already`, "saga", "cancel", "s", "--yes")
}
