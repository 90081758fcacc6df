package topology

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
)

// A policy is the access policy of a queue. What of it is not ours is kept as
// it was written.
type policy struct {
	fields     map[string]json.RawMessage
	statements []json.RawMessage
}

// parsePolicy reads the Policy attribute of a queue. An empty one is a policy
// without statements.
func parsePolicy(text string) (*policy, error) {
	p := &policy{fields: map[string]json.RawMessage{"Version": json.RawMessage(`"2012-10-17"`)}}
	if text == "" {
		return p, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil || fields == nil {
		return nil, errors.New("the queue's policy is not a JSON object; mend it first")
	}
	p.fields = fields
	statement := fields["Statement"]
	if len(statement) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(statement, &p.statements); err != nil {
		p.statements = []json.RawMessage{statement} // a single one may stand without a list
	}
	return p, nil
}

// A statement lets a topic send to a queue.
type statement struct {
	Sid       string
	Effect    string
	Principal map[string]string
	Action    string
	Resource  string
	Condition map[string]map[string]string
}

// letSend returns the statement that lets the topic, and only it, send to the
// queue. Its Sid derives from the topic, so that two topics do not meet.
// (https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html)
func letSend(topicARN, queueARN string) statement {
	sum := sha256.Sum256([]byte(topicARN))
	return statement{
		Sid:       "Waybill" + hex.EncodeToString(sum[:8]),
		Effect:    "Allow",
		Principal: map[string]string{"Service": "sns.amazonaws.com"},
		Action:    "sqs:SendMessage",
		Resource:  queueARN,
		Condition: map[string]map[string]string{"ArnEquals": {"aws:SourceArn": topicARN}},
	}
}

// find returns the index of a statement that says what s does, whoever wrote
// it, and that of the one which has its Sid; -1 where there is none.
func (p *policy) find(s statement) (same, sid int) {
	same, sid = -1, -1
	want := normal(mustMarshal(s))
	for i, raw := range p.statements {
		got := normal(raw)
		if m, ok := got.(map[string]any); ok {
			if m["Sid"] == s.Sid {
				sid = i
			}
			m["Sid"] = s.Sid
		}
		if reflect.DeepEqual(got, want) {
			same = i
		}
	}
	return same, sid
}

// with returns the policy with the statements in it, as the text of an
// attribute.
func (p *policy) with(statements ...statement) (string, error) {
	for _, s := range statements {
		switch same, sid := p.find(s); {
		case same >= 0:
		case sid >= 0:
			p.statements[sid] = mustMarshal(s)
		default:
			p.statements = append(p.statements, mustMarshal(s))
		}
	}
	list, err := json.Marshal(p.statements)
	if err != nil {
		return "", err
	}
	p.fields["Statement"] = list
	text, err := json.Marshal(p.fields)
	return string(text), err
}

// normal decodes a statement so that two ways to write it compare equal: a
// list of one is its element, and actions have no case.
func normal(raw json.RawMessage) any {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil
	}
	v = unwrap(v)
	if m, ok := v.(map[string]any); ok {
		if action, ok := m["Action"].(string); ok {
			m["Action"] = strings.ToLower(action)
		}
	}
	return v
}

func unwrap(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) == 1 {
			return unwrap(v[0])
		}
		for i := range v {
			v[i] = unwrap(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = unwrap(v[k])
		}
	}
	return v
}

// mustMarshal encodes a statement, which has nothing that cannot be encoded.
func mustMarshal(s statement) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

// sameJSON reports whether two texts are the same JSON value.
func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return a == b
	}
	return reflect.DeepEqual(x, y)
}
