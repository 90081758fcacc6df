package dlq_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// BenchmarkCatalogueGroups groups 500,000 letters of the catalogue by cause, in
// memory and in Redis, if there is one. It is to take less than 3 s. Heap is what
// it leaves there before the garbage is collected, at most.
func BenchmarkCatalogueGroups(b *testing.B) {
	const n = 500_000
	run := func(b *testing.B, letters store.Catalogue) {
		s := embedded(b)
		s.queue("fares-dlq", "", 0)
		began := time.Now()
		s.catalogueMany(letters, n)
		b.Logf("%d letters were put in %v", n, time.Since(began))
		c := s.journalled(memstore.New(memstore.Config{}), withCatalogue(letters)).Catalogue()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for b.Loop() {
			r, err := c.Groups(b.Context(), "fares-dlq", dlq.GroupOptions{})
			if err != nil || r.Seen != n || len(r.Groups) != 7*3*2 {
				b.Fatalf("%d of %d in %d groups, %v", r.Seen, n, len(r.Groups), err)
			}
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "heap-MiB")
		b.ReportMetric(float64(after.Sys-before.Sys)/(1<<20), "sys-MiB")
	}
	b.Run("memory", func(b *testing.B) { run(b, memstore.New(memstore.Config{})) })
	b.Run("redis", func(b *testing.B) {
		addr, ok := testserver.Redis(b)
		if !ok {
			b.Skip("no Redis")
		}
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer client.Close()
		namespace := testserver.Namespace(b)
		defer func() {
			ctx := context.Background()
			for iter := client.Scan(ctx, 0, namespace+"*", 10_000).Iterator(); iter.Next(ctx); {
				client.Unlink(ctx, iter.Val())
			}
		}()
		st, err := redisstore.Open(b.Context(), redisstore.Config{Client: client, Namespace: namespace, AcceptUnknownEviction: true})
		if err != nil {
			b.Fatal(err)
		}
		run(b, st)
	})
}

// catalogueMany puts letters of 42 causes into the catalogue of fares-dlq.
func (s *server) catalogueMany(letters store.Catalogue, n int) {
	s.Helper()
	subject := s.attribute("fares-dlq", "QueueArn")
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	batch := make([]store.Letter, 0, store.MaxLetters)
	for i := range n {
		batch = append(batch, store.Letter{
			LetterSummary: store.LetterSummary{
				ID: fmt.Sprintf("5fea7756-0ea4-451a-a703-%012d", i), Name: fmt.Sprintf("0d3b5b34-91b8-4e3e-9f0e-%012d", i), Reason: "permanent",
				Filter: fmt.Sprint("filter", i%3), Type: "*fare.DeclinedError", Frame: fmt.Sprintf("card declined by issuer %c", 'a'+i%7),
				Source: "fares", FirstFailedAt: at, FailedAt: at.Add(time.Duration(i%2) * time.Hour),
			},
			Body: []byte(`{"v":1}`),
		})
		if len(batch) == cap(batch) || i == n-1 {
			if err := letters.PutLetters(s.Context(), subject, batch); err != nil {
				s.Fatal(err)
			}
			batch = batch[:0]
		}
	}
}
