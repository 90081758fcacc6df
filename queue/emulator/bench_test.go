package emulator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// BenchmarkBatches sends, receives and deletes messages of 256 bytes in batches of ten, as a transport
// would, and reports messages a second, end to end and with the client in the same process.
func BenchmarkBatches(b *testing.B) {
	for _, socket := range []bool{false, true} {
		b.Run(map[bool]string{false: "direct", true: "socket"}[socket], func(b *testing.B) {
			s := emulator.New(emulator.Config{})
			client, endpoint := s.Client(), "http://emulator"
			if socket {
				endpoint = listen(b, s)
				client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
			}
			call := func(operation, body string) []byte {
				r, err := http.NewRequest(http.MethodPost, endpoint+"/", strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("X-Amz-Target", "AmazonSQS."+operation)
				r.Header.Set("Content-Type", "application/x-amz-json-1.0")
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return nil
				}
				defer resp.Body.Close()
				out, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Errorf("%s: %d %s, %v", operation, resp.StatusCode, out, err)
				}
				return out
			}
			const workers = 4
			urls := make([]string, workers)
			for i := range urls {
				call("CreateQueue", fmt.Sprintf(`{"QueueName":"q%d"}`, i))
				urls[i] = endpoint + "/000000000000/q" + strconv.Itoa(i)
			}
			payload := strings.Repeat("x", 256)
			var wg sync.WaitGroup
			b.ResetTimer()
			for i := range workers {
				var send bytes.Buffer
				fmt.Fprintf(&send, `{"QueueUrl":%q,"Entries":[`, urls[i])
				for j := range 10 {
					if j > 0 {
						send.WriteByte(',')
					}
					fmt.Fprintf(&send, `{"Id":"%d","MessageBody":%q,"MessageAttributes":{"id":{"DataType":"String","StringValue":"0123456789abcdef"}}}`, j, payload)
				}
				send.WriteString("]}")
				receive := fmt.Sprintf(`{"QueueUrl":%q,"MaxNumberOfMessages":10,"MessageAttributeNames":["All"],"MessageSystemAttributeNames":["All"]}`, urls[i])
				wg.Go(func() {
					for range (b.N + 10*workers - 1) / (10 * workers) {
						call("SendMessageBatch", send.String())
						var got struct {
							Messages []struct{ ReceiptHandle string }
						}
						if err := json.Unmarshal(call("ReceiveMessage", receive), &got); err != nil {
							b.Error(err)
						}
						var del strings.Builder
						fmt.Fprintf(&del, `{"QueueUrl":%q,"Entries":[`, urls[i])
						for j, m := range got.Messages {
							if j > 0 {
								del.WriteByte(',')
							}
							fmt.Fprintf(&del, `{"Id":"%d","ReceiptHandle":%q}`, j, m.ReceiptHandle)
						}
						del.WriteString("]}")
						call("DeleteMessageBatch", del.String())
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
