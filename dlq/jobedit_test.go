package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

func parseEdit(t testing.TB, text string) *dlq.Edit {
	t.Helper()
	e, err := dlq.ParseEdit(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestRedriveParsedEdit holds that a dry run tells what an edit would do, and that the
// redrive does it, on every server.
func TestRedriveParsedEdit(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 9)
		for i := range 3 {
			s.bury("fares-dlq", fmt.Sprint("m", i), fmt.Sprintf(`{"amount":%d}`, i-2), "fares")
		}
		s.bury("fares-dlq", "text", "a text", "fares")
		s.bury("fares-dlq", "binary", "\xff\xfe", "fares")
		s.bury("fares-dlq", "wrong", `{"amount":"x"}`, "fares")
		edit := parseEdit(s, `if .body|type == "string" then .attributes.form = "text" elif .body.amount == 0 then empty elif .body.amount == "x" then .id = "y" else .body.amount |= -. end`)
		c := s.client(fares())
		for _, n := range []int{1, 1000} {
			report, err := c.Redrive(s.Context(), dlq.Options{From: "fares-dlq", Edit: edit.Apply, DryRun: true, Diffs: n})
			var partial *dlq.PartialError
			if !errors.As(err, &partial) || report.WouldSend != 4 || report.Edited != 4 || report.Skipped != 1 || report.Failed != 1 || len(report.Diffs) != min(n, 4) {
				s.Fatalf("dry run: %s, %v", asJSON(s, report), err)
			}
			if f := report.Failures[0]; f.ID != "wrong" || f.Stage != dlq.StageEdit || !strings.Contains(f.Error, "the edit changes .id; only .body and .attributes may change") {
				s.Errorf("failure %+v", f)
			}
			for _, d := range report.Diffs {
				if want := map[string]string{"m0": "-  \"amount\": -2\n+  \"amount\": 2\n", "m1": "+  \"amount\": 1\n"}[d.ID]; !strings.Contains(d.Text, want) || !strings.HasPrefix(d.Text, "--- "+d.ID+"\n") {
					s.Errorf("the difference of %s is\n%s", d.ID, d.Text)
				}
			}
		}
		if n := s.visible("fares-dlq"); n != "6" {
			s.Errorf("after the dry runs %s messages can be received, want 6", n)
		}
		report, err := c.Redrive(s.Context(), dlq.Options{From: "fares-dlq", Edit: edit.Apply, Diffs: 3})
		if err == nil || report.Sent != 4 || report.Edited != 4 || report.Skipped != 1 || report.Failed != 1 || report.Diffs != nil {
			s.Fatalf("%s, %v", asJSON(s, report), err)
		}
		var got []string
		for _, f := range s.take("fares") {
			got = append(got, fmt.Sprint(f.uuid(), " ", f.body, " ", f.attributes["form"], " ", f.attributes["colour"], " ", f.types["amount"], " ", f.attributes[queue.KeyFailure] != ""))
		}
		slices.Sort(got)
		want := []string{`binary //4= text red Number false`, `m0 {"amount":2}  red Number false`, `m1 {"amount":1}  red Number false`, `text a text text red Number false`}
		if !slices.Equal(got, want) {
			s.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestDryRunDoesNotEdit holds that a dry run without Diffs does not call Edit.
func TestDryRunDoesNotEdit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		s.queue("fares", "", 0)
		s.send("q", "x")
		called := func(context.Context, *dlq.Letter) error { return errors.New("called") }
		if report, err := s.client().Redrive(t.Context(), dlq.Options{From: "q", To: "fares", Edit: called, DryRun: true}); err != nil || report.WouldSend != 1 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
		for _, n := range []int{-1, 1001} {
			if _, err := s.client().Redrive(t.Context(), dlq.Options{From: "q", To: "fares", Diffs: n}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("Diffs is %d; want 1 to 1000", n)) {
				t.Errorf("%d: %v", n, err)
			}
		}
	})
}

// TestDryRunStoresNothing holds that a dry run puts no payload into the store
// that an edit makes too large.
func TestDryRunStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, publish := claims(t)
		publish("fares-dlq", strings.Repeat("x", 2000))
		before := len(store.all)
		edit := parseEdit(t, `.body = .body * 1000`) // 2 MB
		report, err := s.claimClient(dlq.Config{Payloads: store}).Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Edit: edit.Apply, DryRun: true, Diffs: 1})
		if err != nil || report.WouldSend != 1 || report.Edited != 1 || len(store.all) != before {
			t.Errorf("%d payloads were stored, %s, %v", len(store.all)-before, asJSON(t, report), err)
		}
	})
}

// TestEditChangesTheMessageAlone holds that what an Edit does to a letter beside
// its body and its metadata is of no effect.
func TestEditChangesTheMessageAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		s.queue("fares", "", 0)
		s.send("q", "x")
		var id string
		edit := func(_ context.Context, l *dlq.Letter) error {
			id, l.ID, l.Body = l.ID, "another", []byte("y")
			return nil
		}
		if _, err := s.client().Redrive(t.Context(), dlq.Options{From: "q", To: "fares", Edit: edit}); err != nil {
			t.Fatal(err)
		}
		if got := s.take("fares"); len(got) != 1 || got[0].uuid() != id || got[0].body != "y" {
			t.Errorf("got %+v, want the id %s", got, id)
		}
	})
}
