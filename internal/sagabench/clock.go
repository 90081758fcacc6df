package sagabench

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A clock times the rounds of one kind of work.
type clock struct {
	elapsed time.Duration
	each    []time.Duration
}

// round calls f for the numbers from, from+1, ... to-1, so many at once, and stops
// at the first error.
func (c *clock) round(from, to, concurrency int, f func(i int) error) error {
	var (
		next   atomic.Int64
		wg     sync.WaitGroup
		failed sync.Once
		first  error
	)
	took := make([]time.Duration, to-from)
	begin := time.Now()
	for range min(concurrency, to-from) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(took) {
					return
				}
				sent := time.Now()
				if err := f(from + i); err != nil {
					failed.Do(func() { first = err })
					next.Store(int64(len(took)))
					return
				}
				took[i] = time.Since(sent)
			}
		})
	}
	wg.Wait()
	c.elapsed += time.Since(begin)
	c.each = append(c.each, took...)
	return first
}

// Each calls f for the numbers from 0 to n-1, so many at once, and stops at the
// first error.
func Each(n, concurrency int, f func(i int) error) error {
	return new(clock).round(0, n, concurrency, f)
}

func (c *clock) rate() float64 { return float64(len(c.each)) / c.elapsed.Seconds() }

// percentile is a time that so many of a hundred calls did not exceed, in ms.
func (c *clock) percentile(p int) float64 {
	slices.Sort(c.each)
	return float64(c.each[(len(c.each)-1)*p/100].Nanoseconds()) / 1e6
}

// A cpuTime is what was used, or not known.
type cpuTime struct {
	seconds float64
	unknown bool
}

func (t *cpuTime) add(other cpuTime) {
	t.seconds += other.seconds
	t.unknown = t.unknown || other.unknown
}

func (t cpuTime) since(before cpuTime) cpuTime {
	return cpuTime{t.seconds - before.seconds, t.unknown || before.unknown}
}

// perThousand is the time for 1,000 of n, or nil where it is not known.
func (t cpuTime) perThousand(n int) *float64 {
	if t.unknown {
		return nil
	}
	seconds := t.seconds * 1000 / float64(n)
	return &seconds
}

// A usage is what this process and Redis have used.
type usage struct{ own, redis cpuTime }

func (u *usage) add(other usage) {
	u.own.add(other.own)
	u.redis.add(other.redis)
}

func (u usage) since(before usage) usage {
	return usage{u.own.since(before.own), u.redis.since(before.redis)}
}

func (u usage) both() cpuTime {
	u.own.add(u.redis)
	return u.own
}

// used is what this process and Redis have used so far.
func (b *Bench) used(ctx context.Context) usage { return usage{ownCPU(), b.redisCPU(ctx)} }

func (b *Bench) redisCPU(ctx context.Context) cpuTime {
	var used cpuTime
	var mu sync.Mutex // the parts of a cluster answer side by side
	err := eachMaster(ctx, b.client, func(ctx context.Context, c redis.Cmdable) error {
		info, err := c.Info(ctx, "cpu").Result()
		mu.Lock()
		defer mu.Unlock()
		used.add(infoCPU(info))
		return err
	})
	used.unknown = used.unknown || err != nil
	return used
}

// infoCPU reads the answer to INFO cpu.
func infoCPU(info string) cpuTime {
	var t cpuTime
	found := 0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "used_cpu_sys" && name != "used_cpu_user" {
			continue
		}
		if seconds, err := strconv.ParseFloat(value, 64); err == nil {
			t.seconds += seconds
			found++
		}
	}
	t.unknown = found < 2
	return t
}

// allocs counts the objects that this process has allocated so far.
func allocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}
