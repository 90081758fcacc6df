// Package topology makes the queues, topics, subscriptions and dead-letter
// queues that a set of endpoints names, and keeps them as configured.
//
//	plan, err := topology.NewPlan(ctx, topology.NewClients(awsConfig), endpoints)
//	for _, step := range plan.Steps() {
//		fmt.Println(step)
//	}
//	err = plan.Apply(ctx)
//
// A plan compares what configuration says with what is there, attribute by
// attribute; to make one changes nothing. To apply it creates what is missing
// and changes what differs. It never deletes anything, and a second plan of
// the same endpoints has nothing to do. When it fails midway, the next one does
// the rest.
//
// Endpoints of several accounts or regions have clients of their own, by
// [NewClientsFor]. What an endpoint's RoleARN has the account of is made there.
//
// # What is made
//
//   - For each endpoint with an sqs URL, the queue, with its visibility
//     timeout, retention, delay and redrive policy.
//   - For each dead-letter queue, that queue, before the one that uses it. Its
//     retention is the endpoint's DeadLetterRetention.
//   - For each endpoint with an sns URL, the topic.
//   - For each subscription of a topic, a statement in the queue's policy that
//     lets the topic send to it, and the subscription with its delivery and
//     filter.
//
// # What is left alone
//
// A queue or topic that exists is adopted: from then on it carries the tag
// [Tag], and configuration rules those of the attributes above that it sets. The
// defaults are for queues that are made: what configuration says nothing of
// stays as it is on a queue that exists, whoever made it, and so do all other
// attributes, the statements in a queue's policy that are not Waybill's, and a
// redrive policy where configuration has no dead-letter queue. To take a setting
// back, set it to another value, or change the queue itself. Subscriptions that
// configuration does not name stay, too.
//
// What a URL names with an account, other than that of the endpoint's RoleARN, is
// its owner's: it is not made, and has no tag. SQS lets no other account set the
// attributes and the policy of a queue, so leave to the owner what a plan would
// change there.
//
// To lower a queue's retention deletes the messages that are older. A plan that
// would is a conflict without [AllowLowerRetention].
//
// What configuration wants and an apply may not or cannot do is a
// [*ConflictError] of the plan: for example a dead-letter queue whose
// RedriveAllowPolicy refuses the queue, or a missing queue of another account.
//
// # What is wrong
//
// [Check] looks for what loses messages, or buries them where nobody looks, when
// something fails: a queue without a redrive policy, a dead-letter queue that keeps
// letters for less time than the queue kept messages, one that refuses the queue or
// is gone, redrive policies that lead back, and so on; the constants of [Rule] are
// all of it. It judges the queues as they are, whoever made them, and as an apply
// would leave them, so that each [Finding] says what an apply would do about it.
//
//	findings, err := topology.Check(ctx, clients, endpoints, topology.CheckConfig{})
//	for _, f := range findings {
//		fmt.Println(f)
//	}
//
// [Plan.Alarms] has CloudWatch's alarms for the dead-letter queues, as JSON that
// `aws cloudwatch put-metric-alarm` takes. None is made here.
//
// # Permissions
//
// A plan needs sqs:GetQueueUrl, sqs:GetQueueAttributes, sqs:ListQueueTags,
// sns:ListTopics, sns:GetTopicAttributes, sns:ListTagsForResource,
// sns:ListSubscriptionsByTopic and sns:GetSubscriptionAttributes. To apply it
// takes sqs:CreateQueue, sqs:SetQueueAttributes, sqs:TagQueue, sns:CreateTopic,
// sns:TagResource, sns:Subscribe and sns:SetSubscriptionAttributes as well. A check
// takes sqs:ListDeadLetterSourceQueues besides what a plan needs, but neither tags
// nor sns:GetSubscriptionAttributes. [LeastPolicy] makes policies of all that.
package topology
