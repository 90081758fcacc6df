package archtest

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestArchitecture holds the arrows that ARCHITECTURE.md shows to the tables.
func TestArchitecture(t *testing.T) {
	source, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for table, want := range map[string]string{
		"arrows":    source.shown(present(source, arrows), " -> ", "nothing of ours"),
		"libraries": source.shown(owned(libraries), " <- ", ""),
	} {
		if !strings.Contains(string(text), "```\n"+want+"```\n") {
			t.Errorf("ARCHITECTURE.md does not show the table %s as it is:\n```\n%s```", table, want)
		}
		shown += strings.Count(want, "\n")
	}
	if n := strings.Count(string(text), " -> ") + strings.Count(string(text), " <- "); n != shown {
		t.Errorf("ARCHITECTURE.md has %d lines with an arrow, the tables %d: it shows some that are in none", n, shown)
	}
}

// shown is a table as the page has it, a line for all that have the same on the
// right, which is packages. Those that are not there yet are left out.
func (t *tree) shown(table map[string][]string, arrow, none string) string {
	lefts := make(map[string][]string) // by what is on the right
	for _, left := range slices.Sorted(maps.Keys(table)) {
		var right []string
		for _, pattern := range table[left] {
			if t.has(pattern) {
				right = append(right, spoken(pattern))
			}
		}
		line := cmp.Or(strings.Join(right, ", "), none)
		lefts[line] = append(lefts[line], left)
	}
	width := 0
	for _, l := range lefts {
		width = max(width, len(strings.Join(l, ", ")))
	}
	var b strings.Builder
	for _, line := range slices.SortedFunc(maps.Keys(lefts), func(a, b string) int {
		return cmp.Or(cmp.Compare(weight(a, none), weight(b, none)), strings.Compare(lefts[a][0], lefts[b][0]))
	}) {
		fmt.Fprintf(&b, "%-*s%s%s\n", width, strings.Join(lefts[line], ", "), arrow, line)
	}
	return b.String()
}

// weight orders lines: those with little on the right come first.
func weight(line, none string) int {
	switch {
	case line == none:
		return 0
	case strings.HasPrefix(line, "all "):
		return 1000
	}
	return 1 + strings.Count(line, ",")
}

// present are the packages of a table that are there, but for those within
// internal that import nothing.
func present(t *tree, table map[string][]string) map[string][]string {
	table = maps.Clone(table)
	maps.DeleteFunc(table, func(pattern string, to []string) bool {
		return !t.has(pattern) || strings.HasPrefix(pattern, "internal/") && len(to) == 0
	})
	return table
}

// owned are the libraries that not every package may import, and that some may
// that is no test.
func owned(libraries map[string][]string) map[string][]string {
	table := maps.Clone(libraries)
	maps.DeleteFunc(table, func(_ string, users []string) bool { return len(users) == 0 || slices.Contains(users, "...") })
	return table
}

// spoken is a pattern as the page says it.
func spoken(pattern string) string {
	switch pattern {
	case "...":
		return "all packages"
	case "public":
		return "all public packages"
	}
	return pattern
}

// has reports whether a pattern names a package that is there.
func (t *tree) has(pattern string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(t.files)), func(dir string) bool { return matches(pattern, dir) })
}
