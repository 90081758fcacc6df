package dlq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// undecided checks that a canary of five was not inferred, and the rest not sent.
func undecided(t *testing.T, report dlq.Report, err error) {
	t.Helper()
	var dead *dlq.CanaryError
	if !errors.As(err, &dead) || dead.Report.Undecided != 5 || report.Sent != 5 {
		t.Errorf("%s, %v", asJSON(t, report), err)
	}
}

// Where the dead letters of the destination go to another queue, that they do not
// come back says nothing.
func TestCanaryWhoseDeadLettersGoElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		s.queue("other-dlq", "", 0)
		s.queue("other", "other-dlq", 1)
		receiver := time.AfterFunc(5*time.Second, func() { // which fails always
			if err := s.receiveAll("other", 10*time.Second); err != nil {
				t.Error(err)
			}
		})
		defer receiver.Stop()
		report, err := s.journalled(memstore.New(memstore.Config{})).Redrive(t.Context(), dlq.Options{
			From: "fares-dlq", To: s.full("other"), Canary: dlq.Canary{Messages: 5, Wait: time.Minute},
		})
		undecided(t, report, err)
	})
}

// What is delayed was handed out to nobody.
func TestCanaryDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		if _, err := s.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: s.url("fares"), Attributes: map[string]string{"DelaySeconds": "900"}}); err != nil {
			t.Fatal(err)
		}
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, Wait: time.Minute}})
		undecided(t, report, err)
	})
}

// lateCounts tell for a while that nothing is in a queue.
type lateCounts struct {
	aws.HTTPClient
	queue string
	until time.Time
}

func (l lateCounts) Do(r *http.Request) (*http.Response, error) {
	late := false
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "GetQueueAttributes") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		late = strings.Contains(string(body), l.queue+`"`) && time.Now().Before(l.until)
	}
	resp, err := l.HTTPClient.Do(r)
	if err != nil || !late {
		return resp, err
	}
	var out struct{ Attributes map[string]string }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return nil, err
	}
	out.Attributes["ApproximateNumberOfMessages"] = "0"
	body, err := json.Marshal(out)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, err
}

// SQS's counts come late: that a destination holds nothing, just when the canary was
// sent, does not say that somebody received it.
func TestCanaryLateCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		cfg := s.aws
		cfg.HTTPClient = lateCounts{s.aws.HTTPClient, s.full("fares"), time.Now().Add(20 * time.Second)}
		report, err := s.clientVia(cfg, fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, Wait: 3 * time.Minute}})
		undecided(t, report, err)
	})
}

// The look for what came back does not go by the dead-letter queue's count, either.
func TestCanaryLateCountOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		receiver := s.charge(nil, ids...)
		defer receiver.stop()
		cfg := s.aws
		cfg.HTTPClient = &switchedClient{ // the snapshot is right
			HTTPClient: s.aws.HTTPClient, then: lateCounts{s.aws.HTTPClient, s.full("fares-dlq"), time.Now().Add(time.Hour)},
		}
		report, err := s.clientVia(cfg, fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5, Wait: time.Minute}})
		var dead *dlq.CanaryError
		if !errors.As(err, &dead) || dead.Report.Died != 5 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
	})
}

// A switchedClient is another once something was sent.
type switchedClient struct {
	aws.HTTPClient
	then aws.HTTPClient

	mu   sync.Mutex
	sent bool
}

func (c *switchedClient) Do(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.sent = c.sent || strings.HasSuffix(r.Header.Get("X-Amz-Target"), "SendMessageBatch")
	client := c.HTTPClient
	if c.sent {
		client = c.then
	}
	c.mu.Unlock()
	return client.Do(r)
}

