package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// A Value is one setting, as `waybill config show` prints it.
type Value struct {
	// Key is the setting, such as "redis.addr".
	Key string `json:"key"`

	// Value is the value in use as a text. A password is ***.
	Value string `json:"value"`

	// Source is where the value came from, as [Source.String] has it.
	Source string `json:"source"`

	kind kind
}

// MarshalJSON writes numbers, booleans and lists as such, and all else, like
// durations, as texts.
func (v Value) MarshalJSON() ([]byte, error) {
	shown := struct {
		Key    string `json:"key"`
		Value  any    `json:"value"`
		Source string `json:"source"`
	}{v.Key, v.Value, v.Source}
	switch v.kind {
	case kindNumber, kindBool, kindSubscriptions:
		if json.Valid([]byte(v.Value)) {
			shown.Value = json.RawMessage(v.Value)
		}
	case kindTexts:
		if shown.Value = strings.Split(v.Value, ","); v.Value == "" {
			shown.Value = []string{}
		}
	}
	return json.Marshal(shown)
}

// Values returns all settings in use: the file first, then those of the
// namespace, of AWS, of Redis, of payloads and of watch, then each endpoint's.
// Settings of payloads, of watch and of endpoints that have neither a value nor a
// default are left out.
func (c *Config) Values() []Value {
	list := []Value{{Key: "config", Value: c.file.Name, Source: SourceDefault}}
	switch c.file.Kind {
	case SourceEnv:
		list[0].Source = Source{Kind: SourceEnv, Name: fileVariable}.String()
	case SourceFlag:
		list[0].Source = Source{Kind: SourceFlag, Name: "--config"}.String()
	case SourceOption:
		list[0].Source = Source{Kind: SourceOption, Name: "WithFile"}.String()
	}
	defaults := map[string]any{"redis/addr": DefaultRedisAddr, "redis/db": 0, "redis/tls": false}
	for _, section := range sectionOrder {
		switch section {
		case payloadsSection:
			list = append(list, c.settings(section, sections[section], c.Payloads)...)
			continue
		case watchSection:
			list = append(list, c.settings(section, sections[section], c.Watch)...)
			list = append(list, c.watchedValues()...)
			continue
		}
		for _, f := range sections[section] {
			key := join(section, f.name)
			list = append(list, c.value(key, defaults[key]))
		}
	}
	endpoints, _ := c.Endpoints() // nil knows none
	for _, name := range slices.Sorted(maps.Keys(c.endpoints)) {
		e, err := endpoints.Resolve(name)
		if err != nil {
			e = c.endpoints[name].WithDefaults()
		}
		list = append(list, c.settings(join(endpointsSection, name), endpointFields, e)...)
	}
	return append(list, c.wiringValues()...)
}

// settings lists the fields that have a value in the section, or a default in the
// struct of it.
func (c *Config) settings(section string, fields []field, defaults any) (list []Value) {
	settings := reflect.ValueOf(defaults)
	for _, f := range fields {
		v := settings.FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, strings.ReplaceAll(f.name, "_", "")) })
		key := join(section, f.name)
		if _, set := c.values[key]; set || !v.IsZero() {
			list = append(list, c.value(key, v.Interface()))
		}
	}
	return list
}

func (c *Config) value(key string, fallback any) Value {
	v := Value{Key: shown(key), Value: formatValue(fallback), Source: SourceDefault}
	if set, ok := c.values[key]; ok {
		v.Value, v.Source = set, c.sources[key].String()
	}
	if _, f, ok := parseKey(v.Key); ok {
		v.kind = f.kind
	} else if strings.HasPrefix(key, filtersSection+delimiter) {
		v.kind = kindTexts // an outlet's
	}
	return v
}

func formatValue(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Duration:
		return formatDuration(v)
	case []string:
		return strings.Join(v, ",")
	case []queue.Subscription:
		return formatSubscriptions(v)
	default:
		return fmt.Sprint(v)
	}
}

func formatSubscriptions(list []queue.Subscription) string {
	type subscription struct {
		Endpoint    string          `json:"endpoint"`
		Enveloped   bool            `json:"enveloped,omitempty"`
		Filter      json.RawMessage `json:"filter,omitempty"`
		FilterScope string          `json:"filter_scope,omitempty"`
	}
	shown := make([]subscription, len(list))
	for i, s := range list {
		shown[i] = subscription(s)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(shown); err != nil {
		return fmt.Sprintf("%d subscriptions", len(list)) // filters are checked JSON, so this does not happen
	}
	return strings.TrimSuffix(b.String(), "\n")
}
