package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/storetest"
	"github.com/waybill-dev/waybill/waybilltest"
)

// A books keeps what was charged and refunded, by the key of the action.
type books struct {
	mu      sync.Mutex
	charged map[string]int // how often the handler ran to its end
	back    map[string]int
}

func (b *books) charge(ctx context.Context, r chargeRequest) (chargeResult, error) {
	if r.Cents == 5 {
		return chargeResult{}, saga.Permanent(saga.Named("Declined", errors.New("no money")))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := saga.StepFrom(ctx).ActionKey
	if b.back[key] > 0 {
		return chargeResult{}, fmt.Errorf("%s was refunded", key)
	}
	b.charged[key]++
	return chargeResult{ID: "ch-1"}, nil
}

func (b *books) refund(ctx context.Context, _ chargeRequest, _ saga.Outcome, _ *chargeResult) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.back[saga.StepFrom(ctx).ActionKey]++
	return nil
}

// An exchange has coordinators and participants on real queue endpoints, each with
// a pipeline of its own, on virtual time.
type exchange struct {
	*testing.T
	kind      string // of queues: "" or ".fifo"
	stack     *waybilltest.Stack
	endpoints *queue.Endpoints
	publisher *queue.Publisher
	books     *books
	saga      *saga.Saga[bill]
	client    *saga.Client // of the last coordinator
	died      bool         // one of them, or will
	stop      []func()
}

func newExchange(t *testing.T, kind string) *exchange {
	// A command and its reply are each late, lost and hidden in turn: a minute is not
	// enough for both ways, and a reply that comes too late makes another outcome.
	patient := func(s *saga.Step[bill]) *saga.Step[bill] { return s.Timeout(10 * time.Minute) }
	x := &exchange{T: t, kind: kind, stack: waybilltest.Start(t, waybilltest.NoSockets()), saga: remoteSaga(patient),
		books: &books{charged: make(map[string]int), back: make(map[string]int)}}
	x.endpoints = x.stack.Apply(t,
		queue.Endpoint{Name: "payments", URL: "sqs://payments" + kind, DeadLetter: "sqs://payments-dlq" + kind, MaxReceiveCount: 50},
		queue.Endpoint{Name: "replies", URL: "sqs://replies" + kind, DeadLetter: "sqs://replies-dlq" + kind, MaxReceiveCount: 50},
	)
	x.publisher = x.stack.Publisher(t, x.endpoints)
	return x
}

