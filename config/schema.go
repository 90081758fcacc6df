package config

import (
	"slices"
	"strings"
)

// kind is the type of a setting's value.
type kind int

const (
	kindText kind = iota
	kindSecret
	kindNumber
	kindBool
	kindDuration
	kindTexts         // a list of texts
	kindSubscriptions // the list under an endpoint of that name
)

// A field describes one setting: everything that the loaders of file,
// environment and options need to know of it.
type field struct {
	name string   // its key within its section
	kind kind     // what its value is
	env  []string // the variables that set it, the strongest first
}

// sections are the settings outside endpoints. The section "" is the top of
// the file.
var sections = map[string][]field{
	"": {
		{name: "namespace", env: []string{"WAYBILL_NAMESPACE"}},
	},
	"aws": {
		{name: "endpoint_url", env: []string{"WAYBILL_ENDPOINT_URL", "AWS_ENDPOINT_URL"}},
		{name: "region", env: []string{"AWS_REGION", "AWS_DEFAULT_REGION"}},
	},
	"redis": {
		{name: "addr", env: []string{"WAYBILL_REDIS"}},
		{name: "username", env: []string{"WAYBILL_REDIS_USERNAME"}},
		{name: "password", kind: kindSecret, env: []string{"WAYBILL_REDIS_PASSWORD"}},
		{name: "db", kind: kindNumber, env: []string{"WAYBILL_REDIS_DB"}},
		{name: "tls", kind: kindBool, env: []string{"WAYBILL_REDIS_TLS"}},
	},
	payloadsSection: {
		{name: "store", env: []string{"WAYBILL_PAYLOADS_STORE"}},
		{name: "claim_above", kind: kindNumber, env: []string{"WAYBILL_PAYLOADS_CLAIM_ABOVE"}},
		{name: "max_payload", kind: kindNumber, env: []string{"WAYBILL_PAYLOADS_MAX_PAYLOAD"}},
		{name: "prefix", env: []string{"WAYBILL_PAYLOADS_PREFIX"}},
		{name: "bucket", env: []string{"WAYBILL_PAYLOADS_BUCKET"}},
		{name: "expire_days", kind: kindNumber, env: []string{"WAYBILL_PAYLOADS_EXPIRE_DAYS"}},
		{name: "owner", env: []string{"WAYBILL_PAYLOADS_OWNER"}},
		{name: "kms_key", env: []string{"WAYBILL_PAYLOADS_KMS_KEY"}},
		{name: "region", env: []string{"WAYBILL_PAYLOADS_REGION"}},
		{name: "endpoint_url", env: []string{"WAYBILL_PAYLOADS_ENDPOINT_URL"}},
		{name: "virtual_hosted", kind: kindBool, env: []string{"WAYBILL_PAYLOADS_VIRTUAL_HOSTED"}},
		{name: "profile", env: []string{"WAYBILL_PAYLOADS_PROFILE"}},
		{name: "role_arn", env: []string{"WAYBILL_PAYLOADS_ROLE_ARN"}},
		{name: "external_id", env: []string{"WAYBILL_PAYLOADS_EXTERNAL_ID"}},
	},
	watchSection: append([]field{
		{name: "interval", kind: kindDuration, env: []string{"WAYBILL_WATCH_INTERVAL"}},
		{name: "remind", kind: kindDuration, env: []string{"WAYBILL_WATCH_REMIND"}},
		{name: "notify", env: []string{"WAYBILL_WATCH_NOTIFY"}},
		{name: "metrics", env: []string{"WAYBILL_WATCH_METRICS"}},
	}, limitFields...),
}

// sectionOrder is the order in which settings are shown.
var sectionOrder = []string{"", "aws", "redis", payloadsSection, watchSection}

// endpointFields are the settings of one endpoint. Their variables are
// WAYBILL_ENDPOINTS_<NAME>_<FIELD>.
var endpointFields = []field{
	{name: "url"},
	{name: "dead_letter"},
	{name: "max_receive_count", kind: kindNumber},
	{name: "visibility", kind: kindDuration},
	{name: "retention", kind: kindDuration},
	{name: "dead_letter_retention", kind: kindDuration},
	{name: "delay", kind: kindDuration},
	{name: "concurrency", kind: kindNumber},
	{name: "pollers", kind: kindNumber},
	{name: "min_pollers", kind: kindNumber},
	{name: "max_message_size", kind: kindNumber},
	{name: "attributes", kind: kindTexts},
	{name: "region"},
	{name: "endpoint_url"},
	{name: "profile"},
	{name: "role_arn"},
	{name: "external_id"},
	{name: "subscriptions", kind: kindSubscriptions},
}

// subscriptionFields are the settings of one subscription of a topic.
var subscriptionFields = []string{"endpoint", "enveloped", "filter", "filter_scope"}

const endpointsSection = "endpoints"

// Variables that are not settings.
const (
	fileVariable   = "WAYBILL_CONFIG"
	endpointPrefix = "WAYBILL_ENDPOINTS_"
	payloadsPrefix = "WAYBILL_PAYLOADS_"
)

// delimiter separates the parts of a key within this package. Unlike the dot
// that keys are shown with, it cannot occur in an endpoint's name.
const delimiter = "/"

func join(parts ...string) string {
	if parts[0] == "" {
		parts = parts[1:]
	}
	return strings.Join(parts, delimiter)
}

// shown returns a key as people write it: endpoints.fares.url.
func shown(key string) string { return strings.ReplaceAll(key, delimiter, ".") }

// parseKey finds the setting that a key names: redis.addr, or
// endpoints.fares.url. An endpoint's name may have dots, a field has none.
func parseKey(key string) (internal string, f field, ok bool) {
	section, rest, dotted := strings.Cut(key, ".")
	if !dotted {
		section, rest = "", key
	}
	if section == endpointsSection {
		i := strings.LastIndexByte(rest, '.')
		if i < 0 {
			return "", field{}, false
		}
		f, ok := findField(endpointFields, rest[i+1:])
		return join(section, rest[:i], f.name), f, ok && nameRule.MatchString(rest[:i])
	}
	if section == filtersSection {
		i := strings.LastIndexByte(rest, '.')
		if i < 0 {
			return "", field{}, false
		}
		f, ok := findField(filterFields, rest[i+1:])
		return join(section, rest[:i], f.name), f, ok && nameRule.MatchString(rest[:i])
	}
	if queues, ok := strings.CutPrefix(rest, watchQueues+"."); ok && section == watchSection {
		return parseWatchKey(queues)
	}
	f, ok = findField(sections[section], rest)
	return join(section, f.name), f, ok
}

func findField(fields []field, name string) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

func fieldNames(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// topKeys are the keys that the top of the file takes.
func topKeys() []string {
	keys := fieldNames(sections[""])
	keys = append(keys, sectionOrder[1:]...)
	return append(keys, endpointsSection, filtersSection)
}

// settingKeys are all keys outside endpoints, as people write them.
func settingKeys() []string {
	var keys []string
	for _, s := range sectionOrder {
		for _, f := range sections[s] {
			keys = append(keys, shown(join(s, f.name)))
		}
	}
	return keys
}
