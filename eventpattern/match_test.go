package eventpattern_test

import (
	"regexp"
	"testing"

	"github.com/waybill-dev/waybill/eventpattern"
)

// The sources of the rules.
const (
	operators  = `EventBridge user guide, "Comparison operators for use in event patterns"`
	arrays     = `EventBridge user guide, "Arrays in event patterns"`
	ruler      = `Event Ruler, README`
	rulerArray = `Event Ruler, README, "JSON Array Matching"`
	rulerOr    = `Event Ruler, README, "The $or Primitive"`
	policies   = `SNS developer guide, "String value matching"`
	numbers    = `SNS developer guide, "Numeric value matching"`
	keys       = `SNS developer guide, "Key matching"`
	scopes     = `SNS developer guide, "Filter policy constraints in Amazon SNS"`
)

type matchCase struct {
	rule    string // what the case stands for
	source  string
	pattern string
	yes, no []string // events
}

var matchCases = []matchCase{
	{"fields are joined by and", operators, `{"a":["x"],"b":["y"]}`,
		[]string{`{"a":"x","b":"y"}`, `{"a":"x","b":"y","c":1}`}, []string{`{"a":"x"}`, `{"a":"x","b":"z"}`, `{}`}},
	{"values are joined by or", operators, `{"a":["x","y"]}`,
		[]string{`{"a":"x"}`, `{"a":"y"}`}, []string{`{"a":"z"}`, `{"a":"X"}`, `{"a":null}`}},
	{"fields nest", ruler, `{"a":{"b":{"c":["x"]}}}`,
		[]string{`{"a":{"b":{"c":"x"}}}`}, []string{`{"a":{"b":"x"}}`, `{"a.b.c":"x"}`, `{"a":{"b":{"c":{"d":"x"}}}}`}},
	{"null is a value, and not absence", operators, `{"a":[null]}`,
		[]string{`{"a":null}`}, []string{`{}`, `{"a":"null"}`, `{"a":""}`, `{"a":false}`, `{"a":0}`}},
	{"the empty string is a value", operators, `{"a":[""]}`,
		[]string{`{"a":""}`}, []string{`{}`, `{"a":null}`, `{"a":[]}`}},
	{"true and false are values", ruler, `{"a":[true]}`,
		[]string{`{"a":true}`}, []string{`{"a":false}`, `{"a":"true"}`, `{"a":1}`}},
	{"numbers are equal as numbers", ruler, `{"a":[300]}`,
		[]string{`{"a":300}`, `{"a":300.0}`, `{"a":3.0e2}`, `{"a":3E+2}`}, []string{`{"a":"300"}`, `{"a":301}`, `{"a":-300}`}},
	{"numbers beyond the range are equal as written", ruler, `{"a":[123456789012]}`,
		[]string{`{"a":123456789012}`}, []string{`{"a":123456789013}`, `{"a":123456789012.0}`}},
	{"zero has no sign", ruler, `{"a":[0]}`, []string{`{"a":0}`, `{"a":-0}`, `{"a":0.0}`, `{"a":0e9}`}, []string{`{"a":1e-6}`}},

	{"prefix", operators, `{"a":[{"prefix":"us-"}]}`,
		[]string{`{"a":"us-east-1"}`, `{"a":"us-"}`}, []string{`{"a":"eu-west-1"}`, `{"a":"us"}`, `{"a":1}`, `{}`}},
	{"prefix, ignoring case", operators, `{"a":[{"prefix":{"equals-ignore-case":"EventB"}}]}`,
		[]string{`{"a":"eventbridge"}`, `{"a":"EVENTB"}`}, []string{`{"a":"event"}`, `{"a":"xeventb"}`, `{"a":""}`}},
	{"prefix, ignoring case, beyond ASCII", operators, `{"a":[{"prefix":{"equals-ignore-case":"ÄÖ"}}]}`,
		[]string{`{"a":"äöü"}`}, []string{`{"a":"ä"}`, `{"a":"ao"}`}},
	{"suffix", operators, `{"a":[{"suffix":".png"}]}`,
		[]string{`{"a":"x.png"}`, `{"a":".png"}`}, []string{`{"a":"x.PNG"}`, `{"a":"png"}`, `{"a":["x"]}`}},
	{"suffix, ignoring case", operators, `{"a":[{"suffix":{"equals-ignore-case":".PNG"}}]}`,
		[]string{`{"a":"x.png"}`, `{"a":"x.PnG"}`}, []string{`{"a":"png"}`, `{"a":"x.png "}`}},
	{"the empty prefix matches strings alone", ruler, `{"a":[{"prefix":""}]}`,
		[]string{`{"a":""}`, `{"a":"x"}`}, []string{`{"a":1}`, `{"a":null}`, `{}`}},
	{"equals-ignore-case", operators, `{"a":[{"equals-ignore-case":"alice"}]}`,
		[]string{`{"a":"Alice"}`, `{"a":"ALICE"}`}, []string{`{"a":"alic"}`, `{"a":"alice "}`, `{"a":null}`}},

	{"wildcard in the middle", operators, `{"a":[{"wildcard":"dir/*.png"}]}`,
		[]string{`{"a":"dir/x.png"}`, `{"a":"dir/.png"}`, `{"a":"dir/a/b.png"}`}, []string{`{"a":"dir/x.jpg"}`, `{"a":"xdir/x.png"}`, `{"a":"dirpng"}`, `{"a":1}`}},
	{"several wildcards", operators, `{"a":[{"wildcard":"*a*bc*"}]}`,
		[]string{`{"a":"abc"}`, `{"a":"xaxbcx"}`, `{"a":"aabbc"}`}, []string{`{"a":"bca"}`, `{"a":"ab"}`, `{"a":"a"}`}},
	{"the pieces around a wildcard do not overlap", operators, `{"a":[{"wildcard":"aba*aba"}]}`,
		[]string{`{"a":"abaaba"}`, `{"a":"abaxaba"}`}, []string{`{"a":"aba"}`, `{"a":"ababa"}`}},
	{"an escaped wildcard is itself", operators, `{"a":[{"wildcard":"a\\*\\\\*"}]}`,
		[]string{`{"a":"a*\\"}`, `{"a":"a*\\x"}`}, []string{`{"a":"ab\\"}`, `{"a":"a*"}`}},
	{"a wildcard rule without wildcard is exact", ruler, `{"a":[{"wildcard":"abc"}]}`,
		[]string{`{"a":"abc"}`}, []string{`{"a":"abcd"}`, `{"a":"xabc"}`}},

	{"cidr, IPv4", operators, `{"a":[{"cidr":"10.0.0.0/24"}]}`,
		[]string{`{"a":"10.0.0.0"}`, `{"a":"10.0.0.255"}`}, []string{`{"a":"10.0.1.0"}`, `{"a":"10.0.0"}`, `{"a":"::ffff:10.0.0.1"}`, `{"a":"x"}`, `{"a":10}`}},
	{"cidr, IPv6", ruler, `{"a":[{"cidr":"2001:db8::/32"}]}`,
		[]string{`{"a":"2001:db8::1"}`, `{"a":"2001:0DB8:0000::1"}`}, []string{`{"a":"2001:db9::1"}`, `{"a":"10.0.0.1"}`}},
	{"a cidr block may name an address within", ruler, `{"a":[{"cidr":"10.0.0.77/24"}]}`,
		[]string{`{"a":"10.0.0.1"}`}, []string{`{"a":"10.0.1.77"}`}},

	{"numeric, equal", operators, `{"a":[{"numeric":["=",3.018e2]}]}`,
		[]string{`{"a":301.8}`, `{"a":3018e-1}`}, []string{`{"a":301.81}`, `{"a":"301.8"}`}},
	{"numeric, a range with its bounds", operators, `{"a":[{"numeric":[">",0,"<=",5]}]}`,
		[]string{`{"a":0.000001}`, `{"a":5}`}, []string{`{"a":0}`, `{"a":5.000001}`, `{"a":-1}`, `{"a":null}`, `{}`}},
	{"numeric, one bound", operators, `{"a":[{"numeric":["<",-1.5]}]}`,
		[]string{`{"a":-2}`, `{"a":-1.500001}`, `{"a":-5e9}`}, []string{`{"a":-1.5}`, `{"a":0}`, `{"a":1.5}`}},
	{"numeric, six digits after the point are compared", operators, `{"a":[{"numeric":["=",0.1]}]}`,
		[]string{`{"a":0.1}`, `{"a":0.1000009}`}, []string{`{"a":0.100001}`, `{"a":0.0999999}`}},
	{"numeric, further digits are cut downwards", ruler, `{"a":[{"numeric":["=",-0.100001]}]}`,
		[]string{`{"a":-0.1000001}`, `{"a":-0.100001}`}, []string{`{"a":-0.1}`}},
	{"numeric, values beyond the range match nothing", operators, `{"a":[{"numeric":[">",0]}]}`,
		[]string{`{"a":5e9}`}, []string{`{"a":5000000000.1}`, `{"a":1e400}`}},

	{"exists", operators, `{"a":[{"exists":true}]}`,
		[]string{`{"a":1}`, `{"a":null}`, `{"a":""}`, `{"a":["x"]}`}, []string{`{}`, `{"b":1}`}},
	{"exists is of leaves", operators, `{"a":[{"exists":true}]}`,
		nil, []string{`{"a":{"b":1}}`, `{"a":{}}`, `{"a":[]}`, `{"a":[{"b":1}]}`}},
	{"exists, false", operators, `{"a":[{"exists":false}]}`,
		[]string{`{}`, `{"b":1}`, `{"a":{"b":1}}`}, []string{`{"a":1}`, `{"a":null}`}},
	{"an empty array is absent", rulerArray, `{"a":[{"exists":false}]}`,
		[]string{`{"a":[]}`, `{"a":[[]]}`}, []string{`{"a":[null]}`}},
	{"exists, false, in an object that is not there", ruler, `{"a":{"b":[{"exists":false}]}}`,
		[]string{`{}`, `{"a":1}`, `{"a":{}}`, `{"a":[]}`, `{"a":{"b":{"c":1}}}`}, []string{`{"a":{"b":1}}`}},
	{"absence is of the whole event", ruler, `{"a":{"b":["x"],"c":[{"exists":false}]}}`,
		[]string{`{"a":[{"b":"x"},{"b":"y"}]}`}, []string{`{"a":[{"b":"x"},{"c":1}]}`}},
	{"exists, false, among values", ruler, `{"a":["x",{"exists":false}]}`,
		[]string{`{}`, `{"a":"x"}`}, []string{`{"a":"y"}`}},

	{"anything-but", operators, `{"a":[{"anything-but":"x"}]}`,
		[]string{`{"a":"y"}`, `{"a":1}`, `{"a":null}`, `{"a":""}`}, []string{`{"a":"x"}`, `{}`, `{"a":{"b":1}}`, `{"a":[]}`}},
	{"anything-but, a list of strings", operators, `{"a":[{"anything-but":["x","y"]}]}`,
		[]string{`{"a":"z"}`}, []string{`{"a":"x"}`, `{"a":"y"}`}},
	{"anything-but, numbers", operators, `{"a":[{"anything-but":[100,200]}]}`,
		[]string{`{"a":101}`, `{"a":"100"}`}, []string{`{"a":100}`, `{"a":2e2}`}},
	{"anything-but matches an array with one other value", rulerArray, `{"a":[{"anything-but":"x"}]}`,
		[]string{`{"a":["x","y"]}`}, []string{`{"a":["x"]}`, `{"a":["x","x"]}`}},
	{"anything-but, prefix", operators, `{"a":[{"anything-but":{"prefix":"us-"}}]}`,
		[]string{`{"a":"eu-1"}`, `{"a":null}`, `{"a":1}`}, []string{`{"a":"us-1"}`, `{}`}},
	{"anything-but, a list of suffixes", operators, `{"a":[{"anything-but":{"suffix":[".png",".jpg"]}}]}`,
		[]string{`{"a":"x.gif"}`}, []string{`{"a":"x.png"}`, `{"a":"x.jpg"}`}},
	{"anything-but, equals-ignore-case", operators, `{"a":[{"anything-but":{"equals-ignore-case":"x"}}]}`,
		[]string{`{"a":"y"}`}, []string{`{"a":"x"}`, `{"a":"X"}`}},
	{"anything-but, a list of equals-ignore-case", operators, `{"a":[{"anything-but":{"equals-ignore-case":["x","y"]}}]}`,
		[]string{`{"a":"z"}`}, []string{`{"a":"X"}`, `{"a":"Y"}`}},
	{"anything-but, wildcard", operators, `{"a":[{"anything-but":{"wildcard":"*/lib/*"}}]}`,
		[]string{`{"a":"/usr/bin"}`}, []string{`{"a":"/usr/lib/x"}`}},

	{"a value may be one of an array", arrays, `{"a":["x"]}`,
		[]string{`{"a":["y","x"]}`, `{"a":[["x"]]}`}, []string{`{"a":["y"]}`, `{"a":[]}`, `{"a":[{"a":"x"}]}`}},
	{"fields of different elements do not combine", rulerArray, `{"a":{"b":["x"],"c":["y"]}}`,
		[]string{`{"a":[{"b":"x","c":"y"}]}`, `{"a":[{"b":"z"},{"b":["z","x"],"c":"y"}]}`},
		[]string{`{"a":[{"b":"x"},{"c":"y"}]}`, `{"a":[{"b":"x","c":"z"},{"b":"z","c":"y"}]}`}},
	{"nor do those of elements of elements", rulerArray, `{"a":{"b":{"c":["x"],"d":["y"]},"e":["z"]}}`,
		[]string{`{"a":[{"b":[{"c":"x","d":"y"}],"e":"z"}]}`},
		[]string{`{"a":[{"b":[{"c":"x"},{"d":"y"}],"e":"z"}]}`, `{"a":[{"b":{"c":"x","d":"y"}},{"e":"z"}]}`}},
	{"nor across $or", rulerArray, `{"a":{"b":["x"]},"$or":[{"a":{"c":["y"]}},{"d":["z"]}]}`,
		[]string{`{"a":{"b":"x","c":"y"}}`, `{"a":{"b":"x"},"d":"z"}`, `{"a":[{"b":"x","c":"y"}]}`},
		[]string{`{"a":[{"b":"x"},{"c":"y"}]}`, `{"a":{"b":"x"}}`}},

	{"$or", rulerOr, `{"s":["q"],"$or":[{"a":["x"]},{"b":["y"]}]}`,
		[]string{`{"s":"q","a":"x"}`, `{"s":"q","b":"y"}`, `{"s":"q","a":"x","b":"y"}`}, []string{`{"s":"q"}`, `{"a":"x"}`, `{"s":"q","a":"y"}`}},
	{"$or in an object", rulerOr, `{"d":{"$or":[{"a":["x"]},{"b":["y"]}]}}`,
		[]string{`{"d":{"a":"x"}}`, `{"d":{"b":"y"}}`}, []string{`{"a":"x"}`, `{"d":{}}`}},
	{"$or nests, with and inside", rulerOr, `{"$or":[{"a":["x"],"$or":[{"b":["y"]},{"c":["z"]}]},{"d":["w"]}]}`,
		[]string{`{"a":"x","b":"y"}`, `{"a":"x","c":"z"}`, `{"d":"w"}`}, []string{`{"a":"x"}`, `{"b":"y"}`}},
	{"two $or are joined by and", rulerOr, `{"$or":[{"a":["x"]},{"b":["y"]}],"d":{"$or":[{"e":["1"]},{"f":["2"]}]}}`,
		[]string{`{"a":"x","d":{"f":"2"}}`}, []string{`{"a":"x"}`, `{"d":{"f":"2"}}`}},
}

