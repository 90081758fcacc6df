package emulator_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// slow is a server in virtual time that stands still.
type slow struct {
	next http.RoundTripper

	mu    sync.Mutex
	calls map[string]int
	stall func(call string, n int) (before, after time.Duration) // for the nth call of an operation, from 1
}

func (s *slow) RoundTrip(r *http.Request) (*http.Response, error) {
	_, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	s.mu.Lock()
	s.calls[call]++
	before, after := s.stall(call, s.calls[call])
	s.mu.Unlock()
	time.Sleep(before)
	resp, err := s.next.RoundTrip(r)
	time.Sleep(after)
	return resp, err
}

// What a rule finds wrong counts if the look was in time, at once; else another look tells.
func TestConformanceOnSlowMachine(t *testing.T) {
	const stalled = 3 * time.Second
	delayed := func(p *probe) {
		url := p.queue("DelaySeconds", "2")
		p.send(url, "x")
		p.empty(url, "before the delay")
		p.next(url)
	}
	wrong := func(p *probe) {
		p.queue()
		p.errorf("it is wrong")
	}
	tests := []struct {
		name      string
		stall     func(call string, n int) (before, after time.Duration)
		test      func(*probe)
		deviates  string // the failure that is listed
		complains string
		looks     int
	}{
		{name: "in time", test: delayed, looks: 1},
		{
			name: "stalled between two calls", test: delayed, looks: 2,
			stall: func(call string, n int) (time.Duration, time.Duration) {
				if call == "ReceiveMessage" && n == 1 {
					return stalled, 0
				}
				return 0, 0
			},
		},
		{
			name: "slow a little at a time", looks: 2,
			test: func(p *probe) {
				url := p.queue("DelaySeconds", "2")
				p.send(url, "x")
				for range 6 {
					p.empty(url, "before the delay")
				}
			},
			stall: func(call string, n int) (time.Duration, time.Duration) {
				if call == "ReceiveMessage" && n <= 6 {
					return 0, inTime - 100*time.Millisecond
				}
				return 0, 0
			},
		},
		{
			name: "stalled after a wait", looks: 2,
			test: func(p *probe) {
				url := p.queue("VisibilityTimeout", "2")
				p.send(url, "x")
				p.next(url)
				p.sleep(time.Second)
				p.empty(url, "while it is hidden")
			},
			stall: func(call string, n int) (time.Duration, time.Duration) {
				if call == "ReceiveMessage" && n == 2 {
					return stalled, 0
				}
				return 0, 0
			},
		},
		{
			// The answer to a long poll is late: the poll may take that long, and only
			// the pulse tells.
			name: "stalled in a long poll", looks: 2,
			test: func(p *probe) {
				url := p.queue("VisibilityTimeout", "2")
				p.send(url, "x")
				p.next(url)
				p.empty(url, "while it is hidden")
			},
			stall: func(call string, n int) (time.Duration, time.Duration) {
				if (call == "ReceiveMessage" || call == "ListQueues") && n == 1 {
					return 0, stalled
				}
				return 0, 0
			},
		},
		{
			name: "several wait at once", looks: 1, complains: "it is wrong",
			test: func(p *probe) {
				url := p.queue()
				var other sync.WaitGroup
				other.Go(func() {
					p.sleep(time.Second)
					_, _ = p.trySend(url, "x")
				})
				p.receive(url, waiting(20))
				other.Wait()
				p.sleep(time.Second)
				p.errorf("it is wrong")
			},
		},
		{name: "wrong in time", test: wrong, looks: 1, complains: "it is wrong"},
		{
			name: "wrong in time after a late look", test: wrong, looks: 2, complains: "it is wrong",
			stall: func(call string, n int) (time.Duration, time.Duration) {
				if call == "CreateQueue" && n == 1 {
					return 0, stalled
				}
				return 0, 0
			},
		},
		{name: "deviates as listed", test: wrong, deviates: "it is wrong", looks: 1},
		{
			name: "deviates, seen late in another way", test: delayed, deviates: "it is wrong", looks: 2,
			complains: "the server keeps the rule now",
			stall: func(call string, n int) (time.Duration, time.Duration) {
				if call == "ReceiveMessage" && n == 1 {
					return stalled, 0
				}
				return 0, 0
			},
		},
		{
			name: "never in time", test: delayed, looks: looks, complains: "too slow to tell: 10 looks, the last late by 3s",
			stall: func(call string, n int) (time.Duration, time.Duration) {
				if call == "SendMessage" {
					return 0, stalled
				}
				return 0, 0
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := emulator.New(emulator.Config{})
				defer s.Close()
				stall := tt.stall
				if stall == nil {
					stall = func(string, int) (time.Duration, time.Duration) { return 0, 0 }
				}
				client := &http.Client{Transport: &slow{next: s.Client().Transport, calls: make(map[string]int), stall: stall}}
				pulse := startPulse(t, newProbe(t, "http://slow", client).sqs)
				var d *deviation
				if tt.deviates != "" {
					d = &deviation{does: "otherwise", failure: tt.deviates}
				}
				n := 0
				complaints := rule{test: tt.test}.judge(func() *probe {
					n++
					p := newProbe(t, "http://slow", client)
					p.pulse = pulse
					return p
				}, d)
				if n != tt.looks {
					t.Errorf("it looked %d times, want %d", n, tt.looks)
				}
				switch got := strings.Join(complaints, "\n"); {
				case tt.complains == "" && got != "":
					t.Errorf("complaints: %s", got)
				case !strings.Contains(got, tt.complains):
					t.Errorf("complaints: %s\nwant %q", got, tt.complains)
				}
			})
		})
	}
}
