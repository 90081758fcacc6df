package emulator_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// A rule applies to the operations and resources that it names, as often as it says, and the same way each time.
func TestFaults(t *testing.T) {
	const n = 20_000
	hook := emulator.Faults(1,
		emulator.FaultRule{Operation: "Send*", Resource: "fares", Probability: 0.05, Fault: emulator.Fault{DropAnswer: true}},
		emulator.FaultRule{Operation: "Send*", Probability: 0.1, Fault: emulator.Fault{Delay: time.Second}},
		emulator.FaultRule{Operation: "DeleteQueue", Probability: 1, Fault: emulator.Fault{DropRequest: true}},
		emulator.FaultRule{Resource: "quiet", Probability: 0, Fault: emulator.Fault{DropRequest: true}},
	)
	for _, tt := range []struct {
		operation, resource string
		lost, late, dropped float64
	}{
		{"SendMessage", "fares", 0.05, 0.095, 0},
		{"SendMessageBatch", "fares", 0.05, 0.095, 0},
		{"SendMessage", "other", 0, 0.1, 0},
		{"ReceiveMessage", "fares", 0, 0, 0},
		{"DeleteQueue", "fares", 0, 0, 1},
		{"ReceiveMessage", "quiet", 0, 0, 0},
	} {
		var lost, late, dropped float64
		for i := range n {
			r := emulator.Request{Operation: tt.operation, Resource: tt.resource, Number: int64(i + 1)}
			f := hook(r)
			if g := hook(r); fmt.Sprint(f) != fmt.Sprint(g) {
				t.Fatalf("%+v has %+v and then %+v", r, f, g)
			}
			switch {
			case f.DropAnswer:
				lost++
			case f.Delay > 0:
				late++
			case f.DropRequest:
				dropped++
			}
		}
		near := func(got, want float64) bool { return math.Abs(got/n-want) < 0.01 }
		if !near(lost, tt.lost) || !near(late, tt.late) || !near(dropped, tt.dropped) {
			t.Errorf("%s of %s: %v lost, %v late and %v dropped of %d", tt.operation, tt.resource, lost, late, dropped, n)
		}
	}
	same := 0
	other := emulator.Faults(2, emulator.FaultRule{Probability: 0.5, Fault: emulator.Fault{DropAnswer: true}})
	first := emulator.Faults(1, emulator.FaultRule{Probability: 0.5, Fault: emulator.Fault{DropAnswer: true}})
	for i := range n {
		r := emulator.Request{Operation: "SendMessage", Number: int64(i)}
		if other(r).DropAnswer == first(r).DropAnswer {
			same++
		}
	}
	if same < n*4/10 || same > n*6/10 {
		t.Errorf("two seeds agree on %d of %d", same, n)
	}
}
