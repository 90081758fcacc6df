package dlq

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/queue"
)

// fetches is how many payloads are fetched at once.
const fetches = 10

// fetchAll puts letters with their payloads in the place of those that are Stored.
func (c *Client) fetchAll(ctx context.Context, letters []*Letter) error {
	var group errgroup.Group
	group.SetLimit(fetches)
	for i, l := range letters {
		if l.Stored && c.payloads != nil {
			group.Go(func() error {
				letters[i] = fetch(ctx, l, c.payloads, c.maxPayload)
				return nil
			})
		}
	}
	_ = group.Wait()
	return context.Cause(ctx)
}

// fetch returns a letter with its payload: the same, if it has that or there is no
// store. If it is Stored all the same, its Problem says why.
func fetch(ctx context.Context, l *Letter, store queue.PayloadStore, limit int) *Letter {
	if !l.Stored || store == nil {
		return l
	}
	msg, err := l.raw.DecodeFrom(ctx, store, limit)
	whole := newLetter(l.raw, msg, err)
	whole.again, whole.late = l.again, l.late
	return whole
}

// keepPayload has the payload of a letter kept for as long as its message.
func (j *job) keepPayload(ctx context.Context, out *outgoing, to *queue.Queue) error {
	if j.payloads == nil {
		return nil
	}
	return out.raw.KeepPayload(ctx, j.payloads, to)
}

// noteUnkept counts a letter whose payload nobody keeps for longer. j.mu is held.
func (j *job) noteUnkept(l *Letter) {
	if l.Stored && j.payloads == nil {
		j.report.Unkept++
	}
}

// editStage is where an edit failed: it may have wanted the payload.
func editStage(err error) Stage {
	if errors.Is(err, queue.ErrPayloadStored) {
		return StagePayload
	}
	return StageEdit
}

// seen returns the letter as filters and edits see it: with its payload. It is not
// kept, as there may be many of them.
func seen(ctx context.Context, l *Letter, store queue.PayloadStore, limit int) (*Letter, error) {
	whole := fetch(ctx, l, store, limit)
	if whole.Stored && store != nil {
		return nil, whole.Problem
	}
	return whole, nil
}
