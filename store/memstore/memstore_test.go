package memstore_test

import (
	"fmt"
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

func TestAnswersOfJobsTellOneStory(t *testing.T) {
	storetest.CompareJobs(t, still, still)
}

func TestAnswersOfLettersTellOneStory(t *testing.T) {
	storetest.CompareLetters(t, still, still)
}

func TestLocks(t *testing.T) {
	storetest.CheckLocks(t, still)
}

// TestForgets: what was released is dropped from memory after its time.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{Partitions: 1})
		const many = 5000
		for i := range many {
			for _, resource := range []string{"hot", fmt.Sprint("l", i)} {
				if _, err := st.ReleaseLock(t.Context(), resource, fmt.Sprint("r", i), time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Millisecond)
		}
		if locks, requests := st.Remembered(); locks > many/2 || requests > many/2 {
			t.Errorf("%d locks and %d requests are remembered of %d", locks, requests, many)
		}
	})
}
