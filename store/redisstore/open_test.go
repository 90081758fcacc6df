package redisstore_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// answers is a hook that answers some commands in the server's place.
type answers map[string]func(redis.Cmder) error

func (a answers) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a answers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (a answers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if answer := a[cmd.Name()]; answer != nil {
			err := answer(cmd)
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

// A replyError is an error that a server answers with.
type replyError string

func (e replyError) Error() string { return string(e) }
func (e replyError) RedisError()   {}

func info(text string) func(redis.Cmder) error {
	return func(cmd redis.Cmder) error {
		cmd.(*redis.StringCmd).SetVal(text)
		return nil
	}
}

func config(values map[string]string) func(redis.Cmder) error {
	return func(cmd redis.Cmder) error {
		cmd.(*redis.MapStringStringCmd).SetVal(values)
		return nil
	}
}

func refuses(err error) func(redis.Cmder) error { return func(redis.Cmder) error { return err } }

// TestEviction: Open refuses a Redis that may evict keys, by INFO or else by
// CONFIG, and one that shows neither unless told that it is all right.
func TestEviction(t *testing.T) {
	unknown := replyError("ERR unknown command")
	tests := []struct {
		name   string
		server answers
		accept bool
		policy string // of the EvictionError, or "unreadable"; empty where Open succeeds
	}{
		{name: "noeviction by INFO", server: answers{"info": info("# Memory\r\nused_memory:1\r\nmaxmemory_policy:noeviction\r\n"), "config": refuses(unknown)}},
		{name: "evicting by INFO", server: answers{"info": info("maxmemory_policy:allkeys-lru\r\nmaxmemory:0\r\n")}, policy: "allkeys-lru"},
		{name: "evicting by INFO, accepted if unknown", server: answers{"info": info("maxmemory_policy:volatile-ttl\r\n")}, accept: true, policy: "volatile-ttl"},
		{name: "noeviction by CONFIG", server: answers{"info": info("used_memory:1\r\n"), "config": config(map[string]string{"maxmemory-policy": "noeviction"})}},
		{name: "evicting by CONFIG", server: answers{"info": refuses(unknown), "config": config(map[string]string{"maxmemory-policy": "allkeys-random"})}, policy: "allkeys-random"},
		{name: "neither", server: answers{"info": refuses(unknown), "config": refuses(replyError("NOPERM no permission"))}, policy: "unreadable"},
		{name: "neither, accepted", server: answers{"info": refuses(unknown), "config": refuses(unknown)}, accept: true},
		{name: "CONFIG without it", server: answers{"info": info(""), "config": config(nil)}, policy: "unreadable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tg := inProcess(t)
			tg.client.AddHook(tt.server)
			st, err := redisstore.Open(t.Context(), redisstore.Config{
				Client: tg.client, Namespace: "test", AcceptUnknownEviction: tt.accept,
			})
			if tt.policy == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var eviction *redisstore.EvictionError
			if !errors.As(err, &eviction) || st != nil {
				t.Fatalf("got %v, %v, want an EvictionError and no store", st, err)
			}
			want := tt.policy
			if tt.policy == "unreadable" {
				want = ""
				if !strings.Contains(err.Error(), "AcceptUnknownEviction") {
					t.Errorf("error %q does not tell what to do", err)
				}
			}
			if eviction.Policy != want {
				t.Errorf("policy %q, want %q", eviction.Policy, want)
			}
			if keys := tg.client.Keys(t.Context(), "*").Val(); len(keys) > 0 {
				t.Errorf("a server that was refused has keys %q", keys)
			}
		})
	}
}

// TestEvictionOfARealServer reads the policy of a redis-server.
func TestEvictionOfARealServer(t *testing.T) {
	for _, server := range servers(t)[1:] {
		tg := server.new(t)
		if _, err := redisstore.Open(t.Context(), redisstore.Config{Client: tg.client, Namespace: tg.namespace}); err != nil {
			t.Error(err)
		}
	}
}

// TestSettings: Open refuses a namespace that was made otherwise.
func TestSettings(t *testing.T) {
	open := func(tg target, partitions int) (*redisstore.Store, error) {
		return redisstore.Open(t.Context(), redisstore.Config{
			Client: tg.client, Namespace: tg.namespace, Partitions: partitions, AcceptUnknownEviction: true,
		})
	}
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			for _, tt := range []struct{ ask, get int }{{16, 16}, {16, 16}, {0, 16}} {
				st, err := open(tg, tt.ask)
				if err != nil {
					t.Fatal(err)
				}
				if got := st.Partitions(); got != tt.get {
					t.Errorf("asked for %d partitions and got %d, want %d", tt.ask, got, tt.get)
				}
			}
			st, err := open(tg, 32)
			refused(t, st, err, "the number of partitions of namespace", "16", "32")

			settings := tg.namespace + ":settings"
			if err := tg.client.HSet(t.Context(), settings, "format", "2").Err(); err != nil {
				t.Fatal(err)
			}
			st, err = open(tg, 16)
			refused(t, st, err, "the format of namespace", "2", "1")

			if err := tg.client.HDel(t.Context(), settings, "format").Err(); err != nil {
				t.Fatal(err)
			}
			st, err = open(tg, 16)
			refused(t, st, err, "the format of namespace", "not recorded", "1")
		})
	}
}

