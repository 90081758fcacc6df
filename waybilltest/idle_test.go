package waybilltest_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/waybilltest"
)

// Connections that were opened and never used do not hold up the end.
func TestCloseUnusedConnections(t *testing.T) {
	stack, err := waybilltest.Open(t.Context(), waybilltest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(stack.AWSURL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	start := time.Now()
	if err := stack.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("closing took %v", took)
	}
}
