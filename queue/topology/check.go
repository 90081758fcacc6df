package topology

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// A Severity is how bad a [Finding] is.
type Severity string

const (
	// SeverityError: messages are lost or go nowhere, or will be as soon as
	// something fails.
	SeverityError Severity = "error"

	// SeverityWarning: it works, and not as it should when something fails. What
	// could not be looked at is a warning, too.
	SeverityWarning Severity = "warning"

	// SeverityNotice: worth knowing, and maybe as it is meant to be.
	SeverityNotice Severity = "notice"
)

// Severities are all severities, the worst first.
func Severities() []Severity {
	return []Severity{SeverityError, SeverityWarning, SeverityNotice}
}

// AtLeast reports whether the severity is as bad as another, or worse.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(Severities(), s) <= slices.Index(Severities(), other)
}

// An Effect is what an apply of the same configuration would do about a
// [Finding].
type Effect string

const (
	// Mends: it is so, and is no longer after an apply.
	Mends Effect = "mends"

	// Leaves: it is so, and an apply leaves it. The configuration has to change,
	// or the queue by other means.
	Leaves Effect = "leaves"

	// Brings: it is not so, and an apply would make it so. The configuration has
	// to change.
	Brings Effect = "brings"

	// Refuses: an apply refuses what is configured.
	Refuses Effect = "refuses"
)

// A Rule is what a [Finding] is an instance of.
type Rule string

// The rules. How bad each is depends on the case, and is given where it does not.
const (
	// RuleConflict (error): the configuration wants what cannot be, as in a
	// [ConflictError].
	RuleConflict Rule = "conflict"

	// RuleUnreadable (warning): the credentials may not look at it, so nothing is
	// said of it but what the configuration says itself.
	RuleUnreadable Rule = "unreadable"

	// RuleMissing (error): the queue or topic does not exist.
	RuleMissing Rule = "missing"

	// RuleDeadLetterMissing (error): the dead-letter queue does not exist.
	RuleDeadLetterMissing Rule = "dead-letter-missing"

	// RuleNoRedrivePolicy (error): what fails comes back until it is too old, and
	// is deleted. Dead-letter queues need none.
	RuleNoRedrivePolicy Rule = "no-redrive-policy"

	// RuleDeadLetterOther (warning): SQS moves to another queue than the
	// configuration says, and Waybill's subscribers with it.
	RuleDeadLetterOther Rule = "dead-letter-other"

	// RuleDeadLetterType (error): the dead-letter queue of a FIFO queue is a
	// standard one, or the other way round.
	RuleDeadLetterType Rule = "dead-letter-type"

	// RuleDeadLetterRefuses (error): the RedriveAllowPolicy of the dead-letter
	// queue does not have the queue.
	RuleDeadLetterRefuses Rule = "dead-letter-refuses"

	// RuleDeadLetterRing (error): the redrive policies lead back to the queue.
	RuleDeadLetterRing Rule = "dead-letter-ring"

	// RuleDeadLetterRedrives (warning): the dead-letter queue has a redrive policy
	// of its own, so that to look at a letter too often moves it on.
	RuleDeadLetterRedrives Rule = "dead-letter-redrives"

	// RuleDeadLetterRetention: dead letters do not last. Less than the queue's own
	// retention is an error, and on a FIFO queue, whose letters start anew, a
	// warning; on a standard queue the same is a warning; less than 14 days is a
	// notice.
	RuleDeadLetterRetention Rule = "dead-letter-retention"

	// RuleDeadLetterSources (notice): queues of different retention, or ones that
	// the configuration does not name, share the dead-letter queue.
	RuleDeadLetterSources Rule = "dead-letter-sources"

	// RuleDeadLetterSize (error): the dead-letter queue takes no messages as large
	// as the queue's.
	RuleDeadLetterSize Rule = "dead-letter-size"

	// RuleDeadLetterDelay (warning): the dead-letter queue hides new letters.
	RuleDeadLetterDelay Rule = "dead-letter-delay"

	// RuleDeadLetterEncryption (warning): the queue is encrypted by a key of KMS,
	// and its dead-letter queue is not.
	RuleDeadLetterEncryption Rule = "dead-letter-encryption"

	// RuleMaxReceiveCount (warning): one receive is all that a message has, so that
	// a process that dies is as bad as a poisonous message.
	RuleMaxReceiveCount Rule = "max-receive-count"

	// RuleReceivesOutlast (warning): the receives that a message has take longer,
	// where each ends by its visibility timeout, than the queue keeps it: it is
	// deleted before it is a dead letter.
	RuleReceivesOutlast Rule = "receives-outlast-retention"

	// RuleVisibility (warning): the visibility timeout is below the handler's
	// ([CheckConfig.HandlerTimeouts]).
	RuleVisibility Rule = "visibility"

	// RuleDelay: messages expire before they can be received. Those of the queue's
	// own delay are an error, and those with a [queue.KeyDelay], which are sent
	// again every 15 minutes, a warning.
	RuleDelay Rule = "delay"

	// RuleMessageSize (warning): the queue takes less than what the endpoint lets
	// through.
	RuleMessageSize Rule = "message-size"

	// RulePayloadRetention: the store of payloads ([CheckConfig.PayloadsKept])
	// deletes what is too large for a queue before its message. Where a publisher
	// refuses such a message for it, that is an error, and where the queue, or its
	// dead-letter queue, keeps messages for longer than configured, a warning.
	RulePayloadRetention Rule = "payload-retention"

	// RuleNotSubscribed (error): the subscription is missing, or waits to be
	// confirmed, and the queue gets nothing.
	RuleNotSubscribed Rule = "not-subscribed"

	// RuleQueueRefuses (error): the queue's policy does not let the topic send to
	// it.
	RuleQueueRefuses Rule = "queue-refuses-topic"

	// RuleEncryptedSubscription: SNS has to use the queue's key. With AWS's own,
	// alias/aws/sqs, it cannot, which is an error; the policy of another cannot be
	// seen from here, which is a notice.
	RuleEncryptedSubscription Rule = "encrypted-subscription"
)

