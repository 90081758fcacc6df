package dlq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// withCatalogue has a client of journalled keep a catalogue.
func withCatalogue(letters store.Catalogue) func(*dlq.Config, *aws.Config) {
	return func(c *dlq.Config, _ *aws.Config) { c.Catalogue = letters }
}

// inCatalogue returns the ids of the letters of a queue, sorted.
func (s *server) inCatalogue(k *memstore.Store, name string) (ids []string) {
	s.Helper()
	list, next, err := k.ListSummaries(s.Context(), s.attribute(name, "QueueArn"), "", store.MaxSummaryPage)
	if err != nil || next != "" {
		s.Fatal(err)
	}
	for _, l := range list {
		ids = append(ids, l.Name)
	}
	slices.Sort(ids)
	return ids
}

// The verbs tell of the catalogue what they told of the queue, and a redrive of it
// delivers what one of the queue would have.
func TestCatalogue(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 3)
		for i := range 23 {
			s.bury("fares-dlq", fmt.Sprintf("m%02d", i), fmt.Sprintf(`{"amount":%d}`, i), "fares", func(f *queue.Failure) {
				f.Filter = fmt.Sprint("filter", i%3)
			})
		}
		s.sendTyped("fares-dlq", "typed")
		k := memstore.New(memstore.Config{})
		c := s.journalled(k, withCatalogue(k))
		view := c.Catalogue()
		groups := func(c *dlq.Client) string {
			r, err := c.Groups(s.Context(), "fares-dlq", dlq.GroupOptions{})
			if err != nil || r.Seen != 24 || r.Total != 24 {
				s.Fatalf("%+v, %v", r, err)
			}
			for i := range r.Groups { // which the catalogue has in milliseconds
				r.Groups[i].First, r.Groups[i].Last = r.Groups[i].First.UTC().Truncate(time.Second), r.Groups[i].Last.UTC().Truncate(time.Second)
				r.Groups[i].Sample = ""
			}
			slices.SortFunc(r.Groups, func(a, b dlq.Group) int { return strings.Compare(asJSON(s, a.Key), asJSON(s, b.Key)) })
			return asJSON(s, r.Groups)
		}
		inQueue := groups(c)
		r, err := c.Ingest(s.Context(), "fares-dlq", dlq.IngestOptions{DryRun: true})
		if err != nil || r.WouldIngest != 24 || r.Ingested+r.Deleted != 0 || r.ID != "" || r.Letters != 0 || s.left("fares-dlq") != 24 {
			s.Fatalf("a dry run: %+v, %v", r, err)
		}
		if r, err = c.Ingest(s.Context(), "fares-dlq", dlq.IngestOptions{Owner: "ann", Reason: "to look"}); err != nil || r.Ingested != 24 || r.Deleted != 24 || r.Letters != 24 || r.ID == "" {
			s.Fatalf("%+v, %v", r, err)
		}
		if n := s.left("fares-dlq"); n != 0 {
			s.Errorf("%d messages are left in the queue", n)
		}
		if got := groups(view); got != inQueue {
			s.Errorf("groups of the catalogue:\n%s, want\n%s", got, inQueue)
		}
		chosen, err := view.Groups(s.Context(), "fares-dlq", dlq.GroupOptions{Filter: filter(s, `.body.amount? >= 20`), By: []dlq.Dimension{dlq.ByBody}})
		if err != nil || chosen.Filtered != 21 || len(chosen.Groups) != 1 || chosen.Groups[0].Count != 3 {
			s.Errorf("%+v, %v", chosen, err)
		}
		list, err := c.Catalogued(s.Context())
		if err != nil || len(list) != 1 || list[0].Letters != 24 {
			s.Errorf("%+v, %v", list, err)
		}
		letters, err := view.Peek(s.Context(), "fares-dlq", 10)
		if err != nil || len(letters) != 10 || !letters[0].Looked {
			s.Errorf("%d letters, %v", len(letters), err)
		}
		for _, id := range []string{"m07", letters[3].MessageID} {
			l, err := view.Show(s.Context(), "fares-dlq", id, 0)
			if err != nil || l.ID != id && l.MessageID != id {
				s.Errorf("show %s: %+v, %v", id, l, err)
			}
		}
		if _, err := view.Show(s.Context(), "fares-dlq", "none", 0); !errors.Is(err, dlq.ErrNoMessage) {
			s.Errorf("show of none: %v", err)
		}
		var out, archive bytes.Buffer
		if r, err := view.Export(s.Context(), "fares-dlq", &out, dlq.ExportOptions{}); err != nil || r.Written != 24 || len(linesOf(s, out.String())) != 24 {
			s.Errorf("%+v, %v", r, err)
		}
		purged, err := view.Purge(s.Context(), "fares-dlq", dlq.PurgeOptions{Filter: filter(s, `.id == "m03"`), Archive: &archive})
		if err != nil || purged.Deleted != 1 || purged.Archived != 1 || len(linesOf(s, archive.String())) != 1 {
			s.Errorf("%+v, %v", purged, err)
		}
		report, err := view.Redrive(s.Context(), dlq.Options{From: "fares-dlq", Filter: filter(s, `.failure.filter == "filter1"`)})
		if err != nil || report.Sent != 8 || report.Deleted != 8 || report.Snapshot != 23 || report.Remaining != 15 || report.Filtered != 15 {
			s.Fatalf("%s, %v", asJSON(s, report), err)
		}
		if report, err = view.Redrive(s.Context(), dlq.Options{From: "fares-dlq", To: s.full("fares")}); err != nil || report.Sent != 15 || report.Remaining != 0 {
			s.Fatalf("%s, %v", asJSON(s, report), err)
		}
		var ids []string
		for _, f := range s.take("fares") {
			ids = append(ids, f.uuid())
			if f.body == "typed" && (f.attributes["sum"] != "\x00\xff\n" || f.types["amount"] != "Number.int") {
				s.Errorf("got %+v", f)
			}
			if f.attributes[queue.KeyFailure] != "" || f.attributes[queue.KeyRedriveGeneration] != "1" {
				s.Errorf("got %+v", f)
			}
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 23 {
			s.Errorf("the queue has %v", ids)
		}
	})
}

