package queue_test

import (
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// TestStatsOfOneConfig holds that an aws.Config which counts requests can be
// given to a publisher that counts them as well: in the same Stats once, and in
// another beside it.
func TestStatsOfOneConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		before := requests(s)
		all, own := new(queue.Stats), new(queue.Stats)
		s.aws.APIOptions = append(s.aws.APIOptions, all.Count)
		for _, stats := range []*queue.Stats{all, own, nil} {
			p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Stats: stats})
			if err := p.Publish("sqs://q", message.NewMessage("u", []byte("x"))); err != nil {
				t.Fatal(err)
			}
		}
		if n := all.Figures().Total(); n != requests(s)-before || n != 6 {
			t.Errorf("counted %d requests, and the server %d; want 6", n, requests(s)-before)
		}
		if n := own.Figures().Total(); n != 2 {
			t.Errorf("counted %d requests of one publisher, want 2", n)
		}
	})
}
