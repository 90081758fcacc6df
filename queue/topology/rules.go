package topology

import (
	"fmt"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// hop is how long a message is hidden at a time that has a longer delay than SQS
// knows; it is sent again then.
const hop = 15 * time.Minute

// judge looks for what is wrong in a view.
func (c *checker) judge(v view, pass Effect) {
	c.pass = pass
	for _, q := range v.queues {
		if !q.there {
			c.missing(q)
			continue
		}
		if q.ofEndpoint() {
			c.endpoint(q)
			c.payloads(q)
		}
		if q.target != nil && q.target.there {
			c.pair(q, q.target)
		}
		if q.takesLetters() {
			c.deadLetters(q)
		}
	}
	for _, t := range c.desire.topics {
		c.publishedPayloads(t.endpoint, t.url)
		if !t.exists && !c.unread[t] && !v.after {
			c.add(Finding{Severity: SeverityError, Rule: RuleMissing, Endpoint: t.endpoint, Resource: t.url, Remedy: made(t.account, t.site)},
				"the topic does not exist")
		}
	}
	for _, s := range c.desire.subscriptions {
		c.subscription(s, v)
	}
}

// made says who makes what is missing.
func made(account string, s site) string {
	if foreign(account, s) {
		return "have account " + account + " make it"
	}
	return "`waybill topology apply` makes it"
}

func (c *checker) missing(q *queueView) {
	f := Finding{Severity: SeverityError, Rule: RuleMissing, Endpoint: c.ownerOf(q.queueNode), Resource: q.url, Remedy: made(q.account, q.site)}
	if q.ofEndpoint() {
		c.add(f, "the queue does not exist, or the credentials may not know of it")
		return
	}
	f.Rule = RuleDeadLetterMissing
	if len(q.arn) > 0 { // a redrive policy names it, and configuration does not
		f.Remedy = "make it again, or name another as dead_letter"
	}
	c.add(f, "the dead-letter queue does not exist, or the credentials may not know of it: what fails stays where it is until it is too old")
}

// endpoint judges an endpoint's own queue by itself.
func (c *checker) endpoint(q *queueView) {
	of := func(s Severity, r Rule, remedy string) Finding {
		return Finding{Severity: s, Rule: r, Endpoint: q.endpoint.Name, Resource: q.url, Remedy: remedy}
	}
	if !q.policy && !q.unread && !q.takesLetters() {
		c.add(of(SeverityError, RuleNoRedrivePolicy, fmt.Sprintf("set dead_letter, for example %s", deadLetterName(q.url))),
			"has no redrive policy: a message that fails comes back until it is %s old, and is lost then", old(q.retention))
	}
	if q.policy && q.maxReceiveCount == 1 {
		c.add(of(SeverityWarning, RuleMaxReceiveCount, "set max_receive_count to 3 or more"),
			"one receive is all that a message has: a process that dies, or an answer that is lost, makes dead letters as a poisonous message does")
	}
	if outlast := time.Duration(q.maxReceiveCount)*q.visibility + q.delay; q.policy && q.retention > 0 && outlast >= q.retention {
		c.add(of(SeverityWarning, RuleReceivesOutlast, "lower max_receive_count or visibility, or set a longer retention"),
			"%d receives that end by the visibility timeout of %s take %s, and the queue keeps a message for %s: what kills its receivers is deleted before it is a dead letter",
			q.maxReceiveCount, days(q.visibility), days(outlast), days(q.retention))
	}
	for _, name := range c.servedBy(q.queueNode) {
		timeout := c.cfg.HandlerTimeouts[name]
		if timeout == 0 || q.visibility == 0 || q.visibility >= timeout {
			continue
		}
		f := of(SeverityWarning, RuleVisibility, fmt.Sprintf("set visibility to %s or more", days(roundUp(timeout))))
		f.Endpoint = name
		c.add(f, "the visibility timeout of %s is below the handler's timeout of %s: Waybill's subscriber extends it while the handler runs, and any other receiver, or one whose extension fails, has the message twice",
			days(q.visibility), days(timeout))
	}
	switch {
	case q.retention == 0:
	case q.delay >= q.retention:
		c.add(of(SeverityError, RuleDelay, "set a shorter delay, or a longer retention"),
			"hides new messages for %s, and deletes them after %s: none is ever received", days(q.delay), days(q.retention))
	case q.retention <= hop && !fifo(q.name):
		c.add(of(SeverityWarning, RuleDelay, "set a retention of more than "+days(hop)),
			"deletes messages after %s: one that is delayed by as long (queue.KeyDelay) expires before it is due", days(q.retention))
	}
	if n := q.endpoint.MaxMessageSize; q.maxMessageSize > 0 && n > q.maxMessageSize {
		c.add(of(SeverityWarning, RuleMessageSize, fmt.Sprintf("set max_message_size to %d, or MaximumMessageSize of the queue to %d", q.maxMessageSize, n)),
			"takes messages of %d bytes at most, and the endpoint lets through %d", q.maxMessageSize, n)
	}
}

// servedBy returns the endpoints whose queue it is.
func (c *checker) servedBy(q *queueNode) (names []string) {
	for _, p := range q.purposes {
		if name, ok := strings.CutPrefix(p, "endpoint "); ok && c.desire.served[name] == q {
			names = append(names, name)
		}
	}
	return names
}

// pair judges a queue and its dead-letter queue.
func (c *checker) pair(q, dead *queueView) {
	name := c.ownerOf(q.queueNode)
	of := func(s Severity, r Rule, resource, remedy string) Finding {
		return Finding{Severity: s, Rule: r, Endpoint: name, Resource: resource, Remedy: remedy}
	}
	if q.deadLetter != nil && q.deadLetter != dead.queueNode {
		c.add(of(SeverityWarning, RuleDeadLetterOther, q.url, "`waybill topology apply` sets it"),
			"its redrive policy names %s, and the configuration %s", dead.url, q.deadLetter.url)
	}
	if fifo(q.name) != fifo(dead.name) {
		c.add(of(SeverityError, RuleDeadLetterType, dead.url, "name one of the queue's own type"),
			"%s is a %s queue, and its dead-letter queue a %s one: SQS moves nothing there", q.url, kind(q.name), kind(dead.name))
	}
	if problem := q.refusalOf(dead.queueNode); problem != "" {
		problem, remedy, _ := strings.Cut(problem, "; ")
		c.add(of(SeverityError, RuleDeadLetterRefuses, q.url, remedy), "%s", problem)
	}
	if q.ring() {
		c.add(of(SeverityError, RuleDeadLetterRing, q.url, "have a dead-letter queue that leads nowhere"),
			"is its own dead-letter queue, by way of %s: what fails goes round until it is too old", dead.url)
	}
	if q.maxMessageSize > 0 && dead.maxMessageSize > 0 && dead.maxMessageSize < q.maxMessageSize {
		c.add(of(SeverityError, RuleDeadLetterSize, dead.url, fmt.Sprintf("set its MaximumMessageSize to %d or more", q.maxMessageSize)),
			"takes messages of %d bytes at most, and %s larger ones, of up to %d: they cannot become dead letters, or be sent here", dead.maxMessageSize, q.url, q.maxMessageSize)
	}
	if q.kmsKey != "" && dead.kmsKey == "" && !dead.unread && dead.exists {
		c.add(of(SeverityWarning, RuleDeadLetterEncryption, dead.url, "give it a key of KMS, too"),
			"is not encrypted by a key of KMS, and %s is (%s): who may not read its messages may read its dead letters", q.url, q.kmsKey)
	}
	c.letterRetention(of, q, dead)
}

// letterRetention judges how long dead letters last. Those of a standard queue age
// from when the message was sent, and of a FIFO queue from the move.
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html)
func (c *checker) letterRetention(of func(Severity, Rule, string, string) Finding, q, dead *queueView) {
	remedy := "set dead_letter_retention to " + days(queue.DefaultDeadLetterRetention)
	f := func(s Severity) Finding { return of(s, RuleDeadLetterRetention, dead.url, remedy) }
	have, source := dead.retention, q.retention
	switch {
	case have == 0 || source == 0:
	case have < source && fifo(dead.name):
		c.add(f(SeverityWarning), "keeps dead letters for %s from their move, and %s messages for %s", days(have), q.url, days(source))
	case have < source:
		c.add(f(SeverityError), "keeps dead letters for %s, and %s messages for %s: SQS counts from when a message was first sent, so those that waited are deleted as they become dead letters",
			days(have), q.url, days(source))
	case have == source && have < queue.DefaultDeadLetterRetention && !fifo(dead.name):
		c.add(f(SeverityWarning), "keeps dead letters for %s, as %s messages: SQS counts from when a message was first sent, so little is left of it for those that waited",
			days(have), q.url)
	case have < queue.DefaultDeadLetterRetention:
		c.add(f(SeverityNotice), "keeps dead letters for %s, and could for %s", days(have), days(queue.DefaultDeadLetterRetention))
	}
}

