package saga_test

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/internal/sagabench"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// blank is a store that takes everything and keeps nothing of executions.
type blank struct{ saga.Store }

func (blank) Start(_ context.Context, r store.StartRequest) (store.StartResult, error) {
	return store.StartResult{Created: true, Opened: true, Status: r.Status, Now: time.Now()}, nil
}

func (blank) Commit(context.Context, *store.Commit) (store.CommitResult, error) {
	return store.CommitResult{Applied: true}, nil
}

// BenchmarkEngine runs sagas of three local steps one after the other on a store
// that does nothing: what the engine itself takes, and allocates.
func BenchmarkEngine(b *testing.B) {
	for name, failLast := range map[string]bool{"completed": false, "compensated": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			def := sagabench.Definition(3, failLast)
			c, err := saga.NewCoordinator(saga.CoordinatorConfig{
				Store: blank{memstore.New(memstore.Config{})}, Sagas: []saga.Definer{def},
				Logger: slog.New(slog.DiscardHandler), Concurrency: 1000,
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			<-c.Ready()
			client := c.Client()
			for i := 0; b.Loop(); i++ {
				if _, err := def.Run(b.Context(), client, "saga-"+strconv.Itoa(i), sagabench.Input()); (err != nil) != failLast {
					b.Fatal(err)
				}
			}
			stop()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
