package saga

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// An answer is what came of a command, as it is kept and replied.
type answer struct {
	Version   int             `json:"v"`
	Outcome   Outcome         `json:"o"`
	Result    json.RawMessage `json:"r,omitempty"`
	Name      string          `json:"n,omitempty"` // of the error
	Cause     string          `json:"c,omitempty"`
	Permanent bool            `json:"p,omitempty"`
}

// answerVersion is the version of the records that this package writes.
const answerVersion = 1

// failed is the answer for an error.
func failed(outcome Outcome, err error) *answer {
	return &answer{
		Version: answerVersion, Outcome: outcome,
		Name: shownName(errorName(err)), Cause: errorText(err), Permanent: isPermanent(err),
	}
}

var (
	// errOverdue is why a handler's context ends at its command's notAfter.
	errOverdue = fmt.Errorf("the time of the attempt is over: %w", context.DeadlineExceeded)

	errRefused = errors.New("the action came after its own compensation, and was not begun")
	errAtWork  = errors.New("its action is at work still, as far as is known")
)

// settle finds out what came of a command before, or does it.
func (p *Participant) settle(ctx context.Context, c *command, s *service) (*answer, error) {
	a, err := p.once(ctx, p.records, c.Definition, c.Key, c.Attempt, func(ctx context.Context, begun bool) (*answer, bool, error) {
		var a *answer
		var err error
		switch {
		case c.overdue():
			a = c.late(begun)
		case c.Command == commandDo:
			a, err = p.do(ctx, c, s)
		default:
			a, err = p.undo(ctx, c, s, begun)
		}
		if err == nil && begun && a.Outcome == NotDone {
			// Of this run. Nobody knows what came of the one before.
			a.Outcome = Unknown
		}
		// What is not done holds for this attempt alone.
		return a, err == nil && a.Outcome == Done, err
	})
	if errors.Is(err, store.ErrStale) {
		// The saga is at a later attempt. It knows better, or will.
		p.log.Info("refused an attempt: a later one has been seen", "key", c.Key, "attempt", c.Attempt)
		return failed(Unknown, err), nil
	}
	return a, err
}

// once has something done once under a key, and answers with what came of it.
func (p *Participant) once(ctx context.Context, records store.Once, definition, key string, attempt int, do func(ctx context.Context, begun bool) (a *answer, forGood bool, err error)) (*answer, error) {
	stored, _, err := records.Attempt(ctx, recordKey(definition, key), attempt, func(ctx context.Context, begun bool) ([]byte, bool, error) {
		a, forGood, err := do(ctx, begun)
		if err != nil {
			return nil, false, err
		}
		data, err := encodeJSON(p.cfg.Codec, a)
		return data, forGood, err
	})
	if err != nil {
		return nil, err
	}
	a := new(answer)
	if err := decodeJSON(p.cfg.Codec, stored, a); err != nil {
		return nil, fmt.Errorf("read what came of it: %w", err)
	}
	if a.Version < 1 || a.Version > answerVersion {
		return nil, fmt.Errorf("read what came of it: its version is %d, and this program reads 1 to %d", a.Version, answerVersion)
	}
	return a, nil
}

