package rides_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
)

const card = `"cc":"4242424242424242","expiryDate":"12/30","cvv":"123"`

func TestRead(t *testing.T) {
	list, err := rides.Read(strings.NewReader(`
# the six fields of a fare are enough
{"customerId":"ann","fareId":"f1","fareAmount":"$20.00",` + card + `}

{"rideId":"r2","customerId":"bob","fareId":"f1","fareAmount":"-$1.00",` + card + `,"distance":3.2,"copies":2,"expect":"dead-lettered"}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].RideID != "f1" || list[0].Card.Check != "123" || list[0].Reused {
		t.Errorf("read %+v", list)
	}
	if !list[1].Reused || list[1].Copies != 2 || list[1].Expect != rides.DeadLettered {
		t.Errorf("read %+v", list[1])
	}
}

func TestReadReportsLines(t *testing.T) {
	good := `{"rideId":"r1","customerId":"ann","fareId":"f1","fareAmount":"$20.00",` + card + `}`
	tests := []struct{ name, input, want string }{
		{"nothing", "\n", "there are no rides in it"},
		{"not JSON", "nonsense", "line 1: not a ride: "},
		{"two values", good + "{}", "line 1: more than one JSON value"},
		{"unknown field", `{"fare":1}`, `line 1: not a ride: json: unknown field "fare"`},
		{"missing", `{"rideId":"r1"}`, `line 1: fareId is missing; customerId is missing; cc, expiryDate and cvv are not all there; fareAmount is missing`},
		{"twice", good + "\n\n" + good, `line 3: rideId "r1" is that of line 1`},
		{"bad id", strings.Replace(good, `"r1"`, `"r/1"`, 1), `line 1: rideId is "r/1"; want letters, digits`},
		{"damage", strings.Replace(good, "{", `{"damage":"burnt",`, 1), `line 1: damage is "burnt"; want one of [truncated garbled negative absurd]`},
		{"expect", strings.Replace(good, "{", `{"expect":"glory",`, 1), `line 1: expect is "glory"; want one of [completed compensated dead-lettered blocked]`},
		{"distance", strings.Replace(good, "{", `{"distance":1e9,`, 1), `line 1: distance is 1e+09; want 0 to 500 km`},
		{"copies", strings.Replace(good, "{", `{"copies":-1,`, 1), `line 1: copies is -1; want 1 to 10`},
		{"too long", good + "\n" + strings.Repeat("x", 70_000), "line 2: it has more than 65536 bytes"},
		{"several", "x\ny", "line 2: "},
	}
	for _, tt := range tests {
		_, err := rides.Read(strings.NewReader(tt.input))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "4242") {
			t.Errorf("%s: the error shows a card: %v", tt.name, err)
		}
	}
}

func TestGenerate(t *testing.T) {
	list := rides.Generate(300, 7, rides.DefaultMix())
	if again := rides.Generate(300, 7, rides.DefaultMix()); !reflect.DeepEqual(list, again) {
		t.Error("the same seed gives other rides")
	}
	var file bytes.Buffer
	if err := rides.Write(&file, list); err != nil {
		t.Fatal(err)
	}
	back, err := rides.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(list, back) {
		t.Error("what is written does not read as what was generated")
	}
	seen := map[string]int{}
	for _, r := range list {
		_, suffix, _ := strings.Cut(r.CustomerID, "_")
		seen[suffix]++
		seen[string(r.Damage)]++
		if r.Reused {
			seen["reused"]++
		}
		if r.Copies == 2 {
			seen["twice"]++
		}
		if r.FareAmount != rides.Tariff(r.Distance).String() {
			t.Errorf("%s costs %s, want the tariff for %v km", r.RideID, r.FareAmount, r.Distance)
		}
	}
	for name, percent := range rides.DefaultMix() {
		if got := seen[name]; got < int(percent*3) {
			t.Errorf("%s happens to %d rides, want %g%% of 300", name, got, percent)
		}
	}
}

// TestReusedHasHolder: the id of a ride that is reused is that of an earlier one
// to which nothing else happens.
func TestReusedHasHolder(t *testing.T) {
	for seed := range uint64(50) {
		holders := map[string]rides.Ride{}
		for _, r := range rides.Generate(12, seed, rides.Mix{"reused": 50, "twice": 20}) {
			first, ok := holders[r.FareID]
			if ok != r.Reused || ok && first.Expect != rides.Completed {
				t.Fatalf("seed %d: %+v, and before it %+v", seed, r, first)
			}
			if !ok {
				holders[r.FareID] = r
			}
		}
	}
}

func TestGenerateFew(t *testing.T) {
	for n := range 30 {
		if got := len(rides.Generate(n, 1, rides.DefaultMix())); got != n {
			t.Errorf("generated %d rides, want %d", got, n)
		}
	}
	for _, r := range rides.Generate(50, 1, rides.Mix{}) {
		if r.Expect != rides.Completed || r.Damage != "" || strings.Contains(r.CustomerID, "_") {
			t.Errorf("without failures: %+v", r)
		}
	}
}

func TestParseMix(t *testing.T) {
	m, err := rides.ParseMix("fail_auth=5,truncated=0.5")
	if err != nil || len(m) != 2 || m["fail_auth"] != 5 || m["truncated"] != 0.5 {
		t.Errorf("got %v, %v", m, err)
	}
	if m, err := rides.ParseMix("none"); err != nil || len(m) != 0 {
		t.Errorf("none: %v, %v", m, err)
	}
	for text, want := range map[string]string{
		"":                             `"" is not a part of a mix`,
		"fail_auth":                    `"fail_auth" is not a part of a mix; want default, none, or percentages`,
		"fail_luck=1":                  `"fail_luck" is not a failure; want one of fail_auth, `,
		"fail_auth=lots":               `fail_auth is "lots"; want a percentage from 0 to 100`,
		"fail_auth=NaN":                `fail_auth is "NaN"; want a percentage`,
		"fail_auth=1,fail_auth=2":      "fail_auth is there twice",
		"fail_auth=60,fail_credit=60.": "the percentages add up to 120; want at most 100",
	} {
		if _, err := rides.ParseMix(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseMix(%q): error %v, want %q", text, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"rideId":"r1","customerId":"ann","fareId":"f1","fareAmount":"$20.00",` + card + `}`))
	f.Add([]byte("# nothing\n\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := rides.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := rides.Write(&again, list); err != nil {
			t.Fatal(err)
		}
		if back, err := rides.Read(&again); err != nil || !reflect.DeepEqual(list, back) {
			t.Fatalf("read %+v, which reads back as %+v, %v", list, back, err)
		}
	})
}
