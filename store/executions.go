package store

import (
	"context"
	"iter"
	"time"
)

// FormatVersion is the version of the layout of keys and records that this
// release writes. It reads this one and none other.
const FormatVersion = 1

// RootFrame is the name of the frame that every opening hands over.
const RootFrame = "f:"

// MailsRemembered is how many ids of mail an execution keeps, to drop repeats.
const MailsRemembered = 1000

// Executions keeps executions.
type Executions interface {
	// Start creates an execution, and opens it at once where r.Nonce is set.
	// The same id with the same Match is the same execution: Start answers
	// Created false with its status and changes nothing. Another Match is
	// ErrExists; an id whose execution was purged is ErrGone.
	//
	// A start whose answer was lost is told from another one by its Commit,
	// which is the last one until the first transition, and by its Nonce.
	//
	// Mail that came before and whose time is not over is the new execution's, in
	// order, and wakes it at once; a start that opens hands it over.
	Start(ctx context.Context, r StartRequest) (StartResult, error)

	// Open takes the lease on an execution that has mail, a wake-up that is
	// due or a lease that expired. It answers HeldError, NotDueError, ErrEnded,
	// ErrNotFound, or a FormatError for an execution of another version.
	Open(ctx context.Context, r OpenRequest) (*Opening, error)

	// Commit appends one transition to the chain. ErrLeaseLost and ErrConflict
	// are final: the caller drops what it holds. A commit that parks or ends
	// over unread mail writes nothing and answers with Applied false and the
	// mail.
	Commit(ctx context.Context, c *Commit) (CommitResult, error)

	// Renew extends a lease and hands over mail that came after mail number
	// read, but none that a commit absorbed meanwhile.
	Renew(ctx context.Context, l Lease, d time.Duration, read int64) (Renewal, error)

	// Release gives a lease back without a transition; the next wake-up is d
	// from now, even if mail waits or a deadline comes before. Where nothing
	// was committed since the opening, it takes the opening back: the epoch is
	// what it was before, and the opening does not count. A lease that was
	// lost already is no error.
	Release(ctx context.Context, l Lease, d time.Duration) error

	// Post appends mail and wakes the execution. Mail whose id is among the
	// last MailsRemembered is dropped (posted false). It answers ErrNotFound,
	// ErrGone, ErrEnded, ErrMailboxFull, or a FormatError. With r.Early set, mail
	// for an execution that is not there waits for its start instead of
	// ErrNotFound.
	Post(ctx context.Context, r PostRequest) (posted bool, err error)

	// Deliver posts mail as Post does, with the same answers, and opens the
	// execution in the same step where nobody holds it: the Opening has all its
	// unread mail. Where somebody does, it is Post. The same mail under the same
	// nonce again finds the Opening, while that nonce holds the lease. Any other
	// repeat opens nothing, because the first one left a wake-up behind: so a
	// repeat that comes late takes no lease. Both requests are of one execution.
	Deliver(ctx context.Context, p PostRequest, o OpenRequest) (Delivery, error)

	// Due returns up to limit executions of the partitions whose wake-up has
	// come, and hides them from further calls for d: a worker that dies with
	// them loses nothing, and neither does a call whose answer is lost. The
	// partition that has waited longest comes first, and within a partition
	// the execution that has.
	Due(ctx context.Context, partitions []int, limit int, d time.Duration) ([]string, error)

	// Purge deletes an execution that has ended and was released, whose
	// retention has run out and whose outbox is empty, and leaves a tombstone
	// for d. It reports whether it did; an execution that is missing already is
	// purged.
	Purge(ctx context.Context, id string, d time.Duration) (bool, error)

	// Get returns an execution's record.
	Get(ctx context.Context, id string) (*Record, error)

	// Frames returns the named frames; those that are missing are left out.
	Frames(ctx context.Context, id string, names ...string) (map[string][]byte, error)

	// History returns up to limit entries from entry number from on (the first
	// is 0). A limit below 1 means all.
	History(ctx context.Context, id string, from int64, limit int) ([][]byte, error)

	// List returns the executions of an index, newest first, from the given
	// offset on.
	List(ctx context.Context, index string, offset, limit int) ([]string, error)

	// Walk returns all executions of an index, in no order: each that is in it
	// from the first to the last of them, once, and maybe others that come or
	// go meanwhile. Unlike List's, its cost is that of what it returns. After an
	// error there is nothing more.
	Walk(ctx context.Context, index string) iter.Seq2[string, error]

	// Count returns how many executions an index holds.
	Count(ctx context.Context, index string) (int64, error)

	// Partitions is the number of partitions, and Partition an id's.
	Partitions() int
	Partition(id string) int
}

