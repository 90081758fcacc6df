package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// A post carries commands to a service of the test's, and its replies to a
// coordinator, as queues do: not always, not at once, and more than once.
type post struct {
	t      *testing.T
	mu     sync.Mutex
	serve  func(c sentCommand) *replied // nil: no reply
	reply  func(msg *message.Message) error
	fail   int // so many messages cannot be sent
	orders []sentCommand
}

// An sentCommand is a command as anybody reads it.
type sentCommand struct {
	Waybill    int
	Command    string
	Key        string
	Execution  string
	Definition string
	Frame      string
	Step       string
	Visit      int
	Attempt    int
	Outcome    string
	Input      json.RawMessage
	NotAfter   int64
	ReplyTo    string
	Commit     string
	Locks      map[string]int64
}

func (o sentCommand) String() string {
	if o.Command == "undo" {
		return fmt.Sprintf("undo %s (%s)", o.Step, o.Outcome)
	}
	return fmt.Sprintf("do %s %d", o.Step, o.Attempt)
}

type replied struct {
	outcome   string
	result    string
	name      string
	cause     string
	permanent bool
	after     time.Duration
	again     bool // it comes twice
}

func (p *post) Close() error { return nil }

func (p *post) Publish(topic string, messages ...*message.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail > 0 {
		p.fail--
		return errors.New("the queue cannot be reached")
	}
	for _, msg := range messages {
		var o sentCommand
		if err := json.Unmarshal(msg.Payload, &o); err != nil {
			p.t.Error(err)
		}
		if topic != "payments" || o.Waybill != 1 || o.ReplyTo != "replies" || o.Commit == "" || msg.UUID != fmt.Sprint(o.Key, "/", o.Attempt) {
			p.t.Errorf("to %s goes %+v, as %s", topic, o, msg.UUID)
		}
		p.orders = append(p.orders, o)
		if a := p.serve(o); a != nil {
			go p.replied(o, a)
		}
	}
	return nil
}

func (p *post) replied(o sentCommand, a *replied) {
	time.Sleep(a.after)
	body := map[string]any{
		"waybill": 1, "reply": o.Command, "key": o.Key, "execution": o.Execution, "frame": o.Frame, "step": o.Step, "visit": o.Visit,
		"attempt": o.Attempt, "commit": o.Commit, "outcome": a.outcome, "error": a.name, "cause": a.cause, "permanent": a.permanent,
	}
	if a.result != "" {
		body["result"] = json.RawMessage(a.result)
	}
	data, err := json.Marshal(body)
	if err != nil {
		p.t.Error(err)
	}
	for range map[bool]int{false: 1, true: 2}[a.again] {
		if err := p.reply(message.NewMessage("r", data)); err != nil {
			p.t.Error(err)
		}
	}
}

func (p *post) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for _, o := range p.orders {
		lines = append(lines, o.String())
	}
	return lines
}

type bill struct {
	Cents  int
	Charge string
}

type chargeRequest struct{ Cents int }
type chargeResult struct{ ID string }

func remoteSaga(options func(*saga.Step[bill]) *saga.Step[bill]) *saga.Saga[bill] {
	none := func(context.Context, *bill, saga.Outcome) error { return nil }
	return saga.New("bill",
		saga.Do("Register", func(context.Context, *bill) error { return nil }).Undo(none),
		options(saga.Remote("Charge", "payments",
			func(b *bill) (chargeRequest, error) { return chargeRequest{Cents: b.Cents}, nil },
			func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil },
		).UndoRemote().Timeout(time.Minute).Retry(saga.Retry{Attempts: 2, Initial: 5 * time.Second, Jitter: -1})),
		saga.Do("Close", func(_ context.Context, b *bill) error {
			if b.Cents == 13 {
				return errRefused
			}
			return nil
		}),
		saga.Succeed[bill]("End"),
	)
}

