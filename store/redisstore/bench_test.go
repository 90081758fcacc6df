package redisstore_test

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// BenchmarkScripts runs what an execution of three local steps costs at least:
// a start that opens, and three commits, with frames and history entries of an
// ordinary size. It is the floor that engines are measured against.
func BenchmarkScripts(b *testing.B) {
	addr, ok := testserver.Redis(b)
	if !ok {
		addr = miniredis.RunT(b).Addr()
	}
	for _, side := range []int{1, 50} {
		b.Run(strconv.Itoa(side)+" at once", func(b *testing.B) {
			client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 50, MaxRetries: -1})
			defer client.Close()
			namespace := testserver.Namespace(b)
			defer sweep(b, client, namespace)
			st, err := redisstore.Open(b.Context(), redisstore.Config{
				Client: client, Namespace: namespace, AcceptUnknownEviction: true, // miniredis shows none
			})
			if err != nil {
				b.Fatal(err)
			}
			benchmarkScripts(b, st, side)
		})
	}
}

func benchmarkScripts(b *testing.B, st *redisstore.Store, side int) {
	frame, entry := bytes.Repeat([]byte("f"), 400), bytes.Repeat([]byte("h"), 300)
	run := func(n int64) error {
		id, nonce := fmt.Sprintf("x%d", n), strconv.FormatInt(n, 36)
		started, err := st.Start(b.Context(), store.StartRequest{
			ID: id, Match: "fare@1 d5579c46", Meta: frame[:100], Status: "running", Index: "fare running",
			Root: frame, History: entry, Commit: "c0", Nonce: nonce, Lease: time.Minute,
		})
		if err != nil {
			return err
		}
		for i := range 3 {
			c := &store.Commit{
				Lease:    store.Lease{ID: id, Epoch: 1, Nonce: nonce},
				Previous: "c" + strconv.Itoa(i), CommitID: "c" + strconv.Itoa(i+1),
				Set: map[string][]byte{store.RootFrame: frame}, History: entry,
			}
			if i == 2 {
				c.Next, c.Wake = store.End, started.Now.Add(time.Hour)
				c.Status, c.Index, c.OldIndex = "succeeded", "fare succeeded", "fare running"
			}
			if _, err := st.Commit(b.Context(), c); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		n  atomic.Int64
		wg sync.WaitGroup
	)
	start := time.Now()
	b.ResetTimer()
	for range side {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := run(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "sagas/s")
	var calls int64
	for _, c := range st.Scripts() {
		calls += c
	}
	b.ReportMetric(float64(calls-1)/float64(b.N), "scripts/saga")
}