// A Lease is the right to commit to an execution: the epoch counts openings,
// and the nonce tells two workers apart that believe in the same epoch.
type Lease struct {
	ID    string
	Epoch int64
	Nonce string
}

// StartRequest describes a new execution.
type StartRequest struct {
	ID      string
	Match   string // identifies definition and input: a start again must bring the same
	Meta    []byte // what never changes; opaque
	Status  string // one line, else opaque, and shown
	Index   string // the name of the index that lists the execution
	Root    []byte // the root frame
	History []byte // the first history entry
	Commit  string // the first id of the commit chain; random, and so this start's alone
	Wake    time.Duration

	Nonce string // not empty: open at once, under a lease of this nonce
	Lease time.Duration
}

// StartResult tells what a start found.
type StartResult struct {
	Created bool
	Status  string    // of the execution
	Opened  bool      // the caller holds the lease, in epoch 1
	Now     time.Time // the store's clock
	Mailbox           // where Opened
}

// OpenRequest asks for the lease on an execution.
type OpenRequest struct {
	ID    string
	Nonce string
	Lease time.Duration
}

// An Opening is an execution as its new holder finds it.
type Opening struct {
	Lease
	Now      time.Time // the store's clock
	Started  time.Time // when the execution was started
	Commit   string    // the last commit's id
	Openings int       // how many openings in a row, this one included, followed that commit
	Status   string
	Match    string
	Index    string
	Ended    bool // only an outbox is left to be sent
	Meta     []byte
	Root     []byte
	Outbox   []byte
	Mailbox
}

// A Mailbox is the mail that is not yet absorbed, in order.
type Mailbox struct {
	Mail [][]byte
	Read int64 // number of the last mail in Mail, or of the last one absorbed
}

// Commit is one transition.
type Commit struct {
	Lease
	CommitID string // names this commit; the same again writes nothing
	Previous string // the id of the commit before
	Set      map[string][]byte
	Delete   []string
	// Sole deletes all frames that Set does not name, but the root.
	Sole     bool
	History  []byte
	Absorbed int64  // number of the last mail that this commit took into account
	Outbox   []byte // replaces what the commit before had put there; empty clears it

	// Status and Index, where not empty, replace the present ones.
	Status, Index string
	// OldIndex is the index to leave; it goes with Index.
	OldIndex string

	// Next says what becomes of the lease.
	Next Next
	// Wake is the next wake-up: of a parked execution the earliest deadline,
	// of an ended one the end of its retention. It is on the store's clock.
	Wake time.Time
}

// Next says what follows a commit.
type Next int

const (
	// Continue keeps the lease.
	Continue Next = iota
	// Park releases the lease until Wake or mail.
	Park
	// End marks the execution as ended. With an outbox it keeps the lease, so
	// that the holder sends it and ends again without; else it releases.
	End
)

// CommitResult is the answer to a commit.
type CommitResult struct {
	Applied bool
	Mailbox // mail after Commit.Absorbed
}

// Renewal is the answer to a renewal.
type Renewal struct {
	Now time.Time
	Mailbox
}

// PostRequest is mail for an execution.
type PostRequest struct {
	ID     string
	MailID string // a repeat is dropped
	Body   []byte
	// Limit bounds the mail that waits unread; operators post with a higher
	// one than callers, so that a full mailbox can still be helped.
	Limit int
	// Early is for how long the mail waits for its execution where that is not
	// there and was not purged. It may wait longer, for mail that came before it.
	// Until its start the execution is missing to all other calls.
	Early time.Duration
}

// A Delivery tells what became of mail that was delivered.
type Delivery struct {
	Posted  bool     // false: mail of this id came before
	Opening *Opening // nil where the caller does not hold the execution
}

// Record is an execution as anybody may read it.
type Record struct {
	ID         string
	Version    int
	Status     string
	Ended      bool
	Match      string
	Index      string
	Started    time.Time
	Meta       []byte
	Root       []byte
	Outbox     []byte
	Commit     string
	Epoch      int64
	LeaseUntil time.Time // zero while nobody holds it
	Wake       time.Time // zero while somebody holds it
	Openings   int
	Unread     int64 // mail
}
