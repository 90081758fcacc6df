package queue

import (
	"sync"
	"time"
)

// maxBatch is how many entries SQS and SNS take in one request.
const maxBatch = 10

// workerIdle is how long a worker waits for another batch.
const workerIdle = time.Second

// A batcher collects items into batches and hands each to flush. A batch is
// due when it is full, and otherwise when its first item has waited for
// linger; a due batch that finds all workers busy goes on filling. With one
// worker the batches are flushed in order.
//
// It has goroutines only while there is something to flush, and for workerIdle
// longer: the calls of an SDK go deep, and a new goroutine would grow its stack
// for each of them. It is safe for concurrent use.
type batcher[T any] struct {
	size     func(T) int   // of an item in bytes; nil if they do not count
	maxBytes int           // of a batch
	linger   time.Duration // 0 or less makes every batch due at once
	workers  int           // flushes at work at once, at most
	flush    func([]T)

	mu      sync.Mutex
	full    [][]T
	open    []T // the batch that fills
	bytes   int // of open
	batchNo int // counts the batches opened, so that a late timer is known
	timer   *time.Timer
	due     bool // open has waited long enough
	busy    int  // workers at work
	idle    int  // workers that wait for wake
	wake    chan struct{}
	running sync.WaitGroup
	closed  bool
}

// add puts the items into batches, in their order. It does not wait for them
// to be flushed. It returns false if the batcher is closed.
func (b *batcher[T]) add(items ...T) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	for _, item := range items {
		n := 0
		if b.size != nil {
			n = b.size(item)
		}
		if len(b.open) > 0 && b.size != nil && b.bytes+n > b.maxBytes {
			b.fill()
		}
		b.open = append(b.open, item)
		b.bytes += n
		if len(b.open) == maxBatch {
			b.fill()
		}
	}
	if len(b.open) > 0 && !b.due {
		if b.linger <= 0 {
			b.due = true
		} else if b.timer == nil {
			no := b.batchNo
			b.timer = time.AfterFunc(b.linger, func() { b.expire(no) })
		}
	}
	b.work()
	return true
}

// fill closes the open batch and puts it in line. b.mu is held.
func (b *batcher[T]) fill() { b.full = append(b.full, b.takeOpen()) }

// takeOpen returns the open batch and opens another. b.mu is held.
func (b *batcher[T]) takeOpen() []T {
	batch := b.open
	b.open, b.bytes, b.due = nil, 0, false
	b.batchNo++
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	return batch
}

// expire makes the batch of that number due, if it is still open.
func (b *batcher[T]) expire(no int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.batchNo == no && len(b.open) > 0 {
		b.due = true
		b.work()
	}
}

// work starts workers for what is due. b.mu is held.
func (b *batcher[T]) work() {
	waiting := len(b.full)
	if b.due {
		waiting++
	}
	for ; waiting > 0 && b.busy < b.workers; waiting-- {
		b.busy++
		if b.idle > 0 {
			b.rouse()
			continue
		}
		b.running.Go(b.worker)
	}
}

// rouse has an idle worker look again. b.mu is held.
func (b *batcher[T]) rouse() {
	b.idle--
	b.wake <- struct{}{} // has room for all workers
}

func (b *batcher[T]) worker() {
	var timer *time.Timer
	for {
		for batch := b.next(); batch != nil; batch = b.next() {
			b.flush(batch)
		}
		if timer == nil {
			timer = time.NewTimer(workerIdle)
			defer timer.Stop()
		} else {
			timer.Reset(workerIdle)
		}
		if !b.await(timer) {
			return
		}
	}
}

// await waits until there may be another batch, and returns false to end the
// worker.
func (b *batcher[T]) await(timer *time.Timer) bool {
	b.mu.Lock()
	if b.closed || b.busy+b.idle >= b.workers {
		b.mu.Unlock()
		return false
	}
	if b.wake == nil {
		b.wake = make(chan struct{}, b.workers)
	}
	b.idle++
	b.mu.Unlock()
	select {
	case <-b.wake:
		return true
	case <-timer.C:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.wake: // it counts as busy already
		return true
	default:
		b.idle--
		return false
	}
}

// next returns a batch that is due, or nil when the worker has none.
func (b *batcher[T]) next() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(b.full) > 0:
		batch := b.full[0]
		b.full = b.full[1:]
		return batch
	case b.due:
		return b.takeOpen()
	default:
		b.busy--
		return nil
	}
}

// close makes everything due and waits until it is flushed. It may be called
// more than once.
func (b *batcher[T]) close() {
	b.mu.Lock()
	b.closed = true
	if len(b.open) > 0 {
		b.due = true
		b.work()
	}
	for b.idle > 0 {
		b.busy++
		b.rouse()
	}
	b.mu.Unlock()
	b.running.Wait()
}
