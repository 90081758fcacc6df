package main

import (
	"os"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

func TestTopologyCheck(t *testing.T) {
	c := newStackCLI(t, fares+"filters: {price: {from: fares, to: [rides]}}\n")
	r := c.fails(exitFailed, "waybill: topology check: 3 errors", "topology", "check")
	if list := decode[[]topology.Finding](t, r.stdout); len(list) != 3 || list[0].Rule != topology.RuleMissing || list[0].Apply != topology.Mends {
		t.Errorf("of nothing, found %+v", list)
	}
	c.ok("topology", "check", "--after-apply")
	c.ok("topology", "apply")
	r = c.run("topology", "check")
	if r.code != exitOK || strings.TrimSpace(r.stdout) != "[]" || !strings.Contains(r.stderr, "nothing is wrong") {
		t.Errorf("of what an apply makes: %+v", r)
	}

	// Warnings make the exit code 1 if told to.
	c.equal(squeezeLines(c.ok("topology", "check", "--handler-timeout", "price=2m", "-o", "table")), squeezeLines(`
SEVERITY RULE ENDPOINT RESOURCE APPLY
warning visibility fares sqs://test-fares leaves
the visibility timeout of 45s is below the handler's timeout of 2m: Waybill's subscriber extends
it while the handler runs, and any other receiver, or one whose extension fails, has the message
twice; set visibility to 2m or more
`))
	c.fails(exitFailed, "topology check: 1 warning", "topology", "check", "--handler-timeout", "fares=2m", "--fail-on", "warning")
	c.ok("topology", "check", "--handler-timeout", "fares=45s", "--fail-on", "notice")

	// What is meant to be so is left out.
	t.Setenv("WAYBILL_ENDPOINTS_BARE_URL", "sqs://bare")
	c.fails(exitFailed, "topology check: 1 error\n", "topology", "check", "--after-apply")
	c.ok("topology", "apply")
	c.fails(exitFailed, "1 error", "topology", "check")
	c.ok("topology", "check", "--ignore", "no-redrive-policy")
	c.ok("topology", "check", "--ignore", "no-redrive-policy:bare")
	c.fails(exitFailed, "1 error", "topology", "check", "--ignore", "no-redrive-policy:fares")
	for _, format := range []string{"json", "jsonl", "yaml"} {
		if r := c.run("topology", "check", "-o", format); !strings.Contains(r.stdout, "no-redrive-policy") || !strings.Contains(r.stdout, "remedy") {
			t.Errorf("-o %s is %s", format, r.stdout)
		}
	}
}

// What may not be read is no reason not to judge the rest.
func TestTopologyCheckDenied(t *testing.T) {
	c := newStackCLI(t, fares)
	c.ok("topology", "apply")
	c.stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Resource == "test-fares-dlq" {
			f.Err = &emulator.Error{Code: "AccessDenied", Message: "not yours", Status: 403}
		}
		return f
	})
	r := c.run("topology", "check", "-o", "table")
	if r.code != exitOK || !strings.Contains(r.stdout, "not yours") || !strings.Contains(r.stderr, "1 warning") {
		t.Errorf("%+v", r)
	}
}

func TestTopologyCheckUsage(t *testing.T) {
	c := newStackCLI(t, fares)
	for _, tt := range []struct{ args, want string }{
		{"--fail-on fatal", `--fail-on is "fatal"; want error, warning or notice`},
		{"--ignore everything", `--ignore is "everything", which begins with no rule; want one of [conflict`},
		{"--ignore delay:x", `"x" is no endpoint; want one of ["fares" "rides"]`},
		{"--handler-timeout fares=soon", "--handler-timeout fares=soon is no duration; want for example fares=90s"},
		{"--handler-timeout x=1s", `there is a handler's timeout for "x", which is no endpoint of a queue; want one of ["fares"]`},
	} {
		c.fails(exitUsage, tt.want, append([]string{"topology", "check"}, strings.Fields(tt.args)...)...)
	}
}

// The days of a bucket of payloads are compared with how long messages last, and the
// table is no wider than a terminal.
func TestTopologyCheckPayloads(t *testing.T) {
	c := newStackCLI(t, fares+"payloads: {store: s3, bucket: rides-payloads, expire_days: 14, endpoint_url: 'http://127.0.0.1:1'}\n")
	c.ok("topology", "apply")
	r := c.fails(exitFailed, "2 errors", "topology", "check", "-o", "table") // of the topic, too
	if !strings.Contains(squeezeLines(r.stdout), "error payload-retention fares sqs://test-fares leaves\n") || !strings.Contains(squeeze(r.stdout), "say 28 days or more") {
		t.Errorf("the table is\n%s", r.stdout)
	}
	for line := range strings.Lines(r.stdout) {
		if len(line) > 110 {
			t.Errorf("a line has %d columns: %s", len(line), line)
		}
	}
	for _, store := range []string{"{store: redis}", "{store: s3, bucket: rides-payloads, endpoint_url: 'http://127.0.0.1:1'}"} {
		if err := os.WriteFile("waybill.yaml", []byte(fares+"payloads: "+store+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.ok("topology", "check")
	}
}
