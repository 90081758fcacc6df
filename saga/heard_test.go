package saga_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A reply that comes in time is heard, though the execution is held meanwhile,
// and nobody looked for mail when the time was over: while a sibling is at work,
// and where the time is too short to give the execution back.
func TestReplyToAnExecutionThatIsHeld(t *testing.T) {
	tests := []struct {
		name    string
		busy    time.Duration // a sibling's work
		timeout time.Duration
		after   time.Duration // the reply's
		most    time.Duration // until the end
	}{
		{"a sibling is at work", 8 * time.Second, 2 * time.Second, time.Second, 8 * time.Second},
		{"a sibling is at work, and the reply comes at the last moment", 8 * time.Second, 2 * time.Second, 2*time.Second - time.Millisecond, 8 * time.Second},
		{"a sibling has worked, and little time is left", time.Second, 1500 * time.Millisecond, 1200 * time.Millisecond, 1200 * time.Millisecond},
		{"a short time", 0, time.Second, 100 * time.Millisecond, 100 * time.Millisecond},
		{"a very short time", 0, 200 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &post{t: t, serve: func(sentCommand) *replied {
					return &replied{outcome: "done", result: `{"ID": "ch-1"}`, after: tt.after}
				}}
				s := saga.New("bill", saga.Parallel("Both",
					saga.Branch("x", saga.Do("Work", func(context.Context, *bill) error { time.Sleep(tt.busy); return nil }).ReadOnly()),
					saga.Branch("y", saga.Remote("Charge", "payments",
						func(b *bill) (chargeRequest, error) { return chargeRequest{Cents: b.Cents}, nil },
						func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil },
					).UndoRemote().Timeout(tt.timeout).Retry(saga.Once())),
				).Merge(func(b *bill, branches []bill) error { b.Charge = branches[1].Charge; return nil }))
				co, stop := run(t, saga.CoordinatorConfig{
					Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies",
				})
				p.reply = co.HandleMessage
				begun := time.Now()
				got, err := s.Run(t.Context(), co.Client(), "1", bill{Cents: 7})
				if took := time.Since(begun); err != nil || got.Charge != "ch-1" || took > tt.most {
					t.Errorf("charge %q after %s, %v; want it within %s", got.Charge, took, err, tt.most)
				}
				if lines := p.lines(); !slices.Equal(lines, []string{"do Charge 1"}) {
					t.Errorf("commands %q", lines)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// So are the heartbeats of somebody who has a task token, and their answer.
func TestHeartbeatsToAnExecutionThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := make(chan string, 1)
		s := saga.New("bill", saga.Parallel("Both",
			saga.Branch("x", saga.Do("Work", func(context.Context, *bill) error { time.Sleep(9 * time.Second); return nil }).ReadOnly()),
			saga.Branch("y", saga.Callback("Ask", func(ctx context.Context, _ *bill) error {
				tokens <- saga.StepFrom(ctx).Token
				return nil
			}, func(b *bill, id string) error { b.Charge = id; return nil }).ReadOnly().Heartbeat(2*time.Second).Timeout(7*time.Second)),
		).Merge(func(b *bill, branches []bill) error { b.Charge = branches[1].Charge; return nil }))
		co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), co.Client(), "1", bill{Cents: 7}); err != nil {
			t.Fatal(err)
		}
		token := <-tokens
		for range 6 {
			time.Sleep(time.Second)
			if err := co.Client().Heartbeat(t.Context(), token); err != nil {
				t.Error(err)
			}
		}
		if err := co.Client().Complete(t.Context(), token, "ch-1"); err != nil {
			t.Error(err)
		}
		if x, err := co.Client().Wait(t.Context(), "1"); err != nil || string(x.State) != `{"Cents":7,"Charge":"ch-1"}` {
			t.Errorf("it is %+v, %v", x, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
