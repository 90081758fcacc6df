package config_test

import (
	"testing"

	"github.com/waybill-dev/waybill/config"
)

// clean takes away what the machine says about AWS.
func clean(t *testing.T) {
	t.Helper()
	none := t.TempDir()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_CA_BUNDLE": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
		"AWS_CONFIG_FILE": none + "/config", "AWS_SHARED_CREDENTIALS_FILE": none + "/credentials",
	} {
		t.Setenv(name, value)
	}
}

func TestAWSEmulator(t *testing.T) {
	clean(t)
	cfg, err := config.AWS{EndpointURL: "http://127.0.0.1:4566"}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil || got.AccessKeyID == "" || cfg.Region != "us-east-1" || *cfg.BaseEndpoint != "http://127.0.0.1:4566" {
		t.Errorf("credentials %v, %v; region %s, endpoint %s", got, err, cfg.Region, *cfg.BaseEndpoint)
	}
}

// Credentials that are there are used, whatever the server.
func TestAWSCredentials(t *testing.T) {
	clean(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "mine")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for _, url := range []string{"", "http://127.0.0.1:4566", "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com"} {
		cfg, err := config.AWS{EndpointURL: url, Region: "eu-west-1"}.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil || got.AccessKeyID != "mine" || cfg.Region != "eu-west-1" {
			t.Errorf("%q: credentials %v, %v; region %s", url, got.AccessKeyID, err, cfg.Region)
		}
	}
}

// No credentials are made up for AWS itself.
func TestAWSItself(t *testing.T) {
	clean(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, url := range []string{"", "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com", "https://SQS.eu-west-1.api.aws"} {
		cfg, err := config.AWS{EndpointURL: url, Region: "eu-west-1"}.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cfg.Credentials.Retrieve(t.Context()); err == nil {
			t.Errorf("%q: credentials %v, want an error", url, got.AccessKeyID)
		}
	}
}
