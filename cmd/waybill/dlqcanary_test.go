package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// What receivers have on record in Redis decides a canary at once, and the rest
// follows.
func TestDLQRedriveCanary(t *testing.T) {
	c := buried(t, 20)
	records, err := redisstore.Open(t.Context(), redisstore.Config{Client: c.stack.Redis, Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c.atFirstSend(func() { // their receiver is quick
		for i := range 20 {
			key := store.MessageKey("charge", fmt.Sprint(i))
			if err := records.Complete(t.Context(), store.Completion{Key: key, Token: "t", Retention: time.Hour}); err != nil {
				t.Error(err)
			}
		}
	})
	text := squeeze(c.ok("dlq", "redrive", "fares", "--yes", "--canary", "3", "-o", "table"))
	if !strings.Contains(text, "sent 20 ") || !strings.Contains(text, "canary 3 sent: 3 done, 0 died") {
		t.Errorf("%s", text)
	}
}

// The records can be those of a filter of another name than the one on record.
func TestDLQRedriveCanaryReceiver(t *testing.T) {
	c := buried(t, 2)
	records, err := redisstore.Open(t.Context(), redisstore.Config{Client: c.stack.Redis, Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := records.Complete(t.Context(), store.Completion{Key: store.MessageKey("bill", fmt.Sprint(i)), Token: "t", Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	r := decode[redriven](t, c.ok("dlq", "redrive", "fares", "--yes", "--canary", "1", "--canary-wait", "1m", "--canary-receiver", "bill"))
	if r.Sent != 2 || r.Canary.Done != 1 {
		t.Errorf("%+v", r)
	}
}

// Where nobody receives what was sent first, the rest stays, with exit code 3.
func TestDLQRedriveCanaryFails(t *testing.T) {
	c := buried(t, 20)
	r := c.fails(exitPartial, "see whether their receivers run", "dlq", "redrive", "fares", "--yes", "--canary", "3", "--canary-wait", "100ms", "--canary-max-failures", "50%")
	report := decode[redriven](t, r.stdout)
	if report.Sent != 3 || report.Remaining != 17 || report.Canary == nil || report.Canary.Undecided != 3 || report.Canary.Passed {
		t.Errorf("%+v", report)
	}
	if text := squeeze(c.ok("dlq", "redrive", "status", "fares", "-o", "table")); !strings.Contains(text, "canary 3 sent: 0 done, 0 died, of 3 nothing tells") {
		t.Errorf("status: %s", text)
	}
}

func TestDLQRedriveCanaryUsage(t *testing.T) {
	c := buried(t, 1)
	for want, args := range map[string]string{
		"--canary is 0; want 1 to 10000":         "--canary 0",
		"--canary-receiver is empty":             "--canary 1 --canary-receiver=",
		"and --canary-receiver go with --canary": "--canary-receiver charge",
		"go with --canary":                       "--canary-wait 1m",
		"--canary-wait is -1s":                   "--canary 1 --canary-wait=-1s",
		`--canary-max-failures is "110%"; want`:  "--canary 1 --canary-max-failures 110%",
		`--canary-max-failures is "few"; want a`: "--canary 1 --canary-max-failures few",
		`--canary-max-failures is "NaN%"; want`:  "--canary 1 --canary-max-failures NaN%",
	} {
		c.fails(exitUsage, want, append([]string{"dlq", "redrive", "fares"}, strings.Fields(args)...)...)
	}
}

// A redrive that was cancelled has ended, unless it has messages in hand: then it is
// to be resumed, as one that was cut off is.
func TestRedriveEndedExitCode(t *testing.T) {
	a := &app{}
	a.command()
	cancelled := fmt.Errorf("redrive: %w by ada", dlq.ErrCancelled)
	for _, tt := range []struct {
		err  error
		sent int
		want int
	}{
		{nil, 3, exitOK},
		{cancelled, 3, exitFailed},
		{&dlq.ResumableError{Queue: "q", ID: "j", Err: cancelled}, 3, exitPartial},
		{&dlq.ResumableError{Queue: "q", ID: "j", Err: cancelled}, 0, exitPartial},
		{&dlq.CanaryError{}, 3, exitPartial},
		{errors.New("away"), 0, exitFailed},
	} {
		err := a.redriveEnded(tt.err, dlq.Report{Sent: tt.sent}, "q")
		if got := exitOK; err != nil {
			got = exitCode(t.Context(), err)
			if got != tt.want {
				t.Errorf("%v, with %d sent, is exit code %d, want %d", tt.err, tt.sent, got, tt.want)
			}
		} else if tt.want != got {
			t.Errorf("%v is no error", tt.err)
		}
	}
}
