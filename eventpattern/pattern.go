package eventpattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Dialect is the service whose patterns are meant. All share the operators; they differ in what they
// match, and in their limits.
type Dialect uint8

const (
	// EventBridge matches JSON events.
	EventBridge Dialect = iota

	// SNSBody matches the JSON body of a message: a filter policy with the scope MessageBody.
	SNSBody

	// SNSAttributes matches the attributes of a message: a filter policy with the scope
	// MessageAttributes, which has no nested keys.
	SNSAttributes
)

// String returns the dialect's name.
func (d Dialect) String() string {
	switch d {
	case EventBridge:
		return "EventBridge"
	case SNSBody:
		return "SNSBody"
	case SNSAttributes:
		return "SNSAttributes"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// Pattern is a compiled pattern. It never changes, and may be used from many goroutines at once.
type Pattern struct {
	dialect      Dialect
	alternatives []*object // what $or leaves to choose from, at least one
}

// Error says what is wrong with a pattern, and where.
type Error struct {
	Path   string // the field, as "detail.state"; empty for the pattern as a whole
	Rule   string // the operator, as "numeric"; empty where none is to blame
	Reason string
}

// Error returns the path, the rule and the reason.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("eventpattern: ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Rule != "" {
		b.WriteString(e.Rule + ": ")
	}
	b.WriteString(e.Reason)
	return b.String()
}

// Match reports whether a JSON event matches. The error says that the event is not a JSON object; no
// pattern matches such a thing. To ask several patterns about one event, use [ParseEvent].
func (p *Pattern) Match(event []byte) (bool, error) {
	e, err := ParseEvent(event)
	if err != nil {
		return false, err
	}
	return p.MatchEvent(e), nil
}

// MatchAttributes reports whether message attributes match.
func (p *Pattern) MatchAttributes(attrs map[string]Attribute) bool {
	return p.MatchEvent(AttributesEvent(attrs))
}

// MatchEvent reports whether an event matches.
func (p *Pattern) MatchEvent(e *Event) bool {
	for _, o := range p.alternatives {
		if o.match(e.root, e.root) {
			return true
		}
	}
	return false
}

// Event is what patterns are asked about, read once for all of them. It never changes, and may be used from
// many goroutines at once.
type Event struct{ root map[string]any }

// ParseEvent reads a JSON event. It is an error if that is not a JSON object.
func ParseEvent(src []byte) (*Event, error) {
	v, err := decode(src)
	if err != nil {
		return nil, fmt.Errorf("eventpattern: the event is not valid JSON: %w", err)
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("eventpattern: the event is not a JSON object")
	}
	return &Event{root}, nil
}

// Attribute is a message attribute of SNS.
type Attribute struct {
	Type  string // "String", "Number" or "String.Array"; attributes of other types are ignored
	Value string // for a String.Array, a JSON array
}

// AttributesEvent makes an event of message attributes, for patterns of the dialect [SNSAttributes].
func AttributesEvent(attrs map[string]Attribute) *Event {
	root := make(map[string]any, len(attrs))
	for name, a := range attrs {
		switch a.Type {
		case "String":
			root[name] = a.Value
		case "Number":
			root[name] = json.Number(strings.TrimSpace(a.Value))
		case "String.Array":
			v, err := decode([]byte(a.Value))
			if list, ok := v.([]any); ok && err == nil {
				root[name] = list
			}
		}
	}
	return &Event{root}
}

// decode reads one JSON value, with numbers as they are written.
func decode(src []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the value at offset %d", d.InputOffset())
	}
	return v, nil
}
