package saga_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// sealer is a Codec that encrypts.
type sealer struct{ cipher.AEAD }

func newSealer(t *testing.T) sealer {
	block, err := aes.NewCipher(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return sealer{aead}
}

func (s sealer) Encode(plain []byte) ([]byte, error) {
	nonce := make([]byte, s.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return s.Seal(nonce, nonce, plain, nil), nil
}

func (s sealer) Decode(stored []byte) ([]byte, error) {
	if len(stored) < s.NonceSize() {
		return nil, errors.New("too short")
	}
	return s.Open(nil, stored[:s.NonceSize()], stored[s.NonceSize():], nil)
}

// With a codec nothing that a saga keeps is readable in the store, and all of
// it comes back.
func TestCodec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		codec := newSealer(t)
		s := saga.New("trip",
			saga.Do("A", func(_ context.Context, s *trip) error {
				s.Log = append(s.Log, "secret A")
				return nil
			}).Undo(func(_ context.Context, s *trip, _ saga.Outcome) error {
				if !slices.Equal(s.Log, []string{"secret input", "secret A"}) {
					t.Errorf("the undo sees %v", s.Log)
				}
				return nil
			}),
			saga.Do("B", func(_ context.Context, s *trip) error {
				s.Log = append(s.Log, "secret B")
				return nil
			}).Undo(func(ctx context.Context, s *trip, _ saga.Outcome) error {
				if saga.StepFrom(ctx).Attempt == 1 {
					return saga.Permanent(errors.New("secret trouble"))
				}
				return nil
			}),
			saga.Do("C", func(context.Context, *trip) error { return saga.Permanent(errors.New("secret refusal")) }),
		)
		b := &bell{}
		b.fail = func(n int) error {
			if n == 1 {
				return errors.New("away")
			}
			return nil
		}
		coordinator := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Codec: codec, Publisher: b})
		client, err := saga.NewClient(saga.ClientConfig{Store: st, Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		unreadable := func() {
			t.Helper()
			r, err := st.Get(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			entries, err := st.History(t.Context(), "1", 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, data := range append(entries, r.Meta, r.Root, r.Outbox) {
				if bytes.Contains(data, []byte("secret")) {
					t.Errorf("readable: %q", data)
				}
			}
		}
		if _, err := s.Run(t.Context(), client, "1", trip{Log: []string{"secret input"}}, saga.NotifyTo("ends")); !errors.Is(err, saga.ErrBlocked) || !strings.Contains(err.Error(), "secret trouble") {
			t.Errorf("Run: %v", err)
		}
		unreadable()
		if err := client.Retry(t.Context(), "1", saga.Order{Note: "secret note"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), coordinator, "1"); !errors.Is(err, saga.ErrCompensated) || !strings.Contains(err.Error(), "secret refusal") {
			t.Errorf("Wait: %v", err)
		}
		unreadable() // with the notice in the outbox
		time.Sleep(time.Minute)
		if b.count() != 1 || !bytes.Contains(b.messages[0].Payload, []byte("secret A")) {
			t.Errorf("%d notices", b.count())
		}
		h, err := client.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, e := range h {
			if e.State != nil || e.Note != "" {
				told = append(told, string(e.State)+e.Note)
			}
		}
		if want := []string{
			`{"Log":["secret input"]}`, `{"Log":["secret input","secret A"]}`, `{"Log":["secret input","secret A","secret B"]}`, "secret note",
		}; !slices.Equal(told, want) {
			t.Errorf("the history tells %q, want %q", told, want)
		}

		// Without the codec, or with another, there is an error and no nonsense.
		if _, err := outsider(t, st).Get(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), `"1"`) {
			t.Errorf("without the codec: %v", err)
		}
	})
}

// Mail of a kind that only a later release knows is left to one: this worker
// gives the execution back, and takes what it understands no further than that.
func TestMailOfALaterRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
			time.Sleep(5 * time.Second)
			return errors.New("flaky")
		}).Retry(saga.Retry{Initial: time.Hour, Max: time.Hour}).ReadOnly(), saga.Do("B", nothing))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Logger: slog.New(slog.DiscardHandler)})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := st.Post(t.Context(), store.PostRequest{ID: "1", MailID: "m", Body: []byte(`{"k":"of a later release"}`), Limit: 10}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		x, err := c.Get(t.Context(), "1")
		if err != nil || x.UnreadMail != 1 || x.Attempt != 2 {
			t.Errorf("after five minutes: %+v (%v), want the mail unread, and the first attempt on record", x, err)
		}
		if n := count(t, c, "1", saga.TaskTimedOut); n != 0 {
			t.Errorf("%d attempts are taken for lost", n)
		}
		time.Sleep(10 * time.Minute)
		if x, err := c.Get(t.Context(), "1"); err != nil || x.UnreadMail != 0 || count(t, c, "1", saga.MailDiscarded) != 1 {
			t.Errorf("after a quarter of an hour: %+v (%v), want the mail set aside", x, err)
		}
	})
}

// Mail that cannot be read is noted, and is in nobody's way.
func TestMailThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { time.Sleep(5 * time.Second); return nil }))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		for i, body := range []string{"", "?", "\xff", `{"k":7}`, `{"k":"nonsense"}`, `{}`} {
			if _, err := st.Post(t.Context(), store.PostRequest{ID: "1", MailID: fmt.Sprint(i), Body: []byte(body), Limit: 10}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Wait(t.Context(), c, "1"); err != nil {
			t.Error(err)
		}
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		var bodies []string
		for _, e := range h {
			if e.Type == saga.MailDiscarded {
				bodies = append(bodies, e.Note)
			}
		}
		if want := []string{"", "?", "\uFFFD", `{"k":7}`, `{"k":"nonsense"}`, `{}`}; !slices.Equal(bodies, want) {
			t.Errorf("the mails %q are noted in the history, want %q", bodies, want)
		}
	})
}
