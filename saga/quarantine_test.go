package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
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

// A forgetful world has a store that loses what was written since a snapshot.
type forgetful struct {
	*testing.T
	store *memstore.Store
	post  *post
	saga  *saga.Saga[bill]
	co    *saga.Coordinator
	c     *saga.Client
	log   *logBuffer
	runs  journal
	away  atomic.Bool // replies are lost

	mu      sync.Mutex
	commits int
	keepAt  int // the commit before which the snapshot is taken
	kept    *memstore.Snapshot
}

func (f *forgetful) keep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = f.store.Snapshot()
}

// lose takes back what was written since.
func (f *forgetful) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store.Restore(f.kept)
}

// A carrier brings a reply to its coordinator.
type carrier func(to func(*message.Message) error, msg *message.Message) error

func straight(to func(*message.Message) error, msg *message.Message) error { return to(msg) }

func twice(to func(*message.Message) error, msg *message.Message) error {
	return errors.Join(to(msg), to(msg))
}

// silent leaves out which commit sent the command.
func silent(to func(*message.Message) error, msg *message.Message) error {
	var m map[string]any
	if err := json.Unmarshal(msg.Payload, &m); err != nil {
		return err
	}
	delete(m, "commit")
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return to(message.NewMessage("r", data))
}

// newForgetful runs a saga whose second step waits, if at all, and whose third is
// done elsewhere within so long.
func newForgetful(t *testing.T, keepAt int, wait, takes time.Duration, via carrier) *forgetful {
	f := &forgetful{T: t, store: memstore.New(memstore.Config{}), keepAt: keepAt, log: new(logBuffer)}
	f.post = &post{t: t, serve: func(c sentCommand) *replied {
		f.runs.add("%v", c)
		return &replied{outcome: "done", result: `{"ID": "ch-1"}`, after: takes}
	}}
	steps := []*saga.Step[bill]{
		saga.Do("A", func(context.Context, *bill) error { f.runs.add("do A"); return nil }).
			Undo(func(context.Context, *bill, saga.Outcome) error { f.runs.add("undo A"); return nil }),
		saga.Wait[bill]("W", wait),
		saga.Remote("Charge", "payments",
			func(b *bill) (chargeRequest, error) { return chargeRequest{Cents: b.Cents}, nil },
			func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil },
		).UndoRemote().Timeout(time.Hour),
		saga.Do("Close", func(context.Context, *bill) error { f.runs.add("do Close"); return nil }),
	}
	if wait == 0 {
		steps = slices.Delete(steps, 1, 2)
	}
	f.saga = saga.New("bill", steps...)
	st := storetest.NewFaulty(f.store, func(c storetest.Call) storetest.Fault {
		if c.Op == "Commit" {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.commits++; f.commits == f.keepAt {
				f.kept = f.store.Snapshot()
			}
		}
		return storetest.Fault{}
	})
	co, stop := run(t, saga.CoordinatorConfig{
		Store: st, Sagas: []saga.Definer{f.saga}, Publisher: f.post, ReplyTo: "replies", Retention: 3 * time.Hour, Logger: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	f.co, f.c = co, co.Client()
	f.post.reply = func(msg *message.Message) error {
		if f.away.Load() {
			return nil
		}
		return via(co.HandleMessage, msg)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := f.saga.Start(t.Context(), f.c, "1", bill{Cents: 7}); err != nil {
		t.Fatal(err)
	}
	return f
}

// first is the first command that was sent.
func (f *forgetful) first() sentCommand {
	f.post.mu.Lock()
	defer f.post.mu.Unlock()
	return f.post.orders[0]
}

func (f *forgetful) get() *saga.Execution {
	f.Helper()
	x, err := f.c.Get(f.Context(), "1")
	if err != nil {
		f.Fatal(err)
	}
	return x
}

// A reply to a command whose commit the store has lost quarantines the execution,
// whatever has happened to it since.
func TestAmnesia(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lose  func(t *testing.T) *forgetful
		wants string // why, in words
	}{
		{"of the last commit", func(t *testing.T) *forgetful {
			f := newForgetful(t, 1, 0, 10*time.Second, straight)
			time.Sleep(time.Second)
			f.lose() // the command is out; the lease stands for a while
			return f
		}, "and the last one there is"},
		{"of the last commit, which another has replaced", func(t *testing.T) *forgetful {
			f := newForgetful(t, 1, 0, 45*time.Second, straight)
			time.Sleep(time.Second)
			f.lose() // after 30s it is opened again, and sends the command again
			return f
		}, "and that of this attempt by"},
		{"of an opening too", func(t *testing.T) *forgetful {
			f := newForgetful(t, 0, time.Minute, 20*time.Second, straight)
			time.Sleep(30 * time.Second)
			f.keep()
			time.Sleep(35 * time.Second)
			f.lose()
			return f
		}, "and the last one there is"},
		{"of an opening, with the reply there before the next", func(t *testing.T) *forgetful {
			f := newForgetful(t, 0, time.Minute, 200*time.Millisecond, straight)
			time.Sleep(30 * time.Second)
			f.keep()
			f.post.mu.Lock()
			serve := f.post.serve
			first := true
			f.post.serve = func(c sentCommand) *replied {
				if first {
					first = false
					f.lose()
				}
				return serve(c)
			}
			f.post.mu.Unlock()
			return f
		}, "its command was sent by commit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := tt.lose(t)
				time.Sleep(2 * time.Minute)
				x := f.get()
				if x.Status != saga.Quarantined || x.Trouble == nil || x.Trouble.Kind != saga.CauseLost ||
					!strings.Contains(x.Trouble.Error, `the reply "done" to attempt 1 of step Charge`) || !strings.Contains(x.Trouble.Error, tt.wants) {
					t.Errorf("it is %+v, %v", x, x.Trouble)
				}
				if !strings.Contains(f.log.String(), "the store has lost a write of the saga") {
					t.Errorf("the log has no alert:\n%s", f.log.String())
				}
				if n := count(t, f.c, "1", saga.ExecutionQuarantined); n < 1 {
					t.Error("the history does not tell")
				}
				if got := f.runs.all(); slices.Contains(got, "do Close") || slices.Contains(got, "undo A") {
					t.Errorf("it went on: %q", got)
				}
			})
		})
	}
}

