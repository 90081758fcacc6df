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

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// The process dies between any two calls, of the queues or of the store, with the
// last answer received or not. No message is ever in neither queue; another
// process goes on; each message is handled once, and the job ends.
func TestJournalCrashBetweenAnyTwoCalls(t *testing.T) {
	const n = 12
	run := func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			_, _ = s.mortalClient(k, l).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 2})
			calls = l.calls()
			if left := s.left("fares-dlq") + s.left("fares"); left < n {
				t.Errorf("%d messages are in the queues, want %d or more", left, n)
			}
			time.Sleep(leaseOver)
			c := s.journalled(k)
			report, err := goOn(t.Context(), c, dlq.Options{From: "fares-dlq"})
			if err != nil || report.Remaining != 0 || report.Sent != report.Deleted || report.Failed != 0 {
				t.Errorf("it went on: %s, %v", asJSON(t, report), err)
			}
			j, err := c.Status(t.Context(), "fares-dlq", "")
			if err != nil || j.State != dlq.JobEnded || j.InHand != 0 {
				t.Errorf("job %s, %v", asJSON(t, j), err)
			}
			handledOnce(s, ids)
		})
		return calls
	}
	crashes(t, run)
}

// crashes runs a test with a crash after each of its calls.
func crashes(t *testing.T, run func(t *testing.T, after int, answered bool) (calls int)) {
	for _, answered := range []bool{true, false} {
		t.Run(fmt.Sprintf("answered=%v", answered), func(t *testing.T) {
			for after := 1; ; after++ {
				calls := run(t, after, answered)
				if t.Failed() {
					t.Fatalf("cut off after call %d", after)
				}
				if calls <= after {
					if after < 16 {
						t.Errorf("the job took %d calls; the test does not reach its crashes", calls)
					}
					return
				}
			}
		})
	}
}

// On FIFO queues a resumed job that goes on within five minutes puts nothing into
// the destination twice, and keeps the order: what may have been sent is sent
// under the same deduplication id.
func TestJournalCrashOnFIFO(t *testing.T) {
	const n = 9
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filledFIFO(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			opts := dlq.Options{From: "fares-dlq.fifo", To: "fares.fifo"}
			_, _ = s.mortalClient(k, l).Redrive(t.Context(), opts)
			calls = l.calls()
			time.Sleep(leaseOver)
			report, err := goOn(t.Context(), s.journalled(k), opts)
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

// A second death, of who went on, loses nothing either.
func TestJournalTwoCrashes(t *testing.T) {
	for first := 8; first < 26; first += 3 {
		for second := 6; second < 24; second += 3 {
			synctest.Test(t, func(t *testing.T) {
				s, ids := filled(t, 12)
				k := memstore.New(memstore.Config{})
				opts := dlq.Options{From: "fares-dlq", Workers: 2}
				_, _ = s.mortalClient(k, &life{after: first}).Redrive(t.Context(), opts)
				time.Sleep(leaseOver)
				_, _ = goOn(t.Context(), s.mortalClient(k, &life{after: second}), opts)
				time.Sleep(leaseOver)
				report, err := goOn(t.Context(), s.journalled(k), opts)
				if err != nil || report.Remaining != 0 {
					t.Errorf("it went on: %s, %v", asJSON(t, report), err)
				}
				handledOnce(s, ids)
			})
			if t.Failed() {
				t.Fatalf("cut off after calls %d and %d", first, second)
			}
		}
	}
}

// Two operators: the second is told who holds the queue, and which job is open
// once that one was interrupted.
func TestJournalTwoOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 30)
		k := memstore.New(memstore.Config{})
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("interrupted")
		var second error
		report, err := s.journalled(k).Redrive(ctx, dlq.Options{From: "fares-dlq", Owner: "ada", Workers: 1, Progress: func(dlq.Report) {
			if second == nil {
				_, second = s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Owner: "ben"})
				cancel(stopped)
			}
		}})
		var held *store.JobHeldError
		if !errors.As(second, &held) || held.Owner != "ada" || held.ID != report.ID {
			t.Errorf("the second was told %v", second)
		}
		var going *dlq.ResumableError
		if !errors.As(err, &going) || going.ID != report.ID || !errors.Is(err, stopped) || !strings.Contains(err.Error(), "resume or cancel") {
			t.Errorf("the first was told %v", err)
		}
		if v := s.visible("fares-dlq"); v != fmt.Sprint(30-report.Sent) || report.Sent != report.Deleted {
			t.Errorf("%s messages can be received after %s", v, asJSON(t, report))
		}
		c := s.journalled(k)
		var open *store.JobOpenError
		if _, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Owner: "ben"}); !errors.As(err, &open) || open.ID != report.ID || open.Owner != "ada" {
			t.Errorf("with a job that is open: %v", err)
		}
		begin := time.Now()
		again, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{Owner: "ben"})
		if err != nil || again.ID != report.ID || again.Sent != 30 || again.Snapshot != 30 {
			t.Errorf("resumed: %s, %v", asJSON(t, again), err)
		}
		if time.Since(begin) > 20*time.Second {
			t.Errorf("it took %v, though nothing was hidden", time.Since(begin))
		}
		if _, err := c.Resume(t.Context(), "fares-dlq", report.ID, dlq.Options{}); !errors.Is(err, store.ErrEnded) {
			t.Errorf("a job that has ended was resumed: %v", err)
		}
		handledOnce(s, ids)
	})
}

