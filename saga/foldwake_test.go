package saga_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A counting store counts the frames that are read, and the openings.
type counting struct {
	saga.Store
	frames atomic.Int64
}

func (s *counting) Frames(ctx context.Context, id string, names ...string) (map[string][]byte, error) {
	s.frames.Add(int64(len(names)))
	return s.Store.Frames(ctx, id, names...)
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestWokenForOneOfMany lets items wait for times and for signals that come one by
// one: an opening reads the frames that it may be about, and not all, so an item costs
// the same among many as among few.
func TestWokenForOneOfMany(t *testing.T) {
	count := func(n *int) []int {
		list := make([]int, *n)
		for i := range list {
			list[i] = i + 1
		}
		return list
	}
	const apart = 3 * time.Second
	for name, step := range map[string]*saga.Step[int]{
		"Wait":    saga.WaitUntil("Step", func(n *int) time.Time { return time.Unix(0, int64(*n)) }),
		"Receive": saga.Receive("Step", "go", func(n *int, to int) error { *n = to; return nil }),
	} {
		for _, items := range []int{100, 400} {
			t.Run(fmt.Sprint(name, "/", items), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					begun := time.Now()
					each := func(n *int) []int {
						list := count(n)
						for i := range list {
							list[i] = int(begun.Add(time.Minute + time.Duration(i)*apart).UnixNano())
						}
						return list
					}
					s := saga.New("woken", saga.ForEach("Each", each, nil, step))
					st := &counting{Store: memstore.New(memstore.Config{})}
					c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
					if _, err := s.Start(t.Context(), c, "1", items); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute - apart)
					used := cpu()
					for i := range items {
						time.Sleep(apart)
						if name == "Receive" {
							if err := c.Signal(t.Context(), "1", "go", fmt.Sprint(i), 7); err != nil {
								t.Fatal(err)
							}
						}
					}
					if _, err := s.Wait(t.Context(), c, "1"); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(begun); name == "Wait" && took > time.Minute+time.Duration(items)*apart {
						t.Errorf("it took %s", took)
					}
					per := float64(st.frames.Load()) / float64(items)
					t.Logf("%.1f frames and %s an item", per, (cpu()-used)/time.Duration(items))
					if per > 12 {
						t.Errorf("it read %.1f frames an item", per)
					}
				})
			})
		}
	}
}

// TestWokenForTheEndOfAFork lets the time of items within folded items run out: the
// opening that a signal has brought about before leaves them folded.
func TestWokenForTheEndOfAFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := func(*int) []int { return make([]int, 1) }
		inner := saga.ForEach("Inner", one, nil, saga.Receive[int, int]("Step", "go", nil)).Within(time.Minute)
		s := saga.New("woken", saga.ForEach("Each", func(n *int) []int { return make([]int, *n) }, nil, inner).Tolerate(39))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		begun := time.Now()
		if _, err := s.Start(t.Context(), c, "1", 40); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if err := c.Signal(t.Context(), "1", "go", "s", 7); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := s.Wait(ctx, c, "1")
		if took := time.Since(begun); err != nil || took > time.Minute+2*time.Second {
			t.Errorf("it ended after %s: %v", took, err)
		}
	})
}
