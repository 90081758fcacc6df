package config

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "14d": 14 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0s": 0, "1.5h": 90 * time.Minute, "-1s": -time.Second,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "30", "d", "1.5d", "-1d", "1d-2h", "1d1d", "999999d", "1dx"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

// What is shown can be read again.
func FuzzDuration(f *testing.F) {
	f.Add(int64(14 * 24 * time.Hour))
	f.Add(int64(1500 * time.Millisecond))
	f.Add(int64(-1))
	f.Fuzz(func(t *testing.T, n int64) {
		d := time.Duration(n)
		if got, err := parseDuration(formatDuration(d)); err != nil || got != d {
			t.Errorf("%s is %v, %v; want %v", formatDuration(d), got, err, d)
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"visibility", "retention", "url", "region"}
	for got, want := range map[string]string{"visiblity": "visibility", "uRL": "url", "rul": "url", "regoin": "region", "kafka": "", "": ""} {
		if near := nearest(got, known, 2); near != want {
			t.Errorf("nearest to %q is %q, want %q", got, near, want)
		}
	}
}

// The variables of two settings of one endpoint never meet.
func TestEndpointVariableNamesAreUnique(t *testing.T) {
	names := map[string]string{}
	for _, f := range endpointFields {
		name := endpointVariableName("fares", f)
		if other, ok := names[name]; ok {
			t.Errorf("%s sets %s and %s", name, other, f.name)
		}
		names[name] = f.name
	}
}
