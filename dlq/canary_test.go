package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A charger is the pipeline that receives fares, with one filter.
type charger struct {
	mu      sync.Mutex
	handled []string
	stop    func()
}

func (c *charger) ids() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.handled))
}

// charge runs a pipeline whose filter, "charge", fails for good on the ids that are
// broken. With records it is idempotent.
func (s *server) charge(records store.Idempotency, broken ...string) *charger {
	s.Helper()
	endpoints, err := queue.NewEndpoints(s.ns, fares())
	if err != nil {
		s.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws, Endpoints: endpoints})
	if err != nil {
		s.Fatal(err)
	}
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: s.aws, Endpoints: endpoints, DeliverUndecodable: true})
	if err != nil {
		s.Fatal(err)
	}
	p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints})
	if err != nil {
		s.Fatal(err)
	}
	c := &charger{}
	options := []pipeline.Option{pipeline.From("fares")}
	if records != nil {
		options = append(options, pipeline.Use(pipeline.Idempotent(store.Once{Records: records})))
	}
	p.Handle("charge", pipeline.Sink(func(_ context.Context, m struct{ ID string }) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.handled = append(c.handled, m.ID)
		if slices.Contains(broken, m.ID) {
			return pipeline.Permanent(errors.New("card declined"))
		}
		return nil
	}), options...)
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.Errorf("the pipeline: %v", err)
		}
		sub.Close()
		pub.Close()
	})
	return c
}

// A redrive with a canary sends no more than that before its receivers are done,
// and then the rest.
func TestCanaryByRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		k := memstore.New(memstore.Config{})
		held := &holdingRecords{KeyRecords: k, until: time.Now().Add(10 * time.Second)}
		c := s.journalled(k, withRecords(held))
		receiver := s.charge(k)
		defer receiver.stop()
		var early int
		begun := time.Now()
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5}, Progress: func(r dlq.Report) {
			if time.Since(begun) < 10*time.Second {
				early = max(early, r.Sent)
			}
		}})
		if err != nil || report.Sent != 20 || report.Deleted != 20 || report.Remaining != 0 {
			t.Fatalf("%s, %v", asJSON(t, report), err)
		}
		want := dlq.CanaryReport{Messages: 5, Done: 5, Passed: true, Wait: 180 * time.Second}
		if report.Canary == nil || *report.Canary != want {
			t.Errorf("the canary is %+v, want %+v", report.Canary, want)
		}
		if early != 5 {
			t.Errorf("%d messages were sent before the canary was done, want 5", early)
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("it took %v: it goes on as soon as all have records", took)
		}
		time.Sleep(time.Minute)
		if got := receiver.ids(); !slices.Equal(got, ids) {
			t.Errorf("handled %v, want each once", got)
		}
	})
}

// holdingRecords tell of nothing until a time.
type holdingRecords struct {
	store.KeyRecords
	until time.Time
}

func (h *holdingRecords) InspectKey(ctx context.Context, key string) (store.KeyRecord, error) {
	if time.Now().Before(h.until) {
		return store.KeyRecord{}, nil
	}
	return h.KeyRecords.InspectKey(ctx, key)
}

func withRecords(r store.KeyRecords) func(*dlq.Config, *aws.Config) {
	return func(c *dlq.Config, _ *aws.Config) { c.Records = r }
}

// Where more of the canary die than may, the rest stays, the job has ended, and
// another can begin.
func TestCanaryDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k, withRecords(k))
		receiver := s.charge(k, ids...)
		defer receiver.stop()
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 4, Wait: time.Minute, MaxFailures: 1}})
		var dead *dlq.CanaryError
		if !errors.As(err, &dead) || dead.Report.Died != 4 || !strings.Contains(err.Error(), "4 died, and at most 1 may") {
			t.Fatalf("%v", err)
		}
		if report.Sent != 4 || report.Remaining != 20 || report.Canary == nil || report.Canary.Passed {
			t.Errorf("%s", asJSON(t, report))
		}
		j, err := c.Status(t.Context(), "fares-dlq", "")
		if err != nil || j.State != dlq.JobEnded || j.Report.Canary == nil || j.Report.Canary.Died != 4 || j.Spec.Canary != 4 {
			t.Errorf("%s, %v", asJSON(t, j), err)
		}
		receiver.stop()
		report, err = c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if err != nil || report.Sent != 20 {
			t.Errorf("another: %s, %v", asJSON(t, report), err)
		}
		handledOnce(s, ids)
	})
}

// As many may die as MaxFailures says. They stay in the dead-letter queue.
func TestCanaryTolerates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k, withRecords(k))
		receiver := s.charge(k, ids[0], ids[1]) // the oldest go first
		defer receiver.stop()
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5, Wait: time.Minute, MaxFailures: 2}})
		if err != nil || report.Sent != 20 || report.CameBack != 2 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
		if got := report.Canary; got.Done != 3 || got.Died != 2 || !got.Passed {
			t.Errorf("the canary is %+v", got)
		}
	})
}

