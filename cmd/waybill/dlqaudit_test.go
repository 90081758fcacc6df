package main

import (
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/dlq"
)

func TestDLQAudit(t *testing.T) {
	c := buried(t, 3)
	c.ok("dlq", "redrive", "fares", "--yes", "--owner", "ann@desk", "--reason", "the tariff is mended")
	list := decode[[]dlq.Audited](t, c.ok("dlq", "audit"))
	if len(list) != 1 || list[0].By != "ann@desk" || list[0].Reason != "the tariff is mended" || list[0].Count != 3 || list[0].Verb != dlq.AuditRedrive || list[0].Ended.IsZero() {
		t.Fatalf("on record is %+v", list)
	}
	job := list[0].Job
	for _, args := range []string{"--queue fares", "--who ann", "--since 1h --limit 1", "-o jsonl"} {
		if out := c.ok(append([]string{"dlq", "audit"}, strings.Fields(args)...)...); !strings.Contains(out, job) {
			t.Errorf("audit %s: %s", args, out)
		}
	}
	for _, args := range []string{"--queue audit", "--who ben", "--until 1h"} {
		if out := c.ok(append([]string{"dlq", "audit"}, strings.Fields(args)...)...); out != "[]\n" {
			t.Errorf("audit %s: %s", args, out)
		}
	}
	if out := squeezeLines(c.ok("dlq", "audit", "-o", "table")); !strings.Contains(out, " redrive test-fares-dlq ann@desk 3 done "+job+" the tariff is mended") {
		t.Errorf("the table is\n%s", out)
	}
	one := decode[[]auditedIDs](t, c.ok("dlq", "audit", job))
	if len(one) != 1 || len(one[0].IDs) != 3 || !strings.Contains(string(one[0].Report), `"sent"`) {
		t.Errorf("of the job: %+v", one)
	}
	out := squeezeLines(c.ok("dlq", "audit", job, "-o", "table"))
	for _, want := range []string{"job " + job, "by ann@desk", "reason the tariff is mended", "outcome done", "messages 3", one[0].IDs[2]} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	c.fails(exitNotFound, "nothing is on record of job J0", "dlq", "audit", "J0")
	c.fails(exitUsage, "--limit is 0; want 1 or more", "dlq", "audit", "--limit", "0")
	c.fails(exitUsage, "--since is \"soon\"", "dlq", "audit", "--since", "soon")
}
