package saga_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A completion that a queue delivers again is acknowledged; another one with the
// same token is refused for good.
func TestRepeatedCompletionIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := make(chan string, 1)
		s := saga.New("trip", saga.Callback[trip, int]("C", func(ctx context.Context, _ *trip) error {
			tokens <- saga.StepFrom(ctx).Token
			return nil
		}, nil).ReadOnly(), saga.Wait[trip]("W", time.Hour))
		c, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Fatal(err)
		}
		token := <-tokens
		time.Sleep(time.Second)
		say := func(result string) error {
			return c.HandleMessage(message.NewMessage("m1", []byte(`{"waybill":1,"complete":"`+token+`","result":`+result+`}`)))
		}
		for n := range 3 {
			if err := say("1"); err != nil {
				t.Errorf("delivery %d: %v", n+1, err)
			}
			time.Sleep(time.Duration(n) * time.Second)
		}
		if err := say("2"); !permanent(err) {
			t.Errorf("another completion: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
