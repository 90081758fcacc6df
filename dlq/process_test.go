package dlq_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// asProcess is the environment variable that makes this test binary a process of
// a test, and says which.
const asProcess = "WAYBILL_DLQ_PROCESS"

func TestMain(m *testing.M) {
	switch os.Getenv(asProcess) {
	case "server":
		serve()
		return
	case "redrive":
		fmt.Fprintln(os.Stderr, redriveProcess())
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// serve is an emulator that prints its address and ends with its input.
func serve() {
	web := httptest.NewServer(emulator.New(emulator.Config{NoCooldowns: true}))
	fmt.Println(web.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// elsewhere returns an emulator in a process of its own.
func elsewhere(t testing.TB) *server {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), asProcess+"=server")
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stop.Close()
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(client.CloseIdleConnections)
	return newServer(t, "emulator", strings.TrimSpace(url), client)
}