// Without records a message is done when it has not come back in the time, and its
// queue is emptied. That is said to be inferred.
func TestCanaryInferred(t *testing.T) {
	for name, edit := range map[string]func(k *memstore.Store) (store.Idempotency, func(*dlq.Config, *aws.Config)){
		"no records are known": func(*memstore.Store) (store.Idempotency, func(*dlq.Config, *aws.Config)) {
			return nil, withRecords(nil)
		},
		"the receiver keeps none": func(k *memstore.Store) (store.Idempotency, func(*dlq.Config, *aws.Config)) {
			return nil, withRecords(k)
		},
		"under a name of its own": func(k *memstore.Store) (store.Idempotency, func(*dlq.Config, *aws.Config)) {
			return k, withRecords(memstore.New(memstore.Config{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := filled(t, 20)
				k := memstore.New(memstore.Config{})
				records, with := edit(k)
				receiver := s.charge(records)
				defer receiver.stop()
				begun := time.Now()
				report, err := s.journalled(k, with).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, Wait: time.Minute}})
				if err != nil || report.Sent != 20 {
					t.Fatalf("%s, %v", asJSON(t, report), err)
				}
				if got := *report.Canary; got != (dlq.CanaryReport{Messages: 5, Inferred: 5, Passed: true, Wait: time.Minute}) {
					t.Errorf("the canary is %+v", got)
				}
				if took := time.Since(begun); took < time.Minute {
					t.Errorf("it took %v: nothing can be inferred before the time is over", took)
				}
			})
		})
	}
}

// One of a canary without records that comes back has died.
func TestCanaryInferredDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		receiver := s.charge(nil, ids[1])
		defer receiver.stop()
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5, Wait: time.Minute}})
		var dead *dlq.CanaryError
		if !errors.As(err, &dead) || dead.Report.Died != 1 || report.Remaining != 16 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
	})
}

// Where nobody receives what was sent, nothing is inferred, and the rest stays.
func TestCanaryNobodyReceives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		k := memstore.New(memstore.Config{})
		report, err := s.journalled(k, withRecords(k)).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 5, Wait: time.Minute}})
		var dead *dlq.CanaryError
		if !errors.As(err, &dead) || dead.Report.Undecided != 5 || report.Sent != 5 || report.Remaining != 15 {
			t.Fatalf("%s, %v", asJSON(t, report), err)
		}
		if !strings.Contains(err.Error(), "see whether their receivers run") {
			t.Error(err)
		}
	})
}

// What the dead-letter queue has, and does not show, may be what came back.
func TestCanaryOutOfSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		receiver := s.charge(nil, ids[0])
		defer receiver.stop()
		var once sync.Once
		c := s.client(fares())
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5, Wait: time.Minute}, Progress: func(r dlq.Report) {
			if r.Canary != nil && s.left("fares-dlq") == 16 {
				once.Do(func() { // somebody else looks at all for long
					for range 2 {
						if err := s.receiveAll("fares-dlq", time.Hour); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}})
		var dead *dlq.CanaryError
		if !errors.As(err, &dead) || dead.Report.Died != 0 || dead.Report.Undecided != 1 || dead.Report.Inferred != 4 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
	})
}

// With a filter, what is in hand beyond the canary is sent when that is over, and
// each once.
func TestCanaryOfTheChosen(t *testing.T) {
	for _, limit := range []int{0, 7, 2} {
		t.Run(fmt.Sprintf("limit=%d", limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ids := filled(t, 40)
				k := memstore.New(memstore.Config{})
				receiver := s.charge(k)
				defer receiver.stop()
				filter, err := dlq.ParseFilter(`.id | test("[02468]$")`)
				if err != nil {
					t.Fatal(err)
				}
				want := 20
				if limit > 0 {
					want = limit
				}
				first := 0
				report, err := s.journalled(k, withRecords(k)).Redrive(t.Context(), dlq.Options{
					From: "fares-dlq", Filter: filter, Limit: limit, Canary: dlq.Canary{Messages: 3},
					Progress: func(r dlq.Report) {
						if !r.Canary.Passed {
							first = max(first, r.Sent)
						}
					},
				})
				if err != nil || report.Sent != want || report.Deleted != want || report.Remaining != 40-want {
					t.Fatalf("%s, %v", asJSON(t, report), err)
				}
				if first != min(3, want) || report.Canary.Messages != min(3, want) {
					t.Errorf("%d were sent at first; the canary is %+v", first, report.Canary)
				}
				time.Sleep(time.Minute)
				got := receiver.ids()
				if len(slices.Compact(slices.Clone(got))) != want || len(got) != want {
					t.Errorf("handled %v of %v, want %d", got, ids, want)
				}
			})
		})
	}
}

