package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/waybilltest"
)

// chaosEnv names how many messages go through the chaos: `make soak` sends 100,000.
const chaosEnv = "WAYBILL_CHAOS"

const chaosGroups = 100

// A parcel is a message of the chaos: the nth of its group.
type parcel struct{ Group, N int }

// depots are three filters in a row that count what they handle.
type depots struct {
	mu      sync.Mutex
	handled [3]map[parcel]int
	last    map[int]int // of each group, at the third
	late    []parcel    // that came to the third after a later one of their group
	n       int         // at the third
}

func (d *depots) handle(hop int) func(context.Context, parcel) (parcel, error) {
	return func(_ context.Context, p parcel) (parcel, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.handled[hop][p]++
		if hop == 2 {
			d.n++
			if p.N < d.last[p.Group] {
				d.late = append(d.late, p)
			}
			d.last[p.Group] = max(p.N, d.last[p.Group])
		}
		return p, nil
	}
}

func (d *depots) arrived() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// One request in twenty fails, is late, or is carried out and not answered, and
// one entry in a hundred fails: what is sent through three hops arrives all the
// same, and is handled once in each; on FIFO queues, in order.
func TestChaos(t *testing.T) {
	n := 4_000
	if text := os.Getenv(chaosEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s is %q; want a number of messages", chaosEnv, text)
		}
	}
	for _, suffix := range []string{"", ".fifo"} {
		t.Run("queues"+suffix, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, suffix, n) })
		})
	}
}

func chaos(t *testing.T, suffix string, n int) {
	s := waybilltest.Start(t, waybilltest.NoSockets())
	var endpoints []queue.Endpoint
	for _, name := range []string{"a", "b", "c"} {
		endpoints = append(endpoints, queue.Endpoint{
			Name: name, URL: "sqs://" + name + suffix, DeadLetter: "sqs://" + name + "-dlq" + suffix, MaxReceiveCount: 1000, Pollers: 8, Concurrency: 200,
		})
	}
	all := s.Apply(t, endpoints...)
	d := &depots{last: make(map[int]int)}
	for hop := range d.handled {
		d.handled[hop] = make(map[parcel]int)
	}
	records := memstore.New(memstore.Config{})
	p, err := pipeline.New(pipeline.Config{Publisher: s.Publisher(t, all), Subscriber: s.Subscriber(t, all, func(c *queue.SubscriberConfig) { c.DeliverUndecodable = true }), Endpoints: all})
	if err != nil {
		t.Fatal(err)
	}
	once := pipeline.Use(pipeline.Idempotent(store.Once{Records: records}))
	p.Handle("one", pipeline.Func(d.handle(0)), pipeline.From("a"), pipeline.To("b"), once)
	p.Handle("two", pipeline.Func(d.handle(1)), pipeline.From("b"), pipeline.To("c"), once)
	p.Handle("three", pipeline.Sink(func(ctx context.Context, in parcel) error {
		_, err := d.handle(2)(ctx, in)
		return err
	}), pipeline.From("c"), once)
	s.Emulator.SetFault(mishaps())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()

	began := time.Now()
	feed(t, s.Publisher(t, all), n)
	for d.arrived() < n && time.Since(began) < 48*time.Hour {
		time.Sleep(time.Minute)
	}
	took := time.Since(began)
	time.Sleep(time.Hour) // what comes twice comes now
	s.Emulator.SetFault(nil)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for hop, handled := range d.handled {
		twice := 0
		for _, times := range handled {
			if times > 1 {
				twice++
			}
		}
		if len(handled) != n || twice > 0 {
			t.Errorf("hop %d has handled %d of %d messages, and %d of them more than once", hop+1, len(handled), n, twice)
		}
	}
	if suffix != "" && len(d.late) > 0 {
		t.Errorf("%d messages came after a later one of their group, the first %+v", len(d.late), d.late[0])
	}
	t.Logf("%d messages in %v of virtual time, %v", n, took, s.Emulator.Requests())
}

// mishaps are the faults: one request in twenty has one.
func mishaps() func(emulator.Request) emulator.Fault {
	const each = 0.01
	throttled := &emulator.Error{Code: "RequestThrottled", Message: "Rate exceeded", Status: 403}
	broken := &emulator.Error{Code: "InternalFailure", Message: "try again", Receiver: true}
	requests := emulator.Faults(1,
		emulator.FaultRule{Probability: each, Fault: emulator.Fault{Err: throttled}},
		emulator.FaultRule{Probability: each, Fault: emulator.Fault{Err: broken}},
		emulator.FaultRule{Probability: each, Fault: emulator.Fault{DropRequest: true}},
		emulator.FaultRule{Probability: each, Fault: emulator.Fault{DropAnswer: true}},
		emulator.FaultRule{Probability: each, Fault: emulator.Fault{Delay: 12 * time.Second, Twice: true}},
	)
	var mu sync.Mutex
	entries := 0
	return func(r emulator.Request) emulator.Fault {
		f := requests(r)
		f.FailEntry = func(emulator.Entry) *emulator.Error {
			mu.Lock()
			defer mu.Unlock()
			if entries++; entries%100 == 0 {
				return broken
			}
			return nil
		}
		return f
	}
}

// feed publishes n messages, those of each group in order, and each until it is
// accepted.
func feed(t *testing.T, pub message.Publisher, n int) {
	var all sync.WaitGroup
	for group := range chaosGroups {
		all.Go(func() {
			for i := range n / chaosGroups {
				msg := message.NewMessage(fmt.Sprintf("%d/%d", group, i), fmt.Appendf(nil, `{"Group":%d,"N":%d}`, group, i))
				msg.Metadata.Set(queue.KeyGroup, fmt.Sprint(group))
				for {
					err := pub.Publish("a", msg)
					if err == nil {
						break
					}
					var failed *queue.PublishError
					if !errors.As(err, &failed) || strings.Contains(err.Error(), "invalid") {
						t.Error(err)
						return
					}
					time.Sleep(time.Second)
				}
			}
		})
	}
	all.Wait()
}