// notOfSNS are the patterns that SNS refuses: with operators that it lacks, or with six digits after the
// point. TestCompileErrors holds that it does.
var notOfSNS = regexp.MustCompile(`"wildcard"|ix":\{"equals-ignore-case"|"anything-but":\{"[sew]|-0\.100001`)

func TestMatch(t *testing.T) {
	for _, dialect := range []eventpattern.Dialect{eventpattern.EventBridge, eventpattern.SNSBody} {
		for _, c := range matchCases {
			if dialect == eventpattern.SNSBody && notOfSNS.MatchString(c.pattern) {
				continue
			}
			t.Run(dialect.String()+"/"+c.rule, func(t *testing.T) {
				p, err := eventpattern.Compile([]byte(c.pattern), dialect)
				if err != nil {
					t.Fatalf("Compile(%s): %v", c.pattern, err)
				}
				check := func(event string, want bool) {
					t.Helper()
					got, err := p.Match([]byte(event))
					if err != nil {
						t.Errorf("Match(%s): %v", event, err)
					}
					if got != want {
						t.Errorf("Match(%s) = %v, want %v for %s (%s)", event, got, want, c.pattern, c.source)
					}
				}
				for _, event := range c.yes {
					if dialect == eventpattern.SNSBody && (event == `{"a":5e9}` || event == `{"a":-5e9}` || event == `{"a":0.000001}`) {
						continue // beyond what SNS compares
					}
					check(event, true)
				}
				for _, event := range c.no {
					if dialect == eventpattern.SNSBody && (event == `{"a":0.100001}` || event == `{"a":5.000001}` || event == `{"a":1e-6}`) {
						continue
					}
					check(event, false)
				}
			})
		}
	}
}

