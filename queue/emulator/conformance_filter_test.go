package emulator_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func deleteQueue(url string) *sqs.DeleteQueueInput { return &sqs.DeleteQueueInput{QueueUrl: &url} }

// filtered is a rule on which messages pass a filter policy: those of pass, and none of stop.
func filtered(name, says, title, policy string, pass, stop []publishEdit) rule {
	return rule{
		name: "filters/" + name, says: says, source: snsGuide(title), sns: true,
		test: func(p *probe) {
			topic, url, _ := p.subscribed("RawMessageDelivery", "true", "FilterPolicy", policy)
			p.pass(topic, url, pass, stop)
		},
	}
}

// pass publishes what must be stopped, then what must pass, then receives.
func (p *probe) pass(topic, url string, pass, stop []publishEdit) {
	for i, edit := range stop {
		p.publish(topic, fmt.Sprintf("stop %d", i), edit)
	}
	want := make(map[string]bool)
	for i, edit := range pass {
		body := fmt.Sprintf("pass %d", i)
		want[body] = true
		p.publish(topic, body, edit)
	}
	for range len(pass) {
		got := p.receive(url, waiting(2), maximum(1))
		if len(got) == 0 {
			break
		}
		if !want[*got[0].Body] {
			p.errorf("received %q, want it stopped", *got[0].Body)
		}
		delete(want, *got[0].Body)
		p.delete(url, got[0].ReceiptHandle)
	}
	if len(want) > 0 {
		p.errorf("%v did not pass", want)
	}
	for _, m := range p.rest(url) {
		p.errorf("received %q, want it stopped", *m.Body)
	}
}

// rest receives what is there besides the messages that pass. A server may
// deliver one that it ought to stop after those, so where that is expected it
// waits.
func (p *probe) rest(url string) []sqstypes.Message {
	if p.deviates && len(p.failures) == 0 {
		return p.receive(url, waiting(5))
	}
	return p.receive(url)
}

// filteredBody is a rule on which bodies pass a filter policy of the scope MessageBody.
func filteredBody(name, says, title, policy string, pass, stop []string) rule {
	return rule{
		name: "filters/" + name, says: says, source: snsGuide(title), sns: true,
		test: func(p *probe) {
			topic, url, _ := p.subscribed("RawMessageDelivery", "true", "FilterPolicy", policy, "FilterPolicyScope", "MessageBody")
			for _, body := range append(stop, pass...) {
				p.publish(topic, body)
			}
			var got []string
			for range pass {
				for _, m := range p.receive(url, waiting(2), maximum(1)) {
					got = append(got, *m.Body)
				}
			}
			for _, m := range p.rest(url) {
				got = append(got, *m.Body)
			}
			slices.Sort(got)
			p.equal("what passed", strings.Join(got, " "), strings.Join(pass, " "))
		},
	}
}

func nothing(*publishInput) {}

const (
	stringMatching  = "String value matching"
	numericMatching = "Numeric value matching"
	keyMatching     = "Key matching"
	orMatching      = "AND/OR logic"
	constraints     = "Filter policy constraints in Amazon SNS"
	bodyFilter      = "Payload-based message filtering"
)

