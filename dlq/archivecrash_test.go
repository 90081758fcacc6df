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

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A mortalFile is a file that a process writes for as long as it lives. What was
// not synced when it died is lost, but for half of it.
type mortalFile struct {
	*life
	written, disk bytes.Buffer
}

func (f *mortalFile) Write(p []byte) (n int, err error) {
	err = f.call(func() (err error) { n, err = f.written.Write(p); return err })
	return n, err
}

func (f *mortalFile) Sync() error {
	return f.call(func() error {
		f.disk.Reset()
		f.disk.Write(f.written.Bytes())
		return nil
	})
}

// left is what is on disk after a power failure.
func (f *mortalFile) left() string {
	rest := f.written.Bytes()[f.disk.Len():]
	return f.disk.String() + string(rest[:len(rest)/2])
}

// archivedIDs are those of the whole lines of an archive.
func archivedIDs(text string) (ids []string) {
	for line := range strings.Lines(text) {
		var v struct {
			ID string `json:"id"`
		}
		if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &v) == nil {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// The process dies between any two calls of a purge into an archive: no message is
// ever neither in the queue nor on disk. Another purge archives the rest, and what
// both have restored is all there was, each message once.
func TestArchiveCrashBetweenAnyTwoCalls(t *testing.T) {
	const n = 12
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			first := &mortalFile{life: l}
			opts := dlq.PurgeOptions{All: s.full("fares-dlq"), Archive: first}
			_, _ = s.mortalClient(k, l).Purge(t.Context(), "fares-dlq", opts)
			calls = l.calls()
			time.Sleep(leaseOver + dlq.DefaultVisibility)
			onDisk := append(archivedIDs(first.left()), s.peekAll("fares-dlq")...)
			slices.Sort(onDisk)
			if got := slices.Compact(onDisk); !slices.Equal(got, ids) {
				t.Errorf("in the queue and on disk are %v, want %v", got, ids)
			}
			second := &mortalFile{life: &life{after: 1 << 20}}
			opts.Archive = second
			c := s.journalled(k)
			if _, err := c.Purge(t.Context(), "fares-dlq", opts); err != nil || s.left("fares-dlq") != 0 {
				t.Errorf("the second purge: %v; %d messages are left", err, s.left("fares-dlq"))
			}
			records := newRecords()
			for _, text := range []string{first.left(), second.disk.String()} {
				_, err := c.Import(t.Context(), "fares-dlq", strings.NewReader(text), dlq.ImportOptions{Records: records})
				var cut *dlq.ImportError
				if err != nil && !(errors.As(err, &cut) && strings.Contains(err.Error(), "cut off")) {
					t.Error(err)
				}
			}
			var got []string
			for _, f := range s.take("fares-dlq") {
				got = append(got, f.uuid())
			}
			if slices.Sort(got); !slices.Equal(got, ids) {
				t.Errorf("restored were %v, want each of %v once", got, ids)
			}
		})
		return calls
	})
}

// peekAll returns the ids of what can be received from a queue.
func (s *server) peekAll(name string) (ids []string) {
	s.Helper()
	letters, err := s.client(fares()).Peek(s.Context(), name, 1000)
	if err != nil {
		s.Fatal(err)
	}
	for _, l := range letters {
		ids = append(ids, l.ID)
	}
	return ids
}

// mortalRecords are records that a process reaches for as long as it lives.
type mortalRecords struct {
	store.Idempotency
	*life
}

func (m mortalRecords) Claim(ctx context.Context, c store.Claim) (got store.Claimed, err error) {
	return got, m.call(func() (err error) { got, err = m.Idempotency.Claim(ctx, c); return err })
}

func (m mortalRecords) Complete(ctx context.Context, c store.Completion) error {
	return m.call(func() error { return m.Idempotency.Complete(ctx, c) })
}

func (m mortalRecords) Forget(ctx context.Context, key, token string) error {
	return m.call(func() error { return m.Idempotency.Forget(ctx, key, token) })
}

