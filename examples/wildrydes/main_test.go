package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/waybilltest"
)

// TestMain makes the test binary a worker when it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// execute runs the program, and returns its exit status and what it wrote.
func execute(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, progress bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(""), &out, &progress)
	return status, out.String(), progress.String()
}

// demonstrate runs the demo, and returns its report and the JSON of it.
func demonstrate(t *testing.T, args ...string) (report.Report, map[string]any) {
	t.Helper()
	status, stdout, stderr := execute(t, append(args, "-o", "json")...)
	if status != exitOK {
		t.Fatalf("exit status %d\n%s\n%s", status, stdout, stderr)
	}
	var r report.Report
	var fields map[string]any
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(stdout), &fields); err != nil {
		t.Fatal(err)
	}
	check(t, &r)
	return r, fields
}

// check checks what holds for every report that is well.
func check(t *testing.T, r *report.Report) {
	t.Helper()
	if got := r.Tally.Rides(); got != r.Rides {
		t.Errorf("%d rides are accounted for, want %d", got, r.Rides)
	}
	if got := r.Before.Rides(); got != r.Rides {
		t.Errorf("before the redrive %d rides are accounted for, want %d", got, r.Rides)
	}
	if got := r.After.Completed + r.After.Compensated; got != r.Rides {
		t.Errorf("%d rides came to an end, want %d", got, r.Rides)
	}
	if !r.OK() || r.EffectsDoubled != 0 {
		t.Errorf("problems %q, %d effects under one key; want none", r.Problems, r.EffectsDoubled)
	}
	if r.Books.Paid() != r.Books.Booked() || r.Books.Paid() != r.Books.Fares.Amount || r.Books.Held() != 0 {
		t.Errorf("the books do not balance: %+v", r.Books)
	}
}

// TestSample runs the sample as each line expects, in both modes.
func TestSample(t *testing.T) {
	f, err := os.Open("rides.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := rides.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 200 {
		t.Errorf("the sample has %d rides, want 200 or more", len(list))
	}
	want := map[rides.Fate]int{}
	for _, ride := range list {
		want[ride.Expect]++
		if ride.FareAmount != rides.Tariff(ride.Distance).String() {
			t.Errorf("%s costs %s, want what the tariff says: %s", ride.RideID, ride.FareAmount, rides.Tariff(ride.Distance))
		}
	}
	r, fields := demonstrate(t, "--mode", "both", "--input", "rides.jsonl", "--crash", "0")
	for _, name := range []string{
		"rides", "completed", "compensated", "dead_lettered", "dead_lettered_after_redrive", "open", "lost",
		"ledger_balanced", "queue_requests_per_message", "redis_scripts_per_saga", "sagas_per_second",
	} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the JSON lacks %s", name)
		}
	}
	if r.Rides != 2*len(list) || r.Unexpected != 0 || r.Expected != r.Rides {
		t.Errorf("of %d rides %d were expected to end as they did, want all %d", r.Rides, r.Expected-r.Unexpected, 2*len(list))
	}
	saga, pipeline := r.Modes["saga"], r.Modes["pipeline"]
	if saga == nil || pipeline == nil {
		t.Fatal("the report lacks a mode")
	}
	check(t, saga)
	check(t, pipeline)
	if got := (report.Tally{
		Completed: want[rides.Completed], Compensated: want[rides.Compensated],
		DeadLettered: want[rides.DeadLettered], Open: want[rides.Blocked],
	}); saga.Before != got {
		t.Errorf("as sagas before the redrive: %+v, want %+v", saga.Before, got)
	}
	if saga.InReverse != saga.After.Compensated {
		t.Errorf("%d sagas were undone in reverse, want %d", saga.InReverse, saga.After.Compensated)
	}
	if saga.RedisScriptsPerSaga <= 0 || saga.QueueRequestsPerMessage <= 0 || saga.SagasPerSecond <= 0 {
		t.Errorf("the saga's cost is not counted: %+v", saga)
	}
}

