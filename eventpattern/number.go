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

// comparison is a range of numbers, unbounded where low or high is absent.
type comparison struct {
	equalTo       bool
	hasLow, lowIn bool
	low           decimal
	hasHigh       bool
	highIn        bool
	high          decimal
	limit         decimal // beyond which numbers match nothing
}

func (r comparison) match(v any) bool {
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	d, ok := parseDecimal(n.String())
	if !ok || d.abs().compare(r.limit) > 0 {
		return false
	}
	if r.equalTo {
		return d.compare(r.low) == 0
	}
	if r.hasLow {
		if c := d.compare(r.low); c < 0 || c == 0 && !r.lowIn {
			return false
		}
	}
	if r.hasHigh {
		if c := d.compare(r.high); c > 0 || c == 0 && !r.highIn {
			return false
		}
	}
	return true
}

func (c *compiler) bound() decimal {
	d, _ := parseDecimal(c.limits.number)
	return d
}

// number reads a number of a pattern, and holds it to the dialect's range and precision.
func (c *compiler) number(n json.Number) (decimal, string) {
	d, ok := parseDecimal(n.String())
	switch {
	case !ok:
		return decimal{}, fmt.Sprintf("%s is not a number", clip(n.String()))
	case d.abs().compare(c.bound()) > 0:
		return decimal{}, fmt.Sprintf("%s is not between -%s and %s", clip(n.String()), c.limits.number, c.limits.number)
	case d.decimals() > c.limits.decimals:
		return decimal{}, fmt.Sprintf("%s has more than %d digits after the point", clip(n.String()), c.limits.decimals)
	}
	return d, ""
}

// numeric compiles ["=", n], one bound, or a lower bound followed by an upper one.
func (c *compiler) numeric(arg any) (rule, string) {
	list, ok := arg.([]any)
	if !ok || len(list) != 2 && len(list) != 4 {
		return nil, `an array such as ["=", 5], [">", 0] or [">", 0, "<=", 5] is due here`
	}
	r := comparison{limit: c.bound()}
	for i := 0; i < len(list); i += 2 {
		n, ok := list[i+1].(json.Number)
		if !ok {
			return nil, fmt.Sprintf("a number is due after the operator, not %s", describe(list[i+1]))
		}
		d, reason := c.number(n)
		if reason != "" {
			return nil, reason
		}
		operator, _ := list[i].(string)
		switch operator {
		case "=":
			if len(list) != 2 {
				return nil, `"=" stands alone`
			}
			r.equalTo, r.low = true, d
		case ">", ">=":
			if i != 0 {
				return nil, "a range is a lower bound followed by an upper one"
			}
			r.hasLow, r.low, r.lowIn = true, d, operator == ">="
		case "<", "<=":
			if i == 0 && len(list) == 4 {
				return nil, "a range is a lower bound followed by an upper one"
			}
			r.hasHigh, r.high, r.highIn = true, d, operator == "<="
		default:
			return nil, fmt.Sprintf(`one of =, <, <=, > and >= is due here, not %s`, describe(list[i]))
		}
	}
	if r.hasLow && r.hasHigh && r.low.compare(r.high) >= 0 {
		return nil, "the lower bound is not below the upper one"
	}
	return r, ""
}
