package dlq

import (
	"fmt"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// ImportOptions say what [Client.Import] is to do.
type ImportOptions struct {
	// Records keeps what was imported. Required, but for a dry run.
	Records store.Idempotency

	// ID names the import: under one ID a line is imported once into each queue.
	// Give another to import an archive a second time. Defaults to the empty
	// one, which all imports without an ID share.
	ID string

	// Exact sends messages with their own attributes alone. Otherwise one whose
	// writer gave it no id gets that by which its receivers knew it, where it
	// has room, so that they can tell what they have handled.
	Exact bool

	// DryRun reads and checks all lines, and sends none.
	DryRun bool

	// Retention is for how long Records knows a line. Defaults to
	// [DefaultImportRetention], 90 days.
	Retention time.Duration

	// Owner says who imports, and Reason why, for Config.Audit and for others who
	// want to work on the queue. Owner defaults to "unknown".
	Owner, Reason string

	// Progress is called with the report so far after each batch, by one
	// goroutine at a time. Defaults to none.
	Progress func(ImportReport)
}

// AuditImport is the verb of an import. The items of its records are the ids that
// the messages had where they were exported, of what was sent.
const AuditImport = "import"

// An importSpec is what is on record of what an import was to do.
type importSpec struct {
	ID    string `json:"id,omitempty"`
	Exact bool   `json:"exact,omitempty"`
	File  string `json:"file,omitempty"` // its name, where it is read from a file
}

// An ImportReport is what became of an import.
type ImportReport struct {
	// ID names the import in its records, and Queue is the name of the queue. A dry
	// run has no ID.
	ID    string `json:"id,omitempty"`
	Queue string `json:"queue"`

	// DryRun says that nothing was to be sent. Then Sent is 0, and WouldSend
	// counts the lines that can be, whether they were imported before or not.
	DryRun    bool `json:"dry_run"`
	WouldSend int  `json:"would_send"`

	// Lines counts the lines that were read, and Sent the messages that the
	// queue accepted. Skipped counts the lines that were imported before.
	Lines   int `json:"lines"`
	Sent    int `json:"sent"`
	Skipped int `json:"skipped"`

	// Unsure counts the messages among Sent that an earlier import had in hand,
	// and has not on record as sent: where it died just after it had sent one, or
	// heard no answer, the queue may have two of the same id.
	Unsure int `json:"unsure"`

	// Unnamed counts the messages among Sent that have no id of their own, and
	// no room for one.
	Unnamed int `json:"unnamed"`

	// Failed counts the lines that were not imported, and Failures says why, for
	// the first 1,000 of them.
	Failed   int          `json:"failed"`
	Failures []*LineError `json:"failures,omitempty"`
}

func (r *ImportReport) fail(e *LineError) {
	r.Failed++
	if len(r.Failures) < maxFailures {
		e.Text = e.Err.Error()
		r.Failures = append(r.Failures, e)
	}
}

func (r *ImportReport) clone() ImportReport {
	c := *r
	c.Failures = slices.Clone(r.Failures)
	return c
}

// recorded returns the report as a record has room for it.
func (r *ImportReport) recorded() ImportReport {
	c := *r
	c.Failures = nil
	for _, f := range r.Failures[:min(len(r.Failures), maxKeptFailures)] {
		short := *f
		short.Field, short.Text = kept(f.Field), kept(f.Text)
		c.Failures = append(c.Failures, &short)
	}
	return c
}

// A LineError says why a line was not imported.
type LineError struct {
	// Line is its number, from 1 on, and MessageID SQS's id of its message, if
	// that could be read.
	Line      int    `json:"line"`
	MessageID string `json:"message_id,omitempty"`

	// Field is the path of the field that is wrong, such as
	// attributes.colour.type; empty where it is not one field's fault.
	Field string `json:"field,omitempty"`

	// Unknown says that the message may have been sent: the answer was lost.
	Unknown bool `json:"unknown,omitempty"`

	// Err is the reason, and Text its text.
	Err  error  `json:"-"`
	Text string `json:"error"`
}

func (e *LineError) Error() string {
	text := fmt.Sprintf("line %d", e.Line)
	if e.MessageID != "" {
		text += fmt.Sprintf(" (message %s)", e.MessageID)
	}
	return text + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Err }

// newLineError returns the error of a line, with the path of its field.
func newLineError(number int, err error) *LineError {
	e := &LineError{Line: number, Err: err}
	for path := err; ; {
		f, ok := path.(*fieldError)
		if !ok {
			return e
		}
		if e.Field != "" {
			e.Field += "."
		}
		e.Field += f.field
		path = f.err
	}
}

// An ImportError says that lines could not be imported. The same import, run
// again, takes them up. It matches the errors of the lines that its Report lists.
type ImportError struct {
	Report ImportReport
}

func (e *ImportError) Error() string {
	r := e.Report
	text := fmt.Sprintf("dlq: import into %q: %d of %d lines failed", r.Queue, r.Failed, r.Lines)
	if len(r.Failures) > 0 {
		text += "; " + r.Failures[0].Error()
	}
	if r.Failed > 1 {
		text += fmt.Sprintf("; and %d more", r.Failed-1)
	}
	return text
}

// Unwrap returns the errors of the lines.
func (e *ImportError) Unwrap() []error {
	errs := make([]error, len(e.Report.Failures))
	for i, f := range e.Report.Failures {
		errs[i] = f
	}
	return errs
}
