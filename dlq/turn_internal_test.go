package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A workbench is a client with an empty dead-letter queue.
type workbench struct {
	*Client
	store *memstore.Store
	queue *queue.Queue
	attrs queue.QueueAttributes
}

func newWorkbench(t *testing.T) workbench {
	t.Helper()
	e := emulator.New(emulator.Config{NoCooldowns: true})
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://emulator.test"), HTTPClient: e.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
	if _, err := sqs.NewFromConfig(cfg).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("dead")}); err != nil {
		t.Fatal(err)
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	w := workbench{store: memstore.New(memstore.Config{})}
	if w.Client, err = New(Config{Queues: admin, Jobs: w.store, Audit: w.store}); err != nil {
		t.Fatal(err)
	}
	if w.queue, err = admin.Queue(t.Context(), "dead"); err != nil {
		t.Fatal(err)
	}
	if w.attrs, err = w.queue.Attributes(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w workbench) turn(t *testing.T, owner string) *turn {
	t.Helper()
	turn, err := w.begin(t.Context(), w.queue, w.attrs, work{Verb: "purge", Owner: owner, Reason: "old", Spec: map[string]int{"limit": 3}})
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

// One turn at a time, whether it is a redrive's or another's; each is on record.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t)
		turn := w.turn(t, "ada")
		time.Sleep(3 * DefaultLease) // it is renewed
		var held *store.JobHeldError
		if _, err := w.begin(t.Context(), w.queue, w.attrs, work{Verb: "ingest", Owner: "ben"}); !errors.As(err, &held) || held.Owner != "ada" {
			t.Errorf("a second turn: %v", err)
		}
		if _, err := w.Redrive(t.Context(), Options{From: "dead"}); !errors.As(err, &held) || held.ID != turn.id() {
			t.Errorf("a redrive beside it: %v", err)
		}
		if _, err := w.Resume(t.Context(), "dead", turn.id(), Options{}); err == nil {
			t.Error("a purge was resumed")
		}
		const n = 2*store.MaxAuditItems + 1
		for i := range n {
			turn.did(fmt.Sprint(i))
		}
		if err := errors.Join(turn.flush(t.Context()), turn.stands()); err != nil {
			t.Error(err)
		}
		outcome := errors.New("enough")
		if err := turn.end(t.Context(), map[string]int{"purged": n}, outcome); !errors.Is(err, outcome) {
			t.Errorf("it ended with %v", err)
		}
		if j, err := w.Status(t.Context(), "dead", ""); err != nil || j.State != JobEnded || j.Status != "failed" || j.Spec.Verb != "purge" || string(j.Spec.Detail) != `{"limit":3}` {
			t.Errorf("job %+v, %v", j, err)
		}
		records, _, err := w.store.ListAudit(t.Context(), w.attrs.ARN, "", 10)
		if err != nil || len(records) != 2 {
			t.Fatalf("%d records, %v", len(records), err)
		}
		var end, begin AuditEntry
		if err := errors.Join(json.Unmarshal(records[0].Body, &end), json.Unmarshal(records[1].Body, &begin)); err != nil {
			t.Fatal(err)
		}
		if begin.Verb != "purge" || begin.Phase != AuditBegin || begin.By != "ada" || begin.Reason != "old" || string(begin.Spec) != `{"limit":3}` {
			t.Errorf("it began as %s", records[1].Body)
		}
		if end.Verb != "purge" || end.Phase != AuditEnd || end.Count != n || end.Error != "enough" || string(end.Report) != `{"purged":2001}` {
			t.Errorf("it ended as %s", records[0].Body)
		}
		if _, pages, err := w.store.AuditItems(t.Context(), w.attrs.ARN, records[1].ID, 0); err != nil || pages != 3 {
			t.Errorf("%d pages, %v", pages, err)
		}
	})
}

// A turn ends when somebody cancels it.
func TestTurnCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t)
		turn := w.turn(t, "ada")
		ctx, cancel := turn.context(t.Context())
		defer cancel()
		if _, err := w.Cancel(t.Context(), "dead", "", "ben", "no"); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		if err := context.Cause(ctx); !errors.Is(err, ErrCancelled) || turn.stands() == nil {
			t.Errorf("its context ended with %v, and it stands: %v", err, turn.stands())
		}
		if err := turn.end(ctx, nil, context.Cause(ctx)); !errors.Is(err, ErrCancelled) {
			t.Errorf("it ended with %v", err)
		}
		if j, err := w.Status(t.Context(), "dead", ""); err != nil || j.State != JobEnded || j.Status != "cancelled" {
			t.Errorf("job %+v, %v", j, err)
		}
	})
}

// Who died in a turn is in nobody's way once the lease has run out.
func TestTurnOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t)
		open := store.JobOpening{Subject: w.attrs.ARN, ID: "1", Owner: "ada", Token: "t", Lease: time.Second, Spec: []byte(`{"version":1,"verb":"purge","queue":"dead"}`)}
		if _, err := w.store.OpenJob(t.Context(), open); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if err := w.turn(t, "ben").end(t.Context(), nil, nil); err != nil {
			t.Error(err)
		}
		if j, err := w.Status(t.Context(), "dead", "1"); err != nil || j.State != JobEnded {
			t.Errorf("job %+v, %v", j, err)
		}
		open.ID, open.Token, open.Spec = "2", "u", []byte(`{"version":1,"verb":"redrive","queue":"dead"}`)
		if _, err := w.store.OpenJob(t.Context(), open); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		var still *store.JobOpenError
		if _, err := w.begin(t.Context(), w.queue, w.attrs, work{Verb: "purge"}); !errors.As(err, &still) || still.ID != "2" {
			t.Errorf("with a redrive that was interrupted: %v", err)
		}
	})
}
