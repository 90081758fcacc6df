package sagabench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
)

// open opens a namespace on the test server, or else on an embedded Redis. The
// function that it returns lists the keys that are there.
func open(t *testing.T) (*Bench, func() []string) {
	t.Helper()
	addr, real := testserver.Redis(t)
	if !real {
		addr = miniredis.RunT(t).Addr()
	}
	client := redis.NewUniversalClient(Options(&redis.UniversalOptions{Addrs: []string{addr}}, 10))
	t.Cleanup(func() { client.Close() })
	b, err := Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return b, func() []string {
		keys, err := client.Keys(context.WithoutCancel(t.Context()), b.Namespace+":*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
}

// A saga of N steps takes N + 1 scripts, and two more for each compensation but
// one for the first, whose dispatch is in the commit of the failure.
func TestRun(t *testing.T) {
	for _, tt := range []struct {
		Workload
		scripts float64
	}{
		{Workload{Steps: 3, Concurrency: 10, N: 40}, 4},
		{Workload{Steps: 1, Concurrency: 1, N: 5}, 2},
		{Workload{Steps: 3, Concurrency: 10, N: 40, FailLast: true}, 6},
		{Workload{Steps: 1, Concurrency: 2, N: 1, FailLast: true}, 2},
	} {
		b, keys := open(t)
		var progress []int
		tt.Progress = func(done int) { progress = append(progress, done) }
		r, err := b.Run(t.Context(), tt.Workload)
		if err != nil {
			t.Fatal(err)
		}
		if r.ScriptsPerSaga != tt.scripts {
			t.Errorf("%+v: %v scripts a saga, want %v", tt.Workload, r.ScriptsPerSaga, tt.scripts)
		}
		if r.SagasPerSecond <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.FloorP50 <= 0 || r.OfFloor <= 0 || r.P50OfFloor <= 0 ||
			r.FloorScriptsPerSecond != r.FloorSagasPerSecond*tt.scripts {
			t.Errorf("%+v: %+v", tt.Workload, r)
		}
		for name, cpu := range map[string]*float64{"sagas": r.CPU, "Redis": r.RedisCPU, "bare scripts": r.FloorCPU} {
			if _, real := testserver.Redis(t); real != (cpu != nil) {
				t.Errorf("the CPU time of %s is %v; a real server, and no other, tells its own", name, cpu)
			}
		}
		if r.CPU != nil && *r.CPU <= *r.RedisCPU {
			t.Errorf("of %v s of CPU time Redis used %v", *r.CPU, *r.RedisCPU)
		}
		if len(progress) != 1 || progress[0] != tt.N {
			t.Errorf("progress %v, want %d", progress, tt.N)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if left := keys(); len(left) > 0 {
			t.Errorf("keys are left: %v", left)
		}
	}
}

// The floor is the saga's own scripts: what they leave behind is the same.
func TestReplay(t *testing.T) {
	b, _ := open(t)
	w := Workload{Steps: 2, Concurrency: 1, N: 1, FailLast: true}
	if _, err := b.Run(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	ran, err := b.Store.Get(t.Context(), "1-recorded")
	if err != nil {
		t.Fatal(err)
	}
	replayed, err := b.Store.Get(t.Context(), "1-bare-0")
	if err != nil {
		t.Fatal(err)
	}
	if string(ran.Root) != string(replayed.Root) || ran.Status != replayed.Status || !replayed.Ended ||
		len(ran.Commit) != len(replayed.Commit) || ran.Match != replayed.Match {
		t.Errorf("the saga left\n%+v\nand its scripts\n%+v", ran, replayed)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A run that is interrupted stops, and can be cleaned up after.
func TestInterrupted(t *testing.T) {
	b, keys := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := Workload{Steps: 1, Concurrency: 10, N: 2 * roundSize, Progress: func(int) { cancel() }}
	if _, err := b.Run(ctx, w); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if left := keys(); len(left) > 0 {
		t.Errorf("keys are left: %v", left)
	}
}

func TestWorkloadChecked(t *testing.T) {
	for _, w := range []Workload{{}, {Steps: 1, Concurrency: 1}, {Steps: 1, N: 1}, {Concurrency: 1, N: 1}} {
		if _, err := new(Bench).Run(t.Context(), w); err == nil || !strings.Contains(err.Error(), "want 1 or more") {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestInfoCPU(t *testing.T) {
	for info, want := range map[string]cpuTime{
		"# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.25\r\nused_cpu_sys_children:9\r\n": {seconds: 3.75},
		"# CPU\r\nused_cpu_sys:1.5\r\n": {seconds: 1.5, unknown: true},
		"":                              {unknown: true},
	} {
		if got := infoCPU(info); got != want {
			t.Errorf("%q: %+v, want %+v", info, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	var c clock
	if err := c.round(0, 100, 7, func(int) error { return nil }); err != nil || len(c.each) != 100 {
		t.Errorf("%d, %v", len(c.each), err)
	}
	for i := range c.each {
		c.each[i] = time.Duration(100-i) * time.Millisecond
	}
	if p50, p99 := c.percentile(50), c.percentile(99); p50 != 50 || p99 != 99 {
		t.Errorf("of 1 to 100 ms, p50 is %v and p99 %v", p50, p99)
	}
	refused := errors.New("refused")
	if err := c.round(0, 100, 7, func(i int) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}
