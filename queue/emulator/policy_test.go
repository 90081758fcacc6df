package emulator_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestPolicies checks what policies let a topic deliver, in all forms that the documentation names.
func TestPolicies(t *testing.T) {
	const good = `{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"QUEUE","Condition":{"ArnEquals":{"aws:SourceArn":"TOPIC"}}}`
	with := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(good) }
	for name, tt := range map[string]struct {
		policy string
		want   bool
	}{
		"as topology writes it":    {good, true},
		"one in a list":            {"[" + with("sns.", "s3.") + "," + good + "]", true},
		"no condition":             {with(`,"Condition":{"ArnEquals":{"aws:SourceArn":"TOPIC"}}`, ""), true},
		"everybody":                {with(`{"Service":"sns.amazonaws.com"}`, `"*"`), true},
		"every AWS principal":      {with(`{"Service":"sns.amazonaws.com"}`, `{"AWS":["*"]}`), true},
		"several services":         {with(`"sns.amazonaws.com"`, `["s3.amazonaws.com","sns.amazonaws.com"]`), true},
		"several actions":          {with(`"sqs:SendMessage"`, `["sqs:ReceiveMessage","SQS:SendMessage"]`), true},
		"all actions":              {with("sqs:SendMessage", "sqs:*"), true},
		"all resources":            {with("QUEUE", "*"), true},
		"a pattern of topics":      {with("TOPIC", "arn:aws:sns:us-?ast-1:*:t*"), true},
		"several topics":           {with(`"TOPIC"`, `["arn:aws:sns:us-east-1:000000000000:other","TOPIC"]`), true},
		"ArnLike":                  {with("ArnEquals", "ArnLike"), true},
		"StringEquals":             {with("ArnEquals", "StringEquals"), true},
		"the account":              {with(`{"aws:SourceArn":"TOPIC"}`, `{"AWS:SourceAccount":"000000000000"}`), true},
		"nothing":                  {"", false},
		"no policy":                {`[1]`, false},
		"no statement":             {`"x"`, false},
		"another service":          {with("sns.", "events."), false},
		"another account's role":   {with(`{"Service":"sns.amazonaws.com"}`, `{"AWS":"arn:aws:iam::000000000000:root"}`), false},
		"another action":           {with("SendMessage", "ReceiveMessage"), false},
		"another queue":            {with("QUEUE", "QUEUEx"), false},
		"another topic":            {with("TOPIC", "TOPICx"), false},
		"a pattern as it is":       {with("ArnEquals", "StringEquals", "TOPIC", "arn:*"), false},
		"another account":          {with(`{"aws:SourceArn":"TOPIC"}`, `{"aws:SourceArn":"TOPIC","aws:SourceAccount":"1"}`), false},
		"a condition not read":     {with("ArnEquals", "ArnNotEquals"), false},
		"a key not read":           {with("aws:SourceArn", "aws:PrincipalOrgID"), false},
		"all but an action":        {with(`"Action":"sqs:SendMessage"`, `"NotAction":"sqs:ReceiveMessage"`), false},
		"denied":                   {"[" + good + "," + with("Allow", "Deny") + "]", false},
		"another denied":           {"[" + good + "," + with("Allow", "Deny", "TOPIC", "TOPICx") + "]", true},
		"denied in a way not read": {"[" + good + "," + with("Allow", "Deny", "ArnEquals", "ArnNotEquals") + "]", true},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newSQS(t, emulator.Config{EnforcePolicies: true})
			topics := sns.NewFromConfig(awsConfig(s))
			url := createQueue(t, c, "q")
			topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
			if err != nil {
				t.Fatal(err)
			}
			const arn = "arn:aws:sqs:us-east-1:000000000000:q"
			if tt.policy != "" {
				policy := strings.NewReplacer("QUEUE", arn, "TOPIC", *topic.TopicArn).Replace(`{"Version":"2012-10-17","Statement":` + tt.policy + `}`)
				(&probe{ctx: t.Context(), sqs: c}).set(url, "Policy", policy)
			}
			if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(arn)}); err != nil {
				t.Fatal(err)
			}
			if _, err := topics.Publish(t.Context(), &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("x")}); err != nil {
				t.Fatal(err)
			}
			if got := len(receive(t, c, url)); got == 1 != tt.want {
				t.Errorf("received %d messages, want them let through: %v", got, tt.want)
			}
		})
	}
}
