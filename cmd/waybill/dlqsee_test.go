package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

func TestDLQGroups(t *testing.T) {
	c, bury := newGraveyard(t)
	for i := range 3 {
		bury("sqs://test-fares-dlq", fmt.Sprint("p", i), "{}", "sqs://test-fares", queue.ReasonPermanent)
	}
	bury("sqs://test-fares-dlq", "x1", "{}", "sqs://test-fares", queue.ReasonExhausted)
	table := strings.Split(strings.TrimSpace(c.ok("dlq", "groups", "fares", "-o", "table")), "\n")
	for i, want := range []string{
		"COUNT REASON FILTER TYPE FRAME HOUR FIRST LAST SAMPLE",
		"3 permanent charge *errors.errorString card 2026-01-02T03:00:00Z 2026-01-02T03:04:05.006Z 2026-01-02T03:04:05.006Z p",
		"1 exhausted charge *errors.errorString card 2026-01-02T03:00:00Z 2026-01-02T03:04:05.006Z 2026-01-02T03:04:05.006Z x1",
	} {
		if len(table) != 3 || !strings.HasPrefix(squeeze(table[i]), want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(table, "\n"), want)
		}
	}
	bury("sqs://test-fares-dlq", "n1", `{"n":1}`, "", "")
	out := c.ok("dlq", "groups", "fares", "-o", "table", "--by", "reason, body")
	c.equal(squeezeLines(out[:strings.Index(out, "FIRST")]), "COUNT REASON BODY")
	for _, want := range []string{"3 permanent {} ", "1 exhausted {} ", "1 unrecorded {n: number} "} {
		if !strings.Contains(squeeze(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, format := range []string{"json", "jsonl"} {
		r := decode[dlq.Grouping](t, c.ok("dlq", "groups", "fares", "--by", "reason", "--filter", `.id != "x1"`, "-o", format))
		if r.Queue != "test-fares-dlq" || r.Seen != 5 || r.Total != 5 || r.Filtered != 1 || len(r.Groups) != 2 || r.Groups[0].Count != 3 || r.Groups[0].Key["reason"] != "permanent" {
			t.Errorf("-o %s: %+v", format, r)
		}
	}
	if out := c.ok("dlq", "groups", "fares", "-o", "yaml"); !strings.Contains(out, "reason: permanent\n") {
		t.Errorf("-o yaml: %s", out)
	}
	r := c.run("dlq", "groups", "fares", "--limit", "2", "--filter", ".body + 1")
	if r.code != exitOK || !strings.Contains(r.stderr, "2 of 5 messages were looked at") || !strings.Contains(r.stderr, "the filter does not fit 2 messages; the first: dlq: filter on message") {
		t.Errorf("%+v", r)
	}
	if g := decode[dlq.Grouping](t, c.ok("dlq", "groups", "fares", "--until", "2026-01-02T03:04:06Z")); g.Outside != 1 || g.Seen != 5 {
		t.Errorf("--until: %+v", g)
	}
	if g := decode[dlq.Grouping](t, c.ok("dlq", "groups", "fares", "--since", "1h")); g.Outside != 4 {
		t.Errorf("--since: %+v", g)
	}
	for args, want := range map[string]int{"--since 1h": 1, "--until 1h": 4, "--since 2026-01-02T03:04:05Z --until 2026-01-02T03:04:05.006Z": 0} {
		if l := decode[[]any](t, c.ok(append([]string{"dlq", "peek", "fares"}, strings.Fields(args)...)...)); len(l) != want {
			t.Errorf("peek %s: %d messages, want %d", args, len(l), want)
		}
	}
	if n := c.messages("test-fares-dlq"); n != "5" {
		t.Errorf("%s messages are left", n)
	}
	c.equal(c.ok("dlq", "groups", "audit", "-o", "table"), "COUNT  FIRST  LAST  SAMPLE")
}

func TestDLQShow(t *testing.T) {
	c, bury := newGraveyard(t)
	for i := range 12 {
		bury("sqs://test-fares-dlq", fmt.Sprint("r", i), fmt.Sprintf(`{"n":%d,"list":[1]}`, i), "sqs://test-fares", queue.ReasonPermanent)
	}
	out := c.ok("dlq", "show", "fares", "r7", "-o", "table")
	for _, want := range []string{
		"id r7 message id ", "from test-fares reason permanent filter charge message card chain *errors.errorString: card declined attempts 3 last failure 2026-01-02T03:04:05.006Z received ",
		`attributes tenant: acme body { "n": 7, "list": [ 1 ] }`,
	} {
		if !strings.Contains(squeeze(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	l := decode[map[string]any](t, c.ok("dlq", "show", "test-fares-dlq", "r7"))
	again := decode[map[string]any](t, c.ok("dlq", "show", "fares", l["message_id"].(string)))
	if l["id"] != "r7" || again["id"] != "r7" || fmt.Sprint(l["body"]) != "map[list:[1] n:7]" || l["failure"].(map[string]any)["attempts"] != 3.0 {
		t.Errorf("got %v and %v", l, again)
	}
	for _, format := range []string{"jsonl", "yaml"} {
		if out := c.ok("dlq", "show", "fares", "r7", "-o", format); !strings.Contains(out, "r7") {
			t.Errorf("-o %s: %s", format, out)
		}
	}
	r := c.fails(exitNotFound, `message "none" is not among the 12 messages of "test-fares-dlq" that were looked at`, "dlq", "show", "fares", "none")
	if r.stdout != "" {
		t.Errorf("stdout %s", r.stdout)
	}
	c.fails(exitNotFound, `not among the 2 messages of "test-fares-dlq" that were looked at, of 12: `, "dlq", "show", "fares", "none", "--limit", "2")

	bury("sqs://test-audit-dlq", "plain", "\xff", "", "")
	out = squeeze(c.ok("dlq", "show", "audit", "plain", "-o", "table"))
	if !strings.Contains(out, "reason unrecorded") || !strings.Contains(out, "body base64 /w==") || strings.Contains(out, "chain") {
		t.Errorf("got %s", out)
	}
}

func TestDLQRedriveEdit(t *testing.T) {
	c, bury := newGraveyard(t)
	for i := range 5 {
		bury("sqs://test-fares-dlq", fmt.Sprint("r", i), fmt.Sprintf(`{"amount":%d}`, i-2), "sqs://test-fares", queue.ReasonPermanent)
	}
	const edit = `if .body.amount < 0 then .body.amount |= -. else empty end`
	dry := c.run("dlq", "redrive", "fares", "--edit", edit, "-o", "table", "--sample", "1")
	if dry.code != exitOK || !strings.Contains(dry.stderr, "nothing was sent") {
		t.Errorf("dry run: %+v", dry)
	}
	for _, want := range []string{"would be sent 2 ", "edited 2 left by the edit 3 ", ", edited @@ -1,5 +1,5 @@ attributes.tenant: acme body: { - \"amount\": -", " + \"amount\": "} {
		if !strings.Contains(squeeze(dry.stdout), want) {
			t.Errorf("%q is not in\n%s", want, dry.stdout)
		}
	}
	if n := strings.Count(dry.stdout, "\n--- r"); n != 1 {
		t.Errorf("%d differences, want 1, in\n%s", n, dry.stdout)
	}
	if r := decode[redriven](t, c.ok("dlq", "redrive", "fares", "--edit", edit)); r.WouldSend != 2 || len(r.Diffs) != 2 {
		t.Errorf("dry run: %+v", r)
	}
	if r := decode[redriven](t, c.ok("dlq", "redrive", "fares", "--edit", edit, "--since", "2026-01-02T03:04:05Z", "--until", "2026-01-02T03:04:06Z", "--yes")); r.Sent != 2 || r.Edited != 2 || r.Skipped != 3 || r.Outside != 0 {
		t.Errorf("%+v", r)
	}
	if out := c.ok("dlq", "redrive", "fares", "--since", "1h", "-o", "table"); !strings.Contains(squeeze(out), "would be sent 0 that failed at another time 3") {
		t.Errorf("of an hour: %s", out)
	}
	r := c.fails(exitPartial, "the edit changes .id; only .body and .attributes may change", "dlq", "redrive", "fares", "--edit", `.id = "x"`)
	if report := decode[redriven](t, r.stdout); report.Failed != 3 || report.WouldSend != 0 {
		t.Errorf("%+v", report)
	}
}

// TestDLQUsage holds the exit codes of the verbs that look, and what they say of
// wrong usage.
func TestDLQUsage(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-fares", "1", "{}", "", "")
	for _, tt := range []struct {
		code int
		want string
		args string
	}{
		{exitUsage, "QUEUE is missing", "groups"},
		{exitUsage, `takes QUEUE, and got "b" as well`, "groups a b"},
		{exitUsage, `--by has "colour"; want some of reason, filter, type, frame, hour, source, attributes, body`, "groups fares --by reason,colour"},
		{exitUsage, "--by is empty", "groups fares --by="},
		{exitUsage, "--limit is 0; want 1 to 100000", "groups fares --limit 0"},
		{exitUsage, "--limit is 100001", "groups fares --limit 100001"},
		{exitUsage, "--filter: ", "groups fares --filter ]"},
		{exitUsage, `--since is "yesterday"; want a time such as 2026-01-02T03:04:05Z, or how long ago, such as 90m, 36h or 2d`, "groups fares --since yesterday"},
		{exitUsage, `--until is "-1h"`, "groups fares --until -1h"},
		{exitUsage, `--since is ""`, "redrive fares --since="},
		{exitUsage, "--since 1h is not before --until 2h", "redrive fares --since 1h --until 2h"},
		{exitUsage, `--until is "99999999d"`, "peek fares --until 99999999d"},
		{exitNotFound, "sqs://test-none", "groups none"},
		{exitUsage, "endpoint plain has no dead_letter", "groups plain"},
		{exitFailed, "looking at messages counts as receiving them", "groups sqs://test-fares"},
		{exitUsage, "MESSAGE is missing; want waybill dlq show QUEUE MESSAGE", "show fares"},
		{exitUsage, `takes QUEUE and MESSAGE, and got "b" as well`, "show fares a b"},
		{exitUsage, "--limit is -1", "show fares a --limit -1"},
		{exitNotFound, "sqs://test-none", "show none a"},
		{exitNotFound, `message "a" is not among the 0 messages`, "show fares a"},
		{exitFailed, "looking at messages counts as receiving them", "show sqs://test-fares a"},
		{exitUsage, "--edit: ", "redrive fares --edit ]"},
		{exitUsage, "--edit is empty", "redrive fares --edit="},
		{exitUsage, "--sample goes with --edit", "redrive fares --sample 2"},
		{exitUsage, "--sample is 0; want 1 to 1000", "redrive fares --edit . --sample 0"},
	} {
		if r := c.fails(tt.code, tt.want, append([]string{"dlq"}, strings.Fields(tt.args)...)...); r.stdout != "" {
			t.Errorf("%s wrote %s", tt.args, r.stdout)
		}
	}
	c.fails(exitUsage, "MESSAGE is empty", "dlq", "show", "fares", "")
}

// TestDLQInterrupted holds that an interrupt returns what is held, that groups
// are printed as far as they are known, and that the exit code tells.
func TestDLQInterrupted(t *testing.T) {
	for _, args := range [][]string{{"groups", "fares"}, {"show", "fares", "none"}, {"peek", "fares", "--limit", "100"}} {
		c, bury := newGraveyard(t)
		for i := range 50 {
			bury("sqs://test-fares-dlq", fmt.Sprint(i), "{}", "sqs://test-fares", queue.ReasonPermanent)
		}
		c.asSQS()
		ctx, cancel := context.WithCancel(t.Context())
		c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
			if r.Operation == "ReceiveMessage" {
				cancel()
			}
			return f
		})
		r := c.runContext(ctx, append([]string{"dlq"}, args...)...)
		c.stack.Emulator.SetFault(nil)
		if r.code != exitInterrupted || r.stderr == "" {
			t.Errorf("%v: %+v", args, r)
		}
		if args[0] == "groups" {
			if g := decode[dlq.Grouping](t, r.stdout); g.Total != 50 || g.Seen >= 50 {
				t.Errorf("groups so far: %+v", g)
			}
		}
		if n := c.messages("test-fares-dlq"); n != "50" {
			t.Errorf("%v: %s messages can be received", args, n)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-02T03:04:05Z":        time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.5+01:00": time.Date(2026, 1, 2, 2, 4, 5, 5e8, time.UTC),
		"90m":                         now.Add(-90 * time.Minute),
		"36h":                         now.Add(-36 * time.Hour),
		"2d":                          now.AddDate(0, 0, -2),
		"0s":                          now,
		"":                            {},
		"d":                           {},
		"-2d":                         {},
		"-1h":                         {},
		"1.5d":                        {},
		"2026-01-02":                  {},
		"2026-01-02T03:04:05":         {},
		"12":                          {},
	} {
		at, ok := parseTime(text, now)
		if ok == want.IsZero() || !at.Equal(want) {
			t.Errorf("%q is %v, %t; want %v", text, at, ok, want)
		}
	}
}
