package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// A ran is a run of a handler, as it was told of it.
type ran struct {
	key   string
	fence int64
}

// A restored world is a coordinator on a redis-server that can be set back to its
// dump. Bills are charged elsewhere, by the test, after a step under a lock.
type restored struct {
	*testing.T
	dir, addr string
	redis     *redis.Client
	saga      *saga.Saga[bill]
	co        *saga.Coordinator
	c         *saga.Client
	stop      func()
	commands  chan sentCommand
	begun     chan string   // executions whose first step runs
	goOn      chan struct{} // lets it return

	mu   sync.Mutex
	runs map[string][]ran // of the first step
}

func newRestored(t *testing.T) *restored {
	if !testserver.HasRedisServer() {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not on the PATH, and CI=true requires every server")
		}
		t.Skip("redis-server is not on the PATH")
	}
	w := &restored{
		T: t, dir: t.TempDir(), commands: make(chan sentCommand, 100), begun: make(chan string, 100), goOn: make(chan struct{}), runs: make(map[string][]ran),
	}
	w.addr = testserver.StartRedis(t, "--dir", w.dir)
	w.redis = redis.NewClient(&redis.Options{Addr: w.addr})
	t.Cleanup(func() { w.redis.Close() })
	st, err := redisstore.Open(t.Context(), redisstore.Config{Client: w.redis, Namespace: testserver.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	none := func(context.Context, *bill, saga.Outcome) error { return nil }
	w.saga = saga.New("bill",
		saga.Do("A", w.first).Undo(none).Lock(saga.Lock("account", func(b *bill) string { return fmt.Sprint(b.Cents) })),
		saga.Remote("Charge", "payments",
			func(b *bill) (chargeRequest, error) { return chargeRequest{Cents: b.Cents}, nil },
			func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil }).UndoRemote(),
	)
	w.co, err = saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Sagas: []saga.Definer{w.saga}, Lease: 2 * time.Second, Sweep: 50 * time.Millisecond, ReplyTo: "replies",
		Publisher: &post{t: t, serve: func(c sentCommand) *replied { w.commands <- c; return nil }},
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.c = w.co.Client()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.co.Run(ctx) }()
	<-w.co.Ready()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return w
}

func (w *restored) first(ctx context.Context, b *bill) error {
	info := saga.StepFrom(ctx)
	w.mu.Lock()
	w.runs[info.Execution] = append(w.runs[info.Execution], ran{info.Key, info.Locks[fmt.Sprint("account/", b.Cents)]})
	w.mu.Unlock()
	w.begun <- info.Execution
	select {
	case <-w.goOn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// did are the runs of an execution's first step.
func (w *restored) did(id string) []ran {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id]
}

func (w *restored) start(id string, cents int) {
	w.Helper()
	if _, err := w.saga.Start(w.Context(), w.c, id, bill{Cents: cents}); err != nil {
		w.Fatal(err)
	}
}

// restore kills the Redis, and starts it again with what it had dumped.
func (w *restored) restore() {
	w.Helper()
	w.redis.ShutdownNoSave(w.Context()) // whose answer is that the connection breaks
	for {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			break
		}
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	_, port, err := net.SplitHostPort(w.addr)
	if err != nil {
		w.Fatal(err)
	}
	testserver.StartRedis(w.T, "--dir", w.dir, "--port", port)
}

// reply brings the reply to a command, as a queue does: again, while the error is
// one that passes.
func (w *restored) reply(c sentCommand) error {
	for {
		var got error
		p := post{t: w.T, reply: func(msg *message.Message) error { got = w.co.HandleMessage(msg); return nil }}
		p.replied(c, &replied{outcome: "done", result: `{"ID": "ch-1"}`})
		if got == nil || permanent(got) || w.Context().Err() != nil {
			return got
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A Redis that is set back to an older dump has forgotten what it acknowledged. Replies
// tell, as far as they can: what they are to is quarantined, or missing. The locks are
// those of the dump, each grant after it has a higher fence than all before, and none
// is left in the end.
func TestRestoredRedis(t *testing.T) {
	w := newRestored(t)
	defer w.stop() // before its Redis
	w.start("1", 7)
	<-w.begun
	if err := w.redis.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.start("2", 9)
	<-w.begun
	close(w.goOn)
	sent := make(map[string]sentCommand)
	for len(sent) < 2 {
		c := <-w.commands
		sent[c.Execution] = c
	}
	w.restore()

	var lost *saga.LostError
	if err := w.reply(sent["2"]); !errors.As(err, &lost) || lost.Execution != "2" || lost.Step != "Charge" || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the reply to what is lost: %v", err)
	}
	if err := w.reply(sent["1"]); err != nil {
		t.Errorf("the reply to what has lost a commit: %v", err)
	}
	if _, err := w.saga.Wait(t.Context(), w.c, "1"); !errors.Is(err, saga.ErrQuarantined) {
		t.Fatalf("waited for, it is %v", err)
	}
	before := w.did("1")[0]
	l, err := w.c.Lock(t.Context(), "account/7")
	if err != nil || l.Holder == nil || l.Holder.Execution != "1" || l.Holder.Fence != before.fence {
		t.Errorf("the lock of the quarantined is %+v, %v, want it held under %d", l, err, before.fence)
	}

	w.start("2", 9) // nobody knows that it was there
	if err := w.c.Release(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for _, id := range []string{"1", "2"} {
		go func() {
			b, err := w.saga.Wait(t.Context(), w.c, id)
			if err == nil && b.Charge != "ch-1" {
				err = fmt.Errorf("it ended with %+v", b)
			}
			ended <- err
		}()
	}
	for left := 2; left > 0; {
		select {
		case c := <-w.commands:
			if c.Key != sent[c.Execution].Key {
				t.Errorf("the command comes under the key %s, and came under %s", c.Key, sent[c.Execution].Key)
			}
			if err := w.reply(c); err != nil {
				t.Error(err)
			}
		case err := <-ended:
			left--
			if err != nil {
				t.Error(err)
			}
		}
	}
	one, two := w.did("1"), w.did("2")
	if len(one) != 2 || one[0] != one[1] {
		t.Errorf("the step of 1 ran as %+v, want it twice and alike", one)
	}
	if len(two) != 2 || two[0].key != two[1].key || two[1].fence <= two[0].fence {
		t.Errorf("the step of 2 ran as %+v, want it twice, the second time under a higher fence", two)
	}
	for { // locks go after the end
		locks, err := w.c.Locks(t.Context(), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(locks) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
