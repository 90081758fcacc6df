package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/redisstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// consume gives the messages of a topic to a handler, several at once, until the
// context ends. What fails comes again after a second, as from a queue.
func consume(ctx context.Context, sub message.Subscriber, topic string, handle func(*message.Message) error) (wait func(), err error) {
	messages, err := sub.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	all.Go(func() {
		for msg := range messages {
			// The next message comes when this one is acknowledged.
			copied := msg.Copy()
			copied.SetContext(context.WithoutCancel(msg.Context()))
			msg.Ack()
			all.Go(func() {
				for handle(copied) != nil && ctx.Err() == nil {
					time.Sleep(time.Second)
				}
			})
		}
	})
	return all.Wait, nil
}

// doubling publishes everything twice.
type doubling struct{ message.Publisher }

func (d doubling) Publish(topic string, messages ...*message.Message) error {
	for range 2 {
		for _, msg := range messages {
			if err := d.Publisher.Publish(topic, msg.Copy()); err != nil {
				return err
			}
		}
	}
	return nil
}

// A bill is settled by a service elsewhere, over a channel of watermill's on
// which everything comes twice.
func TestSagaWithAParticipant(t *testing.T) {
	declined := saga.Permanent(saga.Named("Declined", errors.New("no money")))
	tests := []struct {
		name   string
		cents  int // 13: the step after the charge fails
		charge func(n int, ctx context.Context) error
		dies   int64 // the participant's first process, at that call of the records
		want   string
		runs   []string
	}{
		{name: "completes", cents: 7, want: "ch-1", runs: []string{"charge 7 1"}},
		{name: "is refused", cents: 7, charge: func(int, context.Context) error { return declined },
			want: "Charge failed: no money", runs: []string{"charge 7 1"}},
		{name: "is undone", cents: 13, want: "Close failed: refused", runs: []string{"charge 13 1", "refund 13, done ch-1 1"}},
		{name: "is done at the second attempt", cents: 7, charge: func(n int, _ context.Context) error {
			if n == 1 {
				return errors.New("busy")
			}
			return nil
		}, want: "ch-1", runs: []string{"charge 7 1", "charge 7 2"}},
		{name: "takes too long, and is undone", cents: 7, charge: func(_ int, ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, want: "Charge failed", runs: []string{"charge 7 1", "charge 7 2", "refund 7, unknown ? 1"}},
		{name: "takes too long, and is done all the same", cents: 13, charge: func(_ int, ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		}, want: "Close failed: refused", runs: []string{"charge 13 1", "refund 13, done ch-1 1"}},
		{name: "goes on when a participant died", cents: 7, dies: 2, want: "ch-1", runs: []string{"charge 7 1", "charge 7 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pubsub := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 100}, watermill.NopLogger{})
				st := memstore.New(memstore.Config{})
				var dying sync.Mutex
				died := tt.dies == 0
				records := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
					dying.Lock()
					defer dying.Unlock()
					if died || c.N < tt.dies {
						return storetest.Fault{}
					}
					time.AfterFunc(40*time.Second, func() { // its successor
						dying.Lock()
						defer dying.Unlock()
						died = true
					})
					return storetest.Fault{Before: storetest.ErrInjected}
				})
				d := newDesk(t, records, func(cfg *saga.ParticipantConfig) { cfg.Publisher = doubling{pubsub} })
				n := 0
				d.charge = func(ctx context.Context) (chargeResult, error) {
					n++
					if tt.charge != nil {
						if err := tt.charge(n, ctx); err != nil {
							return chargeResult{}, err
						}
					}
					return chargeResult{ID: "ch-1"}, nil
				}
				s := remoteSaga(as[bill])
				co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Publisher: doubling{pubsub}, ReplyTo: "replies"})
				ctx, end := context.WithCancel(t.Context())
				commands, err := consume(ctx, pubsub, "payments", d.Handle)
				if err != nil {
					t.Fatal(err)
				}
				replies, err := consume(ctx, pubsub, "replies", co.HandleMessage)
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Run(ctx, co.Client(), "1", bill{Cents: tt.cents})
				switch {
				case err == nil && got.Charge != tt.want:
					t.Errorf("charge %q, want %q", got.Charge, tt.want)
				case err != nil && !strings.Contains(err.Error(), tt.want):
					t.Errorf("%v, want %q", err, tt.want)
				}
				time.Sleep(10 * time.Minute) // nothing comes after the end
				if runs := d.did(); !slices.Equal(runs, tt.runs) {
					t.Errorf("%q ran, want %q", runs, tt.runs)
				}
				end()
				commands()
				replies()
				if err := stop(); err != nil {
					t.Error(err)
				}
				if err := pubsub.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The records are kept in Redis as in memory.
func TestParticipantOnRedis(t *testing.T) {
	addrs := map[string]string{"miniredis": miniredis.RunT(t).Addr()}
	if addr, ok := testserver.Redis(t); ok {
		addrs["redis-server"] = addr
	}
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) {
			client := redis.NewClient(&redis.Options{Addr: addr})
			defer client.Close()
			st, err := redisstore.Open(t.Context(), redisstore.Config{
				Client: client, Namespace: testserver.Namespace(t), AcceptUnknownEviction: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			brief := func(cfg *saga.ParticipantConfig) { cfg.Lease, cfg.Retention = 200*time.Millisecond, time.Minute }
			d := newDesk(t, st, brief)
			d.charge = func(context.Context) (chargeResult, error) { return chargeResult{}, errors.New("busy") }
			d.handle(do(1))
			d.handle(do(1))
			d.charge = nil
			d.handle(do(3))
			d.handle(do(1))
			d.handle(undo(1))
			d.handle(undo(1))
			d.handle(do(4))
			d.expect("an action and its undo", []string{"charge 7 1", "charge 7 3", "refund 7, done ch-1 1"}, []string{
				"do 1: not done: busy", "do 1: not done: busy", `do 3: done {"ID":"ch-1"}`, `do 1: done {"ID":"ch-1"}`,
				"undo 1: done", "undo 1: done", `do 4: done {"ID":"ch-1"}`,
			})

			other := func(c map[string]any) { c["definition"] = "tour" }
			dead := newDesk(t, mixed{st, storetest.NewFaulty(memstore.New(memstore.Config{}), storetest.CrashAt(1, false))}, brief)
			if err := dead.Handle(do(1, other)); !errors.Is(err, storetest.ErrInjected) {
				t.Fatal(err)
			}
			d.handle(undo(1, other)) // after the dead one's lease
			d.handle(do(1, other))
			d.expect("an undo without an action", []string{"refund 7, unknown ? 1"}, []string{
				"undo 1: done", "do 1: unknown for good: the action came after its own compensation, and was not begun",
			})
		})
	}
}

