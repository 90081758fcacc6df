package main

import (
	"bytes"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/waybill-dev/waybill/waybilltest"
)

// played plays scenes, which are made within the bubble, on virtual time.
func played(t *testing.T, scenes func() []scene) (ok bool, output string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a, e := openAgency(t.Context(), waybilltest.Config{NoSockets: true}, &out, slog.New(slog.DiscardHandler))
		if e != nil {
			t.Fatal(e)
		}
		ok, err = demo(t.Context(), a, scenes())
		if e := a.stop(); e != nil {
			t.Error(e)
		}
		output = out.String()
	})
	return ok, output, err
}

// TestDemo plays every scene, and holds the README to what they print: what is
// undone, in which order, and what each undo is told.
func TestDemo(t *testing.T) {
	ok, got, err := played(t, scenes)
	if !ok || err != nil {
		t.Errorf("it is not well: %v\n%s", err, got)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n```\n(1\\. .*?)```\n").FindSubmatch(text)
	if block == nil || string(block[1]) != got {
		t.Errorf("it prints\n%s\nand the README has something else", got)
	}
}

// TestDemoNotices: what is not as it should be is said, and the demo has failed.
func TestDemoNotices(t *testing.T) {
	for want, spoil := range map[string]func(*scene){
		"Ada's trip is compensated: Outbound failed: fog, and Ada has nothing; want it completed": func(s *scene) {
			s.troubles = map[string]*trouble{"the outbound flight": {no: "fog"}}
		},
		"1240 euros less; want it completed, with nothing": func(s *scene) { s.holds = nothing },
	} {
		ok, got, err := played(t, func() []scene {
			list := scenes()[:1]
			spoil(&list[0])
			return list
		})
		if ok || err != nil || !strings.Contains(got, "\nTHIS MUST NOT BE: ") || !strings.Contains(got, want) {
			t.Errorf("%t, %v, it prints\n%s\nwant %q", ok, err, got, want)
		}
	}
}

// TestProgram plays the demo in real time, over sockets.
func TestProgram(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), nil, &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
		t.Errorf("exit status %d\n%s\n%s", status, &stdout, &stderr)
	}
	if !strings.HasSuffix(stdout.String(), "\n9 trips: 2 made, 7 undone\n") {
		t.Errorf("it prints\n%s", &stdout)
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-h"}, exitOK, "Usage of trip"},
		{[]string{"-speed"}, exitUsage, "flag provided but not defined: -speed"},
		{[]string{"paris"}, exitUsage, `it takes no argument, and got "paris"`},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), tt.args, &stdout, &stderr); status != tt.status || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%q: exit status %d, %s", tt.args, status, &stderr)
		}
	}
}
