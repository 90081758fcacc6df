package pipeline_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// A script is a filter that fails as it is told to, and remembers when it ran.
type script struct {
	mu    sync.Mutex
	start time.Time
	runs  []time.Duration // since start
	next  func(ctx context.Context, run int) error
}

func newScript(next func(ctx context.Context, run int) error) *script {
	return &script{start: time.Now(), next: next}
}

func (s *script) filter(ctx context.Context, f fare) (fare, error) {
	s.mu.Lock()
	s.runs = append(s.runs, time.Since(s.start))
	n := len(s.runs)
	s.mu.Unlock()
	return f, s.next(ctx, n)
}

func (s *script) ran() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Duration(nil), s.runs...)
}

func always(err error) func(context.Context, int) error {
	return func(context.Context, int) error { return err }
}

// foreign is a permanent error of a package that does not know this one.
type foreign struct{}

func (foreign) Error() string   { return "no such account" }
func (foreign) Permanent() bool { return true }

// A permanent failure goes to the dead-letter queue at once, with everything
// that is known about it.
func TestPermanentFailuresAreBuriedAtOnce(t *testing.T) {
	for name, err := range map[string]error{
		"Permanent":         pipeline.Permanent(fmt.Errorf("charge: %w", errDeclined)),
		"wrapped Permanent": fmt.Errorf("outer: %w", pipeline.Permanent(errDeclined)),
		"foreign":           fmt.Errorf("outer: %w", foreign{}),
		"backoff.Permanent": backoff.Permanent(errDeclined),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("out"))
				p := s.process().pipeline()
				charge := newScript(always(err))
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				s.start(p)
				sent := time.Now()
				id := s.send("in", `{"id":"f1"}`, "colour", "red")
				settle(time.Second)

				dead := s.one("in-dlq")
				if dead.body != `{"id":"f1"}` || dead.uuid() != id || dead.attributes["colour"] != "red" {
					t.Errorf("the message was changed: %+v", dead)
				}
				got := dead.failure(t)
				want := queue.NewFailure(queue.ReasonPermanent, err)
				want.Filter, want.Attempts, want.ReceiveCount = "charge", 1, 1
				want.Endpoint, want.Source, want.MessageID = "in", "sqs://in", id
				want.SentAt, want.FirstFailure, want.LastFailure = sent.UTC(), sent.UTC(), sent.UTC()
				if asJSON(t, got) != asJSON(t, want) {
					t.Errorf("got  %s\nwant %s", asJSON(t, got), asJSON(t, want))
				}
				if n := s.left("in") + s.left("out"); n != 0 {
					t.Errorf("%d messages are left elsewhere", n)
				}
			})
		})
	}
}

// A retryable failure is retried in place with a backoff, then after longer and
// longer pauses from the queue, and is buried on the last receive, with the
// counts and times of all that this process saw.
func TestRetryableFailuresAreRetriedThenBuried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(always(errDeclined))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"),
			pipeline.Retries(pipeline.Retry{Attempts: 2, Interval: time.Second}))
		s.start(p)
		begin := time.Now()
		s.send("in", `{"id":"f1"}`)
		settle(5 * time.Minute)

		runs := charge.ran()
		if len(runs) != 6 {
			t.Fatalf("the filter ran at %v, want 2 runs in each of 3 receives", runs)
		}
		for i, least := range []time.Duration{0, 500 * time.Millisecond, 10 * time.Second, 500 * time.Millisecond, 20 * time.Second, 500 * time.Millisecond} {
			var pause time.Duration
			if i > 0 {
				pause = runs[i] - runs[i-1]
			}
			if pause < least || pause > least+2*time.Second {
				t.Errorf("run %d came %v after the one before, want %v or little more", i+1, pause, least)
			}
		}
		got := s.one("in-dlq").failure(t)
		if got.Reason != queue.ReasonExhausted || got.ReceiveCount != 3 || got.Attempts != 6 {
			t.Errorf("got %s", asJSON(t, got))
		}
		if !got.FirstFailure.Equal(begin.Add(runs[0])) || !got.LastFailure.Equal(begin.Add(runs[5])) {
			t.Errorf("failed first at %v and last at %v; want %v and %v", got.FirstFailure, got.LastFailure, begin.Add(runs[0]), begin.Add(runs[5]))
		}
	})
}

// What another process saw is not known, and not made up.
func TestRecordSaysOnlyWhatItsProcessSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		charge := newScript(always(errDeclined))
		program := func() *pipeline.Pipeline {
			p := s.process().pipeline(func(c *pipeline.Config) { c.Retry.Attempts = 1 })
			p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
			return p
		}
		stop := s.start(program())
		s.send("in", `{"id":"f1"}`)
		settle(15 * time.Second) // two receives
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		s.start(program())
		settle(time.Minute)
		got := s.one("in-dlq").failure(t)
		if got.Attempts != 1 || got.ReceiveCount != 3 || !got.FirstFailure.Equal(got.LastFailure) {
			t.Errorf("got %s; want 1 attempt of 3 receives", asJSON(t, got))
		}
	})
}

func TestFailuresThatPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(_ context.Context, run int) error {
			if run < 5 {
				return errDeclined
			}
			return nil
		})
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(time.Minute)
		s.one("out")
		if n := s.left("in") + s.left("in-dlq"); n != 0 {
			t.Errorf("%d messages are left elsewhere", n)
		}
	})
}

