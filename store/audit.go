package store

import (
	"context"
	"time"
)

// Audit keeps records of who did what to a subject, such as a queue, and to which
// items. What is recorded is not changed, and not dropped before its retention
// has run out.
type Audit interface {
	// AppendAudit adds a record, under the store's time. The same id again changes
	// nothing, with the same body; with another one it is ErrExists.
	AppendAudit(ctx context.Context, r AuditRecord) error

	// ListAudit returns up to limit records of a subject, at most MaxAuditPage,
	// the newest first; the empty subject stands for all. It begins with the
	// newest where before is empty, and else goes on after the page that returned
	// it as next, which is empty after the last one.
	ListAudit(ctx context.Context, subject, before string, limit int) (records []Audited, next string, err error)

	// AppendAuditItems adds a page of items to a record, of as many as any record
	// may name: the pages have numbers from 0 on, in whatever order they come. The
	// same page again changes nothing, with the same items; with others it is
	// ErrExists. Without its record it is ErrNotFound.
	AppendAuditItems(ctx context.Context, subject, id string, page int, items []string) error

	// AuditItems returns a page of a record's items, which is empty where there is
	// none of that number, and how many pages there are. Without the record it
	// answers ErrNotFound.
	AuditItems(ctx context.Context, subject, id string, page int) (items []string, pages int, err error)
}

const (
	// MaxAuditBody bounds the body of an audit record, in bytes.
	MaxAuditBody = 64 << 10

	// MaxAuditItems bounds the items of a page. Each has up to MaxID bytes.
	MaxAuditItems = 1000

	// MaxAuditPages bounds the pages of a record.
	MaxAuditPages = 10_000

	// MaxAuditPage bounds the records that one call of ListAudit returns.
	MaxAuditPage = 1000
)

// AuditRecord is what is to be remembered.
type AuditRecord struct {
	Subject   string // what it was done to
	ID        string // names this record, and no other of the subject ever
	Body      []byte
	Retention time.Duration
}

// Audited is a record as it is kept.
type Audited struct {
	Subject, ID string
	Body        []byte
	At          time.Time // when it was added
	KeptUntil   time.Time
}
