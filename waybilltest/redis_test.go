package waybilltest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/redisstore"
	"github.com/waybill-dev/waybill/waybilltest"
)

// What a program opens in production it opens here, with the same settings.
func TestRedisShowsThatItEvictsNothing(t *testing.T) {
	stack := waybilltest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: stack.RedisAddr})
	defer client.Close()
	if _, err := redisstore.Open(t.Context(), redisstore.Config{Client: client, Namespace: "prod"}); err != nil {
		t.Error(err)
	}
	old := redis.NewClient(&redis.Options{Addr: stack.RedisAddr, Protocol: 2})
	defer old.Close()
	for _, c := range []*redis.Client{client, old} {
		for pattern, want := range map[string]string{
			"maxmemory-policy": "map[maxmemory-policy:noeviction]", "MaxMemory*": "map[maxmemory-policy:noeviction]", "save": "map[]",
		} {
			got, err := c.ConfigGet(t.Context(), pattern).Result()
			if err != nil || fmt.Sprint(got) != want {
				t.Errorf("CONFIG GET %s: %v, %v; want %s", pattern, got, err, want)
			}
		}
		if err := c.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err == nil {
			t.Error("CONFIG SET is no error")
		}
	}
}

// A client writes a whole pipeline before it reads the first answer.
func TestNoSocketsPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stack := waybilltest.Start(t, waybilltest.NoSockets())
		_, err := stack.Redis.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for i := range 10_000 {
				p.Set(t.Context(), fmt.Sprint("key-", i), "value", 0)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// A saga that waits an hour for its next attempt ends after an hour of virtual
// time.
func TestNoSocketsSaga(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stack := waybilltest.Start(t, waybilltest.NoSockets())
		type fare struct{ Attempts int }
		def := saga.New("fare", saga.Do("Charge", func(ctx context.Context, f *fare) error {
			if f.Attempts = saga.StepFrom(ctx).Attempt; f.Attempts == 1 {
				return errors.New("the provider is closed")
			}
			return nil
		}).Retry(saga.Exponential(time.Hour, time.Hour, 3)).ReadOnly())
		coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: stack.Store, Sagas: []saga.Definer{def}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- coordinator.Run(ctx) }()
		start := time.Now()
		f, err := def.Run(ctx, coordinator.Client(), "1", fare{})
		if took := time.Since(start); err != nil || f.Attempts != 2 || took < 30*time.Minute || took > 2*time.Hour {
			t.Errorf("after %v: %+v, %v; want two attempts, an hour apart", took, f, err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
