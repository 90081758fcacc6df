package memstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/waybill-dev/waybill/store"
)

// A subject has jobs, of which at most one has not ended.
type subject struct {
	open *job
	jobs map[string]*job
}

// A job is one with its journal. Times are in ms since 1970; 0 is none.
type job struct {
	id, owner, status, cancelledBy string
	spec, progress                 []byte
	entries                        map[string][]byte

	fence, openings                         int64
	created, since, noted, cancelled, ended int64
	until                                   int64 // when the lease expires, or the record of one that has ended
	token                                   string
	number                                  int64 // of the opening's last note
	closing                                 closing
}

// A closing is what gave the last lease back.
type closing struct {
	fence int64
	token string
	ended bool
}

// kept reports whether a job is on record still.
func (j *job) kept(now int64) bool { return j != nil && (j.ended == 0 || j.until > now) }

// held reports whether somebody holds the lease, which is not given back and has
// not expired.
func (j *job) held(now int64) bool { return j.token != "" && j.until > now }

func (j *job) renew(until, now int64) { j.until, j.noted = max(j.until, until), now }

func (j *job) show(subject string) store.Job {
	s := store.Job{
		Subject: subject, ID: j.id, Spec: clone(j.spec), Created: millis(j.created),
		Owner: j.owner, Fence: j.fence, Openings: j.openings, Since: millis(j.since),
		Status: j.status, Progress: clone(j.progress), Noted: millis(j.noted), Entries: int64(len(j.entries)),
		CancelledBy: j.cancelledBy, CancelledAt: millis(j.cancelled), Ended: millis(j.ended),
	}
	switch {
	case j.ended > 0:
		s.KeptUntil = millis(j.until)
	case j.token != "":
		s.LeaseUntil = millis(j.until)
	}
	return s
}

// job is one that is on record.
func (p *partition) job(of, id string, now int64) *job {
	if s := p.subjects[of]; s != nil && s.jobs[id].kept(now) {
		return s.jobs[id]
	}
	return nil
}

// end ends a subject's open job, and drops what was kept for long enough.
func (s *subject) end(status string, now, until int64) {
	j := s.open
	j.status, j.ended, j.until, j.token, s.open = status, now, until, "", nil
	maps.DeleteFunc(s.jobs, func(_ string, j *job) bool { return !j.kept(now) })
}

