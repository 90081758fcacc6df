package eventpattern_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/eventpattern"
)

func TestCompileErrors(t *testing.T) {
	many := func(n int, format string) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf(format, i))
		}
		return strings.Join(parts, ",")
	}
	for _, c := range []struct {
		dialect             eventpattern.Dialect
		pattern             string
		path, rule, because string // because is a part of the reason
	}{
		{pattern: ``, because: "not valid JSON"},
		{pattern: `{"a":["x"]} {}`, because: "not valid JSON"},
		{pattern: `["x"]`, because: "a pattern is a JSON object"},
		{pattern: `{}`, because: "an empty object asks for nothing"},
		{pattern: `{"a":{}}`, path: "a", because: "an empty object asks for nothing"},
		{pattern: `{"a":{"b":[]}}`, path: "a.b", because: "an empty array matches nothing"},
		{pattern: `{"a":"x"}`, path: "a", because: `an array of values is due here, not the string "x"`},
		{pattern: `{"a":{"b":7}}`, path: "a.b", because: "not the number 7"},
		{pattern: strings.Repeat(`{"a":`, 102) + `["x"]` + strings.Repeat(`}`, 102), path: strings.Repeat("a.", 32) + "...", because: "more than 100 objects deep"},
		{pattern: `{"a":[["x"]]}`, path: "a", because: "an array within an array"},
		{pattern: `{"a":[{}]}`, path: "a", because: "one operator, not 0"},
		{pattern: `{"a":[{"prefix":"x","suffix":"y"}]}`, path: "a", because: "one operator, not 2"},
		{pattern: `{"a":[{"like":"x"}]}`, path: "a", rule: "like", because: "unknown operator"},
		{pattern: `{"a":[{"prefix":7}]}`, path: "a", rule: "prefix", because: "a string is due here, not the number 7"},
		{pattern: `{"a":[{"suffix":null}]}`, path: "a", rule: "suffix", because: "not null"},
		{pattern: `{"a":[{"prefix":{"suffix":"x"}}]}`, path: "a", rule: "prefix", because: "not an object"},
		{pattern: `{"a":[{"equals-ignore-case":["x"]}]}`, path: "a", rule: "equals-ignore-case", because: "not an array"},
		{pattern: `{"a":[{"wildcard":"a**b"}]}`, path: "a", rule: "wildcard", because: "two wildcards in a row"},
		{pattern: `{"a":[{"wildcard":"a\\b"}]}`, path: "a", rule: "wildcard", because: "a backslash goes before"},
		{pattern: `{"a":[{"wildcard":"a\\"}]}`, path: "a", rule: "wildcard", because: "a backslash goes before"},
		{pattern: `{"a":[{"cidr":"10.0.0.0"}]}`, path: "a", rule: "cidr", because: "is not an address block"},
		{pattern: `{"a":[{"cidr":"10.0.0.0/33"}]}`, path: "a", rule: "cidr", because: "is not an address block"},
		{pattern: `{"a":[{"cidr":true}]}`, path: "a", rule: "cidr", because: "not true"},
		{pattern: `{"a":[{"exists":"true"}]}`, path: "a", rule: "exists", because: "true or false is due here"},
		{pattern: `{"a":[{"numeric":5}]}`, path: "a", rule: "numeric", because: "an array such as"},
		{pattern: `{"a":[{"numeric":[]}]}`, path: "a", rule: "numeric", because: "an array such as"},
		{pattern: `{"a":[{"numeric":["=",5,"<",6]}]}`, path: "a", rule: "numeric", because: "stands alone"},
		{pattern: `{"a":[{"numeric":["<",6,">",5]}]}`, path: "a", rule: "numeric", because: "a lower bound followed by an upper one"},
		{pattern: `{"a":[{"numeric":[">",5,">",6]}]}`, path: "a", rule: "numeric", because: "a lower bound followed by an upper one"},
		{pattern: `{"a":[{"numeric":[">",5,"=",6]}]}`, path: "a", rule: "numeric", because: "stands alone"},
		{pattern: `{"a":[{"numeric":[">",6,"<",6]}]}`, path: "a", rule: "numeric", because: "not below"},
		{pattern: `{"a":[{"numeric":["!=",6]}]}`, path: "a", rule: "numeric", because: "one of =, <"},
		{pattern: `{"a":[{"numeric":[1,6]}]}`, path: "a", rule: "numeric", because: "one of =, <"},
		{pattern: `{"a":[{"numeric":["=","6"]}]}`, path: "a", rule: "numeric", because: "a number is due"},
		{pattern: `{"a":[{"numeric":["=",5000000001]}]}`, path: "a", rule: "numeric", because: "is not between -5e9 and 5e9"},
		{pattern: `{"a":[{"numeric":["=",0.0000001]}]}`, path: "a", rule: "numeric", because: "more than 6 digits"},
		{pattern: `{"a":[{"numeric":["=",1e99999999999]}]}`, path: "a", rule: "numeric", because: "not a number that can be compared"},
		{pattern: `{"a":[{"anything-but":[]}]}`, path: "a", rule: "anything-but", because: "the list is empty"},
		{pattern: `{"a":[{"anything-but":["x",1]}]}`, path: "a", rule: "anything-but", because: "either strings or numbers"},
		{pattern: `{"a":[{"anything-but":[null]}]}`, path: "a", rule: "anything-but", because: "not null"},
		{pattern: `{"a":[{"anything-but":true}]}`, path: "a", rule: "anything-but", because: "not true"},
		{pattern: `{"a":[{"anything-but":{"cidr":"10.0.0.0/8"}}]}`, path: "a", rule: "anything-but", because: `"cidr" cannot be negated`},
		{pattern: `{"a":[{"anything-but":{"prefix":[]}}]}`, path: "a", rule: "anything-but", because: "prefix: the list is empty"},
		{pattern: `{"a":[{"anything-but":{"prefix":["x",1]}}]}`, path: "a", rule: "anything-but", because: "prefix: a string is due here"},
		{pattern: `{"a":[{"anything-but":{"wildcard":"**"}}]}`, path: "a", rule: "anything-but", because: "wildcard: two wildcards"},
		{pattern: `{"a":[{"anything-but":{}}]}`, path: "a", rule: "anything-but", because: "one operator is due here, not 0"},
		{pattern: `{"$or":[{"a":["x"]}]}`, rule: "$or", because: "at least two objects"},
		{pattern: `{"$or":{"a":["x"]}}`, rule: "$or", because: "at least two objects"},
		{pattern: `{"d":{"$or":[{"a":["x"]},"y"]}}`, path: "d", rule: "$or", because: "not the string"},
		{pattern: `{"d":{"$or":[{"a":["x"]},{"b":"y"}]}}`, path: "d.b", because: "an array of values is due here"},
		{pattern: `{"a":{"$or":[` + many(1001, `{"f%d":["x"]}`) + `]}}`, because: "longer than 4096 bytes"},
		{pattern: `{` + many(10, `"f%d":{"$or":[{"x":[1]},{"y":[1]}]}`) + `}`, rule: "$or", because: "more than 1000 combinations"},

		{dialect: eventpattern.SNSAttributes, pattern: `{"a":{"b":["x"]}}`, path: "a", because: "do not nest"},
		{dialect: eventpattern.SNSAttributes, pattern: `{` + many(6, `"k%d":["x"]`) + `}`, because: "6 keys are more than the 5"},
		{dialect: eventpattern.SNSBody, pattern: `{` + many(6, `"k%d":["x"]`) + `}`, because: "6 keys are more than the 5"},
		{dialect: eventpattern.SNSAttributes, pattern: `{"a":[` + many(151, `"%d"`) + `]}`, because: "more than 150 combinations"},
		{dialect: eventpattern.SNSAttributes, pattern: `{"a":[` + many(76, `"%d"`) + `],"b":["x","y"]}`, because: "more than 150 combinations"},
		{dialect: eventpattern.SNSBody, pattern: `{"a":{"b":{"c":[` + many(51, `"%d"`) + `]}}}`, because: "more than 150 combinations"},
		{dialect: eventpattern.SNSBody, pattern: `{"$or":[{"a":[` + many(100, `"%d"`) + `]},{"b":[` + many(51, `"%d"`) + `]}]}`, because: "more than 150 combinations"},
		{dialect: eventpattern.SNSBody, pattern: `{"a":[{"numeric":["=",1000000001]}]}`, path: "a", rule: "numeric", because: "is not between -1e9 and 1e9"},
		{dialect: eventpattern.SNSBody, pattern: `{"a":[{"numeric":["=",0.000001]}]}`, path: "a", rule: "numeric", because: "more than 5 digits"},
		{dialect: eventpattern.SNSBody, pattern: `{"a":[{"wildcard":"x*"}]}`, path: "a", rule: "wildcard", because: "SNS does not have this operator"},
		{dialect: eventpattern.SNSBody, pattern: `{"a":[{"prefix":{"equals-ignore-case":"x"}}]}`, path: "a", rule: "prefix", because: "a string is due here, not an object"},
		{dialect: eventpattern.SNSBody, pattern: `{"a":[{"suffix":{"equals-ignore-case":"x"}}]}`, path: "a", rule: "suffix", because: "a string is due here, not an object"},
		{dialect: eventpattern.SNSAttributes, pattern: `{"a":[{"anything-but":{"suffix":"x"}}]}`, path: "a", rule: "anything-but", because: "only prefix can in SNS"},
		{dialect: eventpattern.SNSAttributes, pattern: `{"a":[{"anything-but":{"equals-ignore-case":"x"}}]}`, path: "a", rule: "anything-but", because: "only prefix can in SNS"},
		{dialect: eventpattern.SNSAttributes, pattern: `{"a":[{"anything-but":{"wildcard":"x"}}]}`, path: "a", rule: "anything-but", because: "only prefix can in SNS"},
		{dialect: eventpattern.SNSAttributes, pattern: `{"a":[{"anything-but":{"prefix":["x"]}}]}`, path: "a", rule: "anything-but", because: "prefix: a string is due here"},
		{dialect: 99, pattern: `{"a":["x"]}`, because: "unknown dialect"},
	} {
		t.Run(clip(c.pattern), func(t *testing.T) {
			p, err := eventpattern.Compile([]byte(c.pattern), c.dialect)
			if p != nil || err == nil {
				t.Fatalf("Compile = %v, %v; want an error", p, err)
			}
			e, ok := errors.AsType[*eventpattern.Error](err)
			if !ok {
				t.Fatalf("the error is a %T", err)
			}
			if e.Path != c.path || e.Rule != c.rule || !strings.Contains(e.Reason, c.because) {
				t.Errorf("error is %+v; want path %q, rule %q, and a reason with %q", *e, c.path, c.rule, c.because)
			}
		})
	}
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60]
	}
	return s
}

