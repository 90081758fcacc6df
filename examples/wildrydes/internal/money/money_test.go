package money

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want Amount
		ok   bool
	}{
		{"$20.00", 2000, true},
		{"20.00", 2000, true},
		{"$20", 2000, true},
		{"$0.05", 5, true},
		{"-$4.50", -450, true},
		{"$1000000.00", 100_000_000, true},
		{"", 0, false},
		{"$", 0, false},
		{"-", 0, false},
		{"$.50", 0, false},
		{"$20.", 0, false},
		{"$20.5", 0, false},
		{"$20.005", 0, false},
		{"$2O.00", 0, false},
		{"$-20.00", 0, false},
		{"--$20.00", 0, false},
		{"$20.-1", 0, false},
		{"$+20.00", 0, false},
		{"$1,000.00", 0, false},
		{"twenty", 0, false},
		{"$1e3", 0, false},
		{"$99999999999999999999.00", 0, false},
		{"$9223372036854775807.00", 0, false},
	}
	for _, tt := range tests {
		got, err := Parse(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("Parse(%q) = %d, %v; want %d, ok %t", tt.text, got, err, tt.want, tt.ok)
		}
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("Parse(%q): %v does not match ErrFormat", tt.text, err)
		}
	}
}

// TestRoundTrip holds String to what Parse reads.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Amount(rapid.Int64Range(-maxDollars*100, maxDollars*100).Draw(t, "cents"))
		got, err := Parse(want.String())
		if err != nil || got != want {
			t.Fatalf("Parse(%q) = %d, %v; want %d", want, got, err, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"$20.00", "-$0.01", "20", "$.", "٣.00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Fatalf("Parse(%q) = %d, which formats as %q and reads as %d, %v", text, a, a, again, err)
		}
	})
}
