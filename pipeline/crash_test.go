package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A process dies between any two of its requests, with the last one's answer
// received or not; another takes over. Nothing is lost: each message is at its
// end under its one id, and receivers that drop by id see it once.
func TestCrashBetweenAnyTwoRequests(t *testing.T) {
	inputs := []string{`{"id":"good","amount":20}`, `{"id":"bad","amount":20}`, `not JSON`}
	run := func(t *testing.T, after int, answered bool) (survived bool) {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("out"))
			records := memstore.New(memstore.Config{})
			applied := map[string]int{}
			var mu sync.Mutex
			program := func(proc *process) *pipeline.Pipeline {
				p := proc.pipeline(func(c *pipeline.Config) { c.DrainTimeout = time.Second })
				p.Handle("charge", pipeline.Func(func(ctx context.Context, f fare) (fare, error) {
					if f.ID == "bad" {
						return f, pipeline.Permanent(errDeclined)
					}
					return f, nil
				}), pipeline.From("in"), pipeline.To("mid"))
				p.Handle("credit", pipeline.Func(func(ctx context.Context, f fare) (fare, error) {
					mu.Lock()
					defer mu.Unlock()
					applied[f.ID]++
					return f, nil
				}), pipeline.From("mid"), pipeline.To("out"), pipeline.Use(pipeline.Idempotent(store.Once{Records: records})))
				return p
			}
			ids := map[string]string{}
			for _, body := range inputs {
				ids[body] = s.send("in", body)
			}
			pl := &plug{next: s.server.Client().Transport, after: after, answered: answered, pulled: make(chan struct{})}
			ctx, kill := context.WithCancel(t.Context())
			doomed := program(s.processVia(pl))
			dead := make(chan error, 1)
			go func() { dead <- doomed.Run(ctx) }()
			select {
			case <-pl.pulled:
			case <-time.After(3 * time.Minute):
				survived = true
			}
			kill()
			<-dead // whatever it says

			s.start(program(s.process()))
			settle(5 * time.Minute)
			if n := s.left("in") + s.left("mid"); n != 0 {
				t.Errorf("%d messages are under way for ever", n)
			}
			out := distinct(s.take("out"))
			if len(out) != 1 {
				t.Errorf("out holds %v, want one message", out)
			}
			if applied["good"] != 1 {
				t.Errorf("the idempotent filter ran %d times", applied["good"])
			}
			// Those that the process could not bury on any of their receives,
			// SQS moves by itself, which keeps its own id.
			buried := distinct(s.take("in-dlq"))
			want := []string{ids[inputs[1]], ids[inputs[2]]}
			slices.Sort(want)
			if !slices.Equal(buried, want) {
				t.Errorf("the dead-letter queue holds %v, want %v", buried, want)
			}
			if n := s.left("mid-dlq"); n != 0 {
				t.Errorf("mid's dead-letter queue holds %d messages", n)
			}
		})
		return survived
	}
	for _, answered := range []bool{true, false} {
		t.Run(fmt.Sprintf("answered=%v", answered), func(t *testing.T) {
			for after := 1; ; after++ {
				if run(t, after, answered) {
					if after < 12 {
						t.Errorf("the process ended its work with %d requests; the test does not reach its crashes", after)
					}
					return
				}
				if t.Failed() {
					t.Fatalf("crash after request %d", after)
				}
			}
		})
	}
}

// distinct returns the ids of messages, each once.
func distinct(all []found) []string {
	var ids []string
	for _, f := range all {
		id := f.uuid()
		if id == "" {
			id = f.id
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// A filter that is idempotent answers a duplicate with the outputs of the first
// run, as they were.
func TestIdempotentRepublishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"), endpoint("side"))
		records := memstore.New(memstore.Config{})
		p := s.process().pipeline()
		runs := 0
		p.Handle("charge", pipeline.Messages(func(_ context.Context, in pipeline.Msg[fare]) ([]pipeline.Msg[string], error) {
			runs++
			pay := pipeline.Msg[string]{Body: fmt.Sprint("token ", runs), Metadata: message.Metadata{"binary": "\xff\xfe", "run": fmt.Sprint(runs)}}
			side := pipeline.Msg[string]{Body: fmt.Sprint("side ", runs), Outlet: "side"}
			return []pipeline.Msg[string]{pay, side}, nil
		}), pipeline.From("in"), pipeline.To("out"), pipeline.Outlet("side", "side"),
			pipeline.Use(pipeline.Idempotent(store.Once{Records: records})))
		s.start(p)
		for range 3 {
			s.send("in", `{"id":"f1"}`, queue.AttrUUID, "m1")
			settle(time.Second)
		}
		if runs != 1 {
			t.Errorf("the filter ran %d times", runs)
		}
		out, side := s.take("out"), s.take("side")
		if len(out) != 3 || len(side) != 3 {
			t.Fatalf("%d and %d outputs, want 3 and 3", len(out), len(side))
		}
		for _, f := range out[1:] {
			if asJSON(t, f.attributes) != asJSON(t, out[0].attributes) || f.body != `"token 1"` {
				t.Errorf("got %v, and first %v", f, out[0])
			}
		}
		if side[2].body != `"side 1"` || side[2].uuid() != side[0].uuid() {
			t.Errorf("got %v", side)
		}
	})
}

