package emulator

import (
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cooldown is how long after a deletion a queue cannot be made again, and after a purge not purged:
// SQS API reference (DeleteQueue, PurgeQueue).
const cooldown = 60 * time.Second

var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func (s *Server) queueARN(k queueKey) string {
	return "arn:aws:sqs:" + k.region + ":" + s.account + ":" + k.name
}

func (s *Server) queueURL(c *call, name string) string {
	return c.base + "/" + s.account + "/" + name
}

// queue returns the queue of a URL.
func (s *Server) queue(c *call, ref queueRef) (*queue, *Error) {
	if ref.QueueUrl == "" {
		return nil, errMissingParameter("QueueUrl")
	}
	account, name := splitQueueURL(ref.QueueUrl)
	if name == "" {
		return nil, &Error{Code: "InvalidAddress", Message: "The address " + clip(ref.QueueUrl) + " is not valid for this endpoint.", Status: 404}
	}
	if account != s.account {
		return nil, errQueueDoesNotExist()
	}
	if q := s.lookup(queueKey{c.region, name}); q != nil {
		return q, nil
	}
	return nil, errQueueDoesNotExist()
}

// lookup returns the queue of a key, or nil.
func (s *Server) lookup(k queueKey) *queue {
	if q, ok := s.queues.Load(k); ok {
		return q.(*queue)
	}
	return nil
}

// lookupARN returns the queue of an ARN, or nil.
func (s *Server) lookupARN(arn string) *queue {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "sqs" || parts[4] != s.account {
		return nil
	}
	return s.lookup(queueKey{parts[3], parts[5]})
}

type createQueueInput struct {
	QueueName  string
	Attributes map[string]string
	Tags       map[string]string
}

func (in *createQueueInput) resource() string { return in.QueueName }

type queueURLOutput struct{ QueueUrl string }

func (s *Server) createQueue(c *call, in *createQueueInput) (*queueURLOutput, *Error) {
	defaults := defaultSettings()
	switch {
	case in.QueueName == "":
		return nil, errMissingParameter("QueueName")
	case in.Attributes["FifoQueue"] == "true":
		defaults = fifoDefaults()
		if err := fifoNameFault(in.QueueName); err != nil {
			return nil, err
		}
	case !queueName.MatchString(in.QueueName):
		return nil, errInvalidParameterValue("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	if err := tagsFault(in.Tags); err != nil {
		return nil, err
	}
	key := queueKey{c.region, in.QueueName}
	out := &queueURLOutput{s.queueURL(c, in.QueueName)}
	set, err := defaults.with(in.Attributes)
	if err != nil {
		return nil, err
	}

	s.making.Lock()
	defer s.making.Unlock()
	if q := s.lookup(key); q != nil {
		return out, q.sameAs(set, in.Attributes)
	}
	if at, ok := s.deleted.Load(key); ok && !s.noCooldowns && s.clock.Now().Sub(at.(time.Time)) < cooldown {
		return nil, errSimpleQueueService("QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another with the same name.")
	}
	arn := s.queueARN(key)
	if err := s.redriveFault(arn, set); err != nil {
		return nil, err
	}
	s.deleted.Delete(key)
	s.queues.Store(key, newQueue(key, arn, set, maps.Clone(in.Tags), s.clock))
	return out, nil
}

// sameAs checks that the attributes of a repeated CreateQueue are those that the queue has. Attributes
// that the request leaves out are not compared: SQS API reference (CreateQueue).
func (q *queue) sameAs(set settings, given map[string]string) *Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if q.set.text[name] != set.text[name] {
			return &Error{
				Code: "QueueNameExists", QueryCode: "QueueAlreadyExists",
				Message: "A queue already exists with the same name and a different value for attribute " + name,
			}
		}
	}
	return nil
}

