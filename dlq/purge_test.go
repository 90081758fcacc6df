package dlq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

func filter(t testing.TB, text string) *dlq.Filter {
	t.Helper()
	f, err := dlq.ParseFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A purge archives what it deletes, and an import brings that back.
func TestPurge(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		for i := range 23 {
			s.bury("fares-dlq", fmt.Sprint("m", i), fmt.Sprintf(`{"amount":%d}`, i), "fares")
		}
		c := s.client(fares())
		var out bytes.Buffer
		opts := dlq.PurgeOptions{Filter: filter(s, `.body.amount < 20`), Archive: &out, DryRun: true}
		r, err := c.Purge(s.Context(), "fares-dlq", opts)
		if err != nil || r.WouldDelete != 20 || r.Deleted != 0 || r.Filtered != 3 || r.Seen != 23 || out.Len() > 0 || s.left("fares-dlq") != 23 {
			s.Fatalf("dry run: %+v, %v", r, err)
		}
		opts.DryRun = false
		if r, err = c.Purge(s.Context(), "fares-dlq", opts); err != nil || r.Deleted != 20 || r.Archived != 20 || r.WouldDelete != 0 {
			s.Fatalf("%+v, %v", r, err)
		}
		if n := s.visible("fares-dlq"); n != "3" {
			s.Errorf("%s messages can be received, want 3", n)
		}
		if all := linesOf(s, out.String()); len(all) != 20 {
			s.Errorf("%d lines, want 20", len(all))
		}
		ir, err := c.Import(s.Context(), "fares-dlq", &out, dlq.ImportOptions{Records: newRecords()})
		if err != nil || ir.Sent != 20 {
			s.Errorf("%+v, %v", ir, err)
		}
		ids := map[string]bool{}
		for _, f := range s.take("fares-dlq") {
			ids[f.uuid()] = f.attributes[queue.KeyFailure] != ""
		}
		for i := range 23 {
			if !ids[fmt.Sprint("m", i)] {
				s.Errorf("m%d is not there, or without its record", i)
			}
		}
	})
}

// Without a filter, a purge wants the queue's name.
func TestPurgeAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 3)
		for i := range 250 {
			s.send("fares-dlq", fmt.Sprint(i))
		}
		c := s.client(fares())
		for i, opts := range []dlq.PurgeOptions{
			{}, {All: "fares-dlq"}, {All: s.full("fares")}, {DryRun: true}, {Filter: filter(t, "true"), All: s.full("fares-dlq")}, {All: s.full("fares-dlq"), Limit: -1},
		} {
			if r, err := c.Purge(t.Context(), "fares-dlq", opts); err == nil || i < 4 && !errors.Is(err, dlq.ErrPurgeAll) {
				t.Errorf("%d: %+v, %v", i, r, err)
			}
		}
		if _, err := c.Purge(t.Context(), "fares", dlq.PurgeOptions{All: s.full("fares")}); !errors.Is(err, dlq.ErrCounts) {
			t.Errorf("a queue with a redrive policy: %v", err)
		}
		r, err := c.Purge(t.Context(), "fares-dlq", dlq.PurgeOptions{All: s.full("fares-dlq"), Limit: 20})
		if err != nil || r.Deleted != 20 || s.left("fares-dlq") != 230 || s.visible("fares-dlq") != "230" {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err = c.Purge(t.Context(), "fares-dlq", dlq.PurgeOptions{All: s.full("fares-dlq")}); err != nil || r.Deleted != 230 || s.left("fares-dlq") != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// Nothing is deleted that the archive does not have.
func TestPurgeArchiveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		for i := range 60 {
			s.send("fares-dlq", fmt.Sprint(i))
		}
		full := errors.New("disk full")
		for _, a := range []*syncing{{failWrite: 2, err: full}, {failSync: 2, err: full}} {
			before := s.left("fares-dlq")
			r, err := s.client(fares()).Purge(t.Context(), "fares-dlq", dlq.PurgeOptions{All: s.full("fares-dlq"), Archive: a})
			if !errors.Is(err, full) || r.Deleted > a.synced || r.Deleted != before-s.left("fares-dlq") || r.Deleted == before {
				t.Errorf("%+v, %v; %d lines are on disk", r, err, a.synced)
			}
			if n := s.visible("fares-dlq"); n != fmt.Sprint(s.left("fares-dlq")) {
				t.Errorf("%s messages can be received, of %d", n, s.left("fares-dlq"))
			}
		}
	})
}

