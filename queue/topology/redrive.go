package topology

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A redrivePolicy is the RedrivePolicy of a queue.
type redrivePolicy struct {
	DeadLetterTargetARN string  `json:"deadLetterTargetArn"`
	MaxReceiveCount     flexInt `json:"maxReceiveCount"`
}

// A flexInt is a number that servers also write as a text.
type flexInt int

func (n *flexInt) UnmarshalJSON(b []byte) error {
	v, err := strconv.Atoi(strings.Trim(string(b), `"`))
	*n = flexInt(v)
	return err
}

func parseRedrivePolicy(text string) (p redrivePolicy, ok bool) {
	return p, text != "" && json.Unmarshal([]byte(text), &p) == nil
}

// show says what the policy does: "dev-fares-dlq after 5 receives".
func (p redrivePolicy) show() string {
	name := p.DeadLetterTargetARN[strings.LastIndexByte(p.DeadLetterTargetARN, ':')+1:]
	return fmt.Sprintf("%s after %d receives", name, p.MaxReceiveCount)
}

// wantRedrive returns the policy that configuration gives the queue. The ARN
// of a dead-letter queue that does not exist yet is derived from the queue's,
// whose account and region it shares, or has the name alone. The count of a
// policy that is there stays where configuration says nothing of it.
func (q *queueNode) wantRedrive() redrivePolicy {
	arn := q.deadLetter.arn
	if arn == "" {
		arn = strings.TrimSuffix(q.arn, ":"+q.name) + ":" + q.deadLetter.name
	}
	want := redrivePolicy{DeadLetterTargetARN: arn, MaxReceiveCount: flexInt(q.endpoint.MaxReceiveCount)}
	if have, ok := parseRedrivePolicy(q.have["RedrivePolicy"]); ok && have.MaxReceiveCount > 0 && !q.set.maxReceiveCount {
		want.MaxReceiveCount = have.MaxReceiveCount
	}
	return want
}

// redriveAttribute returns the difference in the redrive policy, if there is
// one.
func (q *queueNode) redriveAttribute() (Attribute, bool) {
	if q.deadLetter == nil {
		return Attribute{}, false
	}
	want := q.wantRedrive()
	a := Attribute{Name: "RedrivePolicy", Want: want.show()}
	if text := q.have[a.Name]; text != "" {
		have, ok := parseRedrivePolicy(text)
		if ok && have == want {
			return Attribute{}, false
		}
		a.Have = text
		if ok {
			a.Have = have.show()
		}
	}
	return a, true
}

// refusal says why the dead-letter queue of configuration would not take the
// messages of q, or is empty.
func (q *queueNode) refusal() string { return q.refusalOf(q.deadLetter) }

// refusalOf says why another queue would not take the dead letters of q, or is
// empty.
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html)
func (q *queueNode) refusalOf(dlq *queueNode) string {
	text := dlq.have["RedriveAllowPolicy"]
	if text == "" || q.arn == "" {
		return ""
	}
	var p struct {
		RedrivePermission string   `json:"redrivePermission"`
		SourceQueueARNs   []string `json:"sourceQueueArns"`
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return ""
	}
	switch {
	case p.RedrivePermission == "denyAll":
		return fmt.Sprintf("the RedriveAllowPolicy of %s is denyAll, so it cannot be a dead-letter queue; change it to allowAll or byQueue", dlq.url)
	case p.RedrivePermission == "byQueue" && !slices.Contains(p.SourceQueueARNs, q.arn):
		return fmt.Sprintf("the RedriveAllowPolicy of %s does not list %s; add it to sourceQueueArns", dlq.url, q.arn)
	}
	return ""
}
