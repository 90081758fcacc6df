package dlq

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// PurgeOptions say what [Client.Purge] is to delete: what Filter chooses, or All.
type PurgeOptions struct {
	// Filter chooses the messages.
	Filter *Filter

	// All is the name of the queue, in full, and purges what is in it, whatever
	// that is. It goes without a Filter.
	All string

	// Since and Until choose among those the messages whose [Letter.FailedAt] is
	// not before Since, and is before Until. Default to no bound.
	Since, Until time.Time

	// Limit is how many messages are deleted at most. Defaults to no limit.
	Limit int

	// Archive gets each message, as [Client.Export] writes it, before it is
	// deleted. If it has a method Sync() error, as a file has, that is called
	// before each request to delete. Defaults to none.
	Archive io.Writer

	// DryRun chooses messages, and neither deletes nor archives any. Their
	// receive counts rise by it.
	DryRun bool

	// Owner says who purges, and Reason why, for Config.Audit and for others who
	// want to work on the queue. Owner defaults to "unknown".
	Owner, Reason string

	// Progress is called with the report so far after each batch, by one
	// goroutine at a time. Defaults to none.
	Progress func(PurgeReport)
}

// AuditPurge is the verb of a purge. The items of its records are SQS's ids of what
// was deleted.
const AuditPurge = "purge"

// A purgeSpec is what is on record of what a purge was to do.
type purgeSpec struct {
	Filter  string    `json:"filter,omitempty"`
	All     string    `json:"all,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Limit   int       `json:"limit,omitempty"`
	Archive string    `json:"archive,omitempty"` // its name, where it is a file

	Catalogue bool `json:"catalogue,omitempty"` // and not the queue
}

func (o *PurgeOptions) spec() purgeSpec {
	s := purgeSpec{Filter: filterText(o.Filter), All: o.All, Since: o.Since, Until: o.Until, Limit: o.Limit}
	if f, ok := o.Archive.(interface{ Name() string }); ok {
		s.Archive = f.Name()
	}
	return s
}

// A PurgeReport is what became of a purge.
type PurgeReport struct {
	// ID names the purge in its records, and Queue is the name of the queue. A dry
	// run has no ID.
	ID    string `json:"id,omitempty"`
	Queue string `json:"queue"`

	// DryRun says that nothing was to be deleted. Then Deleted is 0, and
	// WouldDelete counts the messages that would have been.
	DryRun      bool `json:"dry_run"`
	WouldDelete int  `json:"would_delete"`

	// Total is how many messages the queue said it held, and Seen how many of
	// them were looked at. The rest is with other receivers, or, in a FIFO queue,
	// behind messages of its group that were not chosen.
	Total int `json:"total"`
	Seen  int `json:"seen"`

	// Deleted and Archived count the messages that were. One that was archived
	// and not deleted is in both places.
	Deleted  int `json:"deleted"`
	Archived int `json:"archived"`

	Choice

	// Newer counts the messages that were sent after the purge began, and Beyond
	// those beyond the limit. They stay. One of the first five seconds counts as
	// older, since clocks differ; so does one that SQS itself moved into a standard
	// queue, which keeps the time when it was first sent.
	Newer  int `json:"newer"`
	Beyond int `json:"beyond"`

	// Failed counts the messages that could not be deleted, and Failures says
	// why, for the first 1,000 of them. They are still in the queue, in which
	// another receiver may have those of [StageHold].
	Failed   int       `json:"failed"`
	Failures []Failure `json:"failures,omitempty"`
}

func (r *PurgeReport) clone() PurgeReport {
	c := *r
	c.Failures = slices.Clone(r.Failures)
	return c
}

// recorded returns the report as a record has room for it.
func (r *PurgeReport) recorded() PurgeReport {
	c := *r
	c.FilterError, c.Failures = kept(r.FilterError), recordedFailures(r.Failures)
	return c
}

// A PurgeError says that messages could not be deleted. They are still in the
// queue: the same purge, run again, takes them up. It matches the errors of the
// messages that its Report lists.
type PurgeError struct {
	Report PurgeReport
}

func (e *PurgeError) Error() string {
	r := e.Report
	text := fmt.Sprintf("dlq: purge %q: %d messages could not be deleted", r.Queue, r.Failed)
	if len(r.Failures) > 0 {
		text += fmt.Sprintf("; message %s (%s): %s", r.Failures[0].ID, r.Failures[0].Stage, r.Failures[0].Error)
	}
	return text
}

// Unwrap returns the errors of the messages.
func (e *PurgeError) Unwrap() []error { return causes(e.Report.Failures) }
