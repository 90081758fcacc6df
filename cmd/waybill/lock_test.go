package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// lockers runs a coordinator of a saga whose step waits, under a lock on the
// fare's cents, until it may go on.
func (c *cli) lockers() (client *saga.Client, def *saga.Saga[fare], entered chan string, release chan struct{}, queued chan string) {
	c.Helper()
	entered, release, queued = make(chan string, 10), make(chan struct{}), make(chan string, 1000)
	def = saga.New("locker",
		saga.Do("Credit", func(ctx context.Context, _ *fare) error {
			entered <- saga.StepFrom(ctx).Execution
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil
		}).ReadOnly().Lock(saga.Lock("account", func(f *fare) string { return fmt.Sprint(f.Cents) })),
	)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: &queueing{c.stack.Store, queued}, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	c.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.Error(err)
		}
	})
	return coordinator.Client(), def, entered, release, queued
}

// waits starts an execution that waits for a lock, and returns when it does.
func (c *cli) waits(client *saga.Client, def *saga.Saga[fare], queued <-chan string, id string, cents int64) {
	c.Helper()
	if _, err := def.Start(c.Context(), client, id, fare{cents}); err != nil {
		c.Fatal(err)
	}
	for owner := range queued {
		if owner == id {
			return
		}
	}
}

// queueing tells who waits for a lock, once they do.
type queueing struct {
	*redisstore.Store
	queued chan<- string
}

func (s *queueing) AcquireLock(ctx context.Context, r store.LockRequest) (store.LockAnswer, error) {
	answer, err := s.Store.AcquireLock(ctx, r)
	if err == nil && !answer.Granted() {
		s.queued <- r.Owner
	}
	return answer, err
}

func TestLock(t *testing.T) {
	c := newStackCLI(t, "")
	if r := c.run("lock", "ls"); strings.TrimSpace(r.stdout) != "[]" || r.stderr != "namespace \"test\" has no locks that are held\n" {
		t.Errorf("without locks: %+v", r)
	}
	client, def, entered, release, queued := c.lockers()
	for _, id := range []string{"one", "other"} {
		if _, err := def.Start(t.Context(), client, id, fare{map[string]int64{"one": 7, "other": 8}[id]}); err != nil {
			t.Fatal(err)
		}
		<-entered
	}
	c.waits(client, def, queued, "two", 7)

	list := decode[[]saga.LockInfo](t, c.ok("lock", "ls"))
	if len(list) != 2 || list[0].Resource != "account/7" || list[0].Holder.Execution != "one" || list[0].Waiting != 1 {
		t.Fatalf("listed %+v", list)
	}
	r := c.run("lock", "ls", "--limit", "1", "-o", "table")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(lines) != 2 || squeeze(lines[0]) != "LOCK HOLDER SINCE FENCE WAITING" || !strings.HasPrefix(squeeze(lines[1]), "account/7 one 20") ||
		!strings.Contains(r.stderr, "not all are listed: there are more than 1; --limit N lists more") {
		t.Errorf("one of them: %+v", r)
	}

	l := decode[saga.LockInfo](t, c.ok("lock", "show", "account/7"))
	if l.Holder.Execution != "one" || len(l.Queue) != 1 || l.Queue[0].Execution != "two" || l.Holder.Fence == 0 {
		t.Errorf("show: %+v", l)
	}
	text := squeeze(c.ok("lock", "show", "account/7", "-o", "table"))
	for _, want := range []string{"lock account/7", "holder one", fmt.Sprint("fence ", l.Holder.Fence), "waiting 1. two since 20"} {
		if !strings.Contains(text, want) {
			t.Errorf("show lacks %q:\n%s", want, text)
		}
	}
	if out := squeezeLines(c.ok("lock", "show", "account/9", "-o", "table")); out != squeezeLines("lock account/9\nholder nobody") {
		t.Errorf("one that is free:\n%s", out)
	}
	for id, want := range map[string]string{
		"one": "lock account/7 since 20", "two": "at place 1; one holds it",
	} {
		if text := squeeze(c.ok("saga", "show", id, "-o", "table")); !strings.Contains(text, want) {
			t.Errorf("saga show %s lacks %q:\n%s", id, want, text)
		}
	}
	close(release)
	for _, id := range []string{"one", "two", "other"} {
		c.ended(client, id)
	}
}

func TestLockBreak(t *testing.T) {
	c := newStackCLI(t, "")
	client, def, entered, release, queued := c.lockers()
	if _, err := def.Start(t.Context(), client, "one", fare{7}); err != nil {
		t.Fatal(err)
	}
	<-entered
	c.waits(client, def, queued, "two", 7)
	fence := decode[saga.LockInfo](t, c.ok("lock", "show", "account/7")).Holder.Fence

	r := c.run("lock", "break", "account/7", "--reason", "one hangs")
	if b := decode[brokenLock](t, r.stdout); r.code != exitOK || b != (brokenLock{Lock: "account/7", DryRun: true, Holder: "one", Fence: fence, Next: "two"}) ||
		!strings.Contains(r.stderr, "dry run: nothing was done; give --yes to break it") {
		t.Errorf("dry run: %+v", r)
	}
	if l, err := client.Lock(t.Context(), "account/7"); err != nil || l.Holder.Execution != "one" {
		t.Errorf("after a dry run: %+v, %v", l, err)
	}
	c.fails(exitFailed, fmt.Sprintf(`lock "account/7" is held by "one" under fence %d, and not under %d`, fence, fence+1),
		"lock", "break", "account/7", "--yes", "--fence", fmt.Sprint(fence+1))
	c.fails(exitNotFound, `lock "account/9": nobody holds it`, "lock", "break", "account/9", "--yes")

	want := fmt.Sprintf("LOCK HOLDER BEFORE FENCE NEXT\naccount/7 one %d two", fence)
	out := c.ok("lock", "break", "account/7", "--yes", "--fence", fmt.Sprint(fence), "--reason", "one hangs", "--by", "grace", "-o", "table")
	if squeezeLines(out) != squeezeLines(want) {
		t.Errorf("break:\n%s", out)
	}
	if id := <-entered; id != "two" {
		t.Errorf("the next to have it is %q", id)
	}
	close(release)
	for _, id := range []string{"one", "two"} {
		c.ended(client, id)
	}
	text := squeeze(c.ok("saga", "history", "one", "-o", "table"))
	for _, want := range []string{"LockRequested Credit", fmt.Sprintf("lock account/7; fence %d; by grace; one hangs", fence)} {
		if !strings.Contains(text, want) {
			t.Errorf("the history lacks %q:\n%s", want, text)
		}
	}
}
