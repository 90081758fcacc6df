package eventpattern

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// decimal is a number as exact as it is written: 0.digits times ten to the exponent. Zero has no digits.
type decimal struct {
	negative bool
	digits   string // without zeros at either end
	exponent int
}

// parseDecimal reads a number in JSON's notation, or with a leading plus sign or zeros.
func parseDecimal(s string) (decimal, bool) {
	var d decimal
	switch {
	case strings.HasPrefix(s, "-"):
		d.negative, s = true, s[1:]
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	mantissa := s
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.ParseInt(s[i+1:], 10, 32)
		if err != nil {
			return decimal{}, false
		}
		mantissa, d.exponent = s[:i], int(e)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return decimal{}, false
	}
	d.exponent += len(whole)
	trimmed := strings.TrimLeft(digits, "0")
	d.exponent -= len(digits) - len(trimmed)
	d.digits = strings.TrimRight(trimmed, "0")
	if d.digits == "" {
		return decimal{}, true
	}
	return d, true
}

// decimals returns how many digits stand after the point.
func (d decimal) decimals() int { return max(0, len(d.digits)-d.exponent) }

// compare returns -1, 0 or 1 as d is less than, equal to or greater than e.
func (d decimal) compare(e decimal) int {
	switch {
	case d.digits == "" && e.digits == "":
		return 0
	case d.digits == "":
		return -e.sign()
	case e.digits == "":
		return d.sign()
	case d.negative != e.negative:
		return d.sign()
	}
	order := strings.Compare(d.digits, e.digits)
	if d.exponent != e.exponent {
		order = 1
		if d.exponent < e.exponent {
			order = -1
		}
	}
	return order * d.sign()
}

func (d decimal) sign() int {
	if d.negative {
		return -1
	}
	return 1
}

func (d decimal) abs() decimal {
	d.negative = false
	return d
}

// floor cuts d to n digits after the point, towards minus infinity: so Event Ruler cuts the numbers of
// events that are more exact than it compares.
func (d decimal) floor(n int) decimal {
	if d.decimals() <= n {
		return d
	}
	keep := max(0, d.exponent+n)
	cut := decimal{d.negative, d.digits[:keep], d.exponent}
	if !d.negative {
		return cut.trim()
	}
	// Away from zero: one more in the last place.
	digits := []byte("0" + cut.digits)
	exponent := d.exponent + 1
	if keep == 0 {
		return decimal{true, "1", 1 - n}
	}
	for i := len(digits) - 1; ; i-- {
		if digits[i] != '9' {
			digits[i]++
			break
		}
		digits[i] = '0'
	}
	if digits[0] == '0' {
		digits, exponent = digits[1:], exponent-1
	}
	return decimal{true, string(digits), exponent}.trim()
}

// trim drops the zeros at the end, and the sign and exponent of zero.
func (d decimal) trim() decimal {
	d.digits = strings.TrimRight(d.digits, "0")
	if d.digits == "" {
		return decimal{}
	}
	return d
}

// scale is what a dialect compares numbers by: how far they reach, and how exact they are.
type scale struct {
	limit    decimal
	decimals int
}

// value returns a number of an event as it is compared, and reports whether it can be.
func (s scale) value(v any) (decimal, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return decimal{}, false
	}
	d, ok := parseDecimal(n.String())
	if !ok || d.abs().compare(s.limit) > 0 {
		return decimal{}, false
	}
	return d.floor(s.decimals), true
}

// equalNumber is an exact number: equal as a number, or, beyond the range of numeric matching, written the
// same, which is what makes account numbers match (Event Ruler does both).
type equalNumber struct {
	text  string
	scale scale
	value decimal
	inner bool // value is in range
}

func (r equalNumber) match(v any) bool {
	if n, ok := v.(json.Number); ok && n.String() == r.text {
		return true
	}
	d, ok := r.scale.value(v)
	return ok && r.inner && d.compare(r.value) == 0
}

// comparison is a range of numbers, unbounded where low or high is nil.
type comparison struct {
	scale         scale
	low, high     *decimal
	lowIn, highIn bool // the bound itself is in the range
}

func (r comparison) match(v any) bool {
	d, ok := r.scale.value(v)
	if !ok {
		return false
	}
	if r.low != nil {
		if c := d.compare(*r.low); c < 0 || c == 0 && !r.lowIn {
			return false
		}
	}
	if r.high != nil {
		if c := d.compare(*r.high); c > 0 || c == 0 && !r.highIn {
			return false
		}
	}
	return true
}

func (l limits) scale() scale {
	d, _ := parseDecimal(l.number) // a constant
	return scale{d, l.decimals}
}

// equalNumber compiles a number that stands for itself.
func (c *compiler) equalNumber(n json.Number) (rule, string) {
	s := c.limits.scale()
	d, ok := parseDecimal(n.String())
	if !ok {
		return nil, notANumber(n)
	}
	return equalNumber{n.String(), s, d.floor(s.decimals), d.abs().compare(s.limit) <= 0}, ""
}

func notANumber(n json.Number) string {
	return clip(n.String()) + " is not a number that can be compared"
}

// number reads a bound of a range, and holds it to the dialect's range and precision.
func (c *compiler) number(v any) (decimal, string) {
	n, ok := v.(json.Number)
	if !ok {
		return decimal{}, fmt.Sprintf("a number is due after the operator, not %s", describe(v))
	}
	s := c.limits.scale()
	d, ok := parseDecimal(n.String())
	switch {
	case !ok:
		return decimal{}, notANumber(n)
	case d.abs().compare(s.limit) > 0:
		return decimal{}, fmt.Sprintf("%s is not between -%s and %s", clip(n.String()), c.limits.number, c.limits.number)
	case d.decimals() > s.decimals:
		return decimal{}, fmt.Sprintf("%s has more than %d digits after the point", clip(n.String()), s.decimals)
	}
	return d, ""
}

// numeric compiles ["=", n], one bound, or a lower bound followed by an upper one.
func (c *compiler) numeric(arg any) (rule, string) {
	list, ok := arg.([]any)
	if !ok || len(list) != 2 && len(list) != 4 {
		return nil, `an array such as ["=", 5], [">", 0] or [">", 0, "<=", 5] is due here`
	}
	r := comparison{scale: c.limits.scale()}
	for i := 0; i < len(list); i += 2 {
		d, reason := c.number(list[i+1])
		if reason != "" {
			return nil, reason
		}
		switch operator := list[i]; operator {
		case "=":
			if len(list) != 2 {
				return nil, `"=" stands alone`
			}
			r.low, r.high, r.lowIn, r.highIn = &d, &d, true, true
			return r, ""
		case ">", ">=":
			r.low, r.lowIn = &d, operator == ">="
		case "<", "<=":
			r.high, r.highIn = &d, operator == "<="
		default:
			return nil, fmt.Sprintf(`one of =, <, <=, > and >= is due here, not %s`, describe(operator))
		}
		if len(list) == 4 && (i == 0) != (r.high == nil) {
			return nil, "a range is a lower bound followed by an upper one"
		}
	}
	switch {
	case len(list) == 4 && (r.low == nil || r.high == nil):
		return nil, "a range is a lower bound followed by an upper one"
	case len(list) == 4 && r.low.compare(*r.high) >= 0:
		return nil, "the lower bound is not below the upper one"
	}
	return r, ""
}