// What the detector cannot see, or what is none of its business, changes nothing.
func TestNoAmnesia(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T) *forgetful{
		"nothing is lost": func(t *testing.T) *forgetful { return newForgetful(t, 0, time.Minute, time.Minute, straight) },
		"a participant that does not tell the commit": func(t *testing.T) *forgetful {
			f := newForgetful(t, 1, 0, 10*time.Second, silent)
			time.Sleep(time.Second)
			f.lose()
			return f
		},
		"replies come twice": func(t *testing.T) *forgetful { return newForgetful(t, 0, 0, 10*time.Second, twice) },
		"nobody knows of a local step": func(t *testing.T) *forgetful {
			f := newForgetful(t, 0, time.Minute, 10*time.Second, straight)
			time.Sleep(30 * time.Second)
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := lose(t)
				time.Sleep(2 * time.Hour) // the step's timeout is one
				if x := f.get(); x.Status != saga.Completed {
					t.Errorf("it is %+v, %v", x, x.Trouble)
				}
			})
		})
	}
}

// quarantined is an execution that is quarantined, and parked.
func quarantined(t *testing.T) *forgetful {
	f := newForgetful(t, 0, time.Minute, 20*time.Second, straight)
	time.Sleep(30 * time.Second)
	f.keep()
	time.Sleep(35 * time.Second)
	f.lose()
	time.Sleep(2 * time.Minute)
	if x := f.get(); x.Status != saga.Quarantined {
		t.Fatalf("it is %+v", x)
	}
	return f
}

// A quarantined execution waits for its operator, and for nothing else.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := quarantined(t)
		before := f.runs.all()
		time.Sleep(3 * time.Hour)
		if got := f.runs.all(); !slices.Equal(got, before) {
			t.Errorf("it went on: %q", got[len(before):])
		}
		_, err := f.saga.Wait(t.Context(), f.c, "1")
		var failed *saga.FailedError
		if !errors.Is(err, saga.ErrQuarantined) || !errors.As(err, &failed) || failed.Cause.Kind != saga.CauseLost {
			t.Errorf("waited for, it is %v", err)
		}
		counts, err := f.c.Count(t.Context(), "bill")
		if err != nil || counts[saga.Quarantined] != 1 || counts[saga.Running] != 0 {
			t.Errorf("there are %v, %v", counts, err)
		}
		list, err := f.c.List(t.Context(), saga.Query{Definition: "bill", Status: saga.Quarantined})
		if err != nil || len(list) != 1 {
			t.Errorf("listed are %v, %v", list, err)
		}
		checked := 0
		for check, err := range f.c.CheckUpgrade(t.Context(), f.saga.Definition(), "") {
			if checked++; err != nil || check.Misfit != nil || check.Status != saga.Quarantined {
				t.Errorf("it does not fit its own graph: %+v, %v", check, err)
			}
		}
		if checked != 1 {
			t.Errorf("%d executions were checked", checked)
		}
		// Other orders would build on what is not there.
		for name, give := range map[string]func(*saga.Client, context.Context, string, saga.Order) error{
			"cancel": (*saga.Client).Cancel, "retry": (*saga.Client).Retry, "suspend": (*saga.Client).Suspend, "resume": (*saga.Client).Resume,
		} {
			if err := give(f.c, t.Context(), "1", saga.Order{By: "bob"}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		time.Sleep(time.Minute)
		if n := count(t, f.c, "1", saga.OrderRefused); n != 4 {
			t.Errorf("%d orders were refused, want 4", n)
		}
		if x := f.get(); x.Status != saga.Quarantined {
			t.Errorf("it is %s", x.Status)
		}
	})
}

