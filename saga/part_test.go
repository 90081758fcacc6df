package saga

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	sized := func(n, size int) []json.RawMessage {
		items := make([]json.RawMessage, n)
		for i := range items {
			items[i] = json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)
		}
		return items
	}
	for _, tt := range []struct {
		n, size    int
		parts, max int
	}{
		{1001, 10, 3, 400},
		{100_000, 10, 250, 400},
		{500_000, 10, 1000, 500},
		{1_000_000, 2, 1000, 1000},
		{1001, 10_000, 167, 6},
		{1500, 100_000, 0, 0}, // a part each
		{2000, 40_000, 0, 0},
		{900, 100_000, 900, 1},
		{1_000_001, 2, 0, 0},
	} {
		items := sized(tt.n, tt.size)
		parts, err := split(items, partItems)
		if tt.parts == 0 {
			if err == nil {
				t.Errorf("%d items of %d bytes are split", tt.n, tt.size)
			}
			continue
		}
		var all []json.RawMessage
		most := 0
		for _, p := range parts {
			var list []json.RawMessage
			if err := json.Unmarshal(p, &list); err != nil {
				t.Fatal(err)
			}
			all, most = append(all, list...), max(most, len(list))
		}
		if err != nil || len(parts) != tt.parts || most != tt.max || !slices.EqualFunc(all, items, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Errorf("%d items of %d bytes make %d parts of up to %d, want %d of %d: %v", tt.n, tt.size, len(parts), most, tt.parts, tt.max, err)
		}
	}
}

// However the bound on what is under way is shared, it is kept, and used.
func TestShares(t *testing.T) {
	for n := range 1000 {
		s := State{Concurrency: n}
		parts, items := s.shares()
		if n == 0 {
			if parts != partsAtOnce || items != 0 {
				t.Errorf("without a bound: %d parts of %d", parts, items)
			}
			continue
		}
		if parts < 1 || items < 1 || parts*items > n || parts*items < n-n/10 || n >= 10 && parts < 2 {
			t.Errorf("a bound of %d is shared as %d parts of %d", n, parts, items)
		}
	}
}

func TestChildIDs(t *testing.T) {
	for _, tt := range []struct {
		p    parentRef
		part bool
		want string
	}{
		{parentRef{Execution: "42", Step: "Pay"}, false, "42/Pay"},
		{parentRef{Execution: "42", Step: "Pay", Visit: 3}, false, "42/Pay@3"},
		{parentRef{Execution: "42", Frame: "P:1,M:7", Step: "Pay", Visit: 1}, false, "42/P:1,M:7,Pay"},
		{parentRef{Execution: "42", Frame: "M:7", Step: "M[]", Visit: 1}, true, "42/M:7"},
	} {
		if got := childID(tt.p, tt.part); got != tt.want {
			t.Errorf("%+v is %q, want %q", tt.p, got, tt.want)
		}
	}
	// Deep families have ids that are bounded, and tell them apart.
	seen := make(map[string]bool)
	id := "é" + strings.Repeat("日本", 100)
	for i := range 50 {
		a := childID(parentRef{Execution: id, Step: fmt.Sprint("A", i)}, false)
		b := childID(parentRef{Execution: id, Step: fmt.Sprint("B", i)}, false)
		if len(a) > longestChild || seen[a] || seen[b] || a == b || checkID(a) != nil {
			t.Fatalf("%q (%d bytes) and %q", a, len(a), b)
		}
		seen[a], seen[b], id = true, true, a
	}
}
