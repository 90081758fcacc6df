package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

const rides = `endpoints:
  fares: {url: sqs://fares, dead_letter: sqs://fares-dlq}
  audit: {url: sqs://audit, dead_letter: sqs://audit-dlq}
  plain: {url: sqs://plain}
  morgue: {url: sqs://fares-dlq}
`

// newGraveyard returns a CLI whose topology is there, and a function that puts
// a dead letter of an endpoint into a queue.
func newGraveyard(t *testing.T) (c *cli, bury func(queueURL, id, body, source string, reason queue.Reason)) {
	t.Helper()
	c = newStackCLI(t, rides)
	c.ok("topology", "apply")
	publisher := c.stack.Publisher(t, nil)
	return c, func(queueURL, id, body, source string, reason queue.Reason) {
		t.Helper()
		msg := message.NewMessage(id, []byte(body))
		msg.Metadata.Set("tenant", "acme")
		if reason != "" {
			f := queue.NewFailure(reason, errors.New("card\ndeclined"))
			f.Source, f.Filter, f.Attempts = source, "charge", 3
			f.LastFailure = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
			if err := f.Encode(msg); err != nil {
				t.Fatal(err)
			}
		}
		if err := publisher.Publish(queueURL, msg); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cli) messages(name string) string {
	c.Helper()
	for _, q := range decode[[]map[string]any](c, c.ok("dlq", "ls")) {
		if q["name"] == name {
			return fmt.Sprint(q["messages"])
		}
	}
	c.Fatalf("no queue %s", name)
	return ""
}

func TestDLQList(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-fares-dlq", "1", "{}", "sqs://test-fares", queue.ReasonPermanent)
	bury("sqs://test-fares-dlq", "2", "{}", "sqs://test-fares", queue.ReasonExhausted)
	c.equal(noAges(squeezeLines(c.ok("dlq", "ls", "-o", "table"))), squeezeLines(`
QUEUE           MESSAGES  IN FLIGHT  DELAYED  GROWTH  OLDEST  KEPT FOR  DEAD LETTERS OF
test-audit-dlq  0         0          0        -       -       14d       test-audit
test-fares-dlq  2         0          0        -       0s      14d       test-fares`))
	for _, name := range []string{"fares", "fares-dlq", "test-fares-dlq", "sqs://test-fares-dlq"} {
		list := decode[[]dlq.Queue](t, c.ok("dlq", "ls", name))
		if len(list) != 1 || list[0].Name != "test-fares-dlq" || list[0].Messages != 2 {
			t.Errorf("ls %s: %+v", name, list)
		}
	}
	c.fails(exitNotFound, "test-plain is the dead-letter queue of no queue", "dlq", "ls", "test-plain")
	c.fails(exitNotFound, "queue or topic does not exist", "dlq", "ls", "none")
	c.fails(exitUsage, `waybill dlq ls: takes QUEUE, and got "b" as well`, "dlq", "ls", "a", "b")
}

func TestDLQListUnreadable(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-fares-dlq", "1", "{}", "sqs://test-fares", queue.ReasonPermanent)
	c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Operation == "GetQueueAttributes" && r.Resource == "test-audit-dlq" {
			f.Err = &emulator.Error{Code: "AccessDenied", Status: 403}
		}
		return f
	})
	c.equal(noAges(squeezeLines(c.ok("dlq", "ls", "-o", "table"))), squeezeLines(`
QUEUE           MESSAGES    IN FLIGHT  DELAYED  GROWTH  OLDEST  KEPT FOR  DEAD LETTERS OF
test-audit-dlq  unreadable  -          -        -       -       -         test-audit
test-fares-dlq  1           0          0        -       0s      14d       test-fares`))
}

// An endpoint without a dead-letter queue is not taken for one.
func TestDLQEndpointWithoutDeadLetter(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-plain", "1", "{}", "", "")
	for _, args := range [][]string{{"ls", "plain"}, {"peek", "plain"}, {"redrive", "plain"}, {"redrive", "plain", "--yes", "--to", "fares"}} {
		c.fails(exitUsage, "endpoint plain has no dead_letter; want the name of a dead-letter queue", append([]string{"dlq"}, args...)...)
	}
	if out := c.ok("dlq", "peek", "morgue"); out != "[]\n" { // whose queue is the dead-letter queue of fares
		t.Errorf("peek into the endpoint of a dead-letter queue: %s", out)
	}
}

// A queue with consumers is not redriven for want of attention.
func TestDLQRedriveRefusesALiveQueue(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-fares", "1", "{}", "", "")
	for range 10 {
		c.fails(exitFailed, "its redrive policy moves a message after", "dlq", "redrive", "sqs://test-fares")
	}
	if n := c.messages("test-fares-dlq"); n != "0" {
		t.Errorf("%s messages became dead letters", n)
	}
	if r := decode[redriven](t, c.ok("dlq", "redrive", "sqs://test-fares", "--live", "--yes", "--to", "audit")); r.Sent != 1 {
		t.Errorf("--live: %+v", r)
	}
}

