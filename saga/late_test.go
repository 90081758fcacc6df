package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// lateBill has a step that somebody else does beside one that takes so long that
// the other's undoing has to wait for it.
func lateBill(step *saga.Step[bill], beside time.Duration, undone func(b *bill, was saga.Outcome)) *saga.Saga[bill] {
	return saga.New("bill",
		saga.Parallel("P",
			saga.Branch("x", step.Undo(func(_ context.Context, b *bill, was saga.Outcome) error { undone(b, was); return nil })),
			saga.Branch("y", saga.Do("Y", func(context.Context, *bill) error { time.Sleep(beside); return nil }).
				Undo(func(context.Context, *bill, saga.Outcome) error { time.Sleep(10 * time.Second); return nil }).Timeout(time.Hour)),
		).Merge(func(*bill, []bill) error { return nil }))
}

// A reply that comes after the saga has given its step up counts until the step's
// undo begins: done is done, and not done only if that goes for all attempts.
func TestLateReply(t *testing.T) {
	type late struct {
		attempt int
		outcome string
		at      time.Duration
	}
	const (
		beforeUndo = 150 * time.Second // attempts end at 60s and 125s
		duringUndo = 205 * time.Second // of the other branch, from 200s to 210s
		afterUndo  = 215 * time.Second
	)
	for name, tt := range map[string]struct {
		replies []late
		want    string // what the undo sees; empty: it does not run
		heard   string // late, as the history tells
	}{
		"none":                                     {nil, "unknown ", ""},
		"done":                                     {[]late{{2, "done", beforeUndo}}, "done ch-2", "done 2"},
		"done, while another is undone":            {[]late{{2, "done", duringUndo}}, "done ch-2", "done 2"},
		"done, of the first attempt":               {[]late{{1, "done", beforeUndo}}, "done ch-1", "done 1"},
		"done twice":                               {[]late{{1, "done", beforeUndo}, {2, "done", duringUndo}}, "done ch-1", "done 1"},
		"done, too late":                           {[]late{{2, "done", afterUndo}}, "unknown ", ""},
		"not done, of one":                         {[]late{{1, "not done", beforeUndo}}, "unknown ", ""},
		"not done, of the other":                   {[]late{{2, "not done", beforeUndo}}, "unknown ", ""},
		"not done twice, of one":                   {[]late{{2, "not done", beforeUndo}, {2, "not done", duringUndo}}, "unknown ", ""},
		"not done, of both":                        {[]late{{1, "not done", beforeUndo}, {2, "not done", duringUndo}}, "", "not done 2"},
		"not done, of both, one in time":           {[]late{{1, "not done", 90 * time.Second}, {2, "not done", beforeUndo}}, "", "not done 1, not done 2"},
		"not done, of both, too late":              {[]late{{1, "not done", beforeUndo}, {2, "not done", afterUndo}}, "unknown ", ""},
		"not done of one, done of another":         {[]late{{1, "not done", beforeUndo}, {2, "done", duringUndo}}, "done ch-2", "done 2"},
		"done of one, not done of another":         {[]late{{1, "done", beforeUndo}, {2, "not done", duringUndo}}, "done ch-1", "done 1"},
		"unknown":                                  {[]late{{2, "unknown", beforeUndo}}, "unknown ", ""},
		"not done of one, unknown of other":        {[]late{{1, "not done", beforeUndo}, {2, "unknown", duringUndo}}, "unknown ", ""},
		"done, with a result that does not decode": {[]late{{3, "done", beforeUndo}}, "unknown ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &post{t: t, serve: func(sentCommand) *replied { return nil }}
				var undone []string
				step := saga.Remote("X", "payments",
					func(b *bill) (chargeRequest, error) { return chargeRequest{Cents: b.Cents}, nil },
					func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil },
				).Timeout(time.Minute).Retry(saga.Retry{Attempts: 2, Initial: 5 * time.Second, Jitter: -1})
				s := lateBill(step, 200*time.Second, func(b *bill, was saga.Outcome) {
					undone = append(undone, fmt.Sprint(was, " ", b.Charge))
					time.Sleep(20 * time.Second)
				})
				co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
				c := co.Client()
				begun := time.Now()
				if _, err := s.Start(t.Context(), c, "1", bill{Cents: 7}); err != nil {
					t.Fatal(err)
				}
				for _, l := range tt.replies {
					time.Sleep(time.Until(begun.Add(l.at)))
					attempt, result := l.attempt, any(map[string]string{"ID": fmt.Sprint("ch-", l.attempt)})
					if attempt == 3 {
						attempt, result = 2, 7
					}
					body, err := json.Marshal(map[string]any{
						"waybill": 1, "reply": "do", "execution": "1", "frame": "P:0", "step": "X", "visit": 1, "attempt": attempt,
						"outcome": l.outcome, "result": result,
					})
					if err != nil {
						t.Fatal(err)
					}
					if err := co.HandleMessage(message.NewMessage("r", body)); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
					for check, err := range c.CheckUpgrade(t.Context(), s.Definition(), "") {
						if err != nil || check.Misfit != nil {
							t.Errorf("it would not fit its own graph: %v, %v", check.Misfit, err)
						}
					}
				}
				if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				if got := strings.Join(undone, ", "); got != tt.want {
					t.Errorf("the undo saw %q, want %q", got, tt.want)
				}
				h, err := c.History(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				var heard []string
				for _, e := range h {
					if e.Type == saga.TaskHeardLate {
						heard = append(heard, fmt.Sprint(e.Outcome, " ", e.Attempt))
					}
				}
				if got := strings.Join(heard, ", "); got != tt.heard {
					t.Errorf("the history tells of %q, want %q", got, tt.heard)
				}
			})
		})
	}
}

