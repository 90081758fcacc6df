package emulator_test

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func (p *probe) tryPermit(url, label string, accounts []string, actions ...string) error {
	_, err := p.sqs.AddPermission(p.ctx, &sqs.AddPermissionInput{QueueUrl: &url, Label: &label, AWSAccountIds: accounts, Actions: actions})
	return err
}

// statements returns the statements of a queue's policy by their labels.
func (p *probe) statements(url string) map[string]map[string]any {
	return p.read(p.attribute(url, "Policy"))
}

// read returns the statements of a policy by their labels.
func (p *probe) read(text string) map[string]map[string]any {
	out := make(map[string]map[string]any)
	if text == "" {
		return out
	}
	var doc struct{ Statement []map[string]any }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		p.fatalf("the policy %s: %v", text, err)
	}
	for _, s := range doc.Statement {
		out[fmt.Sprint(s["Sid"])] = s
	}
	return out
}

var other = []string{"111122223333"}

var permissionRules = []rule{
	{
		name: "permissions/added", source: api("AddPermission"),
		says: "AddPermission adds a statement with its label to the queue's Policy, and RemovePermission takes it away.",
		test: func(p *probe) {
			url := p.queue()
			p.ok(p.tryPermit(url, "a", other, "SendMessage", "ReceiveMessage"), "AddPermission")
			p.ok(p.tryPermit(url, "b", other, "*"), "AddPermission")
			got := p.statements(url)
			p.equal("the number of statements", len(got), 2)
			p.equal("Effect", got["a"]["Effect"], any("Allow"))
			p.equal("Resource", got["a"]["Resource"], any(p.arn(url)))
			p.equal("Action", got["a"]["Action"], any([]any{"SQS:SendMessage", "SQS:ReceiveMessage"}))
			_, err := p.sqs.RemovePermission(p.ctx, &sqs.RemovePermissionInput{QueueUrl: &url, Label: aws.String("a")})
			p.ok(err, "RemovePermission")
			got = p.statements(url)
			p.equal("whether the label is there", got["a"] != nil, false)
			p.equal("whether the other is there", got["b"] != nil, true)
		},
	},
	{
		name: "permissions/kept", source: api("AddPermission"),
		says: "Statements that SetQueueAttributes has set stay.",
		test: func(p *probe) {
			url := p.queue()
			p.set(url, "Policy", `{"Version":"2012-10-17","Statement":[{"Sid":"own","Effect":"Deny","Principal":"*","Action":"sqs:DeleteMessage","Resource":"`+p.arn(url)+`","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`)
			p.ok(p.tryPermit(url, "a", other, "SendMessage"), "AddPermission")
			got := p.statements(url)
			p.equal("the number of statements", len(got), 2)
			p.equal("the condition", got["own"]["Condition"] != nil, true)
		},
	},
	{
		name: "permissions/labels", source: api("AddPermission") + "; RemovePermission",
		says: "A label is added once, and removed if it is there: InvalidParameterValue otherwise.",
		test: func(p *probe) {
			url := p.queue()
			p.ok(p.tryPermit(url, "a", other, "SendMessage"), "AddPermission")
			p.refused(p.tryPermit(url, "a", other, "SendMessage"), "InvalidParameterValue", "the same label")
			_, err := p.sqs.RemovePermission(p.ctx, &sqs.RemovePermissionInput{QueueUrl: &url, Label: aws.String("none")})
			p.refused(err, "InvalidParameterValue", "a label that is not there")
		},
	},
	{
		name: "permissions/actions", source: api("AddPermission"),
		says: "Permitted are the actions that an owner can share, at most seven: others are InvalidParameterValue, more OverLimit.",
		test: func(p *probe) {
			url := p.queue()
			for _, action := range []string{"CreateQueue", "AddPermission", "FoldMessage"} {
				p.refused(p.tryPermit(url, "a", other, action), "InvalidParameterValue", action)
			}
			p.refused(p.tryPermit(url, "a", other, "SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility",
				"GetQueueAttributes", "GetQueueUrl", "PurgeQueue", "ListDeadLetterSourceQueues"), "OverLimit", "eight actions")
		},
	},
	{
		name: "permissions/topic", source: snsAPI("AddPermission") + "; RemovePermission", sns: true,
		says: "AddPermission adds a statement with its label to the topic's Policy, once; RemovePermission takes it away, if it is there.",
		test: func(p *probe) {
			topic := p.topic()
			permit := func(label string, actions ...string) error {
				_, err := p.sns.AddPermission(p.ctx, &sns.AddPermissionInput{TopicArn: &topic, Label: &label, AWSAccountId: other, ActionName: actions})
				return err
			}
			labels := func() (out map[string]map[string]any) {
				attributes, err := p.sns.GetTopicAttributes(p.ctx, &sns.GetTopicAttributesInput{TopicArn: &topic})
				p.ok(err, "GetTopicAttributes")
				return p.read(attributes.Attributes["Policy"])
			}
			p.ok(permit("a", "Publish", "Subscribe"), "AddPermission")
			p.ok(permit("b", "Publish"), "AddPermission")
			p.refused(permit("a", "Publish"), "InvalidParameter", "the same label")
			p.refused(permit("c", "Fold"), "InvalidParameter", "an action that is none")
			got := labels()
			p.equal("Effect", got["a"]["Effect"], any("Allow"))
			p.equal("Resource", got["a"]["Resource"], any(topic))
			p.equal("Action", got["a"]["Action"], any([]any{"SNS:Publish", "SNS:Subscribe"}))
			p.equal("whether the second is there", got["b"] != nil, true)
			for range 2 {
				_, err := p.sns.RemovePermission(p.ctx, &sns.RemovePermissionInput{TopicArn: &topic, Label: aws.String("a")})
				p.ok(err, "RemovePermission")
			}
			got = labels()
			p.equal("whether the label is there", got["a"] != nil, false)
			p.equal("whether the other is there", got["b"] != nil, true)
		},
	},
}
