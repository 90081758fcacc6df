package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
)

// leftovers lists the keys of benchmarks.
func (c *cli) leftovers() []string {
	c.Helper()
	client := redis.NewClient(&redis.Options{Addr: c.stack.RedisAddr})
	defer client.Close()
	keys, err := client.Keys(c.Context(), "waybill-bench-*").Result()
	if err != nil {
		c.Fatal(err)
	}
	return keys
}

func TestBenchSaga(t *testing.T) {
	c := newStackCLI(t, "")
	for _, tt := range []struct {
		args    string
		scripts float64
		want    map[string]any
	}{
		{"--n 20", 4, map[string]any{"steps": 3.0, "concurrency": 50.0, "n": 20.0, "fail_last": false}},
		{"--n 20 --steps 2 --concurrency 3 --fail-last", 4, map[string]any{"steps": 2.0, "concurrency": 3.0, "n": 20.0, "fail_last": true}},
	} {
		got := decode[map[string]any](t, c.ok(append([]string{"bench", "saga", "--redis", c.stack.RedisAddr, "-o", "json"}, strings.Fields(tt.args)...)...))
		for name, want := range tt.want {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v", tt.args, name, got[name], want)
			}
		}
		for _, name := range []string{
			"sagas_per_second", "p50_ms", "p99_ms", "scripts_per_saga",
			"floor_scripts_per_second", "floor_sagas_per_second", "floor_p50_ms", "of_floor", "p50_of_floor",
		} {
			if v, ok := got[name].(float64); !ok || v <= 0 {
				t.Errorf("%s: %s is %v", tt.args, name, got[name])
			}
		}
		if got["scripts_per_saga"] != tt.scripts {
			t.Errorf("%s: %v scripts a saga, want %v", tt.args, got["scripts_per_saga"], tt.scripts)
		}
		for _, name := range []string{"cpu_seconds_per_1000", "redis_cpu_seconds_per_1000", "floor_cpu_seconds_per_1000"} {
			if cpu, ok := got[name]; !ok || cpu != nil { // the embedded Redis does not tell
				t.Errorf("%s: %s is %v", tt.args, name, cpu)
			}
		}
	}
	if out := c.ok("bench", "saga", "--redis", c.stack.RedisAddr, "--n", "5", "-o", "table"); !strings.Contains(squeeze(out), "sagas 5 of 3 steps, 50 at once, completed") ||
		!strings.Contains(out, "bare scripts a second") {
		t.Errorf("the table is\n%s", out)
	}
	if left := c.leftovers(); len(left) > 0 {
		t.Errorf("keys are left: %v", left)
	}
}

// Only --redis itself names the Redis to put under load.
func TestBenchSagaUsage(t *testing.T) {
	c := newStackCLI(t, "redis: {addr: 127.0.0.1:6379}\n") // and WAYBILL_REDIS is set
	for args, want := range map[string]string{
		"":                             "waybill bench saga: --redis is missing: name the Redis to measure",
		"--redis x:1 --steps 0":        "--steps is 0; want 1 to 1000",
		"--redis x:1 --concurrency -1": "--concurrency is -1; want 1 to 10000",
		"--redis x:1 --n 0":            "--n is 0; want 1 to 100000000",
		"--redis nowhere":              "want host:port",
		"--redis x:1 now":              `takes no argument, and got "now"`,
	} {
		if r := c.fails(exitUsage, want, append([]string{"bench", "saga"}, strings.Fields(args)...)...); r.stdout != "" {
			t.Errorf("%s: stdout %s", args, r.stdout)
		}
	}
	c.fails(exitFailed, "nothing answers there", "bench", "saga", "--redis", "127.0.0.1:1")
}

// An interrupted benchmark leaves nothing behind.
func TestBenchSagaInterrupted(t *testing.T) {
	c := newStackCLI(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan result, 1)
	go func() {
		ended <- c.runContext(ctx, "bench", "saga", "--redis", c.stack.RedisAddr, "--n", "10000000")
	}()
	running := func(key string) bool { return strings.Contains(key, ":x:1-saga-") }
	for !slices.ContainsFunc(c.leftovers(), running) {
		select {
		case r := <-ended:
			t.Fatalf("it ended: %+v", r)
		default:
		}
	}
	cancel()
	if r := <-ended; r.code != exitInterrupted || r.stdout != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
	}
	if left := c.leftovers(); len(left) > 0 {
		t.Errorf("keys are left: %v", left)
	}
}

// A Redis that evicts would lose sagas, and what it can do says nothing.
func TestBenchSagaEviction(t *testing.T) {
	c := newCLI(t, "")
	evicting, err := server.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer evicting.Close()
	for name, answer := range map[string]string{"INFO": "# Memory\r\nmaxmemory_policy:allkeys-lru\r\n", "HELLO": ""} {
		if err := evicting.Register(name, func(p *server.Peer, _ string, _ []string) {
			if answer == "" {
				p.WriteError("ERR unknown command")
				return
			}
			p.WriteBulk(answer)
		}); err != nil {
			t.Fatal(err)
		}
	}
	c.fails(exitFailed, "maxmemory-policy is allkeys-lru and would evict", "bench", "saga", "--redis", evicting.Addr().String())
}

func TestBenchProgress(t *testing.T) {
	tty, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	if f := (&app{stderr: &strings.Builder{}}).benchProgress(9); f != nil {
		t.Error("progress is shown where nobody looks")
	}
	if f := (&app{stderr: tty}).benchProgress(9); f == nil {
		t.Error("no progress on a terminal")
	} else {
		f(1)
	}
}