// deadLetters judges a dead-letter queue by itself.
func (c *checker) deadLetters(q *queueView) {
	of := func(s Severity, r Rule, remedy string) Finding {
		return Finding{Severity: s, Rule: r, Endpoint: c.ownerOf(q.queueNode), Resource: q.url, Remedy: remedy}
	}
	if q.target != nil && !q.ring() {
		c.add(of(SeverityWarning, RuleDeadLetterRedrives, "take its redrive policy away"),
			"has a redrive policy of its own: a dead letter that is looked at %d times moves on to %s", q.maxReceiveCount, q.target.url)
	}
	if q.delay > 0 {
		c.add(of(SeverityWarning, RuleDeadLetterDelay, "take its delay away"), "hides what is sent to it for %s, dead letters among it", days(q.delay))
	}
	var kept []string
	differ := false
	for _, source := range q.letters {
		if source.retention > 0 {
			kept = append(kept, source.url+" for "+days(source.retention))
			differ = differ || source.retention != q.letters[0].retention
		}
	}
	if differ && len(kept) > 1 {
		c.add(of(SeverityNotice, RuleDeadLetterSources, "give each a dead-letter queue, or all the same retention"),
			"takes the dead letters of queues that keep messages for different times (%s): how old a letter is does not tell for how long it lasts", strings.Join(kept, ", "))
	}
	if len(q.others) > 0 {
		c.add(of(SeverityNotice, RuleDeadLetterSources, "name them as endpoints, to have them judged and redriven, or give them another"),
			"takes the dead letters of %s, too, which the configuration does not name", strings.Join(q.others, ", "))
	}
}

