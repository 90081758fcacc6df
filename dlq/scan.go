package dlq

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/waybill-dev/waybill/queue"
)

// Bounds of how many messages [Client.Groups] and [Client.Show] look at. What
// they look at they keep hidden until they end, so as to see each once, and SQS
// allows 120,000 such messages a queue: MaxLook leaves some to others.
const (
	DefaultLook = 10_000
	MaxLook     = 100_000
)

// A scan looks at the messages of a queue, each once.
type scan struct {
	hold  *hold
	queue *queue.Queue
	total int // that the queue said it had
	bound int // of those to look at

	passed int  // of those seen, how many do not count; see pass
	looked bool // and received nothing

	workers int // 0: DefaultWorkers

	mu       sync.Mutex
	seen     int
	reserved int
	done     bool
	err      error
}

// newScan prepares to look at up to limit messages of a queue.
func (c *Client) newScan(ctx context.Context, name, action string, limit int) (*scan, error) {
	switch {
	case c.catalogued && limit == 0:
		limit = math.MaxInt
	case c.catalogued && limit > 0:
	case limit < 0 || limit > MaxLook:
		return nil, fmt.Errorf("dlq: %s %q: Limit is %d; want 1 to %d, or 0 for the default", action, name, limit, MaxLook)
	case limit == 0:
		limit = DefaultLook
	}
	s, a, err := c.scanAll(ctx, name, action)
	if err != nil {
		return nil, err
	}
	s.bound = min(limit, max(a.Visible, 1))
	return s, nil
}

// scanAll prepares to look at all messages of a queue.
func (c *Client) scanAll(ctx context.Context, name, action string) (*scan, queue.QueueAttributes, error) {
	var a queue.QueueAttributes
	q, err := c.queues.Queue(ctx, name)
	if err == nil {
		a, err = q.Attributes(ctx)
	}
	if err != nil {
		return nil, a, fmt.Errorf("dlq: %w", err)
	}
	if err := harmless(q, a, action); err != nil {
		return nil, a, err
	}
	d, err := c.opened(ctx, q, &a)
	if err != nil {
		return nil, a, err
	}
	h := newHold(q, newShelf(a), DefaultVisibility, c.log)
	h.drawer = d
	return &scan{
		hold: h, queue: q,
		total: a.Visible + a.InFlight + a.Delayed, bound: max(a.Visible, 1),
	}, a, nil
}

// run shows letters to see, from several goroutines at once, until it returns
// false, or all are seen. It returns the messages to the queue, and the error
// that ended it before.
func (s *scan) run(ctx context.Context, action string, see func(*Letter) bool) error {
	return s.runBatches(ctx, action, func(fresh []*Letter) bool {
		for _, l := range fresh {
			if ctx.Err() != nil || !see(l) {
				return false
			}
		}
		return true
	})
}

// runBatches is run for what sees as many letters at once as a receive brings.
func (s *scan) runBatches(ctx context.Context, action string, see func([]*Letter) bool) error {
	stop := s.hold.keep(ctx)
	var workers sync.WaitGroup
	for range cmp.Or(s.workers, DefaultWorkers) {
		workers.Go(func() { s.work(ctx, see) })
	}
	workers.Wait()
	stop()
	s.hold.release(ctx)
	switch {
	case s.err != nil:
		return fmt.Errorf("dlq: %s %q: %w", action, s.queue.Name, s.err)
	case ctx.Err() != nil && !s.done:
		return fmt.Errorf("dlq: %s %q was stopped, and has returned what it held: %w", action, s.queue.Name, context.Cause(ctx))
	}
	return nil
}

func (s *scan) work(ctx context.Context, see func([]*Letter) bool) {
	for ctx.Err() == nil {
		n := s.reserve()
		if n == 0 {
			return
		}
		letters, err := s.hold.receiveTrying(ctx, n)
		fresh := s.received(letters, n, err)
		if len(fresh) == 0 {
			return
		}
		if ctx.Err() != nil || !see(fresh) {
			s.end(ctx.Err() == nil)
			return
		}
	}
}

// reserve returns how many messages to receive next.
func (s *scan) reserve() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || s.err != nil {
		return 0
	}
	n := max(0, min(batchSize, s.bound-s.seen-s.reserved))
	s.reserved += n
	return n
}

// received returns the letters that were not seen before. Where there are none,
// the queue shows no more.
func (s *scan) received(letters []*Letter, reserved int, err error) (fresh []*Letter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= reserved
	if err != nil && s.err == nil {
		s.err = err
	}
	for _, l := range letters {
		if !l.again {
			fresh = append(fresh, l)
		}
	}
	s.seen += len(fresh)
	s.done = s.done || err == nil && len(fresh) == 0
	return fresh
}

// pass has another letter looked at in the place of one that is newer than the scan,
// but of no more than there were to be looked at: or it would not end where letters
// come as fast as it goes.
func (s *scan) pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passed < max(s.total, batchSize) {
		s.passed++
		s.bound++
	}
}

// crowded reports whether newer letters kept the scan from some of the others, of
// which it has seen so many.
func (s *scan) crowded(seen int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passed == max(s.total, batchSize) && seen < s.bound-s.passed
}

func (s *scan) end(found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = s.done || found
}
