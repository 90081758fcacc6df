package dlq

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// A Spec says what a job does: what of its Options is kept with it, so that
// another process can go on with it.
type Spec struct {
	// Version is that of this form. It is 1.
	Version int `json:"version"`

	// Verb is [AuditRedrive], or that of other work, whose Detail is all that the
	// following fields but Queue have not.
	Verb   string          `json:"verb"`
	Detail json.RawMessage `json:"detail,omitempty"`

	// Queue is the dead-letter queue's name, and To, Filter, Edit, Since, Until,
	// Limit, Rate and Live are as in Options; Edit is Options.EditText.
	Queue  string    `json:"queue"`
	To     string    `json:"to,omitempty"`
	Filter string    `json:"filter,omitempty"`
	Edit   string    `json:"edit,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	Limit  int       `json:"limit,omitempty"`
	Rate   float64   `json:"rate,omitempty"`
	Live   bool      `json:"live,omitempty"`

	// Catalogue says that the messages are in the catalogue, and not in the queue.
	Catalogue bool `json:"catalogue,omitempty"`

	// Canary, CanaryWait, a duration as time.ParseDuration has it, CanaryMaxFailures
	// and Receiver are those of Options.Canary.
	Canary            int    `json:"canary,omitempty"`
	CanaryWait        string `json:"canary_wait,omitempty"`
	CanaryMaxFailures int    `json:"canary_max_failures,omitempty"`
	CanaryReceiver    string `json:"canary_receiver,omitempty"`

	// EditFunc says that the job edits with a function that has no text: whoever
	// resumes it has to give it again.
	EditFunc bool `json:"edit_func,omitempty"`

	// Snapshot is how many messages the queue said it held when the job was made,
	// and Cutoff the time after which messages are newer than the job.
	Snapshot int       `json:"snapshot"`
	Cutoff   time.Time `json:"cutoff"`
}

const specVersion = 1

// spec returns what is kept of the options.
func (o *Options) spec(q *queue.Queue, a queue.QueueAttributes) Spec {
	s := Spec{
		Version: specVersion, Verb: AuditRedrive, Queue: q.Name, To: o.To, Edit: o.EditText, Since: o.Since, Until: o.Until,
		Limit: o.Limit, Rate: o.Rate, Live: o.Live, EditFunc: o.Edit != nil && o.EditText == "",
		Snapshot: a.Visible + a.InFlight + a.Delayed, Cutoff: a.At.Add(clockMargin),
	}
	if o.Filter != nil {
		s.Filter = o.Filter.String()
	}
	s.Canary, s.CanaryMaxFailures, s.CanaryReceiver = o.Canary.Messages, o.Canary.MaxFailures, o.Canary.Receiver
	if o.Canary.Wait > 0 {
		s.CanaryWait = o.Canary.Wait.String()
	}
	return s
}

// adopt makes the options those of a job that is resumed.
func (o *Options) adopt(s Spec) error {
	var err error
	switch {
	case s.Version != specVersion:
		return fmt.Errorf("dlq: the job has a form of version %d, and this program knows %d", s.Version, specVersion)
	case s.Verb != AuditRedrive:
		return fmt.Errorf("dlq: the job is no redrive: %s is not resumed, but done again", s.Verb)
	}
	if s.Filter != "" {
		if o.Filter, err = ParseFilter(s.Filter); err != nil {
			return err
		}
	}
	o.To, o.EditText, o.Since, o.Until, o.Limit, o.Live = s.To, s.Edit, s.Since, s.Until, s.Limit, s.Live
	o.Canary = Canary{Messages: s.Canary, MaxFailures: s.CanaryMaxFailures, Receiver: s.CanaryReceiver}
	if s.CanaryWait != "" {
		if o.Canary.Wait, err = time.ParseDuration(s.CanaryWait); err != nil {
			return fmt.Errorf("dlq: canary_wait of the job: %w", err)
		}
	}
	if o.Rate == 0 {
		o.Rate = s.Rate
	}
	if s.EditFunc && o.Edit == nil {
		return errors.New("dlq: the job edits messages with a function; want the same in Options.Edit to resume it")
	}
	return o.compile()
}

// compile makes the edit of EditText.
func (o *Options) compile() error {
	if o.Edit != nil || o.EditText == "" {
		return nil
	}
	edit, err := ParseEdit(o.EditText)
	if err != nil {
		return err
	}
	o.Edit = edit.Apply
	return nil
}

// A blob is what is kept of a job's progress.
type blob struct {
	Report

	// Done counts the messages that were sent, deleted and removed from the
	// journal, by destination. It is exact: it is written with the removal.
	Done map[string]int `json:"done"`

	// Resent are SQS's ids of messages that were sent without marks, early enough
	// for their time not to tell that they are newer than the job.
	Resent []string `json:"resent,omitempty"`

	// Visibility is that of the opening. HiddenUntil, on the store's clock, is
	// until when messages may be hidden by openings before it.
	Visibility  time.Duration `json:"visibility"`
	HiddenUntil time.Time     `json:"hidden_until,omitzero"`
}

// maxKeptFailures bounds the failures in a job's progress.
const maxKeptFailures = 20

// kept returns as much of a text as there is room for. What a message's writer has
// chosen, such as its id, can be as large as a message.
func kept(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxAuditText)], "") }

// recorded returns the report as a journal and a record have room for it.
func (r *Report) recorded() Report {
	c := *r
	c.Diffs, c.FilterError, c.Failures = nil, kept(r.FilterError), recordedFailures(r.Failures)
	return c.clone()
}

func (b blob) encode() []byte {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // it has nothing that cannot be written
	}
	return text
}
