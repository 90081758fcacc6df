package dlq

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// A pace begins at a tenth of its rate, reaches it when the ramp is over, and is
// never above it.
func TestPaceRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, seconds = 100, 20
		p, begin := newPace(rate, DefaultRamp), time.Now()
		var sent [seconds]int
		for p.wait(t.Context(), 1) {
			second := int(time.Since(begin) / time.Second)
			if second >= seconds {
				break
			}
			sent[second]++
		}
		for second, n := range sent {
			middle := float64(second) + 0.5
			want := rate * min(1, 0.1+0.9*middle/10)
			if math.Abs(float64(n)-want) > 1.5 || n > rate+1 {
				t.Errorf("in second %d, %d were sent, want %.1f: %v", second, n, want, sent)
			}
		}
	})
}

func TestPace(t *testing.T) {
	for name, tt := range map[string]struct {
		rate    float64
		ramp    time.Duration
		n, each int
		want    time.Duration // until the last ones may be sent
	}{
		"no rate":          {0, DefaultRamp, 100, 10, 0},
		"no ramp":          {10, 0, 6, 10, 5 * time.Second},
		"negative ramp":    {10, -1, 6, 10, 5 * time.Second},
		"with a ramp":      {10, 10 * time.Second, 6, 10, 9*time.Second + 488*time.Millisecond},
		"beyond the ramp":  {10, 10 * time.Second, 11, 10, 14*time.Second + 500*time.Millisecond},
		"slower than that": {0.1, 10 * time.Second, 2, 10, 104*time.Second + 500*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, begin := newPace(tt.rate, tt.ramp), time.Now()
				for range tt.n {
					if !p.wait(t.Context(), tt.each) {
						t.Fatal("it did not wait")
					}
				}
				if d := time.Since(begin); (d - tt.want).Abs() > time.Millisecond {
					t.Errorf("it took %v, want %v", d, tt.want)
				}
			})
		})
	}
}

// What was not sent in its time is not made up for, and a wait ends with its
// context.
func TestPaceIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10, -1)
		p.wait(t.Context(), 10)
		time.Sleep(time.Hour)
		begin := time.Now()
		p.wait(t.Context(), 10)
		p.wait(t.Context(), 10)
		if d := time.Since(begin); d != time.Second {
			t.Errorf("20 messages took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if p.wait(ctx, 10) {
			t.Error("it outlived its context")
		}
	})
}
