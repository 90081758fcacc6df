package payloadstore

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/redispayload"
	"github.com/waybill-dev/waybill/queue/s3payload"
)

// Open returns the store that the configuration names, which is a
// *[redispayload.Store] or a *[s3payload.Store], and a function that closes the
// connections it has of its own. With no store configured it is nil. The store is
// asked nothing. The options are for the client of S3 alone.
//
// A profile that cannot be read is an error; so is [config.ErrNoRegion].
func Open(ctx context.Context, cfg *config.Config, opts ...func(*awsconfig.LoadOptions) error) (store queue.PayloadStore, closeStore func() error, err error) {
	switch p := cfg.Payloads; p.Store {
	case "":
		return nil, func() error { return nil }, nil
	case config.PayloadsInRedis:
		return openRedis(cfg.Redis, p)
	case config.PayloadsInS3:
		return openS3(ctx, cfg.AWS, p, opts)
	default:
		return nil, nil, fmt.Errorf("payloadstore: Config: Payloads.Store is %q; want %s or %s", p.Store, config.PayloadsInRedis, config.PayloadsInS3)
	}
}

func openRedis(r config.Redis, p config.Payloads) (queue.PayloadStore, func() error, error) {
	options := r.Options()
	options.ContextTimeoutEnabled = true // queue bounds each call
	client := redis.NewUniversalClient(options)
	store, err := redispayload.New(redispayload.Config{Client: client, Prefix: p.Prefix})
	if err != nil {
		return nil, nil, err
	}
	return store, client.Close, nil
}

func openS3(ctx context.Context, a config.AWS, p config.Payloads, opts []func(*awsconfig.LoadOptions) error) (queue.PayloadStore, func() error, error) {
	cfg, err := a.LoadForPayloads(ctx, p, opts...)
	if err != nil {
		return nil, nil, err
	}
	closeIdle := ownHTTPClient(&cfg)
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		if p.EndpointURL != "" {
			o.BaseEndpoint = aws.String(p.EndpointURL) // which is above AWS_ENDPOINT_URL_S3
		}
		o.UsePathStyle = o.BaseEndpoint != nil && !p.VirtualHosted && !strings.HasPrefix(p.Bucket, "arn:")
	})
	store, err := s3payload.New(s3payload.Config{
		Client: client, Bucket: p.Bucket, Prefix: p.Prefix, ExpireDays: p.ExpireDays, Owner: p.Owner, KMSKey: p.KMSKey,
	})
	if err != nil {
		return nil, nil, err
	}
	return store, closeIdle, nil
}

// ownHTTPClient puts a client whose connections can be closed in the place of the
// SDK's, and returns what closes those that are idle.
func ownHTTPClient(cfg *aws.Config) func() error {
	b, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if cfg.HTTPClient == nil {
		b, ok = awshttp.NewBuildableClient(), true
	}
	if !ok {
		return func() error { return nil }
	}
	if _, ok := b.GetReadTimeout(); ok { // only the SDK can build this
		return func() error { return nil }
	}
	client := &http.Client{Transport: b.GetTransport(), Timeout: b.GetTimeout(), CheckRedirect: redirect}
	cfg.HTTPClient = client
	return func() error { client.CloseIdleConnections(); return nil }
}

// redirect follows what the SDK does: S3 sends requests for a new bucket on, with
// their method.
func redirect(r *http.Request, _ []*http.Request) error {
	switch r.Response.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return nil
	}
	return http.ErrUseLastResponse
}
