package saga_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/storetest"
)

var errNoQueue = errors.New("the queue cannot be reached")

// beside is a remote step beside one of the worker's own, which keeps the
// execution open.
func beside(remote func(*saga.Step[trip]) *saga.Step[trip]) func(p *provider, w string) *saga.Saga[trip] {
	return func(p *provider, w string) *saga.Saga[trip] {
		return saga.New("trip",
			saga.Parallel("P",
				saga.Branch("x", remote(p.remoteStep("X"))),
				saga.Branch("y", p.step(w, "Y").Timeout(time.Hour)),
			).Merge(func(*trip, []trip) error { return nil }),
			p.do(w, "Z"))
	}
}

// A command that could not be sent goes out later, and not only when the worker
// has something to commit: a handler may be at work for long.
func TestUnsentCommandGoesOutWhileAHandlerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: beside(func(s *saga.Step[trip]) *saga.Step[trip] { return s.Timeout(10 * time.Minute) })}
		w.faults = func(c storetest.Call) storetest.Fault {
			if time.Since(w.begun) < time.Second {
				return storetest.Fault{Before: errNoQueue}
			}
			return storetest.Fault{}
		}
		w.provider.plan("Y", plan{takes: 30 * time.Minute})
		w.work("one", w.store)
		w.start()
		time.Sleep(31 * time.Second)
		if got := w.service.commands("1"); !slices.Equal(got, []string{"do X 1"}) {
			t.Errorf("sent within a lease: %q, want the command", got)
		}
		if x := w.wait(); x.Status != saga.Completed {
			t.Errorf("it is %s", x.Status)
		}
		w.provider.audit(t, w.def, "1")
		audited(t, w.store, w.client, "trip")
	})
}

// A command that could not be sent in its time is forgotten: it does not go out
// after its undo, which would be a late action.
func TestUnsentCommandIsForgottenWithItsStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: beside(func(s *saga.Step[trip]) *saga.Step[trip] { return s.Retry(saga.Once()) })}
		w.faults = func(c storetest.Call) storetest.Fault {
			if time.Since(w.begun) < 21*time.Second {
				return storetest.Fault{Before: errNoQueue}
			}
			return storetest.Fault{}
		}
		w.provider.plan("Y", plan{takes: 22 * time.Second}) // the timeout of X has passed by then
		w.work("one", w.store)
		w.start()
		if x := w.wait(); x.Status != saga.Compensated {
			t.Errorf("it is %s", x.Status)
		}
		time.Sleep(10 * time.Minute)
		for _, c := range w.service.commands("1") {
			if c != "undo X (unknown)" {
				t.Errorf("%s was sent", c)
			}
		}
		w.provider.audit(t, w.def, "1")
		audited(t, w.store, w.client, "trip")
	})
}

// The end forgets commands too, and its notice does not wait for a queue that
// they could not be sent to.
func TestUnsentCommandIsForgottenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{
			saga:  beside(func(s *saga.Step[trip]) *saga.Step[trip] { return s.Timeout(10 * time.Minute) }),
			start: []saga.StartOption{saga.NotifyTo("ends")},
		}
		w.provider.plan("Y", plan{takes: 30 * time.Minute})
		w.faults = func(c storetest.Call) storetest.Fault {
			if c.ID == serviceQueue && time.Since(w.begun) < time.Hour {
				return storetest.Fault{Before: errNoQueue}
			}
			return storetest.Fault{}
		}
		w.work("one", w.store)
		w.start()
		time.Sleep(time.Second)
		if err := w.client.Terminate(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if x := w.wait(); x.Status != saga.Terminated || x.PendingNotice || w.bell.count() != 1 {
			t.Errorf("it is %s, its notice pending %t, and %d notices were sent", x.Status, x.PendingNotice, w.bell.count())
		}
		time.Sleep(2 * time.Hour)
		if got := w.service.commands("1"); len(got) > 0 {
			t.Errorf("after the end goes out %q", got)
		}
	})
}

