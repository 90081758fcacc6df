package otelqueue_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
)

const (
	traceID = "5759e988bd862e3fe1be46a994272793"
	spanID  = "53995c3f42cd8ad8"
	parent  = "00-" + traceID + "-" + spanID + "-01"
	xray    = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
)

// laden is a context with all that W3C carries.
func laden(t *testing.T, ctx context.Context) context.Context {
	t.Helper()
	state, err := trace.ParseTraceState("vendor=opaque,other=1")
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent}))
	bag, err := baggage.Parse("tenant=acme,tier=gold")
	if err != nil {
		t.Fatal(err)
	}
	return baggage.ContextWithBaggage(trace.ContextWithRemoteSpanContext(ctx, sc.WithTraceState(state)), bag)
}

func headers(n int) message.Metadata {
	m := message.Metadata{}
	for i := range n {
		m[fmt.Sprint("header", i)] = fmt.Sprint(i)
	}
	return m
}

// The trace of a message takes one attribute at most, whatever it carries and
// however many the user has; and the user's stay where they were, as long as
// there is room.
func TestOneAttribute(t *testing.T) {
	on(t, func(t *testing.T, b *bench) {
		for _, tt := range []struct {
			headers int
			laden   bool
			native  int    // of the user's
			form    string // of the trace
		}{
			{0, false, 0, "traceparent"}, {0, true, 0, queue.AttrMetadata},
			{8, false, 8, "traceparent"}, {8, true, 8, queue.AttrMetadata},
			{9, false, 8, queue.AttrMetadata}, {9, true, 8, queue.AttrMetadata},
			{20, false, 8, queue.AttrMetadata}, {20, true, 8, queue.AttrMetadata},
		} {
			t.Run(fmt.Sprintf("%d headers, laden %v", tt.headers, tt.laden), func(t *testing.T) {
				name, url := b.queue("VisibilityTimeout", "0")
				tracer := b.tracer()
				ctx := b.Context()
				if tt.laden {
					ctx = laden(t, ctx)
				}
				msg := newMessage("m")
				msg.Metadata = headers(tt.headers)
				b.publish(b.publisher(tracer), ctx, name, msg)
				if !maps.Equal(msg.Metadata, headers(tt.headers)) {
					t.Errorf("publishing has changed the message's metadata to %v", msg.Metadata)
				}

				attributes := b.receive(url).MessageAttributes
				native, others := 0, []string{}
				for key := range attributes {
					if strings.HasPrefix(key, "header") {
						native++
					} else if key != queue.AttrUUID {
						others = append(others, key)
					}
				}
				if native != tt.native || !slices.Equal(others, []string{tt.form}) {
					t.Errorf("the message has %d headers as attributes and %q, want %d and %s", native, others, tt.native, tt.form)
				}

				got := b.take(tracer, name, 1)[0]
				if !maps.Equal(got.Metadata, headers(tt.headers)) {
					t.Errorf("delivered with %v", got.Metadata)
				}
				sc, bag := trace.SpanContextFromContext(got.Context()), baggage.FromContext(got.Context())
				switch {
				case tt.laden && (sc.TraceID().String() != traceID || sc.TraceState().String() != "vendor=opaque,other=1" || bag.Member("tier").Value() != "gold"):
					t.Errorf("delivered in trace %s with %q and the baggage %q", sc.TraceID(), sc.TraceState(), bag)
				case !tt.laden && bag.Len() > 0:
					t.Errorf("delivered with the baggage %q", bag)
				}
			})
		}
	})
}

// A trace does not make a message too large: it goes without.
func TestCarrierDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, url := b.queue()
		endpoints := b.endpoints(queue.Endpoint{Name: "q", URL: "sqs://" + name, MaxMessageSize: 2048})
		p := b.publisher(b.tracer(), func(c *queue.PublisherConfig) { c.Endpoints = endpoints })
		msg := message.NewMessage("u", []byte(strings.Repeat("x", 2048-len(queue.AttrUUID+"Stringu"))))
		if err := p.Publish("q", msg); err != nil {
			t.Fatal(err)
		}
		if got := b.receive(url).MessageAttributes; len(got) != 1 {
			t.Errorf("the message has the attributes %v", got)
		}
		b.ended()
	})
}

