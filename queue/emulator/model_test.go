package emulator

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// stepClock is a clock that only the test moves. Nothing waits in these tests, so it has no timers.
type stepClock struct{ now time.Time }

func (c *stepClock) Now() time.Time { return c.now }

func (c *stepClock) AfterFunc(time.Duration, func()) func() bool {
	panic("nobody waits")
}

// modelMessage is what the model knows of a message.
type modelMessage struct {
	id        string
	sentAt    time.Time
	queue     int // 0 is the queue, 1 its dead-letter queue
	visibleAt time.Time
	delayed   bool
	receives  int
	handles   []string // in this queue, the latest last
	gone      bool
}

// model is two queues as a list: slow, and plainly right.
type model struct {
	clock    *stepClock
	queues   [2]*queue
	messages []*modelMessage
	sent     int
}

const (
	modelVisibility = 30 * time.Second
	modelRetention  = 10 * time.Minute
	modelReceives   = 3
)

func newModel() *model {
	clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
	m := &model{clock: clock}
	for i := range m.queues {
		set, err := defaultSettings().with(map[string]string{"MessageRetentionPeriod": "600"})
		if err != nil {
			panic(err)
		}
		if i == 0 {
			set.redrive = &redrivePolicy{target: "dlq", maxReceiveCount: modelReceives}
		}
		m.queues[i] = newQueue(queueKey{name: strconv.Itoa(i)}, "arn"+strconv.Itoa(i), set, nil, clock)
	}
	return m
}

func (m *model) lookup(string) *queue { return m.queues[1] }

// in returns the messages of a queue that are left, after expiry.
func (m *model) in(queue int) []*modelMessage {
	var out []*modelMessage
	for _, x := range m.messages {
		if m.clock.now.Sub(x.sentAt) >= modelRetention {
			x.gone = true
		}
		if x.queue == queue && !x.gone {
			out = append(out, x)
		}
	}
	return out
}

func (m *model) visible(x *modelMessage) bool { return !x.visibleAt.After(m.clock.now) }

func (m *model) byID(id string) *modelMessage {
	i := slices.IndexFunc(m.messages, func(x *modelMessage) bool { return x.id == id })
	if i < 0 {
		return nil
	}
	return m.messages[i]
}

func (m *model) send(t *rapid.T) {
	delay := time.Duration(rapid.IntRange(0, 60).Draw(t, "delay")) * time.Second
	m.sent++
	id := strconv.Itoa(m.sent)
	c := &content{id: id, sentAt: m.clock.now}
	if !m.queues[0].add(arrival{message: &message{content: c}, delay: delay}) {
		t.Fatal("the queue is gone")
	}
	m.messages = append(m.messages, &modelMessage{id: id, sentAt: m.clock.now, visibleAt: m.clock.now.Add(delay), delayed: delay > 0})
}

func (m *model) receive(t *rapid.T) {
	queue := rapid.IntRange(0, 1).Draw(t, "queue")
	opts := receiveOptions{
		max:        rapid.IntRange(1, 10).Draw(t, "max"),
		wait:       0,
		visibility: time.Duration(rapid.SampledFrom([]int{-1, 0, 5, 60}).Draw(t, "visibility")) * time.Second,
		lookup:     m.lookup,
	}
	got, err := m.queues[queue].receive(context.Background(), opts)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	if opts.visibility < 0 {
		opts.visibility = modelVisibility
	}

	// Which of the visible messages are looked at is for the queue to say, by order; which of these are
	// dead is not. So the model takes over which came, and checks the rest.
	ready := make(map[string]*modelMessage)
	dead := 0
	for _, x := range m.in(queue) {
		if m.visible(x) {
			ready[x.id] = x
			if queue == 0 && x.receives >= modelReceives {
				dead++
			}
		}
	}
	if want := min(opts.max, len(ready)-dead); len(got) != want {
		t.Fatalf("received %d of queue %d, want %d", len(got), queue, want)
	}
	for _, d := range got {
		x, ok := ready[d.id]
		if !ok {
			t.Fatalf("received %s, which is not visible in queue %d", d.id, queue)
		}
		delete(ready, d.id)
		x.receives++
		if d.receives != x.receives {
			t.Fatalf("the receive count of %s is %d, want %d", d.id, d.receives, x.receives)
		}
		if slices.Contains(x.handles, d.handle) {
			t.Fatalf("a receipt handle of %s comes twice", d.id)
		}
		if source := map[bool]string{true: "arn0"}[queue == 1]; d.source != source {
			t.Fatalf("the source of %s is %q, want %q", d.id, d.source, source)
		}
		x.handles = append(x.handles, d.handle)
		x.visibleAt, x.delayed = m.clock.now.Add(opts.visibility), false
	}
	if queue == 1 {
		return
	}
	// What the dead-letter queue has now beyond the model came from here.
	m.queues[1].mu.Lock()
	defer m.queues[1].mu.Unlock()
	for _, moved := range m.queues[1].messages {
		x := m.byID(moved.id)
		if x.queue == 1 {
			continue
		}
		if ready[x.id] == nil || x.receives < modelReceives {
			t.Fatalf("%s was moved after %d receives", x.id, x.receives)
		}
		x.queue, x.handles, x.visibleAt = 1, nil, m.clock.now
		dead--
	}
	if len(got) < opts.max && dead > 0 {
		t.Fatalf("%d dead letters were left though all messages were looked at", dead)
	}
}

