package saga_test

import (
	"context"
	"encoding/json"
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

func startMessage(body string) *message.Message { return message.NewMessage("m-1", []byte(body)) }

// permanent asks an error as package pipeline does.
func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

func TestHandleStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", func(_ context.Context, s *trip) error {
			s.Log = append(s.Log, "A")
			return nil
		}))
		c, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s, saga.New("tour", saga.Do("A", nothing))}})
		tests := []struct {
			name, body string
			want       string // the error; none: it starts
		}{
			{"start", `{"waybill":1,"start":"trip","id":"1","input":{"Log":["begin"]}}`, ""},
			{"the same again", `{"waybill":1,"start":"trip","id":"1","input":{"Log":["begin"]}}`, ""},
			{"the same in another spelling", `{"input": {"log": ["begin"], "else": 1}, "id": "1", "start": "trip", "waybill": 1, "new": true}`, ""},
			{"another input", `{"waybill":1,"start":"trip","id":"1","input":{"Log":["other"]}}`, "taken by an execution with another definition or input"},
			{"another saga", `{"waybill":1,"start":"tour","id":"1","input":{"Log":["begin"]}}`, "taken by an execution with another definition or input"},
			{"no JSON", `start!`, "start message m-1: invalid character"},
			{"nothing", ``, "start message m-1: unexpected end"},
			{"another type", `[1]`, "start message m-1: json: cannot unmarshal"},
			{"no version", `{"start":"trip","id":"2","input":{}}`, `"waybill" is 0, want 1`},
			{"a later version", `{"waybill":2,"start":"trip","id":"2","input":{}}`, `"waybill" is 2, want 1`},
			{"no id", `{"waybill":1,"start":"trip","input":{}}`, `"id" is empty`},
			{"a long id", `{"waybill":1,"start":"trip","id":"` + strings.Repeat("x", 513) + `","input":{}}`, "has 513 bytes, at most 512"},
			{"no input", `{"waybill":1,"start":"trip","id":"2"}`, `"input" is missing`},
			{"no saga", `{"waybill":1,"id":"2","input":{}}`, `"start" is "": unknown definition, have tour, trip`},
			{"an unknown saga", `{"waybill":1,"start":"cruise","id":"2","input":{}}`, `"start" is "cruise": unknown definition, have tour, trip`},
			{"a later form", `{"waybill":2,"start":"trip","id":7}`, `"waybill" is 2, want 1`},
			{"input of another type", `{"waybill":1,"start":"trip","id":"2","input":{"Log":"x"}}`, `start "2" of saga "trip": input: json: cannot unmarshal`},
		}
		for _, tt := range tests {
			err := c.HandleStart(startMessage(tt.body))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("%s: %v", tt.name, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
			case tt.want != "" && !permanent(err):
				t.Errorf("%s: the error is not permanent: %v", tt.name, err)
			}
		}
		if err := c.HandleStart(startMessage(tests[14].body)); !errors.Is(err, saga.ErrUnknownDefinition) {
			t.Errorf("an unknown saga: %v", err)
		}
		if err := c.HandleStart(startMessage(tests[3].body)); !errors.Is(err, store.ErrExists) {
			t.Errorf("another input: %v", err)
		}
		got, err := s.Wait(t.Context(), c.Client(), "1")
		if err != nil || !slices.Equal(got.Log, []string{"begin", "A"}) {
			t.Errorf("it ended with %v (%v)", got, err)
		}
		if _, err := c.Client().Get(t.Context(), "2"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a message with an error started something: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Whoever may send a start message may have its notice sent to what is listed.
func TestHandleStartRefusesAForeignReplyTo(t *testing.T) {
	s := saga.New("trip", saga.Do("A", nothing))
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, NotifyTo: []string{"done", "also-done"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for replyTo, want := range map[string]string{"": "", "also-done": "", "payments": `"replyTo" is "payments", want done or also-done`} {
		err := c.HandleStart(startMessage(fmt.Sprintf(`{"waybill":1,"start":"trip","id":"to-%s","input":{},"replyTo":%q}`, replyTo, replyTo)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !permanent(err)) {
			t.Errorf("replyTo %q: %v, want %q", replyTo, err, want)
		}
	}
	if _, err := c.Client().Get(t.Context(), "to-payments"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a message that was refused started something: %v", err)
	}
}

// HandleStart works without a running coordinator, and leaves the execution to
// the others. A store that is away is no reason to give a message up.
func TestHandleStartNeedsTheStoreAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		away := true
		faulty := storetest.NewFaulty(st, func(c storetest.Call) storetest.Fault {
			if away {
				return storetest.Fault{Before: storetest.ErrInjected}
			}
			return storetest.Fault{}
		})
		s := saga.New("trip", saga.Do("A", nothing))
		idle, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: faulty, Sagas: []saga.Definer{s}})
		if err != nil {
			t.Fatal(err)
		}
		body := `{"waybill":1,"start":"trip","id":"1","input":{}}`
		if err := idle.HandleStart(startMessage(body)); !errors.Is(err, storetest.ErrInjected) || permanent(err) {
			t.Errorf("while the store is away: %v, permanent %t", err, permanent(err))
		}
		away = false
		if err := idle.HandleStart(startMessage(body)); err != nil {
			t.Fatal(err)
		}
		_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if x, err := idle.Client().Wait(t.Context(), "1"); err != nil || x.Status != saga.Completed {
			t.Errorf("%+v (%v)", x, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A start that comes again after the execution was purged finds its tombstone,
// is told so for good, and starts nothing.
func TestStartAfterPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip", saga.Do("A", j.do("A")))
		c, stop := run(t, saga.CoordinatorConfig{
			Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s},
			Retention: time.Hour, Tombstone: 2 * time.Hour, Sweep: time.Minute,
		})
		begin := time.Now()
		body := `{"waybill":1,"start":"trip","id":"1","input":{}}`
		if err := c.HandleStart(startMessage(body)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		if _, err := c.Client().Get(t.Context(), "1"); err != nil {
			t.Errorf("after %s of an hour's retention: %v", time.Since(begin), err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := c.Client().Get(t.Context(), "1"); !errors.Is(err, store.ErrGone) {
			t.Errorf("after %s: %v, want ErrGone", time.Since(begin), err)
		}
		err := c.HandleStart(startMessage(body))
		if !errors.Is(err, store.ErrGone) || !permanent(err) {
			t.Errorf("a start after the purge: %v, permanent %t", err, permanent(err))
		}
		if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); !errors.Is(err, store.ErrGone) {
			t.Errorf("Start after the purge: %v, want ErrGone", err)
		}
		if _, err := s.Run(t.Context(), c.Client(), "1", trip{}); !errors.Is(err, store.ErrGone) {
			t.Errorf("Run after the purge: %v, want ErrGone", err)
		}
		for what, err := range map[string]error{
			"Cancel": c.Client().Cancel(t.Context(), "1", saga.Order{}),
			"Retry":  c.Client().Retry(t.Context(), "1", saga.Order{}),
		} {
			if !errors.Is(err, store.ErrGone) {
				t.Errorf("%s after the purge: %v, want ErrGone", what, err)
			}
		}
		if list, err := c.Client().List(t.Context(), saga.Query{}); err != nil || len(list) != 0 {
			t.Errorf("listed still: %+v (%v)", list, err)
		}
		if got := j.all(); len(got) != 1 {
			t.Errorf("it ran %q", got)
		}
		time.Sleep(2 * time.Hour)
		if err := c.HandleStart(startMessage(body)); err != nil {
			t.Errorf("a start after the tombstone: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzHandleStart(f *testing.F) {
	f.Add([]byte(`{"waybill":1,"start":"trip","id":"1","input":{"Log":["begin"]},"replyTo":"ends"}`))
	f.Add([]byte(`{"waybill":1,"start":"trip","id":"1","input":null}`))
	f.Add([]byte(`{"waybill":1,"start":"trip","id":"\u0000","input":{"Log":[null]}}`))
	f.Add([]byte(`{"waybill":1.5,"start":"trip"}`))
	f.Add([]byte("\xff"))
	s := saga.New("trip", saga.Do("A", nothing))
	f.Fuzz(func(t *testing.T, body []byte) {
		st := memstore.New(memstore.Config{Partitions: 1})
		c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.HandleStart(message.NewMessage("m-1", body)); err != nil {
			if !permanent(err) {
				t.Errorf("%q: %v, which a retry would not cure", body, err)
			}
			return
		}
		// What was accepted can be read, and accepting it again changes nothing.
		var m struct{ ID string }
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		if err := c.HandleStart(message.NewMessage("m-2", body)); err != nil {
			t.Errorf("%q is refused the second time: %v", body, err)
		}
		if _, err := c.Client().Get(t.Context(), m.ID); err != nil {
			t.Errorf("%q: %v", body, err)
		}
		if _, err := c.Client().History(t.Context(), m.ID); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	})
}

// An execution that a client without a coordinator starts begins at once where
// a doorbell tells a coordinator, and with its next sweep where not.
func TestDoorbell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		begin := time.Now()
		var began time.Duration
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
			began = time.Since(begin)
			return nil
		}))
		c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Sweep: time.Minute})
		wire := publisher(func(topic string, m *message.Message) error {
			if topic != "bells" {
				t.Errorf("rung on %q", topic)
			}
			return c.HandleRing(m)
		})
		client, err := saga.NewClient(saga.ClientConfig{Store: st, Ring: saga.Doorbell(wire, "bells")})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		begin = time.Now()
		if _, err := s.Start(t.Context(), client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if x, err := client.Get(t.Context(), "1"); err != nil || x.Status != saga.Completed || began != 0 {
			t.Errorf("with a doorbell it began after %s: %+v (%v)", began, x, err)
		}

		// A doorbell that is broken is no error: the sweep finds what it misses.
		broken, err := saga.NewClient(saga.ClientConfig{Store: st, Ring: saga.Doorbell(publisher(func(string, *message.Message) error {
			return errors.New("no such topic")
		}), "bells")})
		if err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		if _, err := s.Start(t.Context(), broken, "2", trip{}); err != nil {
			t.Fatal(err)
		}
		if _, err := broken.Wait(t.Context(), "2"); err != nil || began > time.Minute {
			t.Errorf("without one it began after %s (%v), want a sweep of 1m at most", began, err)
		}

		// Anything may come in on a queue.
		for _, body := range []string{"", "nobody", strings.Repeat("x", 10_000), "\xff"} {
			if err := c.HandleRing(message.NewMessage("m", []byte(body))); err != nil {
				t.Errorf("%.20q: %v", body, err)
			}
		}
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

type publisher func(topic string, m *message.Message) error

func (p publisher) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		if err := p(topic, m); err != nil {
			return err
		}
	}
	return nil
}

