package topology

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/queue"
)

// A Role is what a program does with the endpoints, and so what IAM must allow it.
type Role string

const (
	// RoleWorker receives from the queues and publishes to all endpoints, and
	// moves what failed to the dead-letter queues: pipelines, coordinators,
	// participants.
	RoleWorker Role = "worker"

	// RolePublisher publishes to all endpoints.
	RolePublisher Role = "publisher"

	// RoleConsumer receives from the queues. A subscription to a queue whose
	// messages have a queue.KeyDelay of more than 15 minutes sends them there
	// again, and needs RoleWorker.
	RoleConsumer Role = "consumer"

	// RoleOperator lists, looks at and redrives dead letters: waybill dlq. To
	// redrive to a queue that has no dead-letter queue needs RolePublisher as well.
	RoleOperator Role = "operator"

	// RoleViewer reads what is there: waybill topology plan, check and show.
	RoleViewer Role = "viewer"

	// RoleTopology makes what is missing, and changes what differs: waybill
	// topology apply.
	RoleTopology Role = "topology"
)

// Roles are all roles.
func Roles() []Role {
	return []Role{RoleWorker, RolePublisher, RoleConsumer, RoleOperator, RoleViewer, RoleTopology}
}

// grants are what a role may do with one kind of thing. Batches need the action of
// a single message: SQS developer guide, "Amazon SQS API permissions"; SNS, "Actions
// defined by Amazon SNS".
type grants struct {
	queues, dead, topics []string // with endpoints' queues, their dead-letter queues, and topics
	sources              []string // with queues that have a dead-letter queue
	named                []string // with topics whose URL has an account, and
	sqs, sns             []string // with what has no resource; sns finds the others
	make                 bool     // queues and topics, of the own account
	put, get             bool     // payloads in a bucket,
	rules                bool     // and look at its rules
}

var (
	readQueue   = []string{"sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags"}
	readTopic   = []string{"sns:GetSubscriptionAttributes", "sns:ListSubscriptionsByTopic", "sns:ListTagsForResource"}
	listSources = []string{"sqs:ListDeadLetterSourceQueues"}
	consume     = []string{"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"}
	send        = []string{"sqs:GetQueueUrl", "sqs:SendMessage"}
	move        = []string{"sqs:CancelMessageMoveTask", "sqs:ListMessageMoveTasks", "sqs:StartMessageMoveTask"}
	publish     = []string{"sns:Publish"}
	look        = []string{"sns:ListTopics"}
	ask         = []string{"sns:GetTopicAttributes"}
)

// makes is the action that makes a queue or topic. What is another account's, its
// owner makes, and tags.
var makes = map[string][]string{
	"sqs": {"sqs:CreateQueue"},
	"sns": {"sns:CreateTopic"},
}

// tags are the actions that read and set tags, and setQueue is what no other account
// is let to do either.
var (
	tags     = []string{"sqs:ListQueueTags", "sqs:TagQueue", "sns:ListTagsForResource", "sns:TagResource"}
	setQueue = []string{"sqs:SetQueueAttributes"}
)

func (r Role) grants() (grants, error) {
	switch r {
	case RoleWorker:
		return grants{queues: union(consume, send), dead: send, topics: publish, sns: look, put: true, get: true}, nil
	case RolePublisher:
		return grants{queues: send, topics: publish, sns: look, put: true}, nil
	case RoleConsumer:
		return grants{queues: consume, get: true}, nil
	case RoleOperator:
		return grants{
			dead:    union(consume, listSources, move),
			sources: union(send, []string{"sqs:GetQueueAttributes"}),
			sqs:     []string{"sqs:ListQueues"}, put: true, get: true,
		}, nil
	case RoleViewer:
		read := union(readQueue, listSources)
		return grants{queues: read, dead: read, topics: readTopic, named: ask, sns: look, rules: true}, nil
	case RoleTopology:
		write := union(readQueue, []string{"sqs:SetQueueAttributes", "sqs:TagQueue"})
		return grants{
			queues: write, dead: write, named: ask, sns: look,
			topics: union(readTopic, []string{"sns:SetSubscriptionAttributes", "sns:Subscribe", "sns:TagResource"}),
			make:   true, rules: true,
		}, nil
	}
	known := make([]string, 0, len(Roles()))
	for _, role := range Roles() {
		known = append(known, string(role))
	}
	return grants{}, fmt.Errorf("topology: %w: role %q; want one of %s", queue.ErrInvalid, string(r), strings.Join(known, ", "))
}

