package saga_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A tally counts calls to a store, but for those that coordinators and who waits
// make all the time, and may have some fail.
type tally struct {
	mu    sync.Mutex
	calls map[string]int
	fault func(storetest.Call) storetest.Fault
}

func (y *tally) wrap(st storetest.Store) *storetest.Faulty {
	return storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
		y.mu.Lock()
		defer y.mu.Unlock()
		switch c.Op {
		case "Due", "Heartbeat", "Leave", "Definition", "PutDefinition", "Get":
			return storetest.Fault{}
		}
		if y.calls == nil {
			y.calls = make(map[string]int)
		}
		y.calls[c.Op]++
		if y.fault == nil {
			return storetest.Fault{}
		}
		return y.fault(c)
	})
}

func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(y.calls)) {
		parts = append(parts, fmt.Sprintf("%d %s", y.calls[op], op))
	}
	return strings.Join(parts, ", ")
}

// N local steps cost N + 1 scripts, the start among them, and each step that is
// done elsewhere two more: one delivers the reply and opens, one commits and
// parks.
func TestScriptsOfSteps(t *testing.T) {
	local := func(name string) *saga.Step[bill] {
		return saga.Do(name, func(context.Context, *bill) error { return nil }).ReadOnly()
	}
	remote := func(name string) *saga.Step[bill] {
		return saga.Remote(name, "payments",
			func(b *bill) (chargeRequest, error) { return chargeRequest{Cents: b.Cents}, nil },
			func(b *bill, r chargeResult) error { b.Charge = r.ID; return nil },
		).ReadOnly()
	}
	for _, tt := range []struct {
		name  string
		steps []*saga.Step[bill]
		want  string
	}{
		{"one local", []*saga.Step[bill]{local("A")}, "1 Commit, 1 Start"},
		{"three local", []*saga.Step[bill]{local("A"), local("B"), local("C")}, "3 Commit, 1 Start"},
		{"one remote", []*saga.Step[bill]{remote("R")}, "2 Commit, 1 Deliver, 1 Start"},
		{"remote between local", []*saga.Step[bill]{local("A"), remote("R"), local("B")}, "3 Commit, 1 Deliver, 1 Start"},
		{"three remote", []*saga.Step[bill]{local("A"), remote("R"), remote("S"), remote("T"), local("B")}, "5 Commit, 3 Deliver, 1 Start"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls tally
				p := &post{t: t, serve: func(sentCommand) *replied {
					return &replied{outcome: "done", result: `{"ID": "ch-1"}`, after: 10 * time.Second}
				}}
				s := saga.New("bill", tt.steps...)
				co, stop := run(t, saga.CoordinatorConfig{
					Store: calls.wrap(memstore.New(memstore.Config{})), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies",
				})
				p.reply = co.HandleMessage
				if _, err := s.Run(t.Context(), co.Client(), "1", bill{}); err != nil {
					t.Error(err)
				}
				if got := calls.String(); got != tt.want {
					t.Errorf("calls to the store: %s, want %s", got, tt.want)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What a client with a coordinator says to a parked execution is heard at once,
// and costs a script for the opening no more.
func TestMailIsDelivered(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  func(c *saga.Client, token string) error
		want saga.Status
	}{
		{"a completion", func(c *saga.Client, token string) error {
			return c.Complete(context.Background(), token, verdict{"ann"})
		}, saga.Completed},
		{"a failure", func(c *saga.Client, token string) error {
			return c.Fail(context.Background(), token, "Refused", "too much")
		}, saga.Compensated},
		{"an order", func(c *saga.Client, _ string) error {
			return c.Cancel(context.Background(), "1", saga.Order{By: "ann"})
		}, saga.Compensated},
		{"a signal", func(c *saga.Client, _ string) error {
			return c.Signal(context.Background(), "1", "go", "s", verdict{"ann"})
		}, saga.Running},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls tally
				tokens := make(chan string, 1)
				s := approval(tokens, func(step *saga.Step[loan]) *saga.Step[loan] { return step.Retry(saga.Once()) })
				c := coordinate(t, saga.CoordinatorConfig{Store: calls.wrap(memstore.New(memstore.Config{})), Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", loan{}); err != nil {
					t.Fatal(err)
				}
				token := <-tokens
				time.Sleep(time.Minute)
				if err := tt.say(c, token); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				x, err := c.Get(t.Context(), "1")
				if err != nil || x.Status != tt.want || x.UnreadMail != 0 || !x.HeldUntil.IsZero() {
					t.Errorf("at once it is %+v, %v, want %s", x, err, tt.want)
				}
				calls.mu.Lock()
				defer calls.mu.Unlock()
				if calls.calls["Deliver"] != 1 || calls.calls["Post"]+calls.calls["Open"] > 0 {
					t.Errorf("calls to the store: %v, want 1 Deliver and neither Post nor Open", calls.calls)
				}
			})
		})
	}
}

