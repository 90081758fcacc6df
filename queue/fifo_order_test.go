package queue_test

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

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// A handled is one run of a handler.
type handled struct {
	body    string // "a3": the third message of group a
	receive int
	acked   bool
	at      time.Duration
}

// A fifoRun is a FIFO queue of the emulator with a dead-letter queue, and what
// handlers have done with its messages.
type fifoRun struct {
	*server
	url       string
	endpoints *queue.Endpoints
	began     time.Time

	mu   sync.Mutex
	runs []handled
}

func newFIFORun(t *testing.T, e queue.Endpoint) *fifoRun {
	t.Helper()
	r := &fifoRun{server: embedded(t)}
	dlq := r.createQueue(t, "dlq.fifo", "FifoQueue", "true")
	e.Name, e.URL, e.DeadLetter = "q", "sqs://q.fifo", "sqs://dlq.fifo"
	e.MaxReceiveCount = max(e.MaxReceiveCount, 3)
	r.url = r.createQueue(t, "q.fifo", "FifoQueue", "true", "RedrivePolicy", r.redrivePolicy(t, dlq, e.MaxReceiveCount))
	set, err := queue.NewEndpoints("", e)
	if err != nil {
		t.Fatal(err)
	}
	r.endpoints, r.began = set, time.Now()
	return r
}

// publish publishes n messages to each group, in turn.
func (r *fifoRun) publish(t *testing.T, n int, groups ...string) {
	t.Helper()
	p := newPublisher(t, queue.PublisherConfig{AWS: r.aws, Endpoints: r.endpoints})
	var all []*message.Message
	for i := range n {
		for _, g := range groups {
			body := fmt.Sprint(g, i+1)
			msg := message.NewMessage(body, []byte(body))
			msg.Metadata.Set(queue.KeyGroup, g)
			all = append(all, msg)
		}
	}
	if err := p.Publish("q", all...); err != nil {
		t.Fatal(err)
	}
}

// handle has every message handled beside the others until ctx ends.
func (r *fifoRun) handle(ctx context.Context, t *testing.T, cfg queue.SubscriberConfig, handler func(*message.Message) bool) {
	cfg.AWS, cfg.Endpoints = r.aws, r.endpoints
	sub := newSubscriber(t, cfg)
	ch, err := sub.Subscribe(ctx, "q")
	if err != nil {
		t.Error(err)
		return
	}
	var handlers sync.WaitGroup
	for msg := range ch {
		handlers.Go(func() {
			h := handled{string(msg.Payload), queue.FromContext(msg.Context()).ReceiveCount, handler(msg), time.Since(r.began)}
			r.mu.Lock()
			r.runs = append(r.runs, h)
			r.mu.Unlock()
			if h.acked {
				msg.Ack()
			} else {
				msg.Nack()
			}
		})
	}
	handlers.Wait()
}

// of returns the runs of one group, as "a1- a1+ a2+".
func (r *fifoRun) of(group string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, h := range r.runs {
		if strings.HasPrefix(h.body, group) {
			all = append(all, h.body+map[bool]string{true: "+", false: "-"}[h.acked])
		}
	}
	return strings.Join(all, " ")
}

func (r *fifoRun) last(body string) handled {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range slices.Backward(r.runs) {
		if h.body == body {
			return h
		}
	}
	return handled{}
}

func seconds5(int) time.Duration { return 5 * time.Second }

// TestFailedMessageHoldsGroup holds that a nacked message comes before those
// behind it, which were received with it; that other groups go on; and that those
// behind it are received only every other time that it is.
func TestFailedMessageHoldsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{MaxReceiveCount: 9})
		r.publish(t, 4, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.handle(ctx, t, queue.SubscriberConfig{Backoff: seconds5}, func(msg *message.Message) bool {
			return msg.UUID != "a1" || queue.FromContext(msg.Context()).ReceiveCount == 4
		})
		if got := r.of("a"); got != "a1- a1- a1- a1+ a2+ a3+ a4+" {
			t.Errorf("group a: %s", got)
		}
		if got := r.of("b"); got != "b1+ b2+ b3+ b4+" || r.last("b4").at > time.Second {
			t.Errorf("group b: %s until %v", got, r.last("b4").at)
		}
		if h := r.last("a1"); h.at > 16*time.Second {
			t.Errorf("a1 was handled after %v, want 15s", h.at)
		}
		if h := r.last("a3"); h.receive != 3 {
			t.Errorf("a3 was received %d times, want 3", h.receive)
		}
	})
}