var filterRules = []rule{
	filtered("exact", "A String matches a value of the policy, with regard to case.", stringMatching, `{"a":["x","y"]}`,
		[]publishEdit{publishing("a", "String", "x"), publishing("a", "String", "y")},
		[]publishEdit{publishing("a", "String", "X"), publishing("a", "String", "z"), publishing("b", "String", "x"), nothing}),
	filtered("array", "A String.Array matches if one of its elements does.", stringMatching, `{"a":["x"]}`,
		[]publishEdit{publishing("a", "String.Array", `["y","x"]`)},
		[]publishEdit{publishing("a", "String.Array", `["y","z"]`), publishing("a", "String.Array", `[]`)}),
	filtered("prefix", "prefix matches the start of a String.", stringMatching, `{"a":[{"prefix":"us-"}]}`,
		[]publishEdit{publishing("a", "String", "us-east-1")},
		[]publishEdit{publishing("a", "String", "eu-us-1"), nothing}),
	filtered("suffix", "suffix matches the end of a String.", stringMatching, `{"a":[{"suffix":".png"}]}`,
		[]publishEdit{publishing("a", "String", "x.png")},
		[]publishEdit{publishing("a", "String", "x.png.gz")}),
	filtered("ignore-case", "equals-ignore-case matches a String in any case.", stringMatching, `{"a":[{"equals-ignore-case":"Alice"}]}`,
		[]publishEdit{publishing("a", "String", "aLICE")},
		[]publishEdit{publishing("a", "String", "bob")}),
	filtered("anything-but", "anything-but matches other values, and not an absent attribute.", stringMatching, `{"a":[{"anything-but":["x","y"]}]}`,
		[]publishEdit{publishing("a", "String", "z"), publishing("a", "String.Array", `["x","z"]`)},
		[]publishEdit{publishing("a", "String", "x"), publishing("a", "String.Array", `["x","y"]`), nothing}),
	filtered("anything-but-prefix", "anything-but takes a prefix.", stringMatching, `{"a":[{"anything-but":{"prefix":"x"}}]}`,
		[]publishEdit{publishing("a", "String", "ax")},
		[]publishEdit{publishing("a", "String", "xa")}),
	filtered("cidr", "cidr matches addresses in a block.", stringMatching, `{"a":[{"cidr":"10.0.0.0/24"}]}`,
		[]publishEdit{publishing("a", "String", "10.0.0.7")},
		[]publishEdit{publishing("a", "String", "10.0.1.7")}),
	filtered("numeric", "numeric matches ranges of a Number.", numericMatching, `{"a":[{"numeric":[">",0,"<=",50]}]}`,
		[]publishEdit{publishing("a", "Number", "50"), publishing("a", "Number", "1e-5")},
		[]publishEdit{publishing("a", "Number", "0"), publishing("a", "Number", "50.5"), publishing("a", "String", "7")}),
	filtered("number", "A number of the policy matches a Number of the same value.", numericMatching, `{"a":[300]}`,
		[]publishEdit{publishing("a", "Number", "300"), publishing("a", "Number", "3e2"), publishing("a", "Number", "300.0")},
		[]publishEdit{publishing("a", "Number", "301"), publishing("a", "String", "300")}),
	filtered("exists", "exists matches the presence of an attribute.", keyMatching, `{"a":[{"exists":true}]}`,
		[]publishEdit{publishing("a", "String", "x")},
		[]publishEdit{publishing("b", "String", "x"), nothing}),
	filtered("absent", "exists, false, matches the absence of an attribute.", keyMatching, `{"a":[{"exists":false}]}`,
		[]publishEdit{publishing("b", "String", "x"), nothing},
		[]publishEdit{publishing("a", "String", "x")}),
	filtered("and", "All keys must match.", orMatching, `{"a":["x"],"b":["y"]}`,
		[]publishEdit{both("a", "x", "b", "y")},
		[]publishEdit{publishing("a", "String", "x"), both("a", "x", "b", "z")}),
	filtered("or", "$or matches if one of its objects does.", orMatching, `{"$or":[{"a":["x"]},{"b":["y"]}]}`,
		[]publishEdit{publishing("a", "String", "x"), publishing("b", "String", "y")},
		[]publishEdit{publishing("a", "String", "y"), nothing}),
	filtered("binary", "Binary attributes are ignored.", constraints, `{"a":[{"exists":false}]}`,
		[]publishEdit{publishing("a", "Binary", "x")}, nil),

	filteredBody("body", "With the scope MessageBody, a policy matches the fields of the body, nested too.", bodyFilter, `{"a":{"b":["x"]}}`,
		[]string{`{"a":{"b":"x"}}`, `{"a":{"b":["y","x"]},"c":1}`},
		[]string{`{"a":{"b":"y"}}`, `{"a":"x"}`, `{}`}),
	filteredBody("body-numeric", "With the scope MessageBody, numbers are those of JSON.", bodyFilter, `{"a":[{"numeric":[">=",50]}]}`,
		[]string{`{"a":50}`, `{"a":51.5}`},
		[]string{`{"a":49}`, `{"a":"50"}`}),
	filteredBody("body-null", "null in a policy matches null in the body.", bodyFilter, `{"a":[null]}`,
		[]string{`{"a":null}`},
		[]string{`{"a":"null"}`, `{}`}),
	filteredBody("body-array", "Fields of different elements of an array do not combine.", bodyFilter, `{"a":{"b":["x"],"c":["y"]}}`,
		[]string{`{"a":[{"b":"x","c":"y"}]}`},
		[]string{`{"a":[{"b":"x"},{"c":"y"}]}`}),
	filteredBody("body-no-json", "A body that is no JSON object passes no policy.", bodyFilter, `{"a":[{"exists":false}]}`,
		nil, []string{`nonsense`}),
	{
		name: "filters/scope", source: snsAPI("SetSubscriptionAttributes"), sns: true,
		says: "FilterPolicyScope is MessageAttributes by default, or MessageBody.",
		test: func(p *probe) {
			_, _, arn := p.subscribed("FilterPolicy", `{"a":["x"]}`)
			p.equal("FilterPolicyScope", p.subscriptionAttributes(arn)["FilterPolicyScope"], "MessageAttributes")
			p.ok(p.trySetSubscription(arn, "FilterPolicyScope", "MessageBody"), "MessageBody")
			p.refused(p.trySetSubscription(arn, "FilterPolicyScope", "Subject"), "InvalidParameter", "the scope Subject")
		},
	},
	{
		name: "filters/checked", source: snsGuide(constraints), sns: true,
		says: "A policy that is none is InvalidParameter.",
		test: func(p *probe) {
			topic, queue := p.topic(), p.arn(p.queue())
			for _, bad := range []string{
				`nonsense`, `[]`, `{"a":"x"}`, `{"a":[{"like":"x"}]}`, `{"a":[{"numeric":["<",5,">",1]}]}`, `{"a":{"b":["x"]}}`, `{"a":[]}`,
				`{"a":[{"wildcard":"x*"}]}`, `{"a":[{"anything-but":{"suffix":"x"}}]}`,
			} {
				_, err := p.trySubscribe(topic, queue, "FilterPolicy", bad)
				p.refused(err, "InvalidParameter", bad)
			}
		},
	},
	{
		name: "filters/keys", source: snsGuide(constraints), sns: true,
		says: "A policy has at most five keys.",
		test: func(p *probe) {
			topic := p.topic()
			keys := func(n int) string {
				var list []string
				for i := range n {
					list = append(list, fmt.Sprintf(`"k%d":["x"]`, i))
				}
				return "{" + strings.Join(list, ",") + "}"
			}
			_, err := p.trySubscribe(topic, p.arn(p.queue()), "FilterPolicy", keys(5))
			p.ok(err, "five keys")
			_, err = p.trySubscribe(topic, p.arn(p.queue()), "FilterPolicy", keys(6))
			p.refused(err, "InvalidParameter", "six keys")
		},
	},
	{
		name: "filters/combinations", source: snsGuide(constraints), sns: true,
		says: "A policy has at most 150 combinations of values.",
		test: func(p *probe) {
			topic := p.topic()
			values := func(n int) string {
				var list []string
				for i := range n {
					list = append(list, fmt.Sprintf(`"v%d"`, i))
				}
				return "[" + strings.Join(list, ",") + "]"
			}
			_, err := p.trySubscribe(topic, p.arn(p.queue()), "FilterPolicy", `{"a":`+values(15)+`,"b":`+values(10)+`}`)
			p.ok(err, "150 combinations")
			_, err = p.trySubscribe(topic, p.arn(p.queue()), "FilterPolicy", `{"a":`+values(16)+`,"b":`+values(10)+`}`)
			p.refused(err, "InvalidParameter", "160 combinations")
		},
	},
	{
		name: "filters/changed", source: snsAPI("SetSubscriptionAttributes"), sns: true,
		says: "A policy can be changed, and taken away by an empty object.",
		test: func(p *probe) {
			topic, url, arn := p.subscribed("RawMessageDelivery", "true", "FilterPolicy", `{"a":["x"]}`)
			p.ok(p.trySetSubscription(arn, "FilterPolicy", `{"a":["y"]}`), "SetSubscriptionAttributes")
			p.pass(topic, url, []publishEdit{publishing("a", "String", "y")}, []publishEdit{publishing("a", "String", "x")})
			p.ok(p.trySetSubscription(arn, "FilterPolicy", `{}`), "SetSubscriptionAttributes")
			p.pass(topic, url, []publishEdit{nothing}, nil)
		},
	},
}

func both(name1, value1, name2, value2 string) publishEdit {
	return func(in *publishInput) {
		publishing(name1, "String", value1)(in)
		publishing(name2, "String", value2)(in)
	}
}
