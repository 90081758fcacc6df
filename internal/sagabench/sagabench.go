package sagabench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// A Workload is what is run.
type Workload struct {
	Steps       int  // local steps of a saga, at least 1
	Concurrency int  // sagas under way at once, at least 1
	N           int  // sagas in all, at least 1
	FailLast    bool // the last step fails, and those before it are undone

	run int64 // in its namespace

	// Progress, if set, is called between rounds with the number of sagas that
	// are through.
	Progress func(done int)
}

// A Result is what a workload took.
type Result struct {
	SagasPerSecond float64 `json:"sagas_per_second"`
	P50            float64 `json:"p50_ms"`
	P99            float64 `json:"p99_ms"`
	ScriptsPerSaga float64 `json:"scripts_per_saga"` // sweeps and heartbeats apart
	// CPU is what this process and Redis used, or nil where one of them does
	// not tell. Other clients of that Redis are in it.
	CPU *float64 `json:"cpu_seconds_per_1000"`
	// RedisCPU is the part of it that Redis used.
	RedisCPU *float64 `json:"redis_cpu_seconds_per_1000"`

	// Allocs are of this process, for one saga.
	Allocs float64 `json:"-"`

	FloorScriptsPerSecond float64 `json:"floor_scripts_per_second"`
	FloorSagasPerSecond   float64 `json:"floor_sagas_per_second"`
	FloorP50              float64 `json:"floor_p50_ms"` // of the bare scripts of one saga
	// FloorCPU is what the bare scripts of 1,000 sagas took of both.
	FloorCPU *float64 `json:"floor_cpu_seconds_per_1000"`
	// OfFloor is the sagas' speed as a part of the floor's, and P50OfFloor the
	// time of one as a multiple.
	OfFloor    float64 `json:"of_floor"`
	P50OfFloor float64 `json:"p50_of_floor"`
}

// Options are the client's options that a measurement of so many sagas at once
// needs: a connection for each, and some for the coordinator itself.
func Options(o *redis.UniversalOptions, concurrency int) *redis.UniversalOptions {
	o.PoolSize = concurrency + 10
	return o
}

// A Bench is a namespace of its own in a Redis.
type Bench struct {
	Store     *redisstore.Store
	Namespace string
	client    redis.UniversalClient
	runs      atomic.Int64
}

