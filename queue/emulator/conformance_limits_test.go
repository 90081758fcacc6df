package emulator_test

import (
	"strings"
	"sync"
	"time"

	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// crowded makes a queue whose 120,000 messages in flight lack two, and puts three in it. The others are not
// there, but counted: the rules run on the emulator alone.
func (p *probe) crowded(url string) string {
	p.server.Crowd("us-east-1", url[strings.LastIndexByte(url, '/')+1:], 119_998)
	p.sendAll(url, "a1", "b1", "c1")
	return url
}

// waitFor receives with a long poll while room is made a second later, and returns what came and when.
func (p *probe) waitFor(url string, m sqstypes.Message) (got []sqstypes.Message, after time.Duration) {
	var other sync.WaitGroup
	other.Go(func() {
		p.sleep(time.Second)
		_ = p.tryDelete(url, m.ReceiptHandle)
	})
	start := time.Now()
	got = p.receive(url, waiting(20))
	after = time.Since(start)
	other.Wait()
	return got, after
}

var limitRules = []rule{
	{
		name: "limits/in-flight", source: guide(quotas), long: true,
		says: "With 120,000 messages of a standard queue in flight, a receive is OverLimit.",
		test: func(p *probe) {
			url := p.crowded(p.queue())
			got := p.came(p.receive(url), "a1 b1")
			_, err := p.tryReceive(url)
			p.refused(err, "OverLimit", "with 120,000 messages in flight")
			p.delete(url, got[0].ReceiptHandle)
			p.came(p.receive(url), "c1")
		},
	},
	{
		name: "limits/long-poll", source: guide(quotas), long: true,
		says: "A long poll waits for room instead.",
		test: func(p *probe) {
			url := p.crowded(p.queue())
			got, after := p.waitFor(url, p.came(p.receive(url), "a1 b1")[0])
			p.came(got, "c1")
			p.equal("the time it waited", after, time.Second)
		},
	},
	{
		name: "limits/fifo", source: api("ChangeMessageVisibility"), long: true,
		says: "With 120,000 messages of a FIFO queue in flight, a receive returns nothing, and no error.",
		test: func(p *probe) {
			url := p.crowded(p.byContent())
			got := p.came(p.receive(url), "a1 b1")
			p.empty(url, "with 120,000 messages in flight")
			got, after := p.waitFor(url, got[0])
			p.came(got, "c1")
			p.equal("the time it waited", after, time.Second)
		},
	},
}
