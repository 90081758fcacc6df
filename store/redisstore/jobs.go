package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
)

// OpenJob implements store.Jobs.
func (s *Store) OpenJob(ctx context.Context, o store.JobOpening) (store.OpenedJob, error) {
	if err := o.Validate(); err != nil {
		return store.OpenedJob{}, err
	}
	k := s.keys.job(o.Subject, o.ID)
	a, err := s.ask(ctx, s.scripts.openJob,
		[]string{k.open(), k.record(), k.journal(), k.all(), k.ended(), k.fence(), k.subjects()},
		o.Subject, o.ID, o.Owner, o.Token, ceilMillis(o.Lease), o.Spec, flag(o.Resume, ""))
	if err != nil {
		return store.OpenedJob{}, err
	}
	switch a.str(0) {
	case "OPEN":
		return store.OpenedJob{Now: a.time(1), Job: a.job(2, o.Subject, o.ID)}, nil
	case "HELD":
		err = &store.JobHeldError{Subject: o.Subject, ID: a.str(1), Owner: a.str(2), Since: a.time(3), Until: a.time(4)}
	case "OTHER":
		err = &store.JobOpenError{Subject: o.Subject, ID: a.str(1), Owner: a.str(2), Since: a.time(3)}
	case "ENDED":
		err = &store.JobEndedError{Subject: o.Subject, ID: o.ID, Status: a.str(1), Ended: a.time(2)}
	case "SPEC":
		err = &store.JobSpecError{Subject: o.Subject, ID: o.ID}
	default:
		err = jobFailure(a, "open", o.Subject, o.ID)
	}
	return store.OpenedJob{}, err
}

// flag is a flag as scripts take it.
func flag(set bool, not string) string {
	if set {
		return "1"
	}
	return not
}

// job is the job in an answer: its lease's expiry, its entries and its record.
func (a answer) job(i int, subject, id string) store.Job {
	fields, _ := a[i+2].([]any)
	r := answer(fields)
	return store.Job{
		Subject: subject, ID: id, LeaseUntil: a.time(i), Entries: a.int(i + 1),
		Created: r.time(0), Spec: r.bytes(1), Owner: r.str(2), Fence: r.int(3), Openings: r.int(4), Since: r.time(5),
		Progress: r.bytes(6), Noted: r.time(7), Status: r.str(8), Ended: r.time(9), KeptUntil: r.time(10),
		CancelledBy: r.str(11), CancelledAt: r.time(12),
	}
}

func jobFailure(a answer, verb, subject, id string) error {
	return failure(a, fmt.Sprintf("subject %q: %s job", subject, verb), id)
}

// NoteJob implements store.Jobs.
func (s *Store) NoteJob(ctx context.Context, n store.JobNote) (store.JobNoted, error) {
	if err := n.Validate(); err != nil {
		return store.JobNoted{}, err
	}
	args := []any{n.ID, n.Fence, n.Token, n.Number, ceilMillis(n.Lease), n.Progress, len(n.Set)}
	for _, e := range n.Set {
		args = append(args, e.Key, e.State)
	}
	for _, key := range n.Remove {
		args = append(args, key)
	}
	k := s.keys.job(n.Subject, n.ID)
	a, err := s.ask(ctx, s.scripts.noteJob, []string{k.open(), k.record(), k.journal(), k.order()}, args...)
	if err != nil {
		return store.JobNoted{}, err
	}
	switch a.str(0) {
	case "NOTED":
		return store.JobNoted{Now: a.time(1), Entries: a.int(2), CancelledBy: a.str(3), CancelledAt: a.time(4)}, nil
	case "LATE":
		return store.JobNoted{}, fmt.Errorf("note %d to job %q of %q: %w", n.Number, n.ID, n.Subject, store.ErrConflict)
	}
	return store.JobNoted{}, jobFailure(a, "note", n.Subject, n.ID)
}

// CloseJob implements store.Jobs.
func (s *Store) CloseJob(ctx context.Context, c store.JobClosing) error {
	if err := c.Validate(); err != nil {
		return err
	}
	k := s.keys.job(c.Subject, c.ID)
	a, err := s.ask(ctx, s.scripts.closeJob,
		[]string{k.open(), k.record(), k.journal(), k.all(), k.ended(), k.subjects()},
		c.Subject, c.ID, c.Fence, c.Token, flag(c.Ended, "0"), c.Status, c.Progress, ceilMillis(c.Retention))
	if err != nil {
		return err
	}
	switch a.str(0) {
	case "OK":
		return nil
	case "ENTRIES":
		return &store.JobEntriesError{Subject: c.Subject, ID: c.ID, Entries: a.int(1)}
	}
	return jobFailure(a, "close", c.Subject, c.ID)
}

