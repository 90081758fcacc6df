package emulator

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
)

// A retryPolicy says when a delivery that failed is tried again: SNS developer guide, "Amazon SNS message
// delivery retries". Delays are in seconds. The retries come in four phases: at once, after the least delay,
// after delays that grow from the least to the most, and after the most.
type retryPolicy struct {
	MinDelayTarget     int    `json:"minDelayTarget"`
	MaxDelayTarget     int    `json:"maxDelayTarget"`
	NumRetries         int    `json:"numRetries"`
	NumNoDelayRetries  int    `json:"numNoDelayRetries"`
	NumMinDelayRetries int    `json:"numMinDelayRetries"`
	NumMaxDelayRetries int    `json:"numMaxDelayRetries"`
	BackoffFunction    string `json:"backoffFunction"`
}

// httpRetries is the policy of endpoints of http and https that have none of their own.
var httpRetries = retryPolicy{MinDelayTarget: 20, MaxDelayTarget: 20, NumRetries: 3, BackoffFunction: "linear"}

// functionRetries is the policy of functions, which cannot be changed: it goes on for 23 days.
var functionRetries = retryPolicy{
	MinDelayTarget: 1, MaxDelayTarget: 20, NumRetries: 100_015,
	NumNoDelayRetries: 3, NumMinDelayRetries: 2, NumMaxDelayRetries: 100_000, BackoffFunction: "exponential",
}

// delay returns how long to wait before a retry, which are counted from 1, and false if there is none more.
func (p retryPolicy) delay(retry int) (time.Duration, bool) {
	least, most := float64(p.MinDelayTarget), float64(p.MaxDelayTarget)
	backoff := p.NumRetries - p.NumNoDelayRetries - p.NumMinDelayRetries - p.NumMaxDelayRetries
	seconds := most
	switch n := retry - p.NumNoDelayRetries - p.NumMinDelayRetries; {
	case retry > p.NumRetries:
		return 0, false
	case retry <= p.NumNoDelayRetries:
		seconds = 0
	case n <= 0:
		seconds = least
	case n <= backoff:
		seconds = p.grown(least, most, float64(n)/float64(backoff))
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// grown returns the delay after a part of the retries that back off. AWS shows the shapes of its functions,
// and not their formulas.
func (p retryPolicy) grown(least, most, part float64) float64 {
	switch p.BackoffFunction {
	case "arithmetic":
		return least + (most-least)*part*part
	case "geometric":
		return least * math.Pow(most/least, part)
	case "exponential":
		return least + (most-least)*(math.Exp2(10*part)-1)/(math.Exp2(10)-1)
	}
	return least + (most-least)*part
}

// fault tells what is wrong with the policy, in words, or returns "".
func (p retryPolicy) fault() string {
	phases := p.NumNoDelayRetries + p.NumMinDelayRetries + p.NumMaxDelayRetries
	for _, n := range []int{p.NumRetries, p.NumNoDelayRetries, p.NumMinDelayRetries, p.NumMaxDelayRetries} {
		if n < 0 || n > 100 {
			return "the numbers of retries must be from 0 to 100"
		}
	}
	switch {
	case phases > p.NumRetries:
		return "numRetries must be at least the sum of the other numbers of retries"
	case p.MinDelayTarget < 1 || p.MinDelayTarget > p.MaxDelayTarget:
		return "minDelayTarget must be from 1 to maxDelayTarget"
	case p.MaxDelayTarget > 3600:
		return "maxDelayTarget must be at most 3600"
	}
	switch p.BackoffFunction {
	case "arithmetic", "exponential", "geometric", "linear":
	default:
		return "backoffFunction must be arithmetic, exponential, geometric or linear"
	}
	var total time.Duration
	for retry := 1; ; retry++ {
		d, more := p.delay(retry)
		if !more {
			return ""
		}
		if total += d; total > time.Hour {
			return "the retries must not take more than 3600 seconds"
		}
	}
}

// deliveryPolicy is the DeliveryPolicy of a subscription over http or https.
type deliveryPolicy struct {
	Retries  *retryPolicy `json:"healthyRetryPolicy,omitempty"`
	Throttle struct {
		MaxReceivesPerSecond int `json:"maxReceivesPerSecond,omitempty"`
	} `json:"throttlePolicy"`
	Request struct {
		ContentType string `json:"headerContentType,omitempty"`
	} `json:"requestPolicy"`
}

// contentTypes are those that a DeliveryPolicy can ask for: SNS developer guide, "Creating an HTTP/S delivery
// policy". All may have a charset.
var contentTypes = []string{
	"application/javascript", "application/json", "application/octet-stream", "application/soap+xml",
	"application/x-www-form-urlencoded", "application/xml", "text/css", "text/csv", "text/html", "text/plain", "text/xml",
}

// parseDeliveryPolicy reads the DeliveryPolicy of a subscription. Numbers that its retry policy leaves out are
// the defaults'.
func parseDeliveryPolicy(text string) (*deliveryPolicy, *Error) {
	retries := httpRetries
	p := &deliveryPolicy{Retries: &retries}
	if err := decodePolicy(text, p); err != nil {
		return nil, err
	}
	if p.Retries == nil { // it says null
		p.Retries = &retries
	}
	if err := deliveryFault(p.Retries, p.Throttle.MaxReceivesPerSecond, p.Request.ContentType); err != nil {
		return nil, err
	}
	return p, nil
}

// deliveryFault tells what is wrong with a policy, a subscription's or a topic's.
func deliveryFault(retries *retryPolicy, perSecond int, contentType string) *Error {
	switch mediaType, _, _ := strings.Cut(contentType, ";"); {
	case retries.fault() != "":
		return errInvalidParameter("DeliveryPolicy: %s", retries.fault())
	case perSecond < 0:
		return errInvalidParameter("DeliveryPolicy: maxReceivesPerSecond must be at least 1")
	case mediaType != "" && !slices.Contains(contentTypes, mediaType):
		return errInvalidParameter("DeliveryPolicy: headerContentType must be one of %s", strings.Join(contentTypes, ", "))
	}
	return nil
}

// topicDeliveryPolicy is the DeliveryPolicy of a topic.
type topicDeliveryPolicy struct {
	HTTP struct {
		Retries   *retryPolicy `json:"defaultHealthyRetryPolicy"`
		Overrides bool         `json:"disableSubscriptionOverrides"` // whether subscriptions have no say
		Throttle  struct {
			MaxReceivesPerSecond int `json:"maxReceivesPerSecond"`
		} `json:"defaultThrottlePolicy"`
		Request struct {
			ContentType string `json:"headerContentType"`
		} `json:"defaultRequestPolicy"`
	} `json:"http"`
}

func parseTopicDeliveryPolicy(text string) (*topicDeliveryPolicy, *Error) {
	retries := httpRetries
	p := new(topicDeliveryPolicy)
	p.HTTP.Retries = &retries
	if err := decodePolicy(text, p); err != nil {
		return nil, err
	}
	if p.HTTP.Retries == nil {
		p.HTTP.Retries = &retries
	}
	if err := deliveryFault(p.HTTP.Retries, p.HTTP.Throttle.MaxReceivesPerSecond, p.HTTP.Request.ContentType); err != nil {
		return nil, err
	}
	return p, nil
}

func decodePolicy(text string, into any) *Error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errInvalidParameter("DeliveryPolicy: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
