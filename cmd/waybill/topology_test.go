package main

import (
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

func TestTopology(t *testing.T) {
	c := newStackCLI(t, fares)
	const plan = `
ACTION  KIND          NAME                                FOR                              CHANGES
create  queue         sqs://test-fares-dlq                dead letters of fares            MessageRetentionPeriod 1209600
create  queue         sqs://test-fares                    endpoint fares                   MessageRetentionPeriod 345600, VisibilityTimeout 45, DelaySeconds 0, RedrivePolicy test-fares-dlq after 5 receives
create  topic         sns://test-rides                    endpoint rides
create  permission    sns://test-rides -> sqs://test-fares  endpoint rides delivers to fares
create  subscription  sns://test-rides -> sqs://test-fares  endpoint rides delivers to fares  RawMessageDelivery true, FilterPolicy {"long":["yes"]}
`
	table := func(args ...string) string {
		t.Helper()
		return squeezeLines(c.ok(append(args, "-o", "table")...))
	}
	c.equal(table("topology", "plan"), squeezeLines(plan))
	if r := c.run("topology", "plan"); !strings.Contains(r.stderr, "5 to create, 0 kept; `waybill topology apply` does it") {
		t.Errorf("stderr is %s", r.stderr)
	}
	c.equal(table("topology", "show"), squeezeLines(`
ENDPOINT  URL               STATE    MESSAGES  IN FLIGHT  DELAYED  DEAD LETTERS  GOES TO
fares     sqs://test-fares  missing  -         -          -        -             sqs://test-fares-dlq
rides     sns://test-rides  missing  -         -          -        -             fares
`))
	c.equal(table("topology", "apply"), squeezeLines(plan))

	again := c.run("topology", "apply")
	if again.code != exitOK || strings.TrimSpace(again.stdout) != "[]" || !strings.Contains(again.stderr, "nothing to do") {
		t.Errorf("applied again: %+v", again)
	}
	c.equal(table("topology", "show"), squeezeLines(`
ENDPOINT  URL               STATE          MESSAGES  IN FLIGHT  DELAYED  DEAD LETTERS  GOES TO
fares     sqs://test-fares  as configured  0         0          0        0             sqs://test-fares-dlq
rides     sns://test-rides  as configured  -         -          -        -             fares
`))
	t.Setenv("WAYBILL_ENDPOINTS_FARES_VISIBILITY", "50s")
	steps := decode[[]topology.Step](t, c.ok("topology", "plan"))
	if s := steps[1]; s.Action != topology.Change || len(s.Attributes) != 1 || s.Attributes[0] != (topology.Attribute{Name: "VisibilityTimeout", Have: "45", Want: "50"}) {
		t.Errorf("step is %+v", s)
	}
}

// To lower a retention takes a flag; without it, nothing at all is changed.
func TestTopologyLowerRetention(t *testing.T) {
	c := newStackCLI(t, fares)
	c.ok("topology", "apply")
	t.Setenv("WAYBILL_ENDPOINTS_FARES_RETENTION", "1h")
	t.Setenv("WAYBILL_ENDPOINTS_FARES_VISIBILITY", "50s")
	for _, command := range []string{"plan", "apply"} {
		c.fails(exitFailed, "sqs://test-fares: MessageRetentionPeriod 345600 -> 3600 would have SQS delete", "topology", command)
	}
	if states := decode[[]topology.Status](t, c.ok("topology", "show")); states[0].State != topology.Different {
		t.Errorf("fares is %+v, want it different", states[0])
	}
	for _, command := range []string{"plan", "apply"} {
		steps := decode[[]topology.Step](t, c.ok("topology", command, "--lower-retention"))
		if last := steps[len(steps)-1]; command == "apply" && (len(steps) != 1 || len(last.Attributes) != 2) {
			t.Errorf("%s did %+v", command, steps)
		}
	}
	if done := decode[[]topology.Step](t, c.ok("topology", "apply")); len(done) != 0 {
		t.Errorf("applied again: %+v", done)
	}
}

func squeezeLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = squeeze(lines[i])
	}
	return strings.Join(lines, "\n")
}

// An apply that fails midway says so by its exit code, and goes on.
func TestTopologyPartial(t *testing.T) {
	c := newStackCLI(t, fares)
	fail := func(operation string) {
		c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
			if r.Operation == operation {
				f.Err = &emulator.Error{Code: "AccessDenied", Message: "not now", Status: 403}
			}
			return f
		})
	}
	fail("CreateQueue")
	c.fails(exitFailed, "0 done, 5 left", "topology", "apply")
	fail("CreateTopic")
	r := c.fails(exitPartial, "create topic sns://test-rides: ", "topology", "apply")
	if done := decode[[]topology.Step](t, r.stdout); len(done) != 2 {
		t.Errorf("printed %v, want the two steps that were done", done)
	}
	c.stack.Emulator.SetFault(nil)
	if done := decode[[]topology.Step](t, c.ok("topology", "apply")); len(done) != 3 {
		t.Errorf("the second apply did %v, want the three that were left", done)
	}
}

func TestTopologyErrors(t *testing.T) {
	c := newCLI(t, fares)
	c.fails(exitUsage, "no AWS region is set", "topology", "plan")
	c.fails(exitFailed, "no AWS credentials were found", "topology", "plan", "--region", "eu-west-1")
	r := c.fails(exitFailed, "nothing answers there: check --endpoint-url", "topology", "plan", "--endpoint-url", "http://127.0.0.1:1")
	c.fails(exitUsage, `role "wroker"; want one of worker, publisher, consumer, operator, viewer, topology`,
		"topology", "iam", "--role", "wroker", "--region", "eu-west-1", "--account", "123456789012")
	if !strings.Contains(r.stderr, "sqs://fares") && !strings.Contains(r.stderr, "sns://rides") { // they are looked at side by side
		t.Errorf("stderr is %s", r.stderr)
	}
}