func (publisher) Close() error { return nil }

func TestNotifyTo(t *testing.T) {
	ok := func(p *provider, w string) *saga.Saga[trip] { return saga.New("trip", p.step(w, "A"), p.do(w, "B")) }
	tests := []struct {
		name string
		plan plan
		want string
	}{
		{"completed", plan{}, `{"waybill":1,"execution":"1","definition":"trip","status":"completed","state":{"Log":["A","B"]}}`},
		{"compensated", plan{err: errNo}, `{"waybill":1,"execution":"1","definition":"trip","status":"compensated","state":{"Log":["A"]},` +
			`"cause":{"kind":"failed","step":"B","error":"no"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{saga: ok, start: []saga.StartOption{saga.NotifyTo("ends")}}
				w.provider.plan("B", tt.plan)
				w.work("one", w.store)
				w.start()
				w.wait()
				time.Sleep(time.Hour)
				if len(w.bell.messages) != 1 {
					t.Fatalf("%d notices, want one", len(w.bell.messages))
				}
				if got := string(w.bell.messages[0].Payload); got != tt.want {
					t.Errorf("the notice is\n%s, want\n%s", got, tt.want)
				}
				if w.bell.messages[0].UUID != "1.end" || w.bell.topics[0] != "ends" {
					t.Errorf("sent as %q to %q", w.bell.messages[0].UUID, w.bell.topics[0])
				}
			})
		})
	}
}

// A notice that cannot be sent waits, and is sent when it can be; the saga has
// ended all the same. It goes out again where the worker dies between the send
// and its note of it.
func TestNotifyToIsSentAtLeastOnce(t *testing.T) {
	for _, mail := range []bool{false, true} {
		t.Run(fmt.Sprintf("mail=%t", mail), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scenario = &scenario{
					saga:  func(p *provider, w string) *saga.Saga[trip] { return saga.New("trip", p.step(w, "A"), p.do(w, "B")) },
					start: []saga.StartOption{saga.NotifyTo("ends")},
				}
				w.provider.plan("B", plan{takes: 5 * time.Second})
				w.bell.fail = func(n int) error {
					if n <= 3 {
						return errors.New("no such queue")
					}
					return nil
				}
				w.work("one", w.store)
				w.start()
				if mail {
					time.Sleep(time.Second)
					if err := w.client.Retry(t.Context(), "1", saga.Order{}); err != nil { // refused, and absorbed
						t.Fatal(err)
					}
				}
				if x := w.wait(); x.Status != saga.Completed {
					t.Errorf("it is %s", x.Status)
				}
				time.Sleep(10 * time.Minute)
				if got := w.bell.count(); got != 1 || w.bell.calls != 4 {
					t.Errorf("%d notices in %d tries, want 1 in 4", got, w.bell.calls)
				}
				audited(t, w.store, w.client, "trip")
			})
		})
	}
	t.Run("the worker dies after sending", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.scenario = &scenario{saga: abcd, start: []saga.StartOption{saga.NotifyTo("ends")}}
			var commits int
			w.work("one", storetest.NewFaulty(w.store, func(c storetest.Call) storetest.Fault {
				if c.Op == "Commit" {
					if commits++; commits == 5 { // four results, and the note that the notice is sent
						return storetest.Fault{Before: storetest.ErrInjected}
					}
				}
				return storetest.Fault{}
			}))
			w.start()
			w.wait()
			time.Sleep(time.Hour)
			if got := w.bell.count(); got != 2 || w.bell.messages[0].UUID != w.bell.messages[1].UUID {
				t.Errorf("%d notices, want the same twice", got)
			}
			audited(t, w.store, w.client, "trip")
		})
	})
}

// A coordinator that cannot send leaves the notice to one that can: it is not
// lost, and what it tells of is not purged before.
func TestNotifyToWaitsForAPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", nothing))
		mute, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Retention: time.Minute})
		if _, err := s.Start(t.Context(), mute.Client(), "1", trip{}, saga.NotifyTo("ends")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), mute.Client(), "1"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if err := stop(); err != nil {
			t.Error(err)
		}
		b := &bell{}
		c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Publisher: b, Retention: time.Minute})
		// The mute one left it alone for up to two leases.
		time.Sleep(65 * time.Second)
		if b.count() != 1 {
			t.Errorf("%d notices from the coordinator that can send, want one", b.count())
		}
		time.Sleep(2 * time.Minute)
		if _, err := c.Client().Get(t.Context(), "1"); !errors.Is(err, store.ErrGone) {
			t.Errorf("it is not purged after its notice: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
