package emulator

import (
	"encoding/json"
	"strings"
)

// accessPolicy is the Policy of a queue, as far as it concerns what topics send. Statements that say it in
// another way than this reads have no part in it.
type accessPolicy struct {
	statements []accessStatement
}

type accessStatement struct {
	Effect    string
	Principal principal
	Action    texts
	Resource  texts
	Condition map[string]map[string]texts

	// What a statement takes out it does not name, and so says too much to be read here.
	NotPrincipal, NotAction, NotResource json.RawMessage
}

// parseAccessPolicy reads a policy, which is JSON. What is no policy permits nothing.
func parseAccessPolicy(text string) *accessPolicy {
	var fields struct{ Statement json.RawMessage }
	var list []json.RawMessage
	if json.Unmarshal([]byte(text), &fields) != nil {
		return nil
	}
	if json.Unmarshal(fields.Statement, &list) != nil {
		list = []json.RawMessage{fields.Statement} // a single one may stand without a list
	}
	p := &accessPolicy{}
	for _, raw := range list {
		var s accessStatement
		if json.Unmarshal(raw, &s) == nil {
			p.statements = append(p.statements, s)
		}
	}
	return p
}

// lets reports whether the policy lets a topic send to the queue of an ARN. SNS sends in its own name, also
// within one account, so without a policy it may not.
func (p *accessPolicy) lets(topic topicKey, queueARN string) bool {
	if p == nil {
		return false
	}
	allowed := false
	for _, s := range p.statements {
		if !s.applies(topic, queueARN) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = allowed || s.Effect == "Allow"
	}
	return allowed
}

func (s *accessStatement) applies(topic topicKey, queueARN string) bool {
	if s.NotPrincipal != nil || s.NotAction != nil || s.NotResource != nil {
		return false
	}
	if !s.Principal.sns || !s.Resource.match(like, queueARN) {
		return false
	}
	if !s.Action.match(func(pattern, action string) bool { return like(strings.ToLower(pattern), action) }, "sqs:sendmessage") {
		return false
	}
	for operator, keys := range s.Condition {
		var holds func(pattern, text string) bool
		switch operator {
		case "ArnEquals", "ArnLike", "StringLike": // both of ARNs take wildcards
			holds = like
		case "StringEquals":
			holds = func(want, got string) bool { return want == got }
		default:
			return false
		}
		for key, values := range keys {
			var got string
			switch strings.ToLower(key) {
			case "aws:sourcearn":
				got = topic.arn()
			case "aws:sourceaccount":
				got = topic.account
			default:
				return false
			}
			if !values.match(holds, got) {
				return false
			}
		}
	}
	return true
}

// texts are one text or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

func (t texts) match(holds func(pattern, text string) bool, text string) bool {
	for _, pattern := range t {
		if holds(pattern, text) {
			return true
		}
	}
	return false
}

// principal is who a statement is about: SNS, or everybody, or others.
type principal struct{ sns bool }

func (p *principal) UnmarshalJSON(data []byte) error {
	var everybody string
	if json.Unmarshal(data, &everybody) == nil {
		p.sns = everybody == "*"
		return nil
	}
	var kinds map[string]texts
	if err := json.Unmarshal(data, &kinds); err != nil {
		return err
	}
	is := func(want string) func(string, string) bool {
		return func(pattern, _ string) bool { return pattern == want }
	}
	p.sns = kinds["AWS"].match(is("*"), "") || kinds["Service"].match(is("sns.amazonaws.com"), "")
	return nil
}

// like reports whether a text matches a pattern, in which * is any text and ? any one character.
func like(pattern, text string) bool {
	p, t := 0, 0
	star, from := -1, 0 // the latest *, and where what it takes ends
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0: // let it take one more
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