// Open makes the namespace. It fails with a redisstore.EvictionError where Redis
// may evict keys; one that does not tell is taken.
func Open(ctx context.Context, client redis.UniversalClient) (*Bench, error) {
	b := &Bench{Namespace: "waybill-bench-" + strings.ToLower(rand.Text()[:10]), client: client}
	st, err := redisstore.Open(ctx, redisstore.Config{
		Client: client, Namespace: b.Namespace, AcceptUnknownEviction: true, GiveUp: 3 * time.Second,
	})
	if err != nil {
		if ctx.Err() != nil { // it may be made all the same
			err = errors.Join(err, b.Close(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	b.Store = st
	return b, nil
}

// State is what the sagas carry: some 200 bytes of JSON.
type State struct {
	Customer string
	Amount   int64
	Charge   string
	Credit   string
	Notes    string
}

// Input is the state that sagas begin with.
func Input() State {
	return State{
		Customer: "customer-0001", Amount: 2000, Charge: "ch_0123456789abcdef",
		Credit: "cr_0123456789abcdef", Notes: strings.Repeat("x", 80),
	}
}

// Definition is a saga of local steps that each change the state.
func Definition(steps int, failLast bool) *saga.Saga[State] {
	act := func(_ context.Context, s *State) error { s.Amount++; return nil }
	undo := func(context.Context, *State, saga.Outcome) error { return nil }
	refuse := func(context.Context, *State) error { return saga.Permanent(errors.New("refused")) }
	list := make([]*saga.Step[State], steps)
	for i := range list {
		name := fmt.Sprintf("Step%d", i+1)
		switch {
		case i < steps-1:
			list[i] = saga.Do(name, act).Undo(undo)
		case failLast:
			list[i] = saga.Do(name, refuse)
		default:
			list[i] = saga.Do(name, act)
		}
	}
	return saga.New("bench", list...)
}

// roundSize is how many sagas run before it is the turn of the bare scripts.
const roundSize = 2000

// Run runs a workload.
func (b *Bench) Run(ctx context.Context, w Workload) (Result, error) {
	if w.Steps < 1 || w.Concurrency < 1 || w.N < 1 {
		return Result{}, fmt.Errorf("sagabench: %d steps, %d at once, %d sagas; want 1 or more of each", w.Steps, w.Concurrency, w.N)
	}
	def := Definition(w.Steps, w.FailLast)
	w.run = b.runs.Add(1)
	rec := &recorder{Store: b.Store}
	if err := b.Coordinate(ctx, rec, w.Concurrency, def, func(client *saga.Client) error {
		if err := w.one(ctx, def, client, w.id("recorded")); err != nil {
			return err
		}
		return rec.complete()
	}); err != nil {
		return Result{}, err
	}
	var r Result
	err := b.Coordinate(ctx, b.Store, w.Concurrency, def, func(client *saga.Client) (err error) {
		r, err = b.measure(ctx, w, def, client, rec)
		return err
	})
	return r, err
}

// Coordinate calls f with a client of a coordinator that runs meanwhile.
func (b *Bench) Coordinate(ctx context.Context, st saga.Store, concurrency int, def saga.Definer, f func(*saga.Client) error) error {
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Sagas: []saga.Definer{def}, Logger: slog.New(slog.DiscardHandler), Retention: time.Hour,
		// A slot is free only some time after its saga has ended.
		Concurrency: 2*concurrency + 20,
	})
	if err != nil {
		return err
	}
	// When the caller's context ends, f ends first.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- c.Run(running) }()
	select {
	case <-c.Ready(): // what starts before is opened by scripts of its own
	case err := <-done:
		return err
	}
	err = f(c.Client())
	stop()
	return errors.Join(err, <-done)
}

// id names an execution of the run.
func (w Workload) id(name string) string { return fmt.Sprintf("%d-%s", w.run, name) }

// one runs one saga.
func (w Workload) one(ctx context.Context, def *saga.Saga[State], client *saga.Client, id string) error {
	_, err := def.Run(ctx, client, id, Input())
	if w.FailLast && errors.Is(err, saga.ErrCompensated) {
		return nil
	}
	return err
}

func (b *Bench) measure(ctx context.Context, w Workload, def *saga.Saga[State], client *saga.Client, rec *recorder) (Result, error) {
	var sagas, bare clock
	one := func(i int) error { return w.one(ctx, def, client, w.id(fmt.Sprintf("saga-%d", i))) }
	scripts := func(i int) error { return rec.replay(ctx, b.Store, w.id(fmt.Sprintf("bare-%d", i))) }
	// The first round makes the connections, and does not count.
	if err := errors.Join(new(clock).round(-w.Concurrency, 0, w.Concurrency, one),
		new(clock).round(-w.Concurrency, 0, w.Concurrency, scripts)); err != nil {
		return Result{}, err
	}
	var calls int64
	var allocated uint64
	var ofSagas, ofBare usage
	for from := 0; from < w.N; from += roundSize {
		to := min(from+roundSize, w.N)
		before, used, made := b.Scripts(), b.used(ctx), allocs()
		if err := sagas.round(from, to, w.Concurrency, one); err != nil {
			return Result{}, err
		}
		calls += b.Scripts() - before
		allocated += allocs() - made
		between := b.used(ctx)
		ofSagas.add(between.since(used))
		if err := bare.round(from, to, w.Concurrency, scripts); err != nil {
			return Result{}, err
		}
		ofBare.add(b.used(ctx).since(between))
		if w.Progress != nil {
			w.Progress(to)
		}
	}
	return Result{
		SagasPerSecond: sagas.rate(), P50: sagas.percentile(50), P99: sagas.percentile(99),
		ScriptsPerSaga:        float64(calls) / float64(w.N),
		Allocs:                float64(allocated) / float64(w.N),
		FloorScriptsPerSecond: bare.rate() * float64(rec.scripts()), FloorSagasPerSecond: bare.rate(), FloorP50: bare.percentile(50),
		OfFloor: sagas.rate() / bare.rate(), P50OfFloor: sagas.percentile(50) / bare.percentile(50),
		CPU: ofSagas.both().perThousand(w.N), RedisCPU: ofSagas.redis.perThousand(w.N), FloorCPU: ofBare.both().perThousand(w.N),
	}, nil
}

// Scripts counts the scripts that sagas have had sent, and no sweep or heartbeat.
func (b *Bench) Scripts() int64 {
	var n int64
	for name, calls := range b.Store.Scripts() {
		if name != "heartbeat" && name != "due" {
			n += calls
		}
	}
	return n
}

// Close deletes the namespace. The client stays open.
func (b *Bench) Close(ctx context.Context) error {
	drop := func(ctx context.Context, c redis.Cmdable) error {
		var cursor uint64
		for {
			keys, next, err := c.Scan(ctx, cursor, b.Namespace+":*", 1000).Result()
			if err != nil {
				return err
			}
			pipe := c.Pipeline() // one key a command: those of a cluster's node differ in slots
			for _, key := range keys {
				pipe.Unlink(ctx, key)
			}
			if len(keys) > 0 {
				if _, err := pipe.Exec(ctx); err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	err := eachMaster(ctx, b.client, drop)
	if err != nil {
		return fmt.Errorf("sagabench: delete namespace %s: %w", b.Namespace, err)
	}
	return nil
}

// eachMaster calls f for the Redis, or for each part of a cluster.
func eachMaster(ctx context.Context, client redis.UniversalClient, f func(context.Context, redis.Cmdable) error) error {
	if cluster, ok := client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return f(ctx, c) })
	}
	return f(ctx, client)
}
