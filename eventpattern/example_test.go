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
