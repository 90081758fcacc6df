package store

import (
	"context"
	"time"
)

// Jobs keeps work that is done item by item on something that has a name, the
// subject, such as the redrive of a queue: by one worker at a time, and so that
// another can take it up where the first one stopped.
//
// A subject has at most one job that has not ended. Its worker holds a lease on
// the subject. A job has a journal: an entry for each item that is in hand, which
// the worker writes before it does something that cannot be taken back, and
// removes when nothing more can come of it. So whoever resumes the job learns
// from the journal what may have been done, and a job ends when its journal is
// empty. What states and progress mean is the worker's affair.
//
// The expiry of a lease does not end it: it lets another worker open the job. A
// worker's calls are refused from then on, by its fence: each opening gives one
// that is higher than those of all openings of that subject before.
type Jobs interface {
	// OpenJob takes the lease on a subject, for a job that is new there, or for
	// the one that has not ended, which goes on.
	//
	// While somebody else holds the lease it answers a JobHeldError, where the
	// subject has another job that has not ended and that nobody holds a
	// JobOpenError, and where the job has ended a JobEndedError; a spec that is
	// not the job's is a JobSpecError, and a job to resume that is not there
	// ErrNotFound. A job that was told to stop can be opened: it has to be brought
	// to its end.
	//
	// The same token again is the same opening, and renews the lease; when that
	// was given back, it is ErrLeaseLost.
	OpenJob(ctx context.Context, o JobOpening) (OpenedJob, error)

	// NoteJob writes to the journal of a job, keeps its progress and renews its
	// lease, all or nothing, and tells whether the job should stop. It answers
	// ErrLeaseLost where the lease was given back or somebody has opened the job
	// since, or ended it.
	//
	// The notes of an opening come one after the other, each with a higher number
	// than the one before. The same number again is the same note: it renews the
	// lease, and writes nothing. A lower one is ErrConflict.
	NoteJob(ctx context.Context, n JobNote) (JobNoted, error)

	// CloseJob gives the lease back. A job that it ends stays on record for the
	// retention; another stays as it is, to be opened again. A job with entries in
	// its journal does not end: that is a JobEntriesError, and the lease stays. It
	// answers ErrLeaseLost as NoteJob does; but the same closing again is done, for
	// as long as no later opening was closed.
	CloseJob(ctx context.Context, c JobClosing) error

	// CancelJob tells a job to stop, and returns it as it is then. Who told it
	// first stays on record. The job's worker hears of it by its next note.
	//
	// A job that nobody holds and whose journal is empty ends at once, with the
	// status CancelledJob, and is on record for CancelledJobRetention. One with
	// entries has to be opened once more, to finish what is in hand and end. What
	// has ended stays as it is. A job that is not there is ErrNotFound.
	CancelJob(ctx context.Context, subject, id, by string) (Job, error)

	// InspectJob returns a job as it is, or ErrNotFound.
	InspectJob(ctx context.Context, subject, id string) (Job, error)

	// ListJobs returns the jobs of a subject, the newest first, from the given
	// offset on; the empty subject stands for all.
	ListJobs(ctx context.Context, subject string, offset, limit int) ([]Job, error)

	// JobEntries returns up to limit entries of a job's journal, at most
	// MaxJobPage, in the order of their keys, from the first after the given key
	// on: begin with the empty one, and go on with the last key of each page until
	// one is empty. So an entry that is there from the first page to the last is
	// returned once, whatever is set and removed meanwhile. A job that has ended or
	// is not there has none.
	JobEntries(ctx context.Context, subject, id, after string, limit int) ([]JobEntry, error)
}

const (
	// MaxJobEntries bounds the entries that one note sets and removes.
	MaxJobEntries = 100

	// MaxJobPage bounds the entries that one call of JobEntries returns.
	MaxJobPage = 1000

	// MaxJobState bounds the state of an entry, in bytes.
	MaxJobState = 16 << 10

	// MaxJobBlob bounds a job's spec and its progress, in bytes each.
	MaxJobBlob = 256 << 10

	// CancelledJob is the status of a job that CancelJob has ended.
	CancelledJob = "cancelled"

	// CancelledJobRetention is for how long such a job is on record.
	CancelledJobRetention = 90 * 24 * time.Hour
)

// JobOpening asks for the lease on a subject.
type JobOpening struct {
	Subject string // what is worked on
	ID      string // names the job, and no other of this subject ever
	Owner   string // who works; shown
	Token   string // names this opening, and no other ever; random
	Lease   time.Duration

	// Spec says what the job does. It is kept with the job; to resume one, it is
	// the same or empty.
	Spec []byte
	// Resume takes up a job that is there, and makes none.
	Resume bool
}

// OpenedJob is what an opening found.
type OpenedJob struct {
	Job
	Now time.Time // on the store's clock
}

// JobNote is what a worker has to say of its job.
type JobNote struct {
	Subject, ID string
	Fence       int64  // of the opening
	Token       string // of the opening
	// Number is higher than that of the note before, from 1 on after each opening.
	// A note whose outcome is not known can be made again, or be followed by a
	// higher one that says as much: it will not come after that.
	Number int64
	Lease  time.Duration // from now on; it does not shorten the one that stands

	Set      []JobEntry // in place of entries of the same keys
	Remove   []string   // keys; those that are not there are none the worse
	Progress []byte     // empty: as before
}

// JobEntry is an item that is in hand.
type JobEntry struct {
	Key   string
	State []byte
}

// JobNoted is the answer to a note.
type JobNoted struct {
	Now     time.Time // on the store's clock
	Entries int64     // in the journal
	// CancelledBy tells who told the job to stop, if somebody did, and
	// CancelledAt when.
	CancelledBy string
	CancelledAt time.Time
}

// Cancelled reports whether the job was told to stop.
func (n JobNoted) Cancelled() bool { return !n.CancelledAt.IsZero() }

// JobClosing gives the lease on a subject back.
type JobClosing struct {
	Subject, ID string
	Fence       int64  // of the opening
	Token       string // of the opening
	Ended       bool   // nothing is left to do, and the journal is empty

	Status    string        // how it stands, in a word or two; shown
	Progress  []byte        // empty: as before
	Retention time.Duration // for how long a job that has ended stays on record
}

// Job is a job as anybody may read it.
type Job struct {
	Subject, ID string
	Spec        []byte
	Created     time.Time // when it was first opened

	Owner      string // of the last opening
	Fence      int64  // of the last opening
	Openings   int64  // how often it was opened
	Since      time.Time
	LeaseUntil time.Time // zero where the lease was given back

	Status   string // what the last closing said; empty after an opening
	Progress []byte
	Noted    time.Time // when its worker was last heard of
	Entries  int64     // in the journal

	CancelledBy string
	CancelledAt time.Time // zero: it was not told to stop
	Ended       time.Time // zero: it has not ended
	KeptUntil   time.Time // of one that has ended
}

// Cancelled reports whether the job was told to stop.
func (j *Job) Cancelled() bool { return !j.CancelledAt.IsZero() }

// HasEnded reports whether nothing is left to do.
func (j *Job) HasEnded() bool { return !j.Ended.IsZero() }
