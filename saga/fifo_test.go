package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A tray keeps what is published, and may say that it did not arrive.
type tray struct {
	mu   sync.Mutex
	lost int
	got  []*message.Message
}

func (p *tray) Close() error { return nil }

func (p *tray) Publish(_ string, messages ...*message.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, messages...)
	if p.lost > 0 {
		p.lost--
		return errors.New("the answer was lost")
	}
	return nil
}

// take returns what there is, and forgets it.
func (p *tray) take() []*message.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got
}

func place(msg *message.Message) (group, dedup string) {
	return msg.Metadata.Get(queue.KeyOrder), msg.Metadata.Get(queue.KeyDeduplication)
}

// answerOf is a reply to the command of a message.
func answerOf(t *testing.T, msg *message.Message, outcome string) *message.Message {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(msg.Payload, &body); err != nil {
		t.Fatal(err)
	}
	body["reply"], body["outcome"], body["result"] = body["command"], outcome, map[string]string{"ID": "ch-1"}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return message.NewMessage("r", data)
}

// TestResendsOnFIFO holds what a FIFO queue drops, and what it must not: a command
// that goes out again as it was is the same, whoever sends it, and every other is
// another.
func TestResendsOnFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		p := &tray{lost: 3}
		s := remoteSaga(func(s *saga.Step[bill]) *saga.Step[bill] {
			return s.Timeout(time.Hour).MessageGroup(func(b *bill) string { return fmt.Sprint("account ", b.Cents) })
		})
		start := func() (*saga.Coordinator, func() error) {
			return run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
		}
		co, stop := start()
		if _, err := s.Start(t.Context(), co.Client(), "b-1", bill{Cents: 13}, saga.NotifyTo("done")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = stop()
		co, stop = start() // which finds the letter in the outbox
		defer func() { _ = stop() }()
		time.Sleep(2 * time.Minute)
		first := p.take()
		if len(first) < 2 {
			t.Fatalf("the command went out %d times, want it again", len(first))
		}
		group, dedup := place(first[0])
		for _, msg := range first {
			if g, d := place(msg); msg.UUID != first[0].UUID || g != group || d != dedup || g == "" || d == "" {
				t.Errorf("%s is in group %q as %q, and was in %q as %q", msg.UUID, g, d, group, dedup)
			}
		}
		seen := map[string]string{dedup: first[0].UUID}
		for _, outcome := range []string{"not done", "done", "done", ""} { // of attempts 1 and 2, and of the undo
			if outcome != "" {
				if err := co.HandleMessage(answerOf(t, first[0], outcome)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Second)
			next := p.take()
			if outcome == "" {
				if len(next) > 0 {
					t.Errorf("%s is sent after the end", next[0].UUID)
				}
				break
			}
			if len(next) != 1 {
				t.Fatalf("after %q %d messages are sent, want one", outcome, len(next))
			}
			g, d := place(next[0])
			if seen[d] != "" {
				t.Errorf("%s would be dropped as %s", next[0].UUID, seen[d])
			}
			want := group
			if strings.HasSuffix(next[0].UUID, ".end") {
				want = "b-1"
			}
			if g != want {
				t.Errorf("%s is in group %q, want %q", next[0].UUID, g, want)
			}
			seen[d], first = next[0].UUID, next
		}
		if len(seen) != 4 {
			t.Errorf("sent were %v; want two attempts, an undo and a notice", seen)
		}
	})
}

