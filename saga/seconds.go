package saga

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// seconds is a duration as graphs have it in JSON: a number of seconds, such as 60 or
// 0.2. It keeps nanoseconds.
type seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s seconds) MarshalJSON() ([]byte, error) {
	d, sign := time.Duration(s), ""
	if d < 0 {
		sign = "-"
	}
	whole, rest := d/time.Second, d%time.Second
	text := sign + strconv.FormatUint(uint64(max(whole, -whole)), 10)
	if rest != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%09d", max(rest, -rest)), "0")
	}
	return []byte(text), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(data []byte) error {
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil || n == "" || data[0] == '"' {
		return fmt.Errorf("the duration %.40s is no number of seconds", data)
	}
	d, err := n.Float64()
	if err != nil || math.Abs(d) >= float64(mostSeconds) {
		return fmt.Errorf("the duration %.40s is no number of seconds below %d", data, mostSeconds)
	}
	*s = seconds(math.Round(d * float64(time.Second)))
	whole, rest, plain := strings.Cut(n.String(), ".")
	if !plain || len(rest) > 9 || strings.ContainsAny(rest, "eE") {
		return nil
	}
	// A float64 does not have the nanoseconds of a year.
	ns, err := strconv.ParseInt(whole+rest+strings.Repeat("0", 9-len(rest)), 10, 64)
	if err == nil {
		*s = seconds(ns)
	}
	return err
}

// mostSeconds are fewer than a time.Duration has.
const mostSeconds = math.MaxInt64 / int64(time.Second)

// What follows writes durations as seconds, in place of the numbers that they are in Go.

type (
	plainState State
	stateJSON  struct {
		plainState
		Timeout     seconds `json:"timeout,omitempty"`
		Within      seconds `json:"within,omitempty"`
		UndoTimeout seconds `json:"undo_timeout,omitempty"`
		Heartbeat   seconds `json:"heartbeat,omitempty"`
		Wait        seconds `json:"wait,omitempty"`
	}
	retryJSON struct {
		Attempts int     `json:"attempts"`
		Initial  seconds `json:"initial"`
		Factor   float64 `json:"factor"`
		Max      seconds `json:"max"`
		Jitter   float64 `json:"jitter"`
	}
	retryOnJSON struct {
		Errors []string `json:"errors"`
		retryJSON
	}
	lockJSON struct {
		Name string  `json:"name"`
		Wait seconds `json:"wait,omitempty"`
	}
)

// MarshalJSON gives the state as a graph has it: durations are numbers of seconds.
func (s State) MarshalJSON() ([]byte, error) {
	return json.Marshal(stateJSON{
		plainState: plainState(s), Timeout: seconds(s.Timeout), Within: seconds(s.Within), UndoTimeout: seconds(s.UndoTimeout),
		Heartbeat: seconds(s.Heartbeat), Wait: seconds(s.Wait),
	})
}

// UnmarshalJSON reads what MarshalJSON gives.
func (s *State) UnmarshalJSON(data []byte) error {
	var v stateJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*s = State(v.plainState)
	s.Timeout, s.Within, s.UndoTimeout = time.Duration(v.Timeout), time.Duration(v.Within), time.Duration(v.UndoTimeout)
	s.Heartbeat, s.Wait = time.Duration(v.Heartbeat), time.Duration(v.Wait)
	return nil
}

func (r Retry) wire() retryJSON {
	return retryJSON{Attempts: r.Attempts, Initial: seconds(r.Initial), Factor: r.Factor, Max: seconds(r.Max), Jitter: r.Jitter}
}

func (r retryJSON) policy() Retry {
	return Retry{Attempts: r.Attempts, Initial: time.Duration(r.Initial), Factor: r.Factor, Max: time.Duration(r.Max), Jitter: r.Jitter}
}

// MarshalJSON gives the policy as a graph has it: durations are numbers of seconds.
func (r Retry) MarshalJSON() ([]byte, error) { return json.Marshal(r.wire()) }

// UnmarshalJSON reads what MarshalJSON gives.
func (r *Retry) UnmarshalJSON(data []byte) error {
	var v retryJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*r = v.policy()
	return nil
}

// MarshalJSON gives the policy as a graph has it: durations are numbers of seconds.
func (r RetryOn) MarshalJSON() ([]byte, error) { return json.Marshal(retryOnJSON{r.Errors, r.wire()}) }

// UnmarshalJSON reads what MarshalJSON gives.
func (r *RetryOn) UnmarshalJSON(data []byte) error {
	var v retryOnJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	r.Errors, r.Retry = v.Errors, v.policy()
	return nil
}

// MarshalJSON gives the lock as a graph has it: its wait is a number of seconds.
func (l LockDef) MarshalJSON() ([]byte, error) {
	return json.Marshal(lockJSON{l.Name, seconds(l.Wait)})
}

// UnmarshalJSON reads what MarshalJSON gives.
func (l *LockDef) UnmarshalJSON(data []byte) error {
	var v lockJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	l.Name, l.Wait = v.Name, time.Duration(v.Wait)
	return nil
}
