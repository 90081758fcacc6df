package topology

import (
	"fmt"
	"time"
)

// payloads judges whether the payloads of what is in a queue last as long as their
// messages.
func (c *checker) payloads(q *queueView) {
	for _, name := range c.servedBy(q.queueNode) {
		if c.publishedPayloads(name, q.url) {
			return
		}
	}
	lasts := q.retention
	if q.target != nil && q.target.there {
		lasts += q.target.retention
	}
	if c.cfg.PayloadsKept == 0 || lasts <= c.cfg.PayloadsKept {
		return
	}
	c.add(c.payloadFinding(SeverityWarning, q.endpoint.Name, q.url, lasts),
		"messages last for up to %s, in the queue and as dead letters, and payloads in their store for %s: then a message comes without its payload",
		days(lasts), days(c.cfg.PayloadsKept))
}

// publishedPayloads judges whether what is too large for an endpoint can be
// published there, and reports whether it cannot.
func (c *checker) publishedPayloads(name, resource string) bool {
	keep, err := c.endpoints.KeepPayload(name)
	if c.cfg.PayloadsKept == 0 || err != nil || keep <= c.cfg.PayloadsKept {
		return false
	}
	c.add(c.payloadFinding(SeverityError, name, resource, keep),
		"payloads of messages have to last for %s, and their store keeps them for %s: what is too large for SQS cannot be published",
		days(keep), days(c.cfg.PayloadsKept))
	return true
}

func (c *checker) payloadFinding(s Severity, endpoint, resource string, lasts time.Duration) Finding {
	const day = 24 * time.Hour
	return Finding{
		Severity: s, Rule: RulePayloadRetention, Endpoint: endpoint, Resource: resource,
		Remedy: fmt.Sprintf("have the lifecycle rule of the bucket, and payloads.expire_days, say %d days or more, or set a shorter retention", (lasts+day-1)/day),
	}
}
