package config_test

import (
	"encoding/json"
	"testing"
)

// In JSON each value has its type.
func TestValuesJSON(t *testing.T) {
	write(t, `redis: {username: "123", db: 3, tls: true, password: x}
endpoints:
  fares: {url: sqs://fares, visibility: 45s, pollers: 2, attributes: [a, b], dead_letter: sqs://dead}
  dead:  {url: sqs://dead}
  rides: {url: sns://rides, subscriptions: [{endpoint: fares, filter: {long: ["yes"]}}]}
filters:
  price: {from: fares, to: [rides], outlets: {bad: [rides]}}
`)
	text, err := json.Marshal(load(t, nil).Values())
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range list {
		got[v.Key] = string(v.Value)
	}
	for key, want := range map[string]string{
		"namespace":                         `""`,
		"redis.username":                    `"123"`,
		"redis.password":                    `"***"`,
		"redis.db":                          `3`,
		"redis.tls":                         `true`,
		"endpoints.fares.visibility":        `"45s"`,
		"endpoints.fares.pollers":           `2`,
		"endpoints.fares.attributes":        `["a","b"]`,
		"endpoints.fares.max_receive_count": `5`, // the default
		"endpoints.fares.retention":         `"4d"`,
		"endpoints.dead.retention":          `"14d"`, // that of the dead letters of fares
		"endpoints.rides.subscriptions":     `[{"endpoint":"fares","filter":{"long":["yes"]}}]`,
		"filters.price.from":                `"fares"`,
		"filters.price.to":                  `["rides"]`,
		"filters.price.outlets.bad":         `["rides"]`,
	} {
		if got[key] != want {
			t.Errorf("%s is %s, want %s", key, got[key], want)
		}
	}
}