func union(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// without returns the actions that are not among others.
func without(actions, others []string) []string {
	return slices.DeleteFunc(slices.Clone(actions), func(a string) bool { return slices.Contains(others, a) })
}

// A PolicyConfig says what a policy cannot know from the endpoints.
type PolicyConfig struct {
	// Region is that of endpoints that name none. Required if there are such.
	Region string

	// Account owns what the URLs of endpoints name without an account, where they
	// assume no role: twelve digits. Required if there are such.
	Account string

	// RoleARN and Profile say whose policy it is: that of the endpoints with this
	// role and profile. Defaults to the program's own, which may assume the roles
	// of its other endpoints.
	RoleARN, Profile string

	// Keys are the KMS keys by which queues are encrypted, by the names of
	// queues, or by their ARNs, which come first: a key's ARN or id, or an alias ("alias/fares") or its ARN, as in
	// the attribute KmsMasterKeyId. Queues without one, and those of AWS's own key
	// ("alias/aws/sqs"), need no permission. Each is an endpoint's queue or its
	// dead-letter queue. A topic that delivers to an encrypted queue has its leave
	// from the key's own policy, which lets sns.amazonaws.com use it. Defaults to
	// none.
	Keys map[string]string

	// Payloads is the bucket of payloads that are too large for a queue, or nil
	// if there is none.
	Payloads *PayloadBucket
}

// A Policy is an IAM policy document.
type Policy struct {
	Version   string
	Statement []Statement
}

// A Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]string `json:",omitempty"`
}

// LeastPolicy returns what IAM must allow a role to do with the endpoints, and
// nothing more. Errors are of a kind [queue.ErrInvalid].
func LeastPolicy(endpoints *queue.Endpoints, role Role, cfg PolicyConfig) (*Policy, error) {
	g, err := role.grants()
	if err != nil {
		return nil, err
	}
	p := &policyMaker{cfg: cfg, grants: g, actions: make(map[string][]string), keys: make(map[grant]bool)}
	found := cfg.RoleARN == "" && cfg.Profile == ""
	for e := range endpoints.All() {
		switch {
		case cfg.Covers(e):
			found = true
			if err := p.endpoint(e); err != nil {
				return nil, err
			}
		case cfg.RoleARN == "" && e.Profile == cfg.Profile && (e.IsQueue() || e.IsTopic()):
			found = true
			p.allow(e.RoleARN, []string{"sts:AssumeRole"})
		}
	}
	if cfg.Payloads != nil {
		ours, err := p.payloads(*cfg.Payloads)
		if err != nil {
			return nil, err
		}
		found = found || ours
	}
	if !found {
		return nil, fmt.Errorf("topology: %w: no endpoint has the role %q and the profile %q", queue.ErrInvalid, cfg.RoleARN, cfg.Profile)
	}
	if err := keysFault(endpoints, cfg.Keys); err != nil {
		return nil, err
	}
	return p.policy(), nil
}

