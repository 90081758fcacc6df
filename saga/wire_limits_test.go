package saga_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// asked starts a saga that waits for an approval, and stops its coordinator, whose
// client and handlers still give others what they are told.
func asked(t *testing.T, st saga.Store, step func(*saga.Step[loan]) *saga.Step[loan]) (s *saga.Saga[loan], co *saga.Coordinator, token string) {
	t.Helper()
	tokens := make(chan string, 1)
	s = approval(tokens, step)
	co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
	if _, err := s.Start(t.Context(), co.Client(), "1", loan{}); err != nil {
		t.Fatal(err)
	}
	token = <-tokens
	synctest.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return s, co, token
}

// However often somebody beats for a task, operators get through.
func TestHeartbeatsLeaveRoomForOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		_, co, token := asked(t, st, func(s *saga.Step[loan]) *saga.Step[loan] { return s.Heartbeat(time.Hour) })
		c := co.Client()
		var err error
		for n := 0; err == nil && n < 2000; n++ {
			err = c.Heartbeat(t.Context(), token)
		}
		if !errors.Is(err, store.ErrMailboxFull) {
			t.Errorf("2000 heartbeats: %v, want ErrMailboxFull", err)
		}
		if err := c.Complete(t.Context(), token, verdict{"ann"}); err != nil {
			t.Errorf("complete: %v", err)
		}
		if err := c.Cancel(t.Context(), "1", saga.Order{By: "ann"}); err != nil {
			t.Errorf("cancel: %v", err)
		}
	})
}

// A message with another answer than the one that is yet to be read is not taken for
// its repeat: it comes again, when it is known what came of the first.
func TestAnotherAnswerIsNoRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s, co, token := asked(t, st, as[loan])
		tell := func(co *saga.Coordinator, body string) error {
			return co.HandleMessage(message.NewMessage("m", message.Payload(body)))
		}
		yes := `{"waybill": 1, "complete": "` + token + `", "result": {"By": "ann"}}`
		no := `{"waybill": 1, "fail": "` + token + `", "error": "Refused"}`
		if err := tell(co, yes); err != nil {
			t.Fatal(err)
		}
		var permanent interface{ Permanent() bool }
		for _, body := range []string{yes, no} {
			if err := tell(co, body); err == nil || errors.As(err, &permanent) && permanent.Permanent() {
				t.Errorf("before the first is read, %s: %v, want an error that passes", body, err)
			}
		}
		co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if got, err := s.Wait(t.Context(), co.Client(), "1"); err != nil || got.Approved != "ann" {
			t.Errorf("%+v, %v", got, err)
		}
		if err := tell(co, yes); err != nil {
			t.Errorf("the same again: %v", err)
		}
		if err := tell(co, no); !errors.Is(err, saga.ErrToken) || !errors.As(err, &permanent) || !permanent.Permanent() {
			t.Errorf("another: %v, want ErrToken, permanent", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// What comes from outside as a name is not kept at any length.
func TestLongNamesFromOutside(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s, co, token := asked(t, st, as[loan])
		c := co.Client()
		err := c.Signal(t.Context(), "1", long, "", nil)
		var permanent interface{ Permanent() bool }
		if !errors.Is(err, store.ErrInvalid) || !errors.As(err, &permanent) || !permanent.Permanent() || len(err.Error()) > 1000 {
			t.Errorf("signal: %.200v, want ErrInvalid, permanent and short", err)
		}
		if err := c.Fail(t.Context(), token, long, "no"); err != nil {
			t.Fatal(err)
		}
		co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		x, err := co.Client().Wait(t.Context(), "1")
		if err != nil || x.Cause == nil || len(x.Cause.Name) > 5000 {
			t.Errorf("the cause's name has %d bytes (%v)", len(x.Cause.Name), err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A task of an execution whose id is as long as may be, and of characters that JSON
// escapes, can be completed, too.
func TestTokenOfALongID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := make(chan string, 1)
		s := approval(tokens, as[loan])
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		id := strings.Repeat("&", store.MaxID)
		if _, err := s.Start(t.Context(), c, id, loan{}); err != nil {
			t.Fatal(err)
		}
		token := <-tokens
		if err := c.Complete(t.Context(), token, verdict{"ann"}); err != nil {
			t.Errorf("a token of %d bytes: %v", len(token), err)
		}
	})
}

// What is refused is named briefly, however long it is; and what is no id rings no
// bell.
func TestErrorsOfLongMessages(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		co, stop := run(t, saga.CoordinatorConfig{
			Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{approval(nil, as[loan])}, NotifyTo: []string{"here"},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		for _, body := range []string{
			`{"waybill":1,"start":"` + long + `","id":"1","input":{}}`,
			`{"waybill":1,"start":"loan","id":"` + long + `","input":7}`,
			`{"waybill":1,"start":"loan","id":"\u0001` + long + `","input":{}}`,
			`{"waybill":1,"start":"loan","id":"1","input":{},"replyTo":"` + long + `"}`,
			`{"waybill":1,"signal":"` + long + `","execution":"1"}`,
			`{"waybill":1,"signal":"go","execution":"\u0001` + long + `"}`,
			`{"waybill":1,"signal":"go","execution":"` + long + `"}`,
			`{"waybill":1,"signal":"go","execution":"1","id":"` + long + `"}`,
			`{"waybill":1,"complete":"` + long + `"}`,
			`{"waybill":1,"reply":"` + long + `"}`,
			`{"waybill":1,"reply":"do","execution":"1","step":"A","visit":1,"attempt":1,"outcome":"` + long + `"}`,
			`{"waybill":1,"reply":"do","execution":"` + long + `","step":"A","visit":1,"attempt":1,"outcome":"done"}`,
			`{"waybill":1,"` + long + `":"` + long + `"}`,
		} {
			if err := co.HandleMessage(message.NewMessage("m", message.Payload(body))); err == nil || len(err.Error()) > 1000 {
				t.Errorf("%.60s: %.200v", body, err)
			}
		}
		for _, field := range []string{"frame", "step", "commit", "key"} {
			body := `{"waybill":1,"reply":"do","execution":"1","step":"A","visit":1,"attempt":1,"outcome":"done","` + field + `":"` + long + `"}`
			var permanent interface{ Permanent() bool }
			if err := co.HandleMessage(message.NewMessage("m", message.Payload(body))); !errors.As(err, &permanent) || !permanent.Permanent() || len(err.Error()) > 1000 {
				t.Errorf("a long %s in a reply: %.200v, want it refused", field, err)
			}
		}
		for _, ring := range []string{long, "", "\x00", "\xff"} {
			if err := co.HandleRing(message.NewMessage("m", message.Payload(ring))); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if log.Len() > 0 {
			t.Errorf("it logs %.300s", log.String())
		}
	})
}
