package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/internal/sagabench"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/saga"
)

// What the command prints has no duration in nanoseconds.
func TestUnitsOfTime(t *testing.T) {
	for _, v := range []any{
		dlq.Queue{}, dlq.Grouping{}, dlq.Report{}, dlq.ExportReport{}, dlq.ImportReport{}, dlq.PurgeReport{}, dlq.Oldest{}, queue.MoveTask{}, dlq.Job{}, dlq.Audited{}, dlq.Notice{}, redriven{}, queue.Failure{}, topology.Finding{}, topology.Step{}, topology.Status{}, topology.Alarm{},
		saga.Execution{}, saga.Event{}, saga.LockInfo{}, saga.LockHeld{}, saga.Order{}, sagabench.Result{},
	} {
		durations(t, reflect.TypeOf(v), map[reflect.Type]bool{})
	}
	text, err := json.Marshal(dlq.Queue{Name: "q", Retention: 14 * 24 * time.Hour})
	if err != nil || !strings.Contains(string(text), `"retention_seconds":1209600`) || strings.Contains(string(text), `"retention":`) {
		t.Errorf("%s, %v", text, err)
	}
	if q := decode[dlq.Queue](t, string(text)); q.Name != "q" || q.Retention != 14*24*time.Hour {
		t.Errorf("read back, it is %+v", q)
	}
}

// durations complains of durations that JSON has as numbers.
func durations(t *testing.T, v reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		durations(t, v.Elem(), seen)
		return
	case reflect.Struct:
	default:
		return
	}
	if seen[v] {
		return
	}
	seen[v] = true
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.IsExported() && !f.Anonymous || f.Tag.Get("json") == "-" {
			continue
		}
		if f.Type == reflect.TypeFor[time.Duration]() {
			t.Errorf("%s.%s is a number of nanoseconds in JSON", v, f.Name)
		}
		durations(t, f.Type, seen)
	}
}
