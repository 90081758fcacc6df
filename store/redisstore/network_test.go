package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// throughProxy puts a proxy between the target's client and its server.
func throughProxy(t *testing.T, tg target) (target, *proxy) {
	t.Helper()
	p := newProxy(t, tg.client.Options().Addr)
	tg.client = dial(t, p.addr())
	return tg, p
}

// TestStoreWithLostAnswers runs the whole suite while every fifth script does
// its work and loses its answer: the store calls again, and callers notice
// nothing. Not so with Post and Deliver, whose repeats may say that the mail
// came before, and with Due, whose executions come later.
func TestStoreWithLostAnswers(t *testing.T) {
	for _, server := range servers(t) {
		testWithLostAnswers(t, server.name, server, func(*redisstore.Store) {})
		// All calls that are made at once share what there is.
		testWithLostAnswers(t, server.name+" on one line", server, (*redisstore.Store).HoldLines)
	}
}

func testWithLostAnswers(t *testing.T, name string, server server, prepare func(*redisstore.Store)) {
	t.Run(name, func(t *testing.T) {
		var lost atomic.Int64
		storetest.Run(t, storetest.Harness{New: func(t *testing.T) storetest.Subject {
			tg, p := throughProxy(t, server.new(t))
			st := tg.open(t)
			prepare(st)
			post, due := []byte(st.SHA("post")), []byte(st.SHA("due"))
			n := 0
			p.setFate(func(request []byte) fate {
				if !bytes.Contains(request, []byte("evalsha")) || bytes.Contains(request, post) || bytes.Contains(request, due) {
					return pass
				}
				if n++; n%5 == 0 {
					lost.Add(1)
					return unsaid
				}
				return pass
			})
			return storetest.Subject{Store: st, Advance: tg.advance, Still: tg.still}
		}})
		if lost.Load() < 100 {
			t.Errorf("%d answers were lost, want hundreds", lost.Load())
		}
	})
}

