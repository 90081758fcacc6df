package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// When it is told to stop, a pipeline receives nothing more, and finishes what
// it has begun: outputs are sent, and inputs deleted.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(func(ctx context.Context, _ int) error {
			time.Sleep(10 * time.Second)
			return ctx.Err()
		})
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		stop := s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(time.Second)
		stopping := make(chan error)
		go func() { stopping <- stop() }()
		settle(time.Second)
		s.send("in", `{"id":"f2"}`)
		if err := <-stopping; err != nil {
			t.Error(err)
		}
		if out := s.one("out"); out.body != `{"id":"f1","amount":0}` {
			t.Errorf("got %s", out.body)
		}
		if n := s.left("in"); n != 1 {
			t.Errorf("in holds %d messages, want the one that came late", n)
		}
	})
}

// Deployments cost the messages that wait nothing: one that no filter has seen is
// not received, and so not moved for it.
func TestRestartsMoveNoHealthyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := endpoint("in") // three receives
		e.Concurrency = 10
		s := newStack(t, e)
		const messages = 60
		for i := range messages {
			s.send("in", fmt.Sprintf(`{"id":"f%d"}`, i))
		}
		var handled atomic.Int64
		restart := func(after time.Duration) {
			p := s.process().pipeline()
			p.Handle("slow", pipeline.Sink(func(context.Context, fare) error {
				time.Sleep(2 * time.Second)
				handled.Add(1)
				return nil
			}), pipeline.From("in"))
			stop := s.start(p)
			time.Sleep(after)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			restart(time.Second)
		}
		restart(time.Minute)
		if dead, left := s.left("in-dlq"), s.left("in"); handled.Load() != messages || dead != 0 || left != 0 {
			t.Errorf("handled %d messages without a failure; %d are dead letters, %d are left", handled.Load(), dead, left)
		}
	})
}

// A filter that does not finish in time has its context ended, and its message
// comes again at once. It is no failure of the message, unless there is no
// other receive.
func TestDrainRunsOutOfTime(t *testing.T) {
	for name, receives := range map[string]int{"with another receive": 3, "on the last receive": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := endpoint("in")
				e.MaxReceiveCount = receives
				s := newStack(t, e, endpoint("out"))
				p := s.process().pipeline(func(c *pipeline.Config) { c.DrainTimeout = 5 * time.Second })
				charge := newScript(func(ctx context.Context, _ int) error {
					<-ctx.Done()
					return pipeline.Permanent(context.Cause(ctx)) // as a careless filter might
				})
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				stop := s.start(p)
				s.send("in", `{"id":"f1"}`)
				settle(time.Second)
				begin := time.Now()
				if err := stop(); err != nil {
					t.Error(err)
				}
				if d := time.Since(begin); d < 5*time.Second || d > 6*time.Second {
					t.Errorf("the drain took %v, want 5s", d)
				}
				if receives > 1 {
					if in := s.take("in"); len(in) != 1 {
						t.Errorf("%d messages can be received again, want 1", len(in))
					}
					return
				}
				if f := s.one("in-dlq").failure(t); f.Reason != queue.ReasonExhausted || !strings.Contains(f.Message, "told to stop") {
					t.Errorf("got %s", asJSON(t, f))
				}
			})
		})
	}
}

// A filter that ignores its context is left behind, by name.
func TestFilterThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline(func(c *pipeline.Config) { c.DrainTimeout = time.Second })
		forever := make(chan struct{})
		p.Handle("charge", pipeline.Func(func(context.Context, fare) (fare, error) {
			<-forever
			return fare{}, nil
		}), pipeline.From("in"), pipeline.To("out"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		s.send("in", `{"id":"f1"}`)
		settle(time.Second)
		cancel()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "did not return within 3s: charge") {
			t.Errorf("got %v", err)
		}
		close(forever)
		settle(time.Minute)
	})
}