// pipe gives the messages of an endpoint to a handler until the exchange closes.
func (x *exchange) pipe(name, endpoint string, handle message.NoPublishHandlerFunc) {
	x.Helper()
	// Each has its own, as each is a process; they close with the bubble's test.
	sub := x.stack.Subscriber(x, x.endpoints, func(cfg *queue.SubscriberConfig) { cfg.DeliverUndecodable, cfg.Backoff = true, nil })
	p, err := pipeline.New(pipeline.Config{Publisher: x.publisher, Subscriber: sub, Endpoints: x.endpoints})
	if err != nil {
		x.Fatal(err)
	}
	p.Handle(name, pipeline.Consume(handle), pipeline.From(endpoint))
	ctx, cancel := context.WithCancel(x.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	x.stop = append(x.stop, func() {
		cancel()
		if err := <-done; err != nil {
			x.Error(err)
		}
	})
}

// participant starts a process that does Charge. It dies at that call of its
// records, if that is not 0.
func (x *exchange) participant(dies int64) {
	x.Helper()
	p, err := saga.NewParticipant(saga.ParticipantConfig{
		Records: x.mortal(dies), Publisher: x.publisher, ReplyTo: []string{"replies"}, Lease: 10 * time.Second,
		Steps: []saga.Served{saga.Serve("Charge", x.books.charge).Undo(x.books.refund)}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		x.Fatal(err)
	}
	x.pipe("Pay", "payments", p.Handle)
}

// coordinator starts a process that runs the saga, and dies the same way.
func (x *exchange) coordinator(dies int64) {
	x.Helper()
	co, stop := run(x.T, saga.CoordinatorConfig{
		Store: x.mortal(dies), Sagas: []saga.Definer{x.saga}, Publisher: x.publisher, ReplyTo: "replies", Logger: slog.New(slog.DiscardHandler),
	})
	x.stop = append(x.stop, func() {
		if err := stop(); err != nil && dies == 0 {
			x.Error(err)
		}
	})
	x.client = co.Client()
	x.pipe("Reply", "replies", co.HandleMessage)
}

// mortal is the store, until the process dies.
func (x *exchange) mortal(dies int64) *storetest.Faulty {
	if dies == 0 {
		return storetest.NewFaulty(x.stack.Store, func(storetest.Call) storetest.Fault { return storetest.Fault{} })
	}
	x.died = true
	return storetest.NewFaulty(x.stack.Store, storetest.CrashAt(dies, dies%2 == 0))
}

// bills are started, one a kind: it is paid, declined, or refunded because the step
// after it fails. What comes of them is as it must be, whatever went wrong.
func (x *exchange) bills() {
	x.Helper()
	want := map[string]struct {
		cents int
		end   string
	}{
		"paid":     {7, "completed"},
		"declined": {5, "compensated: Charge failed: no money"},
		"refunded": {13, "compensated: Close failed: refused"},
	}
	for id, w := range want {
		for { // a client whose coordinator died tries again
			_, err := x.saga.Start(x.Context(), x.client, id, bill{Cents: w.cents})
			if err == nil {
				break
			}
			time.Sleep(time.Second)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		ctx, cancel := context.WithTimeout(x.Context(), 24*time.Hour)
		e, err := x.client.Wait(ctx, id)
		cancel()
		if err != nil {
			x.Errorf("%s: %v", id, err)
			continue
		}
		end := string(e.Status)
		if e.Cause != nil {
			end += ": " + e.Cause.String()
		}
		if end != want[id].end {
			x.Errorf("%s is %q, want %q", id, end, want[id].end)
		}
	}
	time.Sleep(3 * time.Minute) // what is under way comes
	x.books.mu.Lock()
	defer x.books.mu.Unlock()
	charged := slices.Sorted(maps.Keys(x.books.charged))
	back := slices.Sorted(maps.Keys(x.books.back))
	if want := []string{"paid/1//Charge/1/do", "refunded/1//Charge/1/do"}; !slices.Equal(charged, want) {
		x.Errorf("charged were %q, want %q", charged, want)
	}
	if len(back) > 0 && back[0] == "declined/1//Charge/1/do" && x.died {
		back = back[1:] // whoever declined it died, so it was unknown
	}
	if want := []string{"refunded/1//Charge/1/do"}; !slices.Equal(back, want) {
		x.Errorf("refunded were %q, want %q", back, want)
	}
}

// once checks that each handler ran to its end once.
func (x *exchange) once() {
	x.Helper()
	for _, m := range []map[string]int{x.books.charged, x.books.back} {
		for key, n := range m {
			if n != 1 {
				x.Errorf("%s was done %d times", key, n)
			}
		}
	}
}

// buried are the dead letters of an endpoint.
func (x *exchange) buried(name string) []*dlq.Letter {
	x.Helper()
	admin, err := queue.NewAdmin(queue.AdminConfig{AWS: x.stack.AWS, Endpoints: x.endpoints})
	if err != nil {
		x.Fatal(err)
	}
	letters, err := dlq.New(dlq.Config{Queues: admin})
	if err != nil {
		x.Fatal(err)
	}
	found, err := letters.Peek(x.Context(), name+x.kind, 100)
	if err != nil {
		x.Fatal(err)
	}
	return found
}

func (x *exchange) close() {
	for _, stop := range slices.Backward(x.stop) {
		stop()
	}
}

// inExchange runs a test of an exchange on virtual time.
func inExchange(t *testing.T, test func(x *exchange)) {
	t.Helper()
	for _, kind := range []string{"", ".fifo"} {
		t.Run("sqs"+kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newExchange(t, kind)
				defer x.close()
				test(x)
			})
		})
	}
}

