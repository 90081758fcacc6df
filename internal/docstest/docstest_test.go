// Package docstest holds the README to what it says: its programs to their
// output, and its configuration to what is loaded.
package docstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/waybilltest"
)

var (
	program = regexp.MustCompile("(?s)```go\n(package main\n.*?)```\n\n```\n(.*?)```\n")
	begins  = regexp.MustCompile("(?m)^package main$")
	tests   = regexp.MustCompile("(?s)```go\n(package [a-z]+_test\n.*?)```\n")
	file    = regexp.MustCompile("(?s)```yaml\n(.*?)```\n")
	setting = regexp.MustCompile("(?m)^\\| (`[a-z_]+`(?:, `[a-z_]+`)*) \\|.*\\| (.*) \\|$")
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestREADME runs every program in the README, and compares what it prints with
// the block that follows it.
func TestREADME(t *testing.T) {
	programs := program.FindAllStringSubmatch(readme(t), -1)
	if n := len(begins.FindAllString(readme(t), -1)); n != 2 || len(programs) != n {
		t.Fatalf("the README has %d programs, and the output of %d; want 2", n, len(programs))
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
			if got, want := string(out), p[2]; got != want {
				t.Errorf("it prints\n%s\nand the README says\n%s", got, want)
			}
		})
	}
}

// TestREADMETests runs the tests in the README: all three pass.
func TestREADMETests(t *testing.T) {
	t.Parallel()
	files := tests.FindAllStringSubmatch(readme(t), -1)
	if len(files) != 1 {
		t.Fatalf("the README has %d files of tests, want 1", len(files))
	}
	file := filepath.Join(t.TempDir(), "rides_test.go")
	if err := os.WriteFile(file, []byte(files[0][1]), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"test", "-v", "-count=1", file}, {"vet", file}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		if n := strings.Count(string(out), "--- PASS: "); err != nil || args[0] == "test" && n != 3 {
			t.Errorf("go %s: %v, %d tests pass, want 3\n%s", args[0], err, n, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "gofmt", "-l", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt: %s %v", out, err)
	}
}

// TestREADMERedis puts the lines about a Redis of one's own in the place of those
// that the first program has, and expects the same of it; of a second run, that it
// books nothing.
func TestREADMERedis(t *testing.T) {
	t.Parallel()
	lines := regexp.MustCompile("(?s)```go\n(\tclient := .*?)```\n").FindStringSubmatch(readme(t))
	p := program.FindStringSubmatch(readme(t))
	own := regexp.MustCompile(`(?s)\tstack, err := .*?\tdefer stack\.Close\(\)\n`)
	if lines == nil || !own.MatchString(p[1]) {
		t.Fatal("the README has no such lines, or the program nothing in their place")
	}
	stack := waybilltest.Start(t)
	text := own.ReplaceAllLiteralString(p[1], lines[1]+"\tif err != nil {\n\t\tlog.Fatal(err)\n\t}\n")
	for old, put := range map[string]string{
		"Store: stack.Store":                           "Store: store",
		`"github.com/waybill-dev/waybill/waybilltest"`: `"github.com/redis/go-redis/v9"` + "\n" + `"github.com/waybill-dev/waybill/store/redisstore"`,
		"127.0.0.1:6379":                               stack.RedisAddr,
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the program has no %s", old)
		}
		text = strings.ReplaceAll(text, old, put)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ends := regexp.MustCompile(`(?m)^(Daedalus|Icarus): .*\n`)
	for _, want := range []string{p[2], strings.Join(ends.FindAllString(p[2], -1), "")} {
		cmd := exec.CommandContext(t.Context(), "go", "run", file)
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("it prints\n%s\n%v, want\n%s", out, err, want)
		}
	}
}

// TestREADMEConfiguration loads the file in the README, and compares the
// defaults of an endpoint with the table's.
func TestREADMEConfiguration(t *testing.T) {
	files := file.FindAllStringSubmatch(readme(t), -1)
	if len(files) != 1 {
		t.Fatalf("the README has %d files, want 1", len(files))
	}
	path := filepath.Join(t.TempDir(), config.DefaultFile)
	if err := os.WriteFile(path, []byte(files[0][1]), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.WithFile(path), config.WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Endpoints(); err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	for _, v := range cfg.Values() {
		if name, ok := strings.CutPrefix(v.Key, "endpoints.rides."); ok {
			defaults[name] = "none"
			if v.Source == config.SourceDefault {
				defaults[name] = "`" + v.Value + "`"
			}
		}
	}
	checkTable(t, path, "Of an endpoint", "endpoints.rides.", defaults)

	defaults = map[string]string{"owner": "any"}
	bucket := []config.Option{config.WithFile(path), config.WithEnviron(nil), config.WithValue("payloads.store", "s3"), config.WithValue("payloads.bucket", "b12")}
	if cfg, err = config.Load(bucket...); err != nil {
		t.Fatal(err)
	}
	for _, v := range cfg.Values() {
		if name, ok := strings.CutPrefix(v.Key, "payloads."); ok && v.Source == config.SourceDefault {
			defaults[name] = "`" + v.Value + "`"
		}
	}
	listed := checkTable(t, path, "Of `payloads`", "payloads.", defaults)
	for field := range reflect.TypeFor[config.Payloads]().Fields() {
		if !slices.ContainsFunc(listed, func(name string) bool { return strings.EqualFold(strings.ReplaceAll(name, "_", ""), field.Name) }) {
			t.Errorf("the README does not list %s", field.Name)
		}
	}
}

// checkTable compares the settings and defaults that a table of the README has with
// those that are loaded, and returns the settings.
func checkTable(t *testing.T, path, heading, section string, defaults map[string]string) (listed []string) {
	t.Helper()
	_, table, ok := strings.Cut(readme(t), "| "+heading+" |")
	if !ok {
		t.Fatalf("the README has no table %q", heading)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range setting.FindAllStringSubmatch(table, -1) {
		values := strings.Split(row[2], ", ")
		for i, name := range strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ") {
			listed = append(listed, name)
			got := values[min(i, len(values)-1)]
			if want := defaults[name]; strings.HasPrefix(got, "`") && got != want || strings.HasPrefix(want, "`") && got != want {
				t.Errorf("the README says that %s is %s by default, and it is %s", name, got, want)
			}
			if _, err := config.Load(config.WithFile(path), config.WithEnviron(nil), config.WithValue(section+name, "")); err != nil &&
				strings.Contains(err.Error(), "not a setting") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for name := range defaults {
		if !slices.Contains(listed, name) {
			t.Errorf("the README does not list %s", name)
		}
	}
	return listed
}
