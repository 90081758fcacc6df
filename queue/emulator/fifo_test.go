package emulator

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// fifoQueue returns a FIFO queue with attributes given as name, value, name, value.
func fifoQueue(t testing.TB, clock Clock, name string, attributes ...string) *queue {
	t.Helper()
	changes := make(map[string]string)
	for i := 0; i < len(attributes); i += 2 {
		changes[attributes[i]] = attributes[i+1]
	}
	set, err := fifoDefaults().with(changes)
	if err != nil {
		t.Fatal(err)
	}
	return newQueue(queueKey{name: name}, name, set, nil, clock)
}

// fill adds n messages of a group, with ids that start with it.
func fill(q *queue, group string, n int) {
	for i := range n {
		id := group + strconv.Itoa(i)
		q.add(arrival{message: &message{content: &content{id: id, group: group, sentAt: q.clock.Now()}}, dedup: id})
	}
}

func ids(got []delivery) string {
	s := ""
	for _, d := range got {
		s += d.id + " "
	}
	return s
}

// A million messages of a standard queue are to fit into 700 MB: what only FIFO and fair queues need must not
// be in all of them.
func TestMessageSize(t *testing.T) {
	if size := unsafe.Sizeof(message{}); size > 112 {
		t.Errorf("a message takes %d bytes, want no more than 112", size)
	}
	if size := unsafe.Sizeof(content{}); size > 160 {
		t.Errorf("a content takes %d bytes, want no more than 160", size)
	}
}

// At its limit of messages in flight, a FIFO queue returns nothing and no error, and goes on when there is room.
func TestTooManyInFlightFIFO(t *testing.T) {
	q := fifoQueue(t, &stepClock{now: time.Unix(1_700_000_000, 0)}, "q.fifo")
	fill(q, "a", 20)
	first := takeTen(t, q, nil)
	q.inFlight += maxInFlight - 12 // as many others
	fill(q, "b", 20)
	if got := takeTen(t, q, nil); ids(got) != "b0 b1 " {
		t.Errorf("received %q with room for two", ids(got))
	}
	if got := takeTen(t, q, nil); len(got) != 0 {
		t.Errorf("received %q at the limit", ids(got))
	}
	for _, d := range first {
		if err := q.delete(d.handle); err != nil {
			t.Fatal(err)
		}
	}
	if got := takeTen(t, q, nil); len(got) != 10 || got[0].id != "a10" {
		t.Errorf("received %q with room again", ids(got))
	}
}

// Long polls at the limit wait, without a look at the queue in between, until there is room.
func TestLongPollsAtTheLimit(t *testing.T) {
	for name, fifo := range map[string]bool{"standard": false, "FIFO": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := testQueue(t, realClock{}, "q")
				if fifo {
					q = fifoQueue(t, realClock{}, "q.fifo")
				}
				for i := range 3 {
					fill(q, strconv.Itoa(i), 1)
				}
				first, err := q.receive(t.Context(), receiveOptions{max: 1, visibility: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				q.inFlight += maxInFlight - 1
				var polls sync.WaitGroup
				got := make(chan string, 2)
				for range 2 {
					polls.Go(func() {
						out, err := q.receive(t.Context(), receiveOptions{max: 1, wait: 20 * time.Second, visibility: time.Hour})
						if err != nil {
							t.Error(err)
						}
						got <- ids(out)
					})
				}
				time.Sleep(5 * time.Second) // passes only if both sleep
				select {
				case s := <-got:
					t.Errorf("a poll returned %q at the limit", s)
				default:
				}
				if err := q.delete(first[0].handle); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if s := <-got; s != "10 " {
					t.Errorf("the poll received %q when there was room", s)
				}
				polls.Wait()
				if s := <-got; s != "" {
					t.Errorf("the other poll received %q", s)
				}
			})
		})
	}
}

// Dead letters whose queue is gone go back to where they were in their group.
func TestDeadLetterQueueGoneFIFO(t *testing.T) {
	clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
	q := fifoQueue(t, clock, "q.fifo")
	q.set.redrive = &redrivePolicy{target: "dlq", maxReceiveCount: 1}
	fill(q, "a", 4)
	got, err := q.receive(context.Background(), receiveOptions{max: 2, visibility: time.Minute, lookup: func(string) *queue { return nil }})
	if err != nil || ids(got) != "a0 a1 " {
		t.Fatalf("received %q, %v", ids(got), err)
	}
	clock.now = clock.now.Add(time.Minute)
	deleted := fifoQueue(t, clock, "dlq.fifo")
	deleted.close()
	got, err = q.receive(context.Background(), receiveOptions{max: 1, visibility: 0, lookup: func(string) *queue { return deleted }})
	if err != nil || ids(got) != "a2 " {
		t.Fatalf("received %q, %v, want the one behind the dead", ids(got), err)
	}
	if got := takeTen(t, q, func(string) *queue { return nil }); ids(got) != "a0 a1 a2 a3 " || got[0].source != "" {
		t.Errorf("received %q of %q", ids(got), got[0].source)
	}
}

