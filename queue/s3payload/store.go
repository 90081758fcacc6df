package s3payload

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/waybill-dev/waybill/queue"
)

// DefaultPrefix is the default of Config.Prefix.
const DefaultPrefix = "waybill/payload/"

// DefaultExpireDays is the default of Config.ExpireDays: the longest delay, and
// the longest retention of a queue and of its dead-letter queue.
const DefaultExpireDays = 3 * 14

// A Config configures a [Store].
type Config struct {
	// Client is the client of S3, or of a store that speaks its protocol.
	// Required.
	Client *s3.Client

	// Bucket is the bucket's name, or the ARN of an access point. It must be
	// there. Required.
	Bucket string

	// Prefix is what keys begin with. Defaults to [DefaultPrefix].
	Prefix string

	// ExpireDays is after how many days the bucket's lifecycle rule deletes
	// what is under Prefix. Put refuses what must be kept for longer. Defaults
	// to [DefaultExpireDays].
	ExpireDays int

	// Owner is the account that must own the bucket, twelve digits: S3 refuses
	// a call if it is another's. Defaults to none, for any.
	Owner string

	// KMSKey encrypts payloads by this key of KMS: its ARN, its id or an alias.
	// Defaults to the encryption that the bucket is set to.
	KMSKey string
}

// A Store is a [queue.PayloadStore] in a bucket. It is safe for concurrent use.
type Store struct {
	config Config
}

var _ queue.PayloadStore = (*Store)(nil)

// New returns a store. It makes no calls.
func New(config Config) (*Store, error) {
	if config.Prefix == "" {
		config.Prefix = DefaultPrefix
	}
	if config.ExpireDays == 0 {
		config.ExpireDays = DefaultExpireDays
	}
	switch {
	case config.Client == nil:
		return nil, errors.New("s3payload: Config: Client is nil; want a client of S3")
	case config.Bucket == "":
		return nil, errors.New("s3payload: Config: Bucket is empty; want the name of a bucket")
	case strings.HasPrefix(config.Prefix, "/"):
		return nil, fmt.Errorf("s3payload: Config: Prefix is %q; want one that does not begin with a slash", config.Prefix)
	case config.ExpireDays < 1:
		return nil, fmt.Errorf("s3payload: Config: ExpireDays is %d; want 1 or more, or 0 for %d", config.ExpireDays, DefaultExpireDays)
	}
	return &Store{config}, nil
}

func (s *Store) failed(op, key string, err error) error {
	return fmt.Errorf("s3payload: %s s3://%s/%s%s: %w", op, s.config.Bucket, s.config.Prefix, key, err)
}

// plain leaves the newer checksums out, which not every store takes.
func plain(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

// Put stores a payload for at least the time keep, by writing it anew: the
// bucket counts its days from then on. A bucket that is not there, or that keeps
// nothing for so long, is a [queue.ErrConfiguration].
func (s *Store) Put(ctx context.Context, key string, payload []byte, keep time.Duration) error {
	if len(payload) == 0 || keep < time.Second {
		return s.failed("put", key, fmt.Errorf("%d bytes for %v; want some, for a second or more", len(payload), keep))
	}
	if expire := time.Duration(s.config.ExpireDays) * 24 * time.Hour; keep > expire {
		return s.failed("put", key, fmt.Errorf("%w: it is to be kept for %v, and the bucket keeps it for %v; raise the days of its lifecycle rule, and ExpireDays (payloads.expire_days)", queue.ErrConfiguration, keep, expire))
	}
	sum := md5.Sum(payload)
	in := &s3.PutObjectInput{
		Bucket: aws.String(s.config.Bucket), Key: aws.String(s.config.Prefix + key),
		Body: bytes.NewReader(payload), ContentLength: aws.Int64(int64(len(payload))),
		ContentMD5:          aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ContentType:         aws.String("application/octet-stream"),
		ExpectedBucketOwner: optional(s.config.Owner),
	}
	if s.config.KMSKey != "" {
		in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, aws.String(s.config.KMSKey)
	}
	_, err := s.config.Client.PutObject(ctx, in, plain)
	switch {
	case hasCode(err, "NoSuchBucket"):
		return s.failed("put", key, fmt.Errorf("%w: %w", queue.ErrConfiguration, err))
	case err != nil:
		return s.failed("put", key, err)
	}
	return nil
}

// Get returns a payload of at most limit bytes.
func (s *Store) Get(ctx context.Context, key string, limit int) ([]byte, error) {
	out, err := s.config.Client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String(s.config.Bucket), Key: aws.String(s.config.Prefix + key),
		// The end of a range is in it, so this is a byte more than the limit.
		Range:               aws.String(fmt.Sprintf("bytes=0-%d", limit)),
		ExpectedBucketOwner: optional(s.config.Owner),
	}, plain)
	switch {
	case hasCode(err, "NoSuchKey"), hasCode(err, "InvalidRange"): // of an object without a byte
		return nil, s.failed("get", key, queue.ErrPayloadGone)
	case err != nil:
		return nil, s.failed("get", key, err)
	}
	defer out.Body.Close()
	// Not every store heeds a range.
	payload, err := read(out.Body, limit, aws.ToInt64(out.ContentLength))
	if err != nil {
		return nil, s.failed("get", key, err)
	}
	return payload, nil
}

// read reads a body that is said to have so many bytes, or 0, to the limit.
func read(body io.Reader, limit int, length int64) ([]byte, error) {
	if length > int64(limit) {
		return nil, fmt.Errorf("%w: it has more than %d bytes", queue.ErrTooLarge, limit)
	}
	payload := bytes.NewBuffer(make([]byte, 0, int(max(length, 0))+bytes.MinRead))
	_, err := payload.ReadFrom(io.LimitReader(body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case payload.Len() == 0:
		return nil, queue.ErrPayloadGone
	case payload.Len() > limit:
		return nil, fmt.Errorf("%w: it has more than %d bytes", queue.ErrTooLarge, limit)
	}
	return payload.Bytes(), nil
}

// hasCode reports whether the service refused a call with the code. Its HTTP
// status does not tell: a bucket that is not there is a 404, too.
func hasCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return aws.String(text)
}
