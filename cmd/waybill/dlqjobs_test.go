package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// atFirstSend does something while a redrive is at its first send.
func (c *cli) atFirstSend(do func()) {
	var once sync.Once
	c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Operation == "SendMessageBatch" {
			once.Do(do)
		}
		return f
	})
}

func buried(t *testing.T, n int) *cli {
	c, bury := newGraveyard(t)
	for i := range n {
		bury("sqs://test-fares-dlq", fmt.Sprint(i), "{}", "sqs://test-fares", queue.ReasonPermanent)
	}
	return c
}

// What was interrupted is shown, keeps others off, and goes on.
func TestDLQRedriveResume(t *testing.T) {
	c := buried(t, 30)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.atFirstSend(cancel)
	t.Setenv("WAYBILL_NAMESPACE", "")
	r := c.runContext(ctx, "dlq", "redrive", "fares", "--yes", "--owner", "ben", "--namespace", "test", "-o", "json")
	report := decode[redriven](t, r.stdout)
	if r.code != exitInterrupted || report.By != "ben" || !strings.Contains(r.stderr, "\nwaybill dlq redrive resume fares --yes --namespace test goes on with it\n") {
		t.Errorf("interrupted: %+v", r)
	}
	if n := c.messages("test-fares-dlq"); n != fmt.Sprint(30-report.Deleted) {
		t.Errorf("%s messages can be received, want all that were not sent", n)
	}
	t.Setenv("WAYBILL_NAMESPACE", "test")
	c.fails(exitHeld, "ben began job "+report.ID, "dlq", "redrive", "fares", "--yes")
	j := decode[dlq.Job](t, c.ok("dlq", "redrive", "status", "fares"))
	if j.ID != report.ID || j.State != dlq.JobStopped || j.Owner != "ben" || j.Status != "interrupted" || j.Report.Deleted != report.Deleted {
		t.Errorf("status %+v", j)
	}
	dry := c.run("dlq", "redrive", "resume", "fares")
	if dry.code != exitOK || !strings.Contains(dry.stderr, "dry run: nothing was done; give --yes to resume") || decode[dlq.Job](t, dry.stdout).State != dlq.JobStopped {
		t.Errorf("dry run: %+v", dry)
	}
	again := decode[redriven](t, c.ok("dlq", "redrive", "resume", "fares", "--yes", "--reason", "was interrupted"))
	if again.ID != report.ID || again.Sent != 30 || again.Remaining != 0 || again.Reason != "was interrupted" {
		t.Errorf("resumed: %+v", again)
	}
	c.fails(exitNotFound, "no redrive that has not ended", "dlq", "redrive", "resume", "fares", "--yes")
	c.fails(exitNotFound, "no redrive that has not ended", "dlq", "redrive", "cancel", "fares", "--yes")
	text := squeeze(c.ok("dlq", "redrive", "history", "-o", "table"))
	if !strings.Contains(text, report.ID+" test-fares-dlq ended, done ada@") {
		t.Errorf("history %s", text)
	}
}

// The second of two operators is told who is at it, with an exit code of its own.
func TestDLQRedriveHeld(t *testing.T) {
	c := buried(t, 5)
	c.atFirstSend(func() {
		c.fails(exitHeld, "ben works on it since", "dlq", "redrive", "fares", "--yes")
		c.fails(exitHeld, "ben works on it since", "dlq", "redrive", "resume", "fares", "--yes")
		if text := squeeze(c.ok("dlq", "redrive", "status", "fares", "-o", "table")); !strings.Contains(text, "state running by ben since") || !strings.Contains(text, "in hand 5") {
			t.Errorf("status %s", text)
		}
		if r := decode[redriven](t, c.ok("dlq", "redrive", "fares")); !r.DryRun {
			t.Errorf("a dry run beside it: %+v", r)
		}
	})
	c.ok("dlq", "redrive", "fares", "--yes", "--owner", "ben")
}

