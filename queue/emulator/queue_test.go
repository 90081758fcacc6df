package emulator

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"
)

// testQueue returns a queue with attributes given as name, value, name, value.
func testQueue(t *testing.T, clock Clock, name string, attributes ...string) *queue {
	t.Helper()
	changes := make(map[string]string)
	for i := 0; i < len(attributes); i += 2 {
		changes[attributes[i]] = attributes[i+1]
	}
	set, err := defaultSettings().with(changes)
	if err != nil {
		t.Fatal(err)
	}
	return newQueue(queueKey{name: name}, name, set, nil, clock)
}

func put(q *queue, ids ...string) bool {
	var arrivals []arrival
	for _, id := range ids {
		arrivals = append(arrivals, arrival{message: &message{content: &content{id: id, sentAt: q.clock.Now()}}})
	}
	return q.add(arrivals...)
}

// takeTen receives up to ten messages, for a visibility timeout of a minute.
func takeTen(t *testing.T, q *queue, lookup func(string) *queue) []delivery {
	t.Helper()
	got, err := q.receive(context.Background(), receiveOptions{max: 10, visibility: time.Minute, lookup: lookup})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Dead letters whose queue is gone stay where they are.
func TestDeadLetterQueueGone(t *testing.T) {
	clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
	q := testQueue(t, clock, "q")
	q.set.redrive = &redrivePolicy{target: "dlq", maxReceiveCount: 1}
	put(q, "x")

	gone := func(string) *queue { return nil }
	for i := range 3 {
		if got := takeTen(t, q, gone); len(got) != 1 || got[0].receives != i+1 {
			t.Fatalf("received %d messages, want 1 for the %d. time", len(got), i+1)
		}
		clock.now = clock.now.Add(time.Minute)
	}

	deleted := testQueue(t, clock, "dlq")
	deleted.close()
	if got := takeTen(t, q, func(string) *queue { return deleted }); len(got) != 0 {
		t.Errorf("received %d messages, want none: they were to be moved", len(got))
	}
	if got := takeTen(t, q, gone); len(got) != 1 || got[0].source != "" {
		t.Errorf("received %d messages, want the one that could not be moved", len(got))
	}
}

// Two queues that are each other's dead-letter queue do not lock each other.
func TestDeadLetterRing(t *testing.T) {
	var a, b *queue
	a, b = testQueue(t, realClock{}, "a"), testQueue(t, realClock{}, "b")
	lookup := func(arn string) *queue {
		if arn == "a" {
			return a
		}
		return b
	}
	a.set.redrive = &redrivePolicy{target: "b", maxReceiveCount: 1}
	b.set.redrive = &redrivePolicy{target: "a", maxReceiveCount: 1}
	for i := range 100 {
		put(a, "a"+strconv.Itoa(i))
		put(b, "b"+strconv.Itoa(i))
	}
	var all sync.WaitGroup
	for _, q := range []*queue{a, b, a, b} {
		all.Go(func() {
			for range 200 {
				if _, err := q.receive(context.Background(), receiveOptions{max: 10, lookup: lookup}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	na, _, _ := a.counts()
	nb, _, _ := b.counts()
	if na+nb != 200 {
		t.Errorf("%d messages are left, want 200", na+nb)
	}
}

// At most 120,000 messages are in flight: a short poll fails, and a long poll waits for room.
func TestTooManyInFlight(t *testing.T) {
	clock := &stepClock{now: time.Unix(1_700_000_000, 0)}
	q := testQueue(t, clock, "q")
	ids := make([]string, maxInFlight+1)
	put(q, ids...)
	for range maxInFlight / 10 {
		takeTen(t, q, nil)
	}
	_, err := q.receive(context.Background(), receiveOptions{max: 10})
	if err == nil || err.Code != "OverLimit" {
		t.Errorf("a short poll: %v, want OverLimit", err)
	}
	q.clock = realClock{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := q.receive(ctx, receiveOptions{max: 10, wait: time.Second}); len(got) != 0 || err != nil {
		t.Errorf("a long poll: %d messages and %v, want to wait", len(got), err)
	}
}

func TestDeletedQueueTakesNothing(t *testing.T) {
	q := testQueue(t, realClock{}, "q")
	put(q, "x")
	d := takeTen(t, q, nil)[0]
	q.close()
	if put(q, "y") {
		t.Error("a deleted queue takes messages")
	}
	for what, err := range map[string]*Error{
		"delete":           q.delete(d.handle),
		"changeVisibility": q.changeVisibility(d.handle, 0),
		"purge":            q.purge(0),
	} {
		if err == nil || err.Code != "QueueDoesNotExist" {
			t.Errorf("%s: %v, want QueueDoesNotExist", what, err)
		}
	}
}
