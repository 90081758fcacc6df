package dlq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// DefaultImportRetention is for how long [Client.Import] knows what it imported.
const DefaultImportRetention = 90 * 24 * time.Hour

// importLease is how long the claim on a line stands, and so how long a process
// that died keeps the next import from the lines that it had in hand. A send
// takes half of it at most.
const importLease = time.Minute

// Import sends the messages that [Client.Export] or [Client.Purge] wrote to a
// queue, which is named as for queue.Admin: body, attributes with their types,
// message group and trace header as they were. SQS gives them new ids, and counts
// their receives and their age anew.
//
// A line is imported once. Records has each line that the queue has accepted, by
// the queue's ARN, SQS's id of the message, and what it says, so that a line that
// was edited is another. So an import that failed, or whose process died, is run
// again. Where it died between the queue's answer and the record, which no store
// can close, the message is sent once more, with the same id, and counts as
// Unsure; an idempotent receiver drops it, and a FIFO queue within 5 minutes. What
// a process that died had in hand the next import waits for, a minute at most.
//
// Import stops at the first line that it cannot read, and has sent what was
// before it; a dry run reads on, and tells of all. Such a line, and one that the
// queue has not taken, are in an [*ImportError]. When ctx ends, or Records fails,
// the error comes with the report so far. In a FIFO queue, the messages of a
// group are sent in the order of their lines, and none after one that failed,
// unless both were in one request, of ten at most.
func (c *Client) Import(ctx context.Context, name string, r io.Reader, opts ImportOptions) (ImportReport, error) {
	switch {
	case opts.Records == nil && !opts.DryRun:
		return ImportReport{}, errors.New("dlq: ImportOptions has no Records")
	case opts.Retention < 0:
		return ImportReport{}, fmt.Errorf("dlq: ImportOptions: Retention is %v; want more than 0, or 0 for the default", opts.Retention)
	case len(opts.ID) > store.MaxID:
		return ImportReport{}, fmt.Errorf("dlq: ImportOptions: ID has %d bytes; want %d at most", len(opts.ID), store.MaxID)
	}
	if opts.Retention == 0 {
		opts.Retention = DefaultImportRetention
	}
	to, err := c.queues.Queue(ctx, name)
	if err != nil {
		return ImportReport{}, fmt.Errorf("dlq: %w", err)
	}
	a, err := to.Attributes(ctx)
	if err != nil {
		return ImportReport{}, fmt.Errorf("dlq: %w", err)
	}
	i := &importer{
		ImportOptions: opts, log: c.log, to: to, place: a.ARN, workers: DefaultWorkers,
		inHand: map[string]bool{}, stuck: map[string]bool{},
		report: ImportReport{Queue: to.Name, DryRun: opts.DryRun},
	}
	if i.place == "" {
		i.place = to.Endpoint.URL
	}
	if to.Endpoint.FIFO() {
		i.workers = 1
	}
	if opts.DryRun {
		return i.run(ctx, r)
	}
	spec := importSpec{ID: opts.ID, Exact: opts.Exact}
	if f, ok := r.(interface{ Name() string }); ok {
		spec.File = f.Name()
	}
	if i.turn, err = c.begin(ctx, to, a, work{Verb: AuditImport, Owner: opts.Owner, Reason: opts.Reason, Spec: spec}); err != nil {
		return ImportReport{}, err
	}
	i.report.ID = i.turn.id()
	during, done := i.turn.context(ctx)
	defer done()
	report, err := i.run(during, r)
	return report, i.turn.end(ctx, report.recorded(), err)
}

// An importer is one import.
type importer struct {
	ImportOptions
	log     *slog.Logger
	to      *queue.Queue
	place   string // the queue, for the keys of lines
	turn    *turn  // nil in a dry run
	workers int

	mu     sync.Mutex
	report ImportReport
	inHand map[string]bool // keys of the lines that are under way
	stuck  map[string]bool // groups of a FIFO queue of which a message failed
	streak int             // batches in a row of which all lines failed
	fatal  error           // ends the import
}

