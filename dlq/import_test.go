package dlq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

func newRecords() *memstore.Store { return memstore.New(memstore.Config{}) }

// archive returns n lines of an export.
func archive(n int, more string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"v":1,"id":"m%[1]d","message_id":"sqs-%[1]d","encoding":"text","body":"%[1]d","attributes":{}%[2]s}`+"\n", i, more)
	}
	return b.String()
}

func importing(t *testing.T, s *server, to, text string, opts dlq.ImportOptions) (dlq.ImportReport, error) {
	t.Helper()
	return s.client().Import(t.Context(), s.full(to), strings.NewReader(text), opts)
}

// A line is imported once, however often, and however it is sent: by its ID, its
// queue and what it says.
func TestImportOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		records := newRecords()
		text := archive(25, "") + "\n \r\n" + archive(25, "") // the same lines again
		for i, tt := range []struct {
			to, text, id string
			sent, known  int
		}{
			{"a", text, "", 25, 25},
			{"a", text, "", 0, 50},
			{"a", strings.ReplaceAll(text, `"attributes":{}`, `"attributes":{},"receive_count":9,"queue":"other"`), "", 0, 50},
			{"a", strings.Replace(text, `"body":"7"`, `"body":"seven"`, 1), "", 1, 49},
			{"b", text, "", 25, 25},
			{"a", text, "second", 25, 25},
		} {
			r, err := importing(t, s, tt.to, tt.text, dlq.ImportOptions{Records: records, ID: tt.id})
			if err != nil || r.Lines != 50 || r.Sent != tt.sent || r.Skipped != tt.known || r.Failed+r.Unsure+r.Unnamed > 0 {
				t.Errorf("%d: %+v, %v", i, r, err)
			}
		}
		if got := s.take("b"); len(got) != 25 || !strings.HasPrefix(got[0].uuid(), "m") {
			t.Errorf("%d messages, %+v", len(got), got)
		}
	})
}

// After a retention, the records know nothing.
func TestImportRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		opts := dlq.ImportOptions{Records: newRecords(), Retention: time.Hour}
		for _, want := range []int{1, 0, 1} {
			if r, err := importing(t, s, "a", archive(1, ""), opts); err != nil || r.Sent != want {
				t.Errorf("%+v, %v; want %d sent", r, err, want)
			}
			time.Sleep(40 * time.Minute)
		}
	})
}

// A records is a store that fails.
type records struct {
	store.Idempotency
	complete func(store.Completion) error
}

func (r records) Complete(ctx context.Context, c store.Completion) error {
	if err := r.complete(c); err != nil {
		return err
	}
	return r.Idempotency.Complete(ctx, c)
}

// Where an import died between the queue's answer and the record, the next one
// waits for its claims, sends again, and says so.
func TestImportUnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		st := newRecords()
		gone := errors.New("the store is gone")
		var calls atomic.Int32
		dying := records{st, func(store.Completion) error {
			if calls.Add(1) > 3 {
				return gone
			}
			return nil
		}}
		r, err := importing(t, s, "a", archive(10, ""), dlq.ImportOptions{Records: dying})
		if !errors.Is(err, gone) || !strings.Contains(err.Error(), "sends it again") || r.Sent != 10 {
			t.Errorf("%+v, %v", r, err)
		}
		began := time.Now()
		r, err = importing(t, s, "a", archive(10, ""), dlq.ImportOptions{Records: st})
		if err != nil || r.Skipped != 3 || r.Sent != 7 || r.Unsure != 7 {
			t.Errorf("%+v, %v", r, err)
		}
		if took := time.Since(began); took < 55*time.Second || took > 65*time.Second {
			t.Errorf("it took %v, want a minute", took)
		}
		ids := map[string]int{}
		for _, f := range s.take("a") {
			ids[f.uuid()]++
		}
		if len(ids) != 10 {
			t.Errorf("got %v", ids)
		}
	})
}

// What the queue does not take fails, and is taken up by the next import.
func TestImportRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		opts := dlq.ImportOptions{Records: newRecords()}
		bad := &emulator.Error{Code: "AccessDenied", Status: 403}
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "SendMessageBatch" {
				f.Err = bad
			}
			return f
		})
		r, err := importing(t, s, "a", archive(25, ""), opts)
		var failed *dlq.ImportError
		if !errors.As(err, &failed) || !errors.Is(err, queue.ErrAccess) || r.Failed != 25 || r.Sent != 0 || r.Failures[0].Unknown {
			t.Errorf("%+v, %v", r, err)
		}
		r, err = importing(t, s, "a", archive(500, ""), opts)
		if errors.As(err, &failed) || !errors.Is(err, queue.ErrAccess) || r.Lines >= 200 {
			t.Errorf("%d lines, %v; want it to give up", r.Lines, err)
		}
		s.faulty(func(string, string, int64) (f emulator.Fault) { return f })
		began := time.Now()
		if r, err = importing(t, s, "a", archive(25, ""), opts); err != nil || r.Sent != 25 {
			t.Errorf("%+v, %v", r, err)
		}
		if time.Since(began) > 10*time.Second {
			t.Errorf("it took %v: the claims were not given back", time.Since(began))
		}
	})
}

// A bad line ends an import, which has sent what was before it; a dry run tells
// of all.
func TestImportBadLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		text := strings.Replace(archive(5, ""), `"body":"3"`, `"bodi":"3"`, 1)
		text = strings.Replace(text, `"encoding":"text","body":"4"`, `"encoding":"hex","body":"4"`, 1)
		records := newRecords()
		r, err := importing(t, s, "a", text, dlq.ImportOptions{DryRun: true})
		var failed *dlq.ImportError
		if !errors.As(err, &failed) || r.WouldSend != 3 || r.Sent != 0 || r.Failed != 2 || r.Lines != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
		if f := r.Failures; f[0].Line != 4 || f[0].Field != "bodi" || f[1].Line != 5 || f[1].Field != "body" {
			t.Errorf("%+v, %+v", f[0], f[1])
		}
		if n := s.visible("a"); n != "0" {
			t.Errorf("%s messages after a dry run", n)
		}
		r, err = importing(t, s, "a", text, dlq.ImportOptions{Records: records})
		if !errors.As(err, &failed) || r.Sent != 3 || r.Failed != 1 || r.Lines != 4 || !strings.Contains(err.Error(), "line 4: bodi: there is no such field") {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err = importing(t, s, "a", archive(5, ""), dlq.ImportOptions{Records: records}); err != nil || r.Sent != 2 || r.Skipped != 3 {
			t.Errorf("%+v, %v", r, err)
		}
		for _, opts := range []dlq.ImportOptions{{}, {Records: records, Retention: -1}, {Records: records, ID: strings.Repeat("x", 513)}} {
			if _, err := importing(t, s, "a", archive(1, ""), opts); err == nil {
				t.Errorf("%+v is taken", opts)
			}
		}
	})
}

// When the context ends, what was begun is ended and on record, and the rest not
// begun.
func TestImportStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		st := newRecords()
		ctx, cancel := context.WithCancelCause(t.Context())
		opts := dlq.ImportOptions{Records: st, Progress: func(dlq.ImportReport) { cancel(errOperator) }}
		r, err := s.client().Import(ctx, s.full("a"), strings.NewReader(archive(200, "")), opts)
		if !errors.Is(err, errOperator) || r.Sent < 10 || r.Sent > 60 || r.Failed > 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		began := time.Now()
		again, err := importing(t, s, "a", archive(200, ""), dlq.ImportOptions{Records: st})
		if err != nil || again.Skipped != r.Sent || again.Sent != 200-r.Sent {
			t.Errorf("%+v, %v", again, err)
		}
		if time.Since(began) > 30*time.Second {
			t.Errorf("it took %v: claims were not given back", time.Since(began))
		}
	})
}

func (s *server) fifo(name string) {
	s.Helper()
	if _, err := s.sqs.CreateQueue(s.Context(), &sqs.CreateQueueInput{QueueName: aws.String(s.full(name)), Attributes: map[string]string{"FifoQueue": "true"}}); err != nil {
		s.Fatal(err)
	}
}

// In a FIFO queue a group keeps its order, and nothing of it comes after a
// message that failed.
func TestImportFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.fifo("a.fifo")
		text := archive(25, `,"group":"g1","deduplication_id":"d"`)
		records := newRecords()
		sends := 0
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "SendMessageBatch" {
				sends++
			}
			if operation == "SendMessageBatch" && sends == 2 {
				f.Err = &emulator.Error{Code: "AccessDenied", Status: 403}
			}
			return f
		})
		opts := dlq.ImportOptions{Records: records}
		r, err := importing(t, s, "a.fifo", text, opts)
		if err == nil || r.Sent != 10 || r.Failed != 15 {
			t.Errorf("%+v, %v", r, err)
		}
		s.faulty(func(string, string, int64) (f emulator.Fault) { return f })
		if r, err = importing(t, s, "a.fifo", text, opts); err != nil || r.Sent != 15 || r.Skipped != 10 {
			t.Errorf("%+v, %v", r, err)
		}
		var got []string
		for _, f := range s.take("a.fifo") {
			got = append(got, f.body)
		}
		var want []string
		for i := range 25 {
			want = append(want, fmt.Sprint(i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		if r, err = importing(t, s, "a.fifo", archive(1, ""), opts); err == nil || r.Failures[0].Field != "group" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// An id of its own goes to a message without one, where it has room.
func TestImportNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		var full bytes.Buffer
		for i := range 10 {
			fmt.Fprintf(&full, `%s"k%d":{"type":"String","encoding":"text","value":"v"}`, map[bool]string{true: ","}[i > 0], i)
		}
		text := archive(1, "") + strings.Replace(archive(2, ""), `"attributes":{}`, `"attributes":{`+full.String()+`}`, 2)
		r, err := importing(t, s, "a", text, dlq.ImportOptions{Records: newRecords()})
		if err != nil || r.Sent != 3 || r.Unnamed != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		r, err = importing(t, s, "a", archive(2, ""), dlq.ImportOptions{Records: newRecords(), Exact: true})
		if err != nil || r.Sent != 2 || r.Unnamed != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		named := 0
		for _, f := range s.take("a") {
			if f.uuid() != "" {
				named++
			}
		}
		if named != 1 {
			t.Errorf("%d messages have an id, want 1", named)
		}
	})
}
