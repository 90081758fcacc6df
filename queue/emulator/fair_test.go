package emulator

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fairMessage is what the model knows of a message of a fair queue.
type fairMessage struct {
	id, group string
	shown     int // when it became ready, by a count
	visibleAt time.Time
	inFlight  bool
	handle    string
}

// fairModel is a fair queue as a list. It says exactly what comes when.
type fairModel struct {
	clock    *stepClock
	queue    *queue
	messages []*fairMessage
	shown    int
	sent     int
}

// settle makes ready what is due, in the order in which the queue does.
func (m *fairModel) settle() {
	var due []*fairMessage
	for _, x := range m.messages {
		if x.inFlight && !x.visibleAt.After(m.clock.now) {
			due = append(due, x)
		}
	}
	slices.SortStableFunc(due, func(a, b *fairMessage) int { return a.visibleAt.Compare(b.visibleAt) })
	for _, x := range due {
		m.show(x)
	}
}

func (m *fairModel) show(x *fairMessage) {
	m.shown++
	x.shown, x.inFlight = m.shown, false
}

// next returns the message to come, of those that were ready when the receive began.
func (m *fairModel) next(limit int) *fairMessage {
	flying, all := make(map[string]int), 0
	for _, x := range m.messages {
		if x.inFlight {
			all++
			flying[x.group]++
		}
	}
	noisy := func(x *fairMessage) bool {
		return x.group != "" && flying[x.group] >= 30 && flying[x.group]*10 > all
	}
	var best *fairMessage
	before := func(a, b *fairMessage) bool {
		switch {
		case noisy(a) != noisy(b):
			return noisy(b)
		case noisy(a) && flying[a.group] != flying[b.group]:
			return flying[a.group] < flying[b.group]
		}
		return a.shown < b.shown
	}
	for _, x := range m.messages {
		if !x.inFlight && x.shown <= limit && (best == nil || before(x, best)) {
			best = x
		}
	}
	return best
}

func (m *fairModel) send(t *rapid.T) {
	group := rapid.SampledFrom([]string{"", "a", "a", "b", "c"}).Draw(t, "group")
	for range rapid.SampledFrom([]int{1, 2, 40}).Draw(t, "messages") {
		m.sent++
		x := &fairMessage{id: strconv.Itoa(m.sent), group: group}
		m.show(x)
		m.messages = append(m.messages, x)
		m.queue.add(arrival{message: &message{content: &content{id: x.id, group: group, sentAt: m.clock.now}}})
	}
}

func (m *fairModel) receive(t *rapid.T) {
	seconds := rapid.SampledFrom([]int{0, 60, 600, 600, 600, 600}).Draw(t, "visibility")
	opts := receiveOptions{max: rapid.IntRange(1, 10).Draw(t, "max"), visibility: time.Duration(seconds) * time.Second}
	m.settle()
	got, err := m.queue.receive(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	limit := m.shown
	for _, d := range got {
		x := m.next(limit)
		if x == nil || x.id != d.id {
			t.Fatalf("received %s of group %q, want %+v", d.id, d.group, x)
		}
		x.handle = d.handle
		if x.visibleAt, x.inFlight = m.clock.now.Add(opts.visibility), true; opts.visibility == 0 {
			m.show(x)
		}
	}
	if x := m.next(limit); len(got) < opts.max && x != nil {
		t.Fatalf("received %d messages and not %s", len(got), x.id)
	}
}

func (m *fairModel) delete(t *rapid.T) {
	m.settle()
	var all []*fairMessage
	for _, x := range m.messages {
		if x.handle != "" {
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		t.Skip("no handles yet")
	}
	x := rapid.SampledFrom(all).Draw(t, "message")
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0:
		for _, y := range all { // at a go, so that groups fall silent
			m.drop(t, y)
		}
	case 1:
		if x.inFlight {
			if err := m.queue.changeVisibility(x.handle, 0); err != nil {
				t.Fatal(err)
			}
			m.show(x)
		}
	default:
		m.drop(t, x)
	}
}

func (m *fairModel) drop(t *rapid.T, x *fairMessage) {
	if err := m.queue.delete(x.handle); err != nil {
		t.Fatal(err)
	}
	m.messages = slices.DeleteFunc(m.messages, func(y *fairMessage) bool { return x == y })
}

func (m *fairModel) check(t *rapid.T) {
	m.settle()
	q := m.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(m.clock.now)
	groups := make(map[string]int)
	for _, x := range m.messages {
		if x.group != "" {
			groups[x.group]++
		}
	}
	if len(groups) != len(q.fair.known) || len(q.messages) != len(m.messages) {
		t.Fatalf("the queue has %d groups and %d messages, want %d and %d", len(q.fair.known), len(q.messages), len(groups), len(m.messages))
	}
	waiting := 0
	for name, tenant := range q.fair.known {
		if tenant.n != groups[name] || tenant.n < tenant.inFlight+tenant.ready.n {
			t.Fatalf("group %s counts %d messages, %d in flight, %d ready, want %d", name, tenant.n, tenant.inFlight, tenant.ready.n, groups[name])
		}
		if tenant.ready.n > 0 {
			waiting++
			if q.fair.heap[tenant.heapPos] != tenant {
				t.Fatalf("group %s is not where it says", name)
			}
		}
	}
	if waiting != len(q.fair.heap) {
		t.Fatalf("%d groups are in the heap, want %d", len(q.fair.heap), waiting)
	}
}

// TestFairQueueAgainstModel does what comes to mind to a standard queue whose messages have groups: what comes
// is what the list says.
func TestFairQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
		m := &fairModel{clock: clock, queue: newQueue(queueKey{name: "q"}, "q", defaultSettings(), nil, clock)}
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"send":    m.send,
			"receive": m.receive,
			"more":    m.receive,
			"again":   m.receive,
			"delete":  m.delete,
			"pass": func(t *rapid.T) {
				clock.now = clock.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "seconds")) * time.Second)
			},
		})
	})
}

// A group is noisy from 30 messages in flight on, if these are more than a tenth of all.
func TestNoisyShare(t *testing.T) {
	for _, c := range []struct {
		own, others int
		noisy       bool
	}{
		{29, 0, false}, {30, 0, true}, {30, 269, true}, {30, 270, false}, {40, 359, true}, {40, 360, false},
	} {
		q := testQueue(t, realClock{}, "q")
		fill(q, "a", c.own)
		fill(q, "", c.others)
		for n := c.own + c.others; n > 0; n -= 10 {
			if _, err := q.receive(context.Background(), receiveOptions{max: min(n, 10), visibility: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		fill(q, "a", 1)
		fill(q, "b", 1)
		got, err := q.receive(context.Background(), receiveOptions{max: 1})
		if err != nil || len(got) != 1 {
			t.Fatalf("received %d messages, %v", len(got), err)
		}
		if noisy := got[0].group == "b"; noisy != c.noisy {
			t.Errorf("whether %d in flight of %d are noisy is %v, want %v", c.own, c.own+c.others, noisy, c.noisy)
		}
	}
}
