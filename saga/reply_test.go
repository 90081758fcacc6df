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
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// outside are the ways to wait for somebody outside, and what they send.
var outside = []struct {
	name string
	step func(tokens chan string) *saga.Step[trip]
	send func(w *world, token string) error
}{
	{"reply", func(chan string) *saga.Step[trip] { return remoteWait("W") }, func(w *world, _ string) error {
		return w.handle(replyTo(w.service.last(), "done", "", false))
	}},
	{"completion", func(tokens chan string) *saga.Step[trip] {
		return saga.Callback("W", func(ctx context.Context, _ *trip) error {
			tokens <- saga.StepFrom(ctx).Token
			return nil
		}, func(s *trip, by string) error { s.Log = append(s.Log, by); return nil }).ReadOnly()
	}, func(w *world, token string) error { return w.client.Complete(w.Context(), token, "W") }},
	{"signal", func(chan string) *saga.Step[trip] {
		return saga.Receive("W", "go", func(s *trip, by string) error { s.Log = append(s.Log, by); return nil })
	}, func(w *world, _ string) error { return w.client.Signal(w.Context(), "1", "go", "", "W") }},
}

// remoteWait is a remote step that is tried once, and has nothing to undo.
func remoteWait(name string) *saga.Step[trip] {
	return saga.Remote(name, serviceQueue,
		func(s *trip) ([]string, error) { return s.Log, nil },
		func(s *trip, done string) error { s.Log = append(s.Log, done); return nil },
	).ReadOnly().Retry(saga.Once())
}

// awaitOutside starts a saga that waits a minute, and returns when it does.
func awaitOutside(t *testing.T, n int) (w *world, send func() error) {
	w = newWorld(t)
	w.service.at = func(sentCommand) {} // it does nothing with commands
	tokens := make(chan string, 1)
	way := outside[n]
	w.scenario = &scenario{saga: func(p *provider, name string) *saga.Saga[trip] {
		return saga.New("trip", p.step(name, "A"), way.step(tokens).Timeout(time.Minute), p.do(name, "B"))
	}}
	w.work("one", w.store)
	w.start()
	synctest.Wait()
	token := ""
	select {
	case token = <-tokens:
	default:
	}
	return w, func() error { return way.send(w, token) }
}

// What came before its deadline counts, though nobody was there to read it until
// long after: mail is read before the clock.
func TestAnswerBeforeItsDeadlineThatIsReadAfterIt(t *testing.T) {
	for n, way := range outside {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, send := awaitOutside(t, n)
				time.Sleep(50 * time.Second)
				w.stop("one")
				if way.name == "reply" { // somebody who only takes messages
					idle, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: w.store, Sagas: []saga.Definer{w.scenario.saga(w.provider, "idle")}, Publisher: w.bell, ReplyTo: "replies"})
					if err != nil {
						t.Fatal(err)
					}
					send = func() error {
						return idle.HandleMessage(message.NewMessage("m", replyTo(w.service.last(), "done", "", false)))
					}
				}
				if err := send(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				w.work("two", w.store)
				if x := w.wait(); x.Status != saga.Completed || string(x.State) != `{"Log":["A","W","B"]}` {
					t.Errorf("it is %s with %s", x.Status, x.State)
					logHistory(t, w.client)
				}
			})
		})
	}
}

// What comes after its deadline was committed is late: it changes nothing, and
// whoever sent it is told where that is possible.
func TestAnswerAfterItsDeadline(t *testing.T) {
	for n, way := range outside {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, send := awaitOutside(t, n)
				time.Sleep(62 * time.Second)
				err := send()
				if want := map[string]error{"completion": saga.ErrToken, "signal": store.ErrEnded}[way.name]; !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
				if x := w.wait(); x.Status != saga.Compensated {
					t.Errorf("it is %s", x.Status)
				}
				if got, want := w.provider.lines(), []string{"do A", "undo A (done)"}; !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
			})
		})
	}
}