// recordKey is the key that the answer to a command is kept under. Names that
// others chose can be too long for one.
func recordKey(definition, key string) string {
	name := "saga/" + url.PathEscape(definition) + "/" + key
	if len(name) <= store.MaxID {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "saga/sha256:" + hex.EncodeToString(sum[:])
}

func (c *command) deadline() time.Time { return fromMillis(c.NotAfter) }

func (c *command) overdue() bool { return !time.Now().Before(c.deadline()) }

// notBegun is the outcome of an attempt that this process does not begin. Nothing
// was done, unless another one had begun it.
func notBegun(before bool) Outcome {
	if before {
		return Unknown
	}
	return NotDone
}

// late is the answer to a command that may not be begun any more.
func (c *command) late(begun bool) *answer {
	return failed(notBegun(begun), Named(ErrorTimeout, fmt.Errorf("it came %s after its time, by this clock", time.Since(c.deadline()).Round(time.Millisecond))))
}

func (p *Participant) do(ctx context.Context, c *command, s *service) (*answer, error) {
	result, err := p.call(ctx, c, s, c.info(), func(ctx context.Context) ([]byte, error) { return s.do(ctx, c.Input) })
	if err != nil {
		return p.judge(c, err)
	}
	if why := excess(result, p.cfg.MaxResult); why != "" {
		return failed(Unknown, Permanent(errors.New("the result "+why))), nil
	}
	return &answer{Version: answerVersion, Outcome: Done, Result: result}, nil
}

// undo compensates an action, once that cannot be done any more.
func (p *Participant) undo(ctx context.Context, c *command, s *service, begun bool) (*answer, error) {
	acted, err := p.close(ctx, c)
	switch {
	case errors.Is(err, store.ErrBusy), errors.Is(err, errOverdue):
		return failed(notBegun(begun), errAtWork), nil
	case err != nil:
		return nil, fmt.Errorf("what came of the action: %w", err)
	case c.overdue():
		return c.late(begun), nil
	}
	outcome := c.Outcome
	if acted.Outcome == Done {
		outcome = Done
	}
	info := c.info()
	info.Outcome = outcome
	_, err = p.call(ctx, c, s, info, func(ctx context.Context) ([]byte, error) { return nil, s.undo(ctx, c.Input, acted.Result, outcome) })
	if err != nil {
		return p.judge(c, err)
	}
	return &answer{Version: answerVersion, Outcome: Done}, nil
}

// close tells whether the action of a compensation is done. If it is not, it is
// refused from now on. One that is at work is awaited.
func (p *Participant) close(ctx context.Context, c *command) (*answer, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, c.deadline(), errOverdue)
	defer cancel()
	records := p.records
	records.Wait = time.Until(c.deadline())
	a, err := p.once(ctx, records, c.Definition, c.Undoes, store.LastAttempt, func(context.Context, bool) (*answer, bool, error) {
		return failed(Unknown, Permanent(errRefused)), true, nil
	})
	if err != nil && ctx.Err() != nil { // whatever the store made of it
		return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return a, err
}

// An interruption is the error of a handler that its own time did not end: the
// process stops, or has lost the command.
type interruption struct{ err error }

func (e *interruption) Error() string { return "interrupted: " + e.err.Error() }
func (e *interruption) Unwrap() error { return e.err }

// call runs a handler for as long as the command allows. The handler has a
// goroutine of its own, so that it can end that without harm.
func (p *Participant) call(ctx context.Context, c *command, s *service, info StepInfo, handler func(context.Context) ([]byte, error)) (result []byte, err error) {
	ctx, cancel := context.WithDeadlineCause(ctx, c.deadline(), errOverdue)
	defer cancel()
	ctx = withStep(ctx, info)
	err = errHandlerExited
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		r, e := protect(ctx, handler)
		result, err = r, classified(ctx, e, s.classify, p.cfg.Classify)
	}()
	<-returned
	if err != nil && ctx.Err() != nil && !saidOutcome(err) {
		cause := context.Cause(ctx)
		if !errors.Is(cause, errOverdue) {
			return nil, &interruption{fmt.Errorf("%w: %v", cause, err)}
		}
		err = Uncertain(fmt.Errorf("%w: %w", cause, err))
	}
	return result, err
}

// info is what a handler is told of its command.
func (c *command) info() StepInfo {
	info := StepInfo{
		Execution: c.Execution, Definition: c.Definition, Frame: c.Frame, Step: c.Step, Visit: c.Visit, Attempt: c.Attempt,
		Key: c.Key, ActionKey: c.Key, Locks: c.Locks,
	}
	if c.Command == commandUndo {
		info.Undo, info.ActionKey = true, c.Undoes
	}
	return info
}

// judge is the answer to a handler's error. One that was interrupted has none:
// the command comes again.
func (p *Participant) judge(c *command, err error) (*answer, error) {
	if i := (*interruption)(nil); errors.As(err, &i) {
		return nil, err
	}
	if panicked := (*PanicError)(nil); errors.As(err, &panicked) {
		p.log.Error("a handler panicked", "step", c.Step, "undo", c.Command == commandUndo, "key", c.Key, "attempt", c.Attempt,
			"error", err, "stack", string(panicked.Stack))
	}
	return failed(outcomeOf(err), err), nil
}
