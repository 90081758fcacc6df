package testserver

import (
	"os"
	"os/exec"
	"testing"
)

// PythonEnv names a Python that has boto3.
const PythonEnv = "WAYBILL_TEST_PYTHON"

// Python returns a Python that has boto3: the one that the variable names, or else
// the first python3 on the PATH, if it has. With CI=true the variable must be set.
func Python(t testing.TB) (path string, ok bool) {
	t.Helper()
	if path = os.Getenv(PythonEnv); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			t.Fatalf("testserver: %s=%q: %v; set it to a Python that has boto3", PythonEnv, path, err)
		}
		return path, true
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("testserver: %s is not set, and CI=true requires it; set it to a Python that has boto3 (`make servers` prints one)", PythonEnv)
	}
	path, err := exec.LookPath("python3")
	if err != nil || exec.Command(path, "-c", "import boto3, sqlite3").Run() != nil {
		return "", false
	}
	return path, true
}
