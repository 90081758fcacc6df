package topology

import (
	"fmt"
	"strings"

	"github.com/waybill-dev/waybill/queue"
)

// A PayloadBucket is where a publisher puts payloads that are too large for a
// queue: see package queue/s3payload.
type PayloadBucket struct {
	// Bucket is the bucket's name, or the ARN of an access point. Required.
	Bucket string

	// Prefix is what the keys of payloads begin with.
	Prefix string

	// KMSKey is the key of KMS that encrypts them: its ARN or id, or an alias or
	// its ARN. Defaults to none, and AWS's own ("alias/aws/s3") needs no
	// permission.
	KMSKey string

	// Place is where the bucket is, and by whose credentials it is used.
	Place queue.Place
}

// payloads allows what a role does with the bucket, and reports whether the policy
// is about it. S3 asks for ListBucket to say that an object is not there, and else
// that access is denied: S3 API reference, "GetObject". A key by which objects are
// put needs no Decrypt, as all come in one part.
func (p *policyMaker) payloads(b PayloadBucket) (bool, error) {
	e := queue.Endpoint{}.At(b.Place)
	point := strings.HasPrefix(b.Bucket, "arn:") // which has no rules
	if !p.grants.put && !p.grants.get && (!p.grants.rules || point) {
		return p.cfg.Covers(e), nil
	}
	switch {
	case p.cfg.Covers(e):
	case p.cfg.RoleARN == "" && e.Profile == p.cfg.Profile:
		p.allow(e.RoleARN, []string{"sts:AssumeRole"})
		return true, nil
	default:
		return false, nil
	}
	region := e.Region
	if region == "" {
		region = p.cfg.Region
	}
	bucket, objects := b.Bucket, b.Bucket+"/object/"
	if !point {
		bucket = "arn:" + partition(region) + ":s3:::" + b.Bucket
		objects = bucket + "/"
	}
	if p.grants.rules {
		p.allow(bucket, []string{"s3:GetLifecycleConfiguration"})
		return true, nil
	}
	below := literal(b.Prefix) + "*"
	allow := Statement{Resource: []string{objects + below}}
	var withKey []string
	if p.grants.get {
		allow.Action = append(allow.Action, "s3:GetObject")
		withKey = append(withKey, "kms:Decrypt")
		p.bucket = append(p.bucket, Statement{Action: []string{"s3:ListBucket"}, Resource: []string{bucket}, Condition: map[string]map[string]string{
			"StringLike": {"s3:prefix": below},
		}})
	}
	if p.grants.put {
		allow.Action = append(allow.Action, "s3:PutObject")
		withKey = append(withKey, "kms:GenerateDataKey")
	}
	p.bucket = append(p.bucket, allow)
	if b.KMSKey == "" || strings.HasSuffix(b.KMSKey, "alias/aws/s3") {
		return true, nil
	}
	account := e.RoleAccount()
	if account == "" {
		account = p.cfg.Account
	}
	key := keyOf(b.KMSKey, region, account)
	switch {
	case key.alias != "", b.KMSKey == key.resource:
	case region == "":
		return true, fmt.Errorf("topology: payloads: %w: no region is known for the key %s; have its ARN, or give one (PolicyConfig.Region, --region)", queue.ErrInvalid, b.KMSKey)
	case !accountRule.MatchString(account):
		return true, fmt.Errorf("topology: payloads: %w: the account of the key %s is %q; have its ARN, or give one of twelve digits (PolicyConfig.Account, --account)", queue.ErrInvalid, b.KMSKey, account)
	}
	p.bucket = append(p.bucket, key.statement(withKey))
	return true, nil
}

// literal keeps the characters of a text that IAM would match with others.
func literal(text string) string {
	return strings.NewReplacer("$", "${$}", "*", "${*}", "?", "${?}").Replace(text)
}
