package memstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		New: func(t *testing.T) storetest.Subject {
			return storetest.Subject{Store: memstore.New(memstore.Config{}), Advance: time.Sleep}
		},
		Bubble: synctest.Test,
	})
}

// still makes stores whose clock stands still.
var still = storetest.Harness{New: func(t *testing.T) storetest.Subject {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	st := memstore.New(memstore.Config{Now: func() time.Time { return now }})
	return storetest.Subject{Store: st, Still: true, Advance: func(d time.Duration) { now = now.Add(d) }}
}}

func TestAnswersTellOneStory(t *testing.T) {
	storetest.Compare(t, still, still)
}
