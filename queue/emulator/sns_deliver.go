package emulator

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/waybill-dev/waybill/eventpattern"
)

// deliver puts a publication into the queue of every subscription that wants it, before Publish answers, and
// sends couriers to the others. What cannot be delivered goes to the subscription's dead-letter queue, or is
// lost, as with SNS.
func (s *Server) deliver(c *call, p *publication) {
	now := s.clock.Now()
	seen := sight{publication: p}
	for _, sub := range *p.topic.subs.Load() {
		set := sub.set.Load()
		if sub.isPending() || !seen.by(set) {
			continue
		}
		if sub.endpoint != nil {
			l := s.letter(c, sub, p, now)
			s.couriers.send(func(ctx context.Context) { s.carry(ctx, sub, l) })
			continue
		}
		body, attrs := p.text(sub.protocol), p.attrs
		if !set.raw {
			body, attrs = envelope(c, sub, p, now), nil
		}
		a := arrival{message: &message{content: s.delivered(p.group, body, attrs, now)}, dedup: p.dedup}
		if err := s.deliverTo(sub, a); err != nil {
			s.buryPublication(sub, a, p.id, err)
		}
	}
}

var (
	errNoQueue    = errors.New("the queue does not exist")
	errNotAllowed = errors.New("the queue's Policy does not let the topic send to it")
	errNoFit      = errors.New("the message is too large for the queue, or has more than 10 attributes and raw delivery")
)

// deliverTo puts a message into the queue of a subscription.
func (s *Server) deliverTo(sub *subscription, a arrival) error {
	q := s.lookupARN(sub.address)
	switch {
	case q == nil:
		return errNoQueue
	case !s.mayDeliver(sub.topic, q):
		return errNotAllowed
	case !q.accepts(a.content):
		return errNoFit
	}
	a.delay = q.settings().delay
	if !q.add(a) {
		return errNoQueue
	}
	return nil
}

// letter is a publication for an endpoint outside the server.
func (s *Server) letter(c *call, sub *subscription, p *publication, now time.Time) *letter {
	text := p.text(sub.protocol)
	l := &letter{kind: kindNotification, id: p.id, raw: sub.set.Load().raw, body: text, notification: Notification{
		MessageID: p.id, TopicARN: p.topic.key.arn(), SubscriptionARN: sub.arn,
		Subject: p.subject, Message: text, Timestamp: now, Attributes: notificationAttributes(p.attrs),
	}}
	if !l.raw {
		l.body = envelope(c, sub, p, now)
	}
	return l
}

// buryPublication puts what a subscription could not take, for a reason, into its dead-letter queue, if it has one.
func (s *Server) buryPublication(sub *subscription, a arrival, id string, reason error) {
	log := s.log.With("subscription", sub.arn, "endpoint_protocol", sub.protocol, "message_id", id, "error", reason)
	dlq := s.lookupARN(sub.set.Load().deadLetter)
	if dlq == nil || !s.mayDeliver(sub.topic, dlq) || !dlq.add(a) {
		log.Warn("a topic could not deliver a message, which is lost")
		return
	}
	log.Warn("a topic could not deliver a message, which is in the dead-letter queue", "dead_letter_queue", dlq.arn)
	s.changed()
}

// mayDeliver reports whether the topic may send to the queue.
func (s *Server) mayDeliver(t *topic, q *queue) bool {
	return !s.policies || q.settings().access.lets(t.key, q.arn)
}

// sight is a publication as filter policies see it, read when the first asks.
type sight struct {
	*publication
	attributes *eventpattern.Event
	body       *eventpattern.Event
	noBody     bool // the message is no JSON object, and matches no policy
}

// by reports whether a subscription's filter policy lets the publication through.
func (s *sight) by(set *subscriptionSettings) bool {
	if set.filter == nil {
		return true
	}
	if !set.onBody {
		if s.attributes == nil {
			s.attributes = eventpattern.AttributesEvent(patternAttributes(s.attrs))
		}
		return set.filter.MatchEvent(s.attributes)
	}
	if s.body == nil && !s.noBody {
		var err error
		s.body, err = eventpattern.ParseEvent([]byte(s.message))
		s.noBody = err != nil
	}
	return !s.noBody && set.filter.MatchEvent(s.body)
}

func patternAttributes(in map[string]attribute) map[string]eventpattern.Attribute {
	out := make(map[string]eventpattern.Attribute, len(in))
	for name, a := range in {
		out[name] = eventpattern.Attribute{Type: a.dataType, Value: a.value}
	}
	return out
}

// accepts reports whether SQS would take the message. Raw delivery carries attributes over one to one, so
// more than ten are a client error (SNS developer guide, "Amazon SNS raw message delivery").
func (q *queue) accepts(m *content) bool {
	return len(m.attrs) <= maxAttributes && len(m.body)+attributesSize(m.attrs) <= q.settings().maxSize
}

// delivered is a message as SNS sends it to a queue.
func (s *Server) delivered(group, body string, attrs map[string]attribute, now time.Time) *content {
	return &content{
		id:       uuid.NewString(),
		body:     body,
		bodyMD5:  md5Hex(body),
		attrs:    attrs,
		attrsMD5: md5OfAttributes(attrs),
		group:    group,
		sender:   "AIDAISMY7JYY5F7RTT6AO", // SNS delivers in its own name, whose id is the same for all
		sentAt:   now,
	}
}

func snsTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// appendSignature appends a signature that is none: there is no certificate to check it by.
func appendSignature(dst []byte, c *call) []byte {
	dst = appendField(dst, "SignatureVersion", "1")
	dst = appendField(dst, "Signature", "EMULATOR")
	return appendField(dst, "SigningCertURL", c.base+"/SimpleNotificationService-emulator.pem")
}

// envelope wraps a publication as the SNS developer guide shows it ("Parsing Amazon SNS message formats").
func envelope(c *call, sub *subscription, p *publication, now time.Time) string {
	dst := appendField([]byte{'{'}, "Type", "Notification")
	dst = appendField(dst, "MessageId", p.id)
	if p.sequence != "" {
		dst = appendField(dst, "SequenceNumber", p.sequence)
	}
	dst = appendField(dst, "TopicArn", p.topic.key.arn())
	if p.subject != "" {
		dst = appendField(dst, "Subject", p.subject)
	}
	dst = appendField(dst, "Message", p.text(sub.protocol))
	dst = appendField(dst, "Timestamp", snsTime(now))
	dst = appendSignature(dst, c)
	dst = appendField(dst, "UnsubscribeURL", c.base+"/?Action=Unsubscribe&SubscriptionArn="+url.QueryEscape(sub.arn))
	if len(p.attrs) > 0 {
		dst = append(appendName(dst, "MessageAttributes"), '{')
		for _, name := range sortedNames(p.attrs) {
			a := p.attrs[name]
			value := a.value
			if a.binary() {
				value = base64.StdEncoding.EncodeToString([]byte(value))
			}
			dst = append(appendName(dst, name), '{')
			dst = appendField(dst, "Type", a.dataType)
			dst = append(appendField(dst, "Value", value), '}')
		}
		dst = append(dst, '}')
	}
	return string(append(dst, '}'))
}
