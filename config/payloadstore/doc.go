// Package payloadstore opens the store of payloads that the configuration names, as
// `waybill dlq` does:
//
//	cfg, err := config.Load()
//	store, closeStore, err := payloadstore.Open(ctx, cfg)
//	...
//	defer closeStore()
//
// Publishers take it as Payloads, with the configuration's ClaimAbove, subscribers
// with its MaxPayload, and dlq.Config does, too. With no store in the configuration
// it is nil, and all of them take that for none.
//
// The store is a [queue/redispayload] or a [queue/s3payload], whose documentation
// says what it needs: a Redis that does not evict, or a bucket with a lifecycle
// rule, which s3payload.Store.CheckLifecycle looks for:
//
//	if s, ok := store.(*s3payload.Store); ok {
//		err := s.CheckLifecycle(ctx)
//	}
//
// The package is apart from config, so that only programs that import it have a
// client of S3 in them.
//
// [queue/redispayload]: https://pkg.go.dev/github.com/waybill-dev/waybill/queue/redispayload
// [queue/s3payload]: https://pkg.go.dev/github.com/waybill-dev/waybill/queue/s3payload
package payloadstore
