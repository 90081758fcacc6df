package emulator

import (
	"encoding/base64"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/waybill-dev/waybill/eventpattern"
)

// deliver puts a publication into the queue of every subscription that wants it, before Publish answers.
// What cannot be delivered goes to the subscription's dead-letter queue, or is lost, as with SNS.
func (s *Server) deliver(c *call, p *publication) {
	now := s.clock.Now()
	seen := sight{publication: p}
	for _, sub := range *p.topic.subs.Load() {
		set := sub.set.Load()
		if !seen.by(set) {
			continue
		}
		body, attrs := p.message, p.attrs
		if !set.raw {
			body, attrs = envelope(c, sub, p, now), nil
		}
		a := arrival{message: &message{content: s.delivered(p, body, attrs, now)}}
		if q := s.lookupARN(sub.endpoint); q != nil && s.mayDeliver(p.topic, q) && q.accepts(a.content) {
			a.delay = q.settings().delay
			if q.add(a) {
				continue
			}
		}
		if dlq := s.lookupARN(set.deadLetter); dlq != nil && s.mayDeliver(p.topic, dlq) {
			a.delay = 0
			dlq.add(a)
		}
	}
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

func (s *Server) delivered(p *publication, body string, attrs map[string]attribute, now time.Time) *content {
	return &content{
		id:       uuid.NewString(),
		body:     body,
		bodyMD5:  md5Hex(body),
		attrs:    attrs,
		attrsMD5: md5OfAttributes(attrs),
		group:    p.group,
		sender:   "AIDAISMY7JYY5F7RTT6AO", // SNS delivers in its own name, whose id is the same for all
		sentAt:   now,
	}
}

// envelope wraps a publication as the SNS developer guide shows it ("Parsing Amazon SNS message formats").
// Its signature is none: there is no certificate to check it by.
func envelope(c *call, sub *subscription, p *publication, now time.Time) string {
	dst := appendField([]byte{'{'}, "Type", "Notification")
	dst = appendField(dst, "MessageId", p.id)
	dst = appendField(dst, "TopicArn", p.topic.key.arn())
	if p.subject != "" {
		dst = appendField(dst, "Subject", p.subject)
	}
	dst = appendField(dst, "Message", p.message)
	dst = appendField(dst, "Timestamp", now.UTC().Format("2006-01-02T15:04:05.000Z"))
	dst = appendField(dst, "SignatureVersion", "1")
	dst = appendField(dst, "Signature", "EMULATOR")
	dst = appendField(dst, "SigningCertURL", c.base+"/SimpleNotificationService-emulator.pem")
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
