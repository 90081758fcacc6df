package s3payload

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ErrLifecycle is the kind of an error of [Store.CheckLifecycle] which says that
// the rules of the bucket are not as they must be.
var ErrLifecycle = errors.New("the lifecycle rules of the bucket do not fit")

// CheckLifecycle asks for the lifecycle rules of the bucket. It is an
// [ErrLifecycle] if a rule deletes payloads before they are ExpireDays old, or
// moves them to an archive, and if none deletes them at all.
func (s *Store) CheckLifecycle(ctx context.Context) error {
	out, err := s.config.Client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{
		Bucket: aws.String(s.config.Bucket), ExpectedBucketOwner: optional(s.config.Owner),
	}, plain)
	var rules []types.LifecycleRule
	switch {
	case hasCode(err, "NoSuchLifecycleConfiguration"):
	case err != nil:
		return fmt.Errorf("s3payload: ask for the lifecycle rules of %s: %w", s.config.Bucket, err)
	default:
		rules = out.Rules
	}
	expires := false
	for _, r := range rules {
		f := filterOf(r)
		if r.Status != types.ExpirationStatusEnabled || f.tagged || !f.touches(s.config.Prefix) {
			continue
		}
		if when := s.archived(r.Transitions); when != "" {
			return fmt.Errorf("s3payload: bucket %s: %w: rule %q moves payloads %s, where they cannot be read; want after %d days", s.config.Bucket, ErrLifecycle, aws.ToString(r.ID), when, s.config.ExpireDays)
		}
		if r.Expiration == nil {
			continue
		}
		days := aws.ToInt32(r.Expiration.Days)
		switch {
		case r.Expiration.Date != nil:
			return fmt.Errorf("s3payload: bucket %s: %w: rule %q deletes payloads on a day; want after %d days", s.config.Bucket, ErrLifecycle, aws.ToString(r.ID), s.config.ExpireDays)
		case days > 0 && int(days) < s.config.ExpireDays:
			return fmt.Errorf("s3payload: bucket %s: %w: rule %q deletes payloads after %d days; want %d, or ExpireDays of %[4]d", s.config.Bucket, ErrLifecycle, aws.ToString(r.ID), days, s.config.ExpireDays)
		}
		expires = expires || days > 0 && f.covers(s.config.Prefix)
	}
	if !expires {
		return fmt.Errorf("s3payload: bucket %s: %w: none deletes what is under %q, so payloads stay for good; want one that does after %d days", s.config.Bucket, ErrLifecycle, s.config.Prefix, s.config.ExpireDays)
	}
	return nil
}

// archived tells of a transition that comes too soon to where an object can only be
// read after it was restored.
func (s *Store) archived(transitions []types.Transition) string {
	for _, t := range transitions {
		switch t.StorageClass {
		case types.TransitionStorageClassGlacier, types.TransitionStorageClassDeepArchive:
		default:
			continue
		}
		if t.Date != nil {
			return fmt.Sprintf("to %s on a day", t.StorageClass)
		}
		if days := aws.ToInt32(t.Days); int(days) < s.config.ExpireDays {
			return fmt.Sprintf("to %s after %d days", t.StorageClass, days)
		}
	}
	return ""
}

// A filter tells which objects a rule is about.
type filter struct {
	prefix string
	tagged bool // payloads have no tags
	sized  bool // only those of some sizes
}

func filterOf(r types.LifecycleRule) filter {
	//lint:ignore SA1019 older rules have their prefix here
	f := filter{prefix: aws.ToString(r.Prefix)}
	if r.Filter == nil {
		return f
	}
	if r.Filter.Prefix != nil {
		f.prefix = *r.Filter.Prefix
	}
	f.tagged = r.Filter.Tag != nil
	f.sized = r.Filter.ObjectSizeGreaterThan != nil || r.Filter.ObjectSizeLessThan != nil
	if and := r.Filter.And; and != nil {
		f.prefix = aws.ToString(and.Prefix)
		f.tagged = f.tagged || len(and.Tags) > 0
		f.sized = f.sized || and.ObjectSizeGreaterThan != nil || and.ObjectSizeLessThan != nil
	}
	return f
}

// covers reports whether the rule is about all that is under the prefix, and
// touches whether it is about some.
func (f filter) covers(prefix string) bool { return !f.sized && strings.HasPrefix(prefix, f.prefix) }

func (f filter) touches(prefix string) bool {
	return strings.HasPrefix(prefix, f.prefix) || strings.HasPrefix(f.prefix, prefix)
}
