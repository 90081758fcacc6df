package s3payload_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue/s3payload"
)

const under = `<Filter><Prefix>waybill/payload/</Prefix></Filter>`

// TestLifecycle holds which rules of a bucket fit.
func TestLifecycle(t *testing.T) {
	rule := func(status, filter, expiration string) string {
		return fmt.Sprintf(`<Rule><ID>r</ID><Status>%s</Status>%s<Expiration>%s</Expiration></Rule>`, status, filter, expiration)
	}
	archive := func(class, when string) string {
		return fmt.Sprintf(`<Rule><ID>r</ID><Status>Enabled</Status>%s<Transition>%s<StorageClass>%s</StorageClass></Transition></Rule>`, under, when, class)
	}
	days := func(n int) string { return fmt.Sprintf("<Days>%d</Days>", n) }
	fits := rule("Enabled", under, days(42))
	for _, tt := range []struct {
		name, rules string
		want        string // of the error
	}{
		{"fits", fits, ""},
		{"longer", rule("Enabled", under, days(60)), ""},
		{"all of the bucket", rule("Enabled", `<Filter></Filter>`, days(42)), ""},
		{"as older rules say it", rule("Enabled", `<Prefix>waybill/</Prefix>`, days(42)), ""},
		{"another's too", fits + rule("Enabled", `<Filter><Prefix>logs/</Prefix></Filter>`, days(1)), ""},
		{"of tagged ones too", fits + rule("Enabled", `<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>`, days(1)), ""},
		{"markers too", fits + rule("Enabled", under, `<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>`), ""},
		{"none", "", "stay for good"},
		{"disabled", rule("Disabled", under, days(42)), "stay for good"},
		{"of another prefix", rule("Enabled", `<Filter><Prefix>logs/</Prefix></Filter>`, days(42)), "stay for good"},
		{"of a part", rule("Enabled", `<Filter><Prefix>waybill/payload/ab</Prefix></Filter>`, days(42)), "stay for good"},
		{"of large ones", rule("Enabled", `<Filter><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></Filter>`, days(42)), "stay for good"},
		{"too soon", fits + rule("Enabled", under, days(41)), "after 41 days"},
		{"too soon for a part", fits + rule("Enabled", `<Filter><Prefix>waybill/payload/ab</Prefix></Filter>`, days(1)), "after 1 days"},
		{"too soon for large ones", fits + rule("Enabled", `<Filter><And><Prefix>waybill/</Prefix><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter>`, days(1)), "after 1 days"},
		{"to an archive", fits + archive("GLACIER", days(41)), "to GLACIER after 41 days"},
		{"to an archive on a day", fits + archive("DEEP_ARCHIVE", `<Date>2030-01-01T00:00:00Z</Date>`), "to DEEP_ARCHIVE on a day"},
		{"to an archive when it is over", rule("Enabled", under, days(60)) + archive("GLACIER", days(42)), ""},
		{"to where it can be read", fits + archive("GLACIER_IR", days(1)) + archive("STANDARD_IA", days(30)), ""},
		{"on a day", fits + rule("Enabled", under, `<Date>2030-01-01T00:00:00Z</Date>`), "on a day"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case !r.URL.Query().Has("lifecycle"):
					refuse(w, http.StatusBadRequest, "InvalidRequest")
				case tt.rules == "":
					refuse(w, http.StatusNotFound, "NoSuchLifecycleConfiguration")
				default:
					fmt.Fprintf(w, `<LifecycleConfiguration>%s</LifecycleConfiguration>`, tt.rules)
				}
			}), s3payload.Config{})
			err := s.CheckLifecycle(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, s3payload.ErrLifecycle) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v; want %q", err, tt.want)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusForbidden, "AccessDenied") }), s3payload.Config{})
		if err := s.CheckLifecycle(t.Context()); err == nil || errors.Is(err, s3payload.ErrLifecycle) {
			t.Error(err)
		}
	})
	if url, ok := testserver.Moto(t); ok {
		t.Run("moto", func(t *testing.T) {
			config := bucket(t, url)
			s := newStore(t, config)
			if err := s.CheckLifecycle(t.Context()); !errors.Is(err, s3payload.ErrLifecycle) {
				t.Errorf("without a rule: %v", err)
			}
			_, err := config.Client.PutBucketLifecycleConfiguration(t.Context(), &s3.PutBucketLifecycleConfigurationInput{
				Bucket: &config.Bucket,
				LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
					ID: aws.String("waybill-payloads"), Status: types.ExpirationStatusEnabled,
					Filter:     &types.LifecycleRuleFilter{Prefix: aws.String(s3payload.DefaultPrefix)},
					Expiration: &types.LifecycleExpiration{Days: aws.Int32(s3payload.DefaultExpireDays)},
				}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.CheckLifecycle(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
