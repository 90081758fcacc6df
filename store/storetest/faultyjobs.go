package storetest

import (
	"context"

	"github.com/waybill-dev/waybill/store"
)

// OpenJob implements store.Jobs.
func (f *Faulty) OpenJob(ctx context.Context, o store.JobOpening) (store.OpenedJob, error) {
	return do(ctx, f, "OpenJob", o.Subject, func() (store.OpenedJob, error) { return f.store.OpenJob(ctx, o) })
}

// NoteJob implements store.Jobs.
func (f *Faulty) NoteJob(ctx context.Context, n store.JobNote) (store.JobNoted, error) {
	return do(ctx, f, "NoteJob", n.Subject, func() (store.JobNoted, error) { return f.store.NoteJob(ctx, n) })
}

// CloseJob implements store.Jobs.
func (f *Faulty) CloseJob(ctx context.Context, c store.JobClosing) error {
	return f.done(ctx, "CloseJob", c.Subject, func() error { return f.store.CloseJob(ctx, c) })
}

// CancelJob implements store.Jobs.
func (f *Faulty) CancelJob(ctx context.Context, subject, id, by string) (store.Job, error) {
	return do(ctx, f, "CancelJob", subject, func() (store.Job, error) { return f.store.CancelJob(ctx, subject, id, by) })
}

// InspectJob implements store.Jobs.
func (f *Faulty) InspectJob(ctx context.Context, subject, id string) (store.Job, error) {
	return do(ctx, f, "InspectJob", subject, func() (store.Job, error) { return f.store.InspectJob(ctx, subject, id) })
}

// ListJobs implements store.Jobs.
func (f *Faulty) ListJobs(ctx context.Context, subject string, offset, limit int) ([]store.Job, error) {
	return do(ctx, f, "ListJobs", subject, func() ([]store.Job, error) { return f.store.ListJobs(ctx, subject, offset, limit) })
}

// JobEntries implements store.Jobs.
func (f *Faulty) JobEntries(ctx context.Context, subject, id, after string, limit int) ([]store.JobEntry, error) {
	return do(ctx, f, "JobEntries", subject, func() ([]store.JobEntry, error) {
		return f.store.JobEntries(ctx, subject, id, after, limit)
	})
}

// AppendAudit implements store.Audit.
func (f *Faulty) AppendAudit(ctx context.Context, r store.AuditRecord) error {
	return f.done(ctx, "AppendAudit", r.Subject, func() error { return f.store.AppendAudit(ctx, r) })
}

// ListAudit implements store.Audit.
func (f *Faulty) ListAudit(ctx context.Context, subject, before string, limit int) (records []store.Audited, next string, err error) {
	records, err = do(ctx, f, "ListAudit", subject, func() (list []store.Audited, err error) {
		list, next, err = f.store.ListAudit(ctx, subject, before, limit)
		return list, err
	})
	if err != nil {
		next = ""
	}
	return records, next, err
}

// AppendAuditItems implements store.Audit.
func (f *Faulty) AppendAuditItems(ctx context.Context, subject, id string, page int, items []string) error {
	return f.done(ctx, "AppendAuditItems", subject, func() error { return f.store.AppendAuditItems(ctx, subject, id, page, items) })
}

// AuditItems implements store.Audit.
func (f *Faulty) AuditItems(ctx context.Context, subject, id string, page int) (items []string, pages int, err error) {
	items, err = do(ctx, f, "AuditItems", subject, func() (list []string, err error) {
		list, pages, err = f.store.AuditItems(ctx, subject, id, page)
		return list, err
	})
	if err != nil {
		pages = 0
	}
	return items, pages, err
}
