package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A state that is too large starts nothing: no step has its effect before it
// shows.
func TestInputTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		var j journal
		s := saga.New("trip", saga.Do("A", j.do("A")))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, MaxState: 1000})
		client, err := saga.NewClient(saga.ClientConfig{Store: st, MaxState: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []*saga.Client{c, client} {
			_, err := s.Start(t.Context(), c, "1", trip{Log: []string{strings.Repeat("x", 1000)}})
			var size *saga.StateSizeError
			if !errors.As(err, &size) || size.Limit != 1000 || !strings.Contains(err.Error(), `start "1" of saga "trip": the input has 1012 bytes, at most 1000 are allowed`) {
				t.Errorf("got %v", err)
			}
		}
		if len(j.all()) > 0 {
			t.Errorf("it ran: %q", j.all())
		}
	})
}

type cents struct{ Cents int64 }

func (c *cents) Validate() error {
	if c.Cents <= 0 {
		return errors.New("cents must be positive")
	}
	return nil
}

// A message without an input, or with one that its type refuses, starts
// nothing, and its sender is told.
func TestInputIsChecked(t *testing.T) {
	s := saga.New("fare", saga.Do("A", func(context.Context, *cents) error { return nil }))
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
	if err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{
		`null`:            "it is null, want the JSON of a saga_test.cents",
		` null `:          "it is null",
		`{}`:              "cents must be positive",
		`{"Cent": 2000}`:  "cents must be positive",
		`{"Cents": "20"}`: "cannot unmarshal string",
		`{"Cents": 2000}`: "",
	} {
		msg := message.NewMessage("m", message.Payload(`{"waybill": 1, "start": "fare", "id": "1", "input": `+input+`}`))
		err := c.HandleStart(msg)
		var permanent interface{ Permanent() bool }
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", input, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &permanent) || !permanent.Permanent()):
			t.Errorf("%s: %v, want %q, permanent", input, err, want)
		}
	}
	if _, err := s.Start(t.Context(), c.Client(), "2", cents{}); err == nil || !strings.Contains(err.Error(), "cents must be positive") {
		t.Errorf("started by a call: %v", err)
	}
}

// The same start comes again when the state's type has gained a field: it is
// the same execution still.
func TestStartAgainAfterTheTypeHasGrown(t *testing.T) {
	type v1 struct{ Cents int64 }
	type v2 struct {
		Cents int64
		Tip   int64
	}
	st := memstore.New(memstore.Config{})
	one := saga.New("fare", saga.Do("A", func(context.Context, *v1) error { return nil }))
	two := saga.New("fare", saga.Do("A", func(context.Context, *v2) error { return nil }))
	client := outsider(t, st)
	if created, err := one.Start(t.Context(), client, "1", v1{Cents: 2000}); err != nil || !created {
		t.Fatal(created, err)
	}
	if created, err := two.Start(t.Context(), client, "1", v2{Cents: 2000}); err != nil || created {
		t.Errorf("the same input: %v, %v", created, err)
	}
	if _, err := two.Start(t.Context(), client, "1", v2{Cents: 2000, Tip: 1}); !errors.Is(err, store.ErrExists) {
		t.Errorf("another input: %v, want ErrExists", err)
	}
	if _, err := saga.New("tour", saga.Do("A", func(context.Context, *v2) error { return nil })).
		Start(t.Context(), client, "1", v2{Cents: 2000}); !errors.Is(err, store.ErrExists) {
		t.Errorf("another definition: %v, want ErrExists", err)
	}
}

func TestIDsCanBeRead(t *testing.T) {
	s := saga.New("trip", saga.Do("A", nothing))
	client := outsider(t, memstore.New(memstore.Config{}))
	for _, id := range []string{"a\nb", "\x1b[31m", "\xff", "a\x00"} {
		if _, err := s.Start(t.Context(), client, id, trip{}); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), "control characters") {
			t.Errorf("id %q: %v, want ErrInvalid", id, err)
		}
	}
	if _, err := s.Start(t.Context(), client, "ride 4711/ünï code", trip{}); err != nil {
		t.Error(err)
	}
}

