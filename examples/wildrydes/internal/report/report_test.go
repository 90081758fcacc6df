package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
)

func TestOK(t *testing.T) {
	if r := (report.Report{LedgerBalanced: true}); !r.OK() {
		t.Error("a report without a fault is not well")
	}
	for name, r := range map[string]report.Report{
		"unbalanced":    {},
		"open":          {LedgerBalanced: true, Tally: report.Tally{Open: 1}},
		"lost":          {LedgerBalanced: true, Tally: report.Tally{Lost: 1}},
		"dead-lettered": {LedgerBalanced: true, DeadLetteredAfterRedrive: 1},
		"problem":       {LedgerBalanced: true, Problems: []string{"x"}},
	} {
		if r.OK() {
			t.Errorf("%s: the report is well", name)
		}
	}
}

func TestTextNamesProblems(t *testing.T) {
	r := &report.Report{Mode: "saga", Tally: report.Tally{Open: 2, Lost: 1}, Problems: []string{"a cent is missing"}}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"THIS MUST NOT BE", "a cent is missing", "2 rides are still open", "1 rides are lost"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
}

func TestCombine(t *testing.T) {
	a := &report.Report{
		Mode: "saga", Rides: 10, Tally: report.Tally{Completed: 9, DeadLettered: 1}, LedgerBalanced: true,
		QueueRequests: 10, QueueMessages: 20, RedisScripts: 50, RedisScriptsPerSaga: 5,
	}
	b := &report.Report{
		Mode: "pipeline", Rides: 10, Tally: report.Tally{Completed: 8, Lost: 2},
		QueueRequests: 20, QueueMessages: 40, Problems: []string{"x"},
	}
	if report.Combine(a) != a {
		t.Error("one report is not itself")
	}
	all := report.Combine(a, b)
	if all.Rides != 20 || all.Tally != (report.Tally{Completed: 17, DeadLettered: 1, Lost: 2}) || all.LedgerBalanced || all.OK() {
		t.Errorf("combined: %+v", all)
	}
	if all.QueueRequestsPerMessage != 0.5 || all.RedisScriptsPerSaga != 5 {
		t.Errorf("costs: %v requests, %v scripts", all.QueueRequestsPerMessage, all.RedisScriptsPerSaga)
	}
	if len(all.Problems) != 1 || all.Problems[0] != "pipeline: x" {
		t.Errorf("problems %q", all.Problems)
	}
}
