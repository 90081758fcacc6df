package saga

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// A Rule decides a [Choose] by the state's JSON alone, so that the graph shows
// it. [Field] makes one; And, Or and Not combine them.
type Rule struct {
	Field string          `json:"field,omitempty"`
	Op    string          `json:"op,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	And   []Rule          `json:"and,omitempty"`
	Or    []Rule          `json:"or,omitempty"`
	Not   *Rule           `json:"not,omitempty"`
}

// Operators of a Rule.
const (
	opEquals  = "=="
	opLess    = "<"
	opMost    = "<="
	opGreater = ">"
	opLeast   = ">="
	opPresent = "present"
)

// Field names a value in the state's JSON by the names that lead to it, joined
// with dots: "customer.country".
type Field string

// Equals holds where the field has that value: a string, a number, a bool or
// nil.
func (f Field) Equals(v any) Rule { return f.rule(opEquals, v) }

// Less holds where the field is a number below v, or a string before it.
func (f Field) Less(v any) Rule { return f.rule(opLess, v) }

// AtMost holds where the field is at most v.
func (f Field) AtMost(v any) Rule { return f.rule(opMost, v) }

// Greater holds where the field is a number above v, or a string after it.
func (f Field) Greater(v any) Rule { return f.rule(opGreater, v) }

// AtLeast holds where the field is at least v.
func (f Field) AtLeast(v any) Rule { return f.rule(opLeast, v) }

// Present holds where the field is there, even if it is null.
func (f Field) Present() Rule { return Rule{Field: string(f), Op: opPresent} }

func (f Field) rule(op string, v any) Rule {
	value, err := json.Marshal(v)
	if err != nil {
		value = nil // which validate reports
	}
	return Rule{Field: string(f), Op: op, Value: value}
}

// And holds where all of the rules hold.
func And(rules ...Rule) Rule { return Rule{And: rules} }

// Or holds where one of the rules holds.
func Or(rules ...Rule) Rule { return Rule{Or: rules} }

// Not holds where the rule does not.
func Not(rule Rule) Rule { return Rule{Not: &rule} }

// validate reports what is wrong with a rule.
func (r Rule) validate() error {
	forms := 0
	for _, is := range []bool{r.Op != "", r.And != nil, r.Or != nil, r.Not != nil} {
		if is {
			forms++
		}
	}
	if forms != 1 {
		return fmt.Errorf("a rule is one of a comparison, And, Or and Not, and this is %d of them", forms)
	}
	for _, part := range append(append(r.And, r.Or...), deref(r.Not)...) {
		if err := part.validate(); err != nil {
			return err
		}
	}
	if r.Op == "" {
		if r.Not == nil && len(r.And)+len(r.Or) == 0 {
			return errors.New("a rule combines no rules")
		}
		return nil
	}
	if r.Field == "" {
		return errors.New("a rule names no field")
	}
	switch r.Op {
	case opPresent:
		return nil
	case opEquals, opLess, opMost, opGreater, opLeast:
	default:
		return fmt.Errorf("the rule on %q has the operator %q, want one of ==, <, <=, >, >=, present", r.Field, r.Op)
	}
	v, err := decodeScalar(r.Value)
	if err != nil {
		return fmt.Errorf("the rule on %q compares with %s: %w", r.Field, r.Value, err)
	}
	if _, ordered := order(v, v); r.Op != opEquals && !ordered {
		return fmt.Errorf("the rule on %q asks whether it is %s %s: only numbers and strings have an order", r.Field, r.Op, r.Value)
	}
	return nil
}

func deref(r *Rule) []Rule {
	if r == nil {
		return nil
	}
	return []Rule{*r}
}

// holds evaluates the rule on a state. A field that is missing, or is of
// another kind than the value, does not compare.
func (r Rule) holds(state []byte) (bool, error) {
	dec := json.NewDecoder(bytes.NewReader(state))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return false, fmt.Errorf("decode the state: %w", err)
	}
	return r.on(doc), nil
}

func (r Rule) on(doc any) bool {
	switch {
	case r.Not != nil:
		return !r.Not.on(doc)
	case r.And != nil:
		for _, part := range r.And {
			if !part.on(doc) {
				return false
			}
		}
		return true
	case r.Or != nil:
		for _, part := range r.Or {
			if part.on(doc) {
				return true
			}
		}
		return false
	}
	got, ok := lookUp(doc, r.Field)
	if !ok || r.Op == opPresent {
		return ok
	}
	want, err := decodeScalar(r.Value)
	if err != nil {
		return false
	}
	c, ordered := order(got, want)
	switch r.Op {
	case opEquals:
		return got == want || ordered && c == 0
	case opLess:
		return ordered && c < 0
	case opMost:
		return ordered && c <= 0
	case opGreater:
		return ordered && c > 0
	case opLeast:
		return ordered && c >= 0
	}
	return false
}

func lookUp(doc any, field string) (any, bool) {
	for name := range strings.SplitSeq(field, ".") {
		object, ok := doc.(map[string]any)
		if !ok {
			return nil, false
		}
		if doc, ok = object[name]; !ok {
			return nil, false
		}
	}
	switch doc.(type) {
	case map[string]any, []any:
		return struct{}{}, true // there, and like nothing
	}
	return doc, true
}

func decodeScalar(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, errors.New("want a string, a number, a bool or null")
	}
	switch v.(type) {
	case map[string]any, []any:
		return nil, errors.New("want a string, a number, a bool or null")
	}
	return v, nil
}

// order compares two numbers, or two strings.
func order(a, b any) (int, bool) {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b), true
		}
	case json.Number:
		if b, ok := b.(json.Number); ok {
			return compareNumbers(a, b)
		}
	}
	return 0, false
}

// compareNumbers is exact: cents and ids are not rounded to a float64.
func compareNumbers(a, b json.Number) (int, bool) {
	x, okx := new(big.Rat).SetString(string(a))
	y, oky := new(big.Rat).SetString(string(b))
	if !okx || !oky {
		return 0, false
	}
	return x.Cmp(y), true
}