// TestRepliesOnFIFO holds the same of replies: a reply to a command that was sent
// by another commit is another.
func TestRepliesOnFIFO(t *testing.T) {
	p := new(tray)
	part, err := saga.NewParticipant(saga.ParticipantConfig{
		Records: memstore.New(memstore.Config{}), Publisher: p,
		Steps: []saga.Served{saga.Serve("Charge", func(context.Context, chargeRequest) (chargeResult, error) { return chargeResult{"ch-1"}, nil })},
	})
	if err != nil {
		t.Fatal(err)
	}
	reply := func(frame, commit string) (group, dedup string) {
		t.Helper()
		body := fmt.Sprintf(`{"waybill":1,"command":"do","key":"e/1/%s/Charge/1/do","execution":"e","frame":%[1]q,"definition":"bill","step":"Charge","visit":1,
			"attempt":1,"input":{},"notAfter":%d,"replyTo":"replies","commit":%q}`, frame, time.Now().Add(time.Hour).UnixMilli(), commit)
		if err := part.Handle(message.NewMessage("m", []byte(body))); err != nil {
			t.Fatal(err)
		}
		return place(p.take()[0])
	}
	group, first := reply("", "1.a.1")
	if group != "e" {
		t.Errorf("the reply is in group %q", group)
	}
	if _, d := reply("", "1.a.1"); d != first {
		t.Error("a reply that is sent again is another")
	}
	if _, d := reply("", "2.b.1"); d == first {
		t.Error("the reply to a command that was sent anew would be dropped")
	}
	if group, _ := reply("P:0", "1.a.1"); group != "e/P:0" {
		t.Errorf("in a branch the reply is in group %q", group)
	}
}

// TestGroups holds that branches are groups of their own, and that a group is what
// SQS takes, whatever the execution's id is.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(tray)
		charge := func(name string) *saga.Step[bill] {
			return saga.Remote(name, "payments", func(*bill) (chargeRequest, error) { return chargeRequest{}, nil }, func(*bill, chargeResult) error { return nil }).ReadOnly()
		}
		s := saga.New("both", saga.Parallel("P", saga.Branch("a", charge("A")), saga.Branch("b", charge("B"))).
			Merge(func(*bill, []bill) error { return nil }))
		co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
		defer func() { _ = stop() }()
		for _, id := range []string{"e-1", "Größe 1", strings.Repeat("x", 300)} {
			if _, err := s.Start(t.Context(), co.Client(), id, bill{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			var groups []string
			for _, msg := range p.take() {
				g, d := place(msg)
				groups = append(groups, g)
				for _, text := range []string{g, d} {
					if text == "" || len(text) > 128 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
						t.Errorf("%s: SQS does not take %q", id, text)
					}
				}
			}
			slices.Sort(groups)
			if len(groups) != 2 || groups[0] == groups[1] || id == "e-1" && !strings.HasPrefix(groups[0], "e-1/") {
				t.Errorf("%s: the groups are %q, want one for each branch", id, groups)
			}
		}
	})
}

type fifoOrder struct {
	Cents            int
	Charge, Approved string
	Shipped          bool
}

// fifoSaga has all that sends messages, or waits for them.
func fifoSaga(tokens chan<- string) *saga.Saga[fifoOrder] {
	return saga.New("order",
		saga.Remote("Charge", "payments",
			func(o *fifoOrder) (chargeRequest, error) { return chargeRequest{Cents: o.Cents}, nil },
			func(o *fifoOrder, r chargeResult) error { o.Charge = r.ID; return nil },
		).UndoRemote().Retry(saga.Retry{Attempts: 3, Initial: 100 * time.Millisecond, Jitter: -1}),
		saga.Callback("Approve", func(ctx context.Context, _ *fifoOrder) error {
			tokens <- saga.StepFrom(ctx).Token
			return nil
		}, func(o *fifoOrder, by string) error { o.Approved = by; return nil }).ReadOnly(),
		saga.Receive("Ship", "shipped", func(o *fifoOrder, yes bool) error { o.Shipped = yes; return nil }),
		saga.Do("Close", func(_ context.Context, o *fifoOrder) error {
			if !o.Shipped {
				return saga.Permanent(errRefused)
			}
			return nil
		}),
	)
}

