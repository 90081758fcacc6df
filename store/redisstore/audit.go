package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/store"
)

// AppendAudit implements store.Audit.
func (s *Store) AppendAudit(ctx context.Context, r store.AuditRecord) error {
	if err := r.Validate(); err != nil {
		return err
	}
	k := s.keys.audit(r.Subject, r.ID)
	a, err := s.ask(ctx, s.scripts.audit,
		[]string{k.numbers(), k.kept(), k.records(), k.items(), k.last(), k.subjects()},
		r.Subject, r.ID, r.Body, ceilMillis(r.Retention))
	switch {
	case err != nil || a.str(0) == "OK":
		return err
	case a.str(0) == "EXISTS":
		return &store.AuditExistsError{Subject: r.Subject, ID: r.ID, Page: -1}
	}
	return failure(a, "audit", r.ID)
}

// ListAudit implements store.Audit. It runs a script for each subject that has
// records, where it is to list all.
func (s *Store) ListAudit(ctx context.Context, subject, before string, limit int) ([]store.Audited, string, error) {
	number, last, err := store.AuditPosition(before)
	if err != nil {
		return nil, "", err
	}
	if err := store.CheckSubject(subject); err != nil || limit < 1 {
		return nil, "", err
	}
	limit = min(limit, store.MaxAuditPage)
	subjects, err := s.subjects(ctx, subject, func(partition int) string { return auditKeys{prefix: s.keys.prefix(partition)}.subjects() })
	if err != nil {
		return nil, "", fmt.Errorf("redisstore: list audit records: %w", err)
	}
	type numbered struct {
		store.Audited
		number int64
	}
	var all []numbered
	for _, subject := range subjects {
		k := s.keys.audit(subject, "")
		highest := strconv.FormatInt(number, 10)
		if subject >= last { // partitions may give the same number
			highest = "(" + highest
		}
		a, err := s.ask(ctx, s.scripts.audited, []string{k.numbers(), k.records()}, highest, limit+1)
		if err != nil {
			return nil, "", err
		}
		for i := 0; i+4 < len(a); i += 5 {
			all = append(all, numbered{number: a.int(i + 1), Audited: store.Audited{
				Subject: subject, ID: a.str(i), KeptUntil: a.time(i + 2), At: a.time(i + 3), Body: a.bytes(i + 4),
			}})
		}
	}
	slices.SortFunc(all, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(b.number, a.number), cmp.Compare(b.Subject, a.Subject))
	})
	var records []store.Audited
	for i, r := range all {
		if i == limit {
			before := all[i-1]
			return records, strconv.FormatInt(before.number, 10) + ":" + before.Subject, nil
		}
		records = append(records, r.Audited)
	}
	return records, "", nil
}

// AppendAuditItems implements store.Audit.
func (s *Store) AppendAuditItems(ctx context.Context, subject, id string, page int, items []string) error {
	if err := store.CheckAuditItems(subject, id, page, items); err != nil {
		return err
	}
	k := s.keys.audit(subject, id)
	a, err := s.ask(ctx, s.scripts.addItems, []string{k.records(), k.items()}, id, page, packItems(items))
	switch {
	case err != nil || a.str(0) == "OK":
		return err
	case a.str(0) == "EXISTS":
		return &store.AuditExistsError{Subject: subject, ID: id, Page: page}
	}
	return auditFailure(a, subject, id)
}

func auditFailure(a answer, subject, id string) error {
	return failure(a, fmt.Sprintf("subject %q: audit record", subject), id)
}

// AuditItems implements store.Audit.
func (s *Store) AuditItems(ctx context.Context, subject, id string, page int) ([]string, int, error) {
	if err := store.CheckAuditPage(subject, id, page); err != nil {
		return nil, 0, err
	}
	k := s.keys.audit(subject, id)
	a, err := s.ask(ctx, s.scripts.items, []string{k.records(), k.items()}, id, page)
	if err != nil {
		return nil, 0, err
	}
	if a.str(0) != "ITEMS" {
		return nil, 0, auditFailure(a, subject, id)
	}
	return unpackItems(a.str(2)), int(a.int(1)), nil
}

// packItems writes each item after its length and a colon.
func packItems(items []string) string {
	var b strings.Builder
	for _, item := range items {
		b.WriteString(strconv.Itoa(len(item)))
		b.WriteByte(':')
		b.WriteString(item)
	}
	return b.String()
}

func unpackItems(text string) (items []string) {
	for text != "" {
		length, rest, _ := strings.Cut(text, ":")
		n, _ := strconv.Atoi(length)
		n = min(max(n, 0), len(rest))
		items, text = append(items, rest[:n]), rest[n:]
	}
	return items
}
