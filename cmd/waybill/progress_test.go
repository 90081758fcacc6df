package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

// A redrive of 4,000 at 100 a second tells so every five seconds, and how long it
// takes still.
func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := newProgress(&out, false)
		time.Sleep(100 * time.Millisecond)
		for i := range 16 {
			p.report(dlq.Report{Snapshot: 4000, Seen: 100 * i, Sent: 90 * i, Failed: i})
			time.Sleep(time.Second)
		}
		p.report(dlq.Report{Snapshot: 4000, Seen: 1500, Sent: 1350, Failed: 15, WaitingUntil: time.Now().Add(time.Minute)})
		time.Sleep(4 * time.Second) // nothing new
		p.report(dlq.Report{Snapshot: 10, Seen: 2, Sent: 2, Canary: &dlq.CanaryReport{Messages: 2, Waiting: 2}})
		time.Sleep(5 * time.Second)
		p.end()
		const want = `400 of 4000 looked at, 360 sent, 4 failed
900 of 4000 looked at, 810 sent, 9 failed; 90/s, 31s left
1400 of 4000 looked at, 1260 sent, 14 failed; 90/s, 26s left
1500 of 4000 looked at, 1350 sent, 15 failed, waiting up to 56s for messages that the process before has hidden
canary: 2 sent: 0 done, 0 died, 2 awaited for up to 0s
`
		if got := out.String(); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

// On a terminal the line stays where it is, and what else is told is above it.
func TestProgressLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := newProgress(&out, true)
		p.report(dlq.Report{Snapshot: 10, DryRun: true, Seen: 1, WouldSend: 1, Limit: 4})
		time.Sleep(300 * time.Millisecond)
		fmt.Fprintln(p, "something else")
		p.report(dlq.Report{Snapshot: 10, DryRun: true, Seen: 2, WouldSend: 2, Limit: 4})
		time.Sleep(250 * time.Millisecond)
		p.end()
		fmt.Fprintln(p, "the end")
		const first, second = "1 of 10 looked at, 1 would be sent, 0 failed", "2 of 10 looked at, 2 would be sent, 0 failed; 4.0/s, 1s left"
		want := "\r" + first + "\x1b[K" + "\r\x1b[Ksomething else\n" + "\r" + first + "\x1b[K" + "\r" + second + "\x1b[K\nthe end\n"
		if got := out.String(); got != want {
			t.Errorf("got\n%q want\n%q", got, want)
		}
	})
}

// A progress is for terminals, or for who asks for it; without colours it has no
// escapes.
func TestProgressFlag(t *testing.T) {
	tty, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	for _, tt := range []struct {
		tty, asked    bool
		noColor, term string
		shown, live   bool
	}{
		{false, false, "", "xterm", false, false},
		{false, true, "", "xterm", true, false},
		{true, false, "", "xterm", true, true},
		{true, true, "", "xterm", true, true},
		{true, false, "1", "xterm", true, false},
		{true, false, "", "dumb", true, false},
	} {
		t.Setenv("NO_COLOR", tt.noColor)
		t.Setenv("TERM", tt.term)
		a := &app{stderr: &strings.Builder{}}
		if tt.tty {
			a.stderr = tty
		}
		cmd := &cobra.Command{}
		start := a.progressFlag(cmd)
		if err := cmd.Flags().Set("progress", fmt.Sprint(tt.asked)); err != nil {
			t.Fatal(err)
		}
		p := start()
		p.report(dlq.Report{})
		p.end()
		if (p.out != nil) != tt.shown || p.live != tt.live {
			t.Errorf("%+v: it is %+v", tt, p)
		}
	}
}