func TestDLQRedriveCancel(t *testing.T) {
	c := buried(t, 30)
	c.atFirstSend(func() {
		if r := c.run("dlq", "redrive", "cancel", "fares"); r.code != exitOK || !strings.Contains(r.stderr, "dry run: nothing was done; give --yes to cancel") {
			t.Errorf("dry run: %+v", r)
		}
		if r := c.run("dlq", "redrive", "cancel", "fares", "--yes", "--owner", "cleo"); r.code != exitOK || !strings.Contains(r.stderr, "hears of it within") {
			t.Errorf("%+v", r)
		}
	})
	r := c.fails(exitFailed, "the job was cancelled by cleo", "dlq", "redrive", "fares", "--yes", "--rate", "1")
	report := decode[redriven](t, r.stdout)
	if report.Sent == 0 || report.Sent == 30 || report.Remaining != 30-report.Sent {
		t.Errorf("report %+v", report)
	}
	if j := decode[dlq.Job](t, c.ok("dlq", "redrive", "status", "fares")); j.State != dlq.JobEnded || j.Status != "cancelled" || j.CancelledBy != "cleo" {
		t.Errorf("job %+v", j)
	}
}

// Without Redis a redrive says what it is for, and --no-journal goes without.
func TestDLQRedriveWithoutRedis(t *testing.T) {
	c := buried(t, 2)
	t.Setenv("WAYBILL_REDIS", "127.0.0.1:1")
	c.fails(exitFailed, "--no-journal goes without", "dlq", "redrive", "fares", "--yes")
	if r := decode[redriven](t, c.ok("dlq", "redrive", "fares")); r.WouldSend != 2 {
		t.Errorf("dry run: %+v", r)
	}
	if r := decode[redriven](t, c.ok("dlq", "redrive", "fares", "--yes", "--no-journal")); r.Sent != 2 {
		t.Errorf("--no-journal: %+v", r)
	}
}

func TestDLQRedriveJobUsage(t *testing.T) {
	c := buried(t, 1)
	for _, tt := range []struct {
		code int
		want string
		args string
	}{
		{exitUsage, "QUEUE is missing", "status"},
		{exitUsage, "--rate is 0", "resume fares --rate 0"},
		{exitUsage, "--ramp is -1s", "fares --ramp=-1s"},
		{exitUsage, "--ramp is -1s", "resume fares --yes --ramp=-1s"},
		{exitUsage, "--limit is 0", "history --limit 0"},
		{exitUsage, "--owner has 0 bytes", "cancel fares --owner="},
		{exitUsage, "--owner has 0 bytes", "fares --owner="},
	} {
		c.fails(tt.code, tt.want, append([]string{"dlq", "redrive"}, strings.Fields(tt.args)...)...)
	}
	c.ok("dlq", "redrive", "fares", "--yes")
	c.fails(exitNotFound, "not found", "dlq", "redrive", "status", "fares", "--job", "x")
	c.fails(exitNotFound, "the queue has had no redrive", "dlq", "redrive", "status", "audit-dlq")
	t.Setenv("WAYBILL_REDIS", miniredis.RunT(t).Addr()) // which knows of no namespace
	c.fails(exitNotFound, "check --namespace and --redis", "dlq", "redrive", "status", "fares")
}

// A command that is proposed has no password in it.
func TestRedacted(t *testing.T) {
	for value, want := range map[string]string{
		"redis://ada:secret@redis.example:6379/1": "redis://ada:xxxxx@redis.example:6379/1",
		"redis://redis.example:6379":              "redis://redis.example:6379",
		"127.0.0.1:6379":                          "127.0.0.1:6379",
		"prod":                                    "prod",
	} {
		if got := redacted(value); got != want {
			t.Errorf("%q is told as %q, want %q", value, got, want)
		}
	}
	c := buried(t, 30)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.atFirstSend(cancel)
	r := c.runContext(ctx, "dlq", "redrive", "fares", "--yes", "--redis", "redis://:secret@"+c.stack.RedisAddr)
	if strings.Contains(r.stderr, "secret") {
		t.Errorf("stderr: %s", r.stderr)
	}
}