func TestDLQListEmpty(t *testing.T) {
	c := newStackCLI(t, "")
	c.equal(c.ok("dlq", "ls"), "[]")
}

func TestDLQPeek(t *testing.T) {
	c, bury := newGraveyard(t)
	c.equal(c.ok("dlq", "peek", "fares"), "[]")
	bury("sqs://test-fares-dlq", "1", `{"amount":200}`, "sqs://test-fares", queue.ReasonPermanent)
	c.equal(squeezeLines(c.ok("dlq", "peek", "fares", "-o", "table")), squeezeLines(`
ID  REASON     ATTEMPTS  FAILED                    FROM        MESSAGE       BODY
1   permanent  3         2026-01-02T03:04:05.006Z  test-fares  charge: card  {"amount":200}`))

	letters := decode[[]map[string]any](t, c.ok("dlq", "peek", "fares"))
	if len(letters) != 1 || letters[0]["id"] != "1" || letters[0]["failure"].(map[string]any)["reason"] != "permanent" {
		t.Errorf("got %v", letters)
	}
	bury("sqs://test-fares-dlq", "2", strings.Repeat("é", 61), "", "")
	if out := c.ok("dlq", "peek", "fares", "-o", "table", "--filter", ".failure == null"); !strings.Contains(out, "unrecorded") ||
		!strings.Contains(out, strings.Repeat("é", 57)+"...\n") || strings.Contains(out, "declined") {
		t.Errorf("got\n%s", out)
	}
	if n := len(strings.Split(strings.TrimSpace(c.ok("dlq", "peek", "fares", "-o", "jsonl", "--limit", "1")), "\n")); n != 1 {
		t.Errorf("--limit 1 shows %d", n)
	}
	c.fails(exitUsage, "--limit is 0", "dlq", "peek", "fares", "--limit", "0")
	c.fails(exitUsage, "--filter: ", "dlq", "peek", "fares", "--filter", ".a |")
	c.fails(exitNotFound, "sqs://test-none", "dlq", "peek", "none")
	bury("sqs://test-fares", "3", "{}", "", "")
	if r := c.run("dlq", "peek", "sqs://test-fares"); r.code != exitOK || r.stderr != "" || len(decode[[]any](t, r.stdout)) != 1 {
		t.Errorf("looked at where that is harmless: %+v", r)
	}
	c.asSQS()
	c.fails(exitFailed, "looking at messages counts as receiving them", "dlq", "peek", "sqs://test-fares")
	for want, args := range map[string]string{
		"2 messages were received to look at them": "peek fares",
		"the message was received to look at it":   "peek fares --limit 1",
		"receive counts have risen by one":         "groups fares",
	} {
		if r := c.run(append([]string{"dlq"}, strings.Fields(args)...)...); r.code != exitOK || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v, want %q", args, r, want)
		}
	}
}

func TestDLQRedrive(t *testing.T) {
	c, bury := newGraveyard(t)
	for i := range 5 {
		bury("sqs://test-fares-dlq", fmt.Sprint(i), fmt.Sprintf(`{"amount":%d}`, i*100), "sqs://test-fares", queue.ReasonPermanent)
	}
	dry := c.run("dlq", "redrive", "fares")
	report := decode[redriven](t, dry.stdout)
	if dry.code != exitOK || !report.DryRun || report.Sent != 0 || report.WouldSend != 5 || report.Destinations["test-fares"] != 5 ||
		!strings.Contains(dry.stderr, "dry run: nothing was sent; give --yes to redrive") {
		t.Errorf("dry run: %+v", dry)
	}
	if n := c.messages("test-fares-dlq"); n != "5" {
		t.Fatalf("after the dry run %s messages are left", n)
	}
	report = decode[redriven](t, c.ok("dlq", "redrive", "fares", "--yes", "--filter", ".body.amount > 200", "--limit", "1", "--reason", "card works again"))
	if report.DryRun || report.Sent != 1 || report.Remaining != 4 || report.Reason != "card works again" || !strings.HasPrefix(report.By, "ada@") {
		t.Errorf("filtered: %+v", report)
	}
	text := squeeze(c.ok("dlq", "redrive", "fares-dlq", "--to", "audit", "--yes", "-o", "table"))
	for _, want := range []string{"queue test-fares-dlq looked at 4 of 4 sent 4 to test-audit 4", "left in the queue 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if n := c.messages("test-fares-dlq"); n != "0" {
		t.Errorf("%s messages are left", n)
	}
}

