package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// What was done is listed, the newest first, with its beginning and its end, by
// queue, time, job and who did it; and each with the messages that it was done to.
func TestAudits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 0)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k)
		began := map[string]time.Time{}
		var jobs []string
		for _, owner := range []string{"ada@desk", "ben@desk", "ada@desk"} {
			s.send("fares-dlq", "1", "2", "3")
			time.Sleep(time.Hour)
			r, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Owner: owner, Reason: "mended"})
			if err != nil || r.Sent != 3 {
				t.Fatalf("%s, %v", asJSON(t, r), err)
			}
			jobs, began[r.ID] = append(jobs, r.ID), time.Now()
		}
		s.queue("rides-dlq", "", 0)
		s.queue("rides", "rides-dlq", 3)
		s.send("rides-dlq", "1")
		time.Sleep(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s.faulty(func(op, _ string, _ int64) (f emulator.Fault) {
			if op == "ReceiveMessage" {
				cancel()
			}
			return f
		})
		if _, err := c.Redrive(ctx, dlq.Options{From: "rides-dlq", Owner: "eve", ID: "J4"}); err == nil {
			t.Fatal("it was not interrupted")
		}
		if _, err := c.Cancel(t.Context(), "rides-dlq", "", "ada", "the wrong queue"); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		short := func(q dlq.AuditQuery) (got []string) {
			t.Helper()
			list, err := c.Audits(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				i := slices.Index(jobs, a.Job) + 1
				if i == 0 {
					i = 4
				}
				got = append(got, fmt.Sprintf("%d %s %d", i, a.Verb, a.Count))
			}
			return got
		}
		all := []string{"4 cancel 0", "4 redrive 0", "3 redrive 3", "2 redrive 3", "1 redrive 3"}
		for _, tt := range []struct {
			q    dlq.AuditQuery
			want []string
		}{
			{dlq.AuditQuery{}, all},
			{dlq.AuditQuery{Queue: "fares-dlq"}, []string{"3 redrive 3", "2 redrive 3", "1 redrive 3"}},
			{dlq.AuditQuery{Queue: "rides-dlq"}, all[:2]},
			{dlq.AuditQuery{Queue: "fares-dlq", Limit: 2}, []string{"3 redrive 3", "2 redrive 3"}},
			{dlq.AuditQuery{By: "ben"}, []string{"2 redrive 3"}},
			{dlq.AuditQuery{By: "ada@desk"}, []string{"3 redrive 3", "1 redrive 3"}},
			{dlq.AuditQuery{By: "eve"}, []string{"4 redrive 0"}},
			{dlq.AuditQuery{By: "ad"}, nil},
			{dlq.AuditQuery{Job: jobs[1]}, []string{"2 redrive 3"}},
			{dlq.AuditQuery{Queue: "fares-dlq", Since: now.Add(-150 * time.Minute)}, []string{"3 redrive 3", "2 redrive 3"}},
			{dlq.AuditQuery{Until: now.Add(-150 * time.Minute)}, []string{"1 redrive 3"}},
		} {
			if got := short(tt.q); !slices.Equal(got, tt.want) {
				t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
			}
		}
		list, err := c.Audits(t.Context(), dlq.AuditQuery{Job: jobs[0]})
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if a := list[0]; a.By != "ada@desk" || a.Reason != "mended" || a.Queue != s.full("fares-dlq") || a.Phase != "" || a.Ended.Before(a.Began) || a.Began.IsZero() ||
			!strings.Contains(string(a.Spec), `"snapshot":3`) || !strings.Contains(string(a.Report), `"sent":3`) {
			t.Errorf("it is %s", asJSON(t, a))
		}
		var ids []string
		for id, err := range c.AuditItems(t.Context(), list[0]) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if len(ids) != 3 {
			t.Errorf("its messages are %q", ids)
		}

		// A queue that is no more goes by its name.
		if _, err := s.sqs.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: s.url("fares-dlq")}); err != nil {
			t.Fatal(err)
		}
		if got := short(dlq.AuditQuery{Queue: "fares-dlq"}); len(got) != 3 {
			t.Errorf("of a queue that is no more: %q", got)
		}
	})
}

// lateFailure is a store whose records cannot be read after the first page.
type lateFailure struct{ keeper }

func (f lateFailure) ListAudit(ctx context.Context, subject, before string, limit int) ([]store.Audited, string, error) {
	if before != "" {
		return nil, "", errors.New("the store is gone")
	}
	list, _, err := f.keeper.ListAudit(ctx, subject, before, limit)
	return list, "more", err
}

// Records of others are left out, an end without its beginning is told, and a
// failure is none of an end.
func TestAuditsOddRecords(t *testing.T) {
	s := embedded(t)
	k := memstore.New(memstore.Config{})
	for id, body := range map[string]string{
		"x": `not JSON`, "y": `{"who":"others"}`, "J1/3/end": `{"verb":"purge","phase":"end","queue":"q","job":"J1","by":"ada","count":7}`,
		"J2/1": `{"verb":"purge","phase":"begin","queue":"q","job":"J2","by":"ada"}`,
	} {
		if err := k.AppendAudit(t.Context(), store.AuditRecord{Subject: "arn:q", ID: id, Body: []byte(body), Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.journalled(k).Audits(t.Context(), dlq.AuditQuery{})
	if err != nil || len(list) != 2 || list[0].ID != "J2/1" || !list[0].Ended.IsZero() || list[1].ID != "J1/3" || list[1].Count != 7 || !list[1].Began.IsZero() {
		t.Errorf("%s, %v", asJSON(t, list), err)
	}
	for _, err := range s.journalled(k).AuditItems(t.Context(), list[1]) {
		t.Errorf("items of what has no beginning: %v", err)
	}
	if list, err := s.journalled(lateFailure{k}).Audits(t.Context(), dlq.AuditQuery{}); err == nil || !strings.Contains(err.Error(), "the store is gone") {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := s.client().Audits(t.Context(), dlq.AuditQuery{}); err == nil {
		t.Error("without a store of records")
	}
	if _, err := s.journalled(k).Audits(t.Context(), dlq.AuditQuery{Limit: -1}); err == nil {
		t.Error("with a limit of -1")
	}
}
