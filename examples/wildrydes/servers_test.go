package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/internal/testserver"
)

// TestServers runs the demo on the real servers that are configured: LocalStack,
// redis-server, or both, as `make demo-localstack` does. Its queues are in a
// namespace of its own.
func TestServers(t *testing.T) {
	args := []string{"--mode", "both", "--rides", "40", "--seed", "5", "--crash", "1"}
	endpoint, queues := testserver.LocalStack(t)
	if queues {
		namespace := testserver.Namespace(t)
		file := bytes.Replace(topology, []byte("namespace: wildrydes\n"), []byte("namespace: "+namespace+"\n"), 1)
		if bytes.Equal(file, topology) {
			t.Fatal("waybill.yaml does not have the namespace wildrydes")
		}
		path := filepath.Join(t.TempDir(), "waybill.yaml")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		deleteLater(t, endpoint, namespace)
		args = append(args, "--endpoint", endpoint, "--config", path)
	}
	addr, redis := testserver.Redis(t)
	if redis {
		args = append(args, "--redis", addr)
	}
	if !queues && !redis {
		return // the other tests run it on what is embedded
	}
	r, _ := demonstrate(t, args...)
	for name, mode := range r.Modes {
		if mode.Crashes != 1 {
			t.Errorf("as a %s the worker was killed %d times, want once", name, mode.Crashes)
		}
		check(t, mode)
	}
}

// deleteLater deletes the queues and topics of a namespace when the test ends.
func deleteLater(t *testing.T, endpoint, namespace string) {
	t.Helper()
	cfg, err := config.AWS{EndpointURL: endpoint, Region: "us-east-1"}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	queues, topics := sqs.NewFromConfig(cfg), sns.NewFromConfig(cfg)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		own, err := queues.ListQueues(ctx, &sqs.ListQueuesInput{QueueNamePrefix: &namespace})
		if err != nil {
			t.Error(err)
			return
		}
		for _, url := range own.QueueUrls {
			if _, err := queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
				t.Error(err)
			}
		}
		for pages := sns.NewListTopicsPaginator(topics, &sns.ListTopicsInput{}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for _, topic := range page.Topics {
				if !strings.Contains(*topic.TopicArn, ":"+namespace+"-") {
					continue
				}
				if _, err := topics.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: topic.TopicArn}); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
