package saga

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever a commit records is read back as it was, pairs that are stored as
// one included.
func TestHistoryProperties(t *testing.T) {
	var all []EventType
	for e := range eventCodes {
		all = append(all, e)
	}
	slices.Sort(all)
	rapid.Check(t, func(t *rapid.T) {
		event := rapid.Custom(func(t *rapid.T) Event {
			e := Event{
				Type:    rapid.SampledFrom(all).Draw(t, "type"),
				Step:    rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "step"),
				Attempt: rapid.IntRange(0, 3).Draw(t, "attempt"),
				Outcome: rapid.SampledFrom([]Outcome{"", Done, Unknown, NotDone}).Draw(t, "outcome"),
				Error:   rapid.SampledFrom([]string{"", "x"}).Draw(t, "error"),
				By:      rapid.SampledFrom([]string{"", "ann"}).Draw(t, "by"),
			}
			if e.Type == TaskStateExited {
				e.changed = rapid.Bool().Draw(t, "changed")
			}
			return e
		})
		at := time.UnixMilli(1_700_000_000_000)
		events := rapid.SliceOfN(event, 1, 6).Draw(t, "events")
		data, err := encodeEntry(nil, at, events, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEntries(nil, [][]byte{data}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(events)
		for i := range want {
			want[i].ID, want[i].Time = i+1, at
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s is read as\n%+v, want\n%+v", data, got, want)
		}
	})
}

// Two events are stored as one only where that loses nothing, whatever of them
// is set.
func TestPairsLoseNothing(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	for _, p := range pairs {
		for n := range 2 {
			for i := range reflect.TypeFor[Event]().NumField() {
				events := []Event{
					{Type: p.first, Frame: "F:0", Step: "A"},
					{Type: p.second, Frame: "F:0", Step: "A", Attempt: p.attempt},
				}
				field := reflect.ValueOf(&events[n]).Elem().Field(i)
				name := reflect.TypeFor[Event]().Field(i).Name
				switch name {
				case "ID", "Time", "Type", "State": // not of the stored event
					continue
				case "changed":
					if !events[n].exits() {
						continue
					}
					events[n].changed = true
				case "Attempt", "Fence":
					field.SetInt(7)
				default:
					field.SetString("other")
				}
				data, err := encodeEntry(nil, at, events, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := decodeEntries(nil, [][]byte{data}, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				for i := range events {
					events[i].ID, events[i].Time = i+1, at
				}
				if !reflect.DeepEqual(got, events) {
					t.Errorf("with %s of event %d, %s is read as\n%+v, want\n%+v", name, n+1, data, got, events)
				}
			}
		}
	}
}
