package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// The calls that a process makes for one command, of the records and then of the
// publisher.
var participantCalls = map[string][]string{
	"do":   {"Claim", "Complete", "publish"},
	"undo": {"Claim", "Claim", "Complete", "Complete", "publish"},
}

// A process that dies at any of its calls, before or after that is carried out,
// leaves a command that the next process ends: it is done once more only if
// nobody can know that it was done, and is answered in the end.
func TestParticipantCrashes(t *testing.T) {
	for kind, calls := range participantCalls {
		for n, call := range calls {
			for _, carriedOut := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, call %d, %s, carried out %t", kind, n+1, call, carriedOut), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						st := memstore.New(memstore.Config{})
						dying := storetest.NewFaulty(st, storetest.CrashAt(int64(n+1), carriedOut))
						d, next := newDesk(t, dying), newDesk(t, st)
						dies := errors.New("the process dies")
						told := 0
						d.send = func() error {
							if call == "publish" && carriedOut {
								told = 1 // the reply is out, and the message not acknowledged
							}
							return dies
						}
						msg := map[string]func(int, ...func(map[string]any)) *message.Message{"do": do, "undo": undo}[kind](1)
						if err := d.Handle(msg); err == nil || permanent(err) {
							t.Fatalf("got %v", err)
						}
						ran := len(d.did())
						if err := redeliver(next, msg); err != nil {
							t.Fatal(err)
						}
						ran += len(next.did())
						want := 1
						if last := len(calls) - 2; n == last && !carriedOut {
							want = 2 // it did what nobody has on record
						}
						if ran != want {
							t.Errorf("it ran %d times, want %d", ran, want)
						}
						reply := map[string]string{"do": `do 1: done {"ID":"ch-1"}`, "undo": "undo 1: done"}[kind]
						if got := next.told(); !slices.Equal(got, []string{reply}) {
							t.Errorf("replied %d times, and %q", told, got)
						}
						next.handle(msg)
						next.expect("a repeat", nil, []string{reply})
					})
				})
			}
		}
	}
}

// A process that dies after its handler had the effect leaves nobody who knows of
// it. What the next run of the same attempt says for itself, that nothing was done,
// does not make the attempt not done: its saga would leave the effect as it is.
func TestParticipantDiesAndTheNextRunRefuses(t *testing.T) {
	for kind, command := range map[string]func(int, ...func(map[string]any)) *message.Message{"do": do, "undo": undo} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				call := int64(slices.Index(participantCalls[kind], "Complete") + 1)
				if kind == "undo" {
					call++ // of the undo's own key
				}
				first, second := newDesk(t, storetest.NewFaulty(st, storetest.CrashAt(call, false))), newDesk(t, st)
				second.refund = func(context.Context) error { return saga.Permanent(errors.New("no")) }
				second.charge = func(ctx context.Context) (chargeResult, error) { return chargeResult{}, second.refund(ctx) }
				msg := command(1)
				if err := first.Handle(msg); err == nil || len(first.did()) != 1 {
					t.Fatalf("%s: %v after %q", kind, err, first.did())
				}
				if err := redeliver(second, msg); err != nil {
					t.Fatal(err)
				}
				second.handle(command(2))
				if got, want := second.told(), []string{kind + " 1: unknown for good: no", kind + " 2: not done for good: no"}; !slices.Equal(got, want) {
					t.Errorf("replied %q, want %q", got, want)
				}
			})
		})
	}
}

// redeliver gives a message to a process until it is acknowledged.
func redeliver(d *desk, msg *message.Message) error {
	var err error
	for range 5 {
		if err = d.Handle(msg); err == nil {
			return nil
		}
		time.Sleep(10 * time.Second)
	}
	return err
}

// A call that fails once, or whose answer is lost, or that is made twice, costs
// at most another run.
func TestParticipantLosesAnswers(t *testing.T) {
	lost := errors.New("connection reset")
	for name, fault := range map[string]storetest.Fault{
		"fails": {Before: lost}, "loses its answer": {After: lost}, "is made twice": {Twice: true},
	} {
		for kind, calls := range participantCalls {
			for n, call := range calls[:len(calls)-1] {
				t.Run(fmt.Sprintf("%s, call %d, %s, %s", kind, n+1, call, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d := newDesk(t, storetest.NewFaulty(memstore.New(memstore.Config{}), func(c storetest.Call) storetest.Fault {
							if c.N == int64(n+1) {
								return fault
							}
							return storetest.Fault{}
						}))
						msg := map[string]func(int, ...func(map[string]any)) *message.Message{"do": do, "undo": undo}[kind](1)
						if err := redeliver(d, msg); err != nil {
							t.Fatal(err)
						}
						if ran := len(d.did()); ran > 2 || ran == 2 && (n != len(calls)-2 || fault.Before == nil) {
							t.Errorf("it ran %d times", ran)
						}
						if got := d.told(); len(got) != 1 || !strings.Contains(got[0], "done") {
							t.Errorf("replied %q", got)
						}
					})
				})
			}
		}
	}
}