// mortalLetters are a catalogue that a process reaches for as long as it lives.
type mortalLetters struct {
	store.Catalogue
	*life
}

func (m mortalLetters) PutLetters(ctx context.Context, q string, letters []store.Letter) error {
	return m.call(func() error { return m.Catalogue.PutLetters(ctx, q, letters) })
}

func (m mortalLetters) DeleteLetters(ctx context.Context, q string, ids []string) error {
	return m.call(func() error { return m.Catalogue.DeleteLetters(ctx, q, ids) })
}

func (m mortalLetters) ListLetters(ctx context.Context, q, position string, limit int) (a []store.Letter, next string, err error) {
	return a, next, m.call(func() (err error) { a, next, err = m.Catalogue.ListLetters(ctx, q, position, limit); return err })
}

// The process dies between any two calls of an ingestion: no message is in neither
// place, and the next one brings all into the catalogue, each once.
func TestIngestCrashBetweenAnyTwoCalls(t *testing.T) {
	const n = 36
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			_, _ = s.mortalClient(k, l, withCatalogue(mortalLetters{k, l})).Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{})
			calls = l.calls()
			if held := len(s.inCatalogue(k, "fares-dlq")) + s.left("fares-dlq"); held < n {
				t.Errorf("%d messages are in the catalogue and in the queue, want %d or more", held, n)
			}
			time.Sleep(leaseOver + dlq.DefaultVisibility)
			both := append(s.inCatalogue(k, "fares-dlq"), s.peekAll("fares-dlq")...)
			slices.Sort(both)
			if both = slices.Compact(both); !slices.Equal(both, ids) {
				t.Errorf("in one of both are %v, want %v", both, ids)
			}
			r, err := s.journalled(k, withCatalogue(k)).Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{})
			if err != nil || r.Letters != n || s.left("fares-dlq") != 0 {
				t.Errorf("it went on: %+v, %v", r, err)
			}
			if got := s.inCatalogue(k, "fares-dlq"); !slices.Equal(got, ids) {
				t.Errorf("the catalogue has %v, want %v", got, ids)
			}
		})
		return calls
	})
}

// So it is with a redrive of the catalogue, which goes on where it was.
func TestCatalogueRedriveCrashBetweenAnyTwoCalls(t *testing.T) {
	const n = 12
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			c := s.journalled(k, withCatalogue(k))
			if _, err := c.Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{}); err != nil {
				t.Fatal(err)
			}
			mine := s.mortalClient(k, l, withCatalogue(mortalLetters{k, l})).Catalogue()
			_, _ = mine.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 2})
			calls = l.calls()
			if held := len(s.inCatalogue(k, "fares-dlq")) + s.left("fares"); held < n {
				t.Errorf("%d messages are in the catalogue and in the queue, want %d or more", held, n)
			}
			time.Sleep(leaseOver)
			report, err := goOnAfter(t.Context(), c, dlq.Options{From: "fares-dlq"})
			if err != nil || report.Remaining != 0 || report.Failed != 0 {
				t.Errorf("it went on: %s, %v", asJSON(t, report), err)
			}
			handledOnce(s, ids)
		})
		return calls
	})
}