// What cannot be sent is none of the canary: it is of as many as were asked for, all
// the same.
func TestCanaryThatCannotBeSent(t *testing.T) {
	for _, filter := range []string{"", `.id | test("[02468]$")`} {
		t.Run(filter, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := filled(t, 40)
				opts := dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 3, Wait: time.Minute}, Edit: func(_ context.Context, l *dlq.Letter) error {
					if l.ID < "m10" {
						return errors.New("no fare")
					}
					return nil
				}}
				if filter != "" {
					var err error
					if opts.Filter, err = dlq.ParseFilter(filter); err != nil {
						t.Fatal(err)
					}
				}
				report, err := s.journalled(memstore.New(memstore.Config{})).Redrive(t.Context(), opts)
				var dead *dlq.CanaryError
				if !errors.As(err, &dead) || report.Sent != 3 || dead.Report.Messages != 3 || report.Failed < 5 {
					t.Errorf("%s, %v", asJSON(t, report), err)
				}
			})
		})
	}
}

// A canary that cannot be had because all fails is no endless one.
func TestCanaryOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 3}, Edit: func(context.Context, *dlq.Letter) error {
			return errors.New("no fare")
		}})
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || report.Failed != 20 || report.Sent != 0 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
	})
}

// A canary that is watched for longer than the queue keeps its messages is warned of,
// and what the queue deleted meanwhile was not reached.
func TestCanaryOutlivesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		k := memstore.New(memstore.Config{})
		receiver := s.charge(nil)
		defer receiver.stop()
		s.short("fares-dlq")
		report, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5, Wait: 3 * time.Minute}})
		if report.Sent != 5 || report.NotReached != 15 || !strings.Contains(report.Warning, "the canary is watched for up to 3m0s") {
			t.Errorf("%s", asJSON(t, report))
		}
		var partial *dlq.PartialError
		if !errors.As(err, &partial) {
			t.Error(err)
		}
	})
}

// Records and queues that do not answer for a while do not end the redrive.
func TestCanaryUnansweredForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		k := memstore.New(memstore.Config{})
		receiver := s.charge(k)
		defer receiver.stop()
		begun := time.Now()
		s.faulty(func(operation, queueName string, _ int64) emulator.Fault {
			if operation == "GetQueueAttributes" && time.Since(begun) > 5*time.Second && time.Since(begun) < 25*time.Second {
				return emulator.Fault{Err: errInternal}
			}
			return emulator.Fault{}
		})
		away := &awayRecords{KeyRecords: k, until: begun.Add(40 * time.Second)}
		report, err := s.journalled(k, withRecords(away)).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, Wait: 30 * time.Second}})
		if err != nil || report.Sent != 20 || report.Canary.Done != 5 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
	})
}

// Records that never answer end it, some time after the wait.
func TestCanaryUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		k := memstore.New(memstore.Config{})
		away := &awayRecords{KeyRecords: k, until: time.Now().Add(time.Hour)}
		begun := time.Now()
		report, err := s.journalled(k, withRecords(away)).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, Wait: time.Minute}})
		if !errors.Is(err, errAway) || report.Sent != 5 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
		if took := time.Since(begun); took > 2*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

var errAway = errors.New("the records are away")

// awayRecords fail until a time.
type awayRecords struct {
	store.KeyRecords
	until time.Time
}

func (a *awayRecords) InspectKey(ctx context.Context, key string) (store.KeyRecord, error) {
	if time.Now().Before(a.until) {
		return store.KeyRecord{}, errAway
	}
	return a.KeyRecords.InspectKey(ctx, key)
}

// What nothing tells of counts like what died, and so many may.
func TestCanaryToleratesDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, MaxFailures: 5, Wait: time.Minute}})
		if err != nil || report.Sent != 20 || report.Canary.Undecided != 5 || !report.Canary.Passed {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
	})
}

// A job that loses its lease while it watches its canary sends nothing more, and says
// why; who goes on begins with another canary.
func TestCanaryLosesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		k := memstore.New(memstore.Config{})
		begun := time.Now()
		cut := noteFault{k, func(n store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
			if time.Since(begun) > 5*time.Second {
				return store.JobNoted{}, errAway
			}
			return do()
		}}
		report, err := s.journalled(cut).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, Wait: time.Hour}})
		var r *dlq.ResumableError
		if !errors.As(err, &r) || !errors.Is(err, store.ErrLeaseLost) || !strings.HasPrefix(err.Error(), "dlq: redrive") || report.Sent != 5 || report.Canary.Passed {
			t.Fatalf("%s, %v", asJSON(t, report), err)
		}
		receiver := s.charge(k)
		defer receiver.stop()
		report, err = s.journalled(k, withRecords(k)).Resume(t.Context(), "fares-dlq", "", dlq.Options{})
		if err != nil || report.Sent != 20 || report.Canary.Messages != 5 || !report.Canary.Passed {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
	})
}