func TestDLQRedriveUsage(t *testing.T) {
	c, _ := newGraveyard(t)
	for _, tt := range []struct {
		code int
		want string
		args string
	}{
		{exitUsage, "QUEUE is missing", ""},
		{exitUsage, "--limit is 0", "fares --limit 0"},
		{exitUsage, "--rate is -1", "fares --rate -1"},
		{exitUsage, "--to is empty", "fares --to="},
		{exitUsage, "--filter: ", "fares --filter ]"},
		{exitNotFound, "sqs://test-none", "none"},
		{exitNotFound, "sqs://test-none", "fares --to none"},
		{exitFailed, "is the queue that the messages come from", "fares --to fares-dlq"},
	} {
		c.fails(tt.code, tt.want, append([]string{"dlq", "redrive"}, strings.Fields(tt.args)...)...)
	}
}

// What cannot be sent stays, the exit code says so, and the same command takes
// it up.
func TestDLQRedrivePartial(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-fares-dlq", "good", "{}", "sqs://test-fares", queue.ReasonPermanent)
	bury("sqs://test-fares-dlq", "lost", "{}", "sqs://elsewhere", queue.ReasonPermanent)
	r := c.fails(exitPartial, "lost", "dlq", "redrive", "fares", "--yes")
	report := decode[redriven](t, r.stdout)
	if report.Sent != 1 || report.Failed != 1 || report.Failures[0].ID != "lost" {
		t.Errorf("report %+v", report)
	}
	again := decode[redriven](t, c.ok("dlq", "redrive", "fares", "--yes", "--to", "fares"))
	if again.Sent != 1 || again.Remaining != 0 {
		t.Errorf("second report %+v", again)
	}
}

// A fault of the queues is exit code 1 before something was sent, and 3 after,
// as the help says.
func TestDLQRedriveFault(t *testing.T) {
	for _, tt := range []struct{ good, code, sent int }{{0, exitFailed, 0}, {1, exitPartial, 10}} {
		c, bury := newGraveyard(t)
		for i := range 20 {
			bury("sqs://test-fares-dlq", fmt.Sprint(i), "{}", "sqs://test-fares", queue.ReasonPermanent)
		}
		var receives atomic.Int64
		c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
			if r.Operation == "ReceiveMessage" && receives.Add(1) > int64(tt.good) {
				f.Err = &emulator.Error{Code: "AccessDeniedException", Message: "no"}
			}
			return f
		})
		r := c.fails(tt.code, "access denied", "dlq", "redrive", "fares", "--yes")
		if report := decode[redriven](t, r.stdout); report.Sent != tt.sent || report.WouldSend != 0 {
			t.Errorf("report %+v, want %d sent", report, tt.sent)
		}
	}
	if help := newCLI(t, "").ok("dlq", "redrive", "--help"); !strings.Contains(help, "Exit codes: 0") ||
		!strings.Contains(squeeze(help), "1 a fault of the queues") || !strings.Contains(squeeze(help), "130 it was interrupted") {
		t.Errorf("the help does not list the exit codes:\n%s", help)
	}
}

// A rate at which messages would be deleted for their age first is warned of in
// the dry run.
func TestDLQRedriveTooSlow(t *testing.T) {
	c, bury := newGraveyard(t)
	for i := range 2 {
		bury("sqs://test-fares-dlq", fmt.Sprint(i), "{}", "sqs://test-fares", queue.ReasonPermanent)
	}
	const want = "raise Rate to 1 or more"
	if r := c.run("dlq", "redrive", "fares", "--rate", "0.000001", "-o", "table"); r.code != exitOK ||
		!strings.Contains(r.stdout, want) || !strings.Contains(r.stderr, want) {
		t.Errorf("%+v", r)
	}
	if r := c.run("dlq", "redrive", "fares", "--rate", "1"); strings.Contains(r.stdout+r.stderr, "raise Rate") {
		t.Errorf("%+v", r)
	}
}

// An interrupt returns what is held, and the report so far is printed.
func TestDLQRedriveInterrupted(t *testing.T) {
	c, bury := newGraveyard(t)
	for i := range 20 {
		bury("sqs://test-fares-dlq", fmt.Sprint(i), "{}", "sqs://test-fares", queue.ReasonPermanent)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Operation == "SendMessageBatch" {
			cancel()
		}
		return f
	})
	r := c.runContext(ctx, "dlq", "redrive", "fares", "--yes")
	if r.code != exitInterrupted || !strings.Contains(r.stderr, "was stopped") {
		t.Errorf("exit code %d, stderr %s", r.code, r.stderr)
	}
	report := decode[redriven](t, r.stdout)
	c.stack.Emulator.SetFault(nil)
	if report.Snapshot != 20 || c.messages("test-fares-dlq") != fmt.Sprint(20-report.Deleted) {
		t.Errorf("%s messages are left after the report %+v", c.messages("test-fares-dlq"), report)
	}
}
