package store_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

func TestCallID(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		call store.Call
		id   string
		undo bool
		err  string
	}{
		{call: store.Call{Key: "ride-1/1//Charge/1/do"}, id: "ride-1/1//Charge/1"},
		{call: store.Call{Key: "ride-1/1//Charge/1/undo"}, id: "ride-1/1//Charge/1", undo: true},
		{call: store.Call{Key: "ride-1/1//Charge/1/undo", Done: true}, id: "ride-1/1//Charge/1", undo: true},
		{call: store.Call{Key: "ride-1/1/Book@2:0/Hotel/3/do", Part: "ledger"}, id: "ride-1/1/Book@2:0/Hotel/3#ledger"},
		{call: store.Call{Key: "a/do/undo"}, id: "a/do", undo: true},
		{call: store.Call{Key: "ride-1/1//Charge/1/undo/2", Done: true}, id: "ride-1/1//Charge/1", undo: true},
		{call: store.Call{Key: "ride-1/1//Charge/1/undo/13"}, id: "ride-1/1//Charge/1", undo: true},
		{call: store.Call{Key: "a/undo/2/undo"}, id: "a/undo/2", undo: true},
		// The rest is what databases would take for another, or not at all.
		{call: store.Call{Key: "Fahrt ä~#%\x00\xff /do"}, id: "Fahrt%20%C3%A4%7E%23%25%00%FF%20"},
		{call: store.Call{Key: long + "/do"}, id: strings.Repeat("x", 190) + "~" + "0d4e2ca9e9cbced7a7a5380eb29e1a3783b9b6d0db72de36a1051038e1c1fbc7"},
		{call: store.Call{Key: ""}, err: "ends neither in /do"},
		{call: store.Call{Key: "ride-1/1//Charge/1"}, err: "ends neither in /do"},
		{call: store.Call{Key: "a/undo/1"}, err: "ends neither in /do"},
		{call: store.Call{Key: "a/undo/02"}, err: "ends neither in /do"},
		{call: store.Call{Key: "a/undo/-2"}, err: "ends neither in /do"},
		{call: store.Call{Key: "a/do/2"}, err: "ends neither in /do"},
		{call: store.Call{Key: "/do"}, err: "names nothing"},
		{call: store.Call{Key: "/undo/2"}, err: "names nothing"},
		{call: store.Call{Key: "a/do", Done: true}, err: "is an action"},
		{call: store.Call{Key: "a/do", Part: "a b"}, err: `the part "a b"`},
		{call: store.Call{Key: "a/do", Part: long}, err: "more than 64"},
	} {
		id, undo, err := tt.call.ID()
		if tt.err != "" {
			if !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%+v: %v, want ErrInvalid that says %q", tt.call, err, tt.err)
			}
			continue
		}
		if id != tt.id || undo != tt.undo || err != nil {
			t.Errorf("%+v is %q, %t, %v, want %q, %t", tt.call, id, undo, err, tt.id, tt.undo)
		}
	}
}

// TestCallIDProperties: two calls have one id if and only if they are an action
// and its undo, or the same; and every database can keep it.
func TestCallIDProperties(t *testing.T) {
	valid := regexp.MustCompile(`^[!-~]{1,255}$`)
	base := rapid.OneOf(
		rapid.StringMatching(`[ab%#~/]{1,6}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 3), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.IntRange(180, 300), func(n int) string { return strings.Repeat("x", n) }),
		rapid.Map(rapid.IntRange(180, 300), func(n int) string { return strings.Repeat("x", n) + "~" + strings.Repeat("0", 64) }),
	)
	call := rapid.Custom(func(t *rapid.T) store.Call {
		return store.Call{
			Key:  base.Draw(t, "base") + rapid.SampledFrom([]string{"/do", "/undo", "/undo/2"}).Draw(t, "direction"),
			Part: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "part"),
		}
	})
	what := func(c store.Call) string {
		return strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(c.Key, "/2"), "/do"), "/undo") + "\x00\x00" + c.Part
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := call.Draw(t, "a"), call.Draw(t, "b")
		idA, undoA, errA := a.ID()
		idB, _, errB := b.ID()
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if !valid.MatchString(idA) {
			t.Errorf("%q has the id %q", a.Key, idA)
		}
		if undoA != !strings.HasSuffix(a.Key, "/do") {
			t.Errorf("%q is an undo: %t", a.Key, undoA)
		}
		if (idA == idB) != (what(a) == what(b)) {
			t.Errorf("%+v and %+v have the ids %q and %q", a, b, idA, idB)
		}
	})
}

// TestBarrierErrors: package saga knows them by their methods.
func TestBarrierErrors(t *testing.T) {
	refused := fmt.Errorf("wrapped: %w", &store.RefusedError{Key: "k/do"})
	var permanent interface{ Permanent() bool }
	var none interface{ NoEffect() bool }
	if !errors.As(refused, &permanent) || !permanent.Permanent() || !errors.As(refused, &none) || !none.NoEffect() {
		t.Errorf("%v is not permanent and without effect", refused)
	}
	lost := error(&store.NoTraceError{Key: "k/undo"})
	if !errors.As(lost, &permanent) || !permanent.Permanent() || errors.As(lost, &none) {
		t.Errorf("%v is not permanent alone", lost)
	}
	for _, err := range []error{refused, lost} {
		if !strings.Contains(err.Error(), `"k/`) {
			t.Errorf("%v does not name its key", err)
		}
	}
}