// A delivery is a command that comes to a process of its own, which may die, and
// then to others until it is acknowledged.
type delivery struct {
	kind     string
	attempt  int
	at, last time.Duration // when it comes, and how long its handler takes
	outcome  string
	dies     int  // at this call of the records; 0: at none
	after    bool // having carried it out
	mute     bool // its reply cannot be sent
}

// A watch holds what handlers do to what is promised of them.
type watch struct {
	mu      sync.Mutex
	broken  []string
	begun   map[string]int  // the highest attempt that began
	running map[string]bool // by kind
	done    map[string]bool
	undone  bool            // an undo has begun
	not     map[string]bool // kind and attempt, which were replied to as not done
}

func (w *watch) fail(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

func (w *watch) begin(kind string, attempt int) {
	time.Sleep(time.Nanosecond) // whose claim runs out right now is told before
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.running["do"] || w.running["undo"]:
		w.fail("%s %d begins while another is at work", kind, attempt)
	case w.done[kind]:
		w.fail("%s %d begins though it is done", kind, attempt)
	case w.undone && kind == "do":
		w.fail("do %d begins after its undo", attempt)
	case attempt < w.begun[kind]:
		w.fail("%s %d begins after %d", kind, attempt, w.begun[kind])
	case w.not[fmt.Sprint(kind, attempt)]:
		w.fail("%s %d begins after it was replied that it is not done", kind, attempt)
	}
	w.begun[kind], w.running[kind] = attempt, true
	w.undone = w.undone || kind == "undo"
}

func (w *watch) end(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[kind] = false
}

func (w *watch) reply(r answered) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r.Outcome {
	case "done":
		w.done[r.Reply] = true
	case "not done":
		w.not[fmt.Sprint(r.Reply, r.Attempt)] = true
	}
}

// serve lets a desk do what the delivery says, and tell the watch.
func (w *watch) serve(d *desk, what delivery) {
	work := func(kind string) func(context.Context) error {
		return func(ctx context.Context) error {
			w.begin(kind, saga.StepFrom(ctx).Attempt)
			defer w.end(kind)
			select {
			case <-time.After(what.last):
			case <-ctx.Done():
				return ctx.Err()
			}
			switch what.outcome {
			case "not done":
				return errors.New("no")
			case "unknown":
				return saga.Uncertain(errors.New("lost"))
			}
			return nil
		}
	}
	d.charge = func(ctx context.Context) (chargeResult, error) { return chargeResult{ID: "ch"}, work("do")(ctx) }
	d.refund = work("undo")
}

// Whatever comes in whichever order, from whatever processes, no two handlers of
// an action and its compensation are at work together, nothing that is done is
// done again, no attempt begins after a later one or after the reply that it is not
// done, and no action after its undo.
func TestParticipantProperties(t *testing.T) {
	deliveries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) delivery {
		return delivery{
			kind:    rapid.SampledFrom([]string{"do", "do", "undo"}).Draw(t, "kind"),
			attempt: rapid.IntRange(1, 3).Draw(t, "attempt"),
			at:      time.Duration(rapid.IntRange(0, 90).Draw(t, "at")) * time.Second,
			last:    time.Duration(rapid.SampledFrom([]int{0, 1, 20, 50, 100}).Draw(t, "lasts")) * time.Second,
			outcome: rapid.SampledFrom([]string{"done", "not done", "unknown"}).Draw(t, "outcome"),
			dies:    rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 4, 5}).Draw(t, "dies"),
			after:   rapid.Bool().Draw(t, "after"),
			mute:    rapid.IntRange(0, 4).Draw(t, "mute") == 0,
		}
	}), 1, 8)
	rapid.Check(t, func(rt *rapid.T) {
		plan := deliveries.Draw(rt, "deliveries")
		w := &watch{begun: map[string]int{}, running: map[string]bool{}, done: map[string]bool{}, not: map[string]bool{}}
		synctest.Test(t, func(t *testing.T) {
			st := memstore.New(memstore.Config{})
			var all sync.WaitGroup
			for _, what := range plan {
				all.Go(func() {
					time.Sleep(what.at)
					msg := map[string]func(int, ...func(map[string]any)) *message.Message{"do": do, "undo": undo}[what.kind](what.attempt)
					records := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
						if what.dies == 0 {
							return storetest.Fault{}
						}
						return storetest.CrashAt(int64(what.dies), what.after)(c)
					})
					d := newDesk(t, records)
					w.serve(d, what)
					d.send = func() error {
						if what.mute || what.dies > 0 && records.Calls() >= int64(what.dies) {
							return errors.New("it cannot be reached")
						}
						return nil
					}
					err := d.Handle(msg)
					for range 20 {
						for _, r := range d.replies {
							w.reply(r)
						}
						if err == nil {
							return
						}
						time.Sleep(7 * time.Second)
						d = newDesk(t, st)
						w.serve(d, what)
						err = d.Handle(msg)
					}
					w.mu.Lock()
					w.fail("%s %d is never acknowledged: %v", what.kind, what.attempt, err)
					w.mu.Unlock()
				})
			}
			all.Wait()
		})
		if len(w.broken) > 0 {
			rt.Fatalf("%s", strings.Join(w.broken, "\n"))
		}
	})
}