// A syncing archive fails at some call.
type syncing struct {
	failWrite, failSync int
	err                 error

	writes, syncs, written, synced int
}

func (a *syncing) Write(p []byte) (int, error) {
	if a.writes++; a.writes == a.failWrite {
		return 0, a.err
	}
	a.written += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

func (a *syncing) Sync() error {
	if a.syncs++; a.syncs == a.failSync {
		return a.err
	}
	a.synced = a.written
	return nil
}

// What cannot be deleted stays, and is told of.
func TestPurgeDeleteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		for i := range 20 {
			s.send("fares-dlq", fmt.Sprint(i))
		}
		bad := &emulator.Error{Code: "ReceiptHandleIsInvalid"}
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "DeleteMessageBatch" {
				f.FailEntry = func(e emulator.Entry) *emulator.Error {
					if strings.HasSuffix(e.ID, "3") {
						return bad
					}
					return nil
				}
			}
			return f
		})
		r, err := s.client(fares()).Purge(t.Context(), "fares-dlq", dlq.PurgeOptions{All: s.full("fares-dlq")})
		var failed *dlq.PurgeError
		if !errors.As(err, &failed) || r.Failed != 2 || r.Deleted != 18 || r.Failures[0].Stage != dlq.StageDelete || r.Failures[0].Error == "" {
			t.Errorf("%+v, %v", r, err)
		}
		if n := s.visible("fares-dlq"); n != "2" {
			t.Errorf("%s messages can be received, want 2", n)
		}
		for i := range 300 {
			s.send("fares-dlq", fmt.Sprint(i))
		}
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "DeleteMessageBatch" {
				f.Err = &emulator.Error{Code: "AccessDenied", Status: 403}
			}
			return f
		})
		var out bytes.Buffer
		r, err = s.client(fares()).Purge(t.Context(), "fares-dlq", dlq.PurgeOptions{All: s.full("fares-dlq"), Archive: &out})
		if errors.As(err, &failed) || !errors.Is(err, queue.ErrAccess) || r.Archived > 150 {
			t.Errorf("%+v, %v; want it to give up", r, err)
		}
	})
}

// When the context ends, what is archived is deleted, and the rest returned.
func TestPurgeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		for i := range 200 {
			s.send("fares-dlq", fmt.Sprint(i))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		var out bytes.Buffer
		r, err := s.client(fares()).Purge(ctx, "fares-dlq", dlq.PurgeOptions{
			All: s.full("fares-dlq"), Archive: &out, Progress: func(dlq.PurgeReport) { cancel(errOperator) },
		})
		if !errors.Is(err, errOperator) || r.Deleted < 10 || r.Deleted != r.Archived || r.Deleted != 200-s.left("fares-dlq") || len(linesOf(t, out.String())) != r.Deleted {
			t.Errorf("%+v, %v", r, err)
		}
		if n := s.visible("fares-dlq"); n != fmt.Sprint(200-r.Deleted) {
			t.Errorf("%s messages can be received", n)
		}
	})
}

// Messages of a FIFO queue come forward as others of their group are deleted.
func TestPurgeFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.fifo("dead.fifo")
		for i := range 35 {
			if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
				QueueUrl: s.url("dead.fifo"), MessageBody: aws.String(fmt.Sprint(i)), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String(fmt.Sprint(i)),
			}); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		r, err := s.client().Purge(t.Context(), "dead.fifo", dlq.PurgeOptions{All: s.full("dead.fifo"), Archive: &out})
		if err != nil || r.Deleted != 35 || s.left("dead.fifo") != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		for i, l := range linesOf(t, out.String()) {
			if l["body"] != fmt.Sprint(i) || l["group"] != "g" || l["deduplication_id"] != fmt.Sprint(i) {
				t.Errorf("line %d: %v", i+1, l)
			}
		}
	})
}