// Rules are all rules.
func Rules() []Rule {
	return []Rule{
		RuleConflict, RuleUnreadable, RuleMissing, RuleDeadLetterMissing, RuleNoRedrivePolicy, RuleDeadLetterOther,
		RuleDeadLetterType, RuleDeadLetterRefuses, RuleDeadLetterRing, RuleDeadLetterRedrives,
		RuleDeadLetterRetention, RuleDeadLetterSources, RuleDeadLetterSize, RuleDeadLetterDelay,
		RuleDeadLetterEncryption, RuleMaxReceiveCount, RuleReceivesOutlast, RuleVisibility, RuleDelay,
		RuleMessageSize, RulePayloadRetention, RuleNotSubscribed, RuleQueueRefuses, RuleEncryptedSubscription,
	}
}

// A Finding is one thing that is wrong, or will be.
type Finding struct {
	// Severity is how bad it is.
	Severity Severity `json:"severity"`

	// Endpoint is the endpoint that it concerns: that of the queue, or the first
	// whose dead letters go to it.
	Endpoint string `json:"endpoint"`

	// Resource is what has it: the URL of the queue or topic, as in [Step].
	Resource string `json:"resource"`

	// Rule is which of the rules it is.
	Rule Rule `json:"rule"`

	// Problem says what is wrong.
	Problem string `json:"problem"`

	// Remedy says what would be right.
	Remedy string `json:"remedy"`

	// Apply is what an apply would do about it.
	Apply Effect `json:"apply"`
}

// String returns the finding in one line:
//
//	error sqs://dev-fares (fares): has no redrive policy, so ...; set dead_letter ...
func (f Finding) String() string {
	return fmt.Sprintf("%s %s (%s): %s; %s", f.Severity, f.Resource, f.Endpoint, f.Problem, f.Remedy)
}

// A CheckConfig says what a check cannot see.
type CheckConfig struct {
	// HandlerTimeouts are how long the handlers of endpoints may take, by the
	// endpoint's name: for a filter its pipeline.Timeout. Defaults to none, and
	// visibility timeouts are then not judged by them.
	HandlerTimeouts map[string]time.Duration

	// PayloadsKept is for how long the store of payloads that are too large for a
	// queue keeps them, where it does not go by what it is asked for: the days of
	// a bucket's lifecycle rule. Defaults to 0: the times are not compared.
	PayloadsKept time.Duration
}

