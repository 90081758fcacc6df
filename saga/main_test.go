package saga_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests or, where the environment says so, a worker process
// for them.
func TestMain(m *testing.M) {
	worker := os.Getenv(workerEnv)
	if worker == "" {
		goleak.VerifyTestMain(m)
	}
	if err := work(strings.Split(worker, ",")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