// Looks through the dead-letter queue are few, however many fail in the meantime.
func TestCanaryLooksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 20)
		receiver := s.charge(nil)
		defer receiver.stop()
		looks, cleared := 0, 0
		n := 0
		var mu sync.Mutex
		s.faulty(func(operation, queueName string, _ int64) emulator.Fault {
			mu.Lock()
			defer mu.Unlock()
			if queueName == "fares-dlq" && operation == "ReceiveMessage" {
				n++
			}
			return emulator.Fault{}
		})
		_, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Canary: dlq.Canary{Messages: 5, Wait: time.Minute}, Progress: func(r dlq.Report) {
			if r.Canary == nil || r.Canary.Passed {
				return
			}
			s.bury("fares-dlq", fmt.Sprintf("new%d", cleared), `{}`, "fares")
			cleared++
			mu.Lock()
			defer mu.Unlock()
			if n > 1 {
				looks++
			}
			n = 0
		}})
		var dead *dlq.CanaryError
		if errors.As(err, &dead) {
			t.Fatal(err) // the new ones are in the way of the others, but not of the canary
		}
		if looks < 3 || looks > 5 {
			t.Errorf("it looked %d times, want 4 or so", looks)
		}
	})
}

// A job that dies while it watches its canary is resumed with another, and one that
// dies later with none. Each message is handled once, whenever it dies.
func TestCanaryCrashBetweenAnyTwoCalls(t *testing.T) {
	const n = 12
	crashes(t, func(t *testing.T, after int, answered bool) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, n)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: answered}
			for _, id := range ids { // so that the canary is done at once
				key := store.MessageKey("charge", id)
				if err := k.Complete(t.Context(), store.Completion{Key: key, Token: "t", Retention: time.Hour}); err != nil {
					t.Fatal(err)
				}
			}
			opts := dlq.Options{From: "fares-dlq", Workers: 2, Canary: dlq.Canary{Messages: 3}}
			_, _ = s.mortalClient(k, l, withRecords(k)).Redrive(t.Context(), opts)
			calls = l.calls()
			time.Sleep(leaseOver)
			c := s.journalled(k, withRecords(k))
			report, err := goOn(t.Context(), c, opts)
			if err != nil || report.Remaining != 0 || report.Sent != report.Deleted || report.Failed != 0 {
				t.Errorf("it went on: %s, %v", asJSON(t, report), err)
			}
			if report.Canary == nil || !report.Canary.Passed {
				t.Errorf("the canary is %+v", report.Canary)
			}
			handledOnce(s, ids)
		})
		return calls
	})
}

// A job that is cancelled, or interrupted, while it watches its canary stops at once.
func TestCanaryStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 12)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k, withRecords(k))
		opts := dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 3, Wait: time.Hour}}
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, interrupt)
		begun := time.Now()
		report, err := c.Redrive(ctx, opts)
		var resumable *dlq.ResumableError
		if !errors.As(err, &resumable) || !errors.Is(err, context.Canceled) || report.Sent != 3 || report.Remaining != 9 {
			t.Fatalf("interrupted: %s, %v", asJSON(t, report), err)
		}
		if took := time.Since(begun); took > 61*time.Second {
			t.Errorf("it took %v to stop", took-time.Minute)
		}
		time.AfterFunc(time.Minute, func() {
			if _, err := c.Cancel(t.Context(), "fares-dlq", "", "ada", "enough"); err != nil {
				t.Error(err)
			}
		})
		report, err = c.Resume(t.Context(), "fares-dlq", "", dlq.Options{})
		if !errors.Is(err, dlq.ErrCancelled) || report.Sent != 6 || report.Remaining != 6 {
			t.Errorf("cancelled: %s, %v", asJSON(t, report), err)
		}
		if s.left("fares") != 6 {
			t.Errorf("%d were sent, of %v", s.left("fares"), ids)
		}
	})
}

func TestCanaryOptions(t *testing.T) {
	for want, canary := range map[string]dlq.Canary{
		"Canary.Messages is -1":    {Messages: -1},
		"Canary.Messages is 10001": {Messages: 10_001},
		"Canary.Wait is -1s":       {Messages: 1, Wait: -time.Second},
		"Canary.MaxFailures is -1": {Messages: 1, MaxFailures: -1},
		"Canary has no Messages":   {Wait: time.Second},
	} {
		s := &server{TB: t}
		_, err := s.clientVia(aws.Config{Region: "us-east-1"}).Redrive(t.Context(), dlq.Options{From: "q", Canary: canary})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", canary, err, want)
		}
	}
}

// receiveAll hides what can be received of a queue.
func (s *server) receiveAll(name string, d time.Duration) error {
	for {
		out, err := s.sqs.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: s.url(name), MaxNumberOfMessages: 10, VisibilityTimeout: int32(d / time.Second),
		})
		if err != nil || len(out.Messages) == 0 {
			return err
		}
	}
}

// The records are those of the Receiver that is named, after a resume, too.
func TestCanaryReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 12)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k, withRecords(k))
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, interrupt)
		report, err := c.Redrive(ctx, dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 3, Wait: time.Hour, Receiver: "bill"}})
		if !errors.Is(err, context.Canceled) || report.Sent != 3 {
			t.Fatalf("interrupted: %s, %v", asJSON(t, report), err)
		}
		for _, id := range ids {
			if err := k.Complete(t.Context(), store.Completion{Key: store.MessageKey("bill", id), Token: "t", Retention: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		report, err = c.Resume(t.Context(), "fares-dlq", "", dlq.Options{})
		if err != nil || report.Sent != 12 || report.Canary.Done != 3 {
			t.Errorf("resumed: %s, %v", asJSON(t, report), err)
		}
	})
}