// redriveFault checks a queue's dead-letter queue: it exists, is another queue of the same region, and
// lets itself be used.
func (s *Server) redriveFault(source string, set settings) *Error {
	if set.redrive == nil {
		return nil
	}
	invalid := func(reason string) *Error {
		return errInvalidParameterValue("Value %s for parameter RedrivePolicy is invalid. Reason: %s", clip(set.redrive.String()), reason)
	}
	dlq := s.lookupARN(set.redrive.target)
	switch {
	case set.redrive.target == source:
		return invalid("A queue cannot be its own dead letter target.")
	case dlq == nil:
		return invalid("Dead letter target does not exist.")
	case !strings.HasPrefix(source, "arn:aws:sqs:"+dlq.key.region+":"):
		return invalid("Dead letter target must be in the same region.")
	case (dlq.fifo != nil) != set.fifo:
		return invalid("Dead-letter queue must be same type of queue as the source.")
	}
	dlq.mu.Lock()
	defer dlq.mu.Unlock()
	if !dlq.set.allow.allows(source) {
		return invalid("The dead letter target's RedriveAllowPolicy does not allow this queue.")
	}
	return nil
}

type getQueueURLInput struct {
	QueueName              string
	QueueOwnerAWSAccountId string
}

func (in *getQueueURLInput) resource() string { return in.QueueName }

func (s *Server) getQueueURL(c *call, in *getQueueURLInput) (*queueURLOutput, *Error) {
	switch {
	case in.QueueName == "":
		return nil, errMissingParameter("QueueName")
	case in.QueueOwnerAWSAccountId != "" && in.QueueOwnerAWSAccountId != s.account:
		return nil, errQueueDoesNotExist()
	case s.lookup(queueKey{c.region, in.QueueName}) == nil:
		return nil, errQueueDoesNotExist()
	}
	return &queueURLOutput{s.queueURL(c, in.QueueName)}, nil
}

type deleteQueueInput struct{ queueRef }

func (s *Server) deleteQueue(c *call, in *deleteQueueInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	s.making.Lock()
	defer s.making.Unlock()
	if s.queues.CompareAndDelete(q.key, q) {
		s.deleted.Store(q.key, s.clock.Now())
		q.close()
	}
	return nothing{}, nil
}

type purgeQueueInput struct{ queueRef }

func (s *Server) purgeQueue(c *call, in *purgeQueueInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	pause := cooldown
	if s.noCooldowns {
		pause = 0
	}
	return nothing{}, q.purge(pause)
}

// page cuts a sorted list of names for a caller that asked for at most max of those after token.
// The token names the last one of the page before.
func page(names []string, max *int, token string) (out []string, next string, err *Error) {
	const most = 1000
	size := most
	if max != nil {
		size = *max
	}
	if size < 1 || size > most {
		return nil, "", errInvalidParameterValue("Value %d for parameter MaxResults is invalid. Reason: Must be between 1 and 1000, if provided.", size)
	}
	if token != "" {
		if max == nil {
			return nil, "", errInvalidParameterValue("MaxResults is required with NextToken.")
		}
		last, err := base64.URLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", errInvalidParameterValue("Invalid NextToken value.")
		}
		i, found := slices.BinarySearch(names, string(last))
		if found {
			i++
		}
		names = names[i:]
	}
	if len(names) <= size {
		return names, "", nil
	}
	names = names[:size]
	if max == nil {
		return names, "", nil // no token without MaxResults: SQS API reference (ListQueues)
	}
	return names, base64.URLEncoding.EncodeToString([]byte(names[size-1])), nil
}

type listQueuesInput struct {
	QueueNamePrefix string
	MaxResults      *int
	NextToken       string
}

func (*listQueuesInput) resource() string { return "" }

type listQueuesOutput struct {
	QueueUrls []string `json:",omitempty"`
	NextToken string   `json:",omitempty"`
}