// A context that the message's maker gave it is left as it is, and so are words
// that mean something else to a user.
func TestMetadataOfTheUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		name, _ := b.queue()
		tracer := b.tracer()
		own := newMessage("own")
		own.Metadata["traceparent"] = parent
		bags := newMessage("bags")
		bags.Metadata["baggage"] = "2 bags"
		broken := newMessage("broken")
		broken.Metadata["traceparent"] = "00-0-0-1"
		b.publish(b.publisher(tracer), laden(t, t.Context()), name, own, bags, broken)
		if n := len(b.named("create")); n != 2 {
			t.Errorf("%d spans for messages without a context of their own, want 2", n)
		}
		for _, msg := range b.take(tracer, name, 3) {
			if got := msg.Metadata["baggage"]; msg.UUID == "bags" && got != "2 bags" {
				t.Errorf("the user's metadata came as %q", got)
			}
			if got, ok := msg.Metadata["traceparent"]; ok {
				t.Errorf("%s was delivered with its traceparent, %s", msg.UUID, got)
			}
		}
		created := map[string]trace.SpanContext{}
		for _, s := range b.named("create") {
			created[attributeOf(s, "waybill.message.uuid")] = s.SpanContext()
		}
		for _, s := range b.named("process") {
			want, ok := created[attributeOf(s, "waybill.message.uuid")]
			if ok {
				b.childOf(s, want)
			} else if s.Parent().SpanID().String() != spanID {
				t.Errorf("the message with a context of its own was handled under %s", s.Parent().SpanID())
			}
		}
	})
}

// Messages of others are understood: with a plain traceparent, and with X-Ray's
// header, of which the first wins. What is malformed counts for nothing.
func TestStrangers(t *testing.T) {
	const other = "Root=1-00000001-000000000000000000000001;Parent=0000000000000001;Sampled=1"
	on(t, func(t *testing.T, b *bench) {
		for name, tt := range map[string]struct {
			attributes map[string]string
			xray       string
			want       string // trace id; empty for a new one
			state      string
		}{
			"nothing":               {nil, "", "", ""},
			"traceparent":           {map[string]string{"traceparent": parent}, "", traceID, ""},
			"with a state":          {map[string]string{"traceparent": parent, "tracestate": "a=1"}, "", traceID, "a=1"},
			"X-Ray":                 {nil, xray, traceID, ""},
			"both":                  {map[string]string{"traceparent": parent}, other, traceID, ""},
			"malformed and X-Ray":   {map[string]string{"traceparent": "00-x"}, xray, traceID, ""},
			"malformed":             {map[string]string{"traceparent": strings.ToUpper(parent)}, "Root=1-x;Parent=y", "", ""},
			"too long":              {map[string]string{"traceparent": "01" + parent[2:] + strings.Repeat("-x", 5000)}, "", "", ""},
			"packed":                {map[string]string{queue.AttrMetadata: `{"v":1,"s":{"traceparent":"` + parent + `","tracestate":"a=1"}}`}, "", traceID, "a=1"},
			"packed, and overruled": {map[string]string{queue.AttrMetadata: `{"v":1,"s":{"traceparent":"00-` + strings.Repeat("1", 32) + `-` + spanID + `-01"}}`, "traceparent": parent}, "", traceID, ""},
		} {
			t.Run(name, func(t *testing.T) {
				b := *b
				b.T = t
				queueName, url := b.queue()
				in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageAttributes: map[string]sqstypes.MessageAttributeValue{}}
				for key, value := range tt.attributes {
					in.MessageAttributes[key] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
				}
				if tt.xray != "" {
					in.MessageSystemAttributes = map[string]sqstypes.MessageSystemAttributeValue{
						"AWSTraceHeader": {DataType: aws.String("String"), StringValue: &tt.xray},
					}
				}
				if _, err := b.sqs.SendMessage(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				got := b.take(b.tracer(), queueName, 1)[0]
				process, receive := b.one("process "+queueName), b.one("receive "+queueName)
				if d := queue.FromContext(got.Context()); d.Trace != tt.xray {
					t.Errorf("the delivery has the header %q", d.Trace)
				}
				if tt.want == "" {
					if process.Parent().IsValid() {
						t.Errorf("handled under %v, want a trace of its own", process.Parent())
					}
					b.linksTo(process, receive.SpanContext())
					b.linksTo(receive)
					return
				}
				if process.SpanContext().TraceID().String() != tt.want || process.Parent().SpanID().String() != spanID || process.SpanContext().TraceState().String() != tt.state {
					t.Errorf("handled in %+v under %s", process.SpanContext(), process.Parent().SpanID())
				}
				b.linksTo(receive, process.Parent())
				b.linksTo(process, process.Parent(), receive.SpanContext())
			})
		}
	})
}