// RetryAfter gives the message back at once, for as long as it says.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(_ context.Context, run int) error {
			if run == 1 {
				return fmt.Errorf("charge: %w", pipeline.RetryAfter(errDeclined, 42*time.Second))
			}
			return nil
		})
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(2 * time.Minute)
		if runs := charge.ran(); len(runs) != 2 || runs[1] < 42*time.Second || runs[1] > 44*time.Second {
			t.Errorf("ran at %v, want 0 and 42s", runs)
		}
		if pipeline.RetryAfter(nil, time.Second) != nil || pipeline.Permanent(nil) != nil {
			t.Error("no error became one")
		}
	})
}

func TestRedeliveryOverridesTheSubscribersBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline(func(c *pipeline.Config) {
			c.Retry = pipeline.Retry{Attempts: 1, Redelivery: func(n int) time.Duration { return time.Duration(n) * time.Minute }}
		})
		charge := newScript(always(errDeclined))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(10 * time.Minute)
		runs := charge.ran()
		if len(runs) != 3 || runs[1] < time.Minute || runs[2]-runs[1] < 2*time.Minute || runs[2] > 3*time.Minute+5*time.Second {
			t.Errorf("ran at %v, want 0, 1m and 3m", runs)
		}
	})
}

func TestUndecodableMessagesAreNeverRetried(t *testing.T) {
	cases := []struct {
		name       string
		body       string
		attributes []string
		error      string
	}{
		{"not JSON", `{"id":`, nil, "decode the body as pipeline_test.fare"},
		{"of another type", `{"id":7}`, nil, "cannot unmarshal number"},
		{"more than one value", `{} {}`, nil, "after top-level value"},
		{"broken on the wire", `?`, []string{queue.AttrEncoding, "base64"}, "the body is not"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("out"))
				p := s.process().pipeline()
				charge := newScript(always(nil))
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				s.start(p)
				s.send("in", c.body, c.attributes...)
				settle(time.Second)
				dead := s.one("in-dlq")
				got := dead.failure(t)
				if got.Reason != queue.ReasonUndecodable || got.ReceiveCount != 1 || !strings.Contains(got.Message, c.error) {
					t.Errorf("got %s", asJSON(t, got))
				}
				if dead.body != c.body {
					t.Errorf("the body became %q", dead.body)
				}
				if len(charge.ran()) != 0 {
					t.Error("the filter ran")
				}
			})
		})
	}
}

// A codec can say that it is not the message's fault.
func TestCodecFailuresThatPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		codec := &lockedCodec{Codec: pipeline.JSON, failures: 2}
		p := s.process().pipeline(func(c *pipeline.Config) { c.Codec = codec })
		p.Handle("double", pipeline.Func(double), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1","amount":1}`)
		settle(time.Minute)
		if out := s.one("out"); out.body != `{"id":"f1","amount":2}` {
			t.Errorf("got %s", out.body)
		}
	})
}

type lockedCodec struct {
	pipeline.Codec
	failures int
}

type noKey struct{}

func (noKey) Error() string   { return "the key cannot be fetched" }
func (noKey) Permanent() bool { return false }

func (c *lockedCodec) Unmarshal(data []byte, v any) error {
	if c.failures--; c.failures >= 0 {
		return noKey{}
	}
	return c.Codec.Unmarshal(data, v)
}

func TestPanicsAreFailuresWithTheirStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(context.Context, int) error { panic(errDeclined) })
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(5 * time.Minute)
		got := s.one("in-dlq").failure(t)
		if got.Reason != queue.ReasonExhausted || got.Message != "panic: card declined" || !strings.Contains(got.Stack, "failure_test.go") {
			t.Errorf("got %s", asJSON(t, got))
		}
		if len(got.Chain) != 2 || got.Chain[0] != "*pipeline.PanicError: panic: card declined" {
			t.Errorf("chain %q", got.Chain)
		}
	})
}

// A filter that ends its goroutine, as t.FailNow does, loses nothing.
func TestGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(_ context.Context, run int) error {
			if run == 1 {
				runtime.Goexit()
			}
			return nil
		})
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(time.Minute)
		s.one("out")
	})
}

// An attempt that takes too long is a failure like others.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(ctx context.Context, run int) error {
			if run == 1 {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		})
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"), pipeline.Timeout(40*time.Second),
			pipeline.Retries(pipeline.Retry{MaxElapsed: time.Minute}))
		s.start(p)
		s.send("in", `{}`)
		settle(time.Minute)
		s.one("out")
		if runs := charge.ran(); len(runs) != 2 || runs[1] < 40*time.Second || runs[1] > 41*time.Second {
			t.Errorf("ran at %v", runs)
		}
	})
}

// A message that may be with another receiver is neither buried nor given back.
func TestLostVisibility(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := endpoint("in")
		e.MaxReceiveCount = 1
		s := newStack(t, e, endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(ctx context.Context, run int) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.faulty("ChangeMessageVisibilityBatch", "in", emulator.Fault{Err: errInternal})
		s.start(p)
		s.send("in", `{}`)
		settle(29 * time.Second)
		if n := len(s.take("in-dlq")); n != 0 {
			t.Errorf("the dead-letter queue holds %d messages", n)
		}
		settle(time.Minute)
		// The queue's own policy has taken it meanwhile.
		if dead := s.one("in-dlq"); dead.attributes[queue.KeyFailure] != "" {
			t.Error("a process that did not hold the message any more has buried it")
		}
	})
}
