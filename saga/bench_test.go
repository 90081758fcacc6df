package saga_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/sagabench"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/saga"
)

// concurrency of the benchmarks: sagas under way at once.
const concurrency = 50

// parkedEnv is how many executions BenchmarkBesideParked parks.
const parkedEnv = "WAYBILL_BENCH_PARKED"

// BenchmarkSagas runs sagas of three local steps, in turn with the scripts that
// such a saga consists of. It reports what `waybill bench saga` does: the share
// of the bare scripts' speed says more than the speed, on a machine with other
// work. With redis-server on the PATH it does so under each setting of the
// append-only file, else on the embedded Redis, whose figures say little.
func BenchmarkSagas(b *testing.B) {
	each := func(b *testing.B, client redis.UniversalClient) {
		for _, tt := range []struct {
			name string
			sagabench.Workload
		}{
			{"completed", sagabench.Workload{Concurrency: concurrency}},
			{"compensated", sagabench.Workload{Concurrency: concurrency, FailLast: true}},
			{"alone", sagabench.Workload{Concurrency: 1}},
		} {
			b.Run(tt.name, func(b *testing.B) {
				tt.Steps, tt.N = 3, b.N
				r, err := openBench(b, client).Run(b.Context(), tt.Workload)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(0, "ns/op") // of both kinds of rounds
				b.ReportMetric(r.SagasPerSecond, "sagas/s")
				b.ReportMetric(r.OfFloor, "of-bare-scripts")
				b.ReportMetric(r.P50, "p50-ms")
				b.ReportMetric(r.P50OfFloor, "p50-of-bare-scripts")
				b.ReportMetric(r.ScriptsPerSaga, "scripts/saga")
				b.ReportMetric(r.Allocs, "allocs/saga")
				if r.CPU != nil && r.FloorCPU != nil {
					b.ReportMetric(*r.CPU, "cpu-s/1000-sagas")
					b.ReportMetric(*r.CPU / *r.FloorCPU, "cpu-of-bare-scripts")
				}
			})
		}
	}
	if !testserver.HasRedisServer() {
		b.Run("embedded", func(b *testing.B) { each(b, benchClient(b, miniredis.RunT(b).Addr())) })
		return
	}
	for _, fsync := range []string{"everysec", "always"} {
		b.Run(fsync, func(b *testing.B) {
			each(b, benchClient(b, testserver.StartRedis(b, "--appendonly", "yes", "--appendfsync", fsync)))
		})
	}
}

