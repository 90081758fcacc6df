package dlq

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill-dev/waybill/queue"
)

// see shows letters to see, until it returns false, or all are seen, or as many as
// the scan is for. It receives them, as run does, only where the endpoint does not
// show them otherwise.
func (s *scan) see(ctx context.Context, action string, see func(*Letter) bool) error {
	if s.hold.drawer != nil {
		s.looked = true
		return s.run(ctx, action, see)
	}
	var err error
	s.looked, err = s.look(ctx, see)
	switch {
	case !s.looked:
		return s.run(ctx, action, see)
	case ctx.Err() != nil:
		return fmt.Errorf("dlq: %s %q was stopped: %w", action, s.queue.Name, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("dlq: %s %q: %w", action, s.queue.Name, err)
	}
	return nil
}

// look is see where the endpoint shows messages without their being received.
// Otherwise it returns false.
func (s *scan) look(ctx context.Context, see func(*Letter) bool) (looked bool, err error) {
	for raw, err := range s.queue.Look(ctx) {
		if errors.Is(err, queue.ErrNoLook) {
			return false, nil
		}
		if err != nil {
			return true, err
		}
		if s.seen == s.bound {
			break
		}
		s.seen++
		if !see(readLooked(raw)) {
			break
		}
	}
	return true, nil
}

func readLooked(raw queue.RawMessage) *Letter {
	l := read(raw)
	l.Looked = true
	return l
}

// lookAt returns up to n letters of a queue, if the endpoint shows them without
// their being received.
func lookAt(ctx context.Context, q *queue.Queue, n int) (letters []*Letter, looked bool, err error) {
	s := scan{queue: q, bound: n}
	looked, err = s.look(ctx, func(l *Letter) bool {
		letters = append(letters, l)
		return len(letters) < n
	})
	return letters, looked, err
}
