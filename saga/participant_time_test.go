package saga_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A command that comes after its time is not begun. If no other process had
// begun it, it is not done.
func TestParticipantHeedsNotAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		d := newDesk(t, st)
		past := func(c map[string]any) { c["notAfter"] = time.Now().UnixMilli() }
		const late = " [States.Timeout]: it came 0s after its time, by this clock"
		d.handle(do(1, past))
		d.handle(do(1)) // it stays so, whatever a repeat says
		d.handle(undo(1, past))
		d.expect("late", nil, []string{"do 1: not done" + late, "do 1: not done" + late, "undo 1: not done" + late})
		d.handle(do(2))
		d.expect("the next attempt", []string{"charge 7 2"}, []string{`do 2: done {"ID":"ch-1"}`})

		for _, command := range []func(int, ...func(map[string]any)) *message.Message{do, undo} {
			st := memstore.New(memstore.Config{})
			d := newDesk(t, storetest.NewFaulty(st, storetest.CrashAt(2, false)))
			if err := d.Handle(command(1)); err == nil {
				t.Fatal("it did not die")
			}
			d = newDesk(t, st)
			d.handle(command(1, past))
			if got := d.told(); len(got) != 1 || !strings.Contains(got[0], " 1: unknown [States.Timeout]: it came 30s after its time") &&
				!strings.Contains(got[0], " 1: unknown [States.Timeout]: it came 31") {
				t.Errorf("late, and begun before: %q", got)
			}
		}
	})
}

// A process that stops, or loses a message, gives its command back: it comes
// again as the same attempt.
func TestParticipantIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, memstore.New(memstore.Config{}))
		interrupted := errors.New("the process stops")
		// handle has the message's context end while a handler runs that makes
		// of it what wrap says.
		handle := func(msg *message.Message, wrap func(error) error) error {
			ctx, stop := context.WithCancelCause(t.Context())
			d.refund = func(ctx context.Context) error {
				stop(interrupted)
				<-ctx.Done()
				return wrap(ctx.Err())
			}
			d.charge = func(ctx context.Context) (chargeResult, error) { return chargeResult{}, d.refund(ctx) }
			msg.SetContext(ctx)
			return d.Handle(msg)
		}
		for _, command := range []func(int, ...func(map[string]any)) *message.Message{do, undo} {
			if err := handle(command(1), saga.Permanent); !errors.Is(err, interrupted) || permanent(err) {
				t.Errorf("got %v", err)
			}
			if got := d.told(); len(got) != 0 {
				t.Errorf("replied %q", got)
			}
			// What is known all the same is said, though the process stops.
			if err := handle(command(2), saga.NoEffect); err != nil {
				t.Error(err)
			}
			if got := d.told(); len(got) != 1 || !strings.Contains(got[0], " 2: not done") {
				t.Errorf("replied %q", got)
			}
		}
		if got := d.did(); len(got) != 4 {
			t.Errorf("%q ran", got)
		}
	})
}

// A claim that is lost ends the handler's context. What it says then counts if
// nobody else had the command meanwhile.
func TestParticipantLosesItsClaim(t *testing.T) {
	for name, tt := range map[string]struct {
		taken, done bool
		replies     []string // of the one that lost it
		again       []string // to the command when it comes again
	}{
		"and fails":                       {again: []string{`do 1: done {"ID":"ch-1"}`}},
		"and is done":                     {done: true, replies: []string{`do 1: done {"ID":"late"}`}, again: []string{`do 1: done {"ID":"late"}`}},
		"to another, and fails":           {taken: true, again: []string{`do 1: done {"ID":"ch-1"}`}},
		"to another, and is done as well": {taken: true, done: true, again: []string{`do 1: done {"ID":"ch-1"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				var away atomic.Bool
				faulty := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
					if away.Load() {
						return storetest.Fault{Before: storetest.ErrInjected}
					}
					return storetest.Fault{}
				})
				d, other := newDesk(t, faulty), newDesk(t, st)
				d.charge = func(ctx context.Context) (chargeResult, error) {
					away.Store(true)
					<-ctx.Done()
					if cause := context.Cause(ctx); !errors.Is(cause, store.ErrLeaseLost) {
						t.Errorf("the context ended with %v", cause)
					}
					away.Store(false)
					if tt.taken {
						other.handle(do(1))
					}
					if tt.done {
						return chargeResult{ID: "late"}, nil
					}
					return chargeResult{}, errors.New("cut off")
				}
				msg := do(1, func(c map[string]any) { c["notAfter"] = time.Now().Add(time.Hour).UnixMilli() })
				err := d.Handle(msg)
				if tt.replies == nil && (!errors.Is(err, store.ErrLeaseLost) || permanent(err)) || tt.replies != nil && err != nil {
					t.Errorf("got %v", err)
				}
				d.expect("the one that lost it", []string{"charge 7 1"}, tt.replies)
				other.told()
				other.did()
				other.handle(msg)
				if got := other.told(); !slices.Equal(got, tt.again) {
					t.Errorf("replied %q, want %q", got, tt.again)
				}
			})
		})
	}
}

// Whoever gets a command that another process is at does not do it as well. It
// waits for what comes of it, for as long as a lease.
func TestParticipantIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		d, other := newDesk(t, st), newDesk(t, st)
		d.charge = func(context.Context) (chargeResult, error) {
			time.Sleep(55 * time.Second)
			return chargeResult{}, errors.New("no")
		}
		go d.handle(do(1))
		synctest.Wait()
		begin := time.Now()
		if err := other.Handle(do(1)); !errors.Is(err, store.ErrBusy) || permanent(err) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		if waited := time.Since(begin); waited < 30*time.Second || waited > 33*time.Second {
			t.Errorf("waited for %s, want the lease of 30s", waited)
		}
		other.handle(do(1))
		d.expect("the one that had it", []string{"charge 7 1"}, []string{"do 1: not done: no"})
		other.expect("the other", nil, []string{"do 1: not done: no"})
	})
}
