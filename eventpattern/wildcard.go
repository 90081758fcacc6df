package eventpattern

import "strings"

// wildcard is a text in which each * stands for any characters, none too. It holds the pieces between.
type wildcard []string

// parseWildcard reads a text with *, in which \* and \\ stand for themselves.
func parseWildcard(s string) (rule, string) {
	var out wildcard
	var piece strings.Builder
	star := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '*' && star:
			return nil, "two wildcards in a row"
		case c == '*':
			out = append(out, piece.String())
			piece.Reset()
			star = true
			continue
		case c == '\\':
			i++
			if i == len(s) || s[i] != '*' && s[i] != '\\' {
				return nil, `a backslash goes before * or \ only`
			}
			piece.WriteByte(s[i])
		default:
			piece.WriteByte(c)
		}
		star = false
	}
	return append(out, piece.String()), ""
}

func (w wildcard) match(v any) bool {
	s, ok := v.(string)
	if !ok {
		return false
	}
	first, last := w[0], w[len(w)-1]
	if len(w) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, piece := range w[1 : len(w)-1] {
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):] // the leftmost place leaves the most for the others
	}
	return true
}
