package config

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// The region and credentials for servers outside AWS where none are set up.
// Emulators want a signature, and accept any.
const (
	emulatorRegion = "us-east-1"
	emulatorKey    = "waybill"
)

// Load returns the configuration of the AWS SDK. Credentials, and a region
// that is not set here, come from where the SDK looks for them.
//
// With an EndpointURL outside AWS, such as that of `waybill dev` or of
// LocalStack, missing credentials are made up, a missing region is us-east-1,
// and the metadata service of EC2 is not asked.
func (a AWS) Load(ctx context.Context, opts ...func(*awsconfig.LoadOptions) error) (aws.Config, error) {
	if a.Region != "" {
		opts = append(opts, awsconfig.WithRegion(a.Region))
	}
	if a.EndpointURL != "" {
		opts = append(opts, awsconfig.WithBaseEndpoint(a.EndpointURL))
	}
	outside := a.outside()
	if outside {
		opts = append(opts, awsconfig.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("config: set up the AWS SDK: %w", err)
	}
	if !outside {
		return cfg, nil
	}
	if cfg.Region == "" {
		cfg.Region = emulatorRegion
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil && ctx.Err() == nil {
		cfg.Credentials = aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(emulatorKey, emulatorKey, ""))
	}
	return cfg, nil
}

// ofAWS reports whether a URL is of AWS itself, as that of a VPC endpoint is.
func ofAWS(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	for _, domain := range []string{"amazonaws.com", "amazonaws.com.cn", "api.aws", "api.amazonwebservices.com.cn"} {
		if host == domain || strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}

func (l *loader) checkAWS(a AWS) {
	l.checkBaseURL("aws/endpoint_url", a.EndpointURL, "http://127.0.0.1:4566")
}

// checkBaseURL refuses what is no base URL of a service, and not empty.
func (l *loader) checkBaseURL(key, rawURL, example string) {
	if rawURL == "" {
		return
	}
	u, err := url.Parse(rawURL)
	switch source := l.sources[key]; {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		l.problems.add(source, shown(key), "is not the base URL of a service; want for example %s", example)
	case u.User != nil:
		l.problems.add(source, shown(key), "has a user name or password; credentials come from the AWS SDK's own settings")
	}
}