func (s *Server) listQueues(c *call, in *listQueuesInput) (*listQueuesOutput, *Error) {
	names := s.queueNames(c, func(q *queue) bool { return strings.HasPrefix(q.key.name, in.QueueNamePrefix) })
	names, next, err := page(names, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &listQueuesOutput{s.queueURLs(c, names), next}, nil
}

type listDeadLetterSourceQueuesInput struct {
	queueRef
	MaxResults *int
	NextToken  string
}

type listDeadLetterSourceQueuesOutput struct {
	QueueUrls []string `json:"queueUrls"`
	NextToken string   `json:",omitempty"`
}

func (s *Server) listDeadLetterSourceQueues(c *call, in *listDeadLetterSourceQueuesInput) (*listDeadLetterSourceQueuesOutput, *Error) {
	dlq, err := s.queue(c, in.queueRef)
	if err != nil {
		return nil, err
	}
	names := s.queueNames(c, func(q *queue) bool { return q.buriesIn(dlq.arn) })
	names, next, err := page(names, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &listDeadLetterSourceQueuesOutput{s.queueURLs(c, names), next}, nil
}

// queueNames returns the sorted names of the region's queues that want says yes to.
func (s *Server) queueNames(c *call, want func(*queue) bool) []string {
	var names []string
	s.queues.Range(func(_, v any) bool {
		if q := v.(*queue); q.key.region == c.region && want(q) {
			names = append(names, q.key.name)
		}
		return true
	})
	slices.Sort(names)
	return names
}

func (s *Server) queueURLs(c *call, names []string) []string {
	urls := make([]string, len(names))
	for i, name := range names {
		urls[i] = s.queueURL(c, name)
	}
	return urls
}

type getQueueAttributesInput struct {
	queueRef
	AttributeNames []string
}

type attributesOutput struct {
	Attributes map[string]string `json:",omitempty"`
}

func (s *Server) getQueueAttributes(c *call, in *getQueueAttributesInput) (*attributesOutput, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nil, err
	}
	all := q.attributes()
	out := make(map[string]string)
	for _, name := range in.AttributeNames {
		value, has := all[name]
		switch {
		case name == "All":
			maps.Copy(out, all)
		case has:
			out[name] = value
		case !knownSetting(name):
			return nil, errInvalidAttributeName(clip(name))
		}
	}
	return &attributesOutput{out}, nil
}

func knownSetting(name string) bool {
	switch name {
	case "Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds":
		return true
	}
	return alwaysSet[name] != "" || fifoSettings[name] != nil || readOnlySettings[name]
}

// attributes returns all attributes of the queue as they stand now.
func (q *queue) attributes() map[string]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(q.clock.Now())
	visible, notVisible, later := q.counts()
	out := maps.Clone(q.set.text)
	out["ApproximateNumberOfMessages"] = strconv.Itoa(visible)
	out["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(notVisible)
	out["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(later)
	out["CreatedTimestamp"] = strconv.FormatInt(q.created.Unix(), 10)
	out["LastModifiedTimestamp"] = strconv.FormatInt(q.modified.Unix(), 10)
	out["QueueArn"] = q.arn
	return out
}

type setQueueAttributesInput struct {
	queueRef
	Attributes map[string]string
}

func (s *Server) setQueueAttributes(c *call, in *setQueueAttributesInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	if len(in.Attributes) == 0 {
		return nothing{}, errMissingParameter("Attributes")
	}
	s.making.Lock() // one change of settings at a time; the queue's own lock cannot be held over a look at another
	defer s.making.Unlock()
	q.mu.Lock()
	set := q.set
	q.mu.Unlock()
	set, err = set.with(in.Attributes)
	if err != nil {
		return nothing{}, err
	}
	if _, changed := in.Attributes["RedrivePolicy"]; changed {
		if err := s.redriveFault(q.arn, set); err != nil {
			return nothing{}, err
		}
	}
	now := q.clock.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.apply(set, now)
	return nothing{}, nil
}

// apply changes the settings of the queue.
func (q *queue) apply(set settings, now time.Time) {
	q.settle(now)
	old := q.set
	q.set, q.modified = set, now
	if q.fifo != nil && set.delay != old.delay {
		q.delayAnew()
	}
	if q.fifo != nil && set.dedupByGroup != old.dedupByGroup {
		q.fifo.dedup.rescope(set.dedupByGroup)
	}
	q.settle(now) // under the new retention
	q.wake()
}