// BenchmarkParkedMemory parks executions that have done three steps and keep 200
// bytes of state, and reports what each takes of a Redis of its own.
func BenchmarkParkedMemory(b *testing.B) {
	if !testserver.HasRedisServer() {
		b.Skip("needs redis-server on the PATH: the embedded Redis does not tell what it takes")
	}
	client := benchClient(b, testserver.StartRedis(b))
	bench := openBench(b, client)
	act := func(_ context.Context, s *sagabench.State) error { s.Amount++; return nil }
	undo := func(context.Context, *sagabench.State, saga.Outcome) error { return nil }
	def := saga.New("parked",
		saga.Do("Step1", act).Undo(undo), saga.Do("Step2", act).Undo(undo), saga.Do("Step3", act).Undo(undo),
		saga.Wait[sagabench.State]("Wait", 365*24*time.Hour),
		saga.Do("Step4", act),
	)
	if err := bench.Coordinate(b.Context(), bench.Store, concurrency, def, func(c *saga.Client) error {
		before := usedMemory(b, client)
		b.ResetTimer()
		if err := sagabench.Each(b.N, concurrency, func(i int) error {
			id := "saga-" + strconv.Itoa(i)
			if _, err := def.Start(b.Context(), c, id, sagabench.Input()); err != nil {
				return err
			}
			for {
				x, err := c.Get(b.Context(), id)
				if err != nil || x.Step == "Wait" && x.HeldUntil.IsZero() {
					return err
				}
			}
		}); err != nil {
			return err
		}
		b.StopTimer()
		b.ReportMetric(float64(usedMemory(b, client)-before)/float64(b.N), "redis-B/execution")
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

func usedMemory(b *testing.B, client redis.UniversalClient) int64 {
	info := client.InfoMap(b.Context(), "memory")
	n, err := strconv.ParseInt(info.Item("Memory", "used_memory"), 10, 64)
	if err := errors.Join(info.Err(), err); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkBesideParked reports how long a coordinator takes from its start until
// it has done work that waited, and the rate of new sagas, beside many executions
// that are parked: 100,000, or as many as WAYBILL_BENCH_PARKED says. The rate is a
// part of that in an empty namespace of the same Redis, in turn.
func BenchmarkBesideParked(b *testing.B) {
	if !testserver.HasRedisServer() {
		b.Skip("needs redis-server on the PATH")
	}
	parked := 100_000
	if text := os.Getenv(parkedEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			b.Fatalf("%s=%q; want a number of executions", parkedEnv, text)
		}
		parked = n
	}
	b.Run(strconv.Itoa(parked), func(b *testing.B) {
		client := benchClient(b, testserver.StartRedis(b, "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"))
		full, empty := openBench(b, client), openBench(b, client)
		def := sagabench.Definition(3, false)
		starts, err := saga.NewClient(saga.ClientConfig{Store: full.Store})
		if err != nil {
			b.Fatal(err)
		}
		if err := sagabench.Each(parked, concurrency, func(i int) error {
			_, err := def.Start(b.Context(), starts, "parked-"+strconv.Itoa(i), sagabench.Input(), saga.After(365*24*time.Hour))
			return err
		}); err != nil {
			b.Fatal(err)
		}
		if _, err := def.Start(b.Context(), starts, "waits", sagabench.Input()); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		begun := time.Now()
		if err := full.Coordinate(b.Context(), full.Store, concurrency, def, func(c *saga.Client) error {
			_, err := def.Wait(b.Context(), c, "waits")
			return err
		}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begun).Seconds(), "start-up-s")
		// The rounds take turns, and are many enough to be compared.
		var rate [2]float64
		const rounds = 4
		for range rounds {
			for i, bench := range []*sagabench.Bench{full, empty} {
				r, err := bench.Run(b.Context(), sagabench.Workload{Steps: 3, Concurrency: concurrency, N: max(b.N/rounds, 1)})
				if err != nil {
					b.Fatal(err)
				}
				rate[i] += r.SagasPerSecond / rounds
			}
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(rate[0], "sagas/s")
		b.ReportMetric(rate[0]/rate[1], "of-empty")
	})
}

// BenchmarkForEach runs sagas of one ForEach, 100 items at once, and reports what
// an item costs. One that grew with their number would show.
func BenchmarkForEach(b *testing.B) {
	act := func(context.Context, *int) error { return nil }
	def := saga.New("each", saga.ForEach("Each",
		func(n *int) []int { return make([]int, *n) }, nil, saga.Do("One", act).ReadOnly()).Concurrency(100))
	client := benchClient(b, benchAddr(b))
	for _, items := range []int{100, 1000, 10_000} {
		b.Run(strconv.Itoa(items), func(b *testing.B) {
			b.ReportAllocs()
			bench := openBench(b, client)
			if err := bench.Coordinate(b.Context(), bench.Store, concurrency, def, func(c *saga.Client) error {
				if _, err := def.Run(b.Context(), c, "first", 1); err != nil {
					return err
				}
				before := bench.Scripts()
				b.ResetTimer()
				for i := range b.N {
					if _, err := def.Run(b.Context(), c, fmt.Sprintf("each-%d", i), items); err != nil {
						return err
					}
				}
				b.StopTimer()
				per := float64(b.N * items)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/per, "ns/item")
				b.ReportMetric(float64(bench.Scripts()-before)/per, "scripts/item")
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// benchAddr is a Redis for benchmarks that tell more of the engine than of it.
func benchAddr(b *testing.B) string {
	if addr, ok := testserver.Redis(b); ok {
		return addr
	}
	if testserver.HasRedisServer() {
		return testserver.StartRedis(b)
	}
	return miniredis.RunT(b).Addr()
}

func benchClient(b *testing.B, addr string) redis.UniversalClient {
	client := redis.NewUniversalClient(sagabench.Options(&redis.UniversalOptions{Addrs: []string{addr}}, 2*concurrency))
	b.Cleanup(func() { client.Close() })
	return client
}

// openBench opens a namespace that goes with the benchmark.
func openBench(b *testing.B, client redis.UniversalClient) *sagabench.Bench {
	bench, err := sagabench.Open(b.Context(), client)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := bench.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return bench
}
