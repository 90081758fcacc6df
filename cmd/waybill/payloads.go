package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/config/payloadstore"
	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/s3payload"
	"github.com/waybill-dev/waybill/queue/topology"
)

// bucketTimeout bounds a look at the bucket of payloads, which is no more than beside
// what a command does.
const bucketTimeout = 15 * time.Second

// checkPayloads tells whether the lifecycle rules of the bucket of payloads do not fit.
// An access point has none.
func (a *app) checkPayloads(ctx context.Context) {
	p := a.loaded.Payloads
	if p.Store != config.PayloadsInS3 || strings.HasPrefix(p.Bucket, "arn:") {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	store, closeStore, err := payloadstore.Open(ctx, a.loaded)
	if err != nil {
		a.note("payloads: %v", err)
		return
	}
	defer closeStore()
	if s, ok := store.(*s3payload.Store); ok {
		err := s.CheckLifecycle(ctx)
		var api smithy.APIError
		switch {
		case err == nil, errors.Is(ctx.Err(), context.Canceled):
		case errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket":
			a.note("payloads.bucket: there is no bucket %s; make it, or mend the name, payloads.region or payloads.endpoint_url", p.Bucket)
		default:
			a.note("payloads: %v", err)
		}
	}
}

// tellStored says why letters are shown without their bodies.
func (a *app) tellStored(letters []*dlq.Letter, stores bool) {
	n, first := 0, error(nil)
	for _, l := range letters {
		if l.Stored {
			if n++; n == 1 {
				first = l.Problem
			}
		}
	}
	switch {
	case n == 0:
	case stores && n == 1:
		a.note("the body of 1 message cannot be had from the store of payloads: %v", first)
	case stores:
		a.note("the bodies of %d messages cannot be had from the store of payloads; the first: %v", n, first)
	case n == 1:
		a.note("the body of 1 message is in a store of payloads; name it under payloads in %s to see it", config.DefaultFile)
	default:
		a.note("the bodies of %d messages are in a store of payloads; name it under payloads in %s to see them", n, config.DefaultFile)
	}
}

// tellUnkept says that payloads in a store keep the time that they had.
func (a *app) tellUnkept(n int) {
	switch n {
	case 0:
	case 1:
		a.note("the payload of 1 message is in a store, and keeps the time that it had; name it under payloads in %s", config.DefaultFile)
	default:
		a.note("the payloads of %d messages are in a store, and keep the time that they had; name it under payloads in %s", n, config.DefaultFile)
	}
}

// payloadsKept returns for how long the store keeps payloads, if that is not as long
// as it is asked to.
func payloadsKept(p config.Payloads) time.Duration {
	if p.Store != config.PayloadsInS3 {
		return 0
	}
	return time.Duration(p.ExpireDays) * 24 * time.Hour
}

// payloadBucket returns the bucket that the configuration names, if it does.
func payloadBucket(p config.Payloads) *topology.PayloadBucket {
	if p.Store != config.PayloadsInS3 {
		return nil
	}
	return &topology.PayloadBucket{Bucket: p.Bucket, Prefix: p.Prefix, KMSKey: p.KMSKey, Place: p.Place()}
}
