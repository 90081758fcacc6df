package testserver

import (
	"os"
	"os/exec"
	"testing"
)

// The environment variables that name programs.
const (
	PythonEnv = "WAYBILL_TEST_PYTHON" // a Python that has boto3
	AWSCLIEnv = "WAYBILL_TEST_AWSCLI" // an AWS CLI, of either version
)

// Python returns a Python that has boto3: the one that the variable names, or else
// the first python3 on the PATH, if it has. With CI=true the variable must be set.
func Python(t testing.TB) (path string, ok bool) {
	t.Helper()
	return program(t, PythonEnv, "a Python that has boto3", "python3", "-c", "import boto3, sqlite3")
}

// AWSCLI returns an AWS CLI: the one that the variable names, or else the first aws
// on the PATH. With CI=true the variable must be set.
func AWSCLI(t testing.TB) (path string, ok bool) {
	t.Helper()
	return program(t, AWSCLIEnv, "an AWS CLI", "aws", "--version")
}

// program returns the program that a variable names, or else the one of that name
// on the PATH, if the arguments work with it.
func program(t testing.TB, env, what, name string, args ...string) (path string, ok bool) {
	t.Helper()
	if path = os.Getenv(env); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			t.Fatalf("testserver: %s=%q: %v; set it to %s", env, path, err, what)
		}
		return path, true
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("testserver: %s is not set, and CI=true requires it; set it to %s (`make servers` prints one)", env, what)
	}
	path, err := exec.LookPath(name)
	if err != nil || exec.Command(path, args...).Run() != nil {
		return "", false
	}
	return path, true
}
