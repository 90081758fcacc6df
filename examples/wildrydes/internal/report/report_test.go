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
	for _, want := range []string{"THIS MUST NOT BE", "a cent is missing", "2 rides are still open", "1 ride is lost"} {
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

// The text counts as people do, and speaks of what there was.
func TestText(t *testing.T) {
	letters := []report.Group{{What: "StartFare: no amount", Rides: 20}}
	for name, tt := range map[string]struct {
		report     report.Report
		want, none []string
	}{
		"a saga alone": {
			report.Report{
				Mode: "saga", Rides: 1, Crashes: 1, LedgerBalanced: true, Expected: 1, InReverse: 1, RefusedLate: 1, Replayed: 1, NoticesAgain: 1,
				Before: report.Tally{Compensated: 1}, After: report.Tally{Compensated: 1}, SagasPerSecond: 0.5, SecondsBefore: 2, Seconds: 3,
			},
			[]string{
				"SAGA: 1 ride in 3.0 s, the worker killed once", "there was nothing to repair",
				"1 in 2.0 s, crashes and waits included", "1 repeated request was answered", "1 action came after", "and was refused",
				"1 of 1 compensated saga undid its steps", "1 notice came again, and was known by its ride", "1 of 1 ride came", "no saga is open",
			},
			[]string{"mended", "1 actions", "1 rides", "retried"},
		},
		"sagas": {
			report.Report{Mode: "saga", Blocked: 2, Redriven: 21, RedrivenRides: 20, DeadLetters: letters},
			[]string{
				"the payment provider was mended\n", "2 blocked sagas were retried\n", "21 dead letters of 20 rides were repaired and redriven\n",
				"0 actions came after", "Not due is what was taken",
			},
			[]string{"nothing to repair"},
		},
		"a pipeline": {
			report.Report{Mode: "pipeline", LedgerBalanced: true, Redriven: 1, RedrivenRides: 1, DeadLetters: letters},
			[]string{"1 dead letter of 1 ride was repaired and redriven", "no ride is open"},
			[]string{"saga", "mended"},
		},
		"a pipeline with a refund that failed": {
			report.Report{Mode: "pipeline", Redriven: 1, RedrivenRides: 1, DeadLetters: []report.Group{{What: "RefundPayment: no", Rides: 1}}},
			[]string{"the payment provider was mended"},
			[]string{"saga"},
		},
	} {
		var b strings.Builder
		if err := tt.report.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: the text lacks %q:\n%s", name, want, b.String())
			}
		}
		for _, none := range tt.none {
			if strings.Contains(b.String(), none) {
				t.Errorf("%s: the text has %q:\n%s", name, none, b.String())
			}
		}
	}
}
