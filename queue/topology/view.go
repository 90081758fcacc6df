package topology

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A queueView is a queue as it is, or as an apply would leave it. What is 0 or
// empty is not known.
type queueView struct {
	*queueNode
	there, unread bool

	retention, visibility, delay time.Duration
	maxMessageSize               int
	kmsKey                       string

	target          *queueView // of its redrive policy
	maxReceiveCount int
	policy          bool // it has a redrive policy

	letters []*queueView // the queues whose target it is
	others  []string     // and the names of those that are not in view
}

// A view is all queues as they are, or as an apply would leave them.
type view struct {
	after  bool
	queues []*queueView
}

func (c *checker) view(after bool) view {
	v := view{after: after}
	byNode := map[*queueNode]*queueView{}
	for i, q := range slices.Concat(c.desire.queues, c.beyond) {
		qv := &queueView{queueNode: q, unread: c.unread[q]}
		made := i < len(c.desire.queues) && !foreign(q.account, q.site)
		qv.there = q.exists || after && made
		qv.read(q.have)
		if after {
			qv.configure()
		}
		byNode[q] = qv
		v.queues = append(v.queues, qv)
	}
	for _, qv := range v.queues {
		target := c.byARN[nodeKey{qv.targetARN(), qv.site}]
		if after && qv.deadLetter != nil {
			target, qv.policy, qv.maxReceiveCount = qv.deadLetter, true, int(qv.wantRedrive().MaxReceiveCount)
		} else if name, url := qv.redriveTarget(); name != "" && target == nil {
			target = c.desire.byURL[nodeKey{url, qv.site}]
		}
		if qv.target = byNode[target]; qv.target != nil {
			qv.target.letters = append(qv.target.letters, qv)
		}
	}
	names := map[nodeKey]bool{}
	for _, qv := range v.queues {
		names[nodeKey{qv.name, qv.site}] = true
	}
	for _, qv := range v.queues {
		for _, name := range c.sources[qv.queueNode] {
			if !names[nodeKey{name, qv.site}] {
				qv.others = append(qv.others, name)
			}
		}
		slices.Sort(qv.others)
	}
	return v
}

// read takes what the service says.
func (v *queueView) read(have map[string]string) {
	number := func(name string) int {
		n, _ := strconv.Atoi(have[name])
		return n
	}
	duration := func(name string) time.Duration { return time.Duration(number(name)) * time.Second }
	v.retention, v.visibility, v.delay = duration("MessageRetentionPeriod"), duration("VisibilityTimeout"), duration("DelaySeconds")
	v.maxMessageSize, v.kmsKey = number("MaximumMessageSize"), have["KmsMasterKeyId"]
	policy, ok := parseRedrivePolicy(have["RedrivePolicy"])
	v.policy, v.maxReceiveCount = ok && policy.DeadLetterTargetARN != "", int(policy.MaxReceiveCount)
}

// configure puts what an apply would set over it.
func (v *queueView) configure() {
	for _, a := range v.settings() {
		n, _ := strconv.Atoi(a.Want)
		d := time.Duration(n) * time.Second
		switch a.Name {
		case "MessageRetentionPeriod":
			v.retention = d
		case "VisibilityTimeout":
			v.visibility = d
		case "DelaySeconds":
			v.delay = d
		}
	}
}

// targetARN returns the ARN of the queue that the redrive policy names which is
// there, or "".
func (q *queueNode) targetARN() string {
	policy, _ := parseRedrivePolicy(q.have["RedrivePolicy"])
	return policy.DeadLetterTargetARN
}

// leadsTo reports whether that queue is another.
func (q *queueNode) leadsTo(other *queueNode) bool {
	return other.arn != "" && q.targetARN() == other.arn && q.site == other.site
}

// redriveTarget returns the name of that queue, and its URL: SQS has it in the
// account and the region of the queue.
func (q *queueNode) redriveTarget() (name, url string) {
	part := strings.Split(q.targetARN(), ":")
	if len(part) != 6 {
		return "", ""
	}
	return part[5], strings.TrimSuffix(q.url, q.name) + part[5]
}

// ofEndpoint reports whether the queue is an endpoint's own, and not only one for
// dead letters.
func (v *queueView) ofEndpoint() bool { return v.endpoint.Name != "" }

// takesLetters reports whether it is a dead-letter queue of any.
func (v *queueView) takesLetters() bool { return len(v.letters) > 0 || len(v.others) > 0 }

// ring reports whether the redrive policies lead back to the queue.
func (v *queueView) ring() bool {
	seen := map[*queueView]bool{}
	for at := v.target; at != nil && !seen[at]; at = at.target {
		if at == v {
			return true
		}
		seen[at] = true
	}
	return false
}

// statements returns how many statements the queue's policy has; -1 if it cannot
// be read.
func (q *queueNode) statements() int {
	p, err := parsePolicy(q.have["Policy"])
	if err != nil {
		return -1
	}
	return len(p.statements)
}