func TestMatchScaleOfSNS(t *testing.T) {
	p, err := eventpattern.Compile([]byte(`{"a":[{"numeric":["<=",1e9]}]}`), eventpattern.SNSBody)
	if err != nil {
		t.Fatal(err)
	}
	for event, want := range map[string]bool{`{"a":1e9}`: true, `{"a":1000000000.1}`: false, `{"a":-1e9}`: true, `{"a":-2e9}`: false} {
		if got, _ := p.Match([]byte(event)); got != want {
			t.Errorf("Match(%s) = %v, want %v (%s)", event, got, want, scopes)
		}
	}
	p, err = eventpattern.Compile([]byte(`{"a":[{"numeric":["=",0.1]}]}`), eventpattern.SNSBody)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := p.Match([]byte(`{"a":0.100009}`)); !got {
		t.Errorf("a sixth digit after the point was compared (%s)", scopes)
	}
}

func TestMatchAttributes(t *testing.T) {
	type attrs = map[string]eventpattern.Attribute
	text := func(s string) attrs { return attrs{"a": {Type: "String", Value: s}} }
	number := func(s string) attrs { return attrs{"a": {Type: "Number", Value: s}} }
	list := func(s string) attrs { return attrs{"a": {Type: "String.Array", Value: s}} }
	for _, c := range []struct {
		rule, source, pattern string
		yes, no               []attrs
	}{
		{"exact", policies, `{"a":["x","y"]}`, []attrs{text("x"), text("y")}, []attrs{text("X"), text("z"), {}, number("1")}},
		{"a String is no number", numbers, `{"a":[{"numeric":["=",100]}]}`, []attrs{number("100"), number("1e2"), number("100.0")}, []attrs{text("100"), number("100.1"), list(`["100"]`)}},
		{"a number of the policy", numbers, `{"a":[100]}`, []attrs{number("100"), list(`[1,100]`)}, []attrs{text("100")}},
		{"one of an array", policies, `{"a":["x"]}`, []attrs{list(`["y","x"]`)}, []attrs{list(`["y"]`), list(`[]`), list(`"x"`), list(`not JSON`)}},
		{"true, false and null of an array", policies, `{"a":[true,null]}`, []attrs{list(`[true]`), list(`[null]`)}, []attrs{list(`[false]`), text("true")}},
		{"anything-but", policies, `{"a":[{"anything-but":["x","y"]}]}`, []attrs{text("z"), list(`["x","z"]`)}, []attrs{text("x"), list(`["x","y"]`), {}}},
		{"anything-but prefix", policies, `{"a":[{"anything-but":{"prefix":"x"}}]}`, []attrs{text("z")}, []attrs{text("xa")}},
		{"cidr", policies, `{"a":[{"cidr":"10.0.0.0/24"}]}`, []attrs{text("10.0.0.7")}, []attrs{text("10.0.1.7")}},
		{"exists", keys, `{"a":[{"exists":true}]}`, []attrs{text("x"), number("1")}, []attrs{{}, {"b": {Type: "String", Value: "x"}}}},
		{"exists, false", keys, `{"a":[{"exists":false}]}`, []attrs{{}}, []attrs{text("x")}},
		{"Binary attributes are ignored", scopes, `{"a":[{"exists":true}]}`, nil, []attrs{{"a": {Type: "Binary", Value: "x"}}}},
		{"$or", policies, `{"$or":[{"a":["x"]},{"b":["y"]}]}`, []attrs{text("x"), {"b": {Type: "String", Value: "y"}}}, []attrs{text("y")}},
		{"a dot in a name does not nest", scopes, `{"a.b":["x"]}`, []attrs{{"a.b": {Type: "String", Value: "x"}}}, []attrs{text("x")}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p, err := eventpattern.Compile([]byte(c.pattern), eventpattern.SNSAttributes)
			if err != nil {
				t.Fatal(err)
			}
			for want, all := range map[bool][]attrs{true: c.yes, false: c.no} {
				for _, a := range all {
					if got := p.MatchAttributes(a); got != want {
						t.Errorf("MatchAttributes(%v) = %v, want %v for %s (%s)", a, got, want, c.pattern, c.source)
					}
				}
			}
		})
	}
}

func TestMatchBadEvent(t *testing.T) {
	p, err := eventpattern.Compile([]byte(`{"a":[{"exists":false}]}`), eventpattern.EventBridge)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{``, `nonsense`, `[]`, `"x"`, `null`, `{} {}`, `{"a":}`} {
		if ok, err := p.Match([]byte(event)); ok || err == nil {
			t.Errorf("Match(%q) = %v, %v; want an error", event, ok, err)
		}
	}
}
