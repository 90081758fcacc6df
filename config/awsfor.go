package config

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/waybill-dev/waybill/queue"
)

// sessionName names sessions of assumed roles in logs of AWS.
const sessionName = "waybill"

// ErrNoRegion says that nothing tells the AWS region of an endpoint.
var ErrNoRegion = errors.New("no AWS region is set")

// LoadFor returns the configuration of the AWS SDK for each of the endpoints: with
// the credentials of its Profile, and of the RoleARN that it assumes with them.
// It is what AWSFor is in package queue, and what queue/topology makes clients of:
//
//	awsFor, err := cfg.AWS.LoadFor(ctx, endpoints)
//	...
//	pub, err := queue.NewPublisher(queue.PublisherConfig{AWSFor: awsFor, Endpoints: endpoints})
//
// An endpoint without either, and one that is not of the set, has what [AWS.Load]
// returns. The region is the endpoint's, else that of a, else the profile's.
// Roles are assumed when their credentials are first needed, and anew five minutes
// before they run out; while that fails, the old ones are used to their end.
//
// Outside AWS (see Load) no role is assumed, as emulators have no roles: the
// access key is then the role's account, by which LocalStack tells accounts
// apart. A profile that is not there has made-up credentials there.
//
// A profile that cannot be read is an error, which names the endpoint; so is
// [ErrNoRegion].
func (a AWS) LoadFor(ctx context.Context, endpoints *queue.Endpoints, opts ...func(*awsconfig.LoadOptions) error) (func(queue.Endpoint) aws.Config, error) {
	base, err := a.Load(ctx, opts...)
	if err != nil {
		return nil, err
	}
	all := make(map[queue.Place]aws.Config)
	for e := range endpoints.All() {
		if !e.IsQueue() && !e.IsTopic() {
			continue
		}
		cfg, known := all[e.Place()]
		if !known {
			if cfg, err = a.loadFor(ctx, base, e, opts); err != nil {
				return nil, fmt.Errorf("config: endpoint %q: %w", e.Name, err)
			}
			all[e.Place()] = cfg
		}
		if cfg.Region == "" {
			return nil, fmt.Errorf("config: endpoint %q: %w; set endpoints.%[1]s.region, aws.region or AWS_REGION", e.Name, ErrNoRegion)
		}
	}
	return func(e queue.Endpoint) aws.Config {
		if cfg, ok := all[e.Place()]; ok {
			return cfg.Copy()
		}
		return base.Copy()
	}, nil
}

// loadFor returns the configuration of one endpoint.
func (a AWS) loadFor(ctx context.Context, base aws.Config, e queue.Endpoint, opts []func(*awsconfig.LoadOptions) error) (aws.Config, error) {
	if e.EndpointURL != "" {
		a.EndpointURL = e.EndpointURL
	}
	if e.Region != "" {
		a.Region = e.Region
	}
	cfg := base.Copy()
	if e.Profile != "" || e.EndpointURL != "" {
		var err error
		if cfg, err = a.loadProfile(ctx, e.Profile, opts); err != nil {
			return cfg, err
		}
	}
	if e.Region != "" {
		cfg.Region = e.Region
	}
	switch {
	case e.RoleARN == "":
	case a.outside():
		account := e.RoleAccount()
		cfg.Credentials = aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(account, account, ""))
	case cfg.Region != "":
		cfg.Credentials = assume(cfg, e)
	}
	return cfg, nil
}

func (a AWS) loadProfile(ctx context.Context, profile string, opts []func(*awsconfig.LoadOptions) error) (aws.Config, error) {
	if profile == "" {
		return a.Load(ctx, opts...)
	}
	cfg, err := a.Load(ctx, append(slices.Clip(opts), awsconfig.WithSharedConfigProfile(profile))...)
	var missing awsconfig.SharedConfigProfileNotExistError
	if errors.As(err, &missing) && a.outside() {
		return a.Load(ctx, opts...)
	}
	return cfg, err
}

// assume returns the credentials of the endpoint's role.
func assume(cfg aws.Config, e queue.Endpoint) aws.CredentialsProvider {
	own := cfg.Copy()
	own.BaseEndpoint = nil // it is that of SQS and SNS
	return aws.NewCredentialsCache(&roleSession{CredentialsProvider: stscreds.NewAssumeRoleProvider(sts.NewFromConfig(own), e.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName
		if e.ExternalID != "" {
			o.ExternalID = aws.String(e.ExternalID)
		}
	})})
}

// outside reports whether the services are none of AWS itself.
func (a AWS) outside() bool { return a.EndpointURL != "" && !ofAWS(a.EndpointURL) }
