package dlq

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// AuditIngest is the verb of an ingestion. The items of its records are SQS's ids
// of what was deleted from the queue.
const AuditIngest = "ingest"

// IngestOptions say what [Client.Ingest] is to move. The zero value moves all.
type IngestOptions struct {
	// Filter chooses the messages. Defaults to all.
	Filter *Filter

	// Since and Until choose the messages whose [Letter.FailedAt] is not before
	// Since, and is before Until. Default to no bound.
	Since, Until time.Time

	// Limit is how many messages are moved at most. Defaults to no limit.
	Limit int

	// DryRun chooses messages, and moves none, and needs no catalogue. Their receive
	// counts rise by it.
	DryRun bool

	// Owner says who ingests, and Reason why, for Config.Audit and for others who
	// want to work on the queue. Owner defaults to "unknown".
	Owner, Reason string

	// Progress is called with the report so far after each batch, by one
	// goroutine at a time. Defaults to none.
	Progress func(IngestReport)
}

type ingestSpec struct {
	Filter string    `json:"filter,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	Limit  int       `json:"limit,omitempty"`
}

// An IngestReport is what became of an ingestion.
type IngestReport struct {
	// ID names the ingestion in its records, and Queue is the name of the queue. A
	// dry run has no ID.
	ID    string `json:"id,omitempty"`
	Queue string `json:"queue"`

	// DryRun says that nothing was to be moved. Then Ingested and Deleted are 0,
	// and WouldIngest counts the messages that would have been.
	DryRun      bool `json:"dry_run"`
	WouldIngest int  `json:"would_ingest"`

	// Total is how many messages the queue said it held, and Seen how many of
	// them were looked at. The rest is with other receivers, or, in a FIFO queue,
	// behind messages of its group that were not chosen.
	Total int `json:"total"`
	Seen  int `json:"seen"`

	// Ingested counts the messages that the catalogue has, and Deleted those that
	// were then deleted from the queue. One that could not be is in both, until the
	// next ingestion deletes it.
	Ingested int `json:"ingested"`
	Deleted  int `json:"deleted"`

	// Letters is how many letters of the queue the catalogue has at the end, as far
	// as that can be had. A dry run does not ask.
	Letters int64 `json:"letters"`

	Choice

	// Newer counts the messages that were sent after the ingestion began, and Beyond
	// those beyond the limit. They stay. One of the first five seconds counts as
	// older, since clocks differ; so does one that SQS itself moved into a standard
	// queue, which keeps the time when it was first sent.
	Newer  int `json:"newer"`
	Beyond int `json:"beyond"`

	// Failed counts the messages that could not be moved, and Failures says why,
	// for the first 1,000 of them. They are still in the queue.
	Failed   int       `json:"failed"`
	Failures []Failure `json:"failures,omitempty"`
}

func ingestReport(r PurgeReport) IngestReport {
	return IngestReport{
		ID: r.ID, Queue: r.Queue, DryRun: r.DryRun, WouldIngest: r.WouldDelete, Total: r.Total, Seen: r.Seen,
		Ingested: r.Archived, Deleted: r.Deleted, Choice: r.Choice, Newer: r.Newer, Beyond: r.Beyond,
		Failed: r.Failed, Failures: slices.Clone(r.Failures),
	}
}

// An IngestError says that messages could not be moved. They are still in the
// queue: the same ingestion, run again, takes them up. It matches the errors of the
// messages that its Report lists.
type IngestError struct {
	Report IngestReport
}

func (e *IngestError) Error() string {
	r := e.Report
	text := fmt.Sprintf("dlq: ingest %q: %d messages could not be moved", r.Queue, r.Failed)
	if len(r.Failures) > 0 {
		text += fmt.Sprintf("; message %s (%s): %s", r.Failures[0].ID, r.Failures[0].Stage, r.Failures[0].Error)
	}
	return text
}

// Unwrap returns the errors of the messages.
func (e *IngestError) Unwrap() []error { return causes(e.Report.Failures) }

// Ingest moves the messages of a dead-letter queue into Config.Catalogue, where they
// stay until they are redriven or purged, whatever the queue's retention is, and can
// be grouped, filtered and redriven in any number: see [Client.Catalogue]. The queue
// is named as for queue.Admin; one that itself has a redrive policy is refused with
// [ErrCounts].
//
// A message is deleted from the queue when the catalogue has it, and never before.
// What dies in between leaves it in both; the same ingestion, run again, deletes it.
// If the copy in the catalogue was redriven meanwhile, it is there again, and
// redriven under the same id. A payload in a queue.PayloadStore is not fetched: the
// catalogue has the reference, and the payload the time that it had.
//
// With Config.Jobs and Config.Audit one at a time works on a queue, and it is on
// record, as of [Client.Purge]. Messages that could not be moved are in an
// [*IngestError]. When ctx ends, or the queue or the catalogue fails, the error comes
// with the report so far.
func (c *Client) Ingest(ctx context.Context, name string, opts IngestOptions) (IngestReport, error) {
	if c.catalogue == nil && !opts.DryRun {
		return IngestReport{}, ErrNoCatalogue
	}
	if opts.Limit < 0 {
		return IngestReport{}, fmt.Errorf("dlq: IngestOptions: Limit is %d; want 1 or more, or 0 for none", opts.Limit)
	}
	if err := checkWindow(opts.Since, opts.Until); err != nil {
		return IngestReport{}, fmt.Errorf("dlq: IngestOptions: %w", err)
	}
	queues := *c
	queues.catalogued = false
	s, a, err := queues.scanAll(ctx, name, "ingest")
	if err != nil {
		return IngestReport{}, err
	}
	p := queues.newPurger(s, a, PurgeOptions{
		Filter: opts.Filter, Since: opts.Since, Until: opts.Until, Limit: opts.Limit, DryRun: opts.DryRun, Owner: opts.Owner, Reason: opts.Reason,
	}, AuditIngest)
	if opts.Progress != nil {
		p.Progress = func(r PurgeReport) { opts.Progress(ingestReport(r)) }
	}
	p.partial = func(r PurgeReport) error { return &IngestError{ingestReport(r)} }
	subject := subjectOf(s.queue, a)
	p.keep = func(ctx context.Context, letters []*Letter) ([]*Letter, error) {
		return p.catalogue(ctx, subject, letters)
	}
	err = p.work(ctx, a, ingestSpec{Filter: filterText(opts.Filter), Since: opts.Since, Until: opts.Until, Limit: opts.Limit})
	r := ingestReport(p.report)
	if r.Queue != "" && !opts.DryRun {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		r.Letters, _ = c.catalogue.CountLetters(last, subject)
	}
	return r, err
}

// catalogue puts letters into the catalogue, also when it is stopped meanwhile.
// What it cannot keep as it is stays in the queue.
func (p *purger) catalogue(ctx context.Context, subject string, letters []*Letter) ([]*Letter, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	var batch []store.Letter
	var kept []*Letter
	size := 0
	put := func() error {
		if err := p.client.catalogue.PutLetters(ctx, subject, batch); err != nil {
			return fmt.Errorf("catalogue: %w", err)
		}
		batch, size = batch[:0], 0
		return nil
	}
	for _, l := range letters {
		letter, err := keptLetter(p.report.Queue, l)
		if err != nil {
			p.fail(l, StageKeep, err)
			continue
		}
		if size += len(letter.Body); size > store.MaxLetterBatch {
			if err := put(); err != nil {
				return nil, err
			}
			size = len(letter.Body)
		}
		batch, kept = append(batch, letter), append(kept, l)
	}
	return kept, put()
}
