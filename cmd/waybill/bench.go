package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/internal/sagabench"
)

// cleanWithin bounds how long the keys of a benchmark are being deleted.
const cleanWithin = time.Minute

func (a *app) benchCommand() *cobra.Command {
	return group("bench", "Measure what a Redis can do",
		"Measure how much work a Redis can do, to find the size that yours needs.",
		a.benchSagaCommand())
}

// A benched saga is what was run, and what it took.
type benched struct {
	Steps       int  `json:"steps"`
	Concurrency int  `json:"concurrency"`
	N           int  `json:"n"`
	FailLast    bool `json:"fail_last"`
	sagabench.Result
}

func (a *app) benchSagaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "saga --redis ADDR",
		Short: "Measure how many sagas of local steps a second a Redis can keep",
		Long: `Run sagas of local steps that do nothing, and measure how many a second this
machine and a Redis can do. It puts full load on both. The Redis must be named
by --redis itself: the one of a configuration has other work, and the embedded
one is no measure.

In turn with the sagas it sends the scripts that they consist of by themselves:
what Redis, network and client can do at all. of_floor is the sagas' speed as a
part of that. cpu_seconds_per_1000 is of this process and of Redis, and counts
other clients of that Redis too; null where they do not tell. Of that Redis used
redis_cpu_seconds_per_1000; it has one core for scripts.

Its keys are in a namespace of their own, and are deleted at the end, also when
it is interrupted (exit code 130). Finding them takes a scan of all keys.`,
		Args: takes(),
	}
	var w sagabench.Workload
	cmd.Flags().IntVar(&w.Steps, "steps", 3, "`N` steps a saga")
	cmd.Flags().IntVar(&w.Concurrency, "concurrency", 50, "`N` sagas at once")
	cmd.Flags().IntVar(&w.N, "n", 20000, "`N` sagas in all")
	cmd.Flags().BoolVar(&w.FailLast, "fail-last", false, "have the last step fail, and those before it undone")
	cmd.RunE = a.does(func(cmd *cobra.Command, _ []string) error {
		for _, f := range []struct {
			name       string
			value, max int
		}{{"steps", w.Steps, 1000}, {"concurrency", w.Concurrency, 10000}, {"n", w.N, 100_000_000}} {
			if f.value < 1 || f.value > f.max {
				return usagef("--%s is %d; want 1 to %d", f.name, f.value, f.max)
			}
		}
		if !a.flags.Lookup("redis").Changed {
			return usagef("%s: --redis is missing: name the Redis to measure; the embedded one is no measure, and that of the configuration has other work", cmd.CommandPath())
		}
		w.Progress = a.benchProgress(w.N)
		r, err := a.bench(cmd.Context(), w)
		if err != nil {
			return err
		}
		return a.printBenched(benched{w.Steps, w.Concurrency, w.N, w.FailLast, r})
	})
	return cmd
}

// bench runs a workload on the configured Redis, and leaves nothing there.
func (a *app) bench(ctx context.Context, w sagabench.Workload) (r sagabench.Result, err error) {
	cfg, err := a.configuration()
	if err != nil {
		return r, err
	}
	client := redis.NewUniversalClient(sagabench.Options(cfg.Redis.Options(), w.Concurrency))
	defer func() { err = errors.Join(err, client.Close()) }()
	b, err := sagabench.Open(ctx, client)
	if err != nil {
		return r, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
		defer cancel()
		err = errors.Join(err, b.Close(ctx))
	}()
	return b.Run(ctx, w)
}

// benchProgress returns what shows how far it has come, on a terminal.
func (a *app) benchProgress(n int) func(int) {
	if !terminal(a.stderr) {
		return nil
	}
	last := time.Now()
	return func(done int) {
		if time.Since(last) >= time.Second {
			last = time.Now()
			a.note("%d of %d sagas", done, n)
		}
	}
}

func (a *app) printBenched(r benched) error {
	t := table{}
	outcome := "completed"
	if r.FailLast {
		outcome = "compensated"
	}
	t.add("sagas", fmt.Sprintf("%d of %d steps, %d at once, %s", r.N, r.Steps, r.Concurrency, outcome))
	t.add("sagas a second", fmt.Sprintf("%.0f", r.SagasPerSecond))
	t.add("p50, p99", fmt.Sprintf("%.2f ms, %.2f ms", r.P50, r.P99))
	t.add("scripts a saga", strconv.FormatFloat(r.ScriptsPerSaga, 'f', 2, 64))
	if r.CPU != nil && r.FloorCPU != nil {
		t.add("CPU for 1000 sagas", fmt.Sprintf("%.3f s, %.3f s of it Redis's; the bare scripts %.3f s", *r.CPU, *r.RedisCPU, *r.FloorCPU))
	}
	t.add("bare scripts a second", fmt.Sprintf("%.0f, of %.0f sagas", r.FloorScriptsPerSecond, r.FloorSagasPerSecond))
	t.add("of the bare scripts", fmt.Sprintf("%.2f of their speed, %.2f times their p50", r.OfFloor, r.P50OfFloor))
	return a.print(r, t)
}
