package config

import (
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Watch says how `waybill dlq watch` watches dead-letter queues. What is 0 or empty
// has the default of dlq.WatchConfig.
type Watch struct {
	// Interval is how often each queue is read, and Remind after how long an alarm
	// that stands is told again.
	Interval, Remind time.Duration

	// Notify is the endpoint that notices are published to. Defaults to none.
	Notify string

	// Metrics is the address that metrics for Prometheus are served at, as
	// host:port. Defaults to none.
	Metrics string

	// WatchLimits are the limits of all queues, and Queues those of some, where
	// they differ: by the name of the dead-letter queue, or of an endpoint whose
	// dead-letter queue it is.
	WatchLimits `koanf:",squash"`
	Queues      map[string]WatchLimits
}

// WatchLimits are limits of dead-letter queues: see dlq.Limits. -1 is no bound.
type WatchLimits struct {
	Depth, DepthLow        int
	Growth, GrowthLow      int
	Window                 time.Duration
	RaiseAfter, ClearAfter int
}

const (
	watchSection = "watch"
	watchQueues  = "queues"
	watchPrefix  = "WAYBILL_WATCH_"
)

// limitFields are the settings that watch has for all queues, and for one.
var limitFields = []field{
	{name: "depth", kind: kindNumber, env: []string{watchPrefix + "DEPTH"}},
	{name: "depth_low", kind: kindNumber, env: []string{watchPrefix + "DEPTH_LOW"}},
	{name: "growth", kind: kindNumber, env: []string{watchPrefix + "GROWTH"}},
	{name: "growth_low", kind: kindNumber, env: []string{watchPrefix + "GROWTH_LOW"}},
	{name: "window", kind: kindDuration, env: []string{watchPrefix + "WINDOW"}},
	{name: "raise_after", kind: kindNumber, env: []string{watchPrefix + "RAISE_AFTER"}},
	{name: "clear_after", kind: kindNumber, env: []string{watchPrefix + "CLEAR_AFTER"}},
}

// watch reads that section of the file.
func (p *fileParser) watch(node *yaml.Node) {
	p.mapping(watchSection, node, func(key string, keyNode, value *yaml.Node) {
		f, ok := findField(sections[watchSection], key)
		switch {
		case ok:
			p.set(join(watchSection, key), f, value)
		case key == watchQueues:
			p.watchedQueues(value)
		default:
			p.problems.add(p.at(keyNode.Line), watchSection, "has no setting %q; %s", key, hint(key, append(fieldNames(sections[watchSection]), watchQueues)))
		}
	})
}

func (p *fileParser) watchedQueues(node *yaml.Node) {
	section := join(watchSection, watchQueues)
	p.mapping(section, node, func(name string, keyNode, value *yaml.Node) {
		if !nameRule.MatchString(name) {
			p.problems.add(p.at(keyNode.Line), shown(section), "%q cannot name a queue; %s", name, nameHint)
			return
		}
		p.section(join(section, name), limitFields, value)
	})
}

// parseWatchKey finds the setting of a queue, of what follows watch.queues. in a key.
func parseWatchKey(rest string) (internal string, f field, ok bool) {
	i := strings.LastIndexByte(rest, '.')
	if i < 0 {
		return "", field{}, false
	}
	f, ok = findField(limitFields, rest[i+1:])
	return join(watchSection, watchQueues, rest[:i], f.name), f, ok && nameRule.MatchString(rest[:i])
}

// checkWatch reports what is wrong with the section.
func (l *loader) checkWatch(w Watch, endpoints []string) {
	bad := func(key, format string, args ...any) {
		l.problems.add(l.sources[key], shown(key), format, args...)
	}
	key := func(name string) string { return join(watchSection, name) }
	isSet := func(key string) bool { _, ok := l.sources[key]; return ok }
	interval := w.Interval
	if interval == 0 {
		interval = time.Second
	}
	if isSet(key("interval")) && w.Interval < time.Second {
		bad(key("interval"), "is %v; want 1s or more", w.Interval)
	}
	if isSet(key("remind")) && (w.Remind <= 0 || w.Remind < interval) {
		bad(key("remind"), "is %v; want watch.interval or more", w.Remind)
	}
	if w.Notify != "" && !slices.Contains(endpoints, w.Notify) {
		bad(key("notify"), "is %q, which is not an endpoint; %s", w.Notify, hint(w.Notify, endpoints))
	}
	if w.Metrics != "" {
		_, port, err := net.SplitHostPort(w.Metrics)
		if n, e := strconv.Atoi(port); err != nil || e != nil || n < 0 || n > 65535 {
			bad(key("metrics"), "is %q; want host:port, such as 127.0.0.1:9464", w.Metrics)
		}
	}
	l.checkLimits(watchSection, w.WatchLimits, interval)
	for _, name := range slices.Sorted(maps.Keys(w.Queues)) {
		l.checkLimits(join(watchSection, watchQueues, name), w.Queues[name], interval)
	}
}

// checkLimits reports what is wrong with the limits of a section.
func (l *loader) checkLimits(section string, w WatchLimits, interval time.Duration) {
	bad := func(name, format string, args ...any) {
		key := join(section, name)
		l.problems.add(l.sources[key], shown(key), format, args...)
	}
	value := reflect.ValueOf(w)
	for _, f := range limitFields {
		v := value.FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, strings.ReplaceAll(f.name, "_", "")) })
		_, set := l.sources[join(section, f.name)]
		switch {
		case !set:
		case f.kind == kindDuration && v.Int() < int64(interval):
			bad(f.name, "is %v; want watch.interval or more", time.Duration(v.Int()))
		case (f.name == "depth" || f.name == "growth") && v.Int() != -1 && v.Int() < 1:
			bad(f.name, "is %d; want 1 message or more, or -1 for no bound", v.Int())
		case f.kind == kindNumber && f.name != "depth" && f.name != "growth" && v.Int() < 1:
			bad(f.name, "is %d; want 1 or more", v.Int())
		}
	}
	for _, b := range []struct {
		name      string
		high, low int
	}{{"depth", w.Depth, w.DepthLow}, {"growth", w.Growth, w.GrowthLow}} {
		if b.high > 0 && b.low > b.high {
			bad(b.name+"_low", "is %d; want no more than %s, which is %d", b.low, b.name, b.high)
		}
	}
}

// watchedValues lists the settings of watched queues.
func (c *Config) watchedValues() (list []Value) {
	prefix := join(watchSection, watchQueues) + delimiter
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		if strings.HasPrefix(key, prefix) {
			list = append(list, c.value(key, nil))
		}
	}
	return list
}