// A coordinator that has no room, that does not run, or that drains, posts: others
// find the mail, or it does itself when it has room.
func TestMailWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls tally
		st := memstore.New(memstore.Config{})
		busy := make(chan bool)
		s := saga.New("trip", saga.Receive[trip, string]("Wait", "go", nil), saga.Do("A", func(context.Context, *trip) error {
			<-busy
			return nil
		}))
		co, stop := run(t, saga.CoordinatorConfig{Store: calls.wrap(st), Sagas: []saga.Definer{s}, Concurrency: 1})
		c := co.Client()
		for _, id := range []string{"1", "2"} {
			if _, err := s.Start(t.Context(), c, id, trip{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := c.Signal(t.Context(), id, "go", "s", nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got, want := calls.String(), "2 Commit, 1 Deliver, 1 Post, 2 Start"; got != want {
			t.Errorf("calls to the store: %s, want %s", got, want)
		}
		close(busy)
		for _, id := range []string{"1", "2"} {
			if x, err := c.Wait(t.Context(), id); err != nil || x.Status != saga.Completed {
				t.Errorf("%+v, %v", x, err)
			}
		}
		if _, err := s.Start(t.Context(), c, "3", trip{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := c.Signal(t.Context(), "3", "go", "s", nil); err != nil {
			t.Fatal(err)
		}
		other := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if x, err := other.Wait(t.Context(), "3"); err != nil || x.Status != saga.Completed {
			t.Errorf("%+v, %v", x, err)
		}
	})
}

// A coordinator that does not have the definition gives the lease back, and the
// mail is heard by one that has it.
func TestMailForStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Receive[trip, string]("Wait", "go", nil))
		client := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Sweep: 100 * time.Millisecond})
		stranger := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{saga.New("tour", saga.Do("A", nothing))}, Sweep: time.Hour})
		if _, err := s.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		before, err := st.Get(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if err := stranger.Signal(t.Context(), "1", "go", "s", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		x, err := st.Get(t.Context(), "1")
		if err != nil || !x.LeaseUntil.IsZero() || x.Unread != 1 || x.Epoch != before.Epoch {
			t.Errorf("after the signal: %+v, %v, want it free, unread, in epoch %d", x, err, before.Epoch)
		}
		begin := time.Now()
		if x, err := client.Wait(t.Context(), "1"); err != nil || x.Status != saga.Completed {
			t.Errorf("%+v, %v", x, err)
		}
		if took := time.Since(begin); took > 10*time.Minute {
			t.Errorf("it took %s to find who knows it", took)
		}
	})
}