// OpenJob implements store.Jobs.
func (s *Store) OpenJob(ctx context.Context, o store.JobOpening) (store.OpenedJob, error) {
	if err := o.Validate(); err != nil {
		return store.OpenedJob{}, err
	}
	if err := s.begin(ctx, "open job of", o.Subject); err != nil {
		return store.OpenedJob{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(o.Subject), s.now()
	of := p.subjects[o.Subject]
	if of == nil {
		of = &subject{jobs: make(map[string]*job)}
	}
	j := of.open
	if err := of.refuses(&o, now); err != nil {
		return store.OpenedJob{}, err
	}
	until := now + ceil(o.Lease)
	if j != nil && j.token == o.Token {
		j.renew(until, now)
		return store.OpenedJob{Job: j.show(o.Subject), Now: millis(now)}, nil
	}
	if j == nil {
		j = &job{id: o.ID, spec: clone(o.Spec), created: now, entries: make(map[string][]byte)}
		of.open, of.jobs[o.ID], p.subjects[o.Subject] = j, j, of
	}
	p.fence = max(p.fence+1, now*1000)
	j.owner, j.token, j.fence, j.since, j.noted, j.until = o.Owner, o.Token, p.fence, now, now, until
	j.status, j.number = "", 0
	j.openings++
	return store.OpenedJob{Job: j.show(o.Subject), Now: millis(now)}, nil
}

// refuses tells why a job cannot be opened.
func (s *subject) refuses(o *store.JobOpening, now int64) error {
	j := s.open
	if done := s.jobs[o.ID]; done != j && done.kept(now) {
		return &store.JobEndedError{Subject: o.Subject, ID: o.ID, Status: done.status, Ended: millis(done.ended)}
	}
	if j == nil {
		if o.Resume {
			return fmt.Errorf("job %q of %q: %w", o.ID, o.Subject, store.ErrNotFound)
		}
		return nil
	}
	this := j.id == o.ID
	switch {
	case this && !bytes.Equal(o.Spec, j.spec) && !(o.Resume && len(o.Spec) == 0):
		return &store.JobSpecError{Subject: o.Subject, ID: o.ID}
	case this && j.token == o.Token:
		return nil
	case this && j.closing.token == o.Token:
		return fmt.Errorf("job %q of %q: %w", o.ID, o.Subject, store.ErrLeaseLost)
	case j.held(now):
		return &store.JobHeldError{Subject: o.Subject, ID: j.id, Owner: j.owner, Since: millis(j.since), Until: millis(j.until)}
	case !this:
		return &store.JobOpenError{Subject: o.Subject, ID: j.id, Owner: j.owner, Since: millis(j.since)}
	}
	return nil
}

// holder is the open job of a subject, if its lease is that of the opening.
func (p *partition) holder(of, id, token string, fence int64) *job {
	s := p.subjects[of]
	if s == nil || s.open == nil || s.open.id != id || s.open.token != token || s.open.fence != fence {
		return nil
	}
	return s.open
}

// NoteJob implements store.Jobs.
func (s *Store) NoteJob(ctx context.Context, n store.JobNote) (store.JobNoted, error) {
	if err := n.Validate(); err != nil {
		return store.JobNoted{}, err
	}
	if err := s.begin(ctx, "note job of", n.Subject); err != nil {
		return store.JobNoted{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	j := s.partition(n.Subject).holder(n.Subject, n.ID, n.Token, n.Fence)
	switch {
	case j == nil:
		return store.JobNoted{}, fmt.Errorf("note to job %q of %q: %w", n.ID, n.Subject, store.ErrLeaseLost)
	case n.Number < j.number:
		return store.JobNoted{}, fmt.Errorf("note %d to job %q of %q: %w", n.Number, n.ID, n.Subject, store.ErrConflict)
	}
	j.renew(now+ceil(n.Lease), now)
	if n.Number > j.number {
		j.number = n.Number
		j.progressed(n.Progress)
		for _, e := range n.Set {
			j.entries[e.Key] = clone(e.State)
		}
		for _, key := range n.Remove {
			delete(j.entries, key)
		}
	}
	return store.JobNoted{
		Now: millis(now), Entries: int64(len(j.entries)), CancelledBy: j.cancelledBy, CancelledAt: millis(j.cancelled),
	}, nil
}

func (j *job) progressed(progress []byte) {
	if len(progress) > 0 {
		j.progress = clone(progress)
	}
}

// CloseJob implements store.Jobs.
func (s *Store) CloseJob(ctx context.Context, c store.JobClosing) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if err := s.begin(ctx, "close job of", c.Subject); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(c.Subject), s.now()
	this := closing{c.Fence, c.Token, c.Ended}
	j := p.holder(c.Subject, c.ID, c.Token, c.Fence)
	switch {
	case j == nil:
		if done := p.job(c.Subject, c.ID, now); done != nil && done.closing == this {
			return nil
		}
		return fmt.Errorf("close job %q of %q: %w", c.ID, c.Subject, store.ErrLeaseLost)
	case c.Ended && len(j.entries) > 0:
		return &store.JobEntriesError{Subject: c.Subject, ID: c.ID, Entries: int64(len(j.entries))}
	}
	j.closing, j.noted, j.status = this, now, c.Status
	j.progressed(c.Progress)
	if c.Ended {
		p.subjects[c.Subject].end(c.Status, now, now+ceil(c.Retention))
	} else {
		j.token, j.until = "", 0
	}
	return nil
}

// CancelJob implements store.Jobs.
func (s *Store) CancelJob(ctx context.Context, of, id, by string) (store.Job, error) {
	if err := store.CheckCancel(of, id, by); err != nil {
		return store.Job{}, err
	}
	if err := s.begin(ctx, "cancel job of", of); err != nil {
		return store.Job{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(of), s.now()
	j := p.job(of, id, now)
	if j == nil {
		return store.Job{}, fmt.Errorf("cancel job %q of %q: %w", id, of, store.ErrNotFound)
	}
	if j.ended == 0 {
		if j.cancelled == 0 {
			j.cancelledBy, j.cancelled = by, now
		}
		if !j.held(now) && len(j.entries) == 0 {
			p.subjects[of].end(store.CancelledJob, now, now+ceil(store.CancelledJobRetention))
		}
	}
	return j.show(of), nil
}

// InspectJob implements store.Jobs.
func (s *Store) InspectJob(ctx context.Context, of, id string) (store.Job, error) {
	if err := store.CheckJob(of, id); err != nil {
		return store.Job{}, err
	}
	if err := s.begin(ctx, "inspect job of", of); err != nil {
		return store.Job{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.partition(of).job(of, id, s.now()); j != nil {
		return j.show(of), nil
	}
	return store.Job{}, fmt.Errorf("job %q of %q: %w", id, of, store.ErrNotFound)
}

// ListJobs implements store.Jobs.
func (s *Store) ListJobs(ctx context.Context, of string, offset, limit int) ([]store.Job, error) {
	if limit < 1 || offset < 0 {
		return nil, nil
	}
	if err := store.CheckSubject(of); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, "list jobs of", of); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var all []store.Job
	for _, p := range s.partitions {
		for name, s := range p.subjects {
			if of != "" && of != name {
				continue
			}
			for _, j := range s.jobs {
				if j.kept(now) {
					all = append(all, j.show(name))
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b store.Job) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Subject, a.Subject), cmp.Compare(b.ID, a.ID))
	})
	all = all[min(offset, len(all)):]
	return all[:min(limit, len(all)):min(limit, len(all))], nil
}

// JobEntries implements store.Jobs.
func (s *Store) JobEntries(ctx context.Context, of, id, after string, limit int) ([]store.JobEntry, error) {
	if limit < 1 {
		return nil, nil
	}
	if err := store.CheckJobPage(of, id, after); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, "entries of job of", of); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.partition(of).job(of, id, s.now())
	if j == nil {
		return nil, nil
	}
	keys := slices.Sorted(maps.Keys(j.entries))
	first, found := slices.BinarySearch(keys, after)
	if found {
		first++
	}
	var entries []store.JobEntry
	for _, key := range keys[first:min(len(keys), first+min(limit, store.MaxJobPage))] {
		entries = append(entries, store.JobEntry{Key: key, State: clone(j.entries[key])})
	}
	return entries, nil
}
