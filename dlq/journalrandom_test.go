package dlq_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A chance draws from one source for several goroutines.
type chance struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (c *chance) upTo(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r.IntN(n)
}

// of reports true so many times of 100.
func (c *chance) of(percent int) bool {
	return c.upTo(100) < percent
}

// faults spoil calls that change a queue, and receives, in every way.
func (c *chance) faults(operation, _ string, _ int64) (f emulator.Fault) {
	switch operation {
	case "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "ReceiveMessage":
	default:
		return f
	}
	switch {
	case c.of(4):
		f.DropAnswer = true
	case c.of(3):
		f.DropRequest = true
	case c.of(3):
		f.Err = errInternal
	case c.of(3):
		f.Delay = 7 * time.Second // of the 10 that a message is hidden
	case c.of(20):
		f.FailEntry = func(emulator.Entry) *emulator.Error {
			if c.of(20) {
				return errInternal
			}
			return nil
		}
	}
	return f
}

// A checkedTransport calls a function after each call that the process makes.
type checkedTransport struct {
	next  http.RoundTripper
	check func(operation string)
}

func (c checkedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	c.check(r.Header.Get("X-Amz-Target"))
	return resp, err
}

// Windows 1 to 6 at once, at random: answers are lost, calls fail as a whole and in
// part, messages do not stay hidden, and the process dies again and again. At no time
// is a message in neither queue, and in the end each is handled once.
func TestJournalKeepsEverything(t *testing.T) {
	const n = 40
	runs := 20
	if raceDetector {
		runs = 4
	}
	for seed := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) {
			c := &chance{r: rand.New(rand.NewPCG(seed, 0))}
			s, ids := filled(t, n)
			k := memstore.New(memstore.Config{})
			var checking sync.Mutex
			lives := 0
			for ended := false; !ended; lives++ {
				if lives == 40 {
					t.Fatal("it does not end")
				}
				l := &life{after: 5 + c.upTo(60), answered: c.of(50)}
				if lives >= 12 { // it has died often enough
					l.after = 1 << 30
					s.emulator.SetFault(nil)
				} else {
					s.faulty(c.faults)
				}
				process := s.mortalClient(k, l, func(_ *dlq.Config, cfg *aws.Config) {
					cfg.HTTPClient = &http.Client{Transport: checkedTransport{mortalTransport{l, s.emulator.Client().Transport}, func(operation string) {
						checking.Lock()
						defer checking.Unlock()
						if left := s.left("fares-dlq") + s.left("fares"); left < n {
							t.Errorf("seed %d: after %s, %d messages are in the queues", seed, operation, left)
						}
					}}}
				})
				report, err := goOn(t.Context(), process, dlq.Options{From: "fares-dlq", Workers: 2, Visibility: 10 * time.Second})
				ended = err == nil && report.Remaining == 0
				time.Sleep(leaseOver)
			}
			s.emulator.SetFault(nil)
			handledOnce(s, ids)
			j, err := s.journalled(k).Status(t.Context(), "fares-dlq", "")
			if err != nil || j.State != dlq.JobEnded || j.InHand != 0 {
				t.Errorf("job %s, %v", asJSON(t, j), err)
			}
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// A message of a FIFO queue that may have been sent, and is sent again after the five
// minutes for which the queue knows its deduplication id, comes twice, in order, and
// under one id, by which its receiver drops it.
func TestJournalWindowDeduplicationIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filledFIFO(t, 9)
		k := memstore.New(memstore.Config{})
		l := &life{after: 1 << 30}
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "SendMessageBatch" {
				l.mu.Lock()
				l.after = l.n // its answer does not arrive, and nothing more is done
				l.mu.Unlock()
			}
			return emulator.Fault{}
		})
		opts := dlq.Options{From: "fares-dlq.fifo", To: "fares.fifo"}
		_, _ = s.mortalClient(k, l).Redrive(t.Context(), opts)
		s.emulator.SetFault(nil)
		sent := s.left("fares.fifo")
		time.Sleep(6 * time.Minute)
		report, err := goOn(t.Context(), s.journalled(k), opts)
		if err != nil || report.Remaining != 0 || sent == 0 {
			t.Fatalf("%d were sent first; it went on: %s, %v", sent, asJSON(t, report), err)
		}
		first, last := map[string]bool{}, map[string]string{}
		var all bytes.Buffer
		for _, m := range s.take("fares.fifo") {
			fmt.Fprintf(&all, "%s ", m.body)
			if first[m.uuid()] {
				continue
			}
			first[m.uuid()] = true
			if m.body < last[m.group] {
				t.Errorf("%s comes after %s of its group", m.body, last[m.group])
			}
			last[m.group] = m.body
		}
		if len(first) != len(ids) {
			t.Errorf("the destination has %s, want each of %v", &all, ids)
		}
	})
}
