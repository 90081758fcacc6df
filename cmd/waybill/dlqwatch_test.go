package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

const watched = `endpoints:
  fares: {url: sqs://fares, dead_letter: sqs://fares-dlq}
  audit: {url: sqs://audit, dead_letter: sqs://audit-dlq}
  pager: {url: sqs://pager}
  alarms: {url: sns://alarms, subscriptions: [{endpoint: pager}]}
watch:
  interval: 1s
  raise_after: 1
  notify: alarms
  queues: {audit: {depth: 5}}
`

// A watcher that runs tells of an alarm on stdout, to a topic and by its metrics, and
// ends when it is told to.
func TestDLQWatchProcess(t *testing.T) {
	c, bury := newGraveyard(t)
	if err := os.WriteFile("waybill.yaml", []byte(watched), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("topology", "apply")
	bury("sqs://test-audit-dlq", "0", "{}", "sqs://test-audit", queue.ReasonPermanent) // below its own limit
	cmd := exec.CommandContext(t.Context(), os.Args[0], "dlq", "watch", "--metrics", ":0")
	cmd.Env = append(os.Environ(), "WAYBILL_RUN_AS_COMMAND=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(stderr)
	line, err := said.ReadString('\n')
	metrics := regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindString(line)
	if metrics == "" {
		t.Fatalf("stderr begins with %q, %v", line, err)
	}
	bury("sqs://test-fares-dlq", "1", "{}", "sqs://test-fares", queue.ReasonPermanent)
	out := bufio.NewReader(stdout)
	if line, err = out.ReadString('\n'); err != nil {
		t.Fatalf("no notice: %v", err)
	}
	if n := decode[dlq.Notice](t, line); n.Queue != "test-fares-dlq" || n.Alarm != dlq.AlarmDepth || n.Event != dlq.EventRaised || n.Value != 1 || len(n.Sources) != 1 || n.Sources[0] != "test-fares" {
		t.Errorf("the notice is %s", line)
	}
	answer, err := http.Get(metrics)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	for _, want := range []string{`waybill_dlq_alarm{alarm="depth",queue="test-fares-dlq"} 1`, `waybill_dlq_alarm{alarm="depth",queue="test-audit-dlq"} 0`, `waybill_dlq_messages{queue="test-audit-dlq"} 1`} {
		if err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is not among the metrics, %v:\n%s", want, err, text)
		}
	}
	if bytes.Contains(text, []byte("go_goroutines")) {
		t.Error("there are metrics of others")
	}
	client := sqs.NewFromConfig(c.stack.AWS)
	got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(c.stack.AWSURL + "/000000000000/test-pager"), WaitTimeSeconds: 20})
	if err != nil || len(got.Messages) != 1 {
		t.Fatalf("the pager got %v, %v", got, err)
	}
	var n dlq.Notice
	if err := json.Unmarshal([]byte(*got.Messages[0].Body), &n); err != nil || n.Queue != "test-fares-dlq" {
		t.Errorf("the pager got %s, %v", *got.Messages[0].Body, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	more, _ := io.ReadAll(said)
	if err := cmd.Wait(); err != nil || len(rest)+len(more) > 0 {
		t.Errorf("it ended with %v, after %s%s", err, rest, more)
	}
	if err != nil {
		t.Error(err)
	}
}

// On a terminal a notice is a line to read; another format is another.
func TestDLQWatchFormats(t *testing.T) {
	_, bury := newGraveyard(t)
	bury("sqs://test-fares-dlq", "1", "{}", "sqs://test-fares", queue.ReasonPermanent)
	for format, want := range map[string]string{
		"table": "  raised   depth       test-fares-dlq  holds 1\n", "yaml": "---\nv: 1\nevent: raised\n", "json": `{"v":1,"event":"raised"`,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		r, w := io.Pipe()
		ended := make(chan int, 1)
		go func() {
			defer w.Close()
			ended <- run(ctx, []string{"dlq", "watch", "fares", "--interval", "1s", "--raise-after", "1", "-o", format}, strings.NewReader(""), w, io.Discard)
		}()
		got := make([]byte, len(want)+40)
		n, err := io.ReadAtLeast(r, got, len(want))
		if !strings.Contains(string(got[:n]), strings.TrimSpace(want)) {
			t.Errorf("-o %s prints %q, %v", format, got[:n], err)
		}
		cancel()
		_, _ = io.Copy(io.Discard, r)
		if code := <-ended; code != exitOK {
			t.Errorf("interrupted, the exit code is %d", code)
		}
	}
}

func TestDLQWatchUsage(t *testing.T) {
	c, _ := newGraveyard(t)
	for args, want := range map[string]string{
		"--depth 0":                       `--depth is "0"; want a number of 1 or more, or -1 for none, or QUEUE=number`,
		"--depth =4":                      `--depth is "=4"`,
		"--growth fares=many":             `--growth is "fares=many"`,
		"--interval 0s":                   "--interval is 0s; want more than 0",
		"--interval 100ms":                "Interval is 100ms; want 1s or more",
		"--growth 5 --window 2s":          "the Window is 2s; want the Interval, 30s, or more",
		"--raise-after 0":                 "--raise-after is 0; want 1 or more",
		"--remind 1s":                     "Remind is 1s",
		"--notify nowhere":                "--notify: ",
		"--metrics nine":                  `--metrics is "nine"; want host:port`,
		"plain":                           "endpoint plain has no dead_letter",
		"--depth 3 --depth fares=2 plain": "endpoint plain has no dead_letter",
	} {
		c.fails(exitUsage, want, append([]string{"dlq", "watch"}, strings.Fields(args)...)...)
	}
	c.fails(exitNotFound, "does not exist", "dlq", "watch", "none")
}
