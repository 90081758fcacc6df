// Package money counts cents.
package money

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An Amount is a number of cents. In JSON it is a text such as "$20.00".
type Amount int64

// ErrFormat reports a text that is not an amount of money.
var ErrFormat = errors.New("not an amount of money")

// maxDollars keeps cents within an int64 with room to add many of them up.
const maxDollars = 1_000_000_000_000

// Parse reads an amount: "$20.00", "$20", "-$4.50". The dollar sign may be
// missing; cents have two digits.
func Parse(text string) (Amount, error) {
	rest, negative := strings.CutPrefix(text, "-")
	rest = strings.TrimPrefix(rest, "$")
	whole, fraction, dotted := strings.Cut(rest, ".")
	if !dotted {
		fraction = "00"
	}
	dollars, err := digits(whole)
	if err != nil || dollars > maxDollars || len(fraction) != 2 {
		return 0, errFormat(text)
	}
	cents, err := digits(fraction)
	if err != nil {
		return 0, errFormat(text)
	}
	a := Amount(dollars*100 + cents)
	if negative {
		a = -a
	}
	return a, nil
}

// digits reads a number that has no sign.
func digits(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err
}

func errFormat(text string) error {
	const most = 40
	if len(text) > most {
		text = text[:most] + "..."
	}
	return fmt.Errorf("%q is %w; want for example $20.00", text, ErrFormat)
}

// String formats the amount as Parse reads it.
func (a Amount) String() string {
	sign := ""
	if a < 0 {
		sign, a = "-", -a
	}
	return fmt.Sprintf("%s$%d.%02d", sign, a/100, a%100)
}

// MarshalText implements encoding.TextMarshaler.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Amount) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}
