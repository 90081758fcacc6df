package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

func TestSagaCheckUpgrade(t *testing.T) {
	c := newStackCLI(t, "")
	nothing := func(context.Context, *fare) error { return nil }
	build := func(version string, steps ...*saga.Step[fare]) *saga.Saga[fare] {
		return saga.New("trip", append(steps, saga.Wait[fare]("Wait", time.Hour))...).Version(version)
	}
	one := build("1", saga.Do("Book", nothing).ReadOnly())
	same := build("2", saga.Do("Book", nothing).ReadOnly().Timeout(time.Second))
	longer := build("3", saga.Do("Book", nothing).ReadOnly(), saga.Do("Pay", nothing).ReadOnly())
	st := observe(c.stack.Store)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Sagas: []saga.Definer{one, same}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-coordinator.Ready()
	c.fails(exitNotFound, `no definition "tour" is registered`, "saga", "check-upgrade", "tour")
	c.fails(exitUsage, `"trip" is registered in the versions 1, 2: want one of them as --version, or a file as --graph`, "saga", "check-upgrade", "trip")
	c.fails(exitNotFound, `definition "trip" is not registered in version "4"; it is in 1, 2`, "saga", "check-upgrade", "trip", "--version", "4")
	if r := c.run("saga", "check-upgrade", "trip", "--version", "2"); r.code != exitOK || r.stderr != "trip has no such open executions\n" {
		t.Errorf("without executions: %+v", r)
	}
	for i := range 3 {
		if _, err := one.Start(ctx, coordinator.Client(), fmt.Sprint("t", i), fare{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // they wait
		<-st.parked
	}
	r := c.run("saga", "check-upgrade", "trip", "--version", "2")
	if report := decode[upgradeReport](t, r.stdout); r.code != exitOK || report.Checked != 3 || report.Misfits != 0 || report.Executions == nil ||
		report.Version != "2" || r.stderr != "all 3 open executions of trip would fit version 2\n" {
		t.Errorf("of one that fits: %+v", r)
	}
	if report := decode[upgradeReport](t, c.ok("saga", "check-upgrade", "trip", "--version", "1", "--from", "2")); report.Checked != 0 {
		t.Errorf("from another version: %+v", report)
	}

	graph, err := json.Marshal(longer.Definition())
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		if err := os.WriteFile("trip.json", data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(graph)
	const want = "step Wait, event 6: it came after Book, where the graph goes on at Pay"
	r = c.fails(exitFailed, "3 of 3 open executions of trip would not fit version 3", "saga", "check-upgrade", "trip", "--graph", "trip.json", "--limit", "2")
	report := decode[upgradeReport](t, r.stdout)
	if len(report.Executions) != 2 || report.Misfits != 3 || report.Executions[0].Misfit.String() != want || !strings.Contains(r.stderr, "there are 3 that do not fit; --limit N lists more") {
		t.Errorf("of one that does not fit: %+v", r)
	}
	r = c.run("saga", "check-upgrade", "trip", "--graph", "trip.json", "-o", "table")
	if lines := strings.Split(r.stdout, "\n"); len(lines) != 5 || squeeze(lines[0]) != "EXECUTION VERSION STATUS MISFIT" || !strings.HasSuffix(squeeze(lines[1]), " 1 running "+want) {
		t.Errorf("as a table:\n%s", r.stdout)
	}

	// What fits takes the place of what is registered under its version.
	c.fails(exitUsage, "--register: want the graph as --graph", "saga", "check-upgrade", "trip", "--register")
	c.fails(exitUsage, "--register looks at the executions of the graph's own version: remove --from",
		"saga", "check-upgrade", "trip", "--register", "--graph", "trip.json", "--from", "1")
	for _, tt := range []struct {
		graph *saga.Saga[fare]
		code  int
	}{
		{build("1", saga.Do("Book", nothing).ReadOnly(), saga.Do("Pay", nothing).ReadOnly()), exitFailed},
		{saga.New("trip", saga.Do("Book", nothing).ReadOnly(), saga.Wait[fare]("Wait", time.Hour), saga.Succeed[fare]("End")).Version("1"), exitOK},
	} {
		before, err := coordinator.Client().Definition(ctx, "trip", "1")
		if err != nil {
			t.Fatal(err)
		}
		graph, err := json.Marshal(tt.graph.Definition())
		if err != nil {
			t.Fatal(err)
		}
		write(graph)
		r := c.run("saga", "check-upgrade", "trip", "--graph", "trip.json", "--register")
		if report := decode[upgradeReport](t, r.stdout); r.code != tt.code || report.Registered != (tt.code == exitOK) || report.Checked != 3 {
			t.Errorf("--register: %+v", r)
		}
		after, err := coordinator.Client().Definition(ctx, "trip", "1")
		if err != nil || (len(after.States()) != len(before.States())) != (tt.code == exitOK) {
			t.Errorf("registered are %d states, and were %d; %v", len(after.States()), len(before.States()), err)
		}
	}

	c.fails(exitUsage, "--graph and --version: want one of them", "saga", "check-upgrade", "trip", "--graph", "trip.json", "--version", "1")
	c.fails(exitUsage, "--limit is 0; want 1 or more", "saga", "check-upgrade", "trip", "--limit", "0")
	c.fails(exitUsage, "NAME is missing", "saga", "check-upgrade")
	c.fails(exitUsage, `--graph: trip.json: it is the graph of "trip", want that of "tour"`, "saga", "check-upgrade", "tour", "--graph", "trip.json")
	c.fails(exitUsage, "--graph: open none.json: no such file", "saga", "check-upgrade", "trip", "--graph", "none.json")
	c.fails(exitUsage, "--graph: -: saga: decode a graph", "saga", "check-upgrade", "trip", "--graph", "-")
	write([]byte(`{"format":1,"name":"trip","version":"1","states":[{"name":"A","type":"Nap"}]}`))
	c.fails(exitUsage, `--graph: trip.json: saga: the graph of "trip": state "A": its type is "Nap"`, "saga", "check-upgrade", "trip", "--graph", "trip.json")
	write(make([]byte, maxGraph+1))
	c.fails(exitUsage, "--graph: trip.json: it has more than 16777216 bytes", "saga", "check-upgrade", "trip", "--graph", "trip.json")
}