// TestDeadLetterFreesGroup holds that a message's last failure lets its group go
// on at once, that none behind it follows it into the dead-letter queue, and that
// it gets there without the delay of a nack.
func TestDeadLetterFreesGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{MaxReceiveCount: 3})
		r.publish(t, 20, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.handle(ctx, t, queue.SubscriberConfig{Backoff: seconds5}, func(msg *message.Message) bool {
			return msg.UUID != "a1" && msg.UUID != "a7"
		})
		want := "a1- a1- a1-"
		for i := 2; i <= 20; i++ {
			if want += fmt.Sprintf(" a%d+", i); i == 7 {
				want = strings.TrimSuffix(want, "+") + "- a7-" // it was received with a1 once, and behind it once
			}
		}
		if got := r.of("a"); got != want {
			t.Errorf("handled %s\n   want %s", got, want)
		}
		if h := r.last("a20"); h.at > 30*time.Second {
			t.Errorf("the last was handled after %v", h.at)
		}
		if got := r.bodies(t, "dlq.fifo"); !slices.Equal(got, []string{"a1", "a7"}) {
			t.Errorf("dead letters %v", got)
		}
	})
}

// TestLostVisibilityHoldsGroup holds that what follows a message whose visibility
// was lost waits for it, though the handler acks it in the end.
func TestLostVisibilityHoldsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{Visibility: 10 * time.Second, MaxReceiveCount: 9})
		r.publish(t, 3, "a")
		r.emulator.SetFault(func(q emulator.Request) emulator.Fault {
			fail := q.Operation == "ChangeMessageVisibilityBatch" && time.Since(r.began) < 20*time.Second
			return emulator.Fault{DropRequest: fail}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.handle(ctx, t, queue.SubscriberConfig{Backoff: seconds5}, func(msg *message.Message) bool {
			if queue.FromContext(msg.Context()).ReceiveCount > 1 {
				return true
			}
			<-msg.Context().Done()
			time.Sleep(2 * time.Second) // until the queue thinks so, too
			return true
		})
		if got := r.of("a"); got != "a1+ a1+ a2+ a3+" {
			t.Errorf("handled %s", got)
		}
	})
}

// TestLostReceiveAnswer holds that a receive whose answer was lost costs no
// group its visibility timeout.
func TestLostReceiveAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{Visibility: time.Minute})
		r.publish(t, 3, "a")
		r.emulator.SetFault(func(q emulator.Request) emulator.Fault {
			return emulator.Fault{DropAnswer: q.Operation == "ReceiveMessage" && q.Number == 1}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		r.handle(ctx, t, queue.SubscriberConfig{}, func(*message.Message) bool { return true })
		if got, h := r.of("a"), r.last("a3"); got != "a1+ a2+ a3+" || h.at > 5*time.Second || h.receive != 1 {
			t.Errorf("handled %s, the last at %v by receive %d", got, h.at, h.receive)
		}
	})
}

// TestCrashHoldsGroup holds that the groups of a receiver that died come again in
// their order, to another.
func TestCrashHoldsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{Visibility: 10 * time.Second, MaxReceiveCount: 9})
		r.publish(t, 5, "a", "b")
		r.receive(t, r.url) // and never heard of again
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var first sync.Once
		for range 2 {
			go r.handle(ctx, t, queue.SubscriberConfig{Backoff: seconds5}, func(*message.Message) (ok bool) {
				ok = true
				first.Do(func() { ok = false })
				return ok
			})
		}
		<-ctx.Done()
		synctest.Wait()
		time.Sleep(time.Minute) // for the drain
		for _, g := range []string{"a", "b"} {
			if bad := disorder(strings.Fields(r.of(g)), nil); bad != "" {
				t.Error(bad)
			}
			if got := r.of(g); strings.Count(got, "+") != 5 {
				t.Errorf("handled %s", got)
			}
		}
	})
}

