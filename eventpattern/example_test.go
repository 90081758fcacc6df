package eventpattern_test

import (
	"fmt"

	"github.com/waybill-dev/waybill/eventpattern"
)

func ExampleCompile() {
	p, err := eventpattern.Compile([]byte(`{
		"source": ["rides"],
		"detail": {"fare": [{"numeric": [">=", 50]}], "distance": [{"numeric": [">=", 20]}]}
	}`), eventpattern.EventBridge)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, event := range []string{
		`{"source": "rides", "detail": {"fare": 64.5, "distance": 31}}`,
		`{"source": "rides", "detail": {"fare": 64.5, "distance": 4}}`,
	} {
		ok, err := p.Match([]byte(event))
		fmt.Println(ok, err)
	}
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleCompile_error() {
	_, err := eventpattern.Compile([]byte(`{"detail": {"fare": [{"numeric": [">", "50"]}]}}`), eventpattern.EventBridge)
	fmt.Println(err)
	// Output:
	// eventpattern: detail.fare: numeric: a number is due after the operator, not the string "50"
}

func ExamplePattern_MatchAttributes() {
	p, err := eventpattern.Compile([]byte(`{"IsSuccessful": ["false"]}`), eventpattern.SNSAttributes)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.MatchAttributes(map[string]eventpattern.Attribute{
		"IsSuccessful": {Type: "String", Value: "false"},
	}))
	// Output:
	// true
}

// An event is read once for all the rules that may want it.
func ExampleParseEvent() {
	rules := map[string]string{
		"expensive": `{"fare": [{"numeric": [">=", 50]}]}`,
		"far":       `{"distance": [{"numeric": [">=", 20]}]}`,
	}
	event, err := eventpattern.ParseEvent([]byte(`{"fare": 64.5, "distance": 4}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for name, rule := range rules {
		p, err := eventpattern.Compile([]byte(rule), eventpattern.EventBridge)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(name, p.MatchEvent(event))
	}
	// Unordered output:
	// expensive true
	// far false
}