// Whatever becomes of a delivery, its mail is heard once, and soon: when its
// answer is lost, the execution is not left to a lease that nobody uses.
func TestDeliveryFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault storetest.Fault
		err   bool          // the caller is told to try again
		soon  time.Duration // until the end, after the caller has succeeded
	}{
		{"before", storetest.Fault{Before: storetest.ErrInjected}, true, 0},
		{"its answer is lost", storetest.Fault{After: storetest.ErrInjected}, true, 0},
		{"it is made twice", storetest.Fault{Twice: true}, false, 0},
		{"it is answered late", storetest.Fault{Late: 20 * time.Second}, false, 0},
		{"it is answered when the lease is over", storetest.Fault{Late: time.Minute}, false, time.Hour}, // by the sweep
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := tally{fault: func(c storetest.Call) storetest.Fault {
					if c.Op == "Deliver" && c.ID == "1" {
						return tt.fault
					}
					return storetest.Fault{}
				}}
				st := memstore.New(memstore.Config{})
				s := saga.New("loan", saga.Receive("Wait", "note", func(l *loan, n string) error { l.Notes = append(l.Notes, n); return nil }),
					saga.Receive[loan, string]("Go", "go", nil))
				co, stop := run(t, saga.CoordinatorConfig{Store: calls.wrap(st), Sagas: []saga.Definer{s}, Sweep: time.Hour})
				defer stop()
				c := co.Client()
				if _, err := s.Start(t.Context(), c, "1", loan{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				err := c.Signal(t.Context(), "1", "note", "a", "a")
				if (err != nil) != tt.err || err != nil && !errors.Is(err, storetest.ErrInjected) {
					t.Errorf("got %v", err)
				}
				synctest.Wait()
				calls.mu.Lock()
				calls.fault = nil
				calls.mu.Unlock()
				if tt.err {
					if err := c.Signal(t.Context(), "1", "note", "a", "a"); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(tt.soon)
				synctest.Wait()
				other := outsider(t, st)
				x, err := other.Get(t.Context(), "1")
				if err != nil || x.Step != "Go" || !x.HeldUntil.IsZero() {
					t.Fatalf("after %s: %+v, %v, want it to wait in Go", tt.soon, x, err)
				}
				if err := c.Signal(t.Context(), "1", "go", "g", nil); err != nil {
					t.Error(err)
				}
				got, err := s.Wait(t.Context(), other, "1")
				if err != nil || !slices.Equal(got.Notes, []string{"a"}) {
					t.Errorf("%+v, %v, want the note once", got, err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Mail that the store refuses opens nothing, and the slot is free again.
func TestDeliveryIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls tally
		s := saga.New("trip", saga.Do("A", nothing))
		c := coordinate(t, saga.CoordinatorConfig{Store: calls.wrap(memstore.New(memstore.Config{})), Sagas: []saga.Definer{s}, Concurrency: 1})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for id, want := range map[string]error{"1": store.ErrEnded, "nobody": store.ErrNotFound} {
			for range 3 {
				if err := c.Cancel(t.Context(), id, saga.Order{}); !errors.Is(err, want) {
					t.Errorf("a cancel of %q: %v, want %v", id, err, want)
				}
			}
		}
		synctest.Wait()
		if got, want := calls.String(), "1 Commit, 6 Deliver, 1 Start"; got != want {
			t.Errorf("calls to the store: %s, want %s", got, want)
		}
	})
}

// A lease counts from when the delivery was sent: one whose answer came late is
// renewed before a handler relies on it.
func TestLateDeliveryIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := tally{fault: func(c storetest.Call) storetest.Fault {
			if c.Op == "Deliver" {
				return storetest.Fault{Late: 20 * time.Second}
			}
			return storetest.Fault{}
		}}
		st := memstore.New(memstore.Config{})
		var left time.Duration
		s := saga.New("trip", saga.Receive[trip, string]("Wait", "go", nil), saga.Do("A", func(ctx context.Context, _ *trip) error {
			r, err := st.Get(ctx, "1")
			left = time.Until(r.LeaseUntil)
			return err
		}))
		c := coordinate(t, saga.CoordinatorConfig{Store: calls.wrap(st), Sagas: []saga.Definer{s}, Lease: 30 * time.Second})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := c.Signal(t.Context(), "1", "go", "s", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), c, "1"); err != nil || left != 30*time.Second {
			t.Errorf("%v; the handler has begun with %s of its lease left, want 30s", err, left)
		}
	})
}
