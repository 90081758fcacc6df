package dlq_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// SQS moves all messages, as they are, on every server that has move tasks.
func TestMove(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 5)
		s.queue("other", "", 0)
		s.send("fares-dlq", "a", "b", "c")
		if s.name == "moto" { // it has no move tasks
			if _, err := s.client(fares()).Move(s.Context(), dlq.MoveOptions{From: "fares-dlq", To: "other"}); err == nil || s.left("fares-dlq") != 3 {
				s.Errorf("without move tasks: %v", err)
			}
			return
		}
		seen := 0
		task, err := s.client(fares()).Move(s.Context(), dlq.MoveOptions{From: "fares-dlq", To: "other", Progress: func(queue.MoveTask) { seen++ }})
		if err != nil || task.Status != queue.MoveCompleted || task.Moved != 3 || seen == 0 {
			s.Fatalf("task %+v after %d looks, %v", task, seen, err)
		}
		if list, err := s.client(fares()).Moves(s.Context(), "fares-dlq"); err != nil || len(list) != 1 || list[0].Status != queue.MoveCompleted {
			s.Errorf("tasks %+v, %v", list, err)
		}
		if got := bodies(s.take("other")); len(got) != 3 || s.left("fares-dlq") != 0 {
			s.Errorf("moved: %v", got)
		}
	})
}

// A move takes its turn where there is a lease, is on record where there are
// records, and goes on when who watches it does not.
func TestMoveTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 40)
		s.queue("other", "", 0)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k)
		ctx, cancel := context.WithCancel(t.Context())
		opts := dlq.MoveOptions{From: "fares-dlq", To: "other", Rate: 1, Owner: "ada", Reason: "why", Progress: func(queue.MoveTask) {
			var held *store.JobHeldError
			if _, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); !errors.As(err, &held) || held.Owner != "ada" {
				t.Errorf("a redrive beside it: %v", err)
			}
			cancel()
		}}
		task, err := c.Move(ctx, opts)
		if !errors.Is(err, context.Canceled) || task.Status != queue.MoveRunning {
			t.Fatalf("task %+v, %v", task, err)
		}
		if _, err := c.CancelMove(t.Context(), "fares-dlq", "ben", "enough"); err != nil {
			t.Error(err)
		}
		if list, err := c.Moves(t.Context(), "fares-dlq"); err != nil || len(list) != 1 || list[0].Moved == 40 {
			t.Errorf("tasks %+v, %v", list, err)
		}
		records, _, err := k.ListAudit(t.Context(), s.attribute("fares-dlq", "QueueArn"), "", 10)
		if err != nil || len(records) != 3 {
			t.Fatalf("%d records, %v", len(records), err)
		}
		var begin dlq.AuditEntry
		if err := json.Unmarshal(records[2].Body, &begin); err != nil || begin.Verb != dlq.AuditMove || begin.By != "ada" || begin.Reason != "why" {
			t.Errorf("record %s, %v", records[2].Body, err)
		}
	})
}

// An interruptedMover is interrupted while it has SQS start a task.
type interruptedMover struct {
	*sqs.Client
	interrupt func()
}

func (m interruptedMover) StartMessageMoveTask(ctx context.Context, in *sqs.StartMessageMoveTaskInput, opts ...func(*sqs.Options)) (*sqs.StartMessageMoveTaskOutput, error) {
	m.interrupt()
	return m.Client.StartMessageMoveTask(ctx, in, opts...)
}

// Who is interrupted while a move begins knows that it does.
func TestMoveInterruptedAtItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 3)
		s.queue("other", "", 0)
		ctx, cancel := context.WithCancel(t.Context())
		admin, err := queue.NewAdmin(queue.AdminConfig{SQS: interruptedMover{s.sqs, cancel}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := dlq.New(dlq.Config{Queues: admin})
		if err != nil {
			t.Fatal(err)
		}
		task, err := c.Move(ctx, dlq.MoveOptions{From: s.full("fares-dlq"), To: s.full("other"), Rate: 1})
		if !errors.Is(err, context.Canceled) || task.Handle == "" || task.Status != queue.MoveRunning {
			t.Errorf("task %+v, %v", task, err)
		}
	})
}

func TestMoveUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 1)
		c := s.client(fares())
		for name, opts := range map[string]dlq.MoveOptions{
			"no destination": {From: "fares-dlq"},
			"too fast":       {From: "fares-dlq", To: "fares", Rate: 501},
			"no queue":       {From: "fares-dlq", To: "none"},
			"to itself":      {From: "fares-dlq", To: "fares-dlq"},
			"no dead letter": {From: "fares", To: "fares-dlq"},
		} {
			if _, err := c.Move(t.Context(), opts); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if _, err := c.CancelMove(t.Context(), "fares-dlq", "ada", ""); !errors.Is(err, queue.ErrNoMove) {
			t.Errorf("nothing runs: %v", err)
		}
		if n := s.left("fares-dlq"); n != 1 {
			t.Errorf("%d messages are left", n)
		}
	})
}
