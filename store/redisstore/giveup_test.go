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
)

// forever is a time that no test lives to see.
const forever = time.Hour

// impatient opens a store that gives up after d, on a client of these options.
func impatient(t *testing.T, tg target, opt *redis.Options, d time.Duration) *redisstore.Store {
	t.Helper()
	client := redis.NewClient(opt)
	t.Cleanup(func() { client.Close() })
	st, err := redisstore.Open(t.Context(), redisstore.Config{
		Client: client, Namespace: tg.namespace, AcceptUnknownEviction: true, GiveUp: d,
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// aScriptAndReads are calls of each way in which a store asks Redis.
func aScriptAndReads(st *redisstore.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"a script": func(ctx context.Context) error {
			_, err := st.Claim(ctx, store.Claim{Key: "k", Token: "t", Lease: time.Minute})
			return err
		},
		"a read":     func(ctx context.Context) error { _, err := st.Get(ctx, "a"); return err },
		"a pipeline": func(ctx context.Context) error { _, err := st.Count(ctx, "running"); return err },
		"a write":    func(ctx context.Context) error { return st.Leave(ctx, "w") },
	}
}

// TestClientRepeatsNoScript: however the client is set up to try again, a script
// is sent as often as Scripts says, and no more.
func TestClientRepeatsNoScript(t *testing.T) {
	tg, p := throughProxy(t, inProcess(t))
	st := impatient(t, tg, &redis.Options{Addr: p.addr(), MaxRetries: 5, MinRetryBackoff: -1}, forever)
	warm(t, st)
	post := []byte(st.SHA("post"))
	before := st.Scripts()["post"]
	var sent int64
	p.setFate(func(request []byte) fate {
		if !bytes.Contains(request, post) {
			return pass
		}
		if sent++; sent < 4 {
			return unsaid
		}
		return pass
	})
	if _, err := st.Post(t.Context(), store.PostRequest{ID: "warm", MailID: "m1", Limit: 9}); err != nil {
		t.Fatal(err)
	}
	if got := st.Scripts()["post"] - before; got != 4 || sent != 4 {
		t.Errorf("the script was sent %d times and counted %d times, want 4", sent, got)
	}
}

// TestGiveUpBoundsACall: with a client that heeds contexts, a call is over after
// GiveUp, whatever the client's own timeouts and retries.
func TestGiveUpBoundsACall(t *testing.T) {
	for name, hang := range map[string]func(p *proxy, hang *atomic.Bool){
		"a server that does not answer": func(p *proxy, _ *atomic.Bool) { p.setFate(func([]byte) fate { return silent }) },
		"a dial that hangs":             func(p *proxy, hang *atomic.Bool) { hang.Store(true); p.setDown(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg, p := throughProxy(t, inProcess(t))
			var dialHangs atomic.Bool
			st := impatient(t, tg, &redis.Options{
				Addr: p.addr(), ContextTimeoutEnabled: true, ReadTimeout: forever, DialTimeout: forever,
				Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
					if dialHangs.Load() {
						select {
						case <-ctx.Done():
						case <-t.Context().Done():
						}
						return nil, context.DeadlineExceeded
					}
					return net.Dial(network, addr)
				},
			}, 200*time.Millisecond)
			hang(p, &dialHangs)
			for what, call := range aScriptAndReads(st) {
				if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "gave up after 200ms: ") {
					t.Errorf("%s: got error %v, want that it gave up", what, err)
				}
			}
		})
	}
}

// TestGiveUpEndsAttempts: with a client that heeds no context, a call is over
// when the attempt is that was under way after GiveUp, and no other is made.
func TestGiveUpEndsAttempts(t *testing.T) {
	t.Parallel()
	tg, p := throughProxy(t, inProcess(t))
	const giveUp = 200 * time.Millisecond
	st := impatient(t, tg, &redis.Options{
		Addr: p.addr(), ReadTimeout: 2 * giveUp, MaxRetries: 100, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: time.Millisecond,
	}, giveUp)
	var requests atomic.Int64
	p.setFate(func(request []byte) fate {
		if bytes.Contains(request, []byte("hello")) || bytes.Contains(request, []byte("client")) {
			return pass // a new connection
		}
		requests.Add(1)
		return silent
	})
	for what, call := range aScriptAndReads(st) {
		requests.Store(0)
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "gave up after 200ms: ") {
			t.Errorf("%s: got error %v, want that it gave up", what, err)
		}
		if n := requests.Load(); n > 1 {
			t.Errorf("%s: %d requests, want one at most", what, n)
		}
	}
}

// TestClusterClient: a client of a Redis Cluster runs every script and read.
func TestClusterClient(t *testing.T) {
	tg := inProcess(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{tg.client.Options().Addr}})
	defer client.Close()
	st, err := redisstore.Open(t.Context(), redisstore.Config{Client: client, Namespace: tg.namespace, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	for what, call := range aScriptAndReads(st) {
		if err := call(t.Context()); err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, c := range everyScript(tg, st, "a") {
		must(t, c.call)
	}
}
