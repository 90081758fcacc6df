package store

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Catalogue keeps the dead letters that were taken out of queues, hundreds of
// thousands of one queue, until they are deleted: nothing here has an end of its
// own. A letter is committed when PutLetters has returned, and whoever takes
// letters out of a queue deletes them there after that.
//
// What a letter says is its owner's affair, but for its summary, by which letters
// are grouped without being read.
type Catalogue interface {
	// PutLetters adds up to MaxLetters letters of a queue. Those that are there, by
	// their ID, stay as they are. The batch is not one transaction: after an error
	// some letters are there, and the same call again adds the others.
	PutLetters(ctx context.Context, queue string, letters []Letter) error

	// GetLetter returns a letter, or ErrNotFound.
	GetLetter(ctx context.Context, queue, id string) (Letter, error)

	// ListLetters returns a page of a queue's letters: up to limit, at most
	// MaxLetters, and fewer where they are large. It begins with the empty
	// position, and goes on with what the page before returned as next, which is
	// empty after the last one; before that a page can be empty. A letter that is
	// there from the first page to the last is in one of them, whatever is put and
	// deleted meanwhile. The order is the store's.
	ListLetters(ctx context.Context, queue, position string, limit int) (letters []Letter, next string, err error)

	// ListSummaries is ListLetters for the summaries alone, of which a page has up
	// to MaxSummaryPage. A position of one is none of the other.
	ListSummaries(ctx context.Context, queue, position string, limit int) (summaries []LetterSummary, next string, err error)

	// DeleteLetters deletes up to MaxLetters letters of a queue; those that are not
	// there are none the worse. As for PutLetters, it is not one transaction.
	DeleteLetters(ctx context.Context, queue string, ids []string) error

	// CountLetters returns how many letters of a queue there are.
	CountLetters(ctx context.Context, queue string) (int64, error)

	// LetterQueues returns the queues that have letters, sorted.
	LetterQueues(ctx context.Context) ([]string, error)
}

const (
	// MaxLetters bounds the letters of a call, and of a page.
	MaxLetters = 100

	// MaxLetterBody bounds the body of a letter, in bytes: a message of SQS, of at
	// most 1 MiB, in whatever form its owner writes it.
	MaxLetterBody = 8 << 20

	// MaxLetterBatch bounds the bodies that one call of PutLetters has together, in
	// bytes.
	MaxLetterBatch = 32 << 20

	// MaxLetterPage is how many bytes of bodies a page of letters has at most, if it
	// has more than one letter.
	MaxLetterPage = 4 << 20

	// MaxSummaryField bounds a field of a summary, in bytes.
	MaxSummaryField = 1 << 10

	// MaxSummaryPage bounds the summaries of a page.
	MaxSummaryPage = 10_000
)

// Letter is a dead letter.
type Letter struct {
	LetterSummary
	Body []byte // all that it takes to restore the message
}

// LetterSummary is what letters are grouped by. Times are kept in milliseconds;
// the zero time is none.
type LetterSummary struct {
	ID string // SQS's id of the message

	// Name is the id that its receivers know it by; empty where that is ID.
	Name string

	Reason, Filter, Type, Frame, Source string
	Attributes, Shape                   string // of the message, where it has no record of a failure
	FirstFailedAt, FailedAt             time.Time
}

// CheckLetter tells whether a queue and the id of a letter can be used.
func CheckLetter(queue, id string) error {
	if err := CheckID("queue", queue); err != nil {
		return err
	}
	if strings.Contains(id, "\x00") {
		return invalid("letter %.40q has a zero byte in its id", id)
	}
	return CheckID("letter", id)
}

// CheckLetters tells whether letters can be put. Stores call it.
func CheckLetters(queue string, letters []Letter) error {
	if err := checkLetterCount(queue, len(letters)); err != nil {
		return err
	}
	seen, size := make(map[string]bool, len(letters)), 0
	for i := range letters {
		l := &letters[i]
		if err := CheckLetter(queue, l.ID); err != nil {
			return err
		}
		if seen[l.ID] {
			return invalid("letter %q is there twice", l.ID)
		}
		seen[l.ID] = true
		if len(l.Body) == 0 || len(l.Body) > MaxLetterBody {
			return invalid("letter %q has a body of %d bytes, want 1 to %d", l.ID, len(l.Body), MaxLetterBody)
		}
		if size += len(l.Body); size > MaxLetterBatch {
			return invalid("the bodies of %d letters have more than %d bytes", len(letters), MaxLetterBatch)
		}
		for _, field := range []string{l.Name, l.Reason, l.Filter, l.Type, l.Frame, l.Source, l.Attributes, l.Shape} {
			if len(field) > MaxSummaryField {
				return invalid("letter %q has %.40q... of %d bytes in its summary, at most %d are allowed", l.ID, field, len(field), MaxSummaryField)
			}
		}
	}
	return nil
}

// CheckLetterIDs tells whether letters can be deleted. Stores call it.
func CheckLetterIDs(queue string, ids []string) error {
	if err := checkLetterCount(queue, len(ids)); err != nil {
		return err
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if err := CheckLetter(queue, id); err != nil {
			return err
		}
		if seen[id] {
			return invalid("letter %q is there twice", id)
		}
		seen[id] = true
	}
	return nil
}

func checkLetterCount(queue string, n int) error {
	if n > MaxLetters {
		return invalid("there are %d letters of %.40q, at most %d are allowed", n, queue, MaxLetters)
	}
	return CheckID("queue", queue)
}

// LetterBuckets is over how many buckets the letters of a queue are spread.
const LetterBuckets = 256

// LetterPosition reads what ListLetters or ListSummaries returned as next: the
// bucket where the next page begins, and the last letter before it there, if any.
// Stores call it; the empty one is before all.
func LetterPosition(position string) (bucket int, after string, err error) {
	if position == "" {
		return 0, "", nil
	}
	text, after, ok := strings.Cut(position, ":")
	bucket, parseErr := strconv.Atoi(text)
	if !ok || parseErr != nil || bucket < 0 || bucket >= LetterBuckets || len(after) > MaxID {
		return 0, "", invalid("list of letters goes on at %.40q, want what a page returned as next", position)
	}
	return bucket, after, nil
}

// NextLetterPosition makes a position. Stores call it.
func NextLetterPosition(bucket int, after string) string {
	if bucket >= LetterBuckets {
		return ""
	}
	return strconv.Itoa(bucket) + ":" + after
}
