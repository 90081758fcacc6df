package saga_test

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// What comes of an action is replied, and a repeat of the command is answered
// alike, without the action. A later attempt runs it anew, unless it is done.
func TestParticipantReplies(t *testing.T) {
	tests := []struct {
		name   string
		charge func(context.Context) (chargeResult, error)
		want   string
		again  bool // a later attempt runs
	}{
		{"done", nil, `done {"ID":"ch-1"}`, false},
		{"not done", func(context.Context) (chargeResult, error) { return chargeResult{}, errors.New("busy") }, "not done: busy", true},
		{"refused", func(context.Context) (chargeResult, error) {
			return chargeResult{}, saga.Permanent(saga.Named("Declined", errors.New("no money")))
		}, "not done for good [Declined]: no money", true},
		{"an answer that was lost", func(context.Context) (chargeResult, error) {
			return chargeResult{}, saga.Uncertain(errors.New("HTTP status 502"))
		}, "unknown: HTTP status 502", true},
		{"a panic", func(context.Context) (chargeResult, error) { panic("oh") }, "unknown: panic: oh", true},
		{"the end of its goroutine", func(context.Context) (chargeResult, error) { runtime.Goexit(); return chargeResult{}, nil },
			"unknown: the handler called runtime.Goexit", true},
		{"out of time", func(ctx context.Context) (chargeResult, error) { <-ctx.Done(); return chargeResult{}, ctx.Err() },
			"unknown [States.Timeout]: the time of the attempt is over: context deadline exceeded: context deadline exceeded", true},
		{"out of time, and sure of it", func(ctx context.Context) (chargeResult, error) {
			<-ctx.Done()
			return chargeResult{}, saga.NoEffect(errors.New("never sent"))
		}, "not done: never sent", true},
		{"done late", func(ctx context.Context) (chargeResult, error) { <-ctx.Done(); return chargeResult{ID: "late"}, nil },
			`done {"ID":"late"}`, false},
		{"a result that is too large", func(context.Context) (chargeResult, error) {
			return chargeResult{ID: strings.Repeat("x", 1000)}, nil
		}, "unknown for good: the result has 1009 bytes, at most 1000 are allowed", true},
		{"an error that is too long", func(context.Context) (chargeResult, error) {
			return chargeResult{}, errors.New(strings.Repeat("x", 3000))
		}, "not done: " + strings.Repeat("x", 2048) + "...", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, memstore.New(memstore.Config{}), func(cfg *saga.ParticipantConfig) { cfg.MaxResult = 1000 })
				d.charge = tt.charge
				first := do(1)
				d.handle(first)
				d.expect("first", []string{"charge 7 1"}, []string{"do 1: " + tt.want})
				d.charge = nil
				d.handle(first)
				time.Sleep(24 * time.Hour)
				d.handle(first)
				d.expect("repeats", nil, []string{"do 1: " + tt.want, "do 1: " + tt.want})
				d.handle(do(2))
				if tt.again {
					d.expect("the next attempt", []string{"charge 7 2"}, []string{`do 2: done {"ID":"ch-1"}`})
				} else {
					d.expect("the next attempt", nil, []string{"do 2: " + tt.want})
				}
				time.Sleep(store.DefaultIdempotencyRetention)
				d.handle(do(1))
				d.expect("after the retention", []string{"charge 7 1"}, []string{`do 1: done {"ID":"ch-1"}`})
			})
		})
	}
}

// A handler is told what it runs for, and has until notAfter.
func TestParticipantTellsItsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, memstore.New(memstore.Config{}))
		const key = "ride-1/1/Both:1/Charge/2/"
		want := saga.StepInfo{
			Execution: "ride-1", Definition: "fare", Frame: "Both:1", Step: "Charge", Visit: 2, Attempt: 3, Key: key + "do", ActionKey: key + "do",
			Locks: map[string]int64{"account/7": 1700000000000000},
		}
		locks := func(c map[string]any) { c["locks"] = want.Locks }
		check := func(ctx context.Context) {
			t.Helper()
			if got := saga.StepFrom(ctx); !reflect.DeepEqual(got, want) {
				t.Errorf("told %+v, want %+v", got, want)
			}
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != time.Minute {
				t.Errorf("it has until %v", deadline)
			}
		}
		d.charge = func(ctx context.Context) (chargeResult, error) { check(ctx); return chargeResult{}, nil }
		d.refund = func(ctx context.Context) error { check(ctx); return nil }
		d.handle(do(3, locks))
		want.Attempt, want.Undo, want.Outcome, want.Key = 1, true, saga.Done, key+"undo"
		d.handle(undo(1, locks))
		if n := len(d.did()); n != 2 {
			t.Errorf("%d runs", n)
		}
	})
}

