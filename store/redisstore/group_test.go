package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// A gate keeps scripts that go out by themselves until it is opened, and notes the
// sizes of pipelines.
type gate struct {
	entered chan struct{}
	opened  chan struct{}
	open    func()
	batch   func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error // in place of next

	mu      sync.Mutex
	batches []int
	alone   int // scripts that went by themselves
}

func newGate(client *redis.Client) *gate {
	g := &gate{entered: make(chan struct{}, 1000), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	client.AddHook(g)
	return g
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			g.mu.Lock()
			g.alone++
			g.mu.Unlock()
			select {
			case g.entered <- struct{}{}:
			case <-g.opened:
			}
			<-g.opened
		}
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "evalsha" {
			return next(ctx, cmds)
		}
		g.mu.Lock()
		g.batches = append(g.batches, len(cmds))
		g.mu.Unlock()
		if g.batch != nil {
			return g.batch(ctx, cmds, next)
		}
		return next(ctx, cmds)
	}
}

// crowd is a store whose lines are all out, held at a gate.
func crowd(t *testing.T) (*redisstore.Store, *gate, target) {
	t.Helper()
	tg := inProcess(t)
	st := tg.open(t)
	warm(t, st)
	g := newGate(tg.client)
	var all sync.WaitGroup
	for i := range redisstore.MaxLines {
		all.Go(func() { begin(t, st, fmt.Sprint("line-", i)) })
	}
	t.Cleanup(func() {
		g.open()
		all.Wait()
	})
	for range redisstore.MaxLines {
		<-g.entered // a lone call goes out at once
	}
	return st, g, tg
}

// begin starts an execution.
func begin(t *testing.T, st *redisstore.Store, id string) {
	r, err := st.Start(context.WithoutCancel(t.Context()), store.StartRequest{ID: id, Match: "m", Index: "i", Commit: "c0"})
	if err != nil || !r.Created {
		t.Errorf("start %s: %+v, %v", id, r, err)
	}
}

// gather makes n more calls and returns when all of them wait.
func gather(st *redisstore.Store, n int, f func(i int)) (wait func()) {
	var all sync.WaitGroup
	before := st.Waiting()
	for i := range n {
		all.Go(func() { f(i) })
	}
	for st.Waiting() < before+n {
		runtime.Gosched()
	}
	return all.Wait
}

// Calls that come while the lines are out go together with the first that is back.
func TestCallsShareALine(t *testing.T) {
	st, g, _ := crowd(t)
	wait := gather(st, 100, func(i int) { begin(t, st, fmt.Sprint(i)) })
	g.open()
	wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Max(g.batches) != 64 || len(g.batches) > 3 || g.alone != redisstore.MaxLines {
		t.Errorf("%d calls went by themselves and the rest in %v, want those that held the lines, and at most 64 together", g.alone, g.batches)
	}
}

// A script that Redis has forgotten is sent in full, whatever shared the line; and
// what one call is refused does not touch the others.
func TestCallsThatShareHaveTheirOwnAnswers(t *testing.T) {
	st, g, tg := crowd(t)
	lease := store.Lease{ID: "nobody", Epoch: 1, Nonce: "n"}
	var renewed, posted error
	wait := gather(st, 6, func(i int) {
		switch i {
		case 0:
			_, renewed = st.Renew(t.Context(), lease, time.Minute, 0)
		case 1:
			_, posted = st.Post(t.Context(), store.PostRequest{ID: "nobody", MailID: "m", Limit: 1})
		default:
			begin(t, st, fmt.Sprint(i))
		}
	})
	if err := tg.client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	g.open()
	wait()
	if !errors.Is(renewed, store.ErrLeaseLost) || !errors.Is(posted, store.ErrNotFound) {
		t.Errorf("renew: %v; post: %v", renewed, posted)
	}
}

// When a connection fails all its calls are tried again, by themselves.
func TestCallsThatShareAreTriedAgain(t *testing.T) {
	for name, after := range map[string]bool{"before Redis has them": false, "when Redis has done them": true} {
		t.Run(name, func(t *testing.T) {
			st, g, _ := crowd(t)
			g.batch = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				if after {
					_ = next(ctx, cmds)
				}
				for _, cmd := range cmds {
					cmd.SetErr(io.EOF)
				}
				return io.EOF
			}
			before := st.Scripts()["start"]
			wait := gather(st, 20, func(i int) { begin(t, st, fmt.Sprint(i)) })
			g.open()
			wait()
			g.mu.Lock()
			defer g.mu.Unlock()
			if got := st.Scripts()["start"] - before; got != 40 || len(g.batches) != 1 || g.alone != redisstore.MaxLines+20 {
				t.Errorf("%d calls in %v, and %d by themselves; want 20 twice, at first together", got, g.batches, g.alone)
			}
		})
	}
}

