package emulator_test

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

var queueRules = []rule{
	{
		name: "queues/create-again", source: api("CreateQueue"),
		says: "Creating a queue that exists, with the attributes it has or without any, returns its URL.",
		test: func(p *probe) {
			name := p.name()
			first, err := p.tryQueue(name, "VisibilityTimeout", "7")
			p.ok(err, "CreateQueue")
			again, err := p.tryQueue(name, "VisibilityTimeout", "7")
			p.ok(err, "CreateQueue with the same attributes")
			p.equal("the URL", again, first)
			bare, err := p.tryQueue(name)
			p.ok(err, "CreateQueue without attributes")
			p.equal("the URL", bare, first)
		},
	},
	{
		name: "queues/create-otherwise", source: api("CreateQueue"),
		says: "Creating a queue that exists with another value of an attribute is QueueNameExists.",
		test: func(p *probe) {
			name := p.name()
			_, err := p.tryQueue(name, "VisibilityTimeout", "7")
			p.ok(err, "CreateQueue")
			_, err = p.tryQueue(name, "VisibilityTimeout", "8")
			p.refused(err, "QueueNameExists", "another VisibilityTimeout")
		},
	},
	{
		name: "queues/names", source: api("CreateQueue"),
		says: "A queue's name has 1 to 80 letters, digits, hyphens and underscores.",
		test: func(p *probe) {
			_, err := p.tryQueue(p.name() + strings.Repeat("x", 80-len(p.namespace)-2))
			p.ok(err, "CreateQueue with 80 characters")
			_, err = p.tryQueue(p.name() + strings.Repeat("x", 80))
			p.refused(err, "InvalidParameterValue", "more than 80 characters")
			for _, bad := range []string{"a.b", "a b", "a/b", "ä"} {
				_, err = p.tryQueue(p.name() + bad)
				p.refused(err, "InvalidParameterValue", "the name "+bad)
			}
		},
	},
	{
		name: "queues/url", source: api("GetQueueUrl"),
		says: "GetQueueUrl returns the URL that CreateQueue returned, and QueueDoesNotExist without one.",
		test: func(p *probe) {
			name := p.name()
			url, err := p.tryQueue(name)
			p.ok(err, "CreateQueue")
			out, err := p.sqs.GetQueueUrl(p.ctx, &sqs.GetQueueUrlInput{QueueName: &name})
			p.ok(err, "GetQueueUrl")
			p.equal("the URL", *out.QueueUrl, url)
			_, err = p.sqs.GetQueueUrl(p.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(p.name())})
			p.refused(err, "QueueDoesNotExist", "GetQueueUrl of no queue")
		},
	},
	{
		name: "queues/missing", source: api("Common errors: QueueDoesNotExist"),
		says: "Every call on a queue that does not exist is QueueDoesNotExist.",
		test: func(p *probe) {
			url := p.queue()
			_, err := p.sqs.DeleteQueue(p.ctx, &sqs.DeleteQueueInput{QueueUrl: &url})
			p.ok(err, "DeleteQueue")
			_, err = p.trySend(url, "x")
			p.refused(err, "QueueDoesNotExist", "SendMessage")
			_, err = p.tryReceive(url)
			p.refused(err, "QueueDoesNotExist", "ReceiveMessage")
			p.refused(p.trySet(url, "VisibilityTimeout", "1"), "QueueDoesNotExist", "SetQueueAttributes")
			_, err = p.sqs.PurgeQueue(p.ctx, &sqs.PurgeQueueInput{QueueUrl: &url})
			p.refused(err, "QueueDoesNotExist", "PurgeQueue")
			_, err = p.sqs.ListQueueTags(p.ctx, &sqs.ListQueueTagsInput{QueueUrl: &url})
			p.refused(err, "QueueDoesNotExist", "ListQueueTags")
		},
	},
	{
		name: "queues/host", source: guide("Queue and message identifiers") + "; " + api("GetQueueUrl"),
		says: "A queue is named by the path of its URL, whatever the host.",
		test: func(p *probe) {
			url := p.queue()
			_, path, _ := strings.Cut(url, "://")
			_, path, _ = strings.Cut(path, "/")
			_, err := p.trySend("http://another.example:1234/"+path, "x")
			p.ok(err, "SendMessage by another host")
			p.equal("the body", *p.next(url).Body, "x")
		},
	},
	{
		name: "queues/recreate", source: api("DeleteQueue"),
		says: "A queue cannot be made again within 60 seconds of its deletion: QueueDeletedRecently.",
		test: func(p *probe) {
			name := p.name()
			url, err := p.tryQueue(name)
			p.ok(err, "CreateQueue")
			_, err = p.sqs.DeleteQueue(p.ctx, &sqs.DeleteQueueInput{QueueUrl: &url})
			p.ok(err, "DeleteQueue")
			_, err = p.tryQueue(name)
			p.refused(err, "QueueDeletedRecently", "CreateQueue after DeleteQueue")
		},
	},
	{
		name: "queues/list", source: api("ListQueues"),
		says: "ListQueues returns the URLs of the queues whose names start with a prefix.",
		test: func(p *probe) {
			want := []string{p.queue(), p.queue(), p.queue()}
			out, err := p.sqs.ListQueues(p.ctx, &sqs.ListQueuesInput{QueueNamePrefix: &p.namespace})
			p.ok(err, "ListQueues")
			slices.Sort(out.QueueUrls)
			p.equal("the list", out.QueueUrls, want)
			out, err = p.sqs.ListQueues(p.ctx, &sqs.ListQueuesInput{QueueNamePrefix: aws.String(p.namespace + "-none")})
			p.ok(err, "ListQueues")
			p.equal("the number of queues with no such prefix", len(out.QueueUrls), 0)
		},
	},
	{
		name: "queues/list-pages", source: api("ListQueues"),
		says: "MaxResults cuts the list of queues into pages, each but the last with a NextToken.",
		test: func(p *probe) {
			want := []string{p.queue(), p.queue(), p.queue()}
			var got []string
			in := &sqs.ListQueuesInput{QueueNamePrefix: &p.namespace, MaxResults: aws.Int32(2)}
			for range 3 {
				out, err := p.sqs.ListQueues(p.ctx, in)
				p.ok(err, "ListQueues")
				if len(out.QueueUrls) > 2 {
					p.errorf("a page has %d queues, want at most 2", len(out.QueueUrls))
				}
				got = append(got, out.QueueUrls...)
				if in.NextToken = out.NextToken; in.NextToken == nil {
					break
				}
			}
			slices.Sort(got)
			p.equal("all pages", got, want)
		},
	},
	{
		name: "queues/purge", source: api("PurgeQueue"),
		says: "PurgeQueue deletes all messages, those in flight and delayed too.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "a")
			p.next(url)
			p.send(url, "b")
			p.send(url, "c", func(in *sqs.SendMessageInput) { in.DelaySeconds = 900 })
			_, err := p.sqs.PurgeQueue(p.ctx, &sqs.PurgeQueueInput{QueueUrl: &url})
			p.ok(err, "PurgeQueue")
			p.equal("the counts", p.counts(url), [3]string{"0", "0", "0"})
		},
	},
	{
		name: "queues/purge-twice", source: api("PurgeQueue"),
		says: "A second PurgeQueue within 60 seconds is PurgeQueueInProgress.",
		test: func(p *probe) {
			url := p.queue()
			_, err := p.sqs.PurgeQueue(p.ctx, &sqs.PurgeQueueInput{QueueUrl: &url})
			p.ok(err, "PurgeQueue")
			_, err = p.sqs.PurgeQueue(p.ctx, &sqs.PurgeQueueInput{QueueUrl: &url})
			p.refused(err, "PurgeQueueInProgress", "a second PurgeQueue")
		},
	},
	{
		name: "queues/tags", source: api("TagQueue"),
		says: "Tags are added, replaced and removed by key.",
		test: func(p *probe) {
			url := p.queue()
			_, err := p.sqs.TagQueue(p.ctx, &sqs.TagQueueInput{QueueUrl: &url, Tags: map[string]string{"a": "1", "b": "2"}})
			p.ok(err, "TagQueue")
			_, err = p.sqs.TagQueue(p.ctx, &sqs.TagQueueInput{QueueUrl: &url, Tags: map[string]string{"b": "3", "c": ""}})
			p.ok(err, "TagQueue")
			_, err = p.sqs.UntagQueue(p.ctx, &sqs.UntagQueueInput{QueueUrl: &url, TagKeys: []string{"a", "x"}})
			p.ok(err, "UntagQueue")
			out, err := p.sqs.ListQueueTags(p.ctx, &sqs.ListQueueTagsInput{QueueUrl: &url})
			p.ok(err, "ListQueueTags")
			p.equal("the tags", out.Tags, map[string]string{"b": "3", "c": ""})
		},
	},
	{
		name: "queues/tags-on-create", source: api("CreateQueue"),
		says: "CreateQueue takes tags.",
		test: func(p *probe) {
			name := p.name()
			out, err := p.sqs.CreateQueue(p.ctx, &sqs.CreateQueueInput{QueueName: &name, Tags: map[string]string{"a": "1"}})
			p.ok(err, "CreateQueue")
			p.queues = append(p.queues, *out.QueueUrl)
			tags, err := p.sqs.ListQueueTags(p.ctx, &sqs.ListQueueTagsInput{QueueUrl: out.QueueUrl})
			p.ok(err, "ListQueueTags")
			p.equal("the tags", tags.Tags, map[string]string{"a": "1"})
		},
	},
}

