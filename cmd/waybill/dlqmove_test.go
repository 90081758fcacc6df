package main

import (
	"context"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// SQS moves what is to go elsewhere as it is, without Redis, too.
func TestDLQNative(t *testing.T) {
	c := buried(t, 12)
	t.Setenv("WAYBILL_REDIS", "127.0.0.1:1")
	if got := decode[[]map[string]any](t, c.ok("dlq", "peek", "fares", "--limit", "3")); len(got) != 3 {
		t.Errorf("peeked at %v", got)
	}
	dry := c.run("dlq", "redrive", "fares", "--native", "--to", "fares")
	if task := decode[queue.MoveTask](t, dry.stdout); dry.code != exitOK || task.ToMove != 12 || !strings.Contains(dry.stderr, "dry run: nothing was moved") {
		t.Errorf("dry run: %+v", dry)
	}
	r := c.run("dlq", "redrive", "fares", "--native", "--to", "fares", "--yes")
	if task := decode[queue.MoveTask](t, r.stdout); r.code != exitOK || task.Moved != 12 || !strings.Contains(r.stderr, "the move is not on record") {
		t.Errorf("%+v", r)
	}
	if n := c.messages("test-fares-dlq"); n != "0" {
		t.Errorf("%s messages are left", n)
	}
	text := squeeze(c.ok("dlq", "redrive", "status", "fares", "--native", "-o", "table"))
	if !strings.Contains(text, "test-fares-dlq COMPLETED") {
		t.Errorf("status %s", text)
	}
	t.Setenv("WAYBILL_REDIS", c.stack.RedisAddr)
	c.fails(exitNotFound, "no move task runs", "dlq", "redrive", "cancel", "fares", "--native", "--yes")
}

// A move that nobody watches goes on, and can be stopped; while it is watched, the
// queue is taken.
func TestDLQNativeInterrupted(t *testing.T) {
	c := buried(t, 30)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Operation == "ListMessageMoveTasks" && ctx.Err() == nil {
			c.fails(exitHeld, "ben works on it since", "dlq", "redrive", "fares", "--yes")
			cancel()
		}
		return f
	})
	r := c.runContext(ctx, "dlq", "redrive", "fares", "--native", "--to", "fares", "--rate", "1", "--yes", "--owner", "ben")
	if r.code != exitInterrupted || !strings.Contains(r.stderr, "waybill dlq redrive cancel fares --native --yes stops it") {
		t.Errorf("interrupted: %+v", r)
	}
	if r := c.run("dlq", "redrive", "cancel", "fares", "--native"); r.code != exitOK || !strings.Contains(r.stderr, "dry run") || !strings.Contains(r.stdout, "RUNNING") {
		t.Errorf("dry run: %+v", r)
	}
	if r := c.run("dlq", "redrive", "cancel", "fares", "--native", "--yes", "--owner", "eve", "--reason", "too many"); r.code != exitOK || !strings.Contains(r.stderr, "in its own time") {
		t.Errorf("cancel: %+v", r)
	}
	if list := decode[[]dlq.Audited](t, c.ok("dlq", "audit", "--who", "eve")); len(list) != 1 || list[0].Verb != dlq.AuditCancel || list[0].Reason != "too many" {
		t.Errorf("on record is %+v", list)
	}
}

func TestDLQNativeUsage(t *testing.T) {
	c := buried(t, 1)
	for want, args := range map[string]string{
		"--native wants --to": "--native",
		"takes no --filter":   "--native --to fares --filter .id",
		"takes no --limit":    "--native --to fares --limit 1",
		"takes no --canary":   "--native --to fares --canary 1",
		"no --catalogue":      "--native --to fares --catalogue",
		"--rate is 0.5":       "--native --to fares --rate 0.5",
		"--rate is 501":       "--native --to fares --rate 501",
	} {
		c.fails(exitUsage, want, append([]string{"dlq", "redrive", "fares"}, strings.Fields(args)...)...)
	}
}
