package config

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"github.com/waybill-dev/waybill/queue"
)

// The kinds of stores that Payloads.Store names.
const (
	PayloadsInRedis = "redis"
	PayloadsInS3    = "s3"
)

// DefaultExpireDays is the default of Payloads.ExpireDays: the longest delay, and
// the longest retention of a queue and of its dead-letter queue.
const DefaultExpireDays = 3 * 14

// Payloads says where the payloads of messages are that are too large for a queue:
// see [queue.PayloadStore]. It is for all endpoints, each of which has its
// MaxMessageSize. Package config/payloadstore makes the store.
type Payloads struct {
	// Store is the kind of the store: [PayloadsInRedis], which is the Redis of
	// the configuration, or [PayloadsInS3]. Defaults to none.
	Store string

	// ClaimAbove is PublisherConfig.ClaimAbove, in bytes: above it a message's
	// payload goes to the store. Defaults to, and is at most, each endpoint's
	// MaxMessageSize.
	ClaimAbove int

	// MaxPayload is SubscriberConfig.MaxPayload, in bytes: the largest payload
	// that is fetched. Defaults to [queue.DefaultMaxPayload].
	MaxPayload int

	// Prefix is what keys in the store begin with, as it is. Defaults to the
	// namespace of the keys in Redis and "payload": waybill:payload: in Redis,
	// waybill/payload/ in a bucket, and with prod in the place of waybill where
	// that is the namespace.
	Prefix string

	// Bucket is the bucket's name, or the ARN of an access point. It must be
	// there. Required of S3, as all below is for S3 alone.
	Bucket string

	// ExpireDays is after how many days the bucket's lifecycle rule deletes
	// what is under Prefix. What must be kept for longer is refused. Defaults
	// to [DefaultExpireDays].
	ExpireDays int

	// Owner is the account that must own the bucket, twelve digits. Defaults
	// to none, for any.
	Owner string

	// KMSKey encrypts payloads by this key of KMS: its ARN, its id or an alias.
	// Defaults to the encryption that the bucket is set to.
	KMSKey string

	// Region is the bucket's. Defaults to that of AWS.
	Region string

	// EndpointURL is the base URL of the store, as in
	// https://minio.internal:9000. Defaults to that of AWS where it is outside
	// AWS, as LocalStack's is, and else to that of the region. `waybill dev` has
	// no S3.
	EndpointURL string

	// VirtualHosted names the bucket in the host of a URL, also of a store with
	// an EndpointURL. By default it is in the path there, which most stores
	// want.
	VirtualHosted bool

	// Profile, RoleARN and ExternalID say by whose credentials the bucket is
	// used, as those of a [queue.Endpoint] do.
	Profile, RoleARN, ExternalID string
}

// Place returns where the bucket is, as an endpoint's place says it of a queue.
func (p Payloads) Place() queue.Place {
	return queue.Place{Region: p.Region, EndpointURL: p.EndpointURL, Profile: p.Profile, RoleARN: p.RoleARN, ExternalID: p.ExternalID}
}

// LoadForPayloads returns the configuration of the AWS SDK for the bucket of
// payloads, as [AWS.LoadFor] does for an endpoint. Its BaseEndpoint is that of the
// store, or nil for S3's own: an EndpointURL of a that is of AWS itself is one of
// SQS and SNS.
func (a AWS) LoadForPayloads(ctx context.Context, p Payloads, opts ...func(*awsconfig.LoadOptions) error) (aws.Config, error) {
	queues := a.EndpointURL
	switch {
	case p.EndpointURL != "":
		a.EndpointURL = p.EndpointURL
	case !a.outside():
		a.EndpointURL = ""
	}
	base, err := a.Load(ctx, opts...)
	if err != nil {
		return aws.Config{}, err
	}
	place := p.Place()
	place.EndpointURL = "" // it is a's by now
	cfg, err := a.loadFor(ctx, base, queue.Endpoint{}.At(place), opts)
	if err != nil {
		return aws.Config{}, fmt.Errorf("config: payloads: %w", err)
	}
	if cfg.Region == "" {
		return aws.Config{}, fmt.Errorf("config: payloads: %w; set payloads.region, aws.region or AWS_REGION", ErrNoRegion)
	}
	if a.EndpointURL == "" && aws.ToString(cfg.BaseEndpoint) == queues {
		cfg.BaseEndpoint = nil // the SDK has it from AWS_ENDPOINT_URL, too
	}
	return cfg, nil
}

const payloadsSection = "payloads"

// payloadsAnywhere are the settings of payloads that are not for S3 alone.
var payloadsAnywhere = []string{"store", "claim_above", "max_payload", "prefix"}

