package saga

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// What the store hands over is decoded with care: bytes that nobody of ours
// wrote may be refused, and never bring a worker down.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"s":"A","a":1,"d":1}`), []byte(`{}`))
	f.Add([]byte(`{"s":"A","t":1700000000000,"a":3,"n":2,"b":1,"u":true,"r":1,"d":1,"z":[{"s":"A","h":1}]}`), []byte(`{}`))
	f.Add([]byte(`{"s":"A","a":1,"x":true,"o":{},"d":1,"z":[{"s":"A","u":true,"t":9}]}`), []byte(`{}`))
	f.Add([]byte(`{"s":"P","a":1,"p":true,"k":true,"m":{"kind":"failed"},"d":1}`), []byte(`{}`))
	f.Add([]byte(`{"s":"A","x":true,"z":[]}`), []byte(`{}`))
	f.Add([]byte(`{"s":"Nobody"}`), []byte(`{}`))
	f.Add([]byte(`{"o":{"c":{"kind":"cancelled"}}}`), []byte(`{}`))
	f.Add([]byte(`{"s":"Both","f":{"s":"Both","n":2,"b":2,"e":"AQ=="},"d":1}`), []byte(`{"s":"B0","a":1,"d":2,"z":[{"s":"B0"}]}`))
	f.Add([]byte(`{"s":"Both","o":{},"f":{"s":"Both","n":2,"b":2,"u":true},"d":1}`), []byte(`{"s":"","d":2,"z":[{"s":"B0"}]}`))
	f.Add([]byte(`{"s":"A","o":{},"d":1,"z":[{"s":"Both","f":{"s":"Both","n":2,"b":2}}]}`), []byte(`{"d":2,"z":[{"s":"B0","q":1}]}`))
	def := New("s", compensable("A"),
		Parallel("Both", Branch("x", compensable("B0")), Branch("y", compensable("B1"))).Merge(mergeNothing),
		Do("P", nothing).Pivot().Retry(twice), Do("Z", nothing).Retry(twice)).def
	f.Fuzz(func(t *testing.T, data, below []byte) {
		fr, err := decodeFrame(nil, data, def, def.root, "")
		if err != nil {
			return
		}
		b := &bench{def: def, epoch: fr.Parked + 2, now: time.UnixMilli(1_000_000), start: time.UnixMilli(1_000_000), committed: map[string][]byte{
			"f:": data, "f:Both:0": below, "f:Both:1": below,
		}}
		defer func() {
			if err, ok := recover().(error); ok && strings.Contains(err.Error(), "frame") || ok && strings.Contains(err.Error(), "record") {
				return // bench says so when a frame is refused
			} else if ok {
				panic(err)
			}
		}()
		b.resume()
		for range 60 {
			b.settle()
			switch {
			case len(b.jobs) > 0:
				b.m.answer(b.jobs[0].f, result{outcome: Done, state: []byte("1")}, b.now)
			case b.m.status().Ended():
				return
			case !b.wake.IsZero():
				b.open(max(b.wake.Sub(b.now), 0))
			default:
				b.m.retry("", "", b.now)
			}
		}
		t.Errorf("%s does not end: %s", data, brief(b.trace))
	})
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"t":1700000000000,"e":[{"c":1},{"c":101,"s":"A"}],"d":{"fare":1}}`))
	f.Add([]byte(`{"t":-1,"e":[{"c":-1,"a":-1},{"c":0},{"c":102,"g":true}]}`))
	f.Add([]byte(`{"e":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := decodeEntries(nil, [][]byte{data, data}, json.RawMessage(`1`), map[string]json.RawMessage{"": json.RawMessage(`2`)})
		if err != nil {
			return
		}
		for i, e := range events {
			if e.ID != i+1 || e.Type == "" {
				t.Errorf("event %d of %s is %+v", i+1, data, e)
			}
		}
		if _, err := encodeEntry(nil, time.Now(), events, nil); err != nil {
			t.Errorf("%s cannot be written again: %v", data, err)
		}
	})
}