// TestFIFO runs sagas whose every endpoint is FIFO, by messages alone: a start, a
// command that succeeds at the second attempt, a completion, a signal, an undo, and
// the notice of the end.
func TestFIFO(t *testing.T) {
	targets := map[string]aws.Config{"emulator": {BaseEndpoint: aws.String("http://emulator.test"), HTTPClient: emulator.New(emulator.Config{}).Client()}}
	if url, ok := testserver.LocalStack(t); ok {
		transport := new(http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		targets["localstack"] = aws.Config{BaseEndpoint: aws.String(url), HTTPClient: &http.Client{Transport: transport}}
	}
	for name, cfg := range targets {
		cfg.Region = "us-east-1"
		cfg.Credentials = credentials.NewStaticCredentialsProvider("test", "test", "")
		t.Run(name, func(t *testing.T) { onFIFO(t, cfg) })
	}
}

func onFIFO(t *testing.T, cfg aws.Config) {
	var list []queue.Endpoint
	for _, name := range []string{"inbox", "payments", "done"} {
		list = append(list, queue.Endpoint{Name: name, URL: "sqs://" + name + ".fifo", DeadLetter: "sqs://" + name + "-dlq.fifo"})
	}
	endpoints, err := queue.NewEndpoints(testserver.Namespace(t), list...)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := topology.NewPlan(t.Context(), topology.NewClients(cfg), endpoints)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()

	tokens := make(chan string, 2)
	st := memstore.New(memstore.Config{})
	s := fifoSaga(tokens)
	co, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}, Publisher: pub, ReplyTo: "inbox"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	tries := make(map[string]int)
	part, err := saga.NewParticipant(saga.ParticipantConfig{Records: st, Publisher: pub, Steps: []saga.Served{
		saga.Serve("Charge", func(ctx context.Context, r chargeRequest) (chargeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			if tries[saga.StepFrom(ctx).Execution]++; tries[saga.StepFrom(ctx).Execution] == 1 {
				return chargeResult{}, errors.New("busy")
			}
			return chargeResult{ID: "ch-1"}, nil
		}).Undo(func(context.Context, chargeRequest, saga.Outcome, *chargeResult) error { return nil }),
	}})
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan string, 10)
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Endpoints: endpoints, DeliverUndecodable: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	p.Handle("Hear", pipeline.Consume(co.HandleMessage), pipeline.From("inbox"))
	p.Handle("Pay", pipeline.Consume(part.Handle), pipeline.From("payments"))
	p.Handle("Done", pipeline.Consume(func(msg *message.Message) error {
		var n struct{ Execution, Status string }
		if err := json.Unmarshal(msg.Payload, &n); err != nil {
			return err
		}
		notices <- n.Execution + " " + n.Status
		return nil
	}), pipeline.From("done"))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = co.Run(ctx) })
	running.Go(func() { _ = p.Run(ctx) })

	send := func(group, dedup, body string) {
		t.Helper()
		msg := message.NewMessage(dedup, []byte(body))
		msg.Metadata.Set(queue.KeyGroup, group)
		if err := pub.Publish("inbox", msg); err != nil {
			t.Fatal(err)
		}
	}
	next := func(ch <-chan string) string {
		t.Helper()
		select {
		case got := <-ch:
			return got
		case <-time.After(60 * time.Second):
			t.Fatal("nothing comes within a minute")
			return ""
		}
	}
	for _, tt := range []struct {
		id, shipped, end string
	}{{"o-1", "true", "completed"}, {"o-2", "false", "compensated"}} {
		for range 2 { // the second is the same
			send(tt.id, tt.id, fmt.Sprintf(`{"waybill":1,"start":"order","id":%q,"input":{"Cents":7},"replyTo":"done"}`, tt.id))
		}
		send(tt.id, tt.id+"/complete", fmt.Sprintf(`{"waybill":1,"complete":%q,"result":"ann"}`, next(tokens)))
		send(tt.id, tt.id+"/shipped", fmt.Sprintf(`{"waybill":1,"signal":"shipped","execution":%q,"id":"s-1","payload":%s}`, tt.id, tt.shipped))
		if got, want := next(notices), tt.id+" "+tt.end; got != want {
			t.Errorf("the notice is %q, want %q", got, want)
		}
		e, err := co.Client().Get(t.Context(), tt.id)
		if err != nil {
			t.Fatal(err)
		}
		var o fifoOrder
		if err := json.Unmarshal(e.State, &o); err != nil || string(e.Status) != tt.end {
			t.Errorf("%s is %s with %s, %v", tt.id, e.Status, e.State, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for id, n := range tries {
		if n != 2 {
			t.Errorf("%s was charged at try %d, want 2", id, n)
		}
	}
}