// Attempts come in any order, and from other sagas of the same names and ids.
func TestParticipantRefusesEarlierAttempts(t *testing.T) {
	d := newDesk(t, memstore.New(memstore.Config{}))
	d.charge = func(context.Context) (chargeResult, error) { return chargeResult{}, errors.New("busy") }
	d.handle(do(2))
	d.handle(do(1))
	d.expect("the first after the second", []string{"charge 7 2"}, []string{
		"do 2: not done: busy",
		`do 1: unknown: store: claim "saga/fare/ride-1/1/Both:1/Charge/2/do": claim "saga/fare/ride-1/1/Both:1/Charge/2/do" for attempt 1 after 2: a later attempt has been seen`,
	})
	d.charge = nil
	d.handle(do(3))
	d.handle(do(1))
	d.expect("the first after one that is done", []string{"charge 7 3"}, []string{`do 3: done {"ID":"ch-1"}`, `do 1: done {"ID":"ch-1"}`})
	d.handle(do(1, func(c map[string]any) { c["definition"] = "tour" }))
	d.expect("another saga", []string{"charge 7 1"}, []string{`do 1: done {"ID":"ch-1"}`})
}

// Executions may have ids as long as they come.
func TestParticipantTakesLongKeys(t *testing.T) {
	d := newDesk(t, memstore.New(memstore.Config{}))
	d.send = func() error { return errors.New("not looked at") }
	long := func(last string) *message.Message {
		return do(1, func(c map[string]any) { c["key"] = strings.Repeat("x", 600) + last })
	}
	for range 2 {
		for _, last := range []string{"a", "b"} {
			if err := d.Handle(long(last)); err == nil || permanent(err) {
				t.Error(err)
			}
		}
	}
	if n := len(d.did()); n != 2 {
		t.Errorf("two keys ran %d times", n)
	}
}

// What is kept is encrypted as the configuration says.
func TestParticipantCodec(t *testing.T) {
	st := memstore.New(memstore.Config{})
	d := newDesk(t, st, func(cfg *saga.ParticipantConfig) { cfg.Codec = rot{} })
	for range 2 {
		d.handle(do(1))
	}
	d.expect("with a codec", []string{"charge 7 1"}, []string{`do 1: done {"ID":"ch-1"}`, `do 1: done {"ID":"ch-1"}`})
	got, err := st.Claim(t.Context(), store.Claim{
		Key: "saga/fare/ride-1/1/Both:1/Charge/2/do", Token: "t", Lease: time.Minute, Attempt: 1, Remember: time.Minute,
	})
	if err != nil || !got.Done || strings.Contains(string(got.Result), "ch-1") {
		t.Errorf("kept is %q, %v", got.Result, err)
	}
}

type rot struct{}

func (rot) Encode(plain []byte) ([]byte, error) {
	stored := slices.Clone(plain)
	for i := range stored {
		stored[i] ^= 0x55
	}
	return stored, nil
}
func (r rot) Decode(stored []byte) ([]byte, error) { return r.Encode(stored) }

func TestNewParticipantReportsAllThatIsWrong(t *testing.T) {
	var none *saga.Service[int, int]
	one := func(context.Context, int) (int, error) { return 0, nil }
	_, err := saga.NewParticipant(saga.ParticipantConfig{
		Steps: []saga.Served{nil, none, saga.Serve("", one), saga.Serve[int, int]("A", nil), saga.Serve("B", one), saga.Serve("B", one)},
		Lease: -1, Retention: -1, MaxCommand: -1, MaxResult: -1,
	})
	for _, want := range []string{
		"ParticipantConfig.Records is nil", "Publisher is nil", "Steps[0] is nil", "Steps[1] is nil", "Steps[2] has no name",
		`Steps[3], "A", has no function that does it`, `Steps[5]: "B" is there twice`,
		"Lease is -1ns", "Retention is -1ns", "MaxCommand is -1", "MaxResult is -1",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if _, err := saga.NewParticipant(saga.ParticipantConfig{}); err == nil || !strings.Contains(err.Error(), "Steps is empty") {
		t.Errorf("got %v", err)
	}
}