// The process dies between any two calls of an import: the next one sends what is
// left, and each message is there, twice only if it was said to be Unsure, and
// under one id.
func TestImportCrashBetweenAnyTwoCalls(t *testing.T) {
	const n = 12
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s := embedded(t)
			s.queue("a", "", 0)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			opts := dlq.ImportOptions{Records: mortalRecords{k, l}}
			_, _ = s.mortalClient(k, l).Import(t.Context(), s.full("a"), strings.NewReader(archive(n, "")), opts)
			calls = l.calls()
			time.Sleep(leaseOver)
			opts.Records = k
			r, err := s.journalled(k).Import(t.Context(), s.full("a"), strings.NewReader(archive(n, "")), opts)
			if err != nil || r.Sent+r.Skipped != n {
				t.Errorf("it went on: %s, %v", asJSON(t, r), err)
			}
			ids := map[string]int{}
			all := s.take("a")
			for _, f := range all {
				ids[f.uuid()]++
			}
			if len(ids) != n || len(all)-n > r.Unsure {
				t.Errorf("%d messages of %d ids, and %d unsure, want %d", len(all), len(ids), r.Unsure, n)
			}
			if r, err := s.journalled(k).Import(t.Context(), s.full("a"), strings.NewReader(archive(n, "")), opts); err != nil || r.Sent > 0 {
				t.Errorf("once more: %s, %v", asJSON(t, r), err)
			}
		})
		return calls
	})
}

// On a FIFO queue, not even those are there twice, within five minutes.
func TestImportCrashOnFIFO(t *testing.T) {
	const n = 12
	text := archive(n, `,"group":"g1"`)
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s := embedded(t)
			s.fifo("a.fifo")
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			opts := dlq.ImportOptions{Records: mortalRecords{k, l}}
			_, _ = s.mortalClient(k, l).Import(t.Context(), s.full("a.fifo"), strings.NewReader(text), opts)
			calls = l.calls()
			time.Sleep(leaseOver)
			opts.Records = k
			if _, err := s.journalled(k).Import(t.Context(), s.full("a.fifo"), strings.NewReader(text), opts); err != nil {
				t.Error(err)
			}
			var want []string
			for i := range n {
				want = append(want, fmt.Sprint(i))
			}
			var got []string
			for _, f := range s.take("a.fifo") {
				got = append(got, f.body)
			}
			if !slices.Equal(got, want) {
				t.Errorf("the queue has %v, want %v", got, want)
			}
		})
		return calls
	})
}

// One at a time works on a queue, and what it does is on record.
func TestPurgeAndImportTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 8 // one batch: who waits for a lock stops the time
		s, ids := filled(t, n)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k)
		all := s.full("fares-dlq")
		var out bytes.Buffer
		blocked, release := make(chan struct{}), make(chan struct{})
		var once bool
		w := writer(func(p []byte) (int, error) {
			if !once {
				once = true
				close(blocked)
				<-release
			}
			return out.Write(p)
		})
		go func() {
			<-blocked
			defer close(release)
			var held *store.JobHeldError
			if r, err := c.Purge(t.Context(), all, dlq.PurgeOptions{All: all}); !errors.As(err, &held) || held.Owner != "ann" || r.Queue != "" {
				t.Errorf("a purge at the same time: %+v, %v", r, err)
			}
			if r, err := c.Import(t.Context(), all, strings.NewReader(""), dlq.ImportOptions{Records: k}); !errors.As(err, &held) || r.Queue != "" {
				t.Errorf("an import at the same time: %+v, %v", r, err)
			}
			if _, err := c.Purge(t.Context(), all, dlq.PurgeOptions{All: all, DryRun: true}); err != nil {
				t.Errorf("a dry run at the same time: %v", err)
			}
		}()
		r, err := c.Purge(t.Context(), all, dlq.PurgeOptions{All: all, Archive: w, Owner: "ann", Reason: "a test run"})
		if err != nil || r.Deleted != n || r.ID == "" {
			t.Fatalf("%+v, %v", r, err)
		}
		ir, err := c.Import(t.Context(), all, &out, dlq.ImportOptions{Records: k, Owner: "bob", Reason: "by mistake"})
		if err != nil || ir.Sent != n {
			t.Fatalf("%+v, %v", ir, err)
		}
		subject := s.attribute("fares-dlq", "QueueArn")
		list, _, err := k.ListAudit(t.Context(), subject, "", 10)
		if err != nil || len(list) != 4 {
			t.Fatalf("%d audit records, %v", len(list), err)
		}
		for i, want := range []string{"import end bob by mistake", "import begin bob by mistake", "purge end ann a test run", "purge begin ann a test run"} {
			var e dlq.AuditEntry
			if err := json.Unmarshal(list[i].Body, &e); err != nil || fmt.Sprint(e.Verb, " ", e.Phase, " ", e.By, " ", e.Reason) != want || e.Phase == dlq.AuditEnd && e.Count != n {
				t.Errorf("record %d is %s, want %s", i, list[i].Body, want)
			}
			if e.Phase == dlq.AuditBegin {
				if items, _, err := k.AuditItems(t.Context(), subject, list[i].ID, 0); err != nil || len(items) != len(ids) {
					t.Errorf("%s names %d messages, %v", want, len(items), err)
				}
			}
		}
	})
}
