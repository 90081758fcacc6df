package topology

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sync/errgroup"
)

// A sourceLister is a client that can tell whose dead letters a queue takes, as
// [*sqs.Client] can.
type sourceLister interface {
	ListDeadLetterSourceQueues(context.Context, *sqs.ListDeadLetterSourceQueuesInput, ...func(*sqs.Options)) (*sqs.ListDeadLetterSourceQueuesOutput, error)
}

// denied reports whether the credentials do not permit a call, or may not assume
// the role that it is made with. That they are wrong is another matter.
func denied(err error) bool {
	return hasCode(err, "AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException",
		"NotAuthorized", "UnauthorizedOperation", "KMS.AccessDeniedException", "KmsAccessDenied")
}

// look finds out what is there, as far as the credentials permit.
func (c *checker) look(ctx context.Context) error {
	d := c.desire
	refused := make([]error, len(d.queues)+len(d.topics))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	look := func(i int, f func() error) {
		g.Go(func() error {
			err := f()
			if denied(err) {
				refused[i], err = err, nil
			}
			return err
		})
	}
	for i, q := range d.queues {
		look(i, func() error { return c.observer.find(gctx, q) })
	}
	for i, t := range d.topics {
		look(len(d.queues)+i, func() error { return c.observer.findTopic(gctx, t) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.pass = Leaves
	for i, q := range d.queues {
		switch {
		case refused[i] != nil:
			c.unreadable(q, d.owner(q), q.url, refused[i])
			q.exists = true // as far as can be known; and only what is configured counts then
		case q.exists:
			c.byARN[nodeKey{q.arn, q.site}] = q
		}
	}
	for i, t := range d.topics {
		if err := refused[len(d.queues)+i]; err != nil {
			c.unreadable(t, t.endpoint, t.url, err)
		}
	}
	for _, s := range d.subscriptions {
		s.arn = s.topic.subscriptions[s.queue.arn]
	}
	if err := c.lookBeyond(ctx); err != nil {
		return err
	}
	return c.lookBack(ctx)
}

func (c *checker) unreadable(what any, endpoint, resource string, err error) {
	c.unread[what] = true
	c.add(Finding{
		Severity: SeverityWarning, Rule: RuleUnreadable, Endpoint: endpoint, Resource: resource,
		Remedy: "allow what `waybill topology iam --role viewer` prints",
	}, "may not be looked at, so that only its configuration is judged: %v", err)
}

// lookBeyond finds the queues that only redrive policies name.
func (c *checker) lookBeyond(ctx context.Context) error {
	for list := slices.Clone(c.desire.queues); len(list) > 0; list = list[1:] {
		q := list[0]
		name, url := q.redriveTarget()
		if name == "" || c.byARN[nodeKey{q.targetARN(), q.site}] != nil {
			continue
		}
		target := &queueNode{url: url, site: q.site, name: name, account: q.account}
		if known := c.desire.byURL[nodeKey{target.url, target.site}]; known != nil {
			continue // it does not exist, or may not be looked at
		}
		err := c.observer.find(ctx, target)
		switch {
		case denied(err):
			c.unreadable(target, c.ownerOf(q), target.url, err)
			target.exists = true
		case err != nil:
			return err
		}
		target.arn = q.targetARN()
		c.byARN[nodeKey{target.arn, target.site}] = target
		c.beyond = append(c.beyond, target)
		list = append(list, target)
	}
	return nil
}

// lookBack finds the queues whose dead letters a queue takes, where it matters:
// of dead-letter queues, and of those that have no redrive policy.
func (c *checker) lookBack(ctx context.Context) error {
	queues := slices.Concat(c.desire.queues, c.beyond)
	sources, refused := make([][]string, len(queues)), make([]error, len(queues))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, q := range queues {
		lister, ok := c.observer.sqs(q.site).(sourceLister)
		if !ok || !q.exists || c.unread[q] || !c.takesLetters(q) && q.have["RedrivePolicy"] != "" {
			continue
		}
		g.Go(func() (err error) {
			sources[i], err = listSourceQueues(gctx, lister, q)
			if denied(err) {
				refused[i], err = err, nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, q := range queues {
		c.sources[q] = sources[i]
		if refused[i] != nil {
			c.add(Finding{
				Severity: SeverityNotice, Rule: RuleUnreadable, Endpoint: c.ownerOf(q), Resource: q.url,
				Remedy: "allow what `waybill topology iam --role viewer` prints",
			}, "whose dead letters it takes cannot be told: %v", refused[i])
		}
	}
	return nil
}

// listSourceQueues returns the names of the queues whose redrive policy names q.
func listSourceQueues(ctx context.Context, lister sourceLister, q *queueNode) (names []string, err error) {
	in := &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: aws.String(q.queueURL), MaxResults: aws.Int32(1000)}
	for {
		out, err := lister.ListDeadLetterSourceQueues(ctx, in, q.site.sqs)
		switch {
		case unknownCall(err):
			return nil, nil
		case err != nil:
			return nil, failed(q.site.name(q.url, q.purposes), "ListDeadLetterSourceQueues", err)
		}
		for _, u := range out.QueueUrls {
			names = append(names, u[strings.LastIndexByte(u, '/')+1:])
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return names, nil
		}
	}
}

// takesLetters reports whether a queue is a dead-letter queue by the
// configuration, or by a redrive policy that was read.
func (c *checker) takesLetters(q *queueNode) bool {
	return slices.Contains(c.beyond, q) || slices.ContainsFunc(c.desire.queues, func(other *queueNode) bool {
		return other.deadLetter == q || other.leadsTo(q)
	})
}

// ownerOf is desire.owner for queues that only redrive policies name, too. Each of
// those was found by way of one before it.
func (c *checker) ownerOf(q *queueNode) string {
	if name := c.desire.owner(q); name != "" {
		return name
	}
	for _, other := range slices.Concat(c.desire.queues, c.beyond) {
		if other != q && other.leadsTo(q) {
			return c.ownerOf(other)
		}
	}
	return ""
}
