package emulator

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkFIFO receives and deletes ten messages of a FIFO queue at a time, while others of many groups or of
// one wait: what a message costs must not grow with them.
func BenchmarkFIFO(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			q := fifoQueue(b, realClock{}, "q.fifo")
			for i := range n {
				fill(q, strconv.Itoa(i), 1)
			}
			benchmarkLines(b, q, func(i int) string { return strconv.Itoa(i % n) })
		})
		b.Run(fmt.Sprintf("blocked=%d", n), func(b *testing.B) {
			q := fifoQueue(b, realClock{}, "q.fifo")
			fill(q, "blocked", n)
			if _, err := q.receive(context.Background(), receiveOptions{max: 1, visibility: time.Hour}); err != nil {
				b.Fatal(err)
			}
			benchmarkLines(b, q, func(i int) string { return strconv.Itoa(i % 100) })
		})
	}
}

// benchmarkLines sends and receives messages, and deletes them.
func benchmarkLines(b *testing.B, q *queue, group func(int) string) {
	b.Helper()
	b.ReportAllocs()
	sent := 0
	for b.Loop() {
		var arrivals []arrival
		for range 10 {
			sent++
			c := &content{id: strconv.Itoa(sent), group: group(sent), sentAt: q.clock.Now()}
			arrivals = append(arrivals, arrival{message: &message{content: c}, dedup: "d" + strconv.Itoa(sent)})
		}
		q.add(arrivals...)
		got, err := q.receive(context.Background(), receiveOptions{max: 10, visibility: time.Hour})
		if err != nil || len(got) != 10 {
			b.Fatalf("received %d messages, %v", len(got), err)
		}
		for _, d := range got {
			if err := q.delete(d.handle); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(10*b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkFair does the same to a standard queue with a noisy group, and with many quiet ones.
func BenchmarkFair(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			q := newQueue(queueKey{name: "q"}, "q", defaultSettings(), nil, realClock{})
			fill(q, "noisy", n)
			for range 10 {
				if _, err := q.receive(context.Background(), receiveOptions{max: 10, visibility: time.Hour}); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				fill(q, strconv.Itoa(i), 1)
			}
			benchmarkLines(b, q, func(i int) string { return strconv.Itoa(i % n) })
		})
	}
}

// BenchmarkMillion holds a million messages of 256 bytes, and reports the memory that they take.
func BenchmarkMillion(b *testing.B) {
	for _, kind := range []string{"standard", "fair", "fifo"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				s := New(Config{})
				set := defaultSettings()
				if kind == "fifo" {
					set = fifoDefaults()
				}
				q := newQueue(queueKey{name: "q"}, "q", set, nil, realClock{})
				body := strings.Repeat("x", 249)
				for i := range 1_000_000 {
					o := &outgoing{MessageBody: fmt.Sprintf("%07d%s", i, body)}
					if kind != "standard" {
						o.MessageGroupId = "group-" + strconv.Itoa(i%1000)
					}
					if kind == "fifo" {
						o.MessageDeduplicationId = strconv.Itoa(i)
					}
					a, err := s.message(o, set, time.Now())
					if err != nil {
						b.Fatal(err)
					}
					q.add(a)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
				runtime.KeepAlive(q)
			}
		})
	}
}
