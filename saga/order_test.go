package saga_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A step's group is the text that it is given, as far as SQS takes that, or the
// execution where there is none. A function that panics fails its step.
func TestMessageGroup(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		of         func(*bill) string
	}{
		{"a text", "account-7", func(*bill) string { return "account-7" }},
		{"none", "b-1", func(*bill) string { return "" }},
		{"what SQS does not take", "a24c3eed590e6be9843a4b3b13cc0683", func(*bill) string { return "Konto 7" }},
		{"a panic", "", func(*bill) string { panic("no account") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := new(tray)
				s := remoteSaga(func(s *saga.Step[bill]) *saga.Step[bill] { return s.MessageGroup(tt.of) })
				co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
				defer func() { _ = stop() }()
				if _, err := s.Start(t.Context(), co.Client(), "b-1", bill{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				sent := p.take()
				if tt.want == "" {
					x, err := co.Client().Get(t.Context(), "b-1")
					if err != nil || len(sent) > 0 || x.Status != saga.Compensated || !strings.Contains(x.Cause.String(), "no account") {
						t.Errorf("sent are %d messages, and it is %+v, %v", len(sent), x, err)
					}
					return
				}
				if len(sent) != 1 {
					t.Fatalf("sent are %d messages, want one", len(sent))
				}
				if group, _ := place(sent[0]); group != tt.want {
					t.Errorf("the group is %q, want %q", group, tt.want)
				}
			})
		})
	}
}

func TestMessageGroupFaults(t *testing.T) {
	none := func(context.Context, *bill) error { return nil }
	for want, step := range map[string]*saga.Step[bill]{
		"MessageGroup belongs to a Remote": saga.Do("A", none).ReadOnly().MessageGroup(func(*bill) string { return "g" }),
		"its MessageGroup is nil": saga.Remote("A", "payments", func(*bill) (int, error) { return 0, nil },
			func(*bill, int) error { return nil }).ReadOnly().MessageGroup(nil),
	} {
		if err := saga.New("bill", step).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A FIFO queue keeps the rings about an execution in its group, and takes none for
// a repeat of another.
func TestRingsOnFIFO(t *testing.T) {
	p := new(tray)
	ring := saga.Doorbell(p, "bells")
	ring(t.Context(), "e-1")
	ring(t.Context(), "e-1")
	rings := p.take()
	if len(rings) != 2 {
		t.Fatalf("%d rings are published, want two", len(rings))
	}
	group, first := place(rings[0])
	if other, second := place(rings[1]); group != "e-1" || other != group || first == "" || first == second {
		t.Errorf("they are in groups %q and %q as %q and %q", group, other, first, second)
	}
}