// Check looks for what will lose messages, or bury them where nobody looks, when
// something fails: in the queues and subscriptions as they are, and as an apply
// would leave them. It returns the findings, the worst first; none is an empty
// list. It changes nothing, and needs no more than [RoleViewer].
//
// What the credentials may not look at is a finding, [RuleUnreadable], and the
// rest is judged. Check fails where the service cannot be asked at all, and where
// cfg names an endpoint that is no queue, with an error of a kind
// [queue.ErrInvalid].
func Check(ctx context.Context, clients Clients, endpoints *queue.Endpoints, cfg CheckConfig) ([]Finding, error) {
	all, err := clients.of(endpoints)
	if err != nil {
		return nil, err
	}
	d, err := newDesire(endpoints, newAtlas(all))
	c := &checker{
		cfg: cfg, endpoints: endpoints, desire: d, observer: &observer{clients: all},
		byARN: map[nodeKey]*queueNode{}, unread: map[any]bool{}, sources: map[*queueNode][]string{}, effects: map[Finding]Effect{},
	}
	if err != nil {
		c.conflicts()
	}
	if err := c.timeouts(); err != nil {
		return nil, err
	}
	if err := c.look(ctx); err != nil {
		return nil, err
	}
	now, after := c.view(false), c.view(true)
	c.judge(now, Mends)
	c.judge(after, Brings)
	return c.result(), nil
}

// A checker gathers findings.
type checker struct {
	cfg       CheckConfig
	endpoints *queue.Endpoints
	desire    *desire
	observer  *observer

	beyond  []*queueNode            // those that only redrive policies name
	byARN   map[nodeKey]*queueNode  // those that were found
	unread  map[any]bool            // the queues and topics that may not be looked at
	sources map[*queueNode][]string // the names of the queues whose redrive policy names a queue

	pass    Effect // that of what is found now
	found   []Finding
	keys    []Finding          // of found
	effects map[Finding]Effect // by keys: what was found, with the format of its problem
}

// add notes a finding. One that is so now and after an apply is there once, as it
// is now.
func (c *checker) add(f Finding, format string, args ...any) {
	f.Problem = fmt.Sprintf(format, args...)
	key := Finding{Severity: f.Severity, Rule: f.Rule, Endpoint: f.Endpoint, Resource: f.Resource, Problem: format}
	if format == "%s" {
		key.Problem = f.Problem
	}
	switch was, ok := c.effects[key]; {
	case !ok:
		c.effects[key] = c.pass
		c.found, c.keys = append(c.found, f), append(c.keys, key)
	case was == Mends && c.pass == Brings:
		c.effects[key] = Leaves
	}
}

// conflicts are findings, too.
func (c *checker) conflicts() {
	c.pass = Refuses
	for _, err := range c.desire.errs {
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			continue
		}
		problem, remedy, ok := strings.Cut(conflict.Problem, "; ")
		if !ok {
			remedy = "change the configuration"
		}
		c.add(Finding{
			Severity: SeverityError, Rule: RuleConflict, Endpoint: c.desire.endpointOf(conflict.Name), Resource: conflict.Name, Remedy: remedy,
		}, "%s", problem)
	}
}

// endpointOf returns the endpoint that a conflict is about.
func (d *desire) endpointOf(name string) string {
	for _, s := range d.subscriptions {
		if s.name() == name {
			return s.endpoint
		}
	}
	for _, q := range d.queues {
		if q.url == name {
			return d.owner(q)
		}
	}
	return ""
}

// owner returns the endpoint of a queue, or the first whose dead letters go there.
func (d *desire) owner(q *queueNode) string {
	if q.endpoint.Name != "" {
		return q.endpoint.Name
	}
	for _, other := range d.queues {
		if other.deadLetter == q && other.endpoint.Name != "" {
			return other.endpoint.Name
		}
	}
	return ""
}

// timeouts refuses those of what is no queue.
func (c *checker) timeouts() error {
	for _, name := range slices.Sorted(maps.Keys(c.cfg.HandlerTimeouts)) {
		if c.desire.served[name] == nil {
			return fmt.Errorf("topology: %w: there is a handler's timeout for %q, which is no endpoint of a queue; want one of %q", queue.ErrInvalid, name, slices.Sorted(maps.Keys(c.desire.served)))
		}
		if d := c.cfg.HandlerTimeouts[name]; d < 0 {
			return fmt.Errorf("topology: %w: the handler's timeout of %q is %v; want more than 0", queue.ErrInvalid, name, d)
		}
	}
	return nil
}

// result returns the findings in their order.
func (c *checker) result() []Finding {
	list := make([]Finding, len(c.found))
	for i, f := range c.found {
		f.Apply = c.effects[c.keys[i]]
		list[i] = f
	}
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Severities(), a.Severity), slices.Index(Severities(), b.Severity)),
			cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Rule, b.Rule))
	})
	return list
}
