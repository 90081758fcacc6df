package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

// progressFlag adds the flag of those who show how far they are, and returns what
// begins to show it. What that returns is called with each report, and its end
// when there are no more.
func (a *app) progressFlag(cmd *cobra.Command) func() *progress {
	always := cmd.Flags().Bool("progress", false, "tell on stderr how far it is, every few seconds, also where that is no terminal")
	return func() *progress {
		switch tty := terminal(a.stderr); {
		case tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb":
			p := newProgress(a.stderr, true)
			a.stderr = p // what else is told comes above the line
			return p
		case tty || *always:
			return newProgress(a.stderr, false)
		default:
			return &progress{}
		}
	}
}

const (
	plainEvery = 5 * time.Second
	liveEvery  = 250 * time.Millisecond

	// rateWindow is over how much of the past a rate is taken.
	rateWindow = 10 * time.Second
)

// A progress is a line that tells how far a redrive is: one that stays where it
// is on a terminal that can, else one after the other. One without a writer tells
// nothing.
type progress struct {
	out  io.Writer
	live bool
	stop func()

	mu    sync.Mutex
	last  *dlq.Report
	past  []mark // the first is rateWindow old at most, but for one
	shown bool   // the line is on the terminal
	told  string
}

// A mark is how far it was at a time.
type mark struct {
	at         time.Time
	seen, sent int
}

// newProgress shows how far it is until its end, also while nothing new is
// reported.
func newProgress(out io.Writer, live bool) *progress {
	p, every := &progress{out: out, live: live}, plainEvery
	if live {
		every = liveEvery
	}
	tick, over, ended := time.NewTicker(every), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				p.show()
			}
		}
	}()
	p.stop = sync.OnceFunc(func() {
		tick.Stop()
		close(over)
		<-ended
	})
	return p
}

// report takes a report.
func (p *progress) report(r dlq.Report) {
	if p.out == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &r
}

// end shows no more, and leaves the last line where it is.
func (p *progress) end() {
	if p.out == nil {
		return
	}
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprintln(p.out)
		p.shown = false
	}
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return
	}
	now := time.Now()
	p.past = append(p.past, mark{at: now, seen: p.last.Seen, sent: p.last.Sent + p.last.WouldSend})
	for len(p.past) > 2 && now.Sub(p.past[1].at) >= rateWindow {
		p.past = p.past[1:]
	}
	p.told = progressText(*p.last, p.past, now)
	p.draw()
}

// draw writes the line. p.mu is held.
func (p *progress) draw() {
	if p.live {
		fmt.Fprintf(p.out, "\r%s\x1b[K", p.told)
		p.shown = true
	} else {
		fmt.Fprintln(p.out, p.told)
	}
}

// Write writes what else is told, above the line.
func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		defer p.draw()
	}
	return p.out.Write(text)
}

// progressText tells how far it is, how fast, and how long what is left takes at
// that rate.
func progressText(r dlq.Report, past []mark, now time.Time) string {
	if r.Canary != nil && r.Canary.Waiting > 0 {
		return "canary: " + canaryText(r.Canary)
	}
	verb, n := "sent", r.Sent
	if r.DryRun {
		verb, n = "would be sent", r.WouldSend
	}
	text := fmt.Sprintf("%d of %d looked at, %d %s, %d failed", r.Seen, r.Snapshot, n, verb, r.Failed)
	if now.Before(r.WaitingUntil) {
		return text + ", waiting up to " + r.WaitingUntil.Sub(now).Round(time.Second).String() + " for messages that the process before has hidden"
	}
	first, last := past[0], past[len(past)-1]
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 || last.seen <= first.seen {
		return text
	}
	text += fmt.Sprintf("; %.*f/s", digits(float64(last.sent-first.sent)/took), float64(last.sent-first.sent)/took)
	left := float64(r.Snapshot-r.Seen) * took / float64(last.seen-first.seen)
	if r.Limit > 0 && last.sent > first.sent {
		left = min(left, float64(r.Limit-n)*took/float64(last.sent-first.sent))
	}
	if left > 0 {
		text += ", " + time.Duration(left*float64(time.Second)).Round(time.Second).String() + " left"
	}
	return text
}

// digits returns how many decimals of a rate are of interest.
func digits(rate float64) int {
	if rate < 10 {
		return 1
	}
	return 0
}