// run reads lines and has batches of them sent, until the end.
func (i *importer) run(ctx context.Context, r io.Reader) (ImportReport, error) {
	lines := newLineReader(r)
	var batches sync.WaitGroup
	slots := make(chan struct{}, i.workers)
	var batch []*lineInHand
	send := func() {
		if len(batch) == 0 {
			return
		}
		slots <- struct{}{} // ends: a batch has its own time limits
		lines := batch
		batch = nil
		batches.Go(func() {
			i.send(ctx, lines)
			<-slots
		})
	}
	var readErr error
	for ctx.Err() == nil && i.failed() == nil {
		var text []byte
		var number int
		if text, number, readErr = lines.next(); readErr != nil {
			break
		}
		l, err := i.read(text, number)
		if err != nil {
			send() // what was before it
			i.note(func(r *ImportReport) { r.Lines++; r.fail(newLineError(number, err)) })
			if !i.DryRun {
				break
			}
			continue
		}
		i.note(func(r *ImportReport) { r.Lines++ })
		if i.DryRun {
			i.note(func(r *ImportReport) { r.WouldSend++ })
			continue
		}
		if !i.take(l.key) { // the same line again: its outcome is to be awaited
			send()
			batches.Wait()
			i.take(l.key)
		}
		if batch = append(batch, l); len(batch) == batchSize {
			send()
		}
	}
	if ctx.Err() == nil && i.failed() == nil {
		send()
	}
	batches.Wait()
	return i.report, i.err(ctx, readErr)
}

// err returns the error of an import that has ended.
func (i *importer) err(ctx context.Context, readErr error) error {
	switch {
	case i.fatal != nil:
		return fmt.Errorf("dlq: import into %q: %w", i.to.Name, i.fatal)
	case ctx.Err() != nil:
		return fmt.Errorf("dlq: import into %q was stopped after line %d: %w", i.to.Name, i.report.Lines, context.Cause(ctx))
	case readErr != nil && !errors.Is(readErr, io.EOF):
		return fmt.Errorf("dlq: import into %q: after line %d: %w", i.to.Name, i.report.Lines, readErr)
	case i.report.Failed > 0:
		return &ImportError{i.report}
	}
	return nil
}

// read makes of a line what is to be sent.
func (i *importer) read(text []byte, number int) (*lineInHand, error) {
	x, raw, err := decodeLine(text)
	if err != nil {
		return nil, err
	}
	fifo := i.to.Endpoint.FIFO()
	if fifo && raw.Group == "" {
		return nil, badField("group", "it is missing, and %q is a FIFO queue", i.to.Name)
	}
	l := &lineInHand{number: number, key: i.key(raw)}
	if _, named := raw.Attributes[queue.AttrUUID]; !named && !i.Exact && x.ID != "" {
		marked, left := raw.WithMetadata(map[string]string{queue.AttrUUID: x.ID})
		if l.unnamed = len(left) > 0 || marked.Enveloped() || marked.Size() > i.to.Endpoint.MaxMessageSize; !l.unnamed {
			raw = marked
		}
	}
	if n := raw.Size(); n > i.to.Endpoint.MaxMessageSize {
		return nil, badField("body", "it has %d bytes with its attributes, and %q takes %d", n, i.to.Name, i.to.Endpoint.MaxMessageSize)
	}
	raw.Deduplication = ""
	if fifo {
		// Under the id that the message had the queue may drop it as a repeat for
		// five minutes. This one is the line's own.
		sum := sha256.Sum256([]byte(l.key))
		raw.Deduplication = hex.EncodeToString(sum[:])
	}
	l.raw = raw
	return l, nil
}

// key names a line, in this queue and under the ID of this import, by what it
// would send and which message it was.
func (i *importer) key(raw queue.RawMessage) string {
	h := sha256.New()
	add := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	add(i.ID, i.place, raw.ID, raw.Group, raw.Trace, raw.Body)
	for _, name := range slices.Sorted(maps.Keys(raw.Attributes)) {
		a := raw.Attributes[name]
		add(name, a.Type, a.Value)
	}
	return "dlq-import:" + hex.EncodeToString(h.Sum(nil))
}

// take notes that a line is under way, and returns false if it is already.
func (i *importer) take(key string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.inHand[key] {
		return false
	}
	i.inHand[key] = true
	return true
}

func (i *importer) failed() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fatal
}

func (i *importer) note(change func(*ImportReport)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.report)
}
