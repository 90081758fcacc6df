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
