package saga_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// A participant's action that is undone by the saga's own process is given a lease
// of grace, and one that is done after that is told of.
func TestRemoteDoneLateWithALocalUndo(t *testing.T) {
	const lease = 30 * time.Second
	for name, tt := range map[string]struct {
		answers bool          // at once
		at      time.Duration // of a reply that it is done; X is given up after 1s
		outcome saga.Outcome  // what the undo is told
		event   saga.EventType
		warning string
	}{
		"never":               {false, 0, saga.Unknown, "", ""},
		"in the grace":        {false, 20 * time.Second, saga.Done, saga.TaskHeardLate, ""},
		"while it is undone":  {false, 50 * time.Second, saga.Unknown, saga.TaskDoneLate, "whose undo had begun"},
		"when it is undone":   {false, 90 * time.Second, saga.Unknown, saga.TaskDoneLate, "whose undo had begun"},
		"after the end":       {false, 300 * time.Second, saga.Unknown, "", "the saga has ended"},
		"again while undone":  {true, 20 * time.Second, saga.Done, "", ""},
		"again after the end": {true, 300 * time.Second, saga.Done, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body, err := json.Marshal(map[string]any{
					"waybill": 1, "reply": "do", "execution": "1", "step": "X", "visit": 1, "attempt": 1, "outcome": "done", "result": nil,
				})
				if err != nil {
					t.Fatal(err)
				}
				var told saga.Outcome
				var waited time.Duration
				begun := time.Now()
				s := saga.New("bill",
					saga.Do("O", func(context.Context, *bill) error { return nil }).
						Undo(func(context.Context, *bill, saga.Outcome) error { time.Sleep(50 * time.Second); return nil }),
					saga.Remote("X", "payments", func(*bill) (int, error) { return 0, nil }, func(*bill, any) error { return nil }).
						Undo(func(_ context.Context, _ *bill, was saga.Outcome) error {
							told, waited = was, time.Since(begun)
							time.Sleep(30 * time.Second)
							return nil
						}).Timeout(time.Second).UndoTimeout(time.Minute).Retry(saga.Once()),
					saga.Fail[bill]("F", "No", "no"),
				)
				logs := new(logbook)
				co, stop := run(t, saga.CoordinatorConfig{
					Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Lease: lease, ReplyTo: "replies",
					Publisher: &post{t: t, serve: func(sentCommand) *replied { return nil }}, Logger: slog.New(slog.NewTextHandler(logs, nil)),
				})
				if _, err := s.Start(t.Context(), co.Client(), "1", bill{}); err != nil {
					t.Fatal(err)
				}
				hear := func(id string) {
					if err := co.HandleMessage(message.NewMessage(id, body)); err != nil {
						t.Error(err)
					}
				}
				if tt.answers {
					time.Sleep(100 * time.Millisecond)
					hear("r1")
				}
				if tt.at > 0 {
					time.Sleep(time.Until(begun.Add(tt.at)))
					hear("r2")
				}
				if _, err := s.Wait(t.Context(), co.Client(), "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				if told != tt.outcome {
					t.Errorf("the undo was told %q, want %q", told, tt.outcome)
				}
				if told == saga.Unknown && waited < time.Second+lease {
					t.Errorf("what is unknown was undone after %s, want a lease more than 1s", waited)
				}
				h, err := co.Client().History(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				for _, event := range []saga.EventType{saga.TaskHeardLate, saga.TaskDoneLate} {
					got := slices.ContainsFunc(h, func(e saga.Event) bool { return e.Type == event && e.Step == "X" && e.Outcome == saga.Done })
					if got != (event == tt.event) {
						t.Errorf("the history has %s: %v", event, got)
					}
				}
				for _, warning := range []string{"whose undo had begun", "the saga has ended"} {
					if got := logs.has(warning); got != (warning == tt.warning) {
						t.Errorf("the log has %q: %v", warning, got)
					}
				}
			})
		})
	}
}
