package config_test

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
)

const bucket = `payloads:
  store: s3
  claim_above: 65536
  max_payload: 1048576
  prefix: big/
  bucket: rides-payloads
  expire_days: 30
  owner: "123456789012"
  kms_key: alias/payloads
  region: eu-west-1
  endpoint_url: https://minio.internal:9000
  virtual_hosted: true
  profile: payloads
  role_arn: arn:aws:iam::123456789012:role/payloads
  external_id: waybill
`

func TestPayloads(t *testing.T) {
	write(t, bucket)
	want := config.Payloads{
		Store: config.PayloadsInS3, ClaimAbove: 65536, MaxPayload: 1 << 20, Prefix: "big/", Bucket: "rides-payloads", ExpireDays: 30,
		Owner: "123456789012", KMSKey: "alias/payloads", Region: "eu-west-1", EndpointURL: "https://minio.internal:9000",
		VirtualHosted: true, Profile: "payloads", RoleARN: "arn:aws:iam::123456789012:role/payloads", ExternalID: "waybill",
	}
	cfg := load(t, nil)
	if cfg.Payloads != want {
		t.Errorf("%+v, want %+v", cfg.Payloads, want)
	}
	if got, want := cfg.Payloads.Place(), (queue.Place{Region: "eu-west-1", EndpointURL: want.EndpointURL, Profile: "payloads", RoleARN: want.RoleARN, ExternalID: "waybill"}); got != want {
		t.Errorf("the place is %+v, want %+v", got, want)
	}

	// Each setting has a variable, which is stronger.
	for name, value := range map[string]string{
		"claim_above": "1000", "max_payload": "2000", "prefix": "other/", "bucket": "others", "expire_days": "31", "owner": "210987654321",
		"kms_key": "alias/other", "region": "eu-north-1", "endpoint_url": "http://127.0.0.1:9000", "virtual_hosted": "false",
		"profile": "other", "role_arn": "arn:aws:iam::210987654321:role/other", "external_id": "other",
	} {
		variable := "WAYBILL_PAYLOADS_" + strings.ToUpper(name)
		if got, want := source(t, load(t, []string{variable + "=" + value}), "payloads."+name), value+" <- env "+variable; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := load(t, nil, config.WithValue("payloads.bucket", "mine")).Payloads.Bucket; got != "mine" {
		t.Errorf("the option's bucket is %s", got)
	}
}

// The section in the package's documentation has every setting, and is right.
func TestPayloadsDoc(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n//\tpayloads:")
	section, _, _ = strings.Cut("//\tpayloads:"+section, "\n//\n")
	write(t, strings.ReplaceAll(section, "//\t", "")+"\n")
	p := reflect.ValueOf(load(t, []string{"WAYBILL_PAYLOADS_VIRTUAL_HOSTED=true"}).Payloads)
	for field := range p.Type().Fields() {
		if p.FieldByIndex(field.Index).IsZero() {
			t.Errorf("the documentation's example has no %s", field.Name)
		}
	}
}

func TestPayloadsDefaults(t *testing.T) {
	for file, want := range map[string]config.Payloads{
		"":                                     {},
		"payloads: {}\n":                       {},
		"payloads: {store: redis}\n":           {Store: "redis", Prefix: "waybill:payload:", MaxPayload: 64 << 20},
		"payloads: {store: s3, bucket: b12}\n": {Store: "s3", Bucket: "b12", Prefix: "waybill/payload/", MaxPayload: 64 << 20, ExpireDays: 42},
		"namespace: prod\npayloads: {store: redis}\n":            {Store: "redis", Prefix: "prod:payload:", MaxPayload: 64 << 20},
		"namespace: prod\npayloads: {store: s3, bucket: b12}\n":  {Store: "s3", Bucket: "b12", Prefix: "prod/payload/", MaxPayload: 64 << 20, ExpireDays: 42},
		"namespace: prod\npayloads: {store: redis, prefix: p}\n": {Store: "redis", Prefix: "p", MaxPayload: 64 << 20},
	} {
		write(t, file)
		if got := load(t, nil).Payloads; got != want {
			t.Errorf("%s%+v, want %+v", file, got, want)
		}
	}
}

// What is shown is what is in use, and nothing of a store that there is not.
func TestPayloadsShown(t *testing.T) {
	shown := func(file string, environ ...string) []string {
		write(t, file)
		var list []string
		for _, v := range load(t, environ).Values() {
			if strings.HasPrefix(v.Key, "payloads.") {
				list = append(list, v.Key+" "+v.Value+" <- "+v.Source)
			}
		}
		return list
	}
	for _, tt := range []struct {
		file    string
		environ []string
		want    []string
	}{
		{"", nil, nil},
		{"namespace: dev\npayloads: {store: s3, bucket: b12}\n", nil, []string{
			"payloads.store s3 <- file waybill.yaml:2", "payloads.max_payload 67108864 <- default", "payloads.prefix dev/payload/ <- default",
			"payloads.bucket b12 <- file waybill.yaml:2", "payloads.expire_days 42 <- default",
		}},
		// A store of another kind replaces the weaker layer's, all but the sizes.
		{bucket, []string{"WAYBILL_PAYLOADS_STORE=redis"}, []string{
			"payloads.store redis <- env WAYBILL_PAYLOADS_STORE", "payloads.claim_above 65536 <- file waybill.yaml:3",
			"payloads.max_payload 1048576 <- file waybill.yaml:4", "payloads.prefix waybill:payload: <- default",
		}},
		{"payloads: {store: redis, prefix: p}\n", []string{"WAYBILL_PAYLOADS_STORE=redis"}, []string{
			"payloads.store redis <- env WAYBILL_PAYLOADS_STORE", "payloads.max_payload 67108864 <- default", "payloads.prefix p <- file waybill.yaml:1",
		}},
	} {
		if got := shown(tt.file, tt.environ...); !slices.Equal(got, tt.want) {
			t.Errorf("%s%v\ngot  %q\nwant %q", tt.file, tt.environ, got, tt.want)
		}
	}
}

func TestPayloadsErrors(t *testing.T) {
	const s3 = "payloads:\n  store: s3\n  bucket: rides-payloads\n  "
	for file, want := range map[string]string{
		"payload: {}\n":                                  `waybill.yaml:1: "payload" is not a setting; did you mean payloads?`,
		"payloads:\n  stroe: s3\n":                       `waybill.yaml:2: payloads has no setting "stroe"; did you mean store?`,
		"payloads: s3\n":                                 `waybill.yaml:1: payloads is "s3"; want a mapping`,
		"payloads:\n  bucket: b12\n":                     "waybill.yaml:2: payloads.bucket is set, but payloads.store is not; want one of redis, s3",
		"payloads:\n  store: S3\n":                       `waybill.yaml:2: payloads.store is "S3"; did you mean s3?`,
		"payloads:\n  store: azure\n":                    `waybill.yaml:2: payloads.store is "azure"; want one of redis, s3`,
		"payloads:\n  store: redis\n  bucket: b12\n":     "waybill.yaml:3: payloads.bucket is set, but payloads.store is redis; it is a setting of s3",
		"payloads:\n  store: redis\n  expire_days: 42\n": "waybill.yaml:3: payloads.expire_days is set, but payloads.store is redis",
		"payloads:\n  store: s3\n":                       "waybill.yaml:2: payloads has no bucket; want payloads.bucket",
		"payloads:\n  store: s3\n  bucket: s3://b/p\n":   `waybill.yaml:3: payloads.bucket is "s3://b/p"; want the name of a bucket`,
		s3 + "claim_above: 0\n":                          "waybill.yaml:4: payloads.claim_above is 0; want 1 to 1048576 bytes",
		s3 + "claim_above: 1048577\n":                    "waybill.yaml:4: payloads.claim_above is 1048577; want 1 to 1048576 bytes",
		s3 + "claim_above: 64k\n":                        `waybill.yaml:4: payloads.claim_above is "64k"; want a whole number`,
		s3 + "max_payload: -1\n":                         "waybill.yaml:4: payloads.max_payload is -1; want 1 byte or more",
		s3 + "expire_days: 0\n":                          "waybill.yaml:4: payloads.expire_days is 0; want 1 or more",
		s3 + "prefix: /p/\n":                             `waybill.yaml:4: payloads.prefix is "/p/"; want one that does not begin with a slash`,
		s3 + "owner: me\n":                               `waybill.yaml:4: payloads.owner is "me"; want an account, twelve digits`,
		s3 + "endpoint_url: minio:9000\n":                "waybill.yaml:4: payloads.endpoint_url is not the base URL of a service; want for example https://minio.internal:9000",
		s3 + "endpoint_url: http://u:p@minio\n":          "waybill.yaml:4: payloads.endpoint_url has a user name or password",
		s3 + "role_arn: payloads\n":                      `waybill.yaml:4: payloads.role_arn is "payloads"; want the ARN of a role`,
		s3 + "external_id: x\n":                          "waybill.yaml:4: payloads.external_id is set, but payloads.role_arn is not",
		s3 + "virtual_hosted: maybe\n":                   `waybill.yaml:4: payloads.virtual_hosted is "maybe"; want true or false`,
	} {
		write(t, file)
		_, err := config.Load(config.WithEnviron(nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s%v\nwant %s", file, err, want)
		}
		var e *config.Error
		if !errors.As(err, &e) {
			t.Errorf("%v is no Error", err)
		}
	}
	write(t, "")
	for environ, want := range map[string]string{
		"WAYBILL_PAYLOADS_STORE=s4":   `WAYBILL_PAYLOADS_STORE: payloads.store is "s4"; did you mean s3?`,
		"WAYBILL_PAYLOADS_BUKET=b12":  "WAYBILL_PAYLOADS_BUKET: is not a setting; did you mean WAYBILL_PAYLOADS_BUCKET?",
		"WAYBILL_PAYLOADS_BUCKET=b12": "WAYBILL_PAYLOADS_BUCKET: payloads.bucket is set, but payloads.store is not",
		"WAYBILL_PAYLOADS_TTL=1d":     "WAYBILL_PAYLOADS_TTL: ends in no setting of payloads; want WAYBILL_PAYLOADS_<SETTING>, where the setting is one of STORE, CLAIM_ABOVE",
	} {
		if _, err := config.Load(config.WithEnviron([]string{environ})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", environ, err, want)
		}
	}
	write(t, s3+"owner: \"123456789012\"\n")
	for _, name := range []string{"rides.payloads", "arn:aws:s3:eu-west-1:123456789012:accesspoint/payloads", "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-1/accesspoint/p"} {
		if got := load(t, []string{"WAYBILL_PAYLOADS_BUCKET=" + name}).Payloads.Bucket; got != name {
			t.Errorf("the bucket is %q, want %q", got, name)
		}
	}
}

// TestLoadForPayloads holds where the bucket is looked for, and by whose credentials.
func TestLoadForPayloads(t *testing.T) {
	clean(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_ACCESS_KEY_ID", "111111111111")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte("[rides]\naws_access_key_id = 333333333333\naws_secret_access_key = secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		outside = "http://127.0.0.1:4566"
		minio   = "http://127.0.0.1:9000"
		vpc     = "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com"
		role    = "arn:aws:iam::222222222222:role/payloads"
	)
	cloud := &awsCloud{}
	for _, tt := range []struct {
		name string
		aws  config.AWS
		p    config.Payloads
		want string // who, where and at which URL
	}{
		{"AWS", config.AWS{Region: "eu-west-1"}, config.Payloads{}, "111111111111 eu-west-1 "},
		{"region", config.AWS{Region: "eu-west-1"}, config.Payloads{Region: "eu-north-1"}, "111111111111 eu-north-1 "},
		{"outside", config.AWS{EndpointURL: outside}, config.Payloads{}, "111111111111 us-east-1 " + outside},
		{"queues' endpoint of AWS", config.AWS{EndpointURL: vpc, Region: "eu-west-1"}, config.Payloads{}, "111111111111 eu-west-1 "},
		{"own endpoint", config.AWS{Region: "eu-west-1"}, config.Payloads{EndpointURL: minio}, "111111111111 eu-west-1 " + minio},
		{"own endpoint outside", config.AWS{EndpointURL: outside}, config.Payloads{EndpointURL: minio}, "111111111111 us-east-1 " + minio},
		{"profile", config.AWS{Region: "eu-west-1"}, config.Payloads{Profile: "rides"}, "333333333333 eu-west-1 "},
		{"role", config.AWS{Region: "eu-west-1"}, config.Payloads{RoleARN: role, ExternalID: "waybill"}, "222222222222 eu-west-1 "},
		{"role outside", config.AWS{EndpointURL: outside}, config.Payloads{RoleARN: role}, "222222222222 us-east-1 " + outside},
		{"profile outside that is not there", config.AWS{EndpointURL: outside}, config.Payloads{Profile: "nobody"}, "111111111111 us-east-1 " + outside},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL", tt.aws.EndpointURL) // as where aws.endpoint_url comes from it
			cfg, err := tt.aws.LoadForPayloads(t.Context(), tt.p, awsconfig.WithHTTPClient(cloud))
			if err != nil {
				t.Fatal(err)
			}
			who, err := cfg.Credentials.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := who.AccessKeyID + " " + cfg.Region + " " + aws.ToString(cfg.BaseEndpoint); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if len(cloud.assumed) != 1 || cloud.assumed[0].Get("ExternalId") != "waybill" {
		t.Errorf("assumed %v, want once", cloud.assumed)
	}
	if _, err := (config.AWS{}).LoadForPayloads(t.Context(), config.Payloads{}); !errors.Is(err, config.ErrNoRegion) || !strings.Contains(err.Error(), "payloads.region") {
		t.Errorf("without a region: %v", err)
	}
	if _, err := (config.AWS{Region: "eu-west-1"}).LoadForPayloads(t.Context(), config.Payloads{Profile: "nobody"}); err == nil || !strings.Contains(err.Error(), "payloads: ") || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("without the profile: %v", err)
	}
}
