package dlq

import "github.com/itchyny/gojq"

// ofBody are the fields of Letter.Value that are others without the payload.
var ofBody = map[string]bool{"body": true, "problem": true, "stored": true}

// seesBody reports whether a filter's expression may see its input's body. It knows
// fields by their names, and takes whatever it does not know for one that does.
func seesBody(q *gojq.Query) bool {
	switch {
	case q == nil || len(q.FuncDefs) > 0 || len(q.Imports) > 0 || len(q.Patterns) > 0:
		return true
	case q.Term != nil:
		return termSeesBody(q.Term)
	}
	switch q.Op {
	case gojq.OpPipe: // what is on the right sees only what the left gives it
		return seesBody(q.Left)
	case gojq.OpComma, gojq.OpAdd, gojq.OpSub, gojq.OpMul, gojq.OpDiv, gojq.OpMod,
		gojq.OpEq, gojq.OpNe, gojq.OpGt, gojq.OpLt, gojq.OpGe, gojq.OpLe, gojq.OpAnd, gojq.OpOr, gojq.OpAlt:
		return seesBody(q.Left) || seesBody(q.Right)
	}
	return true
}

func termSeesBody(t *gojq.Term) bool {
	suffixes := t.SuffixList
	switch t.Type {
	case gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber:
	case gojq.TermTypeString:
		if len(t.Str.Queries) > 0 {
			return true
		}
	case gojq.TermTypeUnary:
		if termSeesBody(t.Unary.Term) {
			return true
		}
	case gojq.TermTypeQuery:
		if seesBody(t.Query) {
			return true
		}
	case gojq.TermTypeArray:
		if t.Array.Query != nil && seesBody(t.Array.Query) {
			return true
		}
	case gojq.TermTypeIndex:
		if ofBody[fieldName(t.Index)] || fieldName(t.Index) == "" {
			return true
		}
	case gojq.TermTypeIdentity:
		if len(suffixes) == 0 || suffixes[0].Index == nil || ofBody[fieldName(suffixes[0].Index)] || fieldName(suffixes[0].Index) == "" {
			return true
		}
		suffixes = suffixes[1:]
	default:
		return true
	}
	for _, s := range suffixes {
		// What is between brackets sees the input of all.
		if s.Index != nil && fieldName(s.Index) == "" && (s.Index.Start != nil && seesBody(s.Index.Start) || s.Index.End != nil && seesBody(s.Index.End) || s.Index.Str != nil) {
			return true
		}
	}
	return false
}

// fieldName returns the name of the field that an index is of, or "" if it is
// computed, or of none.
func fieldName(i *gojq.Index) string {
	str := i.Str
	if str == nil && i.Start != nil && !i.IsSlice && i.Start.Term != nil && i.Start.Term.Type == gojq.TermTypeString && len(i.Start.Term.SuffixList) == 0 {
		str = i.Start.Term.Str
	}
	switch {
	case i.Name != "":
		return i.Name
	case str != nil && len(str.Queries) == 0:
		return str.Str
	}
	return ""
}
