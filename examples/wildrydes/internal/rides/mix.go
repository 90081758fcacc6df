package rides

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A kind is something that can happen to a generated ride.
type kind struct {
	name    string
	percent float64 // by default
	expect  Fate
	meaning string
}

// kinds are what can happen. Those whose names are no [Damage], "reused" or
// "twice" are suffixes of the customer's id.
var kinds = []kind{
	{"fail_auth", 4, Compensated, "the card is declined"},
	{"fail_charge", 3, Compensated, "the charge is declined after the authorization, which is voided"},
	{"fail_credit", 3, Compensated, "the account takes no credits, so the charge is refunded"},
	{"fail_refund", 2, Blocked, "like fail_credit, and refunds fail until the provider is mended"},
	{"flaky_charge", 3, Completed, "the provider is busy, twice"},
	{"flaky_credit", 2, Completed, "the accounting system is busy, twice"},
	{"flaky_status", 2, Completed, "the register is busy at the end, twice"},
	{"slow_charge", 2, Completed, "the charge takes its time"},
	{"lost_auth", 2, Completed, "the answer to the authorization is lost"},
	{"lost_charge", 1, Completed, "the answer to the charge comes when the client has given up"},
	{"lost_credit", 1, Compensated, "the answer to the credit is lost, and then the accounting system is down"},
	{"late_charge", 1, Compensated, "the charge arrives after the saga gave it up and undid it"},
	{string(Truncated), 1, DeadLettered, "half of the ride's message is missing"},
	{string(Garbled), 1, DeadLettered, "the fare in the message is not an amount of money"},
	{string(Negative), 1, DeadLettered, "the fare in the message is negative"},
	{string(Absurd), 1, DeadLettered, "the fare in the message is a million dollars"},
	{reused, 1, DeadLettered, "the fare's id is that of an earlier ride"},
	{twice, 3, Completed, "the message is sent twice"},
}

const (
	reused = "reused"
	twice  = "twice"
)

// A Mix says what percentage of the rides each failure has.
type Mix map[string]float64

// DefaultMix has something of everything.
func DefaultMix() Mix {
	m := Mix{}
	for _, k := range kinds {
		m[k.name] = k.percent
	}
	return m
}

// ParseMix reads a mix: "default", "none", or percentages such as
// "fail_auth=5,truncated=0.5".
func ParseMix(text string) (Mix, error) {
	switch text {
	case "default":
		return DefaultMix(), nil
	case "none":
		return Mix{}, nil
	}
	m, sum := Mix{}, 0.0
	for item := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(item, "=")
		percent, err := strconv.ParseFloat(value, 64)
		switch {
		case !ok:
			return nil, fmt.Errorf("%q is not a part of a mix; want default, none, or percentages such as fail_auth=5,truncated=0.5", item)
		case !slices.ContainsFunc(kinds, func(k kind) bool { return k.name == name }):
			return nil, fmt.Errorf("%q is not a failure; want one of %s", name, strings.Join(names(), ", "))
		case err != nil || !(percent >= 0 && percent <= 100):
			return nil, fmt.Errorf("%s is %q; want a percentage from 0 to 100", name, value)
		}
		if _, ok := m[name]; ok {
			return nil, fmt.Errorf("%s is there twice; want it once", name)
		}
		m[name] = percent
		sum += percent
	}
	if sum > 100 {
		return nil, fmt.Errorf("the percentages add up to %g; want at most 100", sum)
	}
	return m, nil
}

func names() []string {
	list := make([]string, len(kinds))
	for i, k := range kinds {
		list[i] = k.name
	}
	return list
}

// Describe lists what a mix can have, with the percentages of the default.
func Describe() string {
	var b strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&b, "%-14s %3g  %s\n", k.name, k.percent, k.meaning)
	}
	return b.String()
}