// TestExisting: who only looks makes no namespace.
func TestExisting(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			cfg := redisstore.Config{Client: tg.client, Namespace: tg.namespace, Existing: true, AcceptUnknownEviction: true}
			_, err := redisstore.Open(t.Context(), cfg)
			if !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), strconv.Quote(tg.namespace)) {
				t.Errorf("got %v, want ErrNotFound with the namespace's name", err)
			}
			if n := tg.client.Exists(t.Context(), tg.namespace+":settings").Val(); n != 0 {
				t.Error("the namespace was made")
			}
			made := cfg
			made.Existing, made.Partitions = false, 16
			if _, err := redisstore.Open(t.Context(), made); err != nil {
				t.Fatal(err)
			}
			if st, err := redisstore.Open(t.Context(), cfg); err != nil || st.Partitions() != 16 {
				t.Errorf("the namespace in use: %v, %v", st, err)
			}
		})
	}
}

func refused(t *testing.T, st *redisstore.Store, err error, what, got, want string) {
	t.Helper()
	var format *store.FormatError
	if !errors.As(err, &format) || st != nil {
		t.Fatalf("got %v, %v, want a FormatError and no store", st, err)
	}
	if !strings.HasPrefix(format.What, what) || format.Got != got || format.Want != want {
		t.Errorf("got %q, want %s ... is %s, want %s", err, what, got, want)
	}
}

// TestVersions: what was written in another format is refused, and left alone.
func TestVersions(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			st := tg.open(t)
			ctx := t.Context()
			start := store.StartRequest{ID: "a", Match: "m", Index: "running", Commit: "c0"}
			if _, err := st.Start(ctx, start); err != nil {
				t.Fatal(err)
			}
			record := findKey(t, tg, ":x:a")
			if err := tg.client.HSet(ctx, record, "v", "2 1767323045678 m", "z", "1").Err(); err != nil {
				t.Fatal(err)
			}
			before := describe(tg, dump(t, tg))
			for name, call := range map[string]func() error{
				"Open": func() error {
					_, err := st.Open(ctx, store.OpenRequest{ID: "a", Nonce: "n", Lease: time.Hour})
					return err
				},
				"Start": func() error { _, err := st.Start(ctx, start); return err },
				"Post": func() error {
					_, err := st.Post(ctx, store.PostRequest{ID: "a", MailID: "m", Limit: 1})
					return err
				},
				"Purge": func() error { _, err := st.Purge(ctx, "a", time.Hour); return err },
			} {
				var format *store.FormatError
				if err := call(); !errors.As(err, &format) || format.Got != "2" || format.Want != "1" {
					t.Errorf("%s: got error %v, want a FormatError of 2 instead of 1", name, err)
				}
			}
			if after := describe(tg, dump(t, tg)); after != before {
				t.Errorf("something was written.\n--- before\n%s--- after\n%s", before, after)
			}
			r, err := st.Get(ctx, "a")
			if err != nil || r.Version != 2 {
				t.Errorf("Get: version %v, %v, want 2", r, err)
			}
		})
	}
}

// findKey returns the key of the namespace that ends so.
func findKey(t *testing.T, tg target, suffix string) string {
	t.Helper()
	for _, s := range dump(t, tg) {
		if strings.HasSuffix(s.Key, suffix) {
			return s.Key
		}
	}
	t.Fatalf("no key ends with %q", suffix)
	return ""
}

func TestConfig(t *testing.T) {
	client := inProcess(t).client
	for _, tt := range []struct {
		name string
		cfg  redisstore.Config
		want string
	}{
		{"no client", redisstore.Config{Namespace: "test"}, "Config.Client"},
		{"no namespace", redisstore.Config{Client: client}, "Config.Namespace"},
		{"a colon", redisstore.Config{Client: client, Namespace: "a:b"}, `contains ':'`},
		{"a brace", redisstore.Config{Client: client, Namespace: "a{b"}, `contains '{'`},
		{"a long namespace", redisstore.Config{Client: client, Namespace: strings.Repeat("x", 65)}, "at most 64"},
		{"negative partitions", redisstore.Config{Client: client, Namespace: "test", Partitions: -1}, "Config.Partitions is -1"},
		{"too many partitions", redisstore.Config{Client: client, Namespace: "test", Partitions: 16385}, "Config.Partitions is 16385"},
		{"a negative wait", redisstore.Config{Client: client, Namespace: "test", GiveUp: -1}, "Config.GiveUp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st, err := redisstore.Open(t.Context(), tt.cfg)
			if err == nil || st != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want an error that says %q", st, err, tt.want)
			}
		})
	}
}
