package fare_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
)

func TestUnmarshal(t *testing.T) {
	right := `{"rideId":"r1","fareId":"f1","customerId":"ann","fareAmount":"$20.00","cardToken":"tok_1"}`
	var f fare.Fare
	if err := json.Unmarshal([]byte(right), &f); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(f)
	if err != nil || string(data) != right {
		t.Errorf("written as %s, %v; want %s", data, err, right)
	}
	tests := []struct {
		old, new string
		want     error
	}{
		{`"$20.00"`, `"-$20.00"`, fare.ErrNegative},
		{`"$20.00"`, `"$0.00"`, fare.ErrZero},
		{`"$20.00"`, `"$1000000.00"`, fare.ErrAbsurd},
		{`"$20.00"`, `"$1000.01"`, fare.ErrAbsurd},
		{`"$20.00"`, `"see receipt"`, money.ErrFormat},
		{`"r1"`, `""`, fare.ErrMissing},
		{`"f1"`, `""`, fare.ErrMissing},
		{`"tok_1"`, `"4242424242424242"`, fare.ErrToken},
	}
	for _, tt := range tests {
		text := strings.Replace(right, tt.old, tt.new, 1)
		var f fare.Fare
		err := json.Unmarshal([]byte(text), &f)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", text, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "4242") {
			t.Errorf("the error shows a card: %v", err)
		}
		if f != (fare.Fare{}) {
			t.Errorf("%s: read as %+v, want nothing", text, f)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"rideId":"r1","fareId":"f1","customerId":"ann","fareAmount":"$20.00","cardToken":"tok_1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got fare.Fare
		if json.Unmarshal(data, &got) != nil {
			return
		}
		if err := fare.CheckAmount(got.Amount); err != nil {
			t.Fatalf("read %+v: %v", got, err)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back fare.Fare
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, got) {
			t.Fatalf("%s reads back as %+v, %v", text, back, err)
		}
	})
}