// keysFault finds a key that is for no queue: its name is mistyped, or lacks the
// namespace.
func keysFault(endpoints *queue.Endpoints, keys map[string]string) error {
	names := make(map[string]bool)
	for e := range endpoints.All() {
		for _, url := range []string{e.URL, e.DeadLetter} {
			if name, _, err := queue.ParseURL(url); err == nil && e.IsQueue() {
				names[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if !names[name] && !names[queue.QueueName(name)] {
			return fmt.Errorf("topology: %w: there is a key for queue %q, which is no endpoint's; want one of %q", queue.ErrInvalid, name, slices.Sorted(maps.Keys(names)))
		}
	}
	return nil
}

// Covers reports whether the policy is about an endpoint: one whose credentials are
// of the role and the profile. That of a role is for all profiles that assume it.
func (c PolicyConfig) Covers(e queue.Endpoint) bool {
	return e.RoleARN == c.RoleARN && (e.Profile == c.Profile || c.RoleARN != "" && c.Profile == "")
}

// A policyMaker gathers the actions on each resource.
type policyMaker struct {
	cfg     PolicyConfig
	grants  grants
	actions map[string][]string // by resource
	keys    map[grant]bool      // whether to encrypt by, as well

	bucket []Statement // of payloads
}

// A grant is what keys a role may use: one, or those of a region and an account that
// have an alias.
type grant struct{ resource, alias string }

func (p *policyMaker) endpoint(e queue.Endpoint) error {
	switch {
	case e.IsTopic():
		if err := p.add(e, "sns", e.URL, p.grants.topics); err != nil {
			return err
		}
		if _, account := e.Resource(); account != "" {
			return p.add(e, "sns", e.URL, p.grants.named)
		}
		p.allow("*", p.grants.sns)
	case e.IsQueue():
		if err := p.add(e, "sqs", e.URL, p.grants.queues); err != nil {
			return err
		}
		if e.DeadLetter == "" {
			return nil
		}
		p.allow("*", p.grants.sqs)
		if err := p.add(e, "sqs", e.URL, p.grants.sources); err != nil {
			return err
		}
		return p.add(e, "sqs", e.DeadLetter, p.grants.dead)
	}
	return nil
}

// add allows actions on the queue or topic of a URL.
func (p *policyMaker) add(e queue.Endpoint, service, url string, actions []string) error {
	if len(actions) == 0 {
		return nil
	}
	name, account, err := queue.ParseURL(url)
	if err != nil {
		return fmt.Errorf("topology: endpoint %q: %w", e.Name, err)
	}
	region := e.Region
	if region == "" {
		region = p.cfg.Region
	}
	own := e.RoleAccount()
	if own == "" {
		own = p.cfg.Account
	}
	if foreign(account, site{e.Place()}) {
		actions = without(actions, tags)
		if own != "" && account != own {
			actions = without(actions, setQueue)
		}
	} else {
		account = own
		if p.grants.make {
			actions = union(actions, makes[service])
		}
	}
	switch {
	case region == "":
		return fmt.Errorf("topology: endpoint %q: %w: no region is known; set the endpoint's, or one for all (PolicyConfig.Region, --region)", e.Name, queue.ErrInvalid)
	case account == "":
		return fmt.Errorf("topology: endpoint %q: %w: no account is known; have it in the URL, or give one for all (PolicyConfig.Account, --account)", e.Name, queue.ErrInvalid)
	case !accountRule.MatchString(account):
		return fmt.Errorf("topology: endpoint %q: %w: the account is %q; want twelve digits", e.Name, queue.ErrInvalid, account)
	}
	arn := strings.Join([]string{"arn", partition(region), service, region, account, name}, ":")
	p.allow(arn, actions)
	if service == "sqs" {
		key, ok := p.cfg.Keys[arn]
		if !ok {
			key = p.cfg.Keys[name]
		}
		p.key(key, region, account, actions)
	}
	return nil
}

var accountRule = regexp.MustCompile(`^[0-9]{12}$`)

func (p *policyMaker) allow(resource string, actions []string) {
	if len(actions) > 0 {
		p.actions[resource] = union(p.actions[resource], actions)
	}
}

// key notes the key of a queue, on which actions are allowed.
func (p *policyMaker) key(key, region, account string, actions []string) {
	encrypts := slices.Contains(actions, "sqs:SendMessage")
	if key == "" || key == "alias/aws/sqs" || strings.HasSuffix(key, ":alias/aws/sqs") || !encrypts && !slices.Contains(actions, "sqs:ReceiveMessage") {
		return
	}
	g := keyOf(key, region, account)
	p.keys[g] = p.keys[g] || encrypts
}

// keyOf returns what a key of KMS is that is given by an ARN, an id or an alias. The
// ARN of an alias is one of no key, and would allow nothing; so an alias is a condition
// on the keys of its account: KMS developer guide, "Using aliases to control access to
// KMS keys".
func keyOf(key, region, account string) grant {
	if at, alias, ok := strings.Cut(key, ":alias/"); ok && strings.HasPrefix(key, "arn:") {
		return grant{at + ":key/*", "alias/" + alias}
	}
	own := strings.Join([]string{"arn", partition(region), "kms", cmp.Or(region, "*"), cmp.Or(account, "*")}, ":") + ":key/"
	switch {
	case strings.HasPrefix(key, "alias/"):
		return grant{own + "*", key}
	case strings.HasPrefix(key, "arn:"):
		return grant{resource: key}
	}
	return grant{resource: own + key}
}

// policy returns a statement for each set of actions, and for each key.
func (p *policyMaker) policy() *Policy {
	resources := make(map[string][]string) // by actions
	for _, r := range slices.Sorted(maps.Keys(p.actions)) {
		actions := strings.Join(p.actions[r], " ")
		resources[actions] = append(resources[actions], r)
	}
	out := &Policy{Version: "2012-10-17"}
	add := func(s Statement) {
		s.Sid, s.Effect = fmt.Sprintf("Waybill%d", len(out.Statement)+1), "Allow"
		out.Statement = append(out.Statement, s)
	}
	for _, actions := range slices.Sorted(maps.Keys(resources)) {
		add(Statement{Action: strings.Fields(actions), Resource: resources[actions]})
	}
	// A sender needs Decrypt, too, by which SQS verifies the data key: SQS developer
	// guide, "Amazon SQS Key management".
	keys := slices.SortedFunc(maps.Keys(p.keys), func(a, b grant) int {
		return cmp.Or(strings.Compare(a.resource, b.resource), strings.Compare(a.alias, b.alias))
	})
	for _, key := range keys {
		actions := []string{"kms:Decrypt"}
		if p.keys[key] {
			actions = append(actions, "kms:GenerateDataKey")
		}
		add(key.statement(actions))
	}
	for _, s := range p.bucket {
		add(s)
	}
	return out
}

// statement allows actions with the keys.
func (g grant) statement(actions []string) Statement {
	s := Statement{Action: actions, Resource: []string{g.resource}}
	if g.alias != "" {
		s.Condition = map[string]map[string]string{"ForAnyValue:StringEquals": {"kms:ResourceAliases": g.alias}}
	}
	return s
}
