package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/redisstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A target is a Redis that tests run on.
type target struct {
	client    *redis.Client
	namespace string
	// advance lets time pass on the server's clock, which is now's.
	advance func(time.Duration)
	now     func() time.Time
	still   bool // the clock stands still but for advance

	partitions int // 0 is the default
}

// open opens a store on the target.
func (tg target) open(t testing.TB) *redisstore.Store {
	t.Helper()
	st, err := redisstore.Open(t.Context(), redisstore.Config{
		Client: tg.client, Namespace: tg.namespace, Partitions: tg.partitions,
		AcceptUnknownEviction: true, // miniredis shows none
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A server makes targets that share nothing.
type server struct {
	name string
	new  func(t *testing.T) target
}

// epoch is what an in-process server's clock shows at first.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// inProcess is miniredis with a clock that stands still until it is told.
func inProcess(t *testing.T) target {
	t.Helper()
	mini := miniredis.RunT(t)
	now := epoch
	mini.SetTime(now)
	return target{
		client:    dial(t, mini.Addr()),
		namespace: "test",
		advance: func(d time.Duration) {
			now = now.Add(d)
			mini.SetTime(now)
		},
		now:   func() time.Time { return now },
		still: true,
	}
}

// servers are miniredis and the redis-server under test, if there is one.
func servers(t *testing.T) []server {
	t.Helper()
	list := []server{{"miniredis", inProcess}}
	if addr, ok := testserver.Redis(t); ok {
		list = append(list, server{"redis-server", func(t *testing.T) target {
			tg := target{client: dial(t, addr), namespace: testserver.Namespace(t), advance: time.Sleep, now: time.Now}
			t.Cleanup(func() { sweep(t, tg.client, tg.namespace) })
			return tg
		}})
	}
	return list
}

// sweep deletes what a test left on a shared server.
func sweep(t testing.TB, client *redis.Client, namespace string) {
	ctx := context.Background()
	iter := client.Scan(ctx, 0, namespace+"*", 10_000).Iterator()
	for iter.Next(ctx) {
		if err := client.Unlink(ctx, iter.Val()).Err(); err != nil {
			t.Error(err)
		}
	}
	if err := iter.Err(); err != nil {
		t.Error(err)
	}
}

func dial(t testing.TB, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

func TestStore(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{New: func(t *testing.T) storetest.Subject {
				tg := server.new(t)
				return storetest.Subject{Store: tg.open(t), Advance: tg.advance, Still: tg.still}
			}})
		})
	}
}

// TestAsInMemory compares with package memstore: with miniredis to the
// millisecond, with a redis-server on the clock of both.
func TestAsInMemory(t *testing.T) {
	asInMemory(t, storetest.Compare)
}

// TestJobsAsInMemory does so with jobs and audit records.
func TestJobsAsInMemory(t *testing.T) {
	asInMemory(t, storetest.CompareJobs)
}

// TestLettersAsInMemory does so with the catalogue.
func TestLettersAsInMemory(t *testing.T) {
	asInMemory(t, storetest.CompareLetters)
}

func asInMemory(t *testing.T, compare func(t *testing.T, reference, subject storetest.Harness)) {
	const few = 3 // partitions
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			var n int
			reference := storetest.Harness{New: func(t *testing.T) storetest.Subject {
				cfg, advance := memstore.Config{Partitions: few}, func(time.Duration) {}
				if tg.still {
					now := tg.now()
					cfg.Now = func() time.Time { return now }
					advance = func(d time.Duration) { now = now.Add(d) }
				}
				return storetest.Subject{Store: memstore.New(cfg), Advance: advance, Still: tg.still}
			}}
			subject := storetest.Harness{New: func(t *testing.T) storetest.Subject {
				n++
				fresh := tg
				fresh.namespace, fresh.partitions = fmt.Sprintf("%s-%d", tg.namespace, n), few
				return storetest.Subject{Store: fresh.open(t), Advance: tg.advance, Still: tg.still}
			}}
			compare(t, reference, subject)
		})
	}
}

// TestLocks holds locks to a model.
func TestLocks(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			var n int
			storetest.CheckLocks(t, storetest.Harness{New: func(t *testing.T) storetest.Subject {
				n++
				fresh := tg
				fresh.namespace, fresh.partitions = fmt.Sprintf("%s-%d", tg.namespace, n), 2
				return storetest.Subject{Store: fresh.open(t), Advance: tg.advance, Still: tg.still}
			}})
		})
	}
}