// goOnAfter resumes a redrive of the catalogue that has not ended, or begins anew.
func goOnAfter(ctx context.Context, c *dlq.Client, opts dlq.Options) (dlq.Report, error) {
	j, err := c.Status(ctx, opts.From, "")
	if err == nil && j.State != dlq.JobEnded && j.Spec.Verb == dlq.AuditRedrive {
		return c.Resume(ctx, opts.From, "", dlq.Options{})
	}
	return c.Catalogue().Redrive(ctx, opts)
}

// Of a FIFO queue, the groups keep their order through the catalogue, and a redrive
// that dies and goes on within five minutes puts nothing there twice.
func TestCatalogueOfFIFO(t *testing.T) {
	const n = 9
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filledFIFO(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			c := s.journalled(k, withCatalogue(k))
			if r, err := c.Ingest(t.Context(), "fares-dlq.fifo", dlq.IngestOptions{}); err != nil || r.Letters != n {
				t.Fatalf("%+v, %v", r, err)
			}
			opts := dlq.Options{From: "fares-dlq.fifo", To: "fares.fifo"}
			_, _ = s.mortalClient(k, l, withCatalogue(mortalLetters{k, l})).Catalogue().Redrive(t.Context(), opts)
			calls = l.calls()
			time.Sleep(leaseOver)
			report, err := goOnAfter(t.Context(), c, opts)
			if err != nil || report.Remaining != 0 {
				t.Errorf("it went on: %s, %v", asJSON(t, report), err)
			}
			all, last := s.take("fares.fifo"), map[string]string{}
			if got := bodies(all); !slices.Equal(got, ids) {
				t.Errorf("the destination has %v, want each of %v once", got, ids)
			}
			for _, m := range all {
				if m.body < last[m.group] {
					t.Errorf("%s comes after %s of its group", m.body, last[m.group])
				}
				last[m.group] = m.body
			}
		})
		return calls
	})
}

// What cannot be kept as it is stays in the queue, one at a time works on it, and
// without a catalogue there is none.
func TestIngestRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 8)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k)
		if _, err := c.Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{}); !errors.Is(err, dlq.ErrNoCatalogue) {
			t.Errorf("without a catalogue: %v", err)
		}
		if _, err := c.Catalogue().Groups(t.Context(), "fares-dlq", dlq.GroupOptions{}); !errors.Is(err, dlq.ErrNoCatalogue) {
			t.Errorf("without a catalogue: %v", err)
		}
		gone := errors.New("the store is gone")
		broken := brokenLetters{k, gone}
		r, err := s.journalled(k, withCatalogue(broken)).Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{})
		if !errors.Is(err, gone) || r.Ingested+r.Deleted > 0 || s.visible("fares-dlq") != "8" {
			t.Errorf("%+v, %v; %s messages can be received", r, err, s.visible("fares-dlq"))
		}
		c = s.journalled(k, withCatalogue(k))
		if _, err := c.Ingest(t.Context(), "fares", dlq.IngestOptions{}); !errors.Is(err, dlq.ErrCounts) {
			t.Errorf("of a queue with a redrive policy: %v", err)
		}
		inside := func(dlq.IngestReport) {
			var held *store.JobHeldError
			if _, err := c.Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{}); !errors.As(err, &held) || held.Owner != "ann" {
				t.Errorf("an ingestion at the same time: %v", err)
			}
		}
		if r, err := c.Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{Owner: "ann", Reason: "to look", Progress: inside}); err != nil || r.Ingested != 8 {
			t.Errorf("%+v, %v", r, err)
		}
		list, _, err := k.ListAudit(t.Context(), s.attribute("fares-dlq", "QueueArn"), "", 1)
		var e dlq.AuditEntry
		if err != nil || json.Unmarshal(list[0].Body, &e) != nil || e.Verb != dlq.AuditIngest || e.Count != 8 || e.By != "ann" || e.Reason != "to look" {
			t.Errorf("the record is %+v, %v", e, err)
		}
	})
}

type brokenLetters struct {
	store.Catalogue
	err error
}

func (b brokenLetters) PutLetters(context.Context, string, []store.Letter) error { return b.err }
