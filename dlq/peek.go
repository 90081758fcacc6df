package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// peekVisibility is how long a peek hides messages at most, if it cannot return
// them.
const peekVisibility = 30 * time.Second

// ErrCounts is the error of [Client.Peek] and [Client.Redrive] on a queue that
// itself has a redrive policy.
var ErrCounts = errors.New("looking at messages counts as receiving them")

// harmless refuses a queue whose redrive policy counts receives: to look at its
// messages would move them on.
func harmless(q *queue.Queue, a queue.QueueAttributes, action string) error {
	if a.MaxReceiveCount == 0 {
		return nil
	}
	return fmt.Errorf("dlq: %s %q: %w, and its redrive policy moves a message after %d receives; want its dead-letter queue, %s", action, q.Name, ErrCounts, a.MaxReceiveCount, a.DeadLetter)
}

// Peek returns up to n messages of a queue, oldest first, and returns them to
// the queue at once. The queue is named as for queue.Admin.
//
// Where the endpoint shows messages without their being received, as Waybill's
// emulator and LocalStack do, nothing comes of it, and they are Looked. SQS has no
// such way: there a peek hides the messages for a moment from other receivers, and
// raises their receive counts by one. In a dead-letter queue that does no harm. A
// queue that itself has a redrive policy would lose attempts by it, so Peek refuses
// one with [ErrCounts].
//
// With Config.Payloads, a letter has the payload that its message refers to. One
// whose payload is gone, or cannot be fetched, is Stored.
func (c *Client) Peek(ctx context.Context, name string, n int) ([]*Letter, error) {
	q, err := c.queues.Queue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	if c.catalogued {
		return c.peekCatalogue(ctx, q, n)
	}
	letters, looked, err := lookAt(ctx, q, n)
	if err != nil {
		err = fmt.Errorf("dlq: %w", err)
	} else if !looked {
		letters, err = c.receiveAndReturn(ctx, q, n)
	}
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("dlq: peek into %q: %w", q.Name, context.Cause(ctx))
	}
	slices.SortStableFunc(letters, func(a, b *Letter) int { return a.SentAt.Compare(b.SentAt) })
	if err := c.fetchAll(ctx, letters); err != nil {
		return nil, fmt.Errorf("dlq: peek into %q: %w", q.Name, err)
	}
	return letters, nil
}

// receiveAndReturn receives up to n letters, and returns them to the queue at once.
func (c *Client) receiveAndReturn(ctx context.Context, q *queue.Queue, n int) ([]*Letter, error) {
	a, err := q.Attributes(ctx)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	if err := harmless(q, a, "peek into"); err != nil {
		return nil, err
	}
	h := newHold(q, newShelf(a), peekVisibility, c.log)
	stop := h.keep(ctx)
	letters, err := gather(ctx, h, min(n, max(a.Visible, 1)))
	stop()
	h.release(ctx)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	return letters, nil
}

// gather receives n letters, or what there is. It ends when a receive brings
// nothing that it has not seen.
func gather(ctx context.Context, h *hold, n int) (letters []*Letter, err error) {
	for len(letters) < n && ctx.Err() == nil {
		received, err := h.receive(ctx, min(n-len(letters), batchSize))
		if err != nil {
			return nil, err
		}
		before := len(letters)
		for _, l := range received {
			if !l.again {
				letters = append(letters, l)
			}
		}
		if len(letters) == before {
			break
		}
	}
	return letters, nil
}
