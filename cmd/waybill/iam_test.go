package main

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue/topology"
)

func TestTopologyIAM(t *testing.T) {
	c := newStackCLI(t, fares)
	policy := decode[topology.Policy](t, c.ok("topology", "iam", "--role", "consumer", "--account", "111122223333"))
	if len(policy.Statement) != 1 || len(policy.Statement[0].Resource) != 1 || policy.Statement[0].Resource[0] != "arn:aws:sqs:us-east-1:111122223333:test-fares" {
		t.Errorf("the policy is %+v", policy)
	}
	if got := c.ok("topology", "iam", "--account", "111122223333", "--kms-key", "test-fares=alias/fares"); !strings.Contains(got, "alias/fares") || !strings.Contains(got, "kms:GenerateDataKey") {
		t.Errorf("the policy is %s", got)
	}
	c.fails(exitUsage, "no account is known", "topology", "iam")
	c.fails(exitUsage, "there is a key for queue \"test-fare\"", "topology", "iam", "--account", "111122223333", "--kms-key", "test-fare=alias/fares")
	if got := c.ok("topology", "iam", "--help"); strings.Contains(got, "default []") {
		t.Errorf("the help is %s", got)
	}
	c.fails(exitUsage, `role "king"`, "topology", "iam", "--role", "king", "--account", "111122223333")
	c.fails(exitFailed, "test-fares", "topology", "iam", "--account", "111122223333", "--look-up") // which are not there
	c.ok("topology", "apply")
	if got := c.ok("topology", "iam", "--account", "111122223333", "--look-up"); strings.Contains(got, "kms:") {
		t.Errorf("queues without a key have one: %s", got)
	}
}

// TestKeysOfRegions holds that each queue's key is looked up, where there are two of
// one name.
func TestKeysOfRegions(t *testing.T) {
	c := newStackCLI(t, "endpoints:\n  here: {url: sqs://fares}\n  there: {url: sqs://fares, region: eu-west-1}\n")
	c.ok("topology", "apply")
	cfg, err := config.Load()
	if err != nil {
		t.Fatal(err)
	}
	made, err := cfg.AWS.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"us-east-1", "eu-west-1"} {
		client := sqs.NewFromConfig(made, func(o *sqs.Options) { o.Region = region })
		q, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("test-fares")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: q.QueueUrl, Attributes: map[string]string{"KmsMasterKeyId": "of-" + region}}); err != nil {
			t.Fatal(err)
		}
	}
	got := c.ok("topology", "iam", "--account", "000000000000", "--look-up")
	if !strings.Contains(got, "us-east-1:000000000000:key/of-us-east-1") || !strings.Contains(got, "eu-west-1:000000000000:key/of-eu-west-1") {
		t.Errorf("the policy is %s", got)
	}
	got = c.ok("topology", "iam", "--account", "000000000000", "--look-up", "--kms-key", "test-fares=alias/mine")
	if strings.Contains(got, "key/of-") || !strings.Contains(got, "alias/mine") {
		t.Errorf("with a key that is given, the policy is %s", got)
	}
}