// The context comes through each form of delivery.
func TestForms(t *testing.T) {
	on(t, func(t *testing.T, b *bench) {
		for name, tt := range map[string]struct {
			topic, raw, fifo, claim bool
		}{
			"queue":           {},
			"fifo":            {fifo: true},
			"claim":           {claim: true},
			"topic raw":       {topic: true, raw: true},
			"topic enveloped": {topic: true},
			"fifo topic":      {topic: true, raw: true, fifo: true},
		} {
			if tt.topic && b.sns == nil {
				continue
			}
			t.Run(name, func(t *testing.T) {
				b := *b
				b.T = t
				var queueName, url string
				if tt.fifo {
					queueName, url = b.fifoQueue()
				} else {
					queueName, url = b.queue()
				}
				to := "sqs://" + queueName
				if tt.topic {
					to = "sns://" + b.topic(queueName+"-t", url, tt.fifo, tt.raw)
				}
				payloads := payloadStore{}
				tracer := b.tracer()
				p := b.publisher(tracer, func(c *queue.PublisherConfig) {
					if tt.claim {
						c.Payloads, c.ClaimAbove = payloads, 1
					}
				})
				ctx := laden(t, t.Context())
				msg := newMessage("m")
				msg.SetContext(ctx)
				if tt.fifo {
					msg.Metadata[queue.KeyGroup] = "g"
				}
				if err := p.Publish(to, msg); err != nil {
					t.Fatal(err)
				}
				sub := b.subscriber(tracer, func(c *queue.SubscriberConfig) { c.Payloads = payloads })
				ch, err := sub.Subscribe(t.Context(), "sqs://"+queueName)
				if err != nil {
					t.Fatal(err)
				}
				got := <-ch
				if string(got.Payload) != `"m"` {
					t.Errorf("the payload is %s", got.Payload)
				}
				got.Ack()
				if err := sub.Close(); err != nil {
					t.Fatal(err)
				}
				create, process := b.one("create "+strings.TrimPrefix(strings.TrimPrefix(to, "sns://"), "sqs://")), b.one("process "+queueName)
				b.childOf(process, create.SpanContext())
				if process.SpanContext().TraceID().String() != traceID || process.SpanContext().TraceState().Len() != 2 || baggage.FromContext(got.Context()).Len() != 2 {
					t.Errorf("handled in %+v", process.SpanContext())
				}
				system := "aws_sqs"
				if tt.topic {
					system = "aws.sns"
				}
				b.has(create, "messaging.system="+system)
				if tt.topic {
					b.has(b.one("publish "+strings.TrimPrefix(to, "sns://")), "messaging.system=aws.sns", "messaging.operation.name=publish", "messaging.operation.type=send")
				}
				if attributeOf(create, "messaging.message.id") == "" {
					t.Error("the message's span does not tell its id")
				}
			})
		}
	})
}

func (b *bench) fifoQueue() (name, url string) {
	b.Helper()
	name = testserver.Namespace(b) + ".fifo"
	out, err := b.sqs.CreateQueue(b.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"FifoQueue": "true"}})
	if err != nil {
		b.Fatal(err)
	}
	return name, *out.QueueUrl
}

// topic creates a topic that delivers to a queue.
func (b *bench) topic(name, queueURL string, fifo, raw bool) string {
	b.Helper()
	name = strings.ReplaceAll(name, ".fifo", "")
	in := &sns.CreateTopicInput{Attributes: map[string]string{}}
	if fifo {
		name += ".fifo"
		in.Attributes["FifoTopic"] = "true"
	}
	in.Name = &name
	out, err := b.sns.CreateTopic(b.Context(), in)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := b.sns.Subscribe(b.Context(), &sns.SubscribeInput{
		TopicArn: out.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(b.arn(queueURL)),
		Attributes: map[string]string{"RawMessageDelivery": fmt.Sprint(raw)},
	}); err != nil {
		b.Fatal(err)
	}
	return name
}

// A payloadStore keeps payloads in memory, for one goroutine.
type payloadStore map[string][]byte

func (s payloadStore) Put(_ context.Context, key string, payload []byte, _ time.Duration) error {
	s[key] = payload
	return nil
}

func (s payloadStore) Get(_ context.Context, key string, _ int) ([]byte, error) {
	if p, ok := s[key]; ok {
		return p, nil
	}
	return nil, queue.ErrPayloadGone
}
