package saga

import (
	"encoding/json"
	"testing"
)

// An opening that goes round for long keeps the states that undo records name, and
// not all those that it went through.
func TestOpeningForgetsStatesThatNobodyNames(t *testing.T) {
	root := &frame{Undo: []undoRecord{{Step: "A", Entry: 3}, {Step: "B", Entry: 250, Nth: 1}}}
	a := &actor{m: &machine{root: root}}
	for entry := 1; entry <= 400; entry++ {
		a.m.replaced = map[string][]json.RawMessage{"": {json.RawMessage("1"), json.RawMessage("2")}}
		a.remember(entry)
	}
	if n := len(a.recent); n > 40 {
		t.Errorf("it keeps %d states", n)
	}
	for _, p := range []place{{"", 3, 0}, {"", 250, 1}} {
		if a.recent[p] == nil {
			t.Errorf("the state of %+v is forgotten", p)
		}
	}
}
