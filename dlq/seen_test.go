package dlq_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/dlq"
)

// What queues held is kept from one time to the next, by account, region and URL.
func TestSeen(t *testing.T) {
	s := embedded(t)
	s.queue("dlq", "", 0)
	s.queue("fares", "dlq", 3)
	path := filepath.Join(t.TempDir(), "new", "seen.json")
	seen, now := dlq.NewSeen(path), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	list := func() []dlq.Queue {
		t.Helper()
		list, err := s.client().List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		return list
	}
	note := func(at time.Time) *dlq.Growth {
		t.Helper()
		l := list()
		if err := seen.Note(l, at); err != nil {
			t.Fatal(err)
		}
		return l[0].Growth
	}
	s.sendMany("dlq", 5)
	if g := note(now); g != nil {
		t.Errorf("at first it has grown by %+v", g)
	}
	s.sendMany("dlq", 2)
	if g := note(now.Add(time.Hour)); g == nil || *g != (dlq.Growth{Messages: 2, Before: 5, Since: now}) {
		t.Errorf("then by %+v", g)
	}
	if g := note(now.Add(2 * time.Hour)); g == nil || g.Messages != 0 || !g.Since.Equal(now.Add(time.Hour)) {
		t.Errorf("and then by %+v", g)
	}
	if g := note(now); g != nil { // the clock was set back
		t.Errorf("before it was seen by %+v", g)
	}
	if text := asJSON(t, list()[0]); strings.Contains(text, "growth") {
		t.Errorf("not asked for, it is %s", text)
	}

	// Others do not read it, and it stands alone.
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info, err)
	}
	if files, err := filepath.Glob(filepath.Dir(path) + "/*"); err != nil || len(files) != 1 {
		t.Errorf("its directory has %q, %v", files, err)
	}

	// Damage is told, and done with.
	for _, damage := range []string{"", "{", `{"v":2,"queues":{}}`, `[]`, "\x00"} {
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		l := list()
		if err := seen.Note(l, now); err == nil || !strings.Contains(err.Error(), "is damaged, or of another release; it is begun anew") || l[0].Growth != nil {
			t.Errorf("%q: %+v, %v", damage, l[0].Growth, err)
		}
		if g := note(now.Add(time.Hour)); g == nil || g.Messages != 0 {
			t.Errorf("%q: after it, grown by %+v", damage, g)
		}
	}
	// What is not seen for long is forgotten.
	other := embedded(t)
	other.queue("dlq", "", 0)
	other.queue("fares", "dlq", 3)
	l, err := other.client().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := seen.Note(l, now.Add(100*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if g := note(now.Add(101 * 24 * time.Hour)); g != nil {
		t.Errorf("after 100 days, grown by %+v", g)
	}

	// A place that cannot be written is an error, and no more.
	l = list()
	if err := dlq.NewSeen(filepath.Join(path, "x", "y")).Note(l, now); err == nil || !strings.Contains(err.Error(), "what was seen") {
		t.Errorf("below a file: %v", err)
	}
}

func TestSeenPath(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	if p, err := dlq.SeenPath(); err != nil || p != filepath.FromSlash("/state/waybill/dlq-seen.json") {
		t.Errorf("%s, %v", p, err)
	}
	t.Setenv("HOME", "/home/ann")
	for _, relative := range []string{"", "state"} {
		t.Setenv("XDG_STATE_HOME", relative)
		if p, err := dlq.SeenPath(); err != nil || p != filepath.FromSlash("/home/ann/.local/state/waybill/dlq-seen.json") {
			t.Errorf("%s, %v", p, err)
		}
	}
	t.Setenv("HOME", "")
	if p, err := dlq.SeenPath(); err == nil {
		t.Errorf("without a home it is %s", p)
	}
}
