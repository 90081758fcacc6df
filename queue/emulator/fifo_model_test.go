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

// fifoMessage is what the model knows of a message of a FIFO queue.
type fifoMessage struct {
	id, group, dedup string
	arrived          int // the place in the queue
	sentAt           time.Time
	visibleAt        time.Time
	delayed          bool
	receives         int
	handles          []string // in this which, the latest last
	queue            int      // 0 is the queue, 1 its dead-letter queue
	gone             bool
}

// fifoSend is a send that the model remembers, and fifoTry a receive with an attempt id.
type fifoSend struct {
	at       time.Time
	id       string
	sequence string
}

type fifoTry struct {
	at      time.Time
	got     []delivery
	spoiled bool
}

// fifoModel is a FIFO queue and its dead-letter queue as lists: slow, and plainly right.
type fifoModel struct {
	clock    *stepClock
	queues   [2]*queue
	byGroup  bool
	messages []*fifoMessage // by arrival, whichever the queue
	arrivals int
	ids      int
	sends    [2]map[string]fifoSend // by deduplication id and scope
	tries    [2]map[string]*fifoTry
	last     [2]map[string]string // the latest sequence number of a group
	delay    time.Duration
}

func newFIFOModel(byGroup bool) *fifoModel {
	m := &fifoModel{clock: &stepClock{now: time.Unix(1_700_000_000, 0)}, byGroup: byGroup}
	for i := range m.queues {
		scope := map[bool]string{false: "queue", true: "messageGroup"}[byGroup]
		set, err := fifoDefaults().with(map[string]string{"MessageRetentionPeriod": "900", "DeduplicationScope": scope})
		if err != nil {
			panic(err)
		}
		if i == 0 {
			set.redrive = &redrivePolicy{target: "dlq", maxReceiveCount: modelReceives}
		}
		m.queues[i] = newQueue(queueKey{name: strconv.Itoa(i)}, "arn"+strconv.Itoa(i), set, nil, m.clock)
		m.sends[i], m.tries[i], m.last[i] = make(map[string]fifoSend), make(map[string]*fifoTry), make(map[string]string)
	}
	return m
}

// in returns the messages of a queue that are left, by arrival.
func (m *fifoModel) in(which int) []*fifoMessage {
	var out []*fifoMessage
	for _, x := range m.messages {
		if m.clock.now.Sub(x.sentAt) >= 900*time.Second {
			x.gone = true
		}
		if x.queue == which && !x.gone {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b *fifoMessage) int { return cmp.Compare(a.arrived, b.arrived) })
	return out
}

func (m *fifoModel) visible(x *fifoMessage) bool { return !x.visibleAt.After(m.clock.now) }

// free returns the messages that may be received: those with none before them in their group that is hidden.
func (m *fifoModel) free(which int) map[string][]*fifoMessage {
	out, blocked := make(map[string][]*fifoMessage), make(map[string]bool)
	for _, x := range m.in(which) {
		if !m.visible(x) {
			blocked[x.group] = true
		}
		if !blocked[x.group] {
			out[x.group] = append(out[x.group], x)
		}
	}
	return out
}

func (m *fifoModel) key(group, dedup string) string {
	if m.byGroup {
		return group + "/" + dedup
	}
	return dedup
}

var fifoGroups = rapid.SampledFrom([]string{"a", "b", "c"})

func (m *fifoModel) send(t *rapid.T) {
	which := rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "which")
	var arrivals []arrival
	for range rapid.IntRange(1, 4).Draw(t, "entries") {
		m.ids++
		c := &content{id: "m" + strconv.Itoa(m.ids), group: fifoGroups.Draw(t, "group"), sentAt: m.clock.now}
		var delay time.Duration
		if which == 0 {
			delay = m.delay
		}
		dedup := strconv.Itoa(rapid.IntRange(0, 30).Draw(t, "dedup"))
		arrivals = append(arrivals, arrival{message: &message{content: c}, delay: delay, dedup: dedup})
	}
	if !m.queues[which].add(arrivals...) {
		t.Fatal("the queue is gone")
	}
	for _, a := range arrivals {
		k := m.key(a.group, a.dedup)
		if s, ok := m.sends[which][k]; ok && m.clock.now.Sub(s.at) < 5*time.Minute {
			if a.sent.id != s.id || a.sequence != s.sequence {
				t.Fatalf("a duplicate of %s is answered with %s, %s, want number %s", s.id, a.sent.id, a.sequence, s.sequence)
			}
			continue
		}
		if a.sent.id != a.content.id {
			t.Fatalf("%s is taken for a duplicate of %s", a.content.id, a.sent.id)
		}
		m.number(t, which, a.group, a.sequence)
		m.sends[which][k] = fifoSend{at: m.clock.now, id: a.sent.id, sequence: a.sequence}
		m.arrivals++
		m.messages = append(m.messages, &fifoMessage{
			id: a.sent.id, group: a.group, dedup: a.dedup, arrived: m.arrivals, queue: which,
			sentAt: m.clock.now, visibleAt: m.clock.now.Add(a.delay), delayed: a.delay > 0,
		})
	}
}

