package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
)

// BenchmarkForEachAway runs sagas of one ForEach whose items somebody else does, and
// reports what an item costs, and how many frames are read for it: either would show
// if it grew with their number. The answers come one by one, when all have been asked
// for, each when the execution is parked.
func BenchmarkForEachAway(b *testing.B) {
	client := benchClient(b, benchAddr(b))
	for _, kind := range []string{"Remote", "Callback", "Receive"} {
		for _, items := range []int{100, 1000} {
			b.Run(fmt.Sprint(kind, "/", items), func(b *testing.B) {
				d := &bureau{Store: openBench(b, client).Store, items: items, asked: make(chan func() error, 2*items)}
				d.run(b, kind)
			})
		}
	}
}

// A bureau is where items are done. It counts the frames that are read.
type bureau struct {
	saga.Store
	items int
	asked chan func() error // each answers for an item
	read  atomic.Int64
	c     *saga.Coordinator
}

func (d *bureau) Frames(ctx context.Context, id string, names ...string) (map[string][]byte, error) {
	d.read.Add(int64(len(names)))
	return d.Store.Frames(ctx, id, names...)
}

func (d *bureau) Close() error { return nil }

// Publish takes commands.
func (d *bureau) Publish(_ string, messages ...*message.Message) error {
	for _, msg := range messages {
		var c sentCommand
		if err := json.Unmarshal(msg.Payload, &c); err != nil {
			return err
		}
		reply, err := json.Marshal(map[string]any{
			"waybill": 1, "reply": c.Command, "key": c.Key, "execution": c.Execution, "frame": c.Frame, "step": c.Step,
			"visit": c.Visit, "attempt": c.Attempt, "commit": c.Commit, "outcome": "done", "result": 1,
		})
		if err != nil {
			return err
		}
		d.asked <- func() error { return d.c.HandleMessage(message.NewMessage("r", reply)) }
	}
	return nil
}

func (d *bureau) run(b *testing.B, kind string) {
	take := func(n *int, r int) error { *n = r; return nil }
	step := saga.Remote("Away", "bureau", func(n *int) (int, error) { return *n, nil }, take).ReadOnly()
	if kind == "Callback" {
		step = saga.Callback("Away", func(ctx context.Context, _ *int) error {
			info := saga.StepFrom(ctx)
			d.asked <- func() error { return d.c.Client().Complete(context.WithoutCancel(ctx), info.Token, 1) }
			return nil
		}, take).ReadOnly()
	}
	if kind == "Receive" {
		step = saga.Receive("Away", "go", take)
	}
	def := saga.New("away", saga.ForEach("Each", func(n *int) []int { return make([]int, *n) }, nil, step))
	var err error
	d.c, err = saga.NewCoordinator(saga.CoordinatorConfig{
		Store: d, Sagas: []saga.Definer{def}, Logger: slog.New(slog.DiscardHandler), Publisher: d, ReplyTo: "replies",
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- d.c.Run(ctx) }()
	<-d.c.Ready()
	b.ResetTimer()
	var elapsed time.Duration
	for i := range b.N {
		id := fmt.Sprintf("away-%d", i)
		if _, err := def.Start(b.Context(), d.c.Client(), id, d.items); err != nil {
			b.Fatal(err)
		}
		answers := make([]func() error, d.items)
		for n := range answers {
			if kind == "Receive" {
				answers[n] = func() error { return d.c.Client().Signal(b.Context(), id, "go", fmt.Sprint(n), 1) }
				continue
			}
			answers[n] = <-d.asked
		}
		begun := time.Now()
		for _, answer := range answers {
			if err := errors.Join(d.parked(b.Context(), id), answer()); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := def.Wait(b.Context(), d.c.Client(), id); err != nil {
			b.Fatal(err)
		}
		elapsed += time.Since(begun)
	}
	b.StopTimer()
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	per := float64(b.N * d.items)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(elapsed.Microseconds())/per, "us/item")
	b.ReportMetric(float64(d.read.Load())/per, "frames/item")
}

// parked waits until nobody holds an execution.
func (d *bureau) parked(ctx context.Context, id string) error {
	for {
		r, err := d.Store.Get(ctx, id)
		if err != nil || r.LeaseUntil.IsZero() {
			return err
		}
	}
}
