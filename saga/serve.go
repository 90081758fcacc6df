package saga

import (
	"context"
	"encoding/json"
	"fmt"
)

// A Service does one step for the sagas of other services. [Serve] makes it.
type Service[Req, Resp any] struct {
	service service
}

// A Served is a *Service of any types.
type Served interface {
	serve() *service
}

// A service is a Service without its types.
type service struct {
	step string
	do   func(ctx context.Context, input []byte) ([]byte, error)
	// undo gets the action's result where it is on record.
	undo func(ctx context.Context, input, result []byte, outcome Outcome) error
	// classify says what the errors of both mean.
	classify func(error) error
}

func (s *Service[Req, Resp]) serve() *service {
	if s == nil {
		return nil
	}
	return &s.service
}

// Serve does the steps of a name, in whichever saga, that have this participant's
// endpoint: see [Remote]. do gets what the saga's request made of its state, and
// what it returns goes back with the reply.
//
// do may run more than once for one command, as an action of a saga may;
// [StepFrom] gives it the key that all its runs share. Its context ends when the
// time of the attempt is over: whoever goes on after that keeps the command, and
// its compensation, from everybody. Its errors mean what those of an [Action]
// mean, and [Service.Classify] can say more; the saga retries by its own policy.
func Serve[Req, Resp any](step string, do func(ctx context.Context, request Req) (Resp, error)) *Service[Req, Resp] {
	s := &Service[Req, Resp]{service{step: step}}
	if do != nil {
		s.service.do = func(ctx context.Context, input []byte) ([]byte, error) {
			request, err := decodeRequest[Req](input)
			if err != nil {
				return nil, err
			}
			result, err := do(ctx, request)
			if err != nil {
				return nil, err
			}
			data, err := json.Marshal(result)
			if err != nil {
				return nil, Uncertain(Permanent(fmt.Errorf("encode the result: %w", err)))
			}
			return data, nil
		}
	}
	return s
}

// Undo undoes the step: see [Step.UndoRemote]. undo gets what the saga's request
// makes of the state that a compensation sees.
//
// The outcome is [Done] if this participant or the saga knows that the action was
// done, and else [Unknown]. It may then never have come here, and it will not be
// done any more: an action that comes after its compensation is refused. result
// is what the action returned, where this participant has it on record; it is nil
// if the outcome is Unknown, and after [ParticipantConfig].Retention.
//
// [StepInfo].ActionKey is the key that the action had.
func (s *Service[Req, Resp]) Undo(undo func(ctx context.Context, request Req, outcome Outcome, result *Resp) error) *Service[Req, Resp] {
	if undo == nil {
		return s
	}
	s.service.undo = func(ctx context.Context, input, result []byte, outcome Outcome) error {
		request, err := decodeRequest[Req](input)
		if err != nil {
			return err
		}
		var done *Resp
		if len(result) > 0 {
			done = new(Resp)
			if err := json.Unmarshal(result, done); err != nil {
				return NoEffect(Permanent(Named(ErrorRuntime, fmt.Errorf("decode what the action returned into %T: %w", *done, err))))
			}
		}
		return undo(ctx, request, outcome, done)
	}
	return s
}

func decodeRequest[Req any](input []byte) (Req, error) {
	var request Req
	if err := json.Unmarshal(input, &request); err != nil {
		return request, NoEffect(Permanent(Named(ErrorRuntime, fmt.Errorf("decode the input into %T: %w", request, err))))
	}
	return request, nil
}