// disorder says which message of a group was handled for the first time before
// one ahead of it was acked, or in the end never; empty if none was.
func disorder(runs []string, dead []string) string {
	acked := map[string]bool{}
	for _, d := range dead {
		acked[d] = true
	}
	for _, run := range runs {
		body, ok := run[:len(run)-1], run[len(run)-1] == '+'
		var n int
		_, _ = fmt.Sscanf(body[1:], "%d", &n)
		for i := 1; i < n; i++ {
			if !acked[fmt.Sprintf("%c%d", body[0], i)] {
				return fmt.Sprintf("%s was handled before %c%d: %s", body, body[0], i, strings.Join(runs, " "))
			}
		}
		acked[body] = acked[body] || ok
	}
	return ""
}

// TestGroupOrderProperty holds the order of each group against handlers that
// fail and requests that are lost, fail, or are answered after the fact.
func TestGroupOrderProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		groups := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(rt, "groups")]
		count := rapid.IntRange(1, 15).Draw(rt, "messages of each")
		most := rapid.IntRange(2, 5).Draw(rt, "receives")
		nacks := rapid.SliceOfN(rapid.Bool(), 1, 30).Draw(rt, "nacks")
		faults := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 40).Draw(rt, "faults")
		subscribers := rapid.IntRange(1, 2).Draw(rt, "subscribers")
		var complaint string
		synctest.Test(t, func(t *testing.T) { complaint = groupOrder(t, groups, count, most, nacks, faults, subscribers) })
		if complaint != "" {
			rt.Fatal(complaint)
		}
	})
}

func groupOrder(t *testing.T, groups []string, count, most int, nacks []bool, faults []int, subscribers int) string {
	r := newFIFORun(t, queue.Endpoint{Visibility: 10 * time.Second, MaxReceiveCount: most})
	r.publish(t, count, groups...)
	var mu sync.Mutex
	calls, faulty := 0, 0
	r.emulator.SetFault(func(q emulator.Request) emulator.Fault {
		mu.Lock()
		defer mu.Unlock()
		if q.Operation == "GetQueueAttributes" || q.Operation == "GetQueueUrl" || faulty >= len(faults) {
			return emulator.Fault{}
		}
		f := faults[faulty]
		faulty++
		switch f {
		case 0:
			return emulator.Fault{DropAnswer: true}
		case 1:
			return emulator.Fault{DropRequest: true}
		case 2:
			return emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error {
				return &emulator.Error{Code: "InternalError", Message: "no", Receiver: true}
			}}
		case 3:
			return emulator.Fault{Delay: 3 * time.Second}
		}
		return emulator.Fault{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for range subscribers {
		running.Go(func() {
			r.handle(ctx, t, queue.SubscriberConfig{Backoff: func(n int) time.Duration { return time.Duration(n-1) * time.Second }}, func(*message.Message) bool {
				mu.Lock()
				defer mu.Unlock()
				calls++
				return calls > len(nacks) || !nacks[calls-1]
			})
		})
	}
	running.Wait()
	r.emulator.SetFault(nil)
	dead := r.bodies(t, "dlq.fifo")
	for _, g := range groups {
		runs := strings.Fields(r.of(g))
		if bad := disorder(runs, dead); bad != "" {
			return bad
		}
		for i := 1; i <= count; i++ {
			body := fmt.Sprint(g, i)
			if !slices.Contains(runs, body+"+") && !slices.Contains(dead, body) {
				return fmt.Sprintf("%s was neither handled nor is it a dead letter: %v, %v", body, runs, dead)
			}
		}
	}
	return ""
}

// TestPublishGroups holds that groups are published side by side, each in its
// order, and that a message that was not taken is sent again before those behind
// it.
func TestPublishGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fifo{fail: "3 9"}
		p := newPublisher(t, queue.PublisherConfig{SQS: f, AWS: aws.Config{Region: "r"}})
		began := time.Now()
		var wg sync.WaitGroup
		want := map[string][]string{}
		for i := range 20 {
			for g := range 40 {
				group := fmt.Sprint("g", g)
				msg := message.NewMessage(fmt.Sprintf("%d-%d", g, i), fmt.Appendf(nil, "%d %d", g, i))
				msg.Metadata.Set(queue.KeyGroup, group)
				want[group] = append(want[group], msg.UUID)
				wg.Go(func() {
					if err := p.Publish("sqs://q.fifo", msg); err != nil && !(g == 3 && i == 9) {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
		}
		wg.Wait()
		// 80 requests of 10 ms, of which 16 are under way at once.
		if d := time.Since(began); d > 400*time.Millisecond {
			t.Errorf("publishing took %v", d)
		}
		got := map[string][]string{}
		for _, s := range f.sent {
			field := strings.Fields(s)
			got[field[2]] = append(got[field[2]], field[3])
		}
		for g := range want {
			w := want[g]
			if g == "g3" && !slices.Contains(got[g], "3-9") {
				w = slices.DeleteFunc(slices.Clone(w), func(id string) bool { return id == "3-9" })
			}
			if !slices.Equal(got[g], w) {
				t.Errorf("group %s got %v", g, got[g])
			}
		}
	})
}

// TestPublishHeld holds that the failure of a message keeps those behind it in
// its group, in the same call, from overtaking it.
func TestPublishHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{MaxMessageSize: 2000})
		p := newPublisher(t, queue.PublisherConfig{AWS: r.aws, Endpoints: r.endpoints})
		var all []*message.Message
		for i := 1; i <= 30; i++ {
			for _, g := range []string{"a", "b"} {
				body := fmt.Sprint(g, i)
				msg := message.NewMessage(body, []byte(body))
				msg.Metadata.Set(queue.KeyGroup, g)
				if body == "b25" {
					msg.Payload = make([]byte, 3000)
				}
				all = append(all, msg)
			}
		}
		r.emulator.SetFault(func(emulator.Request) emulator.Fault {
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				if e.Body != "a15" {
					return nil
				}
				return &emulator.Error{Code: "InvalidMessageContents", Message: "no"}
			}}
		})
		err := p.Publish("q", all...)
		var failed *queue.PublishError
		if !errors.As(err, &failed) {
			t.Fatal(err)
		}
		kinds := map[string]error{}
		for _, f := range failed.Failed {
			kinds[f.UUID] = f.Err
		}
		if !errors.Is(kinds["a15"], queue.ErrInvalid) || !errors.Is(kinds["a30"], queue.ErrHeld) || kinds["a14"] != nil {
			t.Errorf("a14, a15, a30: %v, %v, %v", kinds["a14"], kinds["a15"], kinds["a30"])
		}
		if !errors.Is(kinds["b25"], queue.ErrTooLarge) || !errors.Is(kinds["b26"], queue.ErrHeld) || kinds["b24"] != nil {
			t.Errorf("b24, b25, b26: %v, %v, %v", kinds["b24"], kinds["b25"], kinds["b26"])
		}
	})
}

