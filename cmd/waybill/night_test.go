package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

var update = flag.Bool("update", false, "write the transcript in dlq/NIGHT.md anew; read the difference before you keep it")

// TestNight runs the commands of dlq/NIGHT.md, one after the other, and compares
// what they print with what the document says. Under the race detector there are
// fewer dead letters, and only the commands' success counts.
func TestNight(t *testing.T) {
	const file = "dlq/NIGHT.md"
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	n := 40_000
	if raceDetector {
		n = 400
	}
	s := newNight(t, n)
	got := s.play(string(text))
	switch {
	case t.Failed() || raceDetector:
	case *update:
		if err := os.WriteFile(filepath.Join(root, file), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		want, got := strings.Split(string(text), "\n"), strings.Split(got, "\n")
		for i := range max(len(want), len(got)) {
			var w, g string
			if i < len(want) {
				w = squeeze(want[i])
			}
			if i < len(got) {
				g = squeeze(got[i])
			}
			if w != g {
				t.Fatalf("%s:%d says\n\t%s\nand the command prints\n\t%s\ngo test -run Night ./cmd/waybill -update writes it anew", file, i+1, w, g)
			}
		}
	}
}

// A night is dead letters, their receiver, and a transcript of what is done to them.
type night struct {
	*cli
	names map[string]string // of ids, in the transcript
	steps []time.Time       // when commands began
}

const nightFile = `endpoints:
  fares: {url: sqs://fares, dead_letter: sqs://fares-dlq}
`

// newNight buries n fares, of which a fraction each has one of three causes.
func newNight(t *testing.T, n int) *night {
	s := &night{cli: newStackCLI(t, nightFile), names: map[string]string{}, steps: []time.Time{time.Now().Add(-time.Second)}}
	t.Setenv("WAYBILL_NAMESPACE", "prod")
	s.ok("topology", "apply")
	endpoints, err := queue.NewEndpoints("prod", queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"})
	if err != nil {
		t.Fatal(err)
	}
	publisher := s.stack.Publisher(t, nil)
	var senders errgroup.Group
	senders.SetLimit(1) // one after the other: the first of a cause is the same each time
	for start := 1; start <= n; start += 1000 {
		var batch []*message.Message
		for i := start; i < min(start+1000, n+1); i++ {
			batch = append(batch, fareLetter(t, i, n))
		}
		senders.Go(func() error { return publisher.Publish("sqs://prod-fares-dlq", batch...) })
	}
	if err := senders.Wait(); err != nil {
		t.Fatal(err)
	}
	s.charge(endpoints)
	return s
}

// fareLetter is the ith of n dead letters. All but three eighths failed at the
// gateway, twelve have an amount that is text, and the others a tariff that is
// unknown.
func fareLetter(t *testing.T, i, n int) *message.Message {
	at := time.Date(2026, 3, 14, 1, 2, 0, 0, time.UTC).Add(time.Duration(i) * 57 * time.Minute / time.Duration(n))
	msg := message.NewMessage(fmt.Sprintf("fare-%05d", i), fmt.Appendf(nil, `{"fare":"F%05d","amount":%d,"tariff":"city"}`, i, 500+i%90*10))
	failure := queue.NewFailure(queue.ReasonExhausted, fmt.Errorf("charge F%05d: %w", i, errors.New("gateway: connection refused")))
	switch {
	case i%(n/12) == n/24:
		msg.Payload = fmt.Appendf(nil, `{"fare":"F%05d","amount":"990","tariff":"city"}`, i)
		failure = queue.NewFailure(queue.ReasonUndecodable, errors.New("cannot decode fare: amount is a string, want a number"))
	case i%8 < 3:
		msg.Payload = fmt.Appendf(nil, `{"fare":"F%05d","amount":%d,"tariff":"moon"}`, i, 500+i%90*10)
		failure = queue.NewFailure(queue.ReasonPermanent, errors.New(`no tariff "moon"`))
	default:
		failure.Attempts, failure.ReceiveCount = 5, 5
	}
	failure.Filter, failure.Endpoint, failure.Source = "charge", "fares", "sqs://prod-fares"
	failure.FirstFailure, failure.LastFailure = at.Add(-2*time.Minute), at
	if err := failure.Encode(msg); err != nil {
		t.Fatal(err)
	}
	return msg
}

// charge receives fares, and handles each once. It ends after a thousand: what
// becomes of the others is another story, and the embedded Redis takes long for it.
func (s *night) charge(endpoints *queue.Endpoints) {
	records, err := redisstore.Open(s.Context(), redisstore.Config{Client: s.stack.Redis, Namespace: "prod"})
	if err != nil {
		s.Fatal(err)
	}
	p, err := pipeline.New(pipeline.Config{
		Publisher: s.stack.Publisher(s.T, endpoints), Endpoints: endpoints,
		Subscriber: s.stack.Subscriber(s.T, endpoints, func(c *queue.SubscriberConfig) { c.DeliverUndecodable = true }),
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithCancel(s.Context())
	done := make(chan error, 1)
	var handled atomic.Int64
	p.Handle("charge", pipeline.Sink(func(_ context.Context, fare struct {
		Amount int
		Tariff string
	}) error {
		if handled.Add(1) == 1000 {
			stop()
		}
		if fare.Tariff == "moon" {
			return pipeline.Permanent(fmt.Errorf("no tariff %q", fare.Tariff))
		}
		return nil
	}), pipeline.From("fares"), pipeline.Use(pipeline.Idempotent(store.Once{Records: records})))
	go func() { done <- p.Run(ctx) }()
	s.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			s.Errorf("the receiver: %v", err)
		}
	})
}

// play runs the commands of a document, and returns it with what they print.
func (s *night) play(text string) string {
	var out strings.Builder
	console := false
	for line := range strings.Lines(text) {
		switch {
		case line == "```console\n":
			console = true
		case console && line == "```\n":
			console = false
		case console && strings.HasPrefix(line, "$ "):
			out.WriteString(line)
			out.WriteString(s.command(strings.TrimSpace(line[2:])))
			continue
		case console:
			continue // what it printed before
		}
		out.WriteString(line)
	}
	return out.String()
}

// command runs a command line, as on a terminal, and returns what it prints.
func (s *night) command(line string) string {
	begun := time.Now()
	s.steps = append(s.steps, begun)
	defer func() { s.Logf("%v\t%s", time.Since(begun).Round(time.Millisecond), line) }()
	for id, name := range s.names { // the document's ids mean those of this run
		line = strings.ReplaceAll(line, name, id)
	}
	last := 0
	if cut, n, ok := strings.Cut(line, " | tail -n "); ok && strings.HasPrefix(line, "waybill ") {
		if _, err := fmt.Sscan(n, &last); err != nil {
			s.Fatal(err)
		}
		line = cut
	}
	args := words(line)
	if args[0] != "waybill" {
		out, err := exec.CommandContext(s.Context(), "sh", "-c", line).CombinedOutput()
		if err != nil {
			s.Errorf("%s: %v\n%s", line, err, out)
		}
		return s.rename(string(out))
	}
	r := s.run(append(args[1:], "-o", "table")...)
	if r.code != exitOK {
		s.Errorf("%s: exit code %d\n%s%s", line, r.code, r.stdout, r.stderr)
	}
	text := r.stderr + r.stdout
	if lines := strings.SplitAfter(text, "\n"); last > 0 && len(lines) > last+1 {
		text = strings.Join(lines[len(lines)-1-last:], "")
	}
	return s.rename(text)
}

// words splits a command line, whose arguments may be in single quotes.
func words(line string) []string {
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args
}

var (
	anyULID   = regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{26}\b`)
	anyUUID   = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	anyTime   = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z *`)
	anyGrowth = regexp.MustCompile(`\bin \d[0-9hms]*\b`)
	anyAge    = regexp.MustCompile(`(  )(\d[0-9hms]*[hms])(  )`)
	anyFare   = regexp.MustCompile(`\b(fare-|F)\d{5}\b`)
	anyHost   = regexp.MustCompile(`\bada@[\w.-]+`)
)