// A resumed job does what it was made for: its filter, edit, destination, limit
// and cutoff.
func TestJournalResumesWhatItWasMadeFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 40)
		s.queue("other", "", 0)
		k := memstore.New(memstore.Config{})
		filter, err := dlq.ParseFilter(`.id != "m03"`)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, err := s.journalled(k).Redrive(ctx, dlq.Options{
			From: "fares-dlq", To: "other", Filter: filter, EditText: ".body.mended = true", Limit: 35, Workers: 1,
			Progress: func(r dlq.Report) {
				if r.Sent >= 10 {
					cancel()
				}
			},
		})
		if err == nil || first.Sent == 0 || first.Sent == 35 {
			t.Fatalf("report %s, %v", asJSON(t, first), err)
		}
		time.Sleep(time.Minute)
		for range 5 {
			s.send("fares-dlq", `{"id":"newer"}`)
		}
		report, err := s.journalled(k).Resume(t.Context(), "fares-dlq", "", dlq.Options{})
		if err != nil || report.Sent != 35 || report.Matched != 35 || report.Snapshot != 40 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		all := s.take("other")
		if len(all) != 35 {
			t.Errorf("%d arrived, want 35", len(all))
		}
		for _, m := range all {
			if !strings.Contains(m.body, `"mended":true`) || strings.Contains(m.body, "m03") || strings.Contains(m.body, "newer") {
				t.Errorf("arrived: %s", m.body)
			}
		}
	})
}

// What was sent and could not be deleted is only deleted by who goes on.
func TestJournalDeletesWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 5)
		k := memstore.New(memstore.Config{})
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "DeleteMessageBatch" {
				return emulator.Fault{Err: errInternal}
			}
			return emulator.Fault{}
		})
		c := s.journalled(k)
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		var going *dlq.ResumableError
		if !errors.As(err, &going) || report.Sent != 5 || report.Deleted != 0 {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		for _, e := range entries(t, k, c, "fares-dlq") {
			if !bytes.Contains(e.State, []byte(`"state":"sent"`)) || !bytes.Contains(e.State, []byte(`"new_id":`)) {
				t.Errorf("entry %s", e.State)
			}
		}
		s.emulator.SetFault(nil)
		if report, err = c.Resume(t.Context(), "fares-dlq", "", dlq.Options{}); err != nil || report.Sent != 5 || report.Deleted != 5 {
			t.Errorf("resumed: %s, %v", asJSON(t, report), err)
		}
		if n := s.left("fares"); n != 5 {
			t.Errorf("the source holds %d messages, want each once", n)
		}
		handledOnce(s, ids)
	})
}

// What may have been sent stays in the journal, and is sent again under the same
// id by who goes on.
func TestJournalSendsAgainWhatMayHaveBeenSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filledFIFO(t, 6)
		k := memstore.New(memstore.Config{})
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			return emulator.Fault{DropAnswer: operation == "SendMessageBatch"}
		})
		c := s.journalled(k)
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq.fifo", To: "fares.fifo"})
		var going *dlq.ResumableError
		if !errors.As(err, &going) || report.Sent != 0 || report.Failed == 0 || !report.Failures[0].Unknown {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		if list := entries(t, k, c, "fares-dlq.fifo"); len(list) == 0 || !bytes.Contains(list[0].State, []byte(`"state":"sending"`)) {
			t.Fatalf("entries %s", list)
		}
		s.emulator.SetFault(nil)
		if report, err = c.Resume(t.Context(), "fares-dlq.fifo", "", dlq.Options{}); err != nil || report.Sent != 6 {
			t.Errorf("resumed: %s, %v", asJSON(t, report), err)
		}
		if got := bodies(s.take("fares.fifo")); !slices.Equal(got, ids) {
			t.Errorf("the destination has %v, want each of %v once", got, ids)
		}
	})
}

// A message that may have been sent and is nowhere to be seen is waited for until
// nobody can hide it any more, and then reported as what it is.
func TestJournalReportsWhatDoesNotShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 3)
		k := memstore.New(memstore.Config{})
		sent := make(chan struct{})
		var sends atomic.Int64
		l := &life{after: 1 << 30}
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "SendMessageBatch" && sends.Add(1) == 1 {
				l.mu.Lock()
				l.after = l.n // it dies of what it has just asked for
				l.mu.Unlock()
				close(sent)
			}
			return emulator.Fault{}
		})
		_, _ = s.mortalClient(k, l).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1})
		<-sent
		time.Sleep(leaseOver)
		if _, err := s.sqs.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: s.url("fares-dlq")}); err != nil {
			t.Fatal(err)
		}
		begin, c := time.Now(), s.journalled(k)
		report, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{})
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || report.Failed != 3 || !report.Failures[0].Unknown || !strings.Contains(report.Failures[0].Error, "look for it there") {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		if d := time.Since(begin); d < dlq.DefaultVisibility {
			t.Errorf("it waited %v, want the visibility of the process before", d)
		}
		if j, err := c.Status(t.Context(), "fares-dlq", ""); err != nil || j.State != dlq.JobEnded {
			t.Errorf("job %s, %v", asJSON(t, j), err)
		}
	})
}
