package main

import (
	"fmt"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
)

func (a *app) iamCommand() *cobra.Command {
	var names []string
	for _, role := range topology.Roles() {
		names = append(names, string(role))
	}
	cmd := &cobra.Command{
		Use:   "iam",
		Short: "Print the least IAM policy that a role needs",
		Long: `Print, as JSON, the IAM policy that allows a role what it does with the configured
endpoints, and nothing more:

  worker     receives, publishes, and moves failed messages to dead-letter queues
  publisher  publishes
  consumer   receives; what is delayed by more than 15 minutes needs a worker
  operator   waybill dlq: lists, looks at and redrives dead letters
  viewer     waybill topology plan, check and show
  topology   waybill topology apply

Endpoints with a role_arn or a profile are not in the policy of the program itself,
but for the leave to assume the role; --for-role and --for-profile print theirs.

What a role does with the bucket of payloads is in it, and so is their kms_key.
Where the bucket encrypts by a key of its own, --payloads-key gives that. A program
that asks for the bucket's lifecycle rules needs what a viewer has of it, too.

Nothing is asked of AWS, so it needs the region, and the account of what the URLs
name without one. Keys of encrypted queues are given with --kms-key, or read from
the queues with --look-up, which reads no bucket.`,
		Args: takes(),
	}
	role := cmd.Flags().String("role", string(topology.RoleWorker), "the `role`: "+strings.Join(names, ", "))
	account := cmd.Flags().String("account", "", "the `account` that owns queues and topics whose URLs name none: 12 digits")
	keys := cmd.Flags().StringToString("kms-key", nil, "the KMS key of an encrypted queue, as `queue=key`: an ARN, an id or an alias; repeatable")
	cmd.Flags().Lookup("kms-key").DefValue = "" // it would say that the default is []
	forRole := cmd.Flags().String("for-role", "", "print the policy of the endpoints with this role_arn: its `ARN`")
	forProfile := cmd.Flags().String("for-profile", "", "print the policy of the endpoints with this profile: its `name`")
	payloadsKey := cmd.Flags().String("payloads-key", "", "the KMS `key` of the bucket of payloads: an ARN, an id or an alias (default: payloads.kms_key)")
	lookUp := cmd.Flags().Bool("look-up", false, "ask the queues for their KMS keys")
	cmd.RunE = a.does(func(cmd *cobra.Command, _ []string) error {
		cfg, endpoints, err := a.endpoints()
		if err != nil {
			return err
		}
		awsConfig, err := cfg.AWS.Load(cmd.Context())
		if err != nil {
			return err
		}
		of := topology.PolicyConfig{Region: awsConfig.Region, Account: *account, RoleARN: *forRole, Profile: *forProfile}
		of.Keys = *keys
		of.Payloads = payloadBucket(cfg.Payloads)
		switch {
		case !cmd.Flags().Changed("payloads-key"):
		case of.Payloads == nil:
			return usagef("--payloads-key is %s, and payloads.store is not %s; want no key, or a bucket", *payloadsKey, config.PayloadsInS3)
		default:
			of.Payloads.KMSKey = *payloadsKey
		}
		if *lookUp {
			awsFor, err := awsFor(cmd.Context(), cfg, endpoints)
			if err != nil {
				return err
			}
			found, err := keysOf(cmd, awsFor, endpoints, of)
			if err != nil {
				return err
			}
			maps.DeleteFunc(found, func(name, _ string) bool { return of.Keys[queue.QueueName(name)] != "" })
			maps.Copy(found, of.Keys)
			of.Keys = found
		}
		policy, err := topology.LeastPolicy(endpoints, topology.Role(*role), of)
		if err != nil {
			return usagef("%w", err)
		}
		return a.printJSON(policy, "  ")
	})
	return cmd
}

// keysOf asks the queues that a policy is about for their keys. It returns them by
// the queues' ARNs, and by their names for a policy of another account.
func keysOf(cmd *cobra.Command, awsFor func(queue.Endpoint) aws.Config, endpoints *queue.Endpoints, of topology.PolicyConfig) (map[string]string, error) {
	keys := make(map[string]string)
	for e := range endpoints.All() {
		if !of.Covers(e) {
			continue
		}
		client := sqs.NewFromConfig(awsFor(e))
		for _, rawURL := range []string{e.URL, e.DeadLetter} {
			if !strings.HasPrefix(rawURL, queue.SchemeSQS+"://") {
				continue
			}
			name, account, err := queue.ParseURL(rawURL)
			if err != nil {
				return nil, err
			}
			in := &sqs.GetQueueUrlInput{QueueName: &name}
			if account != "" {
				in.QueueOwnerAWSAccountId = &account
			}
			at := func(o *sqs.Options) {
				if e.Region != "" {
					o.Region = e.Region
				}
				if e.EndpointURL != "" {
					o.BaseEndpoint = aws.String(e.EndpointURL)
				}
			}
			found, err := client.GetQueueUrl(cmd.Context(), in, at)
			if err != nil {
				return nil, fmt.Errorf("look up the key of %s: %w", rawURL, err)
			}
			out, err := client.GetQueueAttributes(cmd.Context(), &sqs.GetQueueAttributesInput{
				QueueUrl: found.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameKmsMasterKeyId, sqstypes.QueueAttributeNameQueueArn},
			}, at)
			if err != nil {
				return nil, fmt.Errorf("look up the key of %s: %w", rawURL, err)
			}
			key := out.Attributes[string(sqstypes.QueueAttributeNameKmsMasterKeyId)]
			if key != "" {
				keys[name] = key
			}
			if arn := out.Attributes[string(sqstypes.QueueAttributeNameQueueArn)]; arn != "" {
				keys[arn] = key
			}
		}
	}
	return keys, nil
}
