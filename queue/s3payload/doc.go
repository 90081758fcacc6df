// Package s3payload keeps the payloads that are too large for a queue in a
// bucket of S3, or of a store that speaks its protocol. It is a
// [queue.PayloadStore]:
//
//	payloads, err := s3payload.New(s3payload.Config{Client: s3.NewFromConfig(cfg), Bucket: "payloads"})
//	...
//	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Payloads: payloads})
//	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Payloads: payloads})
//
// The bucket is the user's: this package makes none, and changes nothing of it.
//
// # Expiry
//
// Nobody deletes a payload (see package queue), and S3 has no expiry of single
// objects. So the bucket needs a lifecycle rule that expires what is under
// Config.Prefix, after Config.ExpireDays:
//
//	{"Rules": [{"ID": "waybill-payloads", "Status": "Enabled",
//	  "Filter": {"Prefix": "waybill/payload/"}, "Expiration": {"Days": 42}}]}
//
// This package does not put that rule, because the call replaces all rules of
// the bucket. [Store.CheckLifecycle] tells whether it is there, for a program to
// ask when it starts; `waybill topology show` asks of the bucket of a configuration.
// A payload that must be kept for longer than ExpireDays is refused, and so its
// message is, too.
//
// A payload that is put again is written again, and so its time begins anew. In
// a bucket with versions, a rule for noncurrent ones removes what that leaves.
//
// # Other stores
//
// Where a store that speaks the protocol is, its client says:
//
//	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
//		o.BaseEndpoint = aws.String("https://minio.internal:9000")
//		o.UsePathStyle = true
//	})
//
// Requests are plain: one PutObject with a length and a Content-MD5, which the
// store compares, and one GetObject of a range. The newer checksums of the SDK,
// which many stores refuse, are off; a payload that is read is compared with the
// SHA-256 in its message.
//
// # Permissions
//
// A publisher needs s3:PutObject on the objects under the prefix
// (arn:aws:s3:::payloads/waybill/payload/*), a subscriber s3:GetObject on them.
// A subscriber also needs s3:ListBucket on the bucket, at least under the condition
// that s3:prefix is below the prefix: without it S3 answers that access is denied
// where a payload is gone, and its message is tried again until it is a dead
// letter. Who redrives dead letters needs what both need. `waybill topology iam`
// prints it for the bucket of a configuration. CheckLifecycle needs s3:GetLifecycleConfiguration on the bucket. With a
// KMS key a publisher needs kms:GenerateDataKey, and a subscriber kms:Decrypt.
// Nothing needs s3:DeleteObject.
//
// A key is the prefix and the SHA-256 of the payload. Who has a payload can tell
// its key, and so, if the bucket lets them look, whether it is there; nobody can
// tell a payload from its key, nor guess the key of one that they do not have.
package s3payload
