package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/waybill-dev/waybill/store"
)

// AuditRetention is for how long records of what was done to dead-letter queues
// are kept.
const AuditRetention = 400 * 24 * time.Hour

// Verbs of an AuditEntry.
const (
	// AuditRedrive is a redrive. The items of its records are SQS's ids, in the
	// dead-letter queue, of what was sent.
	AuditRedrive = "redrive"

	// AuditCancel is the order to a job to stop. It has no phase and no items.
	AuditCancel = "cancel"
)

// Phases of an AuditEntry.
const (
	// AuditBegin is what was about to be done, by whom and why. The record has the
	// items that it was done to, in pages that are written as it goes on.
	AuditBegin = "begin"

	// AuditEnd is what came of it.
	AuditEnd = "end"
)

// An AuditEntry is the body of a record in Config.Audit, as JSON.
type AuditEntry struct {
	Verb   string `json:"verb"`
	Phase  string `json:"phase,omitempty"`
	Queue  string `json:"queue"` // the dead-letter queue's name
	Job    string `json:"job"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`

	// Spec is what was to be done, of a redrive a [Spec], and Report what became
	// of it, of a redrive a [Report], without its differences, and with the first
	// of its failures. Error is why it ended early.
	Spec   json.RawMessage `json:"spec,omitempty"`
	Report json.RawMessage `json:"report,omitempty"`
	Error  string          `json:"error,omitempty"`

	// Count is to how many messages it was done, at the end.
	Count int `json:"count,omitempty"`
}

const maxAuditText = 1000

// An auditor records what is done to a queue. A nil one records nothing.
type auditor struct {
	audit   store.Audit
	subject string
	id      string
	entry   AuditEntry

	writing sync.Mutex // pages; not held while messages are sent
	pages   int        // that are written

	mu    sync.Mutex
	count int
	items []string   // that are not on a page yet
	full  [][]string // that are not written
}

// newAuditor records that something begins, under the fence of the lease, if
// there is one. What is not on record is not done.
func (c *Client) newAuditor(ctx context.Context, subject string, n *journal, e AuditEntry, spec any) (*auditor, error) {
	if c.audit == nil {
		return nil, nil
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("dlq: audit: %w", err)
	}
	e.Phase, e.Spec = AuditBegin, text
	a := &auditor{audit: c.audit, subject: subject, id: e.Job + "/0", entry: e}
	if n != nil {
		a.id = e.Job + "/" + strconv.FormatInt(n.note.Fence, 10)
	}
	if err := a.append(ctx, a.id, e); err != nil {
		return nil, fmt.Errorf("dlq: %s of %q: nothing was done, because it cannot be recorded: %w", e.Verb, e.Queue, err)
	}
	return a, nil
}

func (a *auditor) append(ctx context.Context, id string, e AuditEntry) error {
	e.Error, e.Reason = e.Error[:min(len(e.Error), maxAuditText)], e.Reason[:min(len(e.Reason), maxAuditText)]
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return tryTwice(ctx, func() error {
		return a.audit.AppendAudit(ctx, store.AuditRecord{Subject: a.subject, ID: id, Body: body, Retention: AuditRetention})
	})
}

// tryTwice makes a call of the store again that failed in passing.
func tryTwice(ctx context.Context, call func() error) error {
	err := call()
	if err != nil && passing(err) && sleep(ctx, openBackoff) {
		err = call()
	}
	return err
}

// add notes that it was done to a message.
func (a *auditor) add(messageID string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	if a.items = append(a.items, messageID); len(a.items) == store.MaxAuditItems {
		a.full, a.items = append(a.full, a.items), nil
	}
}

// write writes the pages that are full, in order.
func (a *auditor) write(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	for page := a.page(); page != nil; page = a.page() {
		if a.pages == store.MaxAuditPages {
			return fmt.Errorf("dlq: audit: there is no room for more than %d ids", store.MaxAuditPages*store.MaxAuditItems)
		}
		err := tryTwice(ctx, func() error { return a.audit.AppendAuditItems(ctx, a.subject, a.id, a.pages, page) })
		if err != nil {
			return fmt.Errorf("dlq: audit: %w", err)
		}
		a.pages++
		a.mu.Lock()
		a.full = a.full[1:]
		a.mu.Unlock()
	}
	return nil
}

// page returns the next page to write, or nil.
func (a *auditor) page() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.full) == 0 {
		return nil
	}
	return a.full[0]
}

// finish records the end, with its outcome, which it returns. What cannot be
// recorded is an error, too: it was done all the same.
func (a *auditor) finish(ctx context.Context, report any, outcome error) error {
	if a == nil {
		return outcome
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	a.mu.Lock()
	if len(a.items) > 0 {
		a.full, a.items = append(a.full, a.items), nil
	}
	count := a.count
	a.mu.Unlock()
	err := a.write(ctx)
	e := a.entry
	e.Phase, e.Spec, e.Count = AuditEnd, nil, count
	if outcome != nil {
		e.Error = outcome.Error()
	}
	var wrong error
	if e.Report, wrong = json.Marshal(report); wrong != nil {
		err = errors.Join(err, wrong)
	}
	err = errors.Join(err, a.append(ctx, a.id+"/end", e))
	if err != nil {
		return errors.Join(outcome, fmt.Errorf("dlq: %s %s of %q is not wholly on record: %w", e.Verb, e.Job, e.Queue, err))
	}
	return outcome
}

// recordCancel records that a job was told to stop.
func (c *Client) recordCancel(ctx context.Context, subject string, e AuditEntry) error {
	if c.audit == nil {
		return nil
	}
	a := &auditor{audit: c.audit, subject: subject}
	return a.append(ctx, e.Job+"/cancel/"+ulid.Make().String(), e)
}

// recordSent records the ids of what was sent, when a page of them is full.
func (j *job) recordSent(ctx context.Context) {
	if err := j.audit.write(context.WithoutCancel(ctx)); err != nil {
		j.log.Warn("what was redriven could not be recorded; it is tried again", "queue", j.from.Name, "error", err)
	}
}
