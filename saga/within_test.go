package saga

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/store/memstore"
)

func TestDeadlineWhileAnItemIsBlocked(t *testing.T) {
	once := func(name string) *Step[int] {
		return Do(name, nothing).Undo(undoNothing).Retry(Once()).UndoRetry(Once())
	}
	def := New("s", ForEach("M", func(*int) []int { return []int{1, 2} }, nil, once("A"), once("B")).Tolerate(1)).Within(time.Minute).def
	t.Run("another item fails", func(t *testing.T) {
		b := newBench(def)
		b.play(t, "M:0=done M:1=done M:0=declined M:0=flaky")
		b.now = b.now.Add(2 * time.Minute)
		f := b.job("M:1")
		b.m.answer(f, b.result(f, "flaky"), b.now)
		b.settle()
		if f := b.job("M:1"); f != nil && !f.Undoing {
			t.Errorf("attempt %d of %s, which has failed, is run again", f.Attempt, f.Step)
		}
		if b.m.root.Scope == nil || b.m.root.Scope.Cause.Kind != CauseTimedOut {
			t.Fatalf("the saga is not undone for its time: %s", brief(b.trace))
		}
		b.play(t, "M:1=done M:0=done")
		if got := b.m.status(); got != Compensated {
			t.Errorf("%s, want it compensated: %s", got, brief(b.trace))
		}
	})
	t.Run("nothing else is under way", func(t *testing.T) {
		b := newBench(def)
		b.play(t, "M:0=done M:1=done M:0=declined M:0=flaky M:1=done")
		if got := b.m.status(); got != Blocked || !b.wake.Equal(b.start.Add(time.Minute)) {
			t.Fatalf("%s until %s, want it blocked until its time is over", got, b.wake.Sub(b.start))
		}
		b.play(t, "wake M:1=done M:1=done M:0=flaky")
		if got := b.m.status(); got != Blocked {
			t.Errorf("%s, want it blocked again by what cannot be undone: %s", got, brief(b.trace))
		}
	})
}

// Within is a step's own time, whatever it waits for and however often it is tried.
func TestWithinOfStepsThatWait(t *testing.T) {
	retry := Retry{Attempts: 10, Initial: time.Minute, Factor: 1, Jitter: -1}
	item := New("c", Wait[int]("CW", 24*time.Hour))
	parallel := func(branch ...*Step[int]) *Step[int] {
		return Parallel("X", Branch("a", branch...), Branch("b", compensable("B"))).Merge(mergeNothing)
	}
	for name, step := range map[string]*Step[int]{
		"callback": Callback[int, int]("X", nothing, nil).ReadOnly(),
		"callback, asked again": Callback[int, int]("X", nothing, nil).ReadOnly().Timeout(25*time.Minute).
			Retry(retry, ErrorTimeout),
		"callback with a heartbeat": Callback[int, int]("X", nothing, nil).ReadOnly().Heartbeat(2 * time.Hour),
		"receive":                   Receive[int, int]("X", "go", nil),
		"remote":                    remoteNothing("X").Timeout(25 * time.Minute).Retry(retry),
		"child":                     Child("X", item, func(s *int) (int, error) { return *s, nil }, nil),
		"parallel":                  parallel(Wait[int]("W", 24*time.Hour)),
		"parallel, tried again":     parallel(Wait[int]("W", 50*time.Minute), Fail[int]("E", "No", "no")).Retry(retry),
		"parallel of a callback":    parallel(Callback[int, int]("C", nothing, nil).ReadOnly()),
		"for each": ForEach("X", func(*int) []int { return []int{1, 2} }, nil,
			compensable("B"), Wait[int]("W", 24*time.Hour)),
		"for each, tried again": ForEach("X", func(*int) []int { return []int{1, 2} }, nil,
			Wait[int]("W", 40*time.Minute), Fail[int]("E", "No", "no")).Retry(retry),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New("s", compensable("A"), step.Within(time.Hour), Do("Z", nothing))
				c := coordinate(t, CoordinatorConfig{Sagas: []Definer{s}, Publisher: deaf{}, ReplyTo: "here"})
				begun := time.Now()
				_, err := s.Run(t.Context(), c.Client(), "1", 0)
				var failed *FailedError
				if !errors.As(err, &failed) || failed.Status != Compensated || failed.Cause.Step != "X" || failed.Cause.Name != ErrorTimeout {
					t.Errorf("got %v, want X timed out, and all undone", err)
				}
				if d := time.Since(begun); d < time.Hour-time.Second || d > time.Hour+2*time.Minute {
					t.Errorf("it took %s, want an hour", d)
				}
				h, err := c.Client().History(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				done := make(map[string]int)
				for _, e := range h {
					switch e.Type {
					case TaskSucceeded:
						done[e.Frame+" "+e.Step]++
					case CompensationDone:
						done[e.Frame+" "+e.Step]--
					}
				}
				for step, n := range done {
					if n != 0 {
						t.Errorf("%s was done %d times more than it was undone", step, n)
					}
				}
			})
		})
	}
}

// A Parallel that has run out of its time goes on where it is caught.
func TestWithinOfAParallelIsCaught(t *testing.T) {
	b := newBench(New("s", Parallel("X", Branch("a", compensable("A")), Branch("b", compensable("B"))).Merge(mergeNothing).
		Within(time.Minute).Retry(endless).Catch("H", ErrorTimeout), Do("Z", nothing).End(), Do("H", nothing)).def)
	b.play(t, "X:0=done X:1=start +2m")
	if b.m.root.Scope == nil {
		t.Fatal("it goes on after its time")
	}
	b.play(t, "X:1=done X:1=done X:0=done")
	if b.m.root.Step != "H" {
		t.Errorf("it is at %q, want it at H: %s", b.m.root.Step, brief(b.trace))
	}
}

func remoteNothing(name string) *Step[int] {
	return Remote(name, "there", func(*int) (int, error) { return 0, nil }, func(*int, int) error { return nil }).ReadOnly()
}

// A deaf publisher is one whose messages nobody answers.
type deaf struct{}

func (deaf) Publish(string, ...*message.Message) error { return nil }
func (deaf) Close() error                              { return nil }

// coordinate runs a coordinator until the test ends.
func coordinate(t *testing.T, cfg CoordinatorConfig) *Coordinator {
	t.Helper()
	cfg.Store, cfg.Logger = memstore.New(memstore.Config{}), slog.New(slog.DiscardHandler)
	c, err := NewCoordinator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-c.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}
