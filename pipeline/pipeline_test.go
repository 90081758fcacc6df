package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
)

func double(_ context.Context, f fare) (fare, error) {
	f.Amount *= 2
	return f, nil
}

func increment(_ context.Context, f fare) (fare, error) {
	f.Amount++
	return f, nil
}

// settle lets everything happen that happens by itself within a time.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFiltersAreChainedByEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("out"))
		p := s.process().pipeline(func(c *pipeline.Config) { c.History = true })
		p.Handle("double", pipeline.Func(double), pipeline.From("in"), pipeline.To("mid"))
		p.Handle("increment", pipeline.Func(increment), pipeline.From("mid"), pipeline.To("out"))
		s.start(p)
		id := s.send("in", `{"id":"f1","amount":20}`)
		settle(time.Second)

		out := s.one("out")
		if out.body != `{"id":"f1","amount":41}` {
			t.Errorf("body %s", out.body)
		}
		if got := out.attributes[queue.KeyCorrelation]; got != id {
			t.Errorf("correlation %q, want the first message's id %q", got, id)
		}
		if c := out.attributes[queue.KeyCausation]; c == "" || c == id {
			t.Errorf("causation %q, want the id of the message between", c)
		}
		if got := out.attributes[pipeline.KeyHistory]; got != "double,increment" {
			t.Errorf("history %q", got)
		}
		for _, q := range []string{"in", "mid", "in-dlq", "mid-dlq"} {
			if n := s.left(q); n != 0 {
				t.Errorf("%s holds %d messages", q, n)
			}
		}
	})
}

// The same filters, and nothing changed but configuration: the order of the
// filters, and the queues between them.
func TestWiringReordersAndRewires(t *testing.T) {
	chains := []struct {
		name   string
		wiring pipeline.Wiring
		last   string
		want   int
	}{
		{"as written", nil, "out", 41},
		{"reordered", pipeline.Wiring{
			"increment": {From: "in", To: []string{"mid"}},
			"double":    {From: "mid", To: []string{"out"}},
		}, "out", 42},
		{"another queue between and at the end", pipeline.Wiring{
			"double":    {To: []string{"other"}},
			"increment": {From: "other", To: []string{"end", "copy"}},
		}, "copy", 41},
	}
	for _, c := range chains {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("out"), endpoint("other"), endpoint("end"), endpoint("copy"))
				p := s.process().pipeline(func(cfg *pipeline.Config) { cfg.Wiring = c.wiring })
				p.Handle("double", pipeline.Func(double), pipeline.From("in"), pipeline.To("mid"))
				p.Handle("increment", pipeline.Func(increment), pipeline.From("mid"), pipeline.To("out"))
				s.start(p)
				s.send("in", `{"id":"f1","amount":20}`)
				settle(time.Second)
				if out, want := s.one(c.last), fmt.Sprintf(`{"id":"f1","amount":%d}`, c.want); out.body != want {
					t.Errorf("got %s, want %s", out.body, want)
				}
			})
		})
	}
}

func TestEachFilterRunsAloneInItsProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("out"))
		program := func() *pipeline.Pipeline {
			p := s.process().pipeline()
			p.Handle("double", pipeline.Func(double), pipeline.From("in"), pipeline.To("mid"))
			p.Handle("increment", pipeline.Func(increment), pipeline.From("mid"), pipeline.To("out"))
			return p
		}
		s.send("in", `{"id":"f1","amount":20}`)

		stop := s.start(program(), "double")
		settle(time.Minute)
		if n := s.left("mid"); n != 1 {
			t.Fatalf("mid holds %d messages while nobody reads it, want 1", n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		s.start(program(), "increment")
		s.send("in", `{"id":"f2","amount":1}`)
		settle(time.Second)
		if out := s.one("out"); out.body != `{"id":"f1","amount":41}` {
			t.Errorf("got %s", out.body)
		}
		if n := s.left("in"); n != 1 {
			t.Errorf("in holds %d messages while nobody reads it, want 1", n)
		}
		err := program().Run(t.Context(), "decrement")
		if err == nil || !strings.Contains(err.Error(), `no filter "decrement"; there are: double, increment`) {
			t.Errorf("an unknown filter: %v", err)
		}
	})
}

func TestSplitSinkAndGeneralForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("parts"), endpoint("big"), endpoint("small"))
		p := s.process().pipeline()
		p.Handle("split", pipeline.Split(func(_ context.Context, amounts []int) ([]fare, error) {
			var fares []fare
			for i, a := range amounts {
				fares = append(fares, fare{fmt.Sprint("f", i), a})
			}
			return fares, nil
		}), pipeline.From("in"), pipeline.To("parts"))
		p.Handle("sort", pipeline.Messages(func(_ context.Context, in pipeline.Msg[fare]) ([]pipeline.Msg[int], error) {
			if in.Body.Amount == 0 {
				return nil, nil
			}
			out := pipeline.Msg[int]{Body: in.Body.Amount, Metadata: message.Metadata{"fare": in.Body.ID}}
			if in.Body.Amount >= 50 {
				out.Outlet = "big"
			}
			return []pipeline.Msg[int]{out}, nil
		}), pipeline.From("parts"), pipeline.To("small"), pipeline.Outlet("big", "big"))
		sum := 0
		p.Handle("sum", pipeline.Sink(func(_ context.Context, amount int) error {
			sum += amount
			return nil
		}), pipeline.From("big"))
		s.start(p)
		s.send("in", `[10, 60, 0]`)
		settle(time.Second)
		small := s.one("small")
		if small.body != "10" || small.attributes["fare"] != "f0" {
			t.Errorf("small got %v", small)
		}
		if _, ok := small.attributes[pipeline.KeyOutlet]; ok {
			t.Error("the outlet's name was sent")
		}
		if sum != 60 {
			t.Errorf("big got %d, want 60", sum)
		}
	})
}

// A filter in its short form reaches its message through the context, and what
// it sets travels as attributes that a topic can filter on.
func TestCallReachesTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("good"),
			queue.Endpoint{Name: "notices", URL: "sns://notices", Subscriptions: []queue.Subscription{{
				Endpoint: "good", Filter: []byte(`{"IsSuccessful":["true"],"amount":[{"numeric":[">=",50]}]}`),
			}}})
		topic, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("notices")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.sns.Subscribe(t.Context(), &sns.SubscribeInput{
			TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:000000000000:good"),
			Attributes: map[string]string{"RawMessageDelivery": "true", "FilterPolicy": `{"IsSuccessful":["true"],"amount":[{"numeric":[">=",50]}]}`},
		}); err != nil {
			t.Fatal(err)
		}
		p := s.process().pipeline(func(c *pipeline.Config) { c.Propagate = []string{"traceparent"} })
		var mu sync.Mutex
		var calls []pipeline.Call
		p.Handle("announce", pipeline.Func(func(ctx context.Context, f fare) (string, error) {
			call := pipeline.FromContext(ctx)
			mu.Lock()
			calls = append(calls, *call)
			mu.Unlock()
			call.Set("IsSuccessful", fmt.Sprint(f.ID != "bad"))
			call.SetNumber("amount", float64(f.Amount))
			return f.ID, nil
		}), pipeline.From("in"), pipeline.To("notices"))
		s.start(p)
		s.send("in", `{"id":"bad","amount":60}`)
		s.send("in", `{"id":"cheap","amount":49}`)
		id := s.send("in", `{"id":"fine","amount":50}`, "traceparent", "00-1-2-01", "colour", "red")
		settle(time.Second)

		got := s.one("good")
		if got.body != `"fine"` || got.attributes["traceparent"] != "00-1-2-01" || got.attributes["colour"] != "" {
			t.Errorf("got %v", got)
		}
		i := slices.IndexFunc(calls, func(c pipeline.Call) bool { return c.ID == id })
		if i < 0 {
			t.Fatalf("no call for %s: %v", id, calls)
		}
		c := calls[i]
		if c.Filter != "announce" || c.Key() != "announce/"+id || c.Attempt != 1 || c.ReceiveCount != 1 || c.SentAt.IsZero() || c.Metadata["colour"] != "red" {
			t.Errorf("call %+v", c)
		}
	})
}

// Outside of a pipeline a filter can be called like any function.
func TestCallOutsideOfAPipeline(t *testing.T) {
	c := pipeline.FromContext(context.Background())
	c.Set("a", "b")
	c.SetNumber("n", 1)
	c.SetOutlet("x")
	ctx := pipeline.NewContext(context.Background(), &pipeline.Call{ID: "m1", Filter: "f"})
	if key := pipeline.FromContext(ctx).Key(); key != "f/m1" {
		t.Errorf("key %q", key)
	}
}

func TestOutputIDsAreTheSameInEveryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("a"), endpoint("b"))
		p := s.process().pipeline()
		p.Handle("copy", pipeline.Split(func(_ context.Context, f fare) ([]fare, error) { return []fare{f, f}, nil }),
			pipeline.From("in"), pipeline.To("a", "b"))
		s.start(p)
		for range 2 {
			s.send("in", `{"id":"f1"}`, queue.AttrUUID, "the-same")
		}
		settle(time.Second)
		ids := map[string]int{}
		for _, f := range slices.Concat(s.take("a"), s.take("b")) {
			ids[f.uuid()]++
		}
		if len(ids) != 2 {
			t.Fatalf("ids %v, want 2 different ones", ids)
		}
		for id, n := range ids {
			if n != 4 {
				t.Errorf("id %s came %d times, want 4", id, n)
			}
		}
	})
}

// The derived ids are a format: records of receivers outlive an upgrade.
func TestOutputIDsNeverChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		p.Handle("charge", pipeline.Func(double), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1"}`, queue.AttrUUID, "m1")
		settle(time.Second)
		if got, want := s.one("out").uuid(), "9d24f762-a5ef-526f-ad5f-ad1950a9239b"; got != want {
			t.Errorf("id %s, want %s", got, want)
		}
	})
}

func TestRawHandlersAndMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("odd"), endpoint("out"))
		var order []string
		mark := func(name string) pipeline.Middleware {
			return func(h message.HandlerFunc) message.HandlerFunc {
				return func(m *message.Message) ([]*message.Message, error) {
					order = append(order, name)
					return h(m)
				}
			}
		}
		p := s.process().pipeline(func(c *pipeline.Config) {
			c.History = true
			c.Middleware = []pipeline.Middleware{middleware.Recoverer, middleware.CorrelationID, mark("all")}
		})
		p.Handle("pass", pipeline.Raw(message.PassthroughHandler), pipeline.From("in"), pipeline.To("mid"),
			pipeline.Use(mark("first"), mark("second")))
		p.Handle("route", pipeline.Raw(func(m *message.Message) ([]*message.Message, error) {
			m.Ack() // has no effect
			out := message.NewMessage("", m.Payload)
			out.Metadata.Set(pipeline.KeyOutlet, "odd")
			return []*message.Message{out}, nil
		}), pipeline.From("mid"), pipeline.To("out"), pipeline.Outlet("odd", "odd"))
		var got []string
		p.Handle("end", pipeline.Consume(func(m *message.Message) error {
			got = append(got, string(m.Payload), m.Metadata.Get(pipeline.KeyHistory))
			return nil
		}), pipeline.From("odd"))
		s.start(p)
		s.send("in", "plain text", pipeline.KeyOutlet, "nonsense") // is the filter's to say
		settle(time.Second)
		if want := []string{"plain text", "pass,route"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if want := []string{"all", "first", "second", "all", "all"}; !slices.Equal(order, want) {
			t.Errorf("middleware ran as %q, want %q", order, want)
		}
	})
}

func TestMistakesOfConfigurationAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("out"), queue.Endpoint{Name: "topic", URL: "sns://topic"})
		f := pipeline.Func(double)
		sink := pipeline.Sink(func(context.Context, fare) error { return nil })
		cases := []struct {
			name string
			set  func(p *pipeline.Pipeline)
			want string
		}{
			{"no filter", func(p *pipeline.Pipeline) {}, "there is no filter to run"},
			{"bad name", func(p *pipeline.Pipeline) { p.Handle("a b", f, pipeline.From("in"), pipeline.To("out")) }, `"a b" cannot name a filter`},
			{"twice", func(p *pipeline.Pipeline) {
				p.Handle("a", f, pipeline.From("in"), pipeline.To("out"))
				p.Handle("a", f, pipeline.From("in"), pipeline.To("out"))
			}, `filter "a" is there twice`},
			{"no handler", func(p *pipeline.Pipeline) {
				p.Handle("a", pipeline.Handler{}, pipeline.From("in"), pipeline.To("out"))
			}, `filter "a" has no handler`},
			{"from nowhere", func(p *pipeline.Pipeline) { p.Handle("a", f, pipeline.To("out")) }, `set filters.a.from`},
			{"to nowhere", func(p *pipeline.Pipeline) { p.Handle("a", f, pipeline.From("in")) }, `set filters.a.to`},
			{"sink with a target", func(p *pipeline.Pipeline) { p.Handle("a", sink, pipeline.From("in"), pipeline.To("out")) }, `it has no outputs`},
			{"unknown from", func(p *pipeline.Pipeline) { p.Handle("a", sink, pipeline.From("inn")) }, `filter "a": from: endpoint "inn" is not configured (in, mid, out, topic are)`},
			{"unknown to", func(p *pipeline.Pipeline) { p.Handle("a", f, pipeline.From("in"), pipeline.To("outt")) }, `to: endpoint "outt" is not configured`},
			{"unknown outlet", func(p *pipeline.Pipeline) {
				p.Handle("a", f, pipeline.From("in"), pipeline.Outlet("bad", "nowhere"))
			}, `outlets.bad: endpoint "nowhere" is not configured`},
			{"topic as source", func(p *pipeline.Pipeline) { p.Handle("a", sink, pipeline.From("topic")) }, `endpoint "topic" is the topic sns://topic`},
			{"loop", func(p *pipeline.Pipeline) { p.Handle("a", f, pipeline.From("in"), pipeline.To("in")) }, `it would get its own outputs`},
			{"rivals", func(p *pipeline.Pipeline) {
				p.Handle("a", f, pipeline.From("in"), pipeline.To("out"))
				p.Handle("b", f, pipeline.From("in"), pipeline.To("mid"))
			}, `filters "a" and "b" both receive from endpoint "in"`},
			{"retries", func(p *pipeline.Pipeline) {
				p.Handle("a", f, pipeline.From("in"), pipeline.To("out"), pipeline.Retries(pipeline.Retry{Attempts: -1}))
			}, `filter "a": Retries: field Attempts is -1`},
			{"timeout", func(p *pipeline.Pipeline) {
				p.Handle("a", f, pipeline.From("in"), pipeline.To("out"), pipeline.Timeout(-1))
			}, `Timeout is -1ns`},
		}
		for _, c := range cases {
			p := s.process().pipeline()
			c.set(p)
			if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
			}
		}

		good := s.process().config()
		for name, edit := range map[string]func(*pipeline.Config){
			"no Publisher":            func(c *pipeline.Config) { c.Publisher = nil },
			"no Subscriber":           func(c *pipeline.Config) { c.Subscriber = nil },
			"DrainTimeout is":         func(c *pipeline.Config) { c.DrainTimeout = -1 },
			"Retry: field Multiplier": func(c *pipeline.Config) { c.Retry.Multiplier = 0.5 },
			`endpoint "no-such"`:      func(c *pipeline.Config) { c.DeadLetter = "no-such" },
			"set DeliverUndecodable": func(c *pipeline.Config) {
				sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: s.aws(nil)})
				if err != nil {
					t.Fatal(err)
				}
				c.Subscriber = sub
			},
		} {
			bad := good
			edit(&bad)
			if _, err := pipeline.New(bad); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v, want an error with %q", err, name)
			}
		}
	})
}

// A queue that is configured and does not exist fails Run at once, and what had
// started stops.
func TestRunFailsForAMissingQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("mid"), endpoint("out"))
		if _, err := s.sqs.DeleteQueue(t.Context(), deleteQueue(s.urls["mid"])); err != nil {
			t.Fatal(err)
		}
		p := s.process().pipeline()
		p.Handle("double", pipeline.Func(double), pipeline.From("in"), pipeline.To("mid"))
		p.Handle("increment", pipeline.Func(increment), pipeline.From("mid"), pipeline.To("out"))
		err := p.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), `filter "increment"`) || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRouteShowsWhatConfigurationMadeOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"))
		p := s.process().pipeline(func(c *pipeline.Config) {
			c.Wiring = pipeline.Wiring{"a": {To: []string{"z"}, Outlets: map[string][]string{"bad": {"y"}}}, "not-here": {From: "q"}}
		})
		p.Handle("a", pipeline.Func(double), pipeline.From("in"), pipeline.To("out"), pipeline.Outlet("bad", "b"), pipeline.Outlet("ugly", "u"))
		r, ok := p.Route("a")
		if got := asJSON(t, r); !ok || got != `{"from":"in","to":["z"],"outlets":{"bad":["y"],"ugly":["u"]}}` {
			t.Errorf("route %s", got)
		}
		if _, ok := p.Route("not-here"); ok {
			t.Error("a filter that the program lacks has a route")
		}
		if got := p.Filters(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("filters %q", got)
		}
	})
}
