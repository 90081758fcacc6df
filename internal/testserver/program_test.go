package testserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The variable names it, and CI requires the variable. Elsewhere a python3 will do,
// if it has boto3.
func TestPython(t *testing.T) {
	dir := t.TempDir()
	write := func(name, script string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := write("own", "exit 1") // which is not asked
	t.Setenv("PATH", dir)
	for _, tt := range []struct {
		name, ci, value, python3 string
		want, fatal              string
	}{
		{name: "named", value: own, want: own},
		{name: "named, in CI", ci: "true", value: own, want: own},
		{name: "not there", value: dir + "/none", fatal: "set it to a Python that has boto3"},
		{name: "unset in CI", ci: "true", python3: "exit 0", fatal: "CI=true requires it"},
		{name: "unset", python3: "exit 0", want: filepath.Join(dir, "python3")},
		{name: "without boto3", python3: "exit 1"},
		{name: "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CI", tt.ci)
			t.Setenv(PythonEnv, tt.value)
			if tt.python3 != "" {
				defer os.Remove(write("python3", tt.python3))
			}
			got, ok, fatal := call(Python)
			if got != tt.want || ok != (tt.want != "") || (fatal == "") != (tt.fatal == "") || !strings.Contains(fatal, tt.fatal) {
				t.Errorf("got %q, %t, %q; want %q, %q", got, ok, fatal, tt.want, tt.fatal)
			}
		})
	}
}
