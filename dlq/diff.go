package dlq

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/queue"
)

// A Diff is what an edit changes of a message.
type Diff struct {
	// ID is the message's own id, MessageID SQS's in the dead-letter queue.
	ID        string `json:"id"`
	MessageID string `json:"message_id"`

	// Text is the difference in the unified format, of the attributes and the
	// body, a line for each attribute and JSON in lines. Of a large one it has
	// the beginning.
	Text string `json:"text"`
}

const (
	maxDiffs     = 1000
	maxDiffLines = 200 // of one difference
	maxDiffLine  = 500 // characters of a line
	diffContext  = 3
)

// diffLetters returns the difference of two letters in the unified format.
func diffLetters(before, after *Letter) string {
	a, b := letterLines(before), letterLines(after)
	lines := []string{"--- " + plainText(before.ID), "+++ " + plainText(before.ID) + ", edited"}
	for _, h := range hunks(changes(a, b)) {
		lines = append(lines, h.header())
		for _, line := range h.lines {
			lines = append(lines, shortLine(line.text(a, b)))
		}
	}
	if more := len(lines) - maxDiffLines; more > 0 {
		lines = append(lines[:maxDiffLines], fmt.Sprintf("... %d more lines", more))
	}
	return strings.Join(lines, "\n") + "\n"
}

// shortLine is a line as far as it is shown.
func shortLine(line string) string {
	if utf8.RuneCountInString(line) <= maxDiffLine {
		return line
	}
	return string([]rune(line)[:maxDiffLine]) + "..."
}

// letterLines returns what an edit can change, in lines.
func letterLines(l *Letter) []string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(l.Metadata)) {
		if key != queue.KeyFailure {
			lines = append(lines, "attributes."+plainText(key)+": "+plainText(l.Metadata[key]))
		}
	}
	return append(append(lines, "body:"), bodyLines(l.Body)...)
}

// plainText quotes a text that is not one line of what can be printed.
func plainText(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// bodyLines returns a body in lines: JSON with its fields in order, so that what
// is only written in another way is no difference.
func bodyLines(body []byte) []string {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if json.Valid(body) && d.Decode(&v) == nil {
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if enc.Encode(v) == nil {
			body = bytes.TrimSuffix(text.Bytes(), []byte("\n"))
		}
	}
	switch {
	case len(body) == 0:
		return nil
	case !utf8.Valid(body):
		return []string{"base64 " + base64.StdEncoding.EncodeToString(body)}
	}
	return strings.Split(string(body), "\n")
}

// A diffLine is a line of a difference: of both texts, of the first alone, or of
// the second alone.
type diffLine struct {
	sign byte // ' ', '-' or '+'
	a, b int  // the lines of the texts that it is at
}

func (d diffLine) text(a, b []string) string {
	if d.sign == '+' {
		return "+" + b[d.b]
	}
	return string(d.sign) + a[d.a]
}

// maxCompared bounds the work of comparing: beyond it, what differs is shown as
// removed and added as a whole.
const maxCompared = 4 << 20

// changes returns the lines of the difference of two texts, with all that they
// have in common.
func changes(a, b []string) []diffLine {
	var lines []diffLine
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		lines = append(lines, diffLine{' ', start, start})
		start++
	}
	endA, endB := len(a), len(b)
	for endA > start && endB > start && a[endA-1] == b[endB-1] {
		endA, endB = endA-1, endB-1
	}
	i, j := start, start
	common := longest(a[start:endA], b[start:endB])
	width := endB - start + 1
	for i < endA || j < endB {
		at := (i-start)*width + j - start
		switch {
		case common != nil && i < endA && j < endB && a[i] == b[j]:
			lines = append(lines, diffLine{' ', i, j})
			i, j = i+1, j+1
		case i < endA && (common == nil || j == endB || common[at+width] >= common[at+1]):
			lines = append(lines, diffLine{'-', i, j})
			i++
		default:
			lines = append(lines, diffLine{'+', i, j})
			j++
		}
	}
	for ; i < len(a); i, j = i+1, j+1 {
		lines = append(lines, diffLine{' ', i, j})
	}
	return lines
}

// longest returns, for each pair of suffixes of a and b, how many lines they have
// in common in order; nil if that is too much work.
func longest(a, b []string) []int32 {
	width := len(b) + 1
	if (len(a)+1)*width > maxCompared {
		return nil
	}
	n := make([]int32, (len(a)+1)*width)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			at := i*width + j
			if a[i] == b[j] {
				n[at] = n[at+width+1] + 1
			} else {
				n[at] = max(n[at+width], n[at+1])
			}
		}
	}
	return n
}

// A hunk is changes that are near to each other, with what is around them.
type hunk struct{ lines []diffLine }

func (h hunk) header() string {
	a, b := 0, 0
	for _, line := range h.lines {
		if line.sign != '+' {
			a++
		}
		if line.sign != '-' {
			b++
		}
	}
	at := func(line, n int) string {
		if n == 0 {
			return fmt.Sprintf("%d,0", line) // the line before
		}
		return fmt.Sprintf("%d,%d", line+1, n)
	}
	return "@@ -" + at(h.lines[0].a, a) + " +" + at(h.lines[0].b, b) + " @@"
}

// hunks returns the changes among lines, with a few lines around each.
func hunks(lines []diffLine) []hunk {
	var all []hunk
	end := 0 // of the last hunk
	for i, line := range lines {
		if line.sign == ' ' {
			continue
		}
		from, to := max(i-diffContext, 0), min(i+diffContext+1, len(lines))
		if len(all) > 0 && from <= end {
			last := &all[len(all)-1]
			last.lines = append(last.lines, lines[end:max(to, end)]...)
		} else {
			all = append(all, hunk{slices.Clone(lines[from:to])})
		}
		end = max(to, end)
	}
	return all
}