// TestPublishAgain holds that messages of a group which were not taken are sent
// again, in their order, unless one behind them was accepted.
func TestPublishAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFIFORun(t, queue.Endpoint{})
		var mu sync.Mutex
		failed := map[string]bool{}
		r.emulator.SetFault(func(emulator.Request) emulator.Fault {
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				mu.Lock()
				defer mu.Unlock()
				if failed[e.Body] || e.Body == "a1" || strings.HasPrefix(e.Body, "b") && e.Body != "b2" {
					return nil
				}
				failed[e.Body] = true
				return &emulator.Error{Code: "InternalError", Receiver: true}
			}}
		})
		p := newPublisher(t, queue.PublisherConfig{AWS: r.aws, Endpoints: r.endpoints})
		var all []*message.Message
		for _, body := range []string{"a1", "b1", "a2", "b2", "a3", "b3"} {
			msg := message.NewMessage(body, []byte(body))
			msg.Metadata.Set(queue.KeyGroup, body[:1])
			all = append(all, msg)
		}
		err := p.Publish("q", all...)
		var e *queue.PublishError
		if !errors.As(err, &e) || len(e.Failed) != 1 || e.Failed[0].UUID != "b2" || !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("Publish: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r.handle(ctx, t, queue.SubscriberConfig{}, func(*message.Message) bool { return true })
		if a, b := r.of("a"), r.of("b"); a != "a1+ a2+ a3+" || b != "b1+ b3+" {
			t.Errorf("sent %s and %s", a, b)
		}
	})
}
