package emulator

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"
)

// confirmationTime is how long a subscription may wait for its confirmation: SNS API reference (Subscribe).
const confirmationTime = 48 * time.Hour

// Kinds of letters, as the SNS developer guide has them ("Parsing Amazon SNS message formats").
const (
	kindNotification = "Notification"
	kindConfirmation = "SubscriptionConfirmation"
	kindUnsubscribed = "UnsubscribeConfirmation"
)

func newToken() string {
	b := make([]byte, 64)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// ask sends an endpoint the question whether it wants the subscription, or tells it that there is none more.
func (s *Server) ask(c *call, sub *subscription, kind string) {
	arn := sub.topic.key.arn()
	text := "You have chosen to subscribe to the topic " + arn + ".\nTo confirm the subscription, visit the SubscribeURL included in this message."
	if kind == kindUnsubscribed {
		text = "You have chosen to deactivate subscription " + sub.arn + ".\nTo cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
	}
	l := &letter{kind: kind, id: uuid.NewString()}
	dst := appendField([]byte{'{'}, "Type", kind)
	dst = appendField(dst, "MessageId", l.id)
	dst = appendField(dst, "Token", sub.token)
	dst = appendField(dst, "TopicArn", arn)
	dst = appendField(dst, "Message", text)
	dst = appendField(dst, "SubscribeURL", c.base+"/?Action=ConfirmSubscription&TopicArn="+url.QueryEscape(arn)+"&Token="+sub.token)
	dst = appendField(dst, "Timestamp", snsTime(s.clock.Now()))
	dst = appendSignature(dst, c)
	l.body = string(append(dst, '}'))
	s.couriers.send(func(ctx context.Context) { s.carry(ctx, sub, l) })
}

// isPending reports whether a subscription waits for its confirmation.
func (sub *subscription) isPending() bool {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.pending
}

// isStale reports whether a subscription has waited too long for its confirmation, and so is none.
func (sub *subscription) isStale(now time.Time) bool {
	return sub.isPending() && now.Sub(sub.asked) >= confirmationTime
}

// live returns the subscriptions of a topic but those that were not confirmed in time.
func (t *topic) live(now time.Time) []*subscription {
	return slices.DeleteFunc(slices.Clone(*t.subs.Load()), func(sub *subscription) bool { return sub.isStale(now) })
}

type confirmSubscriptionOutput struct{ SubscriptionArn string }

func (s *Server) confirmSubscription(c *call, f form) (*confirmSubscriptionOutput, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nil, err
	}
	token := f.Get("Token")
	for _, sub := range t.live(s.clock.Now()) {
		if sub.token == "" || subtle.ConstantTimeCompare([]byte(sub.token), []byte(token)) == 0 {
			continue
		}
		sub.mu.Lock()
		defer sub.mu.Unlock()
		sub.pending = false
		sub.guarded = f.Get("AuthenticateOnUnsubscribe") == "true" && c.signed
		return &confirmSubscriptionOutput{sub.arn}, nil
	}
	return nil, errInvalidParameter("Token")
}

// mayUnsubscribe reports whether a request may end a subscription. Where its confirmation asked for that, only
// signed ones may.
func (sub *subscription) mayUnsubscribe(c *call) *Error {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.guarded && !c.signed {
		return &Error{Code: "AuthorizationError", Message: "Unsubscribing needs a signature.", Status: http.StatusForbidden}
	}
	return nil
}