// handle draws a receipt handle that was given out, and says whose it is and whether it is the latest.
func (m *model) handle(t *rapid.T, queue int) (handle string, x *modelMessage, latest bool) {
	type known struct {
		handle string
		x      *modelMessage
		latest bool
	}
	var all []known
	for _, x := range m.messages {
		if x.queue != queue {
			continue
		}
		for i, h := range x.handles {
			all = append(all, known{h, x, i == len(x.handles)-1})
		}
	}
	if len(all) == 0 {
		t.Skip("no handles yet")
	}
	slices.SortFunc(all, func(a, b known) int { return cmp.Compare(a.handle, b.handle) })
	k := rapid.SampledFrom(all).Draw(t, "handle")
	return k.handle, k.x, k.latest
}

func (m *model) delete(t *rapid.T) {
	queue := rapid.IntRange(0, 1).Draw(t, "queue")
	h, x, latest := m.handle(t, queue)
	if err := m.queues[queue].delete(h); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if latest {
		x.gone = true
	}
}

func (m *model) change(t *rapid.T) {
	queue := rapid.IntRange(0, 1).Draw(t, "queue")
	h, x, latest := m.handle(t, queue)
	d := time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second
	m.in(queue) // let messages expire
	err := m.queues[queue].changeVisibility(h, d)
	want := ""
	switch {
	case x.gone || !latest:
		want = "InvalidParameterValueException"
	case m.visible(x):
		want = "MessageNotInflight"
	}
	got := ""
	if err != nil {
		got = err.Code
	}
	if got != want {
		t.Fatalf("change of %s: %q, want %q", x.id, got, want)
	}
	if want == "" {
		x.visibleAt = m.clock.now.Add(d)
	}
}

func (m *model) pass(t *rapid.T) {
	m.clock.now = m.clock.now.Add(time.Duration(rapid.IntRange(1, 120).Draw(t, "seconds")) * time.Second)
}

// check compares the counts of both queues, and their structures with each other.
func (m *model) check(t *rapid.T) {
	for i, q := range m.queues {
		var want [3]int
		for _, x := range m.in(i) {
			switch {
			case m.visible(x):
				want[0]++
			case x.delayed:
				want[2]++
			default:
				want[1]++
			}
		}
		q.mu.Lock()
		q.settle(m.clock.now)
		visible, notVisible, later := q.counts()
		if got := [3]int{visible, notVisible, later}; got != want {
			t.Fatalf("the counts of queue %d are %v, want %v", i, got, want)
		}
		if n := visible + notVisible + later; n != len(q.messages) || n != q.ages.len() {
			t.Fatalf("queue %d holds %d messages, %d by number and %d by age", i, n, len(q.messages), q.ages.len())
		}
		linked := 0
		for x := q.ready.head; x != nil; x = x.at.next {
			linked++
			if x.state != ready || x.at.next != nil && x.at.next.at.prev != x {
				t.Fatalf("the list of queue %d is broken at %s", i, x.id)
			}
		}
		if linked != visible {
			t.Fatalf("the list of queue %d has %d messages, want %d", i, linked, visible)
		}
		q.mu.Unlock()
	}
}

// TestQueueAgainstModel does what comes to mind to two queues, and compares them with a list.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"send":    m.send,
			"receive": m.receive,
			"again":   m.receive,
			"delete":  m.delete,
			"change":  m.change,
			"pass":    m.pass,
		})
	})
}
