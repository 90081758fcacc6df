package emulator_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/waybill-dev/waybill/queue/emulator"
)

func TestDeliveryPolicies(t *testing.T) {
	inNewsroom(t, emulator.Config{}, func(n *newsroom) {
		arn := n.reader("RawMessageDelivery", "true", "DeliveryPolicy", `{"throttlePolicy":{"maxReceivesPerSecond":2},"requestPolicy":{"headerContentType":"application/json"}}`)
		for i := range 4 {
			n.publish(fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		for i, p := range n.site.all() {
			if p.after != time.Duration(i)*time.Second/2 {
				t.Errorf("delivery %d came after %v", i, p.after)
			}
			if p.header.Get("Content-Type") != "application/json" || p.header.Get("X-Amz-Sns-Rawdelivery") != "true" || len(p.body) != 1 {
				t.Errorf("delivery %d is %+v", i, p)
			}
		}
		var effective struct {
			Retries struct {
				N int `json:"numRetries"`
			} `json:"healthyRetryPolicy"`
		}
		if err := json.Unmarshal([]byte(n.attributes(arn)["EffectiveDeliveryPolicy"]), &effective); err != nil || effective.Retries.N != 3 {
			t.Errorf("EffectiveDeliveryPolicy is %s, %v", n.attributes(arn)["EffectiveDeliveryPolicy"], err)
		}

		for policy, want := range map[string]string{
			`{`:                                    "DeliveryPolicy",
			`{"healthyRetryPolicy":{"retries":3}}`: "unknown field",
			`{"healthyRetryPolicy":{"numRetries":101}}`:                                         "from 0 to 100",
			`{"healthyRetryPolicy":{"numRetries":1,"numNoDelayRetries":2}}`:                     "sum of the other",
			`{"healthyRetryPolicy":{"minDelayTarget":0}}`:                                       "minDelayTarget",
			`{"healthyRetryPolicy":{"minDelayTarget":30}}`:                                      "minDelayTarget",
			`{"healthyRetryPolicy":{"maxDelayTarget":3601}}`:                                    "3600",
			`{"healthyRetryPolicy":{"numRetries":100,"minDelayTarget":60,"maxDelayTarget":60}}`: "3600 seconds",
			`{"healthyRetryPolicy":{"backoffFunction":"cubic"}}`:                                "backoffFunction",
			`{"throttlePolicy":{"maxReceivesPerSecond":-1}}`:                                    "maxReceivesPerSecond",
			`{"requestPolicy":{"headerContentType":"image/png"}}`:                               "headerContentType",
		} {
			_, err := n.sns.SetSubscriptionAttributes(n.Context(), &sns.SetSubscriptionAttributesInput{SubscriptionArn: &arn, AttributeName: aws.String("DeliveryPolicy"), AttributeValue: &policy})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "InvalidParameter") {
				t.Errorf("%s: %v, want InvalidParameter with %q", policy, err, want)
			}
		}
	})
}

// A topic's policy is held to the same bounds as a subscription's.
func TestDeliveryPoliciesOfTopics(t *testing.T) {
	inNewsroom(t, emulator.Config{}, func(n *newsroom) {
		for policy, want := range map[string]string{
			`{"http":{"defaultThrottlePolicy":{"maxReceivesPerSecond":-1}}}`:       "maxReceivesPerSecond",
			`{"http":{"defaultRequestPolicy":{"headerContentType":"image/png"}}}`:  "headerContentType",
			`{"http":{"defaultHealthyRetryPolicy":{"backoffFunction":"cubic"}}}`:   "backoffFunction",
			`{"http":{"defaultRequestPolicy":{"headerContentType":"text/plain"}}}`: "",
		} {
			_, err := n.sns.SetTopicAttributes(n.Context(), &sns.SetTopicAttributesInput{TopicArn: &n.topic, AttributeName: aws.String("DeliveryPolicy"), AttributeValue: &policy})
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", policy, err, want)
			}
		}
	})
}
