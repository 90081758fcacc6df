package emulator_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// BenchmarkLoad does what BenchmarkBatches does with a client that costs next to nothing: requests are built
// before, connections stay open, and of the answers only what is needed is read.
func BenchmarkLoad(b *testing.B) {
	const workers = 4
	addr := strings.TrimPrefix(listen(b, emulator.New(emulator.Config{})), "http://")
	loads := make([]*load, workers)
	for i := range loads {
		loads[i] = newLoad(b, addr, "q"+strconv.Itoa(i))
	}
	rounds := (b.N + 10*workers - 1) / (10 * workers)
	var wg sync.WaitGroup
	b.ResetTimer()
	for _, l := range loads {
		wg.Go(func() {
			for range rounds {
				if err := l.round(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(10*workers*rounds)/b.Elapsed().Seconds(), "msg/s")
}

// A load is one connection that works on one queue.
type load struct {
	conn          net.Conn
	in            *bufio.Reader
	url           string
	send, receive []byte // requests
}

func newLoad(b *testing.B, addr, name string) *load {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	l := &load{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), url: "http://" + addr + "/000000000000/" + name}
	if _, err := l.call(request("CreateQueue", `{"QueueName":"`+name+`"}`)); err != nil {
		b.Fatal(err)
	}
	var entries []string
	for i := range 10 {
		entries = append(entries, fmt.Sprintf(`{"Id":"%d","MessageBody":%q}`, i, strings.Repeat("x", 256)))
	}
	l.send = request("SendMessageBatch", `{"QueueUrl":"`+l.url+`","Entries":[`+strings.Join(entries, ",")+`]}`)
	l.receive = request("ReceiveMessage", `{"QueueUrl":"`+l.url+`","MaxNumberOfMessages":10}`)
	return l
}

func request(operation, body string) []byte {
	return fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.%s\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n%s", operation, len(body), body)
}

// round sends ten messages, receives them and deletes them.
func (l *load) round() error {
	if _, err := l.call(l.send); err != nil {
		return err
	}
	got, err := l.call(l.receive)
	if err != nil {
		return err
	}
	body := []byte(`{"QueueUrl":"` + l.url + `","Entries":[`)
	n := 0
	for mark := []byte(`"ReceiptHandle":"`); ; n++ {
		i := bytes.Index(got, mark)
		if i < 0 {
			break
		}
		got = got[i+len(mark):]
		handle := got[:bytes.IndexByte(got, '"')]
		if n > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"Id":"%d","ReceiptHandle":"%s"}`, n, handle)
	}
	if n != 10 {
		return fmt.Errorf("received %d messages, want 10", n)
	}
	_, err = l.call(request("DeleteMessageBatch", string(append(body, "]}"...))))
	return err
}

// call sends a request, and returns the body of its answer.
func (l *load) call(request []byte) ([]byte, error) {
	if _, err := l.conn.Write(request); err != nil {
		return nil, err
	}
	length := 0
	for first := true; ; first = false {
		line, err := l.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return nil, fmt.Errorf("the answer is %s", line)
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
				return nil, err
			}
		}
		if len(line) == 2 {
			break
		}
	}
	body := make([]byte, length)
	_, err := io.ReadFull(l.in, body)
	return body, err
}
