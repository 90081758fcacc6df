package saga_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// notes is a saga that takes so many notes, which are signals.
func notes(n int) *saga.Saga[loan] {
	var steps []*saga.Step[loan]
	for i := range n {
		steps = append(steps, saga.Receive(fmt.Sprint("Note", i+1), "note", func(l *loan, text string) error {
			l.Notes = append(l.Notes, text)
			return nil
		}).Timeout(time.Minute).Catch("End", saga.ErrorTimeout))
	}
	return saga.New("loan", append(steps, saga.Succeed[loan]("End"))...)
}

// Signals may come before their execution: it takes them when it has started, in
// order and each once, and before those that come later.
func TestEarlySignals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		here  bool // the start opens
		start []saga.StartOption
	}{
		{name: "a start that opens", here: true},
		{name: "a start elsewhere"},
		{name: "a start that is delayed", here: true, start: []saga.StartOption{saga.After(10 * time.Minute)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, s := memstore.New(memstore.Config{}), notes(4)
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				other := outsider(t, st)
				send := func(c *saga.Client, text string) {
					t.Helper()
					if err := c.Signal(t.Context(), "1", "note", text, text); err != nil {
						t.Error(err)
					}
				}
				send(c, "a")
				time.Sleep(20 * time.Minute)
				send(other, "b")
				send(c, "a")
				send(other, "a")
				send(c, "c")
				if _, err := c.Get(t.Context(), "1"); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("before its start: %v, want ErrNotFound", err)
				}
				time.Sleep(time.Hour - 20*time.Minute - time.Millisecond)
				starter := other
				if tt.here {
					starter = c
				}
				if created, err := s.Start(t.Context(), starter, "1", loan{}, tt.start...); err != nil || !created {
					t.Fatal(created, err)
				}
				send(other, "b")
				send(c, "d")
				got, err := s.Wait(t.Context(), c, "1")
				if err != nil || !slices.Equal(got.Notes, []string{"a", "b", "c", "d"}) {
					t.Errorf("%+v, %v", got, err)
				}
				if err := c.Signal(t.Context(), "1", "note", "e", "e"); !errors.Is(err, store.ErrEnded) {
					t.Errorf("after the end: %v, want ErrEnded", err)
				}
			})
		})
	}
}

// Signals that are kept are taken by one step after another, and one that does not
// fit is noted once and is in nobody's way.
func TestKeptSignalsFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := notes(3)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		for i, payload := range []any{"a", 7, "b", "c"} {
			if err := c.Signal(t.Context(), "1", "note", fmt.Sprint(i), payload); err != nil {
				t.Fatal(err)
			}
			if err := c.Signal(t.Context(), "1", "else", fmt.Sprint(i), payload); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.Run(t.Context(), c, "1", loan{}); err != nil || !slices.Equal(got.Notes, []string{"a", "b", "c"}) {
			t.Errorf("%+v, %v", got, err)
		}
		if n := count(t, c, "1", saga.MailDiscarded); n != 1 {
			t.Errorf("%d signals are noted as discarded, want 1", n)
		}
	})
}

// A wait for a signal that is a saga's first step ends in time.
func TestFirstStepWaitsForASignal(t *testing.T) {
	for _, here := range []bool{true, false} {
		t.Run(fmt.Sprintf("here=%t", here), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, s := memstore.New(memstore.Config{}), notes(1)
				c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
				starter := outsider(t, st)
				if here {
					starter = c
				}
				begin := time.Now()
				if _, err := s.Start(t.Context(), starter, "1", loan{}, saga.After(time.Hour)); err != nil {
					t.Fatal(err)
				}
				if got, err := s.Wait(t.Context(), c, "1"); err != nil || len(got.Notes) > 0 {
					t.Errorf("%+v, %v", got, err)
				}
				if took := time.Since(begin) - time.Hour; took < time.Minute || took > time.Minute+3*time.Second {
					t.Errorf("it ended %s after its first step began, want a minute", took)
				}
			})
		})
	}
}

