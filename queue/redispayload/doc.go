// Package redispayload keeps the payloads that are too large for a queue in
// Redis. It is a [queue.PayloadStore]:
//
//	payloads, err := redispayload.New(redispayload.Config{Client: client})
//	...
//	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Payloads: payloads})
//	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Payloads: payloads})
//
// Payloads are there for weeks (see package queue), so this is for those that
// are a little too large, and few. The Redis must not evict, and is to persist:
// what it loses leaves messages without their payload.
package redispayload