// CancelJob implements store.Jobs.
func (s *Store) CancelJob(ctx context.Context, subject, id, by string) (store.Job, error) {
	if err := store.CheckCancel(subject, id, by); err != nil {
		return store.Job{}, err
	}
	k := s.keys.job(subject, id)
	a, err := s.ask(ctx, s.scripts.cancelJob,
		[]string{k.open(), k.record(), k.journal(), k.all(), k.ended(), k.subjects()},
		subject, id, by, store.CancelledJob, ceilMillis(store.CancelledJobRetention))
	if err != nil {
		return store.Job{}, err
	}
	if a.str(0) != "JOB" {
		return store.Job{}, jobFailure(a, "cancel", subject, id)
	}
	return a.job(1, subject, id), nil
}

// InspectJob implements store.Jobs.
func (s *Store) InspectJob(ctx context.Context, subject, id string) (store.Job, error) {
	if err := store.CheckJob(subject, id); err != nil {
		return store.Job{}, err
	}
	j, ok, err := s.showJob(ctx, subject, id)
	if err == nil && !ok {
		err = fmt.Errorf("job %q of %q: %w", id, subject, store.ErrNotFound)
	}
	return j, err
}

func (s *Store) showJob(ctx context.Context, subject, id string) (j store.Job, ok bool, err error) {
	k := s.keys.job(subject, id)
	a, err := s.ask(ctx, s.scripts.showJob, []string{k.open(), k.record(), k.journal()}, id)
	if err != nil || a.str(0) != "JOB" {
		return store.Job{}, false, err
	}
	return a.job(1, subject, id), true, nil
}

// ListJobs implements store.Jobs. It runs a script for each subject that has
// jobs, where it is to list all, and one for each job that it returns.
func (s *Store) ListJobs(ctx context.Context, subject string, offset, limit int) ([]store.Job, error) {
	if limit < 1 || offset < 0 {
		return nil, nil
	}
	if err := store.CheckSubject(subject); err != nil {
		return nil, err
	}
	subjects, err := s.subjects(ctx, subject, func(partition int) string { return jobKeys{prefix: s.keys.prefix(partition)}.subjects() })
	if err != nil {
		return nil, fmt.Errorf("redisstore: list jobs: %w", err)
	}
	offset, limit = min(offset, math.MaxInt32), min(limit, math.MaxInt32) // more than there are
	type made struct {
		subject, id string
		at          int64
	}
	var all []made
	for _, subject := range subjects {
		k := s.keys.job(subject, "")
		a, err := s.ask(ctx, s.scripts.listJobs, []string{k.all(), k.ended()}, offset+limit)
		if err != nil {
			return nil, err
		}
		for i := 0; i+1 < len(a); i += 2 {
			all = append(all, made{subject, a.str(i), a.int(i + 1)})
		}
	}
	slices.SortFunc(all, func(a, b made) int {
		return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.subject, a.subject), cmp.Compare(b.id, a.id))
	})
	all = all[min(offset, len(all)):min(offset+limit, len(all))]
	var jobs []store.Job
	for _, m := range all {
		j, ok, err := s.showJob(ctx, m.subject, m.id)
		if err != nil {
			return nil, err
		}
		if ok { // its time may be over by now
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// subjects reads what subjects the sets of all partitions have, or is the one.
func (s *Store) subjects(ctx context.Context, one string, key func(partition int) string) ([]string, error) {
	if one != "" {
		return []string{one}, nil
	}
	cmds := make([]*redis.StringSliceCmd, s.keys.partitions)
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i := range cmds {
			cmds[i] = p.ZRange(ctx, key(i), 0, -1)
		}
	})
	var all []string
	for _, cmd := range cmds {
		all = append(all, cmd.Val()...)
	}
	return all, err
}

// JobEntries implements store.Jobs.
func (s *Store) JobEntries(ctx context.Context, subject, id, after string, limit int) ([]store.JobEntry, error) {
	if limit < 1 {
		return nil, nil
	}
	if err := store.CheckJobPage(subject, id, after); err != nil {
		return nil, err
	}
	k := s.keys.job(subject, id)
	a, err := s.ask(ctx, s.scripts.journal, []string{k.open(), k.journal(), k.order()}, id, after, min(limit, store.MaxJobPage))
	if err != nil {
		return nil, err
	}
	var entries []store.JobEntry
	for i := 0; i+1 < len(a); i += 2 {
		entries = append(entries, store.JobEntry{Key: a.str(i), State: a.bytes(i + 1)})
	}
	return entries, nil
}