// A signal waits for its execution as long as its client says, by default an
// hour, and no longer.
func TestEarlySignalsAreDropped(t *testing.T) {
	for _, tt := range []struct {
		wait time.Duration
		want time.Duration
	}{{0, time.Hour}, {time.Minute, time.Minute}, {2 * time.Hour, 2 * time.Hour}} {
		for _, late := range []bool{false, true} {
			for _, here := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s late=%t here=%t", tt.want, late, here), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						st, s := memstore.New(memstore.Config{}), notes(1)
						c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, EarlySignals: tt.wait})
						sender := c
						if !here {
							var err error
							if sender, err = saga.NewClient(saga.ClientConfig{Store: st, EarlySignals: tt.wait}); err != nil {
								t.Fatal(err)
							}
						}
						if err := sender.Signal(t.Context(), "1", "note", "a", "a"); err != nil {
							t.Fatal(err)
						}
						want := []string{"a"}
						time.Sleep(tt.want - time.Millisecond)
						if late {
							time.Sleep(time.Millisecond)
							want = nil
						}
						if got, err := s.Run(t.Context(), c, "1", loan{}); err != nil || !slices.Equal(got.Notes, want) {
							t.Errorf("%+v, %v, want %q", got, err, want)
						}
					})
				})
			}
		}
	}
}

// Who does not want signals to wait gets an error, and so does who names what
// cannot be started.
func TestSignalsToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := memstore.New(memstore.Config{}), notes(1)
		strict, err := saga.NewClient(saga.ClientConfig{Store: st, EarlySignals: -1})
		if err != nil {
			t.Fatal(err)
		}
		co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, EarlySignals: -1})
		for _, c := range []*saga.Client{strict, co.Client()} {
			if err := c.Signal(t.Context(), "1", "note", "a", "a"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		}
		for _, id := range []string{"", "a\x00b", strings.Repeat("x", 513)} {
			if err := outsider(t, st).Signal(t.Context(), id, "note", "a", "a"); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("a signal to %.9q: %v, want ErrInvalid", id, err)
			}
		}
		if got, err := s.Run(t.Context(), co.Client(), "1", loan{}); err != nil || len(got.Notes) > 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Signals by message may come early, too; those to what was purged are refused
// for good.
func TestEarlySignalMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := notes(2)
		co, stop := run(t, saga.CoordinatorConfig{
			Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Retention: time.Hour, Sweep: time.Minute,
		})
		send := func(id, text string) error {
			body := fmt.Sprintf(`{"waybill": 1, "signal": "note", "execution": "1", "id": %q, "payload": %q}`, id, text)
			return co.HandleMessage(message.NewMessage("m-"+text, message.Payload(body)))
		}
		for _, text := range []string{"a", "a", "b"} {
			if err := send("id-"+text, text); err != nil {
				t.Error(err)
			}
		}
		if got, err := s.Run(t.Context(), co.Client(), "1", loan{}); err != nil || !slices.Equal(got.Notes, []string{"a", "b"}) {
			t.Errorf("%+v, %v", got, err)
		}
		time.Sleep(2 * time.Hour)
		if err := send("c", "c"); !errors.Is(err, store.ErrGone) || !permanent(err) {
			t.Errorf("to what was purged: %v, permanent %t, want ErrGone, for good", err, permanent(err))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A start whose answer is lost hands the signals over all the same, when it comes
// again or when its lease is over.
func TestEarlySignalsOutliveAStart(t *testing.T) {
	for _, fault := range []storetest.Fault{
		{Twice: true}, {After: storetest.ErrInjected}, {Late: time.Minute},
	} {
		t.Run(fmt.Sprintf("%+v", fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := tally{fault: func(c storetest.Call) storetest.Fault {
					if c.Op == "Start" {
						return fault
					}
					return storetest.Fault{}
				}}
				st, s := memstore.New(memstore.Config{}), notes(2)
				c := coordinate(t, saga.CoordinatorConfig{Store: calls.wrap(st), Sagas: []saga.Definer{s}})
				for _, text := range []string{"a", "b"} {
					if err := c.Signal(t.Context(), "1", "note", text, text); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := s.Start(t.Context(), c, "1", loan{}); err != nil && !errors.Is(err, storetest.ErrInjected) {
					t.Fatal(err)
				}
				if got, err := s.Wait(t.Context(), c, "1"); err != nil || !slices.Equal(got.Notes, []string{"a", "b"}) {
					t.Errorf("%+v, %v", got, err)
				}
			})
		})
	}
}
