package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/pipeline"
)

const wired = `
endpoints:
  rides: {url: sqs://rides}
  fares: {url: sqs://fares}
  audit: {url: sqs://audit}
  refused: {url: sqs://refused}
filters:
  price:
    from: rides
    to: [fares, audit]
  charge-card:
    from: fares
    outlets: {declined: [refused]}
`

func loadWiring(t *testing.T, text string, opts ...config.Option) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "waybill.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(append([]config.Option{config.WithFile(path), config.WithEnviron(nil)}, opts...)...)
}

func TestWiring(t *testing.T) {
	cfg, err := loadWiring(t, wired)
	if err != nil {
		t.Fatal(err)
	}
	want := pipeline.Wiring{
		"price":       {From: "rides", To: []string{"fares", "audit"}},
		"charge-card": {From: "fares", Outlets: map[string][]string{"declined": {"refused"}}},
	}
	if got := cfg.Wiring(); !reflect.DeepEqual(got, want) {
		t.Errorf("wiring %+v, want %+v", got, want)
	}
}

// Stronger layers override single settings of a route, and say so.
func TestWiringPrecedence(t *testing.T) {
	cfg, err := loadWiring(t, wired,
		config.WithEnviron([]string{"WAYBILL_FILTERS_CHARGE_CARD_FROM=audit", "WAYBILL_FILTERS_PRICE_TO=audit", "WAYBILL_FILTERS_NEW_ONE_FROM=fares"}),
		config.WithValue("filters.price.to", "[refused]"))
	if err != nil {
		t.Fatal(err)
	}
	want := pipeline.Wiring{
		"price":       {From: "rides", To: []string{"refused"}},
		"charge-card": {From: "audit", Outlets: map[string][]string{"declined": {"refused"}}},
		"new-one":     {From: "fares"},
	}
	if got := cfg.Wiring(); !reflect.DeepEqual(got, want) {
		t.Errorf("wiring %+v, want %+v", got, want)
	}
	sources := map[string]string{}
	for _, v := range cfg.Values() {
		sources[v.Key] = v.Source
	}
	if got := sources["filters.charge-card.from"]; !strings.Contains(got, "WAYBILL_FILTERS_CHARGE_CARD_FROM") {
		t.Errorf("filters.charge-card.from comes from %q, want the variable", got)
	}
	if got := sources["filters.price.from"]; !strings.Contains(got, "waybill.yaml:9") {
		t.Errorf("filters.price.from comes from %q, want line 9 of the file", got)
	}
}

func TestWiringErrors(t *testing.T) {
	tests := []struct{ name, text, env, want string }{
		{"unknown endpoint", strings.Replace(wired, "from: rides", "from: ride", 1), "", `"ride" is not an endpoint; did you mean rides?`},
		{"unknown endpoint of an outlet", strings.Replace(wired, "[refused]", "[refuse]", 1), "", `"refuse" is not an endpoint`},
		{"no endpoint at all", "filters: {price: {from: ride}}", "", `waybill.yaml:1: filters.price.from "ride" is not an endpoint; none is configured under endpoints`},
		{"unknown setting", strings.Replace(wired, "from: rides", "form: rides", 1), "", `has no setting "form"; did you mean from?`},
		{"not a name", strings.Replace(wired, "price:", "\"a/b\":", 1), "", `"a/b" cannot name a filter`},
		{"a text", "filters: yes", "", "want a mapping"},
		{"variable of no setting", wired, "WAYBILL_FILTERS_PRICE_FORM=rides", "ends in no setting of a filter"},
		{"variable of two filters", wired + "  charge.card: {from: fares}\n", "WAYBILL_FILTERS_CHARGE_CARD_FROM=rides", "charge-card or charge.card"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadWiring(t, tt.text, config.WithEnviron([]string{tt.env}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %s", err, tt.want)
			}
		})
	}
}
