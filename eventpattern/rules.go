package eventpattern

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// The rules on strings match strings alone; everything else they do not match.

type anything struct{}

func (anything) match(any) bool { return true }

// absence is {"exists": false}. It matches no value; the field that holds it looks for there being none.
type absence struct{}

func (absence) match(any) bool { return false }

// equal is an exact string, bool or nil.
type equal struct{ value any }

func (r equal) match(v any) bool { return v == r.value }

type hasPrefix string

func (r hasPrefix) match(v any) bool {
	s, ok := v.(string)
	return ok && strings.HasPrefix(s, string(r))
}

type hasSuffix string

func (r hasSuffix) match(v any) bool {
	s, ok := v.(string)
	return ok && strings.HasSuffix(s, string(r))
}

type equalFold string

func (r equalFold) match(v any) bool {
	s, ok := v.(string)
	return ok && strings.EqualFold(s, string(r))
}

type prefixFold string

func (r prefixFold) match(v any) bool {
	s, ok := v.(string)
	n := utf8.RuneCountInString(string(r))
	for i := range s {
		if n == 0 {
			s = s[:i]
			break
		}
		n--
	}
	return ok && strings.EqualFold(s, string(r))
}

type suffixFold string

func (r suffixFold) match(v any) bool {
	s, ok := v.(string)
	i := len(s)
	for n := utf8.RuneCountInString(string(r)); n > 0 && i > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	return ok && strings.EqualFold(s[i:], string(r))
}

type inNetwork netip.Prefix

func (r inNetwork) match(v any) bool {
	s, ok := v.(string)
	if !ok {
		return false
	}
	addr, err := netip.ParseAddr(s)
	return err == nil && netip.Prefix(r).Contains(addr)
}

// not is anything-but: it matches what none of its rules matches.
type not []rule

func (r not) match(v any) bool {
	for _, other := range r {
		if other.match(v) {
			return false
		}
	}
	return true
}

// exact compiles a value that stands for itself. The string returned, here and below, says what is wrong.
func (c *compiler) exact(v any) (rule, string) {
	switch v := v.(type) {
	case nil, bool, string:
		return equal{v}, ""
	case json.Number:
		return c.equalNumber(v)
	}
	return nil, "an array within an array is no rule"
}

func (c *compiler) prefix(arg any) (rule, string) {
	return c.affix(arg, func(s string) rule { return hasPrefix(s) }, func(s string) rule { return prefixFold(s) })
}

func (c *compiler) suffix(arg any) (rule, string) {
	return c.affix(arg, func(s string) rule { return hasSuffix(s) }, func(s string) rule { return suffixFold(s) })
}

func (c *compiler) affix(arg any, plain, fold func(string) rule) (rule, string) {
	compile := plain
	if fields, ok := arg.(map[string]any); ok && len(fields) == 1 && !c.limits.sns {
		if inner, ok := fields["equals-ignore-case"]; ok {
			arg, compile = inner, fold
		}
	}
	s, reason := text(arg)
	if reason != "" {
		return nil, reason
	}
	return compile(s), ""
}

func text(arg any) (string, string) {
	s, ok := arg.(string)
	if !ok {
		return "", fmt.Sprintf("a string is due here, not %s", describe(arg))
	}
	return s, ""
}

func (c *compiler) equalsIgnoreCase(arg any) (rule, string) {
	s, reason := text(arg)
	return equalFold(s), reason
}

func (c *compiler) wildcard(arg any) (rule, string) {
	s, reason := text(arg)
	if reason != "" {
		return nil, reason
	}
	return parseWildcard(s)
}

func (c *compiler) cidr(arg any) (rule, string) {
	s, reason := text(arg)
	if reason != "" {
		return nil, reason
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, fmt.Sprintf("%q is not an address block such as 10.0.0.0/24 or 2001:db8::/32", clip(s))
	}
	return inNetwork(p.Masked()), ""
}

func (c *compiler) exists(arg any) (rule, string) {
	switch arg {
	case true:
		return anything{}, ""
	case false:
		return absence{}, ""
	}
	return nil, fmt.Sprintf("true or false is due here, not %s", describe(arg))
}

// anythingBut compiles a value, a list of strings or of numbers, or a rule on strings.
func (c *compiler) anythingBut(arg any) (rule, string) {
	switch v := arg.(type) {
	case map[string]any:
		return c.anythingButRule(v)
	case []any:
		return c.anythingButList(v)
	case string, json.Number:
		return c.anythingButList([]any{v})
	}
	return nil, fmt.Sprintf("a string, a number, a list of either or a rule on strings is due here, not %s", describe(arg))
}

func (c *compiler) anythingButList(list []any) (rule, string) {
	var out not
	if len(list) == 0 {
		return nil, "the list is empty"
	}
	_, texts := list[0].(string)
	for _, v := range list {
		switch v.(type) {
		case string, json.Number:
		default:
			return nil, fmt.Sprintf("a list holds strings or numbers, not %s", describe(v))
		}
		if _, isText := v.(string); isText != texts {
			return nil, "a list holds either strings or numbers, not both"
		}
		r, reason := c.exact(v)
		if reason != "" {
			return nil, reason
		}
		out = append(out, r)
	}
	return out, ""
}

func (c *compiler) anythingButRule(fields map[string]any) (rule, string) {
	if len(fields) != 1 {
		return nil, fmt.Sprintf("one operator is due here, not %d", len(fields))
	}
	for name, arg := range fields {
		switch name {
		case "prefix":
		case "suffix", "equals-ignore-case", "wildcard":
			if c.limits.sns {
				return nil, fmt.Sprintf("%q cannot be negated: only prefix can in SNS", name)
			}
		default:
			return nil, fmt.Sprintf("%q cannot be negated: only prefix, suffix, equals-ignore-case and wildcard can", clip(name))
		}
		list, ok := arg.([]any)
		if !ok || c.limits.sns {
			list = []any{arg}
		}
		if len(list) == 0 {
			return nil, name + ": the list is empty"
		}
		var out not
		for _, v := range list {
			if _, reason := text(v); reason != "" {
				return nil, name + ": " + reason
			}
			r, reason, _ := c.operator(name, v)
			if reason != "" {
				return nil, name + ": " + reason
			}
			out = append(out, r)
		}
		return out, ""
	}
	panic("unreachable: the object has one field")
}
