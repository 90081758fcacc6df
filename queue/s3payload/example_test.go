package s3payload_test

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/s3payload"
)

// Payloads of more than 64 KiB go to a bucket of a store that speaks the protocol
// of S3.
func Example() {
	cfg := aws.Config{Region: "eu-central-1"} // config.LoadDefaultConfig(ctx)
	payloads, err := s3payload.New(s3payload.Config{
		Client: s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.BaseEndpoint = aws.String("https://minio.internal:9000") // not for S3 itself
			o.UsePathStyle = true
		}),
		Bucket: "payloads",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Payloads: payloads, ClaimAbove: 64 << 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pub.Close()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Payloads: payloads, MaxPayload: 16 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	fmt.Println("ready")
	// Output: ready
}
