package emulator_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestBoundsOfAttributes holds that attributes are bounded, and that a server with the largest, in the characters
// that take most room in a file, can be saved and restored.
func TestBoundsOfAttributes(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	defer s.Close()
	topics := sns.NewFromConfig(awsConfig(s))
	url := createQueue(t, c, "q")
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	long := func(n int) string { return strings.Repeat("\x7f\u2028\"", n/5) }
	attribute := func(name, value string) func() error {
		return func() error {
			_, err := c.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{name: value}})
			return err
		}
	}
	ofTopic := func(name, value string) func() error {
		return func() error {
			_, err := topics.SetTopicAttributes(t.Context(), &sns.SetTopicAttributesInput{TopicArn: topic.TopicArn, AttributeName: &name, AttributeValue: &value})
			return err
		}
	}
	subscribe := func(endpoint string, attributes ...string) func() error {
		return func() error {
			_, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(arnPrefix + endpoint), Attributes: pairs(attributes)})
			return err
		}
	}
	policy := func(n int) string { return `{"Id":"` + strings.Repeat("\u2028", n/3) + `"}` }
	filter := func(n int) string { return `{"k":["` + strings.Repeat("\u2028", n/3) + `"]}` }
	for name, tt := range map[string]struct {
		do   func() error
		want string
	}{
		"a policy":                 {attribute("Policy", policy(8000)), ""},
		"a longer policy":          {attribute("Policy", policy(8192)), "InvalidAttributeValue"},
		"a key":                    {attribute("KmsMasterKeyId", long(2000)), ""},
		"a longer key":             {attribute("KmsMasterKeyId", long(9000)), "InvalidAttributeValue"},
		"who may redrive":          {attribute("RedriveAllowPolicy", `{"redrivePermission":"byQueue","sourceQueueArns":["`+strings.Repeat("x", 9000)+`"]}`), "InvalidAttributeValue"},
		"a name":                   {ofTopic("DisplayName", long(30_000)), ""},
		"a longer name":            {ofTopic("DisplayName", long(40_000)), "InvalidParameter"},
		"a policy of a topic":      {ofTopic("Policy", policy(30_000)), ""},
		"a filter":                 {subscribe("filtered", "FilterPolicy", filter(100_000)), ""},
		"a longer filter":          {subscribe("unfiltered", "FilterPolicy", filter(300_000)), "InvalidParameter"},
		"an endpoint":              {subscribe(strings.Repeat("x", 1000)), ""},
		"a longer endpoint":        {subscribe(strings.Repeat("x", 3000)), "InvalidParameter"},
		"a longer dead-letter ARN": {subscribe("x", "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+strings.Repeat("x", 300_000)+`"}`), "InvalidParameter"},
	} {
		switch err := tt.do(); {
		case err == nil && tt.want != "":
			t.Errorf("%s is taken, want %s", name, tt.want)
		case err != nil && (tt.want == "" || codeOf(err) != tt.want):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if err := emulator.New(emulator.Config{}).Restore(bytes.NewReader(saved(t, s))); err != nil {
		t.Error(err)
	}
}
