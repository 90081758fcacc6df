package localstack

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/waybilltest"
)

// TestMain makes the test binary act as the awslocal command when it is called
// by that name, so that the script runs without the AWS CLI.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "awslocal" {
		if err := awslocal(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "awslocal:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestWildrydes runs the script, after which `waybill topology apply` with the
// example's configuration has nothing left to do.
func TestWildrydes(t *testing.T) {
	const region = "us-east-1"
	t.Run("emulator", func(t *testing.T) {
		script(t, waybilltest.Start(t).AWSURL, region, "wildrydes")
	})
	if endpoint, ok := testserver.LocalStack(t); ok {
		// In a namespace of its own: others may have the demo's.
		t.Run("localstack", func(t *testing.T) { script(t, endpoint, region, testserver.Namespace(t)) })
	}
}

func script(t *testing.T, endpoint, region, namespace string) {
	cfg, err := config.Load(config.WithFile("../examples/wildrydes/waybill.yaml"), config.WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Namespace != "wildrydes" {
		t.Errorf("waybill.yaml has the namespace %q, want the script's", cfg.Namespace)
	}
	cfg.Namespace = namespace
	cfg.AWS.EndpointURL, cfg.AWS.Region = endpoint, region
	endpoints, err := cfg.Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	awsConfig, err := cfg.AWS.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	test, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(test, filepath.Join(bin, "awslocal")); err != nil {
		t.Fatal(err)
	}
	script := exec.CommandContext(t.Context(), "./wildrydes.sh")
	script.Env = append(os.Environ(),
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"AWS_ENDPOINT_URL="+endpoint, "AWS_DEFAULT_REGION="+region,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test")
	if namespace != "wildrydes" {
		script.Env = append(script.Env, "WILDRYDES_NAMESPACE="+namespace)
	}
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("wildrydes.sh: %v\n%s", err, out)
	}

	plan, err := topology.NewPlan(t.Context(), topology.NewClients(awsConfig), endpoints)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Steps()) == 0 {
		t.Fatal("the plan is empty")
	}
	for _, step := range plan.Steps() {
		if step.Action != topology.Keep {
			t.Errorf("wildrydes.sh differs from waybill.yaml: %s", step)
		}
	}
}

// awslocal does what the script asks of the AWS CLI.
func awslocal(ctx context.Context, args []string) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	if len(args) < 2 {
		return errors.New("want a service and a command")
	}
	flags := flag.NewFlagSet("awslocal", flag.ContinueOnError)
	attributes := map[string]string{}
	flags.Func("attributes", "", func(s string) error { return json.Unmarshal([]byte(s), &attributes) })
	tags := flags.String("tags", "", "")
	text := func(name string) *string { return flags.String(name, "", "") }

	switch command := strings.Join(args[:2], " "); command {
	case "sqs create-queue":
		in := &sqs.CreateQueueInput{QueueName: text("queue-name")}
		if err := flags.Parse(args[2:]); err != nil {
			return err
		}
		in.Attributes = attributes
		if err := json.Unmarshal([]byte(*tags), &in.Tags); err != nil {
			return fmt.Errorf("tags %q: %w", *tags, err)
		}
		_, err = sqs.NewFromConfig(cfg).CreateQueue(ctx, in)
	case "sns create-topic":
		in := &sns.CreateTopicInput{Name: text("name")}
		if err := flags.Parse(args[2:]); err != nil {
			return err
		}
		key, value, ok := strings.Cut(strings.TrimPrefix(*tags, "Key="), ",Value=")
		if !ok {
			return fmt.Errorf("tags %q, want Key=KEY,Value=VALUE", *tags)
		}
		in.Tags = []snstypes.Tag{{Key: aws.String(key), Value: aws.String(value)}}
		_, err = sns.NewFromConfig(cfg).CreateTopic(ctx, in)
	case "sns subscribe":
		in := &sns.SubscribeInput{TopicArn: text("topic-arn"), Protocol: text("protocol"), Endpoint: text("notification-endpoint")}
		if err := flags.Parse(args[2:]); err != nil {
			return err
		}
		in.Attributes = attributes
		_, err = sns.NewFromConfig(cfg).Subscribe(ctx, in)
	default:
		return fmt.Errorf("unknown command %q", command)
	}
	return err
}
