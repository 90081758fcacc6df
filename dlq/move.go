package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// MoveOptions say what [Client.Move] is to do.
type MoveOptions struct {
	// From is the dead-letter queue, and To the queue to move to. Required.
	From, To string

	// Rate is how many messages are moved in a second, at most, up to
	// queue.MaxMoveRate. Defaults to what SQS sees fit.
	Rate int

	// Owner and Reason are as in Options.
	Owner, Reason string

	// Progress is called with the task so far, about once a second. Defaults to
	// none.
	Progress func(queue.MoveTask)
}

// AuditMove is a move by SQS. Its records have no items: SQS does not tell.
const AuditMove = "move"

// A MoveError says that a move task has not moved everything.
type MoveError struct{ Task queue.MoveTask }

func (e *MoveError) Error() string {
	text := fmt.Sprintf("the move task is %s after %d messages", e.Task.Status, e.Task.Moved)
	if e.Task.Failure != "" {
		text += ": " + e.Task.Failure
	}
	return text
}

const movePoll = time.Second

// Move has SQS itself move all messages of a dead-letter queue to another queue, by
// a task of its own, and watches that until it has ended. It looks at no message, so
// nothing can be chosen or edited: a message arrives with the record of its failure
// and without the marks of a redrive, and SQS gives it a new id. Where a message came
// from SQS does not know if it was sent to the dead-letter queue, as package pipeline
// does; so To is required.
//
// With Config.Jobs it holds the lease of redrives, and with Config.Audit it is on
// record; it needs neither. When ctx ends, the task goes on: see [Client.CancelMove].
// A task that ends otherwise than by having moved all is a [*MoveError].
func (c *Client) Move(ctx context.Context, opts MoveOptions) (queue.MoveTask, error) {
	var task queue.MoveTask
	switch {
	case opts.From == "" || opts.To == "":
		return task, errors.New("dlq: MoveOptions: From or To is empty; want the names of two queues")
	case opts.Rate < 0 || opts.Rate > queue.MaxMoveRate:
		return task, fmt.Errorf("dlq: MoveOptions: Rate is %d; want 1 to %d, or 0 for what SQS sees fit", opts.Rate, queue.MaxMoveRate)
	}
	from, a, err := c.asked(ctx, opts.From)
	if err != nil {
		return task, err
	}
	to, b, err := c.asked(ctx, opts.To)
	if err != nil {
		return task, err
	}
	if a.ARN == b.ARN {
		return task, fmt.Errorf("dlq: move: %w: %q is both From and To", queue.ErrInvalid, from.Name)
	}
	t, err := c.begin(ctx, from, a, work{Verb: AuditMove, Owner: opts.Owner, Reason: opts.Reason, Spec: map[string]any{"to": to.Name, "rate": opts.Rate}})
	if err != nil {
		return task, err
	}
	turnCtx, done := t.context(ctx)
	defer done()
	// Not with ctx: its end would leave open whether the task runs.
	handle, err := from.StartMove(context.WithoutCancel(ctx), a.ARN, b.ARN, opts.Rate)
	if err != nil {
		return task, t.end(ctx, task, fmt.Errorf("dlq: move: %w", err))
	}
	task, err = c.watchMove(turnCtx, from, a.ARN, handle, opts.Progress)
	if errors.Is(context.Cause(turnCtx), ErrCancelled) { // by who knows it as a job
		err = errors.Join(context.Cause(turnCtx), from.CancelMove(context.WithoutCancel(ctx), handle))
	}
	done()
	return task, t.end(ctx, task, err)
}

// asked returns a queue and its attributes.
func (c *Client) asked(ctx context.Context, name string) (*queue.Queue, queue.QueueAttributes, error) {
	q, err := c.queues.Queue(ctx, name)
	if err != nil {
		return nil, queue.QueueAttributes{}, fmt.Errorf("dlq: %w", err)
	}
	a, err := q.Attributes(ctx)
	if err != nil {
		return nil, a, fmt.Errorf("dlq: %w", err)
	}
	return q, a, nil
}

// watchMove awaits the end of a task. The newest one of the queue is it: there is
// one at a time.
func (c *Client) watchMove(ctx context.Context, from *queue.Queue, arn, handle string, progress func(queue.MoveTask)) (queue.MoveTask, error) {
	task := queue.MoveTask{Handle: handle, Status: queue.MoveRunning, Source: arn}
	for {
		list, err := from.Moves(ctx, arn)
		switch {
		case ctx.Err() != nil:
			return task, fmt.Errorf("dlq: the move of %q goes on: %w", from.Name, context.Cause(ctx))
		case err != nil && !errors.Is(err, queue.ErrUnavailable) && !errors.Is(err, queue.ErrThrottled):
			return task, fmt.Errorf("dlq: the move of %q goes on, and cannot be watched: %w", from.Name, err)
		case len(list) > 0:
			if task = list[0]; progress != nil {
				progress(task)
			}
		}
		if task.Ended() {
			if task.Status == queue.MoveCompleted {
				return task, nil
			}
			return task, fmt.Errorf("dlq: move of %q: %w", from.Name, &MoveError{task})
		}
		sleep(ctx, movePoll)
	}
}

// Moves returns the last move tasks of a dead-letter queue, up to ten, the newest
// first.
func (c *Client) Moves(ctx context.Context, from string) ([]queue.MoveTask, error) {
	q, a, err := c.asked(ctx, from)
	if err != nil {
		return nil, err
	}
	list, err := q.Moves(ctx, a.ARN)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	return list, nil
}

// CancelMove has SQS stop the move task of a dead-letter queue that runs, and returns
// it as it was. What it has moved stays moved. Where none runs, that is
// [queue.ErrNoMove].
func (c *Client) CancelMove(ctx context.Context, from, by, reason string) (queue.MoveTask, error) {
	q, a, err := c.asked(ctx, from)
	if err != nil {
		return queue.MoveTask{}, err
	}
	list, err := q.Moves(ctx, a.ARN)
	if err != nil {
		return queue.MoveTask{}, fmt.Errorf("dlq: %w", err)
	}
	if len(list) == 0 || list[0].Ended() || list[0].Handle == "" {
		return queue.MoveTask{}, fmt.Errorf("dlq: %q: %w", q.Name, queue.ErrNoMove)
	}
	e := AuditEntry{Verb: AuditCancel, Queue: q.Name, Job: AuditMove, By: by, Reason: reason}
	if err := c.recordCancel(ctx, subjectOf(q, a), e); err != nil {
		return list[0], fmt.Errorf("dlq: cancel: nothing was done, because it cannot be recorded: %w", err)
	}
	if err := q.CancelMove(ctx, list[0].Handle); err != nil {
		return list[0], fmt.Errorf("dlq: %w", err)
	}
	return list[0], nil
}
