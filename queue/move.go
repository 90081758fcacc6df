package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQSMover is the part of [*sqs.Client] that SQS's own move tasks need, of a
// client that has them.
type SQSMover interface {
	StartMessageMoveTask(context.Context, *sqs.StartMessageMoveTaskInput, ...func(*sqs.Options)) (*sqs.StartMessageMoveTaskOutput, error)
	ListMessageMoveTasks(context.Context, *sqs.ListMessageMoveTasksInput, ...func(*sqs.Options)) (*sqs.ListMessageMoveTasksOutput, error)
	CancelMessageMoveTask(context.Context, *sqs.CancelMessageMoveTaskInput, ...func(*sqs.Options)) (*sqs.CancelMessageMoveTaskOutput, error)
}

// MaxMoveRate is the highest rate of a move task that SQS accepts.
const MaxMoveRate = 500

// Statuses of a [MoveTask].
const (
	MoveRunning    = "RUNNING"
	MoveCompleted  = "COMPLETED"
	MoveCancelling = "CANCELLING"
	MoveCancelled  = "CANCELLED"
	MoveFailed     = "FAILED"
)

// A MoveTask is a task of SQS's own, which moves messages from a dead-letter queue.
type MoveTask struct {
	Handle string `json:"handle,omitempty"` // to cancel it by, while it runs
	Status string `json:"status"`

	// Source and Destination are ARNs. Without a destination each message goes to
	// the queue that SQS took it from.
	Source      string `json:"source"`
	Destination string `json:"destination,omitempty"`

	// Moved messages are in their destination. ToMove is how many the source held
	// when it began, or 0 where SQS does not tell. Both are approximate.
	Moved  int `json:"moved"`
	ToMove int `json:"to_move,omitempty"`

	Rate    int       `json:"rate,omitempty"` // messages a second, at most; 0: as SQS sees fit
	Started time.Time `json:"started,omitzero"`
	Failure string    `json:"failure,omitempty"` // why it failed
}

// Ended reports whether the task moves nothing any more.
func (t MoveTask) Ended() bool {
	return t.Status == MoveCompleted || t.Status == MoveCancelled || t.Status == MoveFailed
}

func (q *Queue) mover() (SQSMover, error) {
	m, ok := q.client.(SQSMover)
	if !ok {
		return nil, fmt.Errorf("queue: %q: the client has no move tasks; want an SQSMover", q.Name)
	}
	return m, nil
}

// StartMove has SQS move all messages of the queue with the ARN source, which is
// this one and a dead-letter queue, to the queue with the ARN destination, at a rate
// of at most MaxMoveRate a second, or, where it is 0, as SQS sees fit. It returns the
// task's handle.
func (q *Queue) StartMove(ctx context.Context, source, destination string, rate int) (handle string, err error) {
	const op = "StartMessageMoveTask"
	m, err := q.mover()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	in := &sqs.StartMessageMoveTaskInput{SourceArn: &source, DestinationArn: optional(destination)}
	if rate > 0 {
		in.MaxNumberOfMessagesPerSecond = aws.Int32(int32(rate))
	}
	out, err := m.StartMessageMoveTask(ctx, in, q.opt)
	if err != nil {
		return "", newError(op, q.Endpoint, err)
	}
	return aws.ToString(out.TaskHandle), nil
}

// Moves returns the last move tasks of the queue with the ARN source, which is this
// one, up to ten, the newest first.
func (q *Queue) Moves(ctx context.Context, source string) ([]MoveTask, error) {
	const op = "ListMessageMoveTasks"
	m, err := q.mover()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := m.ListMessageMoveTasks(ctx, &sqs.ListMessageMoveTasksInput{SourceArn: &source, MaxResults: aws.Int32(maxBatch)}, q.opt)
	if err != nil {
		return nil, newError(op, q.Endpoint, err)
	}
	tasks := make([]MoveTask, len(out.Results))
	for i, r := range out.Results {
		tasks[i] = moveTask(r)
	}
	return tasks, nil
}

func moveTask(r sqstypes.ListMessageMoveTasksResultEntry) MoveTask {
	t := MoveTask{
		Handle: aws.ToString(r.TaskHandle), Status: aws.ToString(r.Status),
		Source: aws.ToString(r.SourceArn), Destination: aws.ToString(r.DestinationArn),
		Moved: int(r.ApproximateNumberOfMessagesMoved), ToMove: int(aws.ToInt64(r.ApproximateNumberOfMessagesToMove)),
		Rate: int(aws.ToInt32(r.MaxNumberOfMessagesPerSecond)), Failure: aws.ToString(r.FailureReason),
	}
	if r.StartedTimestamp > 0 {
		t.Started = time.UnixMilli(r.StartedTimestamp)
	}
	return t
}

// ErrNoMove: the queue has no move task that runs.
var ErrNoMove = errors.New("no move task runs")

// CancelMove has a task that runs stop, which SQS does in its own time.
func (q *Queue) CancelMove(ctx context.Context, handle string) error {
	const op = "CancelMessageMoveTask"
	m, err := q.mover()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := m.CancelMessageMoveTask(ctx, &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle}, q.opt); err != nil {
		return newError(op, q.Endpoint, err)
	}
	return nil
}
