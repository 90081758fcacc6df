package payloadstore_test

import (
	"context"
	"fmt"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/config/payloadstore"
	"github.com/waybill-dev/waybill/queue"
)

// Publisher and subscriber have the store that waybill.yaml names.
func Example() {
	ctx := context.Background()
	cfg, err := config.Load(
		config.WithEnviron(nil),
		config.WithValue("aws.endpoint_url", "http://127.0.0.1:4566"),
		config.WithValue("endpoints.fares.url", "sqs://fares"),
		config.WithValue("payloads.store", "s3"),
		config.WithValue("payloads.bucket", "rides-payloads"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	endpoints, err := cfg.Endpoints()
	if err != nil {
		fmt.Println(err)
		return
	}
	awsFor, err := cfg.AWS.LoadFor(ctx, endpoints)
	if err != nil {
		fmt.Println(err)
		return
	}
	store, closeStore, err := payloadstore.Open(ctx, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer closeStore()
	pub, err := queue.NewPublisher(queue.PublisherConfig{
		AWSFor: awsFor, Endpoints: endpoints, Payloads: store, ClaimAbove: cfg.Payloads.ClaimAbove,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pub.Close()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{
		AWSFor: awsFor, Endpoints: endpoints, Payloads: store, MaxPayload: cfg.Payloads.MaxPayload,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	fmt.Println(cfg.Payloads.Bucket, cfg.Payloads.Prefix)
	// Output: rides-payloads waybill/payload/
}