// A worker that dies after its commit and before it sends leaves the sending to
// the next; one that dies after it has sent, and before anybody knows, leaves a
// repeat under the same id. Nothing is sent of a commit that did not come to be.
func TestCrashBetweenCommitAndSend(t *testing.T) {
	// The next worker opens the execution after 30s.
	const short, long = 15 * time.Second, 40 * time.Second
	for name, tt := range map[string]struct {
		op    string
		fault storetest.Fault
		takes time.Duration // the step
		want  []string      // commands
	}{
		"before the commit":             {"Commit", storetest.Fault{Before: storetest.ErrInjected}, short, []string{"do A 1"}},
		"after the commit":              {"Commit", storetest.Fault{After: storetest.ErrInjected}, short, []string{"do A 1"}},
		"before the queue has it":       {"Publish", storetest.Fault{Before: errNoQueue}, short, []string{"do A 1"}},
		"after the queue has it":        {"Publish", storetest.Fault{After: errNoQueue}, long, []string{"do A 1", "do A 1"}},
		"the queue takes it twice":      {"Publish", storetest.Fault{Twice: true}, long, []string{"do A 1", "do A 1", "do A 1"}},
		"while the queue takes it long": {"Publish", storetest.Fault{Delay: 2 * time.Second}, long, []string{"do A 1", "do A 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
					return saga.New("trip", p.remoteStep("A").Timeout(time.Minute), p.do(w, "B"))
				}}
				w.provider.plan("A", plan{takes: tt.takes})
				var dead atomic.Bool
				fault := func(c storetest.Call) storetest.Fault {
					switch {
					case dead.Load():
						return storetest.Fault{Before: storetest.ErrInjected}
					case c.Op == tt.op:
						dead.Store(true)
						return tt.fault
					}
					return storetest.Fault{}
				}
				w.faults = fault
				w.work("one", storetest.NewFaulty(w.store, fault))
				w.start()
				time.Sleep(10 * time.Second)
				w.provider.kill("one")
				w.stop("one")
				w.work("two", w.store)
				if x := w.wait(); x.Status != saga.Completed {
					t.Errorf("it is %s", x.Status)
				}
				if got := w.service.commands("1"); !slices.Equal(got, tt.want) {
					t.Errorf("sent %q, want %q", got, tt.want)
				}
				if got := w.provider.lines(); !slices.Equal(got, []string{"do A", "do B"}) {
					t.Errorf("the service did %q", got)
				}
				w.provider.audit(t, w.def, "1")
				audited(t, w.store, w.client, "trip")
			})
		})
	}
}

// A reply cannot be early: a command goes out once it is on record that it is
// waited for, so that even an answer that comes before the send returns finds its
// execution. Other engines drop a message that comes before its saga exists.
func TestPeersReplyBeforeItsSagaWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: func(p *provider, w string) *saga.Saga[trip] {
			return saga.New("trip", p.step(w, "A"), p.remoteStep("B"), p.remoteStep("C"))
		}}
		n := 0
		w.service.at = func(c sentCommand) {
			n++
			r, err := w.store.Get(context.Background(), "1")
			if err != nil || r.Commit != c.Commit || len(r.Outbox) == 0 {
				t.Errorf("%v is sent before the commit that it names, %s: %+v (%v)", c, c.Commit, r, err)
			}
			if err := w.handle(replyTo(c, "done", "", false)); err != nil {
				t.Error(err)
			}
			if r, err = w.store.Get(context.Background(), "1"); err != nil || r.Unread == 0 && r.Commit == c.Commit {
				t.Errorf("the reply to %v is lost: %+v (%v)", c, r, err)
			}
		}
		w.work("one", w.store)
		w.start()
		begin := time.Now()
		if x := w.wait(); x.Status != saga.Completed || time.Since(begin) > 5*time.Second {
			t.Errorf("it is %s after %s", x.Status, time.Since(begin))
		}
		if n != 2 {
			t.Errorf("%d commands, want 2", n)
		}
	})
}
