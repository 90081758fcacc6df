package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// Defaults of the fields of [Options] that are zero.
const (
	DefaultWorkers    = 4
	DefaultVisibility = 2 * time.Minute
)

// Options say what [Client.Redrive] is to do.
type Options struct {
	// From is the dead-letter queue, named as for queue.Admin: a queue's name
	// or URL, or an endpoint. Required.
	From string

	// Live permits a From that has a redrive policy of its own. To look at a
	// message there counts as receiving it, in a dry run too, so that its policy
	// may move it on, and a healthy message becomes a dead letter. Without Live
	// such a queue is [ErrCounts].
	Live bool

	// To is the queue to send to. Defaults to each message's own source.
	To string

	// Filter chooses the messages. Defaults to all.
	Filter *Filter

	// Since and Until choose the messages whose [Letter.FailedAt] is not before
	// Since, and is before Until: when they failed last, or were sent where
	// they carry no record of it. Default to no bound.
	Since, Until time.Time

	// Limit is how many messages are sent at most. Defaults to no limit.
	Limit int

	// DryRun chooses messages and finds their destinations, and sends none.
	// Their receive counts rise by it.
	DryRun bool

	// Edit may change Body and Metadata of a letter before it is sent. It is
	// called from Workers goroutines, and not in a dry run, unless that has
	// Diffs. With [ErrSkip] the letter stays where it is; any other error is a
	// failure of the letter. [ParseEdit] makes one of an expression of jq. With
	// Config.Payloads it has the payload that is in a store, which stays there
	// unless it is changed; one that becomes too large goes there.
	Edit func(ctx context.Context, l *Letter) error

	// Diffs has a dry run call Edit, so that it reports what that skips, and
	// what it fails on, and the differences it makes to so many messages, at
	// most 1,000, in Report.Diffs. Defaults to 0: a dry run does not call Edit.
	Diffs int

	// Rate is how many messages are sent in a second, at most. One that is too
	// low for the queue's retention is a Report.Warning. Defaults to no limit.
	Rate float64

	// Ramp is how long it takes until Rate is reached: the job begins at a tenth
	// of it and becomes faster evenly, so that what its messages still do to
	// their receivers shows before there are many. It has no effect without
	// Rate. A resumed job begins slowly, too. Defaults to 10 seconds; a negative
	// Ramp is none.
	Ramp time.Duration

	// Canary begins with a few messages, and goes on only if not too many of them
	// die. A dry run has none. A job that is resumed before its canary was over
	// begins with another. Defaults to none.
	Canary Canary

	// Workers is how many batches of ten are under way at once. A FIFO queue
	// has one, to keep the order. Defaults to 4.
	Workers int

	// Visibility is how long a message stays hidden if this process dies. It
	// is extended while the job runs. Whole seconds. Defaults to 2 minutes.
	Visibility time.Duration

	// EditText is the expression of Edit, which is made of it where Edit is nil.
	// A job that is resumed edits by it; where there is an Edit and no EditText,
	// whoever resumes the job has to give Edit again.
	EditText string

	// ID names the job. What it sends carries the ID, by which the job knows
	// a message that failed again. Defaults to a new ULID; with Resume to the job
	// of the queue that has not ended.
	ID string

	// Resume goes on with a job that was interrupted, by what Config.Jobs has of
	// it: its choice of messages, its edit and where it sends them. From, Owner,
	// Reason, Ramp, Workers, Visibility and Progress are those of these Options,
	// and so is Rate, if it is not 0.
	Resume bool

	// Owner says who redrives, and Reason why, for those who look. Owner defaults
	// to "unknown".
	Owner, Reason string

	// Progress is called with the report so far after each batch, by one
	// goroutine at a time. Defaults to none.
	Progress func(Report)
}

// ErrSkip is what Options.Edit returns for a letter that is to stay where it is.
var ErrSkip = errors.New("skip this message")

func (o *Options) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("dlq: Options: %w", fmt.Errorf(format, args...))
	}
	switch {
	case o.From == "":
		return bad("From is empty; want the name of a dead-letter queue")
	case o.Limit < 0:
		return bad("Limit is %d; want 1 or more, or 0 for none", o.Limit)
	case o.Diffs < 0 || o.Diffs > maxDiffs:
		return bad("Diffs is %d; want 1 to %d, or 0 for none", o.Diffs, maxDiffs)
	case o.Resume && (o.To != "" || o.Filter != nil || o.EditText != "" || !o.Since.IsZero() || !o.Until.IsZero() || o.Limit != 0 || o.DryRun || o.Live || o.Canary != Canary{}):
		return bad("Resume goes on with what the job was made for; want neither To, Live, Filter, EditText, Since, Until, Limit, Canary nor DryRun")
	case o.Rate < 0:
		return bad("Rate is %v; want more than 0, or 0 for no limit", o.Rate)
	case o.Workers < 0 || o.Workers > 1000:
		return bad("Workers is %d; want 1 to 1000, or 0 for the default", o.Workers)
	case o.Visibility < 0 || o.Visibility > 12*time.Hour || o.Visibility%time.Second != 0:
		return bad("Visibility is %v; want whole seconds up to 12h, or 0 for the default", o.Visibility)
	}
	if err := checkWindow(o.Since, o.Until); err != nil {
		return bad("%w", err)
	}
	if err := o.Canary.validate(); err != nil {
		return bad("%w", err)
	}
	return nil
}

// chooses reports whether not all messages are chosen.
func (o *Options) chooses() bool {
	return o.Filter != nil || !o.Since.IsZero() || !o.Until.IsZero()
}

func (o *Options) setDefaults() {
	if o.Workers == 0 {
		o.Workers = DefaultWorkers
	}
	if o.Visibility == 0 {
		o.Visibility = DefaultVisibility
	}
	if o.Ramp == 0 {
		o.Ramp = DefaultRamp
	}
	if o.Owner == "" {
		o.Owner = unknownOwner
	}
	if o.ID == "" && !o.Resume {
		o.ID = ulid.Make().String()
	}
}
