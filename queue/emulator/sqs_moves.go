package emulator

import (
	"encoding/base64"
	"net/http"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// keptMoves is how many tasks of a source ListMessageMoveTasks remembers: SQS API reference.
const keptMoves = 10

// moves are the move tasks of a server by the ARNs of their sources, the newest last.
type moves struct {
	mu       sync.Mutex
	bySource map[string][]*move
}

// active returns how many tasks run in a region. s.mu is held.
func (s *moves) active(region string) (n int) {
	for _, have := range s.bySource {
		if last := have[len(have)-1]; last.source.key.region == region && last.active() {
			n++
		}
	}
	return n
}

type startMessageMoveTaskInput struct {
	SourceArn                    string
	DestinationArn               string
	MaxNumberOfMessagesPerSecond *int
}

func (in *startMessageMoveTaskInput) resource() string { return in.SourceArn }

type startMessageMoveTaskOutput struct{ TaskHandle string }

func (s *Server) startMessageMoveTask(c *call, in *startMessageMoveTaskInput) (*startMessageMoveTaskOutput, *Error) {
	source, err := s.queueOfARN(c, "SourceArn", in.SourceArn)
	if err != nil {
		return nil, err
	}
	if sources := s.queueNames(c, func(q *queue) bool { return q.buriesIn(source.arn) }); len(sources) == 0 {
		return nil, errInvalidParameterValue("Source queue must be configured as a Dead Letter Queue.")
	}
	if in.DestinationArn != "" {
		target, err := s.queueOfARN(c, "DestinationArn", in.DestinationArn)
		if err != nil {
			return nil, err
		}
		switch {
		case target == source:
			return nil, errInvalidParameterValue("Source queue arn and destination queue arn cannot be the same.")
		case (target.fifo == nil) != (source.fifo == nil):
			return nil, errInvalidParameterValue("Source queue and destination queue must be of the same type.")
		}
	}
	m := &move{source: source, target: in.DestinationArn, lookup: s.lookupARN, changed: s.changed}
	if n := in.MaxNumberOfMessagesPerSecond; n != nil {
		if *n < 1 || *n > moveRate {
			return nil, errInvalidParameterValue("Value %d for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: Must be between 1 and %d, if provided.", *n, moveRate)
		}
		m.rate = *n
	}
	m.handle = base64.StdEncoding.EncodeToString(mustMarshal(struct {
		TaskID    string `json:"taskId"`
		SourceArn string `json:"sourceArn"`
	}{uuid.NewString(), source.arn}))

	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	have := s.moves.bySource[source.arn]
	if n := len(have); n > 0 && have[n-1].source == source && have[n-1].active() {
		return nil, errInvalidParameterValue("There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
	}
	if s.moves.active(c.region) >= maxMoves {
		return nil, errOverLimit("There are %d tasks running already, and no more are allowed at a given time.", maxMoves)
	}
	m.begin()
	if s.moves.bySource == nil {
		s.moves.bySource = make(map[string][]*move)
	}
	have = append(slices.Clip(have), m)
	s.moves.bySource[source.arn] = have[max(0, len(have)-keptMoves):]
	return &startMessageMoveTaskOutput{m.handle}, nil
}

// queueOfARN returns the queue of a parameter that is an ARN.
func (s *Server) queueOfARN(c *call, parameter, arn string) (*queue, *Error) {
	if arn == "" {
		return nil, errMissingParameter(parameter)
	}
	if q := s.lookupARN(arn); q != nil && q.key.region == c.region {
		return q, nil
	}
	return nil, errResourceNotFound("The resource that you specified for the " + parameter + " parameter doesn't exist.")
}

// buriesIn reports whether the queue's dead-letter queue is that of an ARN.
func (q *queue) buriesIn(arn string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.set.redrive != nil && q.set.redrive.target == arn
}

func errResourceNotFound(message string) *Error {
	return &Error{Code: "ResourceNotFoundException", Message: message, Status: http.StatusNotFound}
}

type cancelMessageMoveTaskInput struct{ TaskHandle string }

func (*cancelMessageMoveTaskInput) resource() string { return "" }

type cancelMessageMoveTaskOutput struct{ ApproximateNumberOfMessagesMoved int }

func (s *Server) cancelMessageMoveTask(_ *call, in *cancelMessageMoveTaskInput) (*cancelMessageMoveTaskOutput, *Error) {
	if in.TaskHandle == "" {
		return nil, errMissingParameter("TaskHandle")
	}
	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	for _, have := range s.moves.bySource {
		for _, m := range have {
			if m.handle != in.TaskHandle {
				continue
			}
			if moved, ok := m.cancel(); ok {
				return &cancelMessageMoveTaskOutput{moved}, nil
			}
		}
	}
	return nil, errResourceNotFound("Task does not exist.")
}

type listMessageMoveTasksInput struct {
	SourceArn  string
	MaxResults *int
}

func (in *listMessageMoveTasksInput) resource() string { return in.SourceArn }

type listMessageMoveTasksOutput struct{ Results []moveResult }

type moveResult struct {
	TaskHandle                        string `json:",omitempty"`
	Status                            moveStatus
	SourceArn                         string
	DestinationArn                    string `json:",omitempty"`
	MaxNumberOfMessagesPerSecond      int    `json:",omitempty"`
	ApproximateNumberOfMessagesMoved  int
	ApproximateNumberOfMessagesToMove int
	FailureReason                     string `json:",omitempty"`
	StartedTimestamp                  int64
}

func (s *Server) listMessageMoveTasks(c *call, in *listMessageMoveTasksInput) (*listMessageMoveTasksOutput, *Error) {
	source, err := s.queueOfARN(c, "SourceArn", in.SourceArn)
	if err != nil {
		return nil, err
	}
	most := 1
	if n := in.MaxResults; n != nil {
		if most = *n; most < 1 || most > keptMoves {
			return nil, errInvalidParameterValue("Value %d for parameter MaxResults is invalid. Reason: Must be between 1 and %d, if provided.", most, keptMoves)
		}
	}
	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	out := &listMessageMoveTasksOutput{Results: []moveResult{}}
	for _, m := range slices.Backward(s.moves.bySource[source.arn]) {
		if len(out.Results) < most && m.source == source {
			out.Results = append(out.Results, m.result())
		}
	}
	return out, nil
}

func (m *move) result() moveResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := moveResult{
		Status: m.status, SourceArn: m.source.arn, DestinationArn: m.target, MaxNumberOfMessagesPerSecond: m.rate,
		ApproximateNumberOfMessagesMoved: m.moved, ApproximateNumberOfMessagesToMove: m.toMove,
		FailureReason: m.reason, StartedTimestamp: m.started.UnixMilli(),
	}
	if m.status == moveRunning {
		out.TaskHandle = m.handle // the reference: of running tasks alone
	}
	return out
}
