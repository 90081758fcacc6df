package eventpattern

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// numberText generates numbers as JSON writes them, in the many ways that it can.
func numberText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		s += rapid.SampledFrom([]string{"0", rapid.StringMatching(`[1-9][0-9]{0,11}`).Draw(t, "whole")}).Draw(t, "int")
		if rapid.Bool().Draw(t, "point") {
			s += "." + rapid.StringMatching(`[0-9]{1,9}`).Draw(t, "fraction")
		}
		if rapid.Bool().Draw(t, "e") {
			s += rapid.StringMatching(`[eE][+-]?[0-9]{1,2}`).Draw(t, "exponent")
		}
		return s
	})
}

func rat(t *rapid.T, s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("big.Rat does not read %q", s)
	}
	return r
}

func TestDecimalCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := numberText().Draw(t, "a"), numberText().Draw(t, "b")
		x, okX := parseDecimal(a)
		y, okY := parseDecimal(b)
		if !okX || !okY {
			t.Fatalf("parseDecimal refuses %q or %q", a, b)
		}
		if got, want := x.compare(y), rat(t, a).Cmp(rat(t, b)); got != want {
			t.Fatalf("compare(%s, %s) = %d, want %d", a, b, got, want)
		}
	})
}

func TestDecimalFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := numberText().Draw(t, "s")
		n := rapid.IntRange(0, 7).Draw(t, "n")
		d, ok := parseDecimal(s)
		if !ok {
			t.Fatalf("parseDecimal refuses %q", s)
		}
		scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
		scaled := new(big.Rat).Mul(rat(t, s), scale)
		floor := new(big.Int).Div(scaled.Num(), scaled.Denom()) // Euclidean, and so a floor
		want := new(big.Rat).Quo(new(big.Rat).SetInt(floor), scale)
		w, ok := parseDecimal(want.FloatString(n))
		if !ok {
			t.Fatalf("parseDecimal refuses %q", want.FloatString(n))
		}
		if got := d.floor(n); got != w {
			t.Fatalf("floor(%s, %d) = %+v, want %+v", s, n, got, w)
		}
	})
}

func TestWildcardMatchesAsRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`([ab]|\*|\\\*|\\\\){0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab*\\]{0,10}`).Draw(t, "s")
		r, reason := parseWildcard(pattern)
		if reason != "" {
			if !regexp.MustCompile(`(^|[^\\])(\\\\)*\*\*`).MatchString(pattern) {
				t.Fatalf("parseWildcard refuses %q: %s", pattern, reason)
			}
			return
		}
		expression := regexp.MustCompile(`\\.|\*|[^*\\]`).ReplaceAllStringFunc(pattern, func(piece string) string {
			if piece == "*" {
				return ".*"
			}
			return regexp.QuoteMeta(strings.TrimPrefix(piece, `\`) + strings.Repeat(`\`, max(0, strings.Count(piece, `\`)-2)))
		})
		if got, want := r.match(s), regexp.MustCompile(`^`+expression+`$`).MatchString(s); got != want {
			t.Fatalf("%q matches %q: %v, want %v (%s)", pattern, s, got, want, expression)
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`{"a":["x",1,null,true,{"exists":false}]}`,
		`{"a":{"b":[{"numeric":[">",0,"<=",5]}]},"$or":[{"c":[{"prefix":"x"}]},{"d":[{"cidr":"10.0.0.0/8"}]}]}`,
		`{"a":[{"anything-but":{"wildcard":"*x*"}},{"suffix":{"equals-ignore-case":"y"}}]}`,
		`{"a":[{"anything-but":["x"]}]}`, `{"a":[1e999]}`, `{"a":[-0.0000001]}`,
	} {
		f.Add(s, `{"a":"x","b":[{"a":{"b":3}},[1,[2]]]}`)
	}
	f.Fuzz(func(t *testing.T, pattern, event string) {
		for d := range dialects {
			p, err := Compile([]byte(pattern), d)
			if err != nil {
				if _, ok := err.(*Error); !ok || p != nil {
					t.Fatalf("Compile(%q) = %v, %T", pattern, p, err)
				}
				continue
			}
			ok, err := p.Match([]byte(event))
			if again, _ := p.Match([]byte(event)); again != ok {
				t.Fatalf("Match(%q, %q) is %v, then %v", pattern, event, ok, again)
			}
			if ok && (err != nil || !json.Valid([]byte(event))) {
				t.Fatalf("Match(%q, %q) = %v, %v", pattern, event, ok, err)
			}
			p.MatchAttributes(map[string]Attribute{
				"a": {"String", event}, "b": {"Number", event}, "c": {"String.Array", event},
			})
		}
	})
}