func TestStatusError(t *testing.T) {
	err := errors.New("answer")
	if saga.StatusError(http.StatusNoContent, err) != nil {
		t.Error("a success is an error")
	}
	synctest.Test(t, func(t *testing.T) {
		for status, want := range map[int]string{
			429: "retried, not undone", 502: "retried, undone", 503: "retried, undone", 408: "retried, undone", 402: "not undone", 302: "not undone",
		} {
			var j journal
			s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error {
				j.add("do")
				return saga.StatusError(status, nil)
			}).Undo(j.undo("A")).Retry(saga.Retry{Attempts: 2, Initial: time.Millisecond}))
			c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
			_, err := s.Run(t.Context(), c, "1", trip{})
			if err == nil || !strings.Contains(err.Error(), "HTTP status") {
				t.Errorf("%d: %v", status, err)
			}
			got := "not undone"
			lines := strings.Join(j.all(), " ")
			if strings.Contains(lines, "undo A unknown") {
				got = "undone"
			}
			if strings.HasPrefix(lines, "do do") {
				got = "retried, " + got
			}
			if got != want {
				t.Errorf("%d: %s (%s), want %s", status, got, lines, want)
			}
		}
	})
}

// One execution that cannot be read hides no other, and what is known of it is
// shown.
func TestUnreadableExecutions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		s := saga.New("trip", saga.Do("A", nothing))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "good", trip{}); err != nil {
			t.Fatal(err)
		}
		for id, meta := range map[string]string{"meta": "\xff", "frame": `{"d":"trip","v":"1","i":1}`} {
			if _, err := st.Start(t.Context(), store.StartRequest{
				ID: id, Match: "m", Meta: []byte(meta), Status: "completed", Index: "completed:trip", Root: []byte("garbage"), Commit: "c", Wake: time.Hour,
			}); err != nil {
				t.Fatal(err)
			}
			x, err := c.Get(t.Context(), id)
			var read *saga.ReadError
			if !errors.As(err, &read) || read.ID != id || !strings.Contains(err.Error(), "Codec") || !strings.Contains(err.Error(), id) {
				t.Errorf("%s: %v, want a ReadError that names it", id, err)
			}
			if x == nil || x.ID != id || x.Status != saga.Completed || x.Started.IsZero() || x.Unreadable == "" {
				t.Errorf("%s: %+v", id, x)
			}
		}
		list, err := c.List(t.Context(), saga.Query{})
		if err != nil || len(list) != 3 {
			t.Fatalf("%d executions (%v), want 3", len(list), err)
		}
		for _, x := range list {
			if x.Definition != "trip" || x.Status != saga.Completed || (x.Unreadable == "") != (x.ID == "good") {
				t.Errorf("listed as %+v", x)
			}
		}
		if _, err := c.History(t.Context(), "meta"); err == nil {
			t.Error("the history of what cannot be read: no error")
		}
	})
}

// Records of another format are said to be that, and not guessed at.
func TestReadOfAnotherFormat(t *testing.T) {
	st := memstore.New(memstore.Config{})
	s := saga.New("trip", saga.Do("A", nothing))
	if _, err := s.Start(t.Context(), outsider(t, st), "1", trip{}); err != nil {
		t.Fatal(err)
	}
	client, err := saga.NewClient(saga.ClientConfig{Store: later{st}})
	if err != nil {
		t.Fatal(err)
	}
	var format *store.FormatError
	if x, err := client.Get(t.Context(), "1"); !errors.As(err, &format) || format.Got != "2" || x == nil || x.Status != saga.Running {
		t.Errorf("%+v, %v, want a FormatError, and the status", x, err)
	}
}

// later is a store whose records are of a later release.
type later struct{ *memstore.Store }

func (l later) Get(ctx context.Context, id string) (*store.Record, error) {
	r, err := l.Store.Get(ctx, id)
	if err == nil {
		r.Version, r.Root = 2, json.RawMessage(`"other"`)
	}
	return r, err
}
