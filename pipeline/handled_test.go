package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A till charges fares, and counts how often it did.
type till struct {
	*stack
	records *memstore.Store
	client  *dlq.Client
	charged []string // bodies, in order
	fails   error    // why it does not
}

// newTill returns an idempotent filter that runs.
func newTill(t *testing.T) *till {
	s := &till{stack: newStack(t, endpoint("in"), endpoint("out")), records: memstore.New(memstore.Config{})}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws(nil), Endpoints: s.endpoints})
	if err != nil {
		t.Fatal(err)
	}
	if s.client, err = dlq.New(dlq.Config{Queues: admin, Jobs: s.records, Audit: s.records, Records: s.records}); err != nil {
		t.Fatal(err)
	}
	p := s.process().pipeline()
	p.Handle("charge", pipeline.Messages(func(_ context.Context, in pipeline.Msg[fare]) ([]pipeline.Msg[string], error) {
		if s.fails != nil {
			return nil, s.fails
		}
		s.charged = append(s.charged, in.Body.ID)
		return []pipeline.Msg[string]{{Body: fmt.Sprint("receipt ", len(s.charged))}}, nil
	}), pipeline.From("in"), pipeline.To("out"), pipeline.Use(pipeline.Idempotent(store.Once{Records: s.records})))
	s.start(p)
	return s
}

// handleAndDie has a message handled, though its deletes fail, until SQS itself moves
// it to the dead-letter queue, and returns what was published.
func (s *till) handleAndDie(attributes ...string) found {
	s.Helper()
	mend := s.faulty("DeleteMessageBatch", "in", emulator.Fault{Err: errInternal})
	s.send("in", `{"id":"f1"}`, attributes...)
	settle(time.Hour)
	mend()
	if n := s.left("in-dlq"); n != 1 || len(s.charged) != 1 {
		s.Fatalf("the dead-letter queue holds %d messages, after %d charges", n, len(s.charged))
	}
	all := s.take("out")
	if len(all) == 0 {
		s.Fatal("nothing was published")
	}
	return all[0]
}

// dropped checks that the message was not handled again, and was answered with what
// was published when it was.
func (s *till) dropped(what string, first found) {
	s.Helper()
	settle(time.Minute)
	if len(s.charged) != 1 || s.left("in") != 0 || s.left("in-dlq") != 0 {
		s.Errorf("%s: %d charges, %d messages left, %d dead", what, len(s.charged), s.left("in"), s.left("in-dlq"))
	}
	if again := s.one("out"); again.uuid() != first.uuid() || again.body != first.body || again.body != `"receipt 1"` {
		s.Errorf("%s: published was %v, and at first %v", what, again, first)
	}
}

// What was handled, and became a dead letter because its deletes failed, is dropped
// by its receiver when it is redriven, and answered with the stored result: with an
// id of its writer's or without.
func TestRedrivenThatWasHandledIsDropped(t *testing.T) {
	for name, attributes := range map[string][]string{"an id of its own": {queue.AttrUUID, "m1"}, "none but SQS's": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTill(t)
				first := s.handleAndDie(attributes...)
				r, err := s.client.Redrive(t.Context(), dlq.Options{From: "in-dlq"})
				if err != nil || r.Sent != 1 {
					t.Fatalf("%s, %v", asJSON(t, r), err)
				}
				s.dropped("redriven", first)
			})
		})
	}
}

// So is one that was exported, lost and imported.
func TestImportedThatWasHandledIsDropped(t *testing.T) {
	for _, to := range []string{"in-dlq", "in"} {
		for name, attributes := range map[string][]string{"an id of its own": {queue.AttrUUID, "m1"}, "none but SQS's": nil} {
			t.Run(to+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newTill(t)
					first := s.handleAndDie(attributes...)
					var archive bytes.Buffer
					if r, err := s.client.Export(t.Context(), "in-dlq", &archive, dlq.ExportOptions{}); err != nil || r.Written != 1 {
						t.Fatalf("%+v, %v", r, err)
					}
					s.one("in-dlq")
					for range 2 { // the second one does nothing
						if _, err := s.client.Import(t.Context(), to, bytes.NewReader(archive.Bytes()), dlq.ImportOptions{Records: s.records}); err != nil {
							t.Fatal(err)
						}
					}
					if to == "in-dlq" {
						if r, err := s.client.Redrive(t.Context(), dlq.Options{From: "in-dlq"}); err != nil || r.Sent != 1 {
							t.Fatalf("%s, %v", asJSON(t, r), err)
						}
					}
					s.dropped("imported", first)
				})
			})
		}
	}
}

// What failed is handled when it is redriven as it was edited, although its id was
// seen, and when it was exported and imported; once, however often it comes.
func TestRedrivenThatFailedIsHandled(t *testing.T) {
	for name, back := range map[string]func(*till) error{
		"edited": func(s *till) error {
			edit, err := dlq.ParseEdit(`.body.id = "f2"`)
			if err != nil {
				return err
			}
			r, err := s.client.Redrive(s.Context(), dlq.Options{From: "in-dlq", Edit: edit.Apply})
			if err == nil && (r.Sent != 1 || r.Edited != 1) {
				err = fmt.Errorf("%+v", r)
			}
			return err
		},
		"imported": func(s *till) error {
			var archive bytes.Buffer
			if _, err := s.client.Export(s.Context(), "in-dlq", &archive, dlq.ExportOptions{}); err != nil {
				return err
			}
			s.one("in-dlq")
			text := bytes.ReplaceAll(archive.Bytes(), []byte("f1"), []byte("f2")) // as an editor does
			if _, err := s.client.Import(s.Context(), "in-dlq", bytes.NewReader(text), dlq.ImportOptions{Records: s.records}); err != nil {
				return err
			}
			_, err := s.client.Redrive(s.Context(), dlq.Options{From: "in-dlq"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTill(t)
				s.fails = pipeline.Permanent(errDeclined)
				s.send("in", `{"id":"f1"}`, queue.AttrUUID, "m1")
				settle(time.Minute)
				if n := s.left("in-dlq"); n != 1 {
					t.Fatalf("the dead-letter queue holds %d messages", n)
				}
				s.fails = nil
				if err := back(s); err != nil {
					t.Fatal(err)
				}
				settle(time.Minute)
				if len(s.charged) != 1 || s.charged[0] != "f2" || s.left("in-dlq") != 0 {
					t.Fatalf("charged was %q", s.charged)
				}
				first := s.one("out")
				s.send("in", `{"id":"f2"}`, queue.AttrUUID, "m1") // a duplicate, as a crash of the redrive leaves it
				s.dropped("a duplicate", first)
			})
		})
	}
}
