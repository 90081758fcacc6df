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
	args := strings.Split(os.Getenv(workerEnv), ",")
	if len(args) != 3 {
		goleak.VerifyTestMain(m)
	}
	if err := work(args[0], args[1], args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
