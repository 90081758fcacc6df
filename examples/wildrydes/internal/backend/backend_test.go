package backend_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/waybilltest"
)

// TestConnectPlaces holds that the example's processes heed where each endpoint is,
// and by whose credentials.
func TestConnectPlaces(t *testing.T) {
	stack := waybilltest.Start(t)
	file := filepath.Join(t.TempDir(), "waybill.yaml")
	if err := os.WriteFile(file, []byte(`endpoints:
  here: {url: sqs://rides}
  there: {url: sqs://rides, region: eu-west-1, role_arn: arn:aws:iam::222222222222:role/rides}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := backend.Connect(t.Context(), backend.Address{File: file, Endpoint: stack.AWSURL, Redis: stack.RedisAddr, Namespace: "rides-test"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for name, want := range map[string][2]string{"here": {"us-east-1", ""}, "there": {"eu-west-1", "222222222222"}} {
		e, err := b.Endpoints.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := b.AWSFor(e)
		who, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Region != want[0] || want[1] != "" && who.AccessKeyID != want[1] {
			t.Errorf("%s is in %s, as %s; want %s", name, cfg.Region, who.AccessKeyID, want)
		}
	}
}