// Dead letters keep the order of their group, though many receive at once.
func TestDeadLettersInOrder(t *testing.T) {
	const n = 2000
	q, dlq := fifoQueue(t, realClock{}, "q.fifo"), fifoQueue(t, realClock{}, "dlq.fifo")
	q.set.redrive = &redrivePolicy{target: "dlq.fifo", maxReceiveCount: 1}
	fill(q, "a", n)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range n {
				if _, err := q.receive(context.Background(), receiveOptions{max: 3, lookup: func(string) *queue { return dlq }}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	i := 0
	for m := dlq.fifo.lines["a"].messages.head; m != nil; m = m.at.next {
		if want := "a" + strconv.Itoa(i); m.content.id != want {
			t.Fatalf("%s comes in the place of %s", m.content.id, want)
		}
		i++
	}
	if i != n {
		t.Errorf("%d messages were moved, want %d", i, n)
	}
}

// Two FIFO queues that are each other's dead-letter queue lose nothing: what comes back is no duplicate.
func TestDeadLetterRingFIFO(t *testing.T) {
	clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
	a, b := fifoQueue(t, clock, "a.fifo"), fifoQueue(t, clock, "b.fifo")
	lookup := func(arn string) *queue { return map[string]*queue{"a.fifo": a, "b.fifo": b}[arn] }
	a.set.redrive = &redrivePolicy{target: "b.fifo", maxReceiveCount: 1}
	b.set.redrive = &redrivePolicy{target: "a.fifo", maxReceiveCount: 1}
	fill(a, "x", 3)
	takeTen(t, a, lookup)
	for i := range 10 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		clock.now = clock.now.Add(time.Minute)
		if got := takeTen(t, from, lookup); len(got) != 0 {
			t.Fatalf("received %q, want all to move", ids(got))
		}
		if got := takeTen(t, to, lookup); ids(got) != "" {
			t.Fatalf("received %q, want all to move on", ids(got))
		}
		if n := len(a.messages) + len(b.messages); n != 3 {
			t.Fatalf("%d messages are left after %d moves, want 3", n, 2*i)
		}
	}
}

// A change of the scope of deduplication holds for what was sent before.
func TestDeduplicationScopeChanged(t *testing.T) {
	clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
	q := fifoQueue(t, clock, "q.fifo", "DeduplicationScope", "messageGroup")
	sent := 0
	send := func(group, dedup string) (id string) {
		sent++
		arrivals := []arrival{{message: &message{content: &content{id: fmt.Sprint("m", sent), group: group, sentAt: clock.now}}, dedup: dedup}}
		q.add(arrivals...)
		return arrivals[0].sent.id
	}
	scope := func(value string) {
		set, err := q.set.with(map[string]string{"DeduplicationScope": value})
		if err != nil {
			t.Fatal(err)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.apply(set, clock.now)
	}
	for i, step := range []struct {
		scope, group, id string
	}{
		{"messageGroup", "a", "m1"},
		{"messageGroup", "b", "m2"},
		{"queue", "c", "m1"},
		{"messageGroup", "b", "m2"},
		{"messageGroup", "c", "m5"},
	} {
		scope(step.scope)
		if id := send(step.group, "d"); id != step.id {
			t.Errorf("step %d is answered with %s, want %s", i, id, step.id)
		}
	}
	clock.now = clock.now.Add(dedupInterval)
	if q.settle(clock.now); len(q.fifo.dedup.known) != 0 || len(q.fifo.dedup.order) != 0 {
		t.Errorf("%d ids are remembered after the interval", len(q.fifo.dedup.known))
	}
}

// A changed delay of a FIFO queue counts from when a message was sent.
func TestDelayChangedFIFO(t *testing.T) {
	clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
	q := fifoQueue(t, clock, "q.fifo", "DelaySeconds", "100")
	set := func(seconds time.Duration) {
		q.mu.Lock()
		defer q.mu.Unlock()
		set := q.set
		set.delay = seconds * time.Second
		q.apply(set, clock.now)
	}
	q.add(arrival{message: &message{content: &content{id: "x", group: "a", sentAt: clock.now}}, delay: q.set.delay})
	for _, step := range []struct {
		delay, pass time.Duration
		want        string
	}{
		{100, 99, ""},
		{200, 99, ""},
		{199, 0, ""},
		{198, 0, "x "},
	} {
		set(step.delay)
		clock.now = clock.now.Add(step.pass * time.Second)
		if got := ids(takeTen(t, q, nil)); got != step.want {
			t.Errorf("received %q with a delay of %d s, %v after sending", got, step.delay, clock.now.Sub(time.Unix(1_700_000_000, 0)))
		}
	}
}

// A FIFO queue delivers exactly once, whatever the faults.
func TestTwiceFIFO(t *testing.T) {
	q := fifoQueue(t, &stepClock{now: time.Unix(1_700_000_000, 0)}, "q.fifo")
	fill(q, "a", 2)
	got, err := q.receive(context.Background(), receiveOptions{max: 10, visibility: time.Minute, twice: true})
	if err != nil || ids(got) != "a0 a1 " || len(q.messages) != 2 {
		t.Errorf("received %q, %v, and the queue has %d messages", ids(got), err, len(q.messages))
	}
}
