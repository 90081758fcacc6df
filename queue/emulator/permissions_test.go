package emulator_test

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestPermissionsOfEmptyPolicies holds that a permission is added to a policy that has no statements as the only one.
func TestPermissionsOfEmptyPolicies(t *testing.T) {
	for _, policy := range []string{`{"Version":"2012-10-17"}`, `{"Version":"2012-10-17","Statement":null}`, `{"Version":"2012-10-17","Statement":[]}`} {
		_, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q", "Policy", policy)
		if _, err := c.AddPermission(t.Context(), &sqs.AddPermissionInput{QueueUrl: &url, Label: new("l"), AWSAccountIds: []string{"111122223333"}, Actions: []string{"SendMessage"}}); err != nil {
			t.Fatal(err)
		}
		out, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqsAttribute{"Policy"}})
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Statement []map[string]any }
		if err := json.Unmarshal([]byte(out.Attributes["Policy"]), &doc); err != nil || len(doc.Statement) != 1 || doc.Statement[0]["Sid"] != "l" {
			t.Errorf("%s became %s, %v", policy, out.Attributes["Policy"], err)
		}
	}
}