// Released, it goes on from where it stands, and its clocks with it.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := quarantined(t)
		time.Sleep(3 * time.Hour)
		if err := f.c.Release(t.Context(), "1", saga.Order{By: "ann", Note: "charged once"}); err != nil {
			t.Fatal(err)
		}
		state, err := f.saga.Wait(t.Context(), f.c, "1")
		if err != nil || state.Charge != "ch-1" {
			t.Errorf("it ended with %+v, %v", state, err)
		}
		want := []string{"do A", "do Charge 1", "do Close"} // the command more than once
		if got := slices.Compact(f.runs.all()); !slices.Equal(got, want) {
			t.Errorf("it ran %q, want %q", got, want)
		}
		h, err := f.c.History(t.Context(), "1")
		if err != nil || !slices.ContainsFunc(h, func(e saga.Event) bool {
			return e.Type == saga.ExecutionReleased && e.By == "ann" && e.Note == "charged once"
		}) {
			t.Errorf("the history does not tell who released it: %v, %v", h, err)
		}
		if err := f.c.Release(t.Context(), "1", saga.Order{}); !errors.Is(err, store.ErrEnded) {
			t.Errorf("released again: %v", err)
		}
	})
}

// What is not quarantined cannot be released; what was suspended before stays so.
func TestReleaseOfTheSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t, 0, time.Minute, 20*time.Second, straight)
		time.Sleep(30 * time.Second)
		f.keep()
		time.Sleep(35 * time.Second)
		f.lose()
		time.Sleep(5 * time.Second) // the command is out for the second time
		for name, give := range map[string]func(*saga.Client, context.Context, string, saga.Order) error{
			"suspend": (*saga.Client).Suspend, "release": (*saga.Client).Release,
		} {
			if err := give(f.c, t.Context(), "1", saga.Order{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		time.Sleep(2 * time.Minute)
		if n := count(t, f.c, "1", saga.OrderRefused); n != 1 || f.get().Status != saga.Quarantined {
			t.Fatalf("%d orders were refused, and it is %+v", n, f.get())
		}
		if err := f.c.Release(t.Context(), "1", saga.Order{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if x := f.get(); x.Status != saga.Running || x.Suspended.IsZero() {
			t.Errorf("released, it is %+v", x)
		}
		if err := f.c.Resume(t.Context(), "1", saga.Order{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.saga.Wait(t.Context(), f.c, "1"); err != nil {
			t.Error(err)
		}
	})
}

func TestTerminateInQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := quarantined(t)
		if err := f.c.Terminate(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.saga.Wait(t.Context(), f.c, "1"); !errors.Is(err, saga.ErrTerminated) {
			t.Error(err)
		}
		if x := f.get(); x.Status != saga.Terminated || x.Trouble != nil {
			t.Errorf("it is %+v", x)
		}
	})
}

// A reply to an execution that the store has lost as a whole is an error of its own,
// which no redelivery cures. One that was purged has left a tombstone.
func TestReplyToTheLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t, 0, 0, time.Hour, straight)
		time.Sleep(time.Second)
		empty := memstore.New(memstore.Config{}).Snapshot()
		f.store.Restore(empty)
		c := f.first()
		err := f.co.HandleMessage(message.NewMessage("r", replyTo(c, "done", "", false)))
		var lost *saga.LostError
		if !errors.As(err, &lost) || lost.Execution != "1" || lost.Step != "Charge" || lost.Attempt != 1 || lost.Outcome != saga.Done ||
			lost.Commit != c.Commit || !errors.Is(err, store.ErrNotFound) || !permanent(err) {
			t.Errorf("got %v", err)
		}
		if !strings.Contains(f.log.String(), "missing without a tombstone") {
			t.Errorf("the log has no alert:\n%s", f.log.String())
		}
		f.away.Store(true)
		time.Sleep(2 * time.Hour)
	})
}

func TestReplyToThePurged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t, 0, 0, time.Second, straight)
		if _, err := f.saga.Wait(t.Context(), f.c, "1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Hour) // its retention is three
		if _, err := f.c.Get(t.Context(), "1"); !errors.Is(err, store.ErrGone) {
			t.Fatal(err)
		}
		if err := f.co.HandleMessage(message.NewMessage("r", replyTo(f.first(), "done", "", false))); err != nil {
			t.Error(err)
		}
	})
}

// A commit's id tells where in the chain it is, and of which opening.
func TestCommandsTellTheirCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForgetful(t, 0, time.Minute, time.Second, straight)
		if _, err := f.saga.Wait(t.Context(), f.c, "1"); err != nil {
			t.Fatal(err)
		}
		var epoch, seq int
		var nonce string
		c := f.first()
		if n, err := fmt.Sscanf(strings.ReplaceAll(c.Commit, ".", " "), "%d %s %d", &epoch, &nonce, &seq); n != 3 || err != nil || epoch != 2 || seq != 1 {
			t.Errorf("the command was sent by the commit %q, want the first of the second opening", c.Commit)
		}
	})
}
