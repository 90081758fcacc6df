package emulator_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// A file is replaced as a whole, at every interval with a request and at the end.
func TestKeepFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	synctest.Test(t, func(t *testing.T) {
		s, c := newSQS(t, emulator.Config{})
		if err := s.RestoreFile(path); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.KeepFile(ctx, path, time.Minute) }()
		messages := func() int {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Count(string(text), `{"m":{`)
		}
		url := createQueue(t, c, "q")
		send(t, c, url, "a")
		time.Sleep(time.Minute + time.Second)
		if n := messages(); n != 1 {
			t.Errorf("%d messages are in the file, want 1", n)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file is %v, %v", info, err)
		}
		time.Sleep(time.Hour)
		if later, err := os.Stat(path); err != nil || !os.SameFile(info, later) {
			t.Errorf("it was written again though nothing was asked: %v", err)
		}
		send(t, c, url, "b")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := messages(); n != 2 {
			t.Errorf("%d messages are in the file at the end, want 2", n)
		}
		again := emulator.New(emulator.Config{})
		if err := again.RestoreFile(path); err != nil {
			t.Error(err)
		}
		if got := receive(t, sqs.NewFromConfig(awsConfig(again)), url, func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 10 }); len(got) != 2 {
			t.Errorf("received %v, want both", got)
		}
	})
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	if err := emulator.New(emulator.Config{}).SaveFile(filepath.Join(dir, "none", "state")); err == nil {
		t.Error("saved to a directory that is not there")
	}
	if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := emulator.New(emulator.Config{}).RestoreFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("restored from half a file: %v", err)
	}
}

// What a request does after the file was written is in it an interval later, though no request comes any more; what
// only looks has nothing written.
func TestKeepFileOfWhatComesLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		s, c := newSQS(t, emulator.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.KeepFile(ctx, path, time.Minute) }()
		url := createQueue(t, c, "q")
		s.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{Delay: 90 * time.Second} })
		send(t, c, url, "late")
		s.SetFault(nil)
		time.Sleep(time.Minute)
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), `"b":"late"`) {
			t.Errorf("the file has %s, %v", text, err)
		}
		empty := createQueue(t, c, "empty")
		time.Sleep(time.Minute)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			receive(t, c, empty, waiting(20))
			if _, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &empty}); err != nil {
				t.Fatal(err)
			}
		}
		if later, err := os.Stat(path); err != nil || !os.SameFile(info, later) {
			t.Errorf("it was written again though nothing changed: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestKeepFileChanges holds that what changes without a request is saved: what a move task moves, and the dead
// letters of a receive that returns nothing.
func TestKeepFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		s, c := newSQS(t, emulator.Config{})
		m := &mover{T: t, sqs: c, dlq: createQueue(t, c, "dlq")}
		m.url = createQueue(t, c, "q", "VisibilityTimeout", "0", "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+`dlq","maxReceiveCount":1}`)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.KeepFile(ctx, path, time.Second) }()
		saved := func(what, want string) {
			t.Helper()
			time.Sleep(time.Second + time.Millisecond)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dead, _, _ := strings.Cut(string(text), `"name":"q"`) // the queues are in order
			if got := fmt.Sprint(strings.Count(dead, `{"m":{`)); got != want {
				t.Errorf("%s: %s dead letters are saved, want %s", what, got, want)
			}
		}
		send(t, c, m.url, "x")
		receive(t, c, m.url)
		saved("received", "0")
		receive(t, c, m.url)
		saved("received too often", "1")
		m.start(atRate(1))
		time.Sleep(time.Second)
		saved("moved", "0")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestKeepFileTidies holds that what a killed process left of its saving goes, and nothing else.
func TestKeepFileTidies(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".state.123", ".state.bak", ".state.", ".state.12x", ".other.1", "state.1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := emulator.New(emulator.Config{}).KeepFile(ctx, filepath.Join(dir, "state"), time.Minute); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != ".other.1 .state. .state.12x .state.bak state state.1" {
		t.Errorf("left are %s", got)
	}
}