// TestKilled kills the worker on the way. Set WAYBILL_SOAK to the number of
// times for more than a few.
func TestKilled(t *testing.T) {
	crashes, count := 4, 80
	if text := os.Getenv("WAYBILL_SOAK"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("WAYBILL_SOAK is %q; want a number of crashes", text)
		}
		crashes, count = n, 400
	}
	for _, mode := range []string{"saga", "pipeline"} {
		t.Run(mode, func(t *testing.T) {
			r, _ := demonstrate(t, "--mode", mode, "--rides", strconv.Itoa(count), "--seed", "3", "--crash", strconv.Itoa(crashes))
			if r.Crashes != crashes {
				t.Errorf("the worker was killed %d times, want %d", r.Crashes, crashes)
			}
			if mode == "saga" && r.InReverse != r.After.Compensated {
				t.Errorf("%d sagas were undone in reverse, want %d", r.InReverse, r.After.Compensated)
			}
		})
	}
}

// TestElsewhere runs on queues and a Redis of another program, as of waybill dev.
func TestElsewhere(t *testing.T) {
	stack := waybilltest.Start(t, waybilltest.Emulator(emulator.Config{NoCooldowns: true}))
	r, _ := demonstrate(t, "--rides", "20", "--crash", "1", "--endpoint", stack.AWSURL, "--redis", stack.RedisAddr)
	if r.Crashes != 1 {
		t.Errorf("the worker was killed %d times, want once", r.Crashes)
	}
	keys, err := stack.Redis.Keys(t.Context(), "wildrydes*").Result()
	if len(keys) > 0 || err != nil {
		t.Errorf("it leaves the keys %q, %v", keys, err)
	}
}

// TestNobodyThere: what was meant to be there is named, with what may help.
func TestNobodyThere(t *testing.T) {
	for _, args := range [][]string{{"--redis", "127.0.0.1:1"}, {"--endpoint", "http://127.0.0.1:1"}} {
		status, stdout, stderr := execute(t, args...)
		if status != exitFailed || stdout != "" || !strings.Contains(stderr, " at "+args[1]+": ") ||
			!strings.Contains(stderr, "nothing answers there: check --endpoint and --redis") {
			t.Errorf("%q: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.jsonl")
	if err := os.WriteFile(bad, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--mode", "choreography"}, `--mode is "choreography"; want saga, pipeline or both`},
		{[]string{"--rides", "0"}, "--rides is 0; want 1 to 1000000"},
		{[]string{"--crash", "-1"}, "--crash is -1; want 0 to 10000"},
		{[]string{"-o", "xml"}, `--output is "xml"; want text or json`},
		{[]string{"--endpoint", "localhost"}, `--endpoint is "localhost"; want the URL of LocalStack`},
		{[]string{"--fail", "luck=1"}, `--fail: "luck" is not a failure; want one of fail_auth`},
		{[]string{"--input", bad, "--fail", "none"}, "--fail is for rides that are generated"},
		{[]string{"--input", filepath.Join(dir, "none")}, "--input: open"},
		{[]string{"--input", bad}, "line 1: rideId is missing"},
		{[]string{"--input", "rides.jsonl", "--rides", "999"}, "--rides is 999; --input rides.jsonl has 240 rides"},
		{[]string{"--redis", "nonsense"}, "--redis: redis.addr has an address without a host or a port"},
		{[]string{"--config", filepath.Join(dir, "none.yaml")}, "none.yaml: does not exist"},
		{[]string{"--speed", "9"}, "unknown flag: --speed"},
		{[]string{"--rides", "many"}, `invalid argument "many" for "--rides" flag`},
		{[]string{"--seed"}, "flag needs an argument: --seed"},
		{[]string{"rides.jsonl"}, `"rides.jsonl" is not a flag`},
	} {
		status, stdout, stderr := execute(t, tt.args...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: status %d, stdout %q, stderr %q; want %q", tt.args, status, stdout, stderr, tt.want)
		}
	}
}

func TestHelp(t *testing.T) {
	status, stdout, stderr := execute(t, "-h")
	if status != exitOK || stderr != "" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	for _, flag := range []string{"--mode", "--rides", "--seed", "--input", "--fail", "--crash", "--redis", "--endpoint", "--yes", "EMPTIES", "waybill:managed", "-o, --output text|json", "before_redrive and after_redrive"} {
		if !strings.Contains(stdout, flag) {
			t.Errorf("the help lacks %s", flag)
		}
	}
}