// rename gives ids and times that differ from run to run those of the document.
func (s *night) rename(text string) string {
	name := func(format string) func(string) string {
		return func(id string) string {
			if s.names[id] == "" {
				s.names[id] = fmt.Sprintf(format, len(s.names)+1)
			}
			return s.names[id]
		}
	}
	text = anyULID.ReplaceAllStringFunc(text, name("01KKN3QF0000000000000000%02d"))
	text = anyUUID.ReplaceAllStringFunc(text, name("5f0c8d2e-7a41-4b1c-9e63-0000000000%02x"))
	if strings.Contains(text, "\n+++ fare-") { // which are the first differs, too
		text = anyFare.ReplaceAllString(text, "${1}04999")
	}
	text = anyGrowth.ReplaceAllString(text, "in 20m")
	text = anyAge.ReplaceAllString(text, "${1}2h$3")
	text = anyHost.ReplaceAllString(text, "ada@pc")
	return anyTime.ReplaceAllStringFunc(text, func(text string) string {
		at, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
		if err != nil || at.Before(s.steps[0].Truncate(time.Second)) {
			return text
		}
		step := 0
		for step+1 < len(s.steps) && !at.Before(s.steps[step+1].Truncate(time.Millisecond)) {
			step++
		}
		at = time.Date(2026, 3, 14, 3, 2*step, 0, 0, time.UTC)
		return fmt.Sprintf("%-*s", len(text), at.Format(time.RFC3339))
	})
}
