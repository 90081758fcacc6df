package saga

import (
	"context"
	"net/url"
	"strconv"
	"strings"
)

// StepInfo tells a handler what it is called for.
type StepInfo struct {
	Execution  string // the id that the execution was started under
	Definition string
	Step       string
	// Visit counts how often the execution came to this step; in a saga of
	// steps in a row it is 1.
	Visit int
	// Attempt counts from 1 for the action, and from 1 again for the
	// compensation.
	Attempt int
	// Undo is true in a compensation, and Cause tells why the saga is undone.
	Undo  bool
	Cause *Cause
	// Key is the idempotency key: the same in all attempts of this action, or
	// of this compensation, and in nothing else. Pass it on to whatever has
	// the effect.
	Key string
}

type stepKey struct{}

// StepFrom returns what the handler that got this context is called for. It is
// the zero StepInfo outside of one.
func StepFrom(ctx context.Context) StepInfo {
	info, _ := ctx.Value(stepKey{}).(StepInfo)
	return info
}

func withStep(ctx context.Context, info StepInfo) context.Context {
	return context.WithValue(ctx, stepKey{}, info)
}

// idempotencyKey names one visit of one step: execution, run, frame, step,
// visit, action or undo. Run and frame stand for what sagas of steps in a row
// do not have: a run that continues as new, and branches. The form is part of
// the format.
func idempotencyKey(execution, step string, visit int, undo bool) string {
	if strings.ContainsAny(execution, "/%") {
		execution = url.PathEscape(execution)
	}
	direction := "do"
	if undo {
		direction = "undo"
	}
	return execution + "/1//" + step + "/" + strconv.Itoa(visit) + "/" + direction
}
