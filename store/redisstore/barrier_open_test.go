package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// TestBarrierKeys: the barrier's key is in the slot of the script's keys, and
// keys that are not in one, or that give it none, are an error.
func TestBarrierKeys(t *testing.T) {
	tg := inProcess(t)
	rec := new(recorder)
	tg.client.AddHook(rec)
	b := openBarrier(t, tg)
	call := store.Call{Key: "{a}}{/1//b/1/do"}
	for _, keys := range [][]string{{"a{x}"}, {"{x}", "y{x}z", "{x}{y}"}, {"a{{b}}c"}} {
		if _, err := b.Run(t.Context(), call, "return 1", keys); err != nil {
			t.Error(err)
		}
		calls, _ := rec.take()
		for _, c := range calls {
			if !slices.Equal(c.keys[1:], keys) || slot(c.keys[0]) != slot(keys[0]) {
				t.Errorf("the keys %q are not in the slot of %q", c.keys, keys)
			}
		}
	}
	for _, keys := range [][]string{{"a"}, {"a", "b"}, {"{}", "{}{x}", "a}b", "{x"}} {
		if _, err := b.Run(t.Context(), call, "return 1", keys); err != nil {
			t.Errorf("without a tag, on one server: %v", err)
		}
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{tg.client.Options().Addr}})
	defer cluster.Close()
	onCluster, err := redisstore.OpenBarrier(t.Context(), redisstore.BarrierConfig{Client: cluster, Namespace: "test", AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		b    *redisstore.Barrier
		keys []string
		want string
	}{
		{b, nil, "no keys"},
		{b, []string{"{x}", "{y}"}, `the keys "{x}" and "{y}" are not in one slot`},
		{b, []string{"{x}", "x"}, "are not in one slot"},
		{b, []string{"x", "{x}"}, "are not in one slot"},
		{onCluster, []string{"x"}, `the key "x" has no tag`},
	} {
		if _, err := tt.b.Run(t.Context(), call, "return 1", tt.keys); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("keys %q: %v, want an error that says %q", tt.keys, err, tt.want)
		}
	}
	if got, err := onCluster.Run(t.Context(), call, "return 'on a cluster'", []string{"{cluster}"}); got != "on a cluster" || err != nil {
		t.Errorf("on a cluster: %q, %v", got, err)
	}
	if _, err := b.Run(t.Context(), store.Call{Key: "ride-1"}, "return 1", []string{"a"}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a key that is none: %v, want ErrInvalid", err)
	}
}

func TestBarrierConfig(t *testing.T) {
	client := inProcess(t).client
	for _, tt := range []struct {
		name string
		cfg  redisstore.BarrierConfig
		want string
	}{
		{"no client", redisstore.BarrierConfig{Namespace: "test"}, "BarrierConfig.Client"},
		{"no namespace", redisstore.BarrierConfig{Client: client}, "BarrierConfig.Namespace is empty"},
		{"a brace", redisstore.BarrierConfig{Client: client, Namespace: "a{b"}, `BarrierConfig.Namespace "a{b" contains '{'`},
		{"a short retention", redisstore.BarrierConfig{Client: client, Namespace: "test", Retention: 15*24*time.Hour - 1}, "at least 360h"},
		{"a negative wait", redisstore.BarrierConfig{Client: client, Namespace: "test", GiveUp: -1}, "BarrierConfig.GiveUp"},
		{"unknown eviction", redisstore.BarrierConfig{Client: client, Namespace: "test"}, "AcceptUnknownEviction"},
	} {
		b, err := redisstore.OpenBarrier(t.Context(), tt.cfg)
		if err == nil || b != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want an error that says %q", tt.name, b, err, tt.want)
		}
	}
	for policy, want := range map[string]bool{"noeviction": true, "volatile-lru": false} {
		tg := inProcess(t)
		tg.client.AddHook(answers{"info": info("maxmemory_policy:" + policy + "\r\n")})
		_, err := redisstore.OpenBarrier(t.Context(), redisstore.BarrierConfig{Client: tg.client, Namespace: "test"})
		var eviction *redisstore.EvictionError
		if want && err != nil || !want && !errors.As(err, &eviction) {
			t.Errorf("%s: %v", policy, err)
		}
	}
}

// TestBarrierLostAnswer: a script whose answer was lost is not run again.
func TestBarrierLostAnswer(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg, p := throughProxy(t, server.new(t))
			l := newLedger(t, tg)
			lost := false
			p.setFate(func(request []byte) fate {
				if lost || !bytes.Contains(request, []byte("RPUSH")) {
					return pass
				}
				lost = true
				return unsaid
			})
			// The server does not know this text, and has to be sent it.
			script := "-- " + l.namespace + "\n" + book
			got, err := l.barrier.Run(t.Context(), store.Call{Key: "a/do"}, script, []string{l.account("a")}, "+")
			if got != "1" || err != nil || !lost {
				t.Errorf("%q, %v, want the first run's 1", got, err)
			}
			if got := l.booked(t, "a"); got != "+" {
				t.Errorf("%q was booked, want +", got)
			}
		})
	}
}

// TestBarrierGivesUp: the error tells whether the script may have been run.
func TestBarrierGivesUp(t *testing.T) {
	for name, tt := range map[string]struct {
		fate      fate // of the first request, after which Redis is away
		uncertain bool
	}{
		"an answer that was lost":      {unsaid, true},
		"a request that may have come": {cut, true},
		"a server that is away":        {pass, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := throughProxy(t, inProcess(t))
			var away atomic.Bool
			client := redis.NewClient(&redis.Options{
				Addr: p.addr(), ContextTimeoutEnabled: true, ConnMaxLifetime: time.Nanosecond, DialerRetries: 1, // each call dials once
				Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
					if away.Load() {
						addr = "127.0.0.1:1" // nobody listens
					}
					return new(net.Dialer).DialContext(ctx, network, addr)
				},
			})
			defer client.Close()
			b, err := redisstore.OpenBarrier(t.Context(), redisstore.BarrierConfig{
				Client: client, Namespace: "test", AcceptUnknownEviction: true, GiveUp: 200 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			away.Store(tt.fate == pass)
			p.setFate(func(request []byte) fate {
				if bytes.Contains(request, []byte("evalsha")) {
					away.Store(true)
					return tt.fate
				}
				return pass
			})
			_, err = b.Run(t.Context(), store.Call{Key: "a/do"}, book, []string{"a"}, "+")
			var unsure interface{ Uncertain() bool }
			if err == nil || errors.As(err, &unsure) != tt.uncertain {
				t.Errorf("got %v, want it uncertain: %t", err, tt.uncertain)
			}
		})
	}
}