// number checks that sequence numbers increase.
func (m *fifoModel) number(t *rapid.T, which int, group, n string) {
	if len(n) != 20 || n <= m.last[which][group] {
		t.Fatalf("the number %q comes after %q", n, m.last[which][group])
	}
	m.last[which][group] = n
}

func (m *fifoModel) receive(t *rapid.T) {
	which := rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "which")
	opts := receiveOptions{
		max:        rapid.IntRange(1, 10).Draw(t, "max"),
		visibility: time.Duration(rapid.SampledFrom([]int{0, 5, 60, 400}).Draw(t, "visibility")) * time.Second,
		attempt:    rapid.SampledFrom([]string{"", "", "x", "y"}).Draw(t, "attempt"),
		lookup:     func(string) *queue { return m.queues[1] },
	}
	free := m.free(which)
	try := m.tries[which][opts.attempt]
	got, err := m.queues[which].receive(context.Background(), opts)
	if try != nil && m.clock.now.Sub(try.at) < 5*time.Minute {
		if try.spoiled {
			if err == nil || err.Code != "InvalidParameterValueException" {
				t.Fatalf("the attempt %s is repeated: %v", opts.attempt, err)
			}
			return
		}
		if m.held(which, try) {
			m.repeated(t, which, try, got, opts)
			return
		}
	}
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	m.received(t, which, opts, free, got)
	if opts.attempt != "" && len(got) > 0 {
		m.tries[which][opts.attempt] = &fifoTry{at: m.clock.now, got: got}
	}
}

// held reports whether all that an attempt received is still in flight by it.
func (m *fifoModel) held(which int, try *fifoTry) bool {
	in := m.in(which)
	for _, d := range try.got {
		i := slices.IndexFunc(in, func(x *fifoMessage) bool { return x.id == d.id })
		if i < 0 || m.visible(in[i]) || in[i].handles[len(in[i].handles)-1] != d.handle {
			return false
		}
	}
	return true
}

func (m *fifoModel) repeated(t *rapid.T, which int, try *fifoTry, got []delivery, opts receiveOptions) {
	if !slices.EqualFunc(got, try.got, func(a, b delivery) bool {
		return a.id == b.id && a.handle == b.handle && a.receives == b.receives && a.sequence == b.sequence
	}) {
		t.Fatalf("an attempt is repeated with %d messages, want %d", len(got), len(try.got))
	}
	for _, x := range m.in(which) {
		if slices.ContainsFunc(got, func(d delivery) bool { return d.id == x.id }) {
			x.visibleAt = m.clock.now.Add(opts.visibility)
		}
	}
}

// received checks a receive that is not a repetition. Which group comes first is for the queue to say.
func (m *fifoModel) received(t *rapid.T, which int, opts receiveOptions, free map[string][]*fifoMessage, got []delivery) {
	bury := func(group string) (left []*fifoMessage) {
		list := free[group]
		for which == 0 && len(list) > 0 && list[0].receives >= modelReceives && m.moved(list[0].id) {
			m.move(list[0])
			list = list[1:]
		}
		free[group] = list
		return list
	}
	seen, last := make(map[string]bool), ""
	for _, d := range got {
		if d.group != last && last != "" && len(bury(last)) > 0 {
			t.Fatalf("group %s comes before the rest of %s", d.group, last)
		}
		list := bury(d.group)
		if len(list) == 0 || list[0].id != d.id {
			t.Fatalf("received %s of group %s out of turn", d.id, d.group)
		}
		if d.group != last && seen[d.group] {
			t.Fatalf("group %s comes twice in one receive", d.group)
		}
		x := list[0]
		last, free[d.group], seen[d.group] = d.group, list[1:], true
		x.receives++
		if d.receives != x.receives || slices.Contains(x.handles, d.handle) || d.dedup != x.dedup {
			t.Fatalf("%s comes as %+v, want the receive %d and a new handle", x.id, d, x.receives)
		}
		x.handles = append(x.handles, d.handle)
		x.delayed = false
		x.visibleAt = m.clock.now.Add(opts.visibility)
	}
	for group := range free {
		if left := bury(group); len(got) < opts.max && len(left) > 0 {
			t.Fatalf("received %d messages of %d, though %d more were free", len(got), opts.max, len(left))
		}
	}
}

// moved reports whether the dead-letter queue has a message.
func (m *fifoModel) moved(id string) bool {
	q := m.queues[1]
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, x := range q.messages {
		if x.content.id == id {
			return true
		}
	}
	return false
}

// move takes note of a message that went to the dead-letter queue.
func (m *fifoModel) move(x *fifoMessage) {
	x.queue, x.handles, x.dedup, x.sentAt, x.visibleAt = 1, nil, x.id, m.clock.now, m.clock.now
	m.arrivals++
	x.arrived = m.arrivals
}

