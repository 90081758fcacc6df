package saga

import (
	"cmp"
	"context"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/waybill-dev/waybill/store"
)

// StepInfo tells a handler what it is called for.
type StepInfo struct {
	Execution  string // the id that the execution was started under
	Definition string
	// Frame names the branch of a Parallel or the item of a ForEach that the
	// step is in, such as "Book:0" or "Ship:12". Empty: it is in none.
	Frame string
	Step  string
	// Visit counts how often the execution came to this step, in this frame; in
	// a saga of steps in a row it is 1.
	Visit int
	// Attempt counts from 1 for the action, and from 1 again for the
	// compensation.
	Attempt int
	// Undo is true in a compensation, Cause tells why the saga is undone, and
	// Outcome what became of the action, Done or Unknown.
	Undo    bool
	Cause   *Cause
	Outcome Outcome
	// Token is the task token of a [Callback]: whoever has it may complete the
	// task. It is the same in all attempts. Keep it out of logs.
	Token string
	// Locks has the fences of the locks that the execution holds, by name and
	// key, such as "account/4711": see [Step.Lock]. Pass them on to what the
	// locks protect, which can refuse a fence below the highest it has seen: its
	// holder has lost the lock.
	Locks map[string]int64
	// Caught is the failure that led to this step by [Step.Catch].
	Caught *Cause
	// Edits counts how often an operator has given this compensation another
	// input: see [Client.RetryWith].
	Edits int
	// Key is the idempotency key: the same in all attempts of this action, or
	// of this compensation, and in nothing else. Pass it on to whatever has
	// the effect. A compensation whose input was edited has a new one.
	Key string
	// ActionKey is the Key that the action has or had: Key itself in an action,
	// and in a compensation that of what it undoes.
	ActionKey string
}

// Call is what a barrier knows the handler's call by: see [Barrier].
func (i StepInfo) Call() store.Call {
	return store.Call{Key: i.Key, Done: i.Undo && i.Outcome == Done}
}

type stepKey struct{}

// A calledStep is in the context of a handler.
type calledStep struct {
	info StepInfo

	mu      sync.Mutex
	crossed map[crossing]bool
}

// StepFrom returns what the handler that got this context is called for. It is
// the zero StepInfo outside of one.
func StepFrom(ctx context.Context) StepInfo {
	if s, ok := ctx.Value(stepKey{}).(*calledStep); ok {
		return s.info
	}
	return StepInfo{}
}

// WithStep returns a context as a handler gets it, for tests that call a handler
// by themselves. Where info has no Key and no ActionKey, they are what a
// coordinator would have given them.
func WithStep(ctx context.Context, info StepInfo) context.Context {
	info.Visit, info.Attempt = max(info.Visit, 1), max(info.Attempt, 1)
	info.Key = cmp.Or(info.Key, idempotencyKey(info))
	info.ActionKey = cmp.Or(info.ActionKey, actionKey(info))
	return withStep(ctx, info)
}

func withStep(ctx context.Context, info StepInfo) context.Context {
	return context.WithValue(ctx, stepKey{}, &calledStep{info: info})
}

// idempotencyKey names one visit of one step: execution, run, frame, step,
// visit, action or undo, and of an undo with an edited input the number of that,
// from 2 on. The run is 1: it counts what continues as new. The form is part of
// the format.
func idempotencyKey(i StepInfo) string {
	execution := i.Execution
	if strings.ContainsAny(execution, "/%") {
		execution = url.PathEscape(execution)
	}
	direction := "do"
	if i.Undo {
		direction = "undo"
		if i.Edits > 0 {
			direction += "/" + strconv.Itoa(i.Edits+1)
		}
	}
	return execution + "/1/" + i.Frame + "/" + i.Step + "/" + strconv.Itoa(i.Visit) + "/" + direction
}

// actionKey is the idempotency key of the action, for a compensation too.
func actionKey(i StepInfo) string {
	i.Undo = false
	return idempotencyKey(i)
}
