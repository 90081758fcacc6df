package saga_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// FuzzHandleMessage gives a coordinator messages from anywhere, while one of its
// executions waits for a signal and a reply. What is refused is so for good, and
// what is taken leaves executions that can be read.
func FuzzHandleMessage(f *testing.F) {
	for _, seed := range []string{
		`{"waybill":1,"signal":"go","execution":"1","id":"s-1","payload":7}`,
		`{"waybill":1,"signal":"go","execution":"2"}`,
		`{"waybill":1,"reply":"do","key":"1/1/P:1/R/1/do","execution":"1","frame":"P:1","step":"R","visit":1,"attempt":1,"outcome":"done","result":8}`,
		`{"waybill":1,"reply":"do","execution":"1","frame":"P:1","step":"R","visit":1,"attempt":1,"outcome":"not done","error":"No","cause":"why","permanent":true}`,
		`{"waybill":1,"reply":"undo","execution":"none","step":"R","visit":1,"attempt":1,"outcome":"unknown"}`,
		`{"waybill":1,"complete":"eyJ4IjoiMSIsInMiOiJDIiwidiI6MSwiayI6InMifQ","result":{"ok":true}}`,
		`{"waybill":1,"fail":"eyJ4IjoiMSIsInMiOiJDIiwidiI6MSwiayI6InMifQ","error":"Refused"}`,
		`{"waybill":1,"heartbeat":"?"}`,
		`{"waybill":1,"start":"trip","id":"3","input":{}}`,
		`{"waybill":2}`, `{"waybill":1}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	s := saga.New("trip", saga.Parallel("P",
		saga.Branch("x", saga.Receive("G", "go", func(s *trip, n int) error { s.Log = append(s.Log, "go"); return nil })),
		saga.Branch("y", saga.Remote("R", "work", func(*trip) (int, error) { return 7, nil }, func(s *trip, n int) error { return nil }).UndoRemote()),
	).Merge(func(*trip, []trip) error { return nil }))
	f.Fuzz(func(t *testing.T, body []byte) {
		st := memstore.New(memstore.Config{Partitions: 1})
		c, err := saga.NewCoordinator(saga.CoordinatorConfig{
			Store: st, Sagas: []saga.Definer{s}, Publisher: &bell{}, ReplyTo: "replies",
			Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		err = c.HandleMessage(message.NewMessage("m-1", body))
		if err != nil && !permanent(err) {
			t.Errorf("%q: %v, which a retry would not cure", body, err)
		}
		if err == nil { // a repeat changes nothing, and may find its token used
			if err := c.HandleMessage(message.NewMessage("m-1", body)); err != nil && !permanent(err) {
				t.Errorf("%q is refused the second time: %v", body, err)
			}
		}
		ids := []string{"1"}
		var m struct{ ID string }
		if json.Unmarshal(body, &m) == nil && m.ID != "" {
			ids = append(ids, m.ID)
		}
		for _, id := range ids {
			x, err := c.Client().Get(t.Context(), id)
			if err != nil && id != "1" {
				continue
			}
			if err != nil || x.Unreadable != "" {
				t.Errorf("%q leaves %+v (%v)", body, x, err)
			}
			if _, err := c.Client().History(t.Context(), id); err != nil {
				t.Errorf("%q: %v", body, err)
			}
		}
	})
}

// FuzzCommand gives a participant commands from anywhere. What is no command is
// refused for good, and is not begun; what is one is replied to, once it is done or
// not, and a repeat is answered alike.
func FuzzCommand(f *testing.F) {
	for _, c := range []*message.Message{do(1), do(2), undo(1), do(1, func(c map[string]any) { c["input"] = "x" })} {
		var fields map[string]any
		if err := json.Unmarshal(c.Payload, &fields); err != nil {
			f.Fatal(err)
		}
		fields["notAfter"] = time.Now().Add(1000 * time.Hour).UnixMilli()
		body, err := json.Marshal(fields)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"waybill":1,"command":"do","key":"k","execution":"1","definition":"d","step":"Charge","visit":1,"attempt":1,"input":{},"notAfter":1,"replyTo":"r"}`))
	f.Add([]byte(`{"waybill":1,"command":"stop"}`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var replies []*message.Message
		ran := 0
		work := func() error { ran++; return nil }
		p, err := saga.NewParticipant(saga.ParticipantConfig{
			Records: memstore.New(memstore.Config{Partitions: 1}), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Publisher: publisher(func(_ string, m *message.Message) error { replies = append(replies, m); return nil }),
			Steps: []saga.Served{saga.Serve("Charge", func(context.Context, chargeRequest) (chargeResult, error) { return chargeResult{ID: "ch"}, work() }).
				Undo(func(context.Context, chargeRequest, saga.Outcome, *chargeResult) error { return work() })},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Handle(message.NewMessage("m-1", body)); err != nil {
			if !permanent(err) || ran > 0 || len(replies) > 0 {
				t.Errorf("%q: %v, after %d runs and %d replies", body, err, ran, len(replies))
			}
			return
		}
		was := ran
		if err := p.Handle(message.NewMessage("m-2", body)); err != nil || ran != was || len(replies) != 2 || !slices.Equal(replies[0].Payload, replies[1].Payload) {
			t.Errorf("%q came again: %v, %d runs after %d, replies %v", body, err, ran, was, replies)
			return
		}
		var asked, said struct {
			Key, Execution, Frame, Step string
			Visit, Attempt              int
			Outcome                     string
		}
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(replies[0].Payload, &said); err != nil {
			t.Fatal(err)
		}
		asked.Outcome = said.Outcome
		if said != asked || len(said.Key) > store.MaxID*100 {
			t.Errorf("%q is replied to with %+v", body, said)
		}
	})
}