// numeric attributes of queues: their bounds and defaults, from the API reference (SetQueueAttributes).
func bounds(name string, low, high, byDefault int) rule {
	return rule{
		name: "attributes/" + name, source: api("SetQueueAttributes"),
		says: name + " is an integer from " + strconv.Itoa(low) + " to " + strconv.Itoa(high) + ", by default " + strconv.Itoa(byDefault) + ".",
		test: func(p *probe) {
			url := p.queue()
			p.equal("the default", p.attribute(url, name), strconv.Itoa(byDefault))
			for _, v := range []int{low, high} {
				p.ok(p.trySet(url, name, strconv.Itoa(v)), "the bound "+strconv.Itoa(v))
				p.equal("the value", p.attribute(url, name), strconv.Itoa(v))
			}
			for _, v := range []string{strconv.Itoa(low - 1), strconv.Itoa(high + 1), "x"} {
				p.refused(p.trySet(url, name, v), "InvalidAttributeValue", "SetQueueAttributes to "+v)
				_, err := p.tryQueue(p.name(), name, v)
				p.refused(err, "InvalidAttributeValue", "CreateQueue with "+v)
			}
		},
	}
}

var attributeRules = []rule{
	bounds("DelaySeconds", 0, 900, 0),
	bounds("MaximumMessageSize", 1024, 1<<20, 1<<20),
	bounds("MessageRetentionPeriod", 60, 1_209_600, 345_600),
	bounds("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
	bounds("VisibilityTimeout", 0, 43_200, 30),
	{
		name: "attributes/names", source: api("GetQueueAttributes"),
		says: "GetQueueAttributes returns the attributes that are named, and none if none is.",
		test: func(p *probe) {
			url := p.queue()
			got := p.attributes(url, "VisibilityTimeout", "DelaySeconds")
			p.equal("the attributes", got, map[string]string{"VisibilityTimeout": "30", "DelaySeconds": "0"})
			p.equal("the number of attributes, with no names", len(p.attributes(url)), 0)
		},
	},
	{
		name: "attributes/unset", source: api("GetQueueAttributes"),
		says: "An attribute that was never set is left out.",
		test: func(p *probe) {
			url := p.queue()
			got := p.attributes(url, "All")
			for _, name := range []string{"Policy", "RedrivePolicy", "RedriveAllowPolicy", "FifoQueue"} {
				if v, ok := got[name]; ok {
					p.errorf("%s is %q, want it left out", name, v)
				}
			}
			p.equal("RedrivePolicy by name", p.attributes(url, "RedrivePolicy")["RedrivePolicy"], "")
		},
	},
	{
		name: "attributes/all", source: api("GetQueueAttributes"),
		says: "All names every attribute, the counts, timestamps and the ARN included.",
		test: func(p *probe) {
			got := p.attributes(p.queue(), "All")
			for _, name := range []string{
				"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible",
				"CreatedTimestamp", "DelaySeconds", "LastModifiedTimestamp", "MaximumMessageSize", "MessageRetentionPeriod",
				"QueueArn", "ReceiveMessageWaitTimeSeconds", "VisibilityTimeout", "SqsManagedSseEnabled",
			} {
				if got[name] == "" {
					p.errorf("%s is missing", name)
				}
			}
		},
	},
	{
		name: "attributes/arn", source: guide("Queue and message identifiers"),
		says: "A queue's ARN names its region, its account and its name.",
		test: func(p *probe) {
			name := p.name()
			url, err := p.tryQueue(name)
			p.ok(err, "CreateQueue")
			parts := strings.Split(p.arn(url), ":")
			if len(parts) != 6 || parts[2] != "sqs" || parts[3] != "us-east-1" || len(parts[4]) != 12 || parts[5] != name {
				p.errorf("the ARN is %s, want arn:aws:sqs:us-east-1:<account>:%s", p.arn(url), name)
			}
		},
	},
	{
		name: "attributes/unknown", source: api("SetQueueAttributes"),
		says: "An attribute that there is not is InvalidAttributeName.",
		test: func(p *probe) {
			url := p.queue()
			p.refused(p.trySet(url, "Colour", "red"), "InvalidAttributeName", "SetQueueAttributes")
			_, err := p.tryQueue(p.name(), "Colour", "red")
			p.refused(err, "InvalidAttributeName", "CreateQueue")
		},
	},
	{
		name: "attributes/unknown-to-get", source: api("GetQueueAttributes"),
		says: "Asking for an attribute that there is not is InvalidAttributeName.",
		test: func(p *probe) {
			status, _, body := p.post("AmazonSQS.GetQueueAttributes", `{"QueueUrl":"`+p.queue()+`","AttributeNames":["Colour"]}`)
			p.equal("the status", status, 400)
			if !strings.Contains(body, "InvalidAttributeName") {
				p.errorf("the answer is %s, want InvalidAttributeName", body)
			}
		},
	},
	{
		name: "attributes/read-only", source: api("SetQueueAttributes"),
		says: "Counts, timestamps and the ARN cannot be set: InvalidAttributeName.",
		test: func(p *probe) {
			url := p.queue()
			p.refused(p.trySet(url, "ApproximateNumberOfMessages", "5"), "InvalidAttributeName", "the count")
			p.refused(p.trySet(url, "QueueArn", "arn:aws:sqs:us-east-1:000000000000:x"), "InvalidAttributeName", "the ARN")
		},
	},
	{
		name: "attributes/all-or-none", source: api("SetQueueAttributes"),
		says: "If one attribute is refused, none is set.",
		test: func(p *probe) {
			url := p.queue()
			err := p.trySet(url, "DelaySeconds", "7", "MaximumMessageSize", "2048", "VisibilityTimeout", "43201")
			p.refused(err, "InvalidAttributeValue", "a VisibilityTimeout out of bounds")
			got := p.attributes(url, "DelaySeconds", "VisibilityTimeout")
			p.equal("the attributes", got, map[string]string{"DelaySeconds": "0", "VisibilityTimeout": "30"})
		},
	},
	{
		name: "attributes/policy", source: api("SetQueueAttributes"),
		says: "Policy is a JSON document, kept as it is, and taken away by an empty value.",
		test: func(p *probe) {
			const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sqs:SendMessage","Resource":"*"}]}`
			url := p.queue()
			p.set(url, "Policy", policy)
			p.equal("the policy", p.attribute(url, "Policy"), policy)
			p.set(url, "Policy", "")
			_, has := p.attributes(url, "All")["Policy"]
			p.equal("whether there is a policy", has, false)
		},
	},
	{
		name: "attributes/counts", source: api("GetQueueAttributes"),
		says: "The three counts are of the visible, the hidden and the delayed messages.",
		test: func(p *probe) {
			url := p.queue()
			p.send(url, "a")
			p.next(url)
			p.send(url, "b")
			p.send(url, "c")
			for range 3 {
				p.send(url, "d", func(in *sqs.SendMessageInput) { in.DelaySeconds = 900 })
			}
			p.equal("the counts", p.counts(url), [3]string{"2", "1", "3"})
		},
	},
}