// A reply that comes as its timeout is being committed is heard before anything
// follows from that: the commit would park over mail, and so writes nothing.
func TestReplyAgainstItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.service.at = func(sentCommand) {}
		w.scenario = &scenario{saga: func(p *provider, name string) *saga.Saga[trip] {
			return saga.New("trip", p.step(name, "A"), remoteWait("W").Timeout(time.Minute).
				Retry(saga.Retry{Initial: time.Hour, Jitter: -1}), p.do(name, "B"))
		}}
		sent := false
		w.work("one", storetest.NewFaulty(w.store, func(c storetest.Call) storetest.Fault {
			if c.Op == "Commit" && !sent && time.Since(w.begun) >= time.Minute {
				sent = true
				if err := w.handle(replyTo(w.service.last(), "done", "", false)); err != nil {
					t.Error(err)
				}
			}
			return storetest.Fault{}
		}))
		w.start()
		if x := w.wait(); x.Status != saga.Completed || time.Since(w.begun) > 2*time.Minute {
			t.Errorf("it is %s after %s, want it completed at once", x.Status, time.Since(w.begun))
		}
		if got := w.service.commands("1"); slices.Contains(got, "do W 2") {
			t.Errorf("sent %q, want no second attempt", got)
		}
	})
}

// Replies that are for nothing that is awaited change nothing, and are no error:
// queues bring them again, late, and out of order.
func TestStaleReplies(t *testing.T) {
	reply := func(t *testing.T, c sentCommand, change map[string]any) []byte {
		var body map[string]any
		unmarshal(t, string(replyTo(c, "done", "", false)), &body)
		for k, v := range change {
			body[k] = v
		}
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.service.at = func(sentCommand) {}
		w.scenario = &scenario{}
		w.scenario.saga = func(p *provider, name string) *saga.Saga[trip] {
			b := p.remoteStep("B").Timeout(time.Hour).Retry(saga.Retry{Attempts: 3, Initial: time.Second, Jitter: -1})
			return saga.New("trip",
				saga.Choose[trip]("Round").When("C", func(s *trip) bool { return len(s.Log) == 2 }).Otherwise("B"),
				b.Next("Round"), remoteWait("C"),
			).Version("1")
		}
		w.work("one", w.store)
		w.start()
		synctest.Wait()
		answer := func(body []byte) {
			t.Helper()
			if err := w.handle(body); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		first := w.service.last()
		answer(reply(t, first, map[string]any{"outcome": "not done"})) // and again in a second
		second := w.service.last()
		answer(reply(t, second, nil))
		third := w.service.last() // the second visit
		if second.Attempt != 2 || third.Visit != 2 || third.Attempt != 1 || third.Key == first.Key || first.Key != second.Key {
			t.Fatalf("commands %+v, %+v and %+v", first, second, third)
		}
		before := record(t, w)
		for name, body := range map[string][]byte{
			"the same again":         reply(t, second, nil),
			"of an earlier attempt":  reply(t, first, nil),
			"of an earlier visit":    reply(t, third, map[string]any{"visit": 1}),
			"of a visit to come":     reply(t, third, map[string]any{"visit": 3}),
			"of an attempt to come":  reply(t, third, map[string]any{"attempt": 2}),
			"of its undo":            reply(t, third, map[string]any{"reply": "undo"}),
			"of another step":        reply(t, third, map[string]any{"step": "C"}),
			"of no step":             reply(t, third, map[string]any{"step": "Nobody"}),
			"of a frame":             reply(t, third, map[string]any{"frame": "P:0"}),
			"of a step without them": reply(t, third, map[string]any{"step": "Round"}),
		} {
			answer(body)
			if got := record(t, w); got != before {
				t.Errorf("a reply %s changes\n%s to\n%s", name, before, got)
			}
		}
		answer(reply(t, third, nil))
		answer(reply(t, w.service.last(), nil))
		x := w.wait()
		if x.Status != saga.Completed || string(x.State) != `{"Log":["B","B","C"]}` {
			t.Errorf("it is %s with %s", x.Status, x.State)
			logHistory(t, w.client)
		}
		for _, c := range []sentCommand{first, third} { // after the end
			answer(reply(t, c, nil))
		}
	})
}

