package waybilltest

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Neither end waits for the other to read.
func TestConnBuffers(t *testing.T) {
	client, server := connect()
	text := strings.Repeat("0123456789", 100_000)
	for _, end := range []net.Conn{client, server} {
		if n, err := io.WriteString(end, text); n != len(text) || err != nil {
			t.Fatalf("wrote %d bytes, %v", n, err)
		}
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	// What was written before the end is read before the end.
	if got, err := io.ReadAll(client); string(got) != text || err != nil {
		t.Errorf("read %d bytes, %v; want %d", len(got), err, len(text))
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("to an end that was closed: %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after its own end: read %v", err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after its own end: write %v", err)
	}
}

// A read that waits ends with the data, with either end, or with its deadline.
func TestConnReadWaits(t *testing.T) {
	past := time.Unix(1, 0)
	for name, tt := range map[string]struct {
		do   func(client, server net.Conn) error
		text string
		want error
	}{
		"data":          {func(_, s net.Conn) error { _, err := io.WriteString(s, "hello"); return err }, "hello", nil},
		"other's end":   {func(_, s net.Conn) error { return s.Close() }, "", io.EOF},
		"own end":       {func(c, _ net.Conn) error { return c.Close() }, "", net.ErrClosed},
		"deadline past": {func(c, _ net.Conn) error { return c.SetDeadline(past) }, "", os.ErrDeadlineExceeded},
		"deadline comes": {func(c, _ net.Conn) error {
			return c.SetReadDeadline(time.Now().Add(time.Minute))
		}, "", os.ErrDeadlineExceeded},
		"deadline moved": {func(c, s net.Conn) error {
			err := errors.Join(c.SetReadDeadline(time.Now().Add(time.Minute)), c.SetReadDeadline(time.Time{}))
			time.Sleep(time.Hour)
			_, wrote := io.WriteString(s, "late")
			return errors.Join(err, wrote)
		}, "late", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := connect()
				defer server.Close()
				defer client.Close()
				done := make(chan struct{})
				go func() {
					defer close(done)
					p := make([]byte, 10)
					if n, err := client.Read(p); string(p[:n]) != tt.text || !errors.Is(err, tt.want) {
						t.Errorf("read %q, %v; want %q, %v", p[:n], err, tt.text, tt.want)
					}
				}()
				synctest.Wait()
				if err := tt.do(client, server); err != nil {
					t.Error(err)
				}
				<-done
			})
		})
	}
}

func TestConnWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect()
		defer server.Close()
		defer client.Close()
		if err := client.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("in time")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if _, err := client.Write([]byte("late")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after its deadline: %v", err)
		}
		if err := client.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("in time again")); err != nil {
			t.Error(err)
		}
	})
}
