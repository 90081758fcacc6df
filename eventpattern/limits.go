package eventpattern

import "fmt"

// limits are what a dialect bounds. Numbers of numeric rules lie between -number and number, with at most
// decimals digits after the point.
type limits struct {
	size         int // bytes of a pattern
	alternatives int // conjunctions that $or may leave
	keys         int // keys at the top, 0 for no limit
	combinations int // product of the numbers of values, 0 for no limit
	number       string
	decimals     int
	sns          bool // the operators are those of SNS, which lack some
}

var dialects = map[Dialect]limits{
	// EventBridge user guide, "Amazon EventBridge quotas" (a pattern's size, which can be raised to
	// 4,096), "Creating EventBridge event patterns" ($or) and "Numeric matching".
	EventBridge: {size: 4096, alternatives: 1000, number: "5e9", decimals: 6},

	// SNS developer guide, "Filter policy constraints in Amazon SNS".
	SNSBody:       {size: 256 << 10, alternatives: 150, keys: 5, combinations: 150, number: "1e9", decimals: 5, sns: true},
	SNSAttributes: {size: 256 << 10, alternatives: 150, keys: 5, combinations: 150, number: "1e9", decimals: 5, sns: true},
}

// check holds a compiled pattern to the limits that concern it as a whole.
func (l limits) check(root map[string]any, alternatives []conjunction) error {
	if l.keys > 0 && len(root) > l.keys {
		return &Error{Reason: fmt.Sprintf("%d keys are more than the %d allowed", len(root), l.keys)}
	}
	if l.combinations == 0 {
		return nil
	}
	total := 0
	for _, fields := range alternatives {
		n := 1
		for _, f := range fields {
			values := len(f.rules)
			if f.absent {
				values++
			}
			// A value of a nested key counts once a level: the guide's example multiplies four values
			// of a key at level three to twelve.
			if n *= values * len(f.path); n > l.combinations {
				break
			}
		}
		total += n
	}
	if total > l.combinations {
		return &Error{Reason: fmt.Sprintf("more than %d combinations of values", l.combinations)}
	}
	return nil
}
