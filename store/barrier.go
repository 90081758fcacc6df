package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MinBarrierRetention is the least time that a barrier keeps what it knows of a
// call. Within it a queue may deliver a command once more: SQS keeps messages
// for 14 days, and the last day is for who then works on it.
//
// That is not all that matters. A barrier takes an undo whose action it does not
// know for an empty one, and does nothing. So keep what it knows for longer than
// any of your sagas may last from a step to the end of its undoing, waits for
// people and for operators included; and where dead letters are redriven late,
// for as long as [DefaultIdempotencyRetention] tells.
const MinBarrierRetention = 15 * 24 * time.Hour

// A Call is a call of an action or of its undo, as a barrier in the handler's
// own database tells it from others: saga.Barrier, redisstore.Barrier. The
// method Call of saga.StepInfo returns that of a handler.
type Call struct {
	// Key is the idempotency key, which ends in /do for an action and in /undo
	// for its undo, and is the same before that. A number from 2 on may follow
	// after /undo, where an operator gave the undo another input: it is the same
	// undo to a barrier, so one that has had its effect has no second. Required.
	Key string

	// Part tells one from another where a handler has several effects, each
	// behind the barrier for itself: letters, digits, dots, - and _, at most 64.
	// The undo of an effect names the same part. Empty where there is one effect.
	Part string

	// Done tells of an undo that its action is known to be done. A barrier that
	// knows nothing of it then answers a [NoTraceError].
	Done bool
}

const (
	doSuffix   = "/do"
	undoSuffix = "/undo"

	maxBarrierID = 255
)

// ID returns the name that an action shares with its undo, and whether this is
// the undo. The name has at most 255 characters of printable ASCII, whatever the
// key; a long one ends in a hash. It is part of the format of barriers. What
// cannot be one is refused with [ErrInvalid].
func (c Call) ID() (id string, undo bool, err error) {
	base, isDo := strings.CutSuffix(c.Key, doSuffix)
	if !isDo {
		if base, undo = cutUndo(c.Key); !undo {
			return "", false, invalid("the key %.80q of a barrier's call ends neither in %s, for an action, nor in %s, for its undo", c.Key, doSuffix, undoSuffix)
		}
	}
	switch {
	case base == "":
		return "", false, invalid("the key %q of a barrier's call names nothing", c.Key)
	case c.Done && !undo:
		return "", false, invalid("the call %.80q is an action, and Done is for its undo", c.Key)
	case !validPart(c.Part):
		return "", false, invalid("the part %.80q of a barrier's call has other than letters, digits, dots, - and _, or more than 64", c.Part)
	}
	id = escape(base)
	if c.Part != "" {
		id += "#" + c.Part
	}
	if len(id) > maxBarrierID {
		sum := sha256.Sum256([]byte(id))
		hash := hex.EncodeToString(sum[:])
		id = id[:maxBarrierID-1-len(hash)] + "~" + hash
	}
	return id, undo, nil
}

// cutUndo cuts off what an undo's key ends in.
func cutUndo(key string) (base string, undo bool) {
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		if n, err := strconv.Atoi(key[i+1:]); err == nil && n > 1 && key[i+1:] == strconv.Itoa(n) {
			key = key[:i]
		}
	}
	return strings.CutSuffix(key, undoSuffix)
}

func validPart(part string) bool {
	return len(part) <= 64 && strings.IndexFunc(part, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	}) < 0
}

// escape writes what is not printable ASCII, and what has a meaning in an id, as
// in a URL: so every database keeps it, and tells ids apart that differ.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '%' || c == '#' || c == '~' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// A RefusedError reports an action that came to a barrier after its own undo. It
// has had no effect, and will have none.
type RefusedError struct {
	Key string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("action %q is refused: it was undone before it came", e.Key)
}

// Permanent reports that no retry helps.
func (e *RefusedError) Permanent() bool { return true }

// NoEffect reports that the action is not done.
func (e *RefusedError) NoEffect() bool { return true }

// A NoTraceError reports the undo of an action that is known to be done, and
// that the barrier knows nothing of. The undo has not run. It is another
// database, table or part that the action went through, or none; or what the
// barrier knew was removed before the saga had ended.
type NoTraceError struct {
	Key string
}

func (e *NoTraceError) Error() string {
	return fmt.Sprintf("undo %q: its action is done, and has left no trace here: the two go through different barriers, or what this one knew was removed too early", e.Key)
}

// Permanent reports that no retry helps.
func (e *NoTraceError) Permanent() bool { return true }
