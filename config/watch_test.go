package config_test

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/config"
)

const watching = `endpoints: {fares: {url: sqs://fares, dead_letter: sqs://dlq}, alarms: {url: sns://alarms}}
watch:
  interval: 20s
  remind: 4h
  notify: alarms
  metrics: 127.0.0.1:9464
  depth: 10
  depth_low: 5
  growth: -1
  growth_low: 1
  window: 30m
  raise_after: 4
  clear_after: 5
  queues:
    fares: {depth: 1000}
    other-dlq.fifo: {growth: 7, window: 1h}
`

func TestWatch(t *testing.T) {
	write(t, watching)
	cfg := load(t, nil)
	want := config.Watch{
		Interval: 20 * time.Second, Remind: 4 * time.Hour, Notify: "alarms", Metrics: "127.0.0.1:9464",
		WatchLimits: config.WatchLimits{Depth: 10, DepthLow: 5, Growth: -1, GrowthLow: 1, Window: 30 * time.Minute, RaiseAfter: 4, ClearAfter: 5},
		Queues:      map[string]config.WatchLimits{"fares": {Depth: 1000}, "other-dlq.fifo": {Growth: 7, Window: time.Hour}},
	}
	if !reflect.DeepEqual(cfg.Watch, want) {
		t.Errorf("%+v, want %+v", cfg.Watch, want)
	}
	for key, want := range map[string]string{
		"watch.depth": "10 <- file waybill.yaml:7", "watch.queues.fares.depth": "1000 <- file waybill.yaml:15",
		"watch.queues.other-dlq.fifo.window": "1h <- file waybill.yaml:16",
	} {
		if got := source(t, cfg, key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	for name, value := range map[string]string{
		"interval": "10s", "remind": "1h", "notify": "fares", "metrics": "0.0.0.0:80", "depth": "9", "depth_low": "3", "growth": "8", "growth_low": "2",
		"window": "40m", "raise_after": "1", "clear_after": "1",
	} {
		variable := "WAYBILL_WATCH_" + strings.ToUpper(name)
		if got, want := source(t, load(t, []string{variable + "=" + value}), "watch."+name), value+" <- env "+variable; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	cfg = load(t, nil, config.WithValue("watch.queues.fares.depth", "3"), config.WithFlag("--depth", "watch.depth", "6"))
	if cfg.Watch.Queues["fares"].Depth != 3 || cfg.Watch.Depth != 6 {
		t.Errorf("by options it is %+v", cfg.Watch)
	}
}

// The section in the package's documentation has every setting, and is right.
func TestWatchDoc(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n//\twatch:")
	section, _, _ = strings.Cut("//\twatch:"+section, "\n//\n")
	write(t, strings.ReplaceAll(section, "//\t", "")+"\nendpoints: {alarms: {url: sns://alarms}}\n")
	w := reflect.ValueOf(load(t, nil).Watch)
	for _, field := range reflect.VisibleFields(w.Type()) {
		if w.FieldByIndex(field.Index).IsZero() {
			t.Errorf("the documentation's example has no %s", field.Name)
		}
	}
}

func TestWatchProblems(t *testing.T) {
	for file, want := range map[string]string{
		"watch: {depht: 1}":                           `waybill.yaml:1: watch has no setting "depht"; did you mean depth?`,
		"watch: {depth: 0}":                           "waybill.yaml:1: watch.depth is 0; want 1 message or more, or -1 for no bound",
		"watch:\n  depth: 3\n  depth_low: 4":          "waybill.yaml:3: watch.depth_low is 4; want no more than depth, which is 3",
		"watch: {growth_low: 0}":                      "watch.growth_low is 0; want 1 or more",
		"watch: {clear_after: 0}":                     "watch.clear_after is 0; want 1 or more",
		"watch: {interval: 10ms}":                     "watch.interval is 10ms; want 1s or more",
		"watch: {interval: 1m, window: 30s}":          "watch.window is 30s; want watch.interval or more",
		"watch: {interval: 1m, remind: 30s}":          "watch.remind is 30s; want watch.interval or more",
		"watch: {notify: pager}":                      `watch.notify is "pager", which is not an endpoint`,
		"watch: {metrics: nine}":                      `watch.metrics is "nine"; want host:port, such as 127.0.0.1:9464`,
		"watch:\n  queues:\n    fares: {depth: 0}":    "waybill.yaml:3: watch.queues.fares.depth is 0",
		"watch:\n  queues:\n    fares: {interval: 1}": `waybill.yaml:3: watch.queues.fares has no setting "interval"`,
		"watch:\n  queues:\n    a b: {depth: 1}":      `waybill.yaml:3: watch.queues "a b" cannot name a queue`,
		"watch: [1]":                                  "watch is a list; want a mapping",
	} {
		write(t, file+"\nendpoints: {alarms: {url: sns://alarms}}\n")
		_, err := config.Load(config.WithEnviron(nil))
		var e *config.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}
