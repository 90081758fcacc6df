package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// errNoAudit says that the client was given no records.
var errNoAudit = errors.New("dlq: Config has no Audit, which has the records of what was done")

// An AuditQuery chooses records of what was done.
type AuditQuery struct {
	// Queue is the dead-letter queue, named as for queue.Admin; one that is no more
	// goes by its name. Defaults to all.
	Queue string

	// Job is the id of the job that did it, or the ID of one record. Defaults to
	// all.
	Job string

	// Since and Until choose what began not before Since, and before Until. What
	// has no beginning on record any more goes by its end. Default to no bound.
	Since, Until time.Time

	// By is who did it, with or without what follows an @. Defaults to all.
	By string

	// Limit is how many are returned at most. Defaults to 100.
	Limit int
}

// DefaultAuditLimit is the default of AuditQuery.Limit.
const DefaultAuditLimit = 100

// auditPage is how many records are read at once. Each may have 64 KiB.
const auditPage = 100

// An Audited is one thing that was done to a dead-letter queue, from its beginning
// to its end: a job that was resumed has one for each run.
type Audited struct {
	// ID names the record among those of its queue.
	ID string `json:"id"`

	// Began is when it began; of an order, which has no phases, when it was given.
	// Zero where that is no longer on record.
	Began time.Time `json:"began,omitzero"`

	// Ended is when it ended, or zero: then it is under way, or its process died.
	Ended time.Time `json:"ended,omitzero"`

	// AuditEntry has what was to be done, as it was recorded at the beginning, and
	// what came of it, as at the end. Its Phase is empty.
	AuditEntry

	subject string
}

// Audits returns what was done to dead-letter queues, the newest first. It reads as
// many records as it takes.
func (c *Client) Audits(ctx context.Context, q AuditQuery) ([]Audited, error) {
	switch {
	case c.audit == nil:
		return nil, errNoAudit
	case q.Limit < 0:
		return nil, fmt.Errorf("dlq: AuditQuery: Limit is %d; want 1 or more, or 0 for the default", q.Limit)
	case q.Limit == 0:
		q.Limit = DefaultAuditLimit
	}
	if err := checkWindow(q.Since, q.Until); err != nil {
		return nil, fmt.Errorf("dlq: AuditQuery: %w", err)
	}
	subject, name, err := c.auditSubject(ctx, q.Queue)
	if err != nil {
		return nil, err
	}
	list := []Audited{}
	ends := map[[2]string]Audited{} // of which the beginning comes later, for it is older
	for r, err := range c.auditRecords(ctx, subject) {
		if err != nil {
			return nil, err
		}
		var e AuditEntry
		if json.Unmarshal(r.Body, &e) != nil || e.Verb == "" {
			continue // others may keep records there, too
		}
		a := Audited{ID: r.ID, AuditEntry: e, Began: r.At, subject: r.Subject}
		switch e.Phase {
		case AuditEnd:
			a.ID = strings.TrimSuffix(r.ID, "/end")
			a.Began, a.Ended = time.Time{}, r.At
			a.Phase = ""
			ends[[2]string{r.Subject, a.ID}] = a
			continue
		case AuditBegin:
			key := [2]string{r.Subject, a.ID}
			if end, ok := ends[key]; ok {
				delete(ends, key)
				a.Ended, a.Report, a.Error, a.Count = end.Ended, end.Report, end.Error, end.Count
			}
			a.Phase = ""
		}
		if r.At.Before(q.Since) && len(ends) == 0 {
			break // those that follow began earlier
		}
		if q.chooses(a, name, r.At) {
			if list = append(list, a); len(list) == q.Limit {
				return list, nil
			}
		}
	}
	for _, end := range ends {
		if q.chooses(end, name, end.Ended) && len(list) < q.Limit {
			list = append(list, end)
		}
	}
	return list, nil
}

// chooses reports whether a record is among those asked for.
func (q AuditQuery) chooses(a Audited, name string, at time.Time) bool {
	return !at.Before(q.Since) && (q.Until.IsZero() || at.Before(q.Until)) &&
		(name == "" || a.Queue == name) &&
		(q.Job == "" || a.Job == q.Job || a.ID == q.Job) &&
		(q.By == "" || a.By == q.By || strings.HasPrefix(a.By, q.By+"@"))
}

// auditSubject returns the subject of a queue's records; or its name, of one that is
// no more.
func (c *Client) auditSubject(ctx context.Context, from string) (subject, name string, err error) {
	if from == "" {
		return "", "", nil
	}
	q, err := c.queues.Queue(ctx, from)
	if err == nil {
		var a queue.QueueAttributes
		if a, err = q.Attributes(ctx); err == nil {
			return subjectOf(q, a), "", nil
		}
	}
	if !errors.Is(err, queue.ErrNotFound) {
		return "", "", fmt.Errorf("dlq: %w", err)
	}
	if name = queue.QueueName(from); name == "" {
		name = queue.QueueName(queue.Qualify(c.queues.Endpoints().Namespace(), queue.SchemeSQS+"://"+from))
	}
	return "", name, nil
}

// auditRecords yields the records of a subject, or of all, the newest first.
func (c *Client) auditRecords(ctx context.Context, subject string) iter.Seq2[store.Audited, error] {
	return func(yield func(store.Audited, error) bool) {
		before := ""
		for {
			page, next, err := c.audit.ListAudit(ctx, subject, before, auditPage)
			if err != nil {
				yield(store.Audited{}, fmt.Errorf("dlq: audit: %w", err))
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			before = next
		}
	}
}

// AuditItems yields SQS's ids, in the dead-letter queue, of the messages that it was
// done to.
func (c *Client) AuditItems(ctx context.Context, a Audited) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if c.audit == nil {
			yield("", errNoAudit)
			return
		}
		for page, pages := 0, 1; page < pages; page++ {
			items, n, err := c.audit.AuditItems(ctx, a.subject, a.ID, page)
			if errors.Is(err, store.ErrNotFound) {
				return // its beginning is no longer on record, and its items with it
			}
			if err != nil {
				yield("", fmt.Errorf("dlq: audit: %w", err))
				return
			}
			pages = n
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}
