// Package docstest holds the programs in the README to what it says of them.
package docstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	program = regexp.MustCompile("(?s)```go\n(package main\n.*?)```\n(?:\n```\n(.*?)```\n)?")
)

// TestREADME runs every program in the README, and compares what it prints with
// the block that follows it, if there is one.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := program.FindAllStringSubmatch(string(text), -1)
	if len(programs) != 2 {
		t.Fatalf("the README has %d programs, want 2", len(programs))
	}
	for _, p := range programs {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(file, []byte(p[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "go", "run", file)
			cmd.Dir = "../.."
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got := string(out)
			if want := p[2]; want != "" && got != want {
				t.Errorf("it prints\n%s\nand the README says\n%s", got, want)
			} else if want == "" && !strings.Contains(got, "12 minutes: 730 cents") {
				t.Errorf("it prints\n%s", got)
			}
		})
	}
}
