package waybilltest_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/waybilltest"
)

// TestDataThatCannotBeWritten holds that a stack that cannot keep its file does not start.
func TestDataThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "state")
	s, err := waybilltest.Open(t.Context(), waybilltest.Config{NoSockets: true, Data: path})
	if err == nil {
		t.Fatal("started", s.Close())
	}
	if !strings.Contains(err.Error(), path) {
		t.Errorf("%v, which does not name %s", err, path)
	}
}

// TestDataOfAnother holds that a stack that cannot start leaves the file to the one that keeps it.
func TestDataOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	first, err := waybilltest.Open(t.Context(), waybilltest.Config{NoSockets: true, Data: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if s, err := waybilltest.Open(t.Context(), waybilltest.Config{AWSAddr: ln.Addr().String(), Data: path}); err == nil {
		t.Fatal("started", s.Close())
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("the file was written: %v, %v", info, err)
	}
}