// subscription judges whether a topic can deliver to a queue.
func (c *checker) subscription(s *subscriptionNode, v view) {
	if c.unread[s.topic] || c.unread[s.queue] || !s.topic.exists || !s.queue.exists {
		return // that is a finding already
	}
	of := func(sev Severity, r Rule, remedy string) Finding {
		return Finding{Severity: sev, Rule: r, Endpoint: s.endpoint, Resource: s.name(), Remedy: remedy}
	}
	const apply = "`waybill topology apply` does it"
	switch {
	case s.arn == pendingConfirmation:
		c.add(of(SeverityError, RuleNotSubscribed, "have the queue's owner confirm it"), "the subscription waits to be confirmed, and the queue gets nothing")
	case s.arn == "" && !v.after:
		c.add(of(SeverityError, RuleNotSubscribed, apply), "the queue is not subscribed, and gets nothing")
	}
	// Whether statements of others let the topic send is not for us to say.
	if s.queue.statements() == 0 && !v.after {
		c.add(of(SeverityError, RuleQueueRefuses, apply), "the queue has no policy that lets the topic send to it, and gets nothing")
	}
	switch key := s.queue.have["KmsMasterKeyId"]; {
	case key == "":
	case key == "alias/aws/sqs" || strings.HasSuffix(key, ":alias/aws/sqs"):
		c.add(of(SeverityError, RuleEncryptedSubscription, "encrypt it by a key of your own, whose policy allows sns.amazonaws.com kms:GenerateDataKey* and kms:Decrypt"),
			"the queue is encrypted by AWS's own key, which SNS may not use: the queue gets nothing")
	default:
		c.add(of(SeverityNotice, RuleEncryptedSubscription, "see that the key's policy allows sns.amazonaws.com kms:GenerateDataKey* and kms:Decrypt"),
			"the queue is encrypted by %s, whose policy cannot be seen from here", key)
	}
}

func kind(name string) string {
	if fifo(name) {
		return "FIFO"
	}
	return "standard"
}

// deadLetterName returns what a dead-letter queue is usually called.
func deadLetterName(url string) string {
	if base, ok := strings.CutSuffix(url, ".fifo"); ok {
		return base + "-dlq.fifo"
	}
	return url + "-dlq"
}

func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// old says after how long a message is deleted, where that is known.
func old(retention time.Duration) string {
	if retention == 0 {
		return "too"
	}
	return days(retention)
}

// days writes a duration as configuration does: 14d, 1h30m.
func days(d time.Duration) string {
	if d%time.Second != 0 || d <= 0 {
		return d.String()
	}
	var b strings.Builder
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.name)
			d %= unit.size
		}
	}
	return b.String()
}
