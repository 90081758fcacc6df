package config

import (
	"fmt"
	"strings"
)

// hint says which of the known keys was probably meant.
func hint(got string, known []string) string {
	if near := nearest(got, known, max(2, len(got)/3)); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "want one of " + strings.Join(known, ", ")
}

// nearest returns the known word that takes the fewest edits to reach, if
// that is at most limit.
func nearest(got string, known []string, limit int) string {
	best, fewest := "", limit+1
	for _, k := range known {
		if n := edits(strings.ToLower(got), strings.ToLower(k)); n < fewest {
			best, fewest = k, n
		}
	}
	return best
}

// edits returns how many characters must be inserted, deleted, replaced or
// exchanged with their neighbour to turn a into b.
func edits(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(last[j+1]+1, next[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}
