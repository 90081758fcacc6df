package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// meta is what never changes about an execution.
type meta struct {
	Definition string          `json:"d"`
	Version    string          `json:"v"`
	Input      json.RawMessage `json:"i"`
	ReplyTo    string          `json:"r,omitempty"`
	Delay      int64           `json:"w,omitempty"` // of the first step, in milliseconds
}

// frame is where an execution stands: the whole of it that a commit writes.
// Times are milliseconds on the store's clock.
type frame struct {
	// Step is the step that is being done or, while undoing, the one that is
	// being undone.
	Step string `json:"s,omitempty"`
	// Entered is when the step was entered.
	Entered int64 `json:"t,omitempty"`
	// Attempt is the number of the attempt that is dispatched. It only grows,
	// apart for action and compensation; Tries counts those that are charged
	// to the retry policy.
	Attempt int `json:"a,omitempty"`
	Tries   int `json:"n,omitempty"`
	// Lost counts the attempts in a row whose worker died.
	Lost int `json:"l,omitempty"`
	// Epoch is the opening that may run the attempt. A later one that finds it
	// has lost the answer.
	Epoch int64 `json:"e"`
	// At is when the attempt is to begin or, if that is past, when it was
	// dispatched.
	At int64 `json:"b,omitempty"`
	// Unknown is set once an attempt of the action ended unknown: its effect
	// may exist whatever later attempts say. StillRunning is until when a
	// handler that did not answer may be at work.
	Unknown      bool  `json:"u,omitempty"`
	StillRunning int64 `json:"r,omitempty"`

	Undoing bool `json:"x,omitempty"`
	Blocked bool `json:"k,omitempty"`
	Pivoted bool `json:"p,omitempty"`
	Overdue bool `json:"o,omitempty"` // the alert was given
	// Cause is why the execution is being undone, Trouble why it is blocked.
	Cause   *Cause `json:"c,omitempty"`
	Trouble *Cause `json:"m,omitempty"`

	State json.RawMessage `json:"d,omitempty"`
	// Entries counts the history entries up to this frame's commit.
	Entries int `json:"h"`
	// Changed is set once State is no longer the input.
	Changed bool         `json:"g,omitempty"`
	Undo    []undoRecord `json:"z,omitempty"` // in the order of dispatch
}

// undoRecord is a compensation that must run if the saga fails.
type undoRecord struct {
	Step     string `json:"s"`
	Unknown  bool   `json:"u,omitempty"` // else done
	Entry    int    `json:"h,omitempty"` // where the state is that the compensation sees
	NotUntil int64  `json:"t,omitempty"`
}

// A state is kept once. The present one is in the frame. When a commit replaces
// it, the commit's history entry keeps the one replaced, unless that is the
// input, which is in the meta data. An undo record tells which.
const (
	stateInFrame = 0 // entry 0 begins the history and replaces nothing
	stateInMeta  = -1
)

func (r undoRecord) outcome() Outcome {
	if r.Unknown {
		return Unknown
	}
	return Done
}

// decodeFrame decodes a frame and checks that it belongs to the definition, so
// that a damaged one is refused and takes nobody down.
func decodeFrame(codec Codec, stored []byte, def *Definition) (*frame, error) {
	f := new(frame)
	if err := decodeJSON(codec, stored, f); err != nil {
		return nil, fmt.Errorf("decode the frame: %w", err)
	}
	return f, f.check(def)
}

func (f *frame) check(def *Definition) error {
	for _, r := range f.Undo {
		if s := def.byName[r.Step]; s == nil || s.undo == nil {
			return fmt.Errorf("the frame is to undo step %q, which saga %q cannot", r.Step, def.name)
		}
	}
	switch n := len(f.Undo); {
	case f.Step == "" && (f.Blocked || n > 0):
		return errors.New("the frame has ended with work left")
	case f.Step != "" && def.byName[f.Step] == nil:
		return fmt.Errorf("the frame is at step %q, which saga %q does not have", f.Step, def.name)
	case f.Step != "" && f.Undoing && (n == 0 || f.Undo[n-1].Step != f.Step):
		return fmt.Errorf("the frame undoes step %q out of its order", f.Step)
	}
	return nil
}

func encodeJSON(codec Codec, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil || codec == nil {
		return data, err
	}
	return codec.Encode(data)
}

func decodeJSON(codec Codec, data []byte, v any) error {
	if codec != nil {
		plain, err := codec.Decode(data)
		if err != nil {
			return fmt.Errorf("codec: %w", err)
		}
		data = plain
	}
	return json.Unmarshal(data, v)
}

// A Codec changes the bytes of state and history on their way to the store and
// back, to encrypt or compress them. Decode must undo Encode. Both are called
// from many goroutines.
type Codec interface {
	Encode(plain []byte) ([]byte, error)
	Decode(stored []byte) ([]byte, error)
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
