package docstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	named    = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	declared = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
)

// TestCONTRIBUTING sees to it that the tests which it names for the promises of the
// engine and of redrives are there.
func TestCONTRIBUTING(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, dir := range []string{"saga", "store", "dlq"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
				there[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	names := named.FindAllStringSubmatch(string(text), -1)
	if len(names) < 50 {
		t.Errorf("it names %d tests", len(names))
	}
	for _, m := range names {
		if !there[m[1]] {
			t.Errorf("it names %s, which is not there", m[1])
		}
	}
}
