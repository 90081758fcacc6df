package dlq

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/queue"
)

func TestDiffLetters(t *testing.T) {
	before := &Letter{ID: "m1", Body: []byte(`{"b":[1,2,3,4,5,6,7,8],"amount":-3,"a":1.0}`), Metadata: message.Metadata{"colour": "red", "n": "1\n2", queue.KeyFailure: "{}"}}
	after := &Letter{ID: "m1", Body: []byte(`{"a":1.0,"amount":3,"b":[1,2,3,4,5,6,7,8,9]}`), Metadata: message.Metadata{"colour": "blue", "n": "1\n2"}}
	const want = `--- m1
+++ m1, edited
@@ -1,9 +1,9 @@
-attributes.colour: red
+attributes.colour: blue
 attributes.n: "1\n2"
 body:
 {
   "a": 1.0,
-  "amount": -3,
+  "amount": 3,
   "b": [
     1,
     2,
@@ -12,6 +12,7 @@
     5,
     6,
     7,
-    8
+    8,
+    9
   ]
 }
`
	if got := diffLetters(before, after); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := diffLetters(&Letter{ID: "m1", Body: []byte("\xff\xfe")}, &Letter{ID: "m1"}); got != "--- m1\n+++ m1, edited\n@@ -1,2 +1,1 @@\n body:\n-base64 //4=\n" {
		t.Errorf("of a body that is no text: %s", got)
	}
	if got := diffLetters(&Letter{ID: "m\n1"}, &Letter{ID: "m\n1", Body: []byte("x")}); !strings.HasPrefix(got, "--- \"m\\n1\"\n+++ \"m\\n1\", edited\n@@") {
		t.Errorf("of an id in two lines: %s", got)
	}
	large := strings.Repeat("x\n", 5000) + strings.Repeat("y", 1000)
	got := diffLetters(&Letter{ID: "m1", Body: []byte(large)}, &Letter{ID: "m1", Body: []byte(strings.ReplaceAll(large, "x", "z"))})
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != maxDiffLines+1 || !strings.HasPrefix(lines[maxDiffLines], "... ") || lines[100] != "-x" {
		t.Errorf("of a large body: %d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
	got = diffLetters(&Letter{ID: "m1"}, &Letter{ID: "m1", Body: []byte(strings.Repeat("é", 1000))})
	if !strings.HasSuffix(got, "+"+strings.Repeat("é", maxDiffLine-1)+"...\n") {
		t.Errorf("of a long line: %s", got)
	}
}

// TestDiffApplies holds that a difference, applied to the first text, gives the
// second.
func TestDiffApplies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 40)
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		var got []string
		next := 0 // line of a
		for _, h := range hunks(changes(a, b)) {
			var startA, countA, startB, countB int
			if _, err := fmt.Sscanf(h.header(), "@@ -%d,%d +%d,%d @@", &startA, &countA, &startB, &countB); err != nil {
				t.Fatal(h.header(), err)
			}
			if countA > 0 {
				startA--
			}
			if countB > 0 {
				startB--
			}
			got = append(got, a[next:startA]...)
			if len(got) != startB {
				t.Fatalf("%s is at line %d of the second text", h.header(), len(got))
			}
			next = startA
			for _, line := range h.lines {
				text := line.text(a, b)
				switch line.sign {
				case '+':
					got, countB = append(got, text[1:]), countB-1
				case '-':
					next, countA = next+1, countA-1
				default:
					got, next, countA, countB = append(got, text[1:]), next+1, countA-1, countB-1
				}
				if line.sign != '+' && a[next-1] != text[1:] {
					t.Fatalf("%q is not line %d of the first text", text, next)
				}
			}
			if countA != 0 || countB != 0 {
				t.Fatalf("%s is wrong by %d and %d", h.header(), countA, countB)
			}
		}
		got = append(got, a[next:]...)
		if !slices.Equal(got, b) {
			t.Fatalf("got %q, want %q", got, b)
		}
	})
}
