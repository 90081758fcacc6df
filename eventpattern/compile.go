package eventpattern

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Compile reads a pattern. An error is an [*Error], and names the field and the rule that is wrong.
func Compile(src []byte, d Dialect) (*Pattern, error) {
	limits, ok := dialects[d]
	if !ok {
		return nil, &Error{Reason: fmt.Sprintf("unknown dialect %d", d)}
	}
	if len(src) > limits.size {
		return nil, &Error{Reason: fmt.Sprintf("longer than %d bytes", limits.size)}
	}
	v, err := decode(src)
	if err != nil {
		return nil, &Error{Reason: "not valid JSON: " + err.Error()}
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, &Error{Reason: "a pattern is a JSON object"}
	}
	c := compiler{dialect: d, limits: limits}
	alternatives, err := c.object(nil, root)
	if err != nil {
		return nil, err
	}
	if err := limits.check(root, alternatives); err != nil {
		return nil, err
	}
	p := &Pattern{dialect: d}
	for _, a := range alternatives {
		p.alternatives = append(p.alternatives, a.tree())
	}
	return p, nil
}

type compiler struct {
	dialect Dialect
	limits  limits
}

// maxDepth bounds the nesting of a pattern, so that compiling costs little whatever it is given. No service
// states a bound; those on size and combinations leave little beyond.
const maxDepth = 100

// conjunction is fields that must all match.
type conjunction []leaf

// object compiles one object of a pattern to the conjunctions that satisfy it. There is more than one only
// where $or leaves a choice.
func (c *compiler) object(path []string, fields map[string]any) ([]conjunction, error) {
	switch {
	case len(fields) == 0:
		return nil, &Error{Path: join(path), Reason: "an empty object asks for nothing"}
	case len(path) > maxDepth:
		return nil, &Error{Path: clip(join(path)), Reason: fmt.Sprintf("more than %d objects deep", maxDepth)}
	}
	out := []conjunction{nil}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var choice []conjunction
		var err error
		if name == "$or" {
			choice, err = c.or(path, fields[name])
		} else {
			choice, err = c.field(append(slices.Clip(path), name), fields[name])
		}
		if err != nil {
			return nil, err
		}
		if len(out)*len(choice) > c.limits.alternatives {
			return nil, &Error{Path: join(path), Rule: "$or", Reason: fmt.Sprintf("more than %d combinations", c.limits.alternatives)}
		}
		out = product(out, choice)
	}
	return out, nil
}

// product joins each of a with each of b.
func product(a, b []conjunction) []conjunction {
	out := make([]conjunction, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			out = append(out, slices.Concat(x, y))
		}
	}
	return out
}

// operator compiles the rule of an operator. known is false if there is none of that name.
func (c *compiler) operator(name string, arg any) (r rule, reason string, known bool) {
	var compile func(any) (rule, string)
	switch name {
	case "anything-but":
		compile = c.anythingBut
	case "cidr":
		compile = c.cidr
	case "equals-ignore-case":
		compile = c.equalsIgnoreCase
	case "exists":
		compile = c.exists
	case "numeric":
		compile = c.numeric
	case "prefix":
		compile = c.prefix
	case "suffix":
		compile = c.suffix
	case "wildcard":
		compile = c.wildcard
	default:
		return nil, "unknown operator", false
	}
	if name == "wildcard" && c.limits.sns {
		return nil, "SNS does not have this operator", true
	}
	r, reason = compile(arg)
	return r, reason, true
}

// or compiles the alternatives of $or: at least two objects (Event Ruler, README, "The $or Primitive"). It
// is always the operator here; Event Ruler's older compiler took what is malformed for a field of that name.
func (c *compiler) or(path []string, v any) ([]conjunction, error) {
	list, _ := v.([]any)
	if len(list) < 2 {
		return nil, &Error{Path: join(path), Rule: "$or", Reason: "an array of at least two objects is due here"}
	}
	var out []conjunction
	for _, v := range list {
		fields, ok := v.(map[string]any)
		if !ok {
			return nil, &Error{Path: join(path), Rule: "$or", Reason: fmt.Sprintf("objects of fields are due here, not %s", describe(v))}
		}
		choice, err := c.object(path, fields)
		if err != nil {
			return nil, err
		}
		out = append(out, choice...)
	}
	return out, nil
}

// field compiles what a pattern says of one field: an array of rules, or an object of fields in it.
func (c *compiler) field(path []string, v any) ([]conjunction, error) {
	switch v := v.(type) {
	case map[string]any:
		if c.dialect == SNSAttributes {
			return nil, &Error{Path: join(path), Reason: "message attributes do not nest: an array of values is due here"}
		}
		return c.object(path, v)
	case []any:
		l, err := c.leaf(path, v)
		return []conjunction{{l}}, err
	}
	return nil, &Error{Path: join(path), Reason: fmt.Sprintf("an array of values is due here, not %s", describe(v))}
}

func (c *compiler) leaf(path []string, list []any) (leaf, error) {
	l := leaf{name: path[len(path)-1], path: path}
	if len(list) == 0 {
		return leaf{}, &Error{Path: join(path), Reason: "an empty array matches nothing"}
	}
	for _, v := range list {
		fields, isObject := v.(map[string]any)
		if !isObject {
			r, reason := c.exact(v)
			if reason != "" {
				return leaf{}, &Error{Path: join(path), Reason: reason}
			}
			l.rules = append(l.rules, r)
			continue
		}
		if len(fields) != 1 {
			return leaf{}, &Error{Path: join(path), Reason: fmt.Sprintf("a rule has one operator, not %d", len(fields))}
		}
		for name, arg := range fields {
			r, reason, _ := c.operator(name, arg)
			if reason != "" {
				return leaf{}, &Error{Path: join(path), Rule: name, Reason: reason}
			}
			if _, absent := r.(absence); absent {
				l.absent = true
				continue
			}
			l.rules = append(l.rules, r)
		}
	}
	return l, nil
}

// tree arranges the fields of a conjunction by the objects that they stand in.
func (fields conjunction) tree() *object {
	root := new(object)
	for _, l := range fields {
		o := root
		for _, name := range l.path[:len(l.path)-1] {
			child := o.objects[name]
			if child == nil {
				child = new(object)
				if o.objects == nil {
					o.objects = make(map[string]*object)
				}
				o.objects[name] = child
			}
			o = child
		}
		o.leaves = append(o.leaves, l)
	}
	return root
}

func join(path []string) string { return strings.Join(path, ".") }

// describe names a value of JSON for an error.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(v)
	case json.Number:
		return "the number " + clip(v.String())
	case string:
		return "the string " + fmt.Sprintf("%q", clip(v))
	case []any:
		return "an array"
	}
	return "an object"
}

func clip(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}