// handle draws a receipt handle that was given out, and says whose it is and whether it is the latest.
func (m *fifoModel) handle(t *rapid.T, which int) (handle string, x *fifoMessage, latest bool) {
	type known struct {
		handle string
		x      *fifoMessage
		latest bool
	}
	var all []known
	for _, x := range m.messages {
		for i, h := range x.handles {
			if x.queue == which {
				all = append(all, known{h, x, i == len(x.handles)-1})
			}
		}
	}
	if len(all) == 0 {
		t.Skip("no handles yet")
	}
	slices.SortFunc(all, func(a, b known) int { return cmp.Compare(a.handle, b.handle) })
	k := rapid.SampledFrom(all).Draw(t, "handle")
	m.in(which) // let messages expire
	return k.handle, k.x, k.latest
}

// touch spoils the attempts that gave out a receipt handle.
func (m *fifoModel) touch(which int, handle string) {
	for _, try := range m.tries[which] {
		if slices.ContainsFunc(try.got, func(d delivery) bool { return d.handle == handle }) {
			try.spoiled = true
		}
	}
}

func (m *fifoModel) delete(t *rapid.T) {
	which := rapid.IntRange(0, 1).Draw(t, "which")
	h, x, latest := m.handle(t, which)
	err := m.queues[which].delete(h)
	if refused := !x.gone && (!latest || m.visible(x)); refused != (err != nil) {
		t.Fatalf("delete of %s: %v, want refused: %v", x.id, err, refused)
	}
	if err == nil && !x.gone {
		x.gone = true
		m.touch(which, h)
	}
}

func (m *fifoModel) change(t *rapid.T) {
	which := rapid.IntRange(0, 1).Draw(t, "which")
	h, x, latest := m.handle(t, which)
	d := time.Duration(rapid.SampledFrom([]int{0, 0, 10, 400}).Draw(t, "seconds")) * time.Second
	err := m.queues[which].changeVisibility(h, d)
	if refused := x.gone || !latest || m.visible(x); refused != (err != nil) {
		t.Fatalf("change of %s: %v, want refused: %v", x.id, err, refused)
	}
	if err == nil {
		x.visibleAt = m.clock.now.Add(d)
		m.touch(which, h)
	}
}

// setDelay changes the delay of the queue, which holds for what is still delayed.
func (m *fifoModel) setDelay(t *rapid.T) {
	m.delay = time.Duration(rapid.SampledFrom([]int{0, 0, 20, 60}).Draw(t, "delay")) * time.Second
	for _, x := range m.in(0) {
		if x.delayed && !m.visible(x) {
			x.visibleAt = x.sentAt.Add(m.delay)
		}
	}
	q := m.queues[0]
	q.mu.Lock()
	defer q.mu.Unlock()
	set := q.set
	set.delay = m.delay
	q.apply(set, m.clock.now)
}

func (m *fifoModel) purge(t *rapid.T) {
	which := rapid.IntRange(0, 1).Draw(t, "which")
	if rapid.IntRange(0, 9).Draw(t, "really") > 0 {
		t.Skip("seldom")
	}
	if err := m.queues[which].purge(0); err != nil {
		t.Fatalf("purge: %v", err)
	}
	for _, x := range m.in(which) {
		x.gone = true
	}
	clear(m.sends[which])
	clear(m.tries[which])
}

func (m *fifoModel) pass(t *rapid.T) {
	m.clock.now = m.clock.now.Add(time.Duration(rapid.SampledFrom([]int{1, 5, 30, 61, 240}).Draw(t, "seconds")) * time.Second)
}

// check compares the counts of both queues, and their structures with each other.
func (m *fifoModel) check(t *rapid.T) {
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
		linked, open := 0, 0
		for group, l := range q.fifo.lines {
			n, last := 0, uint64(0)
			for x := l.messages.head; x != nil; x = x.at.next {
				n++
				if x.group != group || x.line != l || x.number <= last || x.at.next != nil && x.at.next.at.prev != x {
					t.Fatalf("the line %s of queue %d is broken at %s", group, i, x.content.id)
				}
				last = x.number
			}
			if n == 0 || n != l.messages.n {
				t.Fatalf("the line %s of queue %d has %d messages and counts %d", group, i, n, l.messages.n)
			}
			linked += n
			if l.open != (l.messages.head.state == ready) {
				t.Fatalf("the line %s of queue %d is open: %v", group, i, l.open)
			}
			if l.open {
				open++
			}
		}
		if linked != len(q.messages) || linked != q.ages.len() || open != q.fifo.open.n {
			t.Fatalf("queue %d has %d messages in lines, %d by number and %d by age; %d open lines, %d listed", i, linked, len(q.messages), q.ages.len(), open, q.fifo.open.n)
		}
		q.mu.Unlock()
	}
}

// TestFIFOAgainstModel does what comes to mind to a FIFO queue and its dead-letter queue, and compares them
// with lists: above all, that each group comes in order, and that nothing comes twice that was sent twice.
func TestFIFOAgainstModel(t *testing.T) {
	for name, byGroup := range map[string]bool{"queue": false, "messageGroup": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newFIFOModel(byGroup)
				t.Repeat(map[string]func(*rapid.T){
					"":        m.check,
					"send":    m.send,
					"receive": m.receive,
					"again":   m.receive,
					"delete":  m.delete,
					"change":  m.change,
					"delay":   m.setDelay,
					"purge":   m.purge,
					"pass":    m.pass,
				})
			})
		})
	}
}
