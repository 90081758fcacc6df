package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/waybill-dev/waybill/store"
)

// AuditRetention is for how long records of what was done to dead-letter queues
// are kept.
const AuditRetention = 400 * 24 * time.Hour

// What an AuditEntry records.
const (
	// AuditRedrive is a redrive that begins, or that somebody goes on with. Its
	// items are SQS's ids, in the dead-letter queue, of what was sent, in pages
	// that are written as the redrive goes on.
	AuditRedrive = "redrive"

	// AuditRedriven is the end of the same run, with its report.
	AuditRedriven = "redriven"

	// AuditCancel is a job that was told to stop.
	AuditCancel = "cancel"
)

// An AuditEntry is the body of a record in Config.Audit, as JSON.
type AuditEntry struct {
	Verb   string `json:"verb"`
	Queue  string `json:"queue"`
	Job    string `json:"job"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`

	// Spec is what was to be done, Report what became of it, without its
	// differences, and with the first of its failures. Error is why it ended
	// early.
	Spec   *Spec   `json:"spec,omitempty"`
	Report *Report `json:"report,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// encode makes the body, which has room for less than the report may have.
func (e AuditEntry) encode() ([]byte, error) {
	if e.Report != nil {
		r := e.Report.clone()
		r.Diffs, r.Failures = nil, r.Failures[:min(len(r.Failures), maxKeptFailures)]
		for i := range r.Failures {
			r.Failures[i].Error = r.Failures[i].Error[:min(len(r.Failures[i].Error), maxAuditText)]
		}
		e.Report = &r
	}
	e.Error, e.Reason = e.Error[:min(len(e.Error), maxAuditText)], e.Reason[:min(len(e.Reason), maxAuditText)]
	return json.Marshal(e)
}

const maxAuditText = 1000

// An auditor records a run of a job. A nil one records nothing.
type auditor struct {
	audit   store.Audit
	log     *slog.Logger
	subject string
	id      string
	entry   AuditEntry

	writing sync.Mutex // pages; not held while messages are sent
	pages   int        // that are written

	mu    sync.Mutex
	items []string   // that are not on a page yet
	full  [][]string // that are not written
}

// newAuditor records that a run begins. What is not on record is not done.
func (c *Client) newAuditor(ctx context.Context, j *job, subject string, s Spec) (*auditor, error) {
	if c.audit == nil {
		return nil, nil
	}
	a := &auditor{
		audit: c.audit, log: c.log, subject: subject, id: j.ID + "/0",
		entry: AuditEntry{Verb: AuditRedrive, Queue: j.from.Name, Job: j.ID, By: j.Owner, Reason: j.Reason, Spec: &s},
	}
	if j.journal != nil {
		a.id = j.ID + "/" + strconv.FormatInt(j.journal.note.Fence, 10)
	}
	if err := a.append(ctx, a.id, a.entry); err != nil {
		return nil, fmt.Errorf("dlq: redrive of %q: nothing was done, because it cannot be recorded: %w", j.from.Name, err)
	}
	return a, nil
}

func (a *auditor) append(ctx context.Context, id string, e AuditEntry) error {
	body, err := e.encode()
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

// add notes that a message was sent.
func (a *auditor) add(messageID string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
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

// finish records the end of the run, with its outcome, which it returns. What
// cannot be recorded is an error, too: it was done all the same.
func (a *auditor) finish(ctx context.Context, r Report, outcome error) error {
	if a == nil {
		return outcome
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	a.mu.Lock()
	if len(a.items) > 0 {
		a.full, a.items = append(a.full, a.items), nil
	}
	a.mu.Unlock()
	err := a.write(ctx)
	e := a.entry
	e.Verb, e.Spec, e.Report = AuditRedriven, nil, &r
	if outcome != nil {
		e.Error = outcome.Error()
	}
	err = errors.Join(err, a.append(ctx, a.id+"/end", e))
	if err != nil {
		return errors.Join(outcome, fmt.Errorf("dlq: redrive %s of %q is not wholly on record: %w", r.ID, r.Queue, err))
	}
	return outcome
}

// recordCancel records that a job was told to stop.
func (c *Client) recordCancel(ctx context.Context, subject string, e AuditEntry) error {
	if c.audit == nil {
		return nil
	}
	a := &auditor{audit: c.audit, log: c.log, subject: subject}
	return a.append(ctx, e.Job+"/cancel/"+ulid.Make().String(), e)
}

// recordSent records the ids of what was sent, when a page of them is full.
func (j *job) recordSent(ctx context.Context) {
	if err := j.audit.write(context.WithoutCancel(ctx)); err != nil {
		j.log.Warn("what was redriven could not be recorded; it is tried again", "queue", j.from.Name, "error", err)
	}
}
