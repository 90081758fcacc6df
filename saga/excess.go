package saga

import "fmt"

// maxLevels is how deep the JSON of a state may be nested, and what goes into one. A
// decoder takes 10,000 levels; but what keeps a state, and what it is sent in, nests
// it further, and what then no decoder takes could never be read again.
const maxLevels = 1000

// excess tells what is too much of JSON that is to go into a state; empty: nothing.
// A limit of 0 is none.
func excess(data []byte, limit int) string {
	if limit > 0 && len(data) > limit {
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(data), limit)
	}
	if n := levels(data); n > maxLevels {
		return fmt.Sprintf("is nested %d levels deep, at most %d are allowed", n, maxLevels)
	}
	return ""
}

// checkState is excess for a state, after a step or, without one, of an input.
func checkState(step string, data []byte, limit int) error {
	if limit > 0 && len(data) > limit {
		return &StateSizeError{Step: step, Size: len(data), Limit: limit}
	}
	if n := levels(data); n > maxLevels {
		return &StateSizeError{Step: step, Size: n, Limit: maxLevels, Levels: true}
	}
	return nil
}

// levels is how deep JSON is nested, where that may be too deep.
func levels(data []byte) int {
	if len(data) <= 2*maxLevels {
		return 0
	}
	depth, deepest, text := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}