// TestLostAnswers: what Post, Deliver and Due answer when their first answer was
// lost.
func TestLostAnswers(t *testing.T) {
	tg, p := throughProxy(t, inProcess(t))
	st := tg.open(t)
	ctx := t.Context()
	loseNext := func(script string) {
		sha, done := []byte(st.SHA(script)), false
		p.setFate(func(request []byte) fate {
			if done || !bytes.Contains(request, sha) {
				return pass
			}
			done = true
			return unsaid
		})
	}
	warm(t, st)
	if _, err := st.Start(ctx, store.StartRequest{ID: "a", Match: "m", Index: "running", Commit: "c0"}); err != nil {
		t.Fatal(err)
	}
	loseNext("post")
	posted, err := st.Post(ctx, store.PostRequest{ID: "a", MailID: "m1", Body: []byte("m1"), Limit: 1})
	if posted || err != nil {
		t.Errorf("Post: %t, %v, want it dropped as a repeat", posted, err)
	}
	if r, err := st.Get(ctx, "a"); err != nil || r.Unread != 1 {
		t.Errorf("the mailbox: %+v, %v, want one mail", r, err)
	}

	deliver := func(mail, nonce string) store.Delivery {
		t.Helper()
		loseNext("post")
		got, err := st.Deliver(ctx, store.PostRequest{ID: "b", MailID: mail, Body: []byte(mail), Limit: 2},
			store.OpenRequest{ID: "b", Nonce: nonce, Lease: time.Hour})
		if err != nil {
			t.Error(err)
		}
		return got
	}
	if _, err := st.Start(ctx, store.StartRequest{ID: "b", Match: "m", Index: "running", Commit: "c0", Wake: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := deliver("m1", "n1"); !got.Posted || got.Opening == nil || got.Opening.Epoch != 1 || len(got.Opening.Mail) != 1 {
		t.Errorf("Deliver: %+v, want the opening", got)
	}
	if got := deliver("m2", "n2"); got.Posted || got.Opening != nil {
		t.Errorf("Deliver while somebody holds it: %+v, want it dropped as a repeat", got)
	}

	loseNext("due")
	ids, err := st.Due(ctx, []int{st.Partition("a")}, 9, time.Minute)
	if len(ids) != 0 || err != nil {
		t.Errorf("Due: %q, %v, want none for now", ids, err)
	}
	tg.advance(time.Minute)
	if ids, err = st.Due(ctx, []int{st.Partition("a")}, 9, time.Minute); len(ids) != 1 || err != nil {
		t.Errorf("Due a minute later: %q, %v, want the execution", ids, err)
	}
}

// warm loads the scripts that the server has not seen.
func warm(t *testing.T, st *redisstore.Store) {
	t.Helper()
	ctx := t.Context()
	_, _ = st.Post(ctx, store.PostRequest{ID: "warm", MailID: "m", Limit: 1})
	if _, err := st.Start(ctx, store.StartRequest{ID: "warm", Match: "m", Index: "warm", Commit: "c0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Due(ctx, []int{st.Partition("warm")}, 1, time.Hour); err != nil {
		t.Fatal(err)
	}
}

// TestRequestsThatNeverCome: a connection that breaks before the server has the
// request is as harmless.
func TestRequestsThatNeverCome(t *testing.T) {
	tg, p := throughProxy(t, inProcess(t))
	st := tg.open(t)
	n := 0
	p.setFate(func(request []byte) fate {
		if n++; bytes.Contains(request, []byte("evalsha")) && n%2 == 0 {
			return cut
		}
		return pass
	})
	for _, c := range everyScript(tg, st, "a") {
		must(t, c.call)
	}
}

// TestRedisComesBack: calls wait for a Redis that is away, and go through when
// it is back.
func TestRedisComesBack(t *testing.T) {
	tg, p := throughProxy(t, inProcess(t))
	st := tg.open(t)
	warm(t, st)
	p.setDown(true)
	done := make(chan error)
	go func() {
		_, err := st.Open(t.Context(), store.OpenRequest{ID: "warm", Nonce: "n", Lease: time.Hour})
		done <- err
	}()
	read := make(chan error)
	go func() {
		_, err := st.Get(t.Context(), "warm")
		read <- err
	}()
	for range 6 {
		<-p.refused
	}
	select {
	case err := <-done:
		t.Fatalf("the call returned %v while Redis was away", err)
	default:
	}
	p.setDown(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// TestGivingUp: a call gives up after Config.GiveUp, or when its context ends,
// and tells why.
func TestGivingUp(t *testing.T) {
	tg, p := throughProxy(t, inProcess(t))
	st, err := redisstore.Open(t.Context(), redisstore.Config{
		Client: tg.client, Namespace: tg.namespace, AcceptUnknownEviction: true, GiveUp: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	patient := tg.open(t)
	warm(t, st)
	p.setDown(true)
	open := store.OpenRequest{ID: "warm", Nonce: "n", Lease: time.Hour}
	if _, err = st.Open(t.Context(), open); err == nil || !strings.Contains(err.Error(), "redisstore: open:") {
		t.Errorf("got error %v, want one of the connection", err)
	}
	for name, call := range map[string]func(context.Context) error{
		"a script": func(ctx context.Context) error { _, err := patient.Open(ctx, open); return err },
		"a read":   func(ctx context.Context) error { _, err := patient.List(ctx, "warm", 0, 1); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- call(ctx) }()
		for len(p.refused) > 0 {
			<-p.refused
		}
		for range 4 {
			<-p.refused
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "before that") {
			t.Errorf("%s: got error %v, want that the context ended and what was before", name, err)
		}
	}
}

// TestOpenUnreachable: Open tells that Redis cannot be reached.
func TestOpenUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = redisstore.Open(t.Context(), redisstore.Config{Client: dial(t, addr), Namespace: "test"})
	if err == nil || !strings.Contains(err.Error(), "reach Redis") || !strings.Contains(err.Error(), addr) {
		t.Errorf("got error %v, want one that tells of Redis at %s", err, addr)
	}
	var eviction *redisstore.EvictionError
	if errors.As(err, &eviction) {
		t.Error("an EvictionError, though no policy was read")
	}
}

// TestDialTimeouts: a dial that times out is tried again. Its error passes for
// one of a context, and is none.
func TestDialTimeouts(t *testing.T) {
	tg := inProcess(t)
	st := tg.open(t)
	_, timeout := net.DialTimeout("tcp", tg.client.Options().Addr, time.Nanosecond)
	if !errors.Is(timeout, context.DeadlineExceeded) {
		t.Fatalf("got error %v, want one that looks like a context's", timeout)
	}
	calls := 0
	tg.client.AddHook(answers{"hmget": func(cmd redis.Cmder) error {
		if calls++; calls < 3 {
			return timeout
		}
		cmd.(*redis.SliceCmd).SetVal([]any{nil})
		return nil
	}})
	if _, err := st.Frames(t.Context(), "a", "f:"); err != nil || calls != 3 {
		t.Errorf("got error %v after %d calls, want none after 3", err, calls)
	}
}

// TestRepliesThatPass: a server that starts, fails over, moves slots or is out of
// memory is asked again; any other error is returned at once.
func TestRepliesThatPass(t *testing.T) {
	for _, tt := range []struct {
		reply  string
		passes bool
	}{
		{"LOADING Redis is loading the dataset in memory", true},
		{"READONLY You can't write against a read only replica.", true},
		{"CLUSTERDOWN The cluster is down", true},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", true},
		{"TRYAGAIN Multiple keys request during rehashing of slot", true},
		{"BUSY Redis is busy running a script.", true},
		{"ERR max number of clients reached", true},
		{"NOREPLICAS Not enough good replicas to write.", true},
		{"OOM command not allowed when used memory > 'maxmemory'.", true},
		{"OOM command not allowed when used memory > 'maxmemory'. script: 4a15868, on @user_script:1.", true},
		{"ERR Error running script (call to f_4a15868): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.", true},
		{"NOAUTH Authentication required.", false},
		{"ERR something else", false},
	} {
		t.Run(tt.reply, func(t *testing.T) {
			tg := inProcess(t)
			st := tg.open(t)
			warm(t, st)
			calls := 0
			tg.client.AddHook(answers{"hmget": func(cmd redis.Cmder) error {
				if calls++; calls < 3 {
					return replyError(tt.reply)
				}
				cmd.(*redis.SliceCmd).SetVal(make([]any, len(cmd.Args())-2))
				return nil
			}})
			_, err := st.Frames(t.Context(), "a", "f:")
			if tt.passes && (err != nil || calls != 3) {
				t.Errorf("got error %v after %d calls, want none after 3", err, calls)
			}
			if !tt.passes && (err == nil || !strings.Contains(err.Error(), tt.reply) || calls != 1) {
				t.Errorf("got error %v after %d calls, want the reply after 1", err, calls)
			}
		})
	}
}
