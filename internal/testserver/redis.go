package testserver

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const redisServer = "redis-server"

// HasRedisServer reports whether StartRedis can work: whether redis-server is on
// the PATH. With CI=true it says so in any case, so that a test that wants one
// fails there rather than be left out.
func HasRedisServer() bool {
	_, err := exec.LookPath(redisServer)
	return err == nil || os.Getenv("CI") == "true"
}

// StartRedis starts a redis-server for one test alone, on a port and in a
// directory of its own, and returns its host:port. It evicts nothing, and keeps
// nothing on disk unless the options say so, as on its command line.
func StartRedis(t testing.TB, options ...string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	addr = ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", t.TempDir(), "--save", "",
		"--maxmemory-policy", "noeviction",
	}
	cmd := exec.Command(redisServer, append(args, options...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("testserver: start redis-server: %v", err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var said bytes.Buffer
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stdout)
		for told := false; lines.Scan(); {
			if told {
				continue // it would block on a full pipe
			}
			said.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "Ready to accept connections") {
				told = true
				close(ready)
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // there is nothing to save
		<-ended
		_ = cmd.Wait()
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("testserver: redis-server ended: %s", said.String())
	}
	return addr
}
