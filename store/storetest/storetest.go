package storetest

import "github.com/waybill-dev/waybill/store"

// A Store has all that package store asks of one.
type Store interface {
	store.Executions
	store.Definitions
	store.Members
	store.Idempotency
}
