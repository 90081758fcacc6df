//go:build unix

package emulator_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// BenchmarkIdlePolls keeps long polls of an empty queue open behind a socket, and reports the part of one
// processor that this process takes meanwhile, with the clients in it.
func BenchmarkIdlePolls(b *testing.B) {
	for _, polls := range []int{0, 1000} {
		b.Run(fmt.Sprintf("polls=%d", polls), func(b *testing.B) {
			s := emulator.New(emulator.Config{})
			endpoint := listen(b, s)
			transport := &http.Transport{MaxIdleConnsPerHost: polls}
			b.Cleanup(transport.CloseIdleConnections)
			client := &http.Client{Transport: transport}
			call := func(operation, body string, want int) {
				r, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("X-Amz-Target", "AmazonSQS."+operation)
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				if err := resp.Body.Close(); err != nil || resp.StatusCode != want {
					b.Errorf("%s: %s, %v", operation, resp.Status, err)
				}
			}
			call("CreateQueue", `{"QueueName":"q"}`, http.StatusOK)
			url := endpoint + "/000000000000/q"
			var idle sync.WaitGroup
			for range polls {
				idle.Go(func() { call("ReceiveMessage", `{"QueueUrl":"`+url+`","WaitTimeSeconds":20}`, http.StatusBadRequest) })
			}
			for s.Waiting("us-east-1", "q") < polls {
				time.Sleep(time.Millisecond)
			}
			const period = 5 * time.Second
			before := ownCPU(b)
			for b.Loop() {
				time.Sleep(period)
			}
			b.ReportMetric(float64(ownCPU(b)-before)/float64(b.Elapsed()), "processors")
			call("DeleteQueue", `{"QueueUrl":"`+url+`"}`, http.StatusOK) // which ends the polls
			idle.Wait()
		})
	}
}

func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