// What failed is not recorded: it runs again, in place and after a redrive.
func TestIdempotentRunsFailuresAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(_ context.Context, run int) error {
			switch run {
			case 1:
				return errDeclined
			case 2:
				return pipeline.Permanent(errDeclined)
			}
			return nil
		})
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"),
			pipeline.Use(pipeline.Idempotent(store.Once{Records: memstore.New(memstore.Config{})})))
		s.start(p)
		id := s.send("in", `{}`)
		settle(time.Second)
		dead := s.one("in-dlq")
		s.send("in", dead.body, queue.AttrUUID, dead.uuid())
		settle(time.Second)
		s.one("out")
		if dead.uuid() != id || len(charge.ran()) != 3 {
			t.Errorf("ran %d times", len(charge.ran()))
		}
	})
}

// Ids that are too long for a key of the store are no obstacle.
func TestIdempotentWithLongIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(always(nil))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"),
			pipeline.Use(pipeline.Idempotent(store.Once{Records: memstore.New(memstore.Config{})})))
		s.start(p)
		long := strings.Repeat("x", 2*store.MaxID)
		for _, id := range []string{long + "1", long + "2", long + "1"} {
			s.send("in", `{}`, queue.AttrUUID, id)
		}
		settle(time.Second)
		if n := len(charge.ran()); n != 2 {
			t.Errorf("ran %d times, want once for each of 2 ids", n)
		}
	})
}

// While another process has the message, a duplicate waits; when the other
// dies, the duplicate is handled.
func TestIdempotentWaitsForTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		records := memstore.New(memstore.Config{})
		p := s.process().pipeline()
		charge := newScript(always(nil))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"),
			pipeline.Use(pipeline.Idempotent(store.Once{Records: records, Lease: 20 * time.Second})))
		if _, err := records.Claim(t.Context(), store.Claim{Key: "pipeline/charge/m1", Token: "other", Lease: 15 * time.Second}); err != nil {
			t.Fatal(err)
		}
		s.start(p)
		s.send("in", `{}`, queue.AttrUUID, "m1")
		settle(time.Minute)
		if runs := charge.ran(); len(runs) != 1 || runs[0] < 15*time.Second || runs[0] > 17*time.Second {
			t.Errorf("ran at %v, want after 15s", runs)
		}
		s.one("out")
	})
}

// A store that is away is a failure that passes.
func TestIdempotentWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		records := &awayRecords{Idempotency: memstore.New(memstore.Config{}), away: true}
		p := s.process().pipeline()
		charge := newScript(always(nil))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"),
			pipeline.Use(pipeline.Idempotent(store.Once{Records: records})))
		s.start(p)
		s.send("in", `{}`)
		time.AfterFunc(5*time.Second, records.back)
		settle(time.Minute)
		s.one("out")
		if n := len(charge.ran()); n != 1 {
			t.Errorf("ran %d times", n)
		}
	})
}

type awayRecords struct {
	store.Idempotency
	mu   sync.Mutex
	away bool
}

func (r *awayRecords) back() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
}

func (r *awayRecords) Claim(ctx context.Context, c store.Claim) (store.Claimed, error) {
	r.mu.Lock()
	away := r.away
	r.mu.Unlock()
	if away {
		return store.Claimed{}, errors.New("no route to host")
	}
	return r.Idempotency.Claim(ctx, c)
}

// The service delivers messages twice. Filters that are idempotent act once.
func TestDuplicateDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("out"))
		records := memstore.New(memstore.Config{})
		p := s.process().pipeline()
		var mu sync.Mutex
		applied := map[string]int{}
		apply := func(filter string) pipeline.Handler {
			return pipeline.Func(func(ctx context.Context, f fare) (fare, error) {
				mu.Lock()
				defer mu.Unlock()
				applied[filter+f.ID]++
				return f, nil
			})
		}
		once := pipeline.Use(pipeline.Idempotent(store.Once{Records: records}))
		p.Handle("charge", apply("charge"), pipeline.From("in"), pipeline.To("mid"), once)
		p.Handle("credit", apply("credit"), pipeline.From("mid"), pipeline.To("out"), once)
		s.server.SetFault(func(r emulator.Request) emulator.Fault {
			return emulator.Fault{Twice: r.Operation == "ReceiveMessage" && r.Number%2 == 0}
		})
		s.start(p)
		const n = 50
		for i := range n {
			s.send("in", fmt.Sprintf(`{"id":"f%d"}`, i))
		}
		settle(time.Second)
		s.server.SetFault(nil)
		settle(5 * time.Minute)
		if len(applied) != 2*n {
			t.Errorf("%d effects, want %d", len(applied), 2*n)
		}
		for what, times := range applied {
			if times != 1 {
				t.Errorf("%s happened %d times", what, times)
			}
		}
		if out := distinct(s.take("out")); len(out) != n {
			t.Errorf("out holds %d different messages, want %d", len(out), n)
		}
	})
}