func TestCompileAtTheLimits(t *testing.T) {
	values := func(n int) string {
		return `"` + strings.Join(strings.Split(strings.Repeat("x", n), ""), `","`) + `"`
	}
	for _, c := range []struct {
		dialect eventpattern.Dialect
		pattern string
	}{
		{eventpattern.SNSAttributes, `{"a":["x"],"b":["x"],"c":["x"],"d":["x"],"e":["x"]}`},
		{eventpattern.SNSAttributes, `{"a":[` + values(150) + `]}`},
		{eventpattern.SNSBody, `{"a":{"b":{"c":[` + values(50) + `]}}}`},
		{eventpattern.SNSBody, `{"a":{"b":["1"],"c":["1"],"d":["1"],"e":["1"],"f":["1"],"g":["1"]}}`}, // nested keys are not counted
		{eventpattern.EventBridge, `{"a":["` + strings.Repeat("x", 4096-len(`{"a":[""]}`)) + `"]}`},
		{eventpattern.EventBridge, `{"a":[{"numeric":[">=",-5e9,"<=",5e9]}]}`},
	} {
		if _, err := eventpattern.Compile([]byte(c.pattern), c.dialect); err != nil {
			t.Errorf("Compile(%s): %v", clip(c.pattern), err)
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := eventpattern.Compile([]byte(`{"detail":{"fare":[{"numeric":["=","20"]}]}}`), eventpattern.EventBridge)
	want := `eventpattern: detail.fare: numeric: a number is due after the operator, not the string "20"`
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}