// A call whose context ends while it waits is never sent; one that is under way
// then is not waited for, and costs those beside it nothing.
func TestCallsThatShareEndInTime(t *testing.T) {
	st, g, _ := crowd(t)
	ctx, cancel := context.WithCancel(t.Context())
	before := st.Scripts()["start"]
	start := func(ctx context.Context, id string) error {
		_, err := st.Start(ctx, store.StartRequest{ID: id, Match: "m", Index: "i", Commit: "c0"})
		return err
	}
	var cut error
	wait := gather(st, 1, func(int) { cut = start(ctx, "cut") })
	cancel()
	wait()
	if !errors.Is(cut, context.Canceled) {
		t.Errorf("a call that waited for a line: %v", cut)
	}
	if n := st.Scripts()["start"]; n != before || st.Waiting() != 0 {
		t.Errorf("%d starts were sent of %d, and %d wait, want none of the one that was cut", n, before, st.Waiting())
	}

	ctx, cancel = context.WithCancel(t.Context())
	arrived, goOn := make(chan struct{}), make(chan struct{})
	g.batch = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		arrived <- struct{}{}
		<-goOn
		return next(ctx, cmds)
	}
	cutInFlight := make(chan error)
	leads := gather(st, 1, func(int) { begin(t, st, "leads") })
	wait = gather(st, 3, func(i int) {
		if i > 0 {
			begin(t, st, fmt.Sprint("beside-", i))
			return
		}
		cutInFlight <- start(ctx, "in-flight")
	})
	g.open()
	<-arrived
	cancel()
	if err := <-cutInFlight; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was under way: %v", err)
	}
	close(goOn)
	wait()
	leads()
	if _, err := st.Get(t.Context(), "cut"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the call that was cut while it waited: %v", err)
	}
}

// A call that has given up when it gets a line gives it to the next.
func TestLineOfACallThatGaveUp(t *testing.T) {
	st := inProcess(t).open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // it may see either first
		if err := st.GetLine(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("a call whose context has ended: %v", err)
		}
		if n := st.Lines(); n != redisstore.MaxLines-1 {
			t.Fatalf("%d lines are out, want one to be back", n)
		}
	}
}

// Whatever calls give up, and when: lines come back, and go to those that wait.
func TestLinesComeBack(t *testing.T) {
	tg := inProcess(t)
	st := tg.open(t)
	warm(t, st)
	var all sync.WaitGroup
	for i := range 3000 {
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			_, err := st.Start(ctx, store.StartRequest{ID: fmt.Sprint(i), Match: "m", Index: "i", Commit: "c0"})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		all.Go(func() {
			if i%2 > 0 {
				cancel()
			}
		})
		defer cancel()
	}
	all.Wait()
	if st.Lines() != 0 || st.Waiting() != 0 {
		t.Errorf("%d lines are out and %d calls wait, want none when all calls are back", st.Lines(), st.Waiting())
	}
}

// A line waits as long as the last of its calls, with a client that heeds contexts.
func TestLineHasADeadline(t *testing.T) {
	st, g, _ := crowd(t)
	var deadlines []time.Time
	g.batch = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		d, _ := ctx.Deadline()
		deadlines = append(deadlines, d)
		return next(ctx, cmds)
	}
	begun := time.Now()
	wait := gather(st, 3, func(i int) {
		ctx, cancel := context.WithDeadline(t.Context(), begun.Add([]time.Duration{5, 10, 7}[i]*time.Second))
		defer cancel()
		if _, err := st.Start(ctx, store.StartRequest{ID: fmt.Sprint(i), Match: "m", Index: "i", Commit: "c0"}); err != nil {
			t.Error(err)
		}
	})
	g.open()
	wait()
	if len(deadlines) != 1 || !deadlines[0].Equal(begun.Add(10*time.Second)) {
		t.Errorf("the lines have %v, want one until %v", deadlines, begun.Add(10*time.Second))
	}
}

// What is large goes by itself at once.
func TestLargeCallsDoNotShare(t *testing.T) {
	st, g, _ := crowd(t)
	done := make(chan error)
	go func() {
		_, err := st.Start(t.Context(), store.StartRequest{
			ID: "large", Match: "m", Index: "i", Commit: "c0", Root: []byte(strings.Repeat("x", 16<<10)),
		})
		done <- err
	}()
	<-g.entered
	g.open()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