// moveStore takes out of the layers below what they say of another store than the
// one that a layer names, so that one variable moves a program from a bucket to the
// Redis of development.
func moveStore(layer, below map[string]any) {
	stronger, _ := layer[payloadsSection].(map[string]any)
	weaker, _ := below[payloadsSection].(map[string]any)
	if store, ok := stronger["store"]; !ok || store == weaker["store"] {
		return
	}
	for name := range weaker {
		if name != "claim_above" && name != "max_payload" {
			delete(weaker, name)
		}
	}
}

// payloadsDefaults sets what follows from the rest of the configuration.
func (c *Config) payloadsDefaults() {
	p := &c.Payloads
	switch p.Store {
	case PayloadsInRedis:
		setDefault(&p.Prefix, c.StoreNamespace()+":payload:")
	case PayloadsInS3:
		setDefault(&p.Prefix, c.StoreNamespace()+"/payload/")
		setDefault(&p.ExpireDays, DefaultExpireDays)
	default:
		return
	}
	setDefault(&p.MaxPayload, queue.DefaultMaxPayload)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

var (
	bucketRule  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$|^arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:[0-9]{12}:.+$`)
	accountRule = regexp.MustCompile(`^[0-9]{12}$`)
)

// checkPayloads reports what is wrong with the settings as they were given, before
// defaults.
func (l *loader) checkPayloads(p Payloads) {
	bad := func(name, format string, args ...any) {
		key := join(payloadsSection, name)
		l.problems.add(l.sources[key], shown(key), format, args...)
	}
	isSet := func(f field) bool { return l.k.Exists(join(payloadsSection, f.name)) }
	kinds := []string{PayloadsInRedis, PayloadsInS3}
	fields := sections[payloadsSection]
	if p.Store == "" {
		if i := slices.IndexFunc(fields, isSet); i >= 0 {
			bad(fields[i].name, "is set, but payloads.store is not; want one of %s", strings.Join(kinds, ", "))
		}
		return
	}
	if !slices.Contains(kinds, p.Store) {
		bad("store", "is %q; %s", p.Store, hint(p.Store, kinds))
		return
	}
	for _, f := range fields {
		switch {
		case !isSet(f):
		case p.Store != PayloadsInS3 && !slices.Contains(payloadsAnywhere, f.name):
			bad(f.name, "is set, but payloads.store is %s; it is a setting of %s", p.Store, PayloadsInS3)
		case f.kind == kindNumber:
			l.checkNumber(p, f.name, bad)
		}
	}
	if p.Store == PayloadsInS3 {
		l.checkBucket(p, bad)
	}
}

// checkNumber refuses a number that is out of its bounds, 0 among them.
func (l *loader) checkNumber(p Payloads, name string, bad func(name, format string, args ...any)) {
	switch {
	case name == "claim_above" && (p.ClaimAbove < 1 || p.ClaimAbove > queue.DefaultMaxQueueMessage):
		bad(name, "is %d; want 1 to %d bytes, the most that SQS takes", p.ClaimAbove, queue.DefaultMaxQueueMessage)
	case name == "max_payload" && p.MaxPayload < 1:
		bad(name, "is %d; want 1 byte or more", p.MaxPayload)
	case name == "expire_days" && p.ExpireDays < 1:
		bad(name, "is %d; want 1 or more, as the bucket's lifecycle rule has it", p.ExpireDays)
	}
}

// checkBucket reports what is wrong with what is for S3 alone.
func (l *loader) checkBucket(p Payloads, bad func(name, format string, args ...any)) {
	switch {
	case p.Bucket == "":
		l.problems.add(l.sources[join(payloadsSection, "store")], payloadsSection, "has no bucket; want payloads.bucket, the name of one that is there")
	case !bucketRule.MatchString(p.Bucket):
		bad("bucket", "is %q; want the name of a bucket, such as rides-payloads, or the ARN of an access point", p.Bucket)
	}
	if strings.HasPrefix(p.Prefix, "/") {
		bad("prefix", "is %q; want one that does not begin with a slash, such as waybill/payload/", p.Prefix)
	}
	if p.Owner != "" && !accountRule.MatchString(p.Owner) {
		bad("owner", "is %q; want an account, twelve digits", p.Owner)
	}
	l.checkBaseURL(join(payloadsSection, "endpoint_url"), p.EndpointURL, "https://minio.internal:9000")
	role := queue.Endpoint{Name: payloadsSection, URL: "sqs://" + payloadsSection, RoleARN: p.RoleARN}
	if role.Validate() != nil {
		bad("role_arn", "is %q; want the ARN of a role, such as arn:aws:iam::123456789012:role/payloads", p.RoleARN)
	}
	if p.ExternalID != "" && p.RoleARN == "" {
		bad("external_id", "is set, but payloads.role_arn is not; it is what a role's trust policy asks for")
	}
}
