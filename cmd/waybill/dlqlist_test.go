package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// noAges makes all times of seconds or minutes 0s, for on a slow machine they are more.
func noAges(text string) string {
	return regexp.MustCompile(` (\d+m)?\d+[sm]\b`).ReplaceAllString(text, " 0s")
}

// ls tells how queues have grown since it was asked last, without Redis.
func TestDLQListGrowth(t *testing.T) {
	c, bury := newGraveyard(t)
	t.Setenv("WAYBILL_REDIS", "127.0.0.1:1")
	list := func(args ...string) dlq.Queue {
		t.Helper()
		l := decode[[]dlq.Queue](t, c.ok(append([]string{"dlq", "ls", "fares"}, args...)...))
		if len(l) != 1 {
			t.Fatalf("%+v", l)
		}
		return l[0]
	}
	if g := list().Growth; g != nil {
		t.Errorf("at first it has grown by %+v", g)
	}
	bury("sqs://test-fares-dlq", "1", "{}", "sqs://test-fares", queue.ReasonPermanent)
	if g := list("--seen", "none").Growth; g != nil {
		t.Errorf("turned off, by %+v", g)
	}
	if g := list("--seen", "here.json").Growth; g != nil {
		t.Errorf("by another file, %+v", g)
	}
	if g := list().Growth; g == nil || g.Messages != 1 || time.Since(g.Since) > time.Minute {
		t.Errorf("then by %+v", g)
	}
	if out := noAges(squeezeLines(c.ok("dlq", "ls", "fares", "-o", "table", "--seen", "here.json"))); !strings.Contains(out, "test-fares-dlq 1 0 0 +0 in 0s 0s 14d") {
		t.Errorf("the table is\n%s", out)
	}
	path := filepath.Join(os.Getenv("XDG_STATE_HOME"), "waybill", "dlq-seen.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := c.run("dlq", "ls"); r.code != exitOK || !strings.Contains(r.stderr, "growth: dlq: what was seen before is not known: "+path+" is damaged") {
		t.Errorf("of a damaged file: %+v", r)
	}
	if r := c.run("dlq", "ls"); r.code != exitOK || r.stderr != "" {
		t.Errorf("after it: %+v", r)
	}
	c.fails(exitUsage, "--seen is empty; want a file, or none", "dlq", "ls", "--seen=")
}

// ls tells the age of the oldest message, or why it does not, and what it cost.
func TestDLQListAges(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-fares-dlq", "1", "{}", "sqs://test-fares", queue.ReasonPermanent)
	fares := func(r result) *dlq.Oldest {
		t.Helper()
		for _, q := range decode[[]dlq.Queue](t, r.stdout) {
			if q.Name == "test-fares-dlq" && q.Oldest != nil {
				return q.Oldest
			}
		}
		t.Fatalf("%+v", r)
		return nil
	}
	if r := c.run("dlq", "ls"); !fares(r).Known || fares(r).From != dlq.AgeLooked || r.stderr != "" {
		t.Errorf("where messages are shown: %+v", r)
	}
	c.asSQS()
	if r := c.run("dlq", "ls"); fares(r).Known || !strings.Contains(r.stderr, "the age of the oldest message is not known of 1 queue: ") || !strings.Contains(r.stderr, "there is no CloudWatch; --look N receives some to see") {
		t.Errorf("where nothing tells: %+v", r)
	}
	if r := c.run("dlq", "ls", "--cloudwatch=false"); fares(r).Known || !strings.Contains(r.stderr, "of 1 queue: SQS does not tell; --look N") {
		t.Errorf("where nobody is asked: %+v", r)
	}
	if r := c.run("dlq", "ls", "--look", "5"); !fares(r).Known || fares(r).From != dlq.AgeReceived || !strings.Contains(r.stderr, "up to 5 messages of 1 queue were received and returned: their receive counts have risen by one") {
		t.Errorf("of messages that are received: %+v", r)
	}
	if r := c.run("dlq", "ls", "--cloudwatch"); r.code != exitOK || fares(r).Known || fares(r).From != dlq.AgeFound {
		t.Errorf("by a CloudWatch that is none: %+v", r)
	}
	c.fails(exitUsage, "--look is 0; want 1 to 100000", "dlq", "ls", "--look", "0")
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59 * time.Second: "59s", 60 * time.Second: "1m", 61 * time.Second: "1m1s", 3 * time.Hour: "3h",
		3*time.Hour + 59*time.Minute: "3h59m", 49 * time.Hour: "2d1h", 48*time.Hour + 59*time.Minute: "2d",
	} {
		if got := roughly(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
