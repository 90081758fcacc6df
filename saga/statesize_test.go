package saga

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// MaxState bounds every state that a step sets, and one over it fails for good.
func TestMaxStateOfEveryStep(t *testing.T) {
	long := strings.Repeat("x", 600) // twice is too much
	set := func(s *string, more string) error { *s += more; return nil }
	same := func(s *string) (string, error) { return *s, nil }
	undo := func(context.Context, *string, Outcome) error { return nil }
	for name, step := range map[string]*Step[string]{
		"do":       Do("X", func(_ context.Context, s *string) error { return set(s, long) }).Undo(undo),
		"pass":     Pass("X", func(s *string) error { return set(s, long) }),
		"callback": Callback("X", func(context.Context, *string) error { return nil }, set).Undo(undo),
		"receive":  Receive("X", "go", set),
		"remote":   Remote("X", "there", same, set).Undo(undo),
		"child":    Child("X", New("child", Do("C", func(context.Context, *string) error { return nil }).ReadOnly()), same, set),
		"parallel": Parallel("X", Branch("a", Do("A", func(context.Context, *string) error { return nil }).Undo(undo))).
			Merge(func(s *string, b []string) error { return set(s, b[0]) }).Retry(Retry{Attempts: 5}),
		"for each": ForEach("X", func(*string) []int { return []int{1} }, func(s *string, _ []Item[int]) error { return set(s, long) },
			compensable("B")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New("s", step, Do("Z", func(context.Context, *string) error { return nil }))
				c := coordinate(t, CoordinatorConfig{Sagas: []Definer{s}, Publisher: deaf{}, ReplyTo: "here", MaxState: 1000})
				if _, err := s.Start(t.Context(), c.Client(), "1", long); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				switch name {
				case "callback":
					x, err := c.cfg.Store.Frames(t.Context(), "1", frameField(""))
					var f frame
					if err = errors.Join(err, decodeJSON(nil, x[frameField("")], &f)); err != nil {
						t.Fatal(err)
					}
					token := taskToken{Execution: "1", Step: "X", Visit: 1, Secret: f.Token}.String()
					if err := c.Client().Complete(t.Context(), token, long); err != nil {
						t.Fatal(err)
					}
				case "receive":
					if err := c.Client().Signal(t.Context(), "1", "go", "", long); err != nil {
						t.Fatal(err)
					}
				case "remote":
					if err := c.HandleMessage(message.NewMessage("r", fmt.Appendf(nil,
						`{"waybill":1,"reply":"do","execution":"1","step":"X","visit":1,"attempt":1,"outcome":"done","result":%q}`, long))); err != nil {
						t.Fatal(err)
					}
				}
				got, err := s.Wait(t.Context(), c.Client(), "1")
				var failed *FailedError
				if !errors.As(err, &failed) || failed.Cause.Step != "X" || !strings.Contains(failed.Cause.Error, "at most 1000 are allowed") {
					t.Errorf("got %v with %d bytes, want X failed for the size of its state", err, len(got))
				}
				h, err := c.Client().History(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				entered, undone := 0, 0
				for _, e := range h {
					if e.Step == "X" && enteredTypes[TypeParallel] == e.Type {
						entered++
					}
					if e.Type == CompensationDone {
						undone++
					}
				}
				if entered > 1 {
					t.Errorf("it was tried %d times, and no other try would do", entered)
				}
				if has := name != "pass" && name != "receive" && name != "child"; has != (undone > 0) {
					t.Errorf("%d compensations have run", undone)
				}
			})
		})
	}
}
