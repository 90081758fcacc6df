package demo

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
)

// TestReach: a server that is not there, or does not answer, is named, and waited
// for only so long.
func TestReach(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and no more
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	file := filepath.Join(t.TempDir(), "waybill.yaml")
	if err := os.WriteFile(file, []byte("endpoints: {rides: {url: sqs://rides}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const closed = "127.0.0.1:1"
	mute := silent.Addr().String()
	for name, tt := range map[string]struct {
		endpoint, redis string
		want, told      string
		refused         bool
	}{
		"closed queues": {endpoint: "http://" + closed, want: "SQS and SNS at http://127.0.0.1:1: ", refused: true},
		"silent queues": {
			endpoint: "http://" + mute,
			want:     "SQS and SNS at http://" + mute + ": no answer within 1.5s: ",
			told:     "saga: waiting for SQS and SNS at http://" + mute + "\n",
		},
		"closed Redis": {redis: closed, want: "Redis at 127.0.0.1:1: ", refused: true},
		"silent Redis": {
			redis: "redis://ada:secret@" + mute,
			want:  "Redis at redis://" + mute + ": no answer within 1.5s: ",
			told:  "saga: waiting for Redis at redis://" + mute + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var progress bytes.Buffer
			_, err := Run(t.Context(), Config{
				Mode: worker.Saga, File: file, Endpoint: tt.endpoint, Redis: tt.redis,
				Patience: 1500 * time.Millisecond, Progress: &progress,
			})
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || errors.Is(err, syscall.ECONNREFUSED) != tt.refused {
				t.Errorf("got %v, want %s..., connection refused: %t", err, tt.want, tt.refused)
			}
			if !strings.HasPrefix(progress.String(), tt.told) || strings.Contains(progress.String(), "secret") {
				t.Errorf("it told %q, want %q", progress.String(), tt.told)
			}
		})
	}
}
