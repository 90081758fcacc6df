package testserver

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestInTime(t *testing.T) {
	late := errors.New("late")
	for _, tt := range []struct {
		name   string
		stills int // the runs, from the first, in which the process stands still
		wrong  int // and those that find something wrong
		runs   int
		want   string
	}{
		{name: "well", runs: 1},
		{name: "well, though it stood still", stills: 1, runs: 1},
		{name: "wrong in time", wrong: 9, runs: 1, want: "late"},
		{name: "wrong when it stood still", stills: 2, wrong: 2, runs: 3},
		{name: "wrong afterwards as well", stills: 2, wrong: 9, runs: 3, want: "late"},
		{name: "never in time", stills: 99, wrong: 99, runs: 10, want: "in 10 runs this process stood still, at last for 990ms: late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runs := 0
				stands := make(chan time.Duration, 1) // how much longer the next wait is
				err := inTime(100*time.Millisecond, func(d time.Duration) <-chan time.Time {
					select {
					case more := <-stands:
						d += more
					default:
					}
					return time.After(d)
				}, func() error {
					runs++
					if runs <= tt.stills {
						stands <- 990 * time.Millisecond
					}
					time.Sleep(3 * time.Second)
					if runs <= tt.wrong {
						return late
					}
					return nil
				})
				if runs != tt.runs {
					t.Errorf("%d runs, want %d", runs, tt.runs)
				}
				if got := errors.Is(err, late); got != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
			})
		})
	}
}