// start and stop again and again, with messages under way: nothing is lost.
func TestStartStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 200
		e := endpoint("in")
		e.MaxReceiveCount = 1000
		s := newStack(t, e, endpoint("out"))
		for range messages {
			s.send("in", `{}`)
		}
		for i := range 50 {
			p := s.process().pipeline(func(c *pipeline.Config) { c.DrainTimeout = 20 * time.Millisecond })
			charge := newScript(func(ctx context.Context, _ int) error {
				select {
				case <-time.After(100 * time.Millisecond):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
			stop := s.start(p)
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		settle(time.Minute)
		seen := map[string]bool{}
		for _, f := range s.take("out") {
			seen[f.uuid()] = true
		}
		if len(seen)+len(s.take("in")) != messages {
			t.Errorf("%d messages are out, want %d with those left", len(seen), messages)
		}
	})
}

// A pipeline runs on any watermill Pub/Sub: retries are in place then, and
// what fails goes to the dead-letter topic.
func TestPlainPubSub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
		defer ps.Close()
		p, err := pipeline.New(pipeline.Config{
			Publisher: ps, Subscriber: ps, DeadLetter: "dead",
			Wiring: pipeline.Wiring{"increment": {From: "mid"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		runs := 0
		p.Handle("double", pipeline.Func(func(ctx context.Context, f fare) (fare, error) {
			if runs++; f.ID == "bad" || runs == 1 {
				return f, errDeclined
			}
			return double(ctx, f)
		}), pipeline.From("in"), pipeline.To("mid"))
		p.Handle("increment", pipeline.Func(increment), pipeline.From("other"), pipeline.To("out"))
		ctx, cancel := context.WithCancel(t.Context())
		out, err := ps.Subscribe(ctx, "out")
		if err != nil {
			t.Fatal(err)
		}
		dead, err := ps.Subscribe(ctx, "dead")
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- p.Run(running) }()
		synctest.Wait()
		publish := func(body string) {
			if err := ps.Publish("in", message.NewMessage(watermill.NewUUID(), []byte(body))); err != nil {
				t.Error(err)
			}
		}
		publish(`{"id":"f1","amount":20}`)
		m := <-out
		m.Ack()
		if string(m.Payload) != `{"id":"f1","amount":41}` {
			t.Errorf("got %s", m.Payload)
		}
		for body, reason := range map[string]queue.Reason{`{"id":"bad"}`: queue.ReasonExhausted, `no JSON`: queue.ReasonUndecodable} {
			publish(body)
			m := <-dead
			m.Ack()
			f, ok, err := queue.DecodeFailure(m.Metadata)
			if string(m.Payload) != body || !ok || err != nil || f.Reason != reason || f.Endpoint != "in" || f.Filter != "double" {
				t.Errorf("got %s with %v %v %v", m.Payload, f, ok, err)
			}
			if reason == queue.ReasonExhausted && f.Attempts != pipeline.DefaultAttempts {
				t.Errorf("%d attempts", f.Attempts)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		cancel()
		synctest.Wait()
	})
}

// A plain Pub/Sub ends the contexts of messages when it is told to stop; the
// filter at work keeps its own until the drain has taken its time.
func TestPlainPubSubDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
		defer ps.Close()
		p, err := pipeline.New(pipeline.Config{Publisher: ps, Subscriber: ps})
		if err != nil {
			t.Fatal(err)
		}
		finished := false
		p.Handle("slow", pipeline.Sink(func(ctx context.Context, _ fare) error {
			select {
			case <-time.After(10 * time.Second):
				finished = true
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}), pipeline.From("in"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		if err := ps.Publish("in", message.NewMessage("m1", []byte(`{}`))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || !finished {
			t.Errorf("finished %v, error %v", finished, err)
		}
	})
}

// A subscription that ends by itself ends Run: the filter would be deaf.
func TestSubscriptionThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
		p, err := pipeline.New(pipeline.Config{Publisher: ps, Subscriber: ps})
		if err != nil {
			t.Fatal(err)
		}
		p.Handle("sink", pipeline.Sink(func(context.Context, fare) error { return nil }), pipeline.From("in"))
		done := make(chan error)
		go func() { done <- p.Run(t.Context()) }()
		synctest.Wait()
		ps.Close()
		if err := <-done; err == nil || !strings.Contains(err.Error(), `the subscription to "in" ended`) {
			t.Errorf("got %v", err)
		}
		if err := p.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("subscribing to a closed Pub/Sub: %v", err)
		}
	})
}
