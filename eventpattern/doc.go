// Package eventpattern matches events against the event patterns of Amazon EventBridge, and messages
// against the filter policies of Amazon SNS.
//
// A pattern is a JSON object with the shape of the events that it matches. It names the fields that
// matter, each with an array of the values that will do:
//
//	{
//	  "source": ["rides"],
//	  "detail": {
//	    "status": ["completed", "cancelled"],
//	    "fare":   [{"numeric": [">=", 50]}],
//	    "tester": [{"exists": false}]
//	  }
//	}
//
// All fields must match, each by one of its values. Fields that the pattern does not name are free.
// [Compile] reads a pattern, and [Pattern.Match] asks it about an event; [ParseEvent] reads an event once
// for many patterns.
//
// # Values
//
// A string, a number, true, false and null stand for themselves; "" is the empty string, and null is not
// absence. Numbers are equal as numbers: 300, 300.0 and 3e2 are the same. An object is an operator:
//
//	{"prefix": "us-"}                 starts with; {"prefix": {"equals-ignore-case": "us-"}} in any case
//	{"suffix": ".png"}                ends with; likewise
//	{"equals-ignore-case": "alice"}   equal in any case
//	{"wildcard": "dir/*.png"}         * is any text; \* and \\ are the characters themselves
//	{"cidr": "10.0.0.0/24"}           an address in the block, IPv4 or IPv6
//	{"numeric": [">", 0, "<=", 5]}    a range, a single bound, or ["=", 5]
//	{"exists": true}                  there is a value, whatever it is; false: there is none
//	{"anything-but": "x"}             a value other than this, or than those of a list of strings or of
//	                                  numbers, or one that {"prefix"}, {"suffix"}, {"equals-ignore-case"}
//	                                  or {"wildcard"} of a string or a list of strings does not match
//
// Operators on strings match strings alone. "anything-but" wants a value, and does not match a field that
// is absent. "exists" looks at leaves: a field that holds an object or an empty array is absent.
//
// The field "$or" holds two or more objects, of which one must match:
//
//	{"source": ["rides"], "$or": [{"fare": [{"numeric": [">", 50]}]}, {"vip": [true]}]}
//
// A field that is named both beside $or and in it must match both times.
//
// # Arrays
//
// A field that holds an array matches if one of its elements does. Where it holds an array of objects, all
// that a pattern asks of the object must hold of one element: {"a": {"b": [1], "c": [2]}} does not match
// {"a": [{"b": 1}, {"c": 2}]}. {"exists": false} wants the field absent from all elements.
//
// # Dialects
//
// The three dialects differ in what they match and in their limits:
//
//	                EventBridge             SNSBody              SNSAttributes
//	matches         a JSON event            a JSON body          message attributes
//	nesting         yes                     yes                  no
//	pattern size    4,096 bytes             256 KiB              256 KiB
//	keys            unlimited               5, at the top        5
//	combinations    1,000, of $or           150                  150
//	numbers         -5e9 to 5e9             -1e9 to 1e9          -1e9 to 1e9
//	  after the point  6 digits             5 digits             5 digits
//
// SNS does not have "wildcard", nor prefixes and suffixes that ignore case, and its "anything-but" takes no
// rule but {"prefix"} of one string.
//
// The combinations of a filter policy are the product of the numbers of values of its fields, where a
// value of a nested field counts once a level. Digits of an event's number that are beyond the precision
// are cut, downwards; a number beyond the range matches only if it is written the same in the pattern.
//
// The rules are those of the EventBridge user guide ("Comparison operators for use in event patterns"),
// of the SNS developer guide ("Filter policy constraints in Amazon SNS", "String value matching", "Numeric
// value matching"), and, where these are silent, of Event Ruler, the library behind them.
package eventpattern