// record is what a reply must not change: where the execution stands, and its
// history.
func record(t *testing.T, w *world) string {
	t.Helper()
	x, err := w.client.Get(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	x.HeldUntil, x.NextWake = time.Time{}, time.Time{}
	return fmt.Sprintf("%+v %v", *x, types(t, w.client, "1"))
}

// What no coordinator can make anything of is refused for good, with a reason;
// what it could not take in just now comes again.
func TestRepliesThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := awaitOutside(t, 0)
		c := w.service.last()
		good := string(replyTo(c, "done", "", false))
		for what, tt := range map[string]struct{ body, want string }{
			"no outcome":      {strings.Replace(good, `"outcome":"done"`, `"outcome":""`, 1), `"outcome" is "", want "done", "not done" or "unknown"`},
			"a bad outcome":   {strings.Replace(good, `"outcome":"done"`, `"outcome":"fine"`, 1), `"outcome" is "fine"`},
			"a bad direction": {strings.Replace(good, `"reply":"do"`, `"reply":"redo"`, 1), `"reply" is "redo", want "do" or "undo"`},
			"no execution":    {strings.Replace(good, `"execution":"1"`, `"execution":""`, 1), `"execution", "step", "visit" and "attempt" are the command's, and one is missing`},
			"attempt 0":       {strings.Replace(good, `"attempt":1`, `"attempt":0`, 1), "one is missing"},
			"visit -1":        {strings.Replace(good, `"visit":1`, `"visit":-1`, 1), "one is missing"},
			"another version": {strings.Replace(good, `"waybill":1`, `"waybill":2`, 1), `"waybill" is 2, want 1`},
			"nobody's":        {strings.Replace(good, `"execution":"1"`, `"execution":"nobody"`, 1), `"nobody", which is not there`},
			"no JSON":         {good[:40], "unexpected end of JSON input"},
			"of other types":  {strings.Replace(good, `"attempt":1`, `"attempt":"one"`, 1), "cannot unmarshal"},
		} {
			err := w.anyone().coordinator.HandleMessage(message.NewMessage("m-1", []byte(tt.body)))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "m-1") || !permanent(err) {
				t.Errorf("%s: %v, want %q, permanent, with the message's id", what, err, tt.want)
			}
		}
	})
	t.Run("a mailbox that is full", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, _ := awaitOutside(t, 0)
			c := w.service.last()
			w.stop("one")
			for n := 0; ; n++ {
				_, err := w.store.Post(t.Context(), store.PostRequest{ID: "1", MailID: fmt.Sprint("m", n), Body: []byte(`{"k":"retry"}`), Limit: 5000})
				if errors.Is(err, store.ErrMailboxFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			idle, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: w.store, Sagas: []saga.Definer{w.scenario.saga(w.provider, "idle")}, Publisher: w.bell, ReplyTo: "replies"})
			if err != nil {
				t.Fatal(err)
			}
			if err := idle.HandleMessage(message.NewMessage("m", replyTo(c, "done", "", false))); !errors.Is(err, store.ErrMailboxFull) || permanent(err) {
				t.Errorf("%v, permanent %t, want ErrMailboxFull, for the message to stay on its queue", err, permanent(err))
			}
		})
	})
	t.Run("after the purge", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := memstore.New(memstore.Config{})
			s := saga.New("trip", remoteWait("A"))
			var mu sync.Mutex
			var sent []sentCommand
			c, stop := run(t, saga.CoordinatorConfig{
				Store: st, Sagas: []saga.Definer{s}, ReplyTo: "replies", Retention: time.Minute,
				Publisher: publisher(func(_ string, m *message.Message) error {
					var o sentCommand
					unmarshal(t, string(m.Payload), &o)
					mu.Lock()
					defer mu.Unlock()
					sent = append(sent, o)
					return nil
				}),
			})
			first := func() sentCommand {
				mu.Lock()
				defer mu.Unlock()
				return sent[0]
			}
			if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
				t.Fatal(err)
			}
			for _, wait := range []time.Duration{time.Second, 10 * time.Second, 10 * time.Minute} { // then ended, then gone
				time.Sleep(wait)
				if err := c.HandleMessage(message.NewMessage("m", replyTo(first(), "done", "", false))); err != nil {
					t.Errorf("after %s: %v", wait, err)
				}
			}
			if _, err := c.Client().Get(t.Context(), "1"); !errors.Is(err, store.ErrGone) {
				t.Errorf("it is not purged: %v", err)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	})
}

// Of many replies at once each is heard, whoever takes it.
func TestRepliesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const n = 50
		w.scenario = &scenario{saga: func(p *provider, name string) *saga.Saga[trip] {
			return saga.New("trip",
				saga.ForEach("M", func(*trip) []trip { return make([]trip, n) }, nil, p.remoteStep("I")),
				p.do(name, "Z"))
		}}
		w.provider.plan("I", slices.Repeat([]plan{{takes: 5 * time.Second}}, n)...)
		w.work("one", w.store)
		w.work("two", w.store)
		w.start()
		if x := w.wait(); x.Status != saga.Completed || time.Since(w.begun) > 15*time.Second {
			t.Errorf("it is %s after %s", x.Status, time.Since(w.begun))
		}
		w.provider.audit(t, w.def, "1")
	})
}
