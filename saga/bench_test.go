package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// concurrency of the benchmarks: sagas under way at once.
const concurrency = 50

type benchState struct {
	Customer string
	Amount   int64
	Charge   string
	Credit   string
	Notes    string
}

func benchSteps(fail bool) *saga.Saga[benchState] {
	act := func(ctx context.Context, s *benchState) error { s.Amount++; return nil }
	undo := func(ctx context.Context, s *benchState, _ saga.Outcome) error { return nil }
	last := act
	if fail {
		last = func(ctx context.Context, s *benchState) error { return saga.Permanent(errors.New("refused")) }
	}
	return saga.New("bench",
		saga.Do("One", act).Undo(undo),
		saga.Do("Two", act).Undo(undo),
		saga.Do("Three", last),
	)
}

var benchInput = benchState{
	Customer: "customer-0001", Amount: 2000, Charge: "ch_0123456789abcdef",
	Credit: "cr_0123456789abcdef", Notes: strings.Repeat("x", 80),
}

// BenchmarkSagas runs sagas of three local steps, and beside them, in the same
// run, the scripts that such a saga consists of with nothing around them. It
// reports sagas a second, scripts a saga, and the share of the bare scripts'
// speed.
func BenchmarkSagas(b *testing.B) {
	for _, failing := range []bool{false, true} {
		name := "completed"
		if failing {
			name = "compensated"
		}
		b.Run(name, func(b *testing.B) {
			st := benchStore(b)
			s := benchSteps(failing)
			c, err := saga.NewCoordinator(saga.CoordinatorConfig{
				Store: st, Sagas: []saga.Definer{s}, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			client := c.Client()
			if _, err := s.Run(ctx, client, "first", benchInput); err != nil && !failing {
				b.Fatal(err)
			}

			before, cpu := total(st), cpuSeconds(b, st)
			b.ResetTimer()
			elapsed := atOnce(b, func(i int) error {
				_, err := s.Run(ctx, client, "saga-"+strconv.Itoa(i), benchInput)
				if failing && errors.Is(err, saga.ErrCompensated) {
					err = nil
				}
				return err
			})
			b.StopTimer()
			perSaga := float64(total(st)-before) / float64(b.N)
			cpu = cpuSeconds(b, st) - cpu
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			rate := float64(b.N) / elapsed.Seconds()
			b.ReportMetric(rate, "sagas/s")
			b.ReportMetric(perSaga, "scripts/saga")
			b.ReportMetric(cpu*1000/float64(b.N), "cpu-s/1000-sagas")
			if !failing {
				floor := bareScripts(b, st)
				b.ReportMetric(rate/floor, "of-bare-scripts")
			}
		})
	}
}

// bareScripts runs the scripts of b.N sagas of three steps, and returns how
// many sagas a second that would be.
func bareScripts(b *testing.B, st *benchRedis) float64 {
	ctx := context.Background()
	frame := []byte(strings.Repeat("f", 350))
	entry := []byte(strings.Repeat("h", 150))
	elapsed := atOnce(b, func(i int) error {
		id := "bare-" + strconv.Itoa(i)
		nonce := "n" + id
		r, err := st.Start(ctx, store.StartRequest{
			ID: id, Match: "bench/0123456789abcdef0123456789abcdef", Meta: frame, Status: "running", Index: "running:bare",
			Root: frame, History: entry, Commit: "c0", Nonce: nonce, Lease: 30 * time.Second,
		})
		if err != nil {
			return err
		}
		for n := 1; n <= 3; n++ {
			c := &store.Commit{
				Lease: store.Lease{ID: id, Epoch: 1, Nonce: nonce}, Previous: "c" + strconv.Itoa(n-1), CommitID: "c" + strconv.Itoa(n),
				Set: map[string][]byte{store.RootFrame: frame, store.RootFrame + "@" + strconv.Itoa(n): frame[:200]}, History: entry,
			}
			if n == 3 {
				c.Next, c.Wake = store.End, r.Now.Add(time.Hour)
				c.Status, c.Index, c.OldIndex = "completed", "completed:bare", "running:bare"
			}
			if _, err := st.Commit(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	return float64(b.N) / elapsed.Seconds()
}

// atOnce calls f for 0 to b.N-1, so many at a time.
func atOnce(b *testing.B, f func(i int) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, concurrency)
	begin := time.Now()
	for range concurrency {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begin)
	close(errs)
	for err := range errs {
		b.Fatal(err)
	}
	return elapsed
}

func total(st *benchRedis) int64 {
	var n int64
	for name, calls := range st.Scripts() {
		if name != "heartbeat" && name != "due" {
			n += calls
		}
	}
	return n
}

// benchStore is on the test server where there is one: figures on the embedded
// Redis say little.
func benchStore(b *testing.B) *benchRedis {
	addr, ok := testserver.Redis(b)
	if !ok {
		addr = miniredis.RunT(b).Addr()
	}
	client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 2 * concurrency})
	b.Cleanup(func() { client.Close() })
	namespace := fmt.Sprintf("bench-%d-%d", os.Getpid(), time.Now().UnixNano())
	st, err := redisstore.Open(context.Background(), redisstore.Config{
		Client: client, Namespace: namespace, AcceptUnknownEviction: !ok,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { dropNamespace(b, client, namespace) })
	return &benchRedis{Store: st, client: client, real: ok}
}

// A benchRedis is a store on a Redis whose own cost can be asked for.
type benchRedis struct {
	*redisstore.Store
	client *redis.Client
	real   bool
}

// cpuSeconds is what this process and Redis have used so far.
func cpuSeconds(b *testing.B, st *benchRedis) float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	if !st.real {
		return used // which holds the embedded Redis
	}
	info, err := st.client.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			used += seconds
		}
	}
	return used
}

func dropNamespace(b *testing.B, client *redis.Client, namespace string) {
	ctx := context.Background()
	keys := client.Scan(ctx, 0, namespace+":*", 10000).Iterator()
	pipe := client.Pipeline()
	for keys.Next(ctx) {
		pipe.Unlink(ctx, keys.Val())
	}
	if _, err := pipe.Exec(ctx); err != nil && pipe.Len() > 0 {
		b.Error(err)
	}
}