// So does whoever has the token of a task.
func TestLateCompletion(t *testing.T) {
	complete := func(c *saga.Client, token string) error {
		return c.Complete(context.Background(), token, chargeResult{ID: "ch-1"})
	}
	fail := func(c *saga.Client, token string) error { return c.Fail(context.Background(), token, "Refused", "no") }
	for name, tt := range map[string]struct {
		at   time.Duration // the task's time is over after 60s, and its undo begins at 210s
		tell func(c *saga.Client, token string) error
		want string
		err  error
	}{
		"completed":           {90 * time.Second, complete, "done ch-1", nil},
		"completed, too late": {215 * time.Second, complete, "unknown ", saga.ErrToken},
		"refused":             {90 * time.Second, fail, "", nil},
		"refused, too late":   {215 * time.Second, fail, "unknown ", saga.ErrToken},
		"of no use": {90 * time.Second, func(c *saga.Client, token string) error {
			return c.Complete(context.Background(), token, 7)
		}, "unknown ", nil},
		"beats": {90 * time.Second, func(c *saga.Client, token string) error { return c.Heartbeat(context.Background(), token) }, "unknown ", saga.ErrToken},
		"with another's token": {90 * time.Second, func(c *saga.Client, token string) error {
			return complete(c, strings.Replace(token, token[len(token)-6:len(token)-4], "AA", 1))
		}, "unknown ", saga.ErrToken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens := make(chan string, 1)
				var undone []string
				step := saga.Callback("X", func(ctx context.Context, b *bill) error {
					tokens <- saga.StepFrom(ctx).Token
					return nil
				}, func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil }).Timeout(time.Minute)
				s := lateBill(step, 200*time.Second, func(b *bill, was saga.Outcome) {
					undone = append(undone, fmt.Sprint(was, " ", b.Charge))
					time.Sleep(20 * time.Second)
				})
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", bill{Cents: 7}); err != nil {
					t.Fatal(err)
				}
				token := <-tokens
				time.Sleep(tt.at)
				if err := tt.tell(c, token); !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				if err := tt.tell(c, token); !errors.Is(err, saga.ErrToken) {
					t.Errorf("the second time: got %v, want ErrToken", err)
				}
				if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
				if got := strings.Join(undone, ", "); got != tt.want {
					t.Errorf("the undo saw %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// A pivot whose reply is late is one; if nothing was done after all, the saga may be
// cancelled.
func TestLateReplyOfAPivot(t *testing.T) {
	for outcome, want := range map[string][]string{"done": {"do A", "do Z"}, "not done": {"do A", "undo A done []"}} {
		t.Run(outcome, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				p := &post{t: t, serve: func(sentCommand) *replied { return &replied{outcome: outcome, after: 90 * time.Second} }}
				s := saga.New("bill",
					saga.Do("A", func(context.Context, *bill) error { j.add("do A"); return nil }).
						Undo(func(_ context.Context, _ *bill, was saga.Outcome) error { j.add("undo A %s []", was); return nil }),
					saga.Remote("P", "payments", func(*bill) (int, error) { return 0, nil }, func(*bill, chargeResult) error { return nil }).
						Pivot().Timeout(time.Minute).Retry(saga.Once()),
					saga.Do("Z", func(context.Context, *bill) error { j.add("do Z"); return nil }))
				co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
				p.reply = co.HandleMessage
				c := co.Client()
				if _, err := s.Run(t.Context(), c, "1", bill{}); !errors.Is(err, saga.ErrBlocked) {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if outcome == "not done" {
					if err := c.Cancel(t.Context(), "1", saga.Order{}); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Minute)
				if got := j.all(); !slices.Equal(got, want) {
					t.Errorf("handlers ran %q, want %q", got, want)
				}
				if x, err := c.Get(t.Context(), "1"); err != nil || !x.Status.Ended() {
					t.Errorf("it is %+v, %v", x, err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