// mixed claims in one store, and fails to complete in another.
type mixed struct {
	store.Idempotency
	dead *storetest.Faulty
}

func (m mixed) Complete(ctx context.Context, c store.Completion) error {
	return m.dead.Complete(ctx, c)
}
func (m mixed) Forget(ctx context.Context, key, token string) error {
	return m.dead.Forget(ctx, key, token)
}

// A service charges cards for the sagas of others. Here both are in one process,
// and talk by a channel; over SQS they would by package queue.
func ExampleParticipant() {
	type Charge struct{ Cents int }
	type Charged struct{ ID string }
	charge := func(ctx context.Context, c Charge) (Charged, error) {
		fmt.Println("charge", c.Cents, "under the key", saga.StepFrom(ctx).Key)
		return Charged{ID: "ch-1"}, nil
	}
	refund := func(ctx context.Context, c Charge, was saga.Outcome, charged *Charged) error {
		if charged == nil {
			// Nobody knows whether there is a charge: look for one of this key.
			fmt.Println("find what was charged under", saga.StepFrom(ctx).ActionKey)
			return nil
		}
		fmt.Println("refund", charged.ID, "which is", was)
		return nil
	}
	pubsub := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 10}, watermill.NopLogger{})
	participant, err := saga.NewParticipant(saga.ParticipantConfig{
		Records:   memstore.New(memstore.Config{}),
		Publisher: pubsub,
		Steps:     []saga.Served{saga.Serve("Charge", charge).Undo(refund)},
	})
	if err != nil {
		log.Fatal(err)
	}

	type Order struct {
		Cents  int
		Charge string
	}
	order := saga.New("order",
		saga.Remote("Charge", "payments",
			func(o *Order) (Charge, error) { return Charge{Cents: o.Cents}, nil },
			func(o *Order, c Charged) error { o.Charge = c.ID; return nil },
		).UndoRemote(),
		saga.Do("Ship", func(_ context.Context, o *Order) error {
			if o.Cents > 5000 {
				return saga.Permanent(errors.New("too heavy"))
			}
			return nil
		}),
	)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{order}, Publisher: pubsub, ReplyTo: "order-replies",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}

	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		log.Fatal(err)
	}
	router.AddConsumerHandler("payments", "payments", pubsub, participant.Handle)
	router.AddConsumerHandler("replies", "order-replies", pubsub, coordinator.HandleMessage)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = router.Run(ctx) })
	running.Go(func() { _ = coordinator.Run(ctx) })
	<-router.Running()
	for id, cents := range []int{2000, 6000} {
		o, err := order.Run(ctx, coordinator.Client(), fmt.Sprint("order-", id+1), Order{Cents: cents})
		fmt.Println(o.Charge, err)
	}
	stop()
	running.Wait()
	// Output:
	// charge 2000 under the key order-1/1//Charge/1/do
	// ch-1 <nil>
	// charge 6000 under the key order-2/1//Charge/1/do
	// refund ch-1 which is done
	// ch-1 saga "order-2" is compensated: Ship failed: too heavy
}