// Queues bring things twice, late and in any order, and lose their answers. Each
// command is done once all the same.
func TestParticipantOverQueues(t *testing.T) {
	for name, fault := range map[string]func(r emulator.Request) emulator.Fault{
		"well":           nil,
		"messages twice": func(r emulator.Request) emulator.Fault { return emulator.Fault{Twice: r.Number%2 == 1} },
		"messages late": func(r emulator.Request) emulator.Fault {
			return emulator.Fault{Delay: late(r, "SendMessage", 40*time.Second)}
		},
		"deletes fail": func(r emulator.Request) emulator.Fault {
			return emulator.Fault{DropRequest: strings.HasPrefix(r.Operation, "DeleteMessage") && r.Number < 20}
		},
		"answers are lost": func(r emulator.Request) emulator.Fault {
			return emulator.Fault{DropAnswer: !strings.HasPrefix(r.Operation, "GetQueue") && r.Number%3 == 1}
		},
		"all of it": func(r emulator.Request) emulator.Fault {
			return emulator.Fault{Twice: r.Number%2 == 1, Delay: late(r, "SendMessage", 40*time.Second), DropAnswer: r.Number%5 == 1}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inExchange(t, func(x *exchange) {
				for range 2 {
					x.coordinator(0)
					x.participant(0)
				}
				x.stack.Emulator.SetFault(fault)
				x.bills()
				x.once()
				x.stack.Emulator.SetFault(nil)
				for _, name := range []string{"payments-dlq", "replies-dlq"} {
					for _, l := range x.buried(name) {
						t.Errorf("in %s is %s: %+v", name, l.Body, l.Failure)
					}
				}
			})
		})
	}
}

// late delays every second request of a kind, so that others overtake it.
func late(r emulator.Request, operation string, most time.Duration) time.Duration {
	if !strings.HasPrefix(r.Operation, operation) || r.Number%2 == 0 {
		return 0
	}
	return most / time.Duration(1+r.Number%4)
}

// A participant that dies at any of its calls leaves its commands to another, and
// so does a coordinator with its sagas.
func TestDeathOverQueues(t *testing.T) {
	for _, who := range []string{"participant", "coordinator"} {
		t.Run(who, func(t *testing.T) {
			for at := int64(1); at <= 8; at++ {
				t.Run(fmt.Sprint(at), func(t *testing.T) {
					inExchange(t, func(x *exchange) {
						if who == "participant" {
							x.participant(at)
							x.coordinator(0)
						} else {
							x.coordinator(at)
							x.participant(0)
						}
						time.Sleep(time.Second)
						x.participant(0)
						x.coordinator(0)
						x.bills()
					})
				})
			}
		})
	}
}

// What is no command is moved to the dead-letter queue with the reason, at once,
// and so is what is no reply. What they were among goes its way.
func TestPoisonOverQueues(t *testing.T) {
	inExchange(t, func(x *exchange) {
		x.coordinator(0)
		x.participant(0)
		for _, m := range []struct{ endpoint, id, body string }{
			{"payments", "garbage", "{"},
			{"payments", "stranger", `{"waybill":1,"command":"do","key":"k","execution":"e","definition":"bill","step":"Charge","visit":1,"attempt":1,"input":{},"notAfter":1,"replyTo":"payments"}`},
			{"payments", "another step", `{"waybill":1,"command":"do","key":"k","execution":"e","definition":"bill","step":"Ship","visit":1,"attempt":1,"input":{},"notAfter":1,"replyTo":"replies"}`},
			{"payments", "later", `{"waybill":2,"command":"do"}`},
			{"replies", "garbage", "}"},
			{"replies", "to nobody", `{"waybill":1,"reply":"do","execution":"e","step":"Charge","visit":1,"attempt":1,"outcome":"done"}`},
		} {
			msg := message.NewMessage(m.id, []byte(m.body))
			msg.Metadata.Set(queue.KeyOrder, "poison")
			msg.Metadata.Set(queue.KeyDeduplication, m.endpoint+"."+fmt.Sprint(len(m.body)))
			if err := x.publisher.Publish(m.endpoint, msg); err != nil {
				x.Fatal(err)
			}
		}
		x.bills()
		x.once()
		for name, want := range map[string]map[string]string{
			"payments-dlq": {"garbage": "unexpected end of JSON input", "stranger": `"replyTo" is "payments", want replies`,
				"another step": `the step "Ship" is not done here, only Charge`, "later": `"waybill" is 2, want 1`},
			"replies-dlq": {"garbage": "invalid character '}'", "to nobody": `of the execution "e", which is not there`},
		} {
			for _, l := range x.buried(name) {
				if f := l.Failure; f == nil || f.Reason != queue.ReasonPermanent || !strings.Contains(f.Message, want[l.ID]) || f.ReceiveCount != 1 {
					x.Errorf("%s is in %s with %+v, want %q", l.ID, name, f, want[l.ID])
				}
				delete(want, l.ID)
			}
			if len(want) > 0 {
				x.Errorf("not in %s: %q", name, want)
			}
		}
	})
}
