package dlq

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// An alarm changes exactly where the last readings since it changed last, as many as
// it takes, are all beyond its bound; and so never between the bounds.
func TestHysteresis(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		high := rapid.IntRange(1, 20).Draw(t, "high")
		low := rapid.IntRange(1, high).Draw(t, "low")
		raiseAfter, clearAfter := rapid.IntRange(1, 4).Draw(t, "raiseAfter"), rapid.IntRange(1, 4).Draw(t, "clearAfter")
		b := newBound(high, low, raiseAfter, clearAfter)
		raised, since := false, []int(nil) // the readings since it changed
		for i, value := range rapid.SliceOfN(rapid.IntRange(0, 25), 0, 60).Draw(t, "readings") {
			at := time.Unix(int64(i), 0)
			since = append(since, value)
			need, beyond := raiseAfter, func(v int) bool { return v >= high }
			if raised {
				need, beyond = clearAfter, func(v int) bool { return v < low }
			}
			change := len(since) >= need
			for _, v := range since[max(0, len(since)-need):] {
				change = change && beyond(v)
			}
			if got := b.read(value, at); got != change {
				t.Fatalf("reading %d, %d: changed is %t, want %t; since the last change: %v", i, value, got, change, since)
			}
			if change {
				if raised, since = !raised, nil; raised && !b.since.Equal(at) {
					t.Fatalf("it is raised since %v, want %v", b.since, at)
				}
			}
			if b.raised != raised {
				t.Fatalf("raised is %t, want %t", b.raised, raised)
			}
		}
	})
}

func TestNoBound(t *testing.T) {
	b := newBound(-1, 1, 1, 1)
	for _, value := range []int{0, 1, 1e9, -1} {
		if b.read(value, time.Now()) || b.raised {
			t.Errorf("%d raises what has no bound", value)
		}
	}
}

func TestLimits(t *testing.T) {
	want := Limits{Depth: 1, DepthLow: 1, Growth: -1, GrowthLow: 1, Window: 15 * time.Minute, RaiseAfter: 2, ClearAfter: 3}
	if got := (Limits{}).withDefaults(); got != want {
		t.Errorf("defaults are %+v, want %+v", got, want)
	}
	base := Limits{Depth: 100, DepthLow: 90, Growth: 50, ClearAfter: 9}
	want = Limits{Depth: 10, DepthLow: 5, Growth: 50, GrowthLow: 25, Window: 15 * time.Minute, RaiseAfter: 2, ClearAfter: 9}
	if got := (Limits{Depth: 10}).over(base).withDefaults(); got != want { // the lower bound is not that of another upper one
		t.Errorf("of a queue they are %+v, want %+v", got, want)
	}
	want = Limits{Depth: 100, DepthLow: 3, Growth: 50, GrowthLow: 25, Window: time.Hour, RaiseAfter: 2, ClearAfter: 9}
	if got := (Limits{DepthLow: 3, Window: time.Hour}).over(base).withDefaults(); got != want {
		t.Errorf("of a queue they are %+v, want %+v", got, want)
	}
	for _, tt := range []struct {
		limits Limits
		want   string
	}{
		{Limits{Depth: 5, DepthLow: 6}, "DepthLow is 6; want 1 to Depth, which is 5"},
		{Limits{Growth: 5, GrowthLow: -1}, "GrowthLow is -1; want 1 to Growth, which is 5"},
		{Limits{Growth: 5, Window: time.Second}, "the Window is 1s; want the Interval, 30s, or more"},
		{Limits{RaiseAfter: -1}, "RaiseAfter is -1"},
		{Limits{ClearAfter: -1}, "ClearAfter is -1"},
		{Limits{Depth: -1, DepthLow: 6, Window: time.Second}, ""},
	} {
		err := tt.limits.withDefaults().validate(30 * time.Second)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.limits, err, tt.want)
		}
	}
}
