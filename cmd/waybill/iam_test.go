package main

import (
	"strings"
	"testing"

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
