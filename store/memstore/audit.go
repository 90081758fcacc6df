package memstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/waybill-dev/waybill/store"
)

// An audited is an audit record. Times are in ms since 1970.
type audited struct {
	body      []byte
	number    int64
	at, until int64
	pages     map[int][]string
}

// audit is a record that is kept still.
func (p *partition) audit(subject, id string, now int64) *audited {
	if r := p.audits[subject][id]; r != nil && r.until > now {
		return r
	}
	return nil
}

// AppendAudit implements store.Audit.
func (s *Store) AppendAudit(ctx context.Context, r store.AuditRecord) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if err := s.begin(ctx, "audit", r.Subject); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(r.Subject), s.now()
	if old := p.audit(r.Subject, r.ID, now); old != nil {
		if !bytes.Equal(old.body, r.Body) {
			return &store.AuditExistsError{Subject: r.Subject, ID: r.ID, Page: -1}
		}
		return nil
	}
	if p.audits[r.Subject] == nil {
		p.audits[r.Subject] = make(map[string]*audited)
	}
	maps.DeleteFunc(p.audits[r.Subject], func(_ string, r *audited) bool { return r.until <= now })
	p.number = max(p.number+1, now*1000)
	p.audits[r.Subject][r.ID] = &audited{
		body: clone(r.Body), number: p.number, at: now, until: now + ceil(r.Retention), pages: make(map[int][]string),
	}
	return nil
}

// ListAudit implements store.Audit.
func (s *Store) ListAudit(ctx context.Context, subject, before string, limit int) ([]store.Audited, string, error) {
	number, last, err := store.AuditPosition(before)
	if err != nil {
		return nil, "", err
	}
	if err := store.CheckSubject(subject); err != nil || limit < 1 {
		return nil, "", err
	}
	if err := s.begin(ctx, "list audit records of", subject); err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	type numbered struct {
		store.Audited
		number int64
	}
	var all []numbered
	now := s.now()
	for _, p := range s.partitions {
		for name, records := range p.audits {
			if subject != "" && subject != name {
				continue
			}
			for id, r := range records {
				if r.until > now && (r.number < number || r.number == number && name < last) {
					all = append(all, numbered{number: r.number, Audited: store.Audited{
						Subject: name, ID: id, Body: clone(r.body), At: millis(r.at), KeptUntil: millis(r.until),
					}})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(b.number, a.number), cmp.Compare(b.Subject, a.Subject))
	})
	limit = min(limit, store.MaxAuditPage)
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
	if err := s.begin(ctx, "add items to audit record", id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.partition(subject).audit(subject, id, s.now())
	if r == nil {
		return fmt.Errorf("audit record %q of %q: %w", id, subject, store.ErrNotFound)
	}
	if old, ok := r.pages[page]; ok && !slices.Equal(old, items) {
		return &store.AuditExistsError{Subject: subject, ID: id, Page: page}
	}
	r.pages[page] = slices.Clone(items)
	return nil
}

// AuditItems implements store.Audit.
func (s *Store) AuditItems(ctx context.Context, subject, id string, page int) ([]string, int, error) {
	if err := store.CheckAuditPage(subject, id, page); err != nil {
		return nil, 0, err
	}
	if err := s.begin(ctx, "items of audit record", id); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.partition(subject).audit(subject, id, s.now())
	if r == nil {
		return nil, 0, fmt.Errorf("audit record %q of %q: %w", id, subject, store.ErrNotFound)
	}
	return slices.Clone(r.pages[page]), len(r.pages), nil
}