// A job that was cancelled and is brought to its end has passed no canary.
func TestCanaryOfACancelledJob(t *testing.T) {
	for after := 12; after < 30; after += 3 {
		synctest.Test(t, func(t *testing.T) {
			s, _ := filled(t, 20)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: true}
			_, _ = s.mortalClient(k, l).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5}})
			time.Sleep(leaseOver)
			c := s.journalled(k)
			j, err := c.Cancel(t.Context(), "fares-dlq", "", "ada", "enough")
			if err != nil {
				t.Fatal(err)
			}
			if j.State == dlq.JobEnded {
				return
			}
			report, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{})
			var r *dlq.ResumableError
			if !errors.Is(err, dlq.ErrCancelled) || errors.As(err, &r) || report.Canary != nil && report.Canary.Passed || report.Sent > 5 {
				t.Errorf("%d: %s, %v", after, asJSON(t, report), err)
			}
		})
	}
}

// A job that is resumed before its canary was over keeps no more in hand for what an
// earlier process had hidden than without.
func TestCanaryResumedHoldsLittle(t *testing.T) {
	const n = 60
	for after := 12; after < 24; after += 3 {
		synctest.Test(t, func(t *testing.T) {
			s, _ := filled(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: true}
			_, _ = s.mortalClient(k, l).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5}})
			time.Sleep(leaseOver)
			receiver := s.charge(k)
			defer receiver.stop()
			most := 0
			report, err := s.journalled(k, withRecords(k)).Resume(t.Context(), "fares-dlq", "", dlq.Options{Workers: 1, Progress: func(r dlq.Report) {
				if r.Canary != nil && !r.Canary.Passed {
					most = max(most, r.Seen-r.Sent)
				}
			}})
			if err != nil || report.Remaining != 0 {
				t.Errorf("%d: %s, %v", after, asJSON(t, report), err)
			}
			if most > 20 {
				t.Errorf("%d: it had %d in hand", after, most)
			}
		})
	}
}

// In JSON a canary has its time in seconds, and status has it while it is watched.
func TestCanaryJSON(t *testing.T) {
	want := dlq.CanaryReport{Messages: 3, Waiting: 2, Done: 1, Wait: 90 * time.Second}
	text := asJSON(t, dlq.Report{Canary: &want})
	if !strings.Contains(text, `"wait_seconds":90`) || strings.Contains(text, "000000000") {
		t.Error(text)
	}
	var got dlq.Report
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Canary == nil || *got.Canary != want {
		t.Errorf("%+v, %v", got.Canary, err)
	}
}

// In a FIFO queue, what is sent first and the rest are in the order of their groups.
func TestCanaryFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filledFIFO(t, 12)
		report, err := s.journalled(memstore.New(memstore.Config{})).Redrive(t.Context(), dlq.Options{
			From: "fares-dlq.fifo", Canary: dlq.Canary{Messages: 5, MaxFailures: 5, Wait: time.Minute},
		})
		if err != nil || report.Sent != 12 || report.Remaining != 0 || report.Canary.Messages != 5 {
			t.Fatalf("%s, %v", asJSON(t, report), err)
		}
		out, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("fares.fifo"), MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		var groups [4][]string
		for _, m := range out.Messages {
			i := slices.Index(ids, *m.Body) / 3
			groups[i] = append(groups[i], *m.Body)
		}
		for i, got := range groups {
			if want := ids[3*i:][:len(got)]; !slices.Equal(got, want) {
				t.Errorf("group %d is %v, want %v", i, got, want)
			}
		}
	})
}