func TestRemoteSteps(t *testing.T) {
	done := &replied{outcome: "done", result: `{"ID": "ch-1"}`, after: 10 * time.Second, again: true}
	undone := &replied{outcome: "done", after: time.Second}
	by := func(answers map[string]*replied) func(sentCommand) *replied {
		return func(o sentCommand) *replied { return answers[o.String()] }
	}
	tests := []struct {
		name    string
		cents   int
		serve   func(sentCommand) *replied
		fail    int
		options func(*saga.Step[bill]) *saga.Step[bill]
		lines   []string
		want    string // the charge's id, or the error
		took    time.Duration
	}{
		{name: "done", cents: 7, serve: by(map[string]*replied{"do Charge 1": done}), lines: []string{"do Charge 1"}, want: "ch-1"},
		{name: "undone by a command", cents: 13, serve: by(map[string]*replied{"do Charge 1": done, "undo Charge (done)": undone}),
			lines: []string{"do Charge 1", "undo Charge (done)"}, want: "Close failed: refused"},
		{name: "not done, and tried again", cents: 7, serve: by(map[string]*replied{
			"do Charge 1": {outcome: "not done", cause: "busy"}, "do Charge 2": done,
		}), lines: []string{"do Charge 1", "do Charge 2"}, want: "ch-1"},
		{name: "refused", cents: 7, serve: by(map[string]*replied{
			"do Charge 1": {outcome: "not done", name: "Declined", cause: "card declined", permanent: true},
		}), lines: []string{"do Charge 1"}, want: "Charge failed: card declined"},
		{name: "an error that is caught", cents: 7, serve: by(map[string]*replied{
			"do Charge 1": {outcome: "not done", name: "Declined", cause: "card declined", permanent: true},
		}), options: func(s *saga.Step[bill]) *saga.Step[bill] { return s.Catch("End", "Declined") }, lines: []string{"do Charge 1"}},
		{name: "no reply", cents: 7, serve: by(map[string]*replied{"undo Charge (unknown)": undone}),
			// It is sent again after a lease, because nobody knows whether it went out.
			lines: []string{"do Charge 1", "do Charge 1", "do Charge 2", "do Charge 2", "undo Charge (unknown)"}, want: "Charge failed: no reply came in time"},
		{name: "a late reply to an earlier attempt counts", cents: 7, serve: by(map[string]*replied{
			"do Charge 1": {outcome: "done", result: `{"ID": "late"}`, after: 62 * time.Second},
		}), lines: []string{"do Charge 1", "do Charge 1"}, want: "late"},
		{name: "unknown", cents: 7, serve: by(map[string]*replied{
			"do Charge 1": {outcome: "unknown", cause: "no replied from the bank", permanent: true}, "undo Charge (unknown)": undone,
		}), lines: []string{"do Charge 1", "undo Charge (unknown)"}, want: "Charge failed: no replied from the bank"},
		{name: "a result that does not fit", cents: 7, serve: by(map[string]*replied{
			"do Charge 1": {outcome: "done", result: `{"ID": 7}`}, "undo Charge (unknown)": undone,
		}), lines: []string{"do Charge 1", "undo Charge (unknown)"}, want: "Charge failed: take the reply: decode"},
		{name: "a queue that cannot be reached for a while", cents: 7, fail: 2, serve: by(map[string]*replied{"do Charge 1": done}),
			lines: []string{"do Charge 1"}, want: "ch-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				p := &post{t: t, serve: tt.serve, fail: tt.fail}
				if tt.options == nil {
					tt.options = as[bill]
				}
				s := remoteSaga(tt.options)
				co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
				p.reply = co.HandleMessage
				got, err := s.Run(t.Context(), co.Client(), "1", bill{Cents: tt.cents})
				switch {
				case err == nil && got.Charge != tt.want:
					t.Errorf("charge %q, want %q", got.Charge, tt.want)
				case err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("%v, want %q", err, tt.want)
				}
				time.Sleep(2 * time.Minute) // nothing comes after the end
				var lines []string
				for i, line := range p.lines() {
					lines = append(lines, line)
					var req chargeRequest
					if o := p.orders[i]; json.Unmarshal(o.Input, &req) != nil || req.Cents != tt.cents || !strings.HasSuffix(o.Key, "Charge/1/"+o.Command) {
						t.Errorf("%s comes with %s under %s", line, o.Input, o.Key)
					}
				}
				if !slices.Equal(lines, tt.lines) {
					t.Errorf("commands %q, want %q", lines, tt.lines)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A remote step needs somebody to send its commands, and a place for replies.
func TestRemoteNeedsAWay(t *testing.T) {
	s := remoteSaga(as[bill])
	_, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
	if err == nil || !strings.Contains(err.Error(), "set CoordinatorConfig.Publisher and ReplyTo") {
		t.Errorf("got %v", err)
	}
}

// A result that is larger than a state may be cannot be taken, so what was done is
// undone. An error's text is cut, as it is of a step done here. What an undo
// results in is nobody's state, however large.
func TestRepliesHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &post{t: t}
		p.serve = func(o sentCommand) *replied {
			switch o.String() {
			case "do Charge 1":
				return &replied{outcome: "not done", cause: strings.Repeat("x", 5000)}
			case "do Charge 2":
				return &replied{outcome: "done", result: `{"ID": "` + strings.Repeat("x", 1000) + `"}`}
			}
			return &replied{outcome: "done", result: `"` + strings.Repeat("x", 2000) + `"`}
		}
		s := remoteSaga(as[bill])
		co, stop := run(t, saga.CoordinatorConfig{
			Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies", MaxState: 1000,
		})
		p.reply = co.HandleMessage
		_, err := s.Run(t.Context(), co.Client(), "1", bill{Cents: 7})
		if err == nil || !strings.Contains(err.Error(), "Charge failed: the result has 1009 bytes, at most 1000 are allowed") {
			t.Errorf("got %v", err)
		}
		if lines := p.lines(); !slices.Equal(lines, []string{"do Charge 1", "do Charge 2", "undo Charge (unknown)"}) {
			t.Errorf("commands %q", lines)
		}
		events, err := co.Client().History(t.Context(), "1")
		if err != nil {
			t.Error(err)
		}
		cut := slices.IndexFunc(events, func(e saga.Event) bool { return e.Error == strings.Repeat("x", 2048)+"..." })
		if cut < 0 {
			t.Error("the history has no error that was cut")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
