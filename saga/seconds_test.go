package saga

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestFormatOfDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", time.Minute: "60", 200 * time.Millisecond: "0.2", 366*24*time.Hour + 1: "31622400.000000001", -1500 * time.Millisecond: "-1.5",
	} {
		got, err := json.Marshal(seconds(d))
		if err != nil || string(got) != want {
			t.Errorf("%s is written as %s, %v, want %s", d, got, err, want)
		}
	}
	for _, d := range []time.Duration{0, 1, time.Millisecond, 90 * time.Second, 366*24*time.Hour + time.Millisecond, -time.Second} {
		data, err := json.Marshal(seconds(d))
		if err != nil {
			t.Fatal(err)
		}
		var back seconds
		if err := json.Unmarshal(data, &back); err != nil || time.Duration(back) != d {
			t.Errorf("%s is read as %s, %v, want %s", data, time.Duration(back), err, d)
		}
	}
	if _, err := json.Marshal(seconds(math.MinInt64)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`"1m"`, `1e999`, `3600000000000000`, `{}`} {
		var s seconds
		if err := json.Unmarshal([]byte(bad), &s); err == nil || !strings.Contains(err.Error(), "seconds") {
			t.Errorf("%s is read as %s, %v", bad, time.Duration(s), err)
		}
	}
	golden(t, RetryOn{Errors: []string{"Busy"}, Retry: Retry{Attempts: 3, Initial: 200 * time.Millisecond, Factor: 2, Max: time.Minute, Jitter: 0.5}},
		`{"errors":["Busy"],"attempts":3,"initial":0.2,"factor":2,"max":60,"jitter":0.5}`)
	golden(t, LockDef{Name: "account", Wait: time.Hour}, `{"name":"account","wait":3600}`)
	golden(t, State{Name: "W", Type: TypeWait, Wait: 90 * time.Second, Heartbeat: time.Second}, `{"name":"W","type":"Wait","heartbeat":1,"wait":90}`)
}
