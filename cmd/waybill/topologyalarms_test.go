package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// The alarms are JSON for the AWS CLI, one by one with -o jsonl.
func TestTopologyAlarms(t *testing.T) {
	c := newStackCLI(t, fares)
	const topic = "arn:aws:sns:us-east-1:123456789012:alarms"
	args := []string{"topology", "plan", "--alarms", "--alarm-depth", "3", "--alarm-action", topic}
	list := decode[[]map[string]any](t, c.ok(args...))
	if len(list) != 2 || list[0]["AlarmName"] != "waybill-test-fares-dlq-age" || list[1]["AlarmName"] != "waybill-test-fares-dlq-depth" || list[1]["Threshold"] != 3.0 {
		t.Fatalf("got %v", list)
	}
	if got := list[1]["AlarmActions"]; len(got.([]any)) != 1 || got.([]any)[0] != topic {
		t.Errorf("its action is %v", got)
	}
	before := c.ok(append(args, "-o", "jsonl")...)
	for line := range strings.Lines(before) {
		if !strings.HasPrefix(line, `{"AlarmName":"waybill-test-fares-dlq-`) || !json.Valid([]byte(line)) {
			t.Errorf("jsonl has the line %s", line)
		}
	}
	if strings.Count(before, "\n") != 2 {
		t.Errorf("jsonl is %s", before)
	}
	c.ok("topology", "apply")
	c.equal(c.ok(append(args, "-o", "jsonl")...), before)
	c.equal(squeezeLines(c.ok("topology", "plan", "--alarms", "--alarm-depth", "3", "--alarm-depth", "fares=5", "-o", "table")), squeezeLines(`
ALARM REGION ACCOUNT ENDPOINTS METRIC ABOVE
waybill-test-fares-dlq-age us-east-1 000000000000 fares ApproximateAgeOfOldestMessage 648000
waybill-test-fares-dlq-depth us-east-1 000000000000 fares ApproximateNumberOfMessagesVisible 5
`))
}

// An alarm is made in one place, so those of several are not mixed.
func TestTopologyAlarmsOfRegions(t *testing.T) {
	c := newStackCLI(t, fares)
	t.Setenv("WAYBILL_ENDPOINTS_CABS_URL", "sqs://cabs")
	t.Setenv("WAYBILL_ENDPOINTS_CABS_DEAD_LETTER", "sqs://cabs-dlq")
	t.Setenv("WAYBILL_ENDPOINTS_CABS_REGION", "eu-west-1")
	c.ok("topology", "apply")
	c.fails(exitUsage, "region eu-west-1, account 000000000000 (--for cabs), region us-east-1, account 000000000000 (--for fares)", "topology", "plan", "--alarms")
	if list := decode[[]map[string]any](t, c.ok("topology", "plan", "--alarms", "--for", "cabs")); len(list) != 2 || list[0]["AlarmName"] != "waybill-test-cabs-dlq-age" {
		t.Errorf("those of cabs are %v", list)
	}
	if out := c.ok("topology", "plan", "--alarms", "-o", "table"); strings.Count(out, "\n") != 5 {
		t.Errorf("all are %s", out)
	}
}

func TestTopologyAlarmsUsage(t *testing.T) {
	c := newStackCLI(t, fares)
	for _, tt := range []struct{ args, want string }{
		{"--alarm-depth 3", "are of --alarms, which is not given"},
		{"--alarms --alarm-depth many", `--alarm-depth is "many"; want a number, or endpoint=number`},
		{"--alarms --alarm-depth rides=3", `"rides", which is no endpoint with a dead-letter queue`},
		{"--alarms --for x", `"x", which is no endpoint with a dead-letter queue`},
		{"--alarms --alarm-action me", `an alarm's action is "me"; want an ARN`},
		{"--alarms --ok-action arn:aws:sns:eu-west-1:123456789012:alarms", "sends nothing to a topic of another region"},
	} {
		c.fails(exitUsage, tt.want, append([]string{"topology", "plan"}, strings.Fields(tt.args)...)...)
	}
}
