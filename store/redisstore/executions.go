package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// Start implements store.Executions.
func (s *Store) Start(ctx context.Context, r store.StartRequest) (store.StartResult, error) {
	var result store.StartResult
	if err := r.Validate(); err != nil {
		return result, err
	}
	k := s.keys.execution(r.ID)
	a, err := s.ask(ctx, s.scripts.start,
		[]string{k.record(), k.history(), k.timers(), k.tombstones(), k.index(r.Index), k.mail(), k.seen()},
		r.ID, store.FormatVersion, r.Match, r.Meta, r.Status, r.Index, r.Root, r.History, r.Commit,
		ceilMillis(r.Wake), r.Nonce, ceilMillis(r.Lease))
	if err != nil {
		return result, err
	}
	switch a.str(0) {
	case "CREATED":
		result = store.StartResult{Created: true, Opened: r.Nonce != "", Now: a.time(1), Status: r.Status}
		if result.Opened {
			result.Mailbox = a.mailbox(2)
		}
		return result, nil
	case "EXISTS":
		return store.StartResult{
			Created: a.int(3) == 1, Opened: a.int(4) == 1, Now: a.time(1), Status: a.str(2), Mailbox: a.mailbox(5),
		}, nil
	case "CONFLICT":
		return result, fmt.Errorf("start %q: %w", r.ID, store.ErrExists)
	}
	return result, failure(a, "start", r.ID)
}

// Open implements store.Executions.
func (s *Store) Open(ctx context.Context, r store.OpenRequest) (*store.Opening, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	k := s.keys.execution(r.ID)
	a, err := s.ask(ctx, s.scripts.open,
		[]string{k.record(), k.mail(), k.timers(), k.tombstones()},
		r.ID, store.FormatVersion, r.Nonce, ceilMillis(r.Lease))
	if err != nil {
		return nil, err
	}
	switch a.str(0) {
	case "OPEN":
		return a.opening(r.ID, r.Nonce), nil
	case "HELD":
		return nil, &store.HeldError{ID: r.ID, Until: a.time(1)}
	case "WAIT":
		return nil, &store.NotDueError{ID: r.ID, Wake: a.time(1)}
	}
	return nil, failure(a, "open", r.ID)
}

// Commit implements store.Executions.
func (s *Store) Commit(ctx context.Context, c *store.Commit) (store.CommitResult, error) {
	var result store.CommitResult
	if err := c.Validate(); err != nil {
		return result, err
	}
	k := s.keys.execution(c.ID)
	ks := make([]string, 4, 6)
	ks[0], ks[1], ks[2], ks[3] = k.record(), k.history(), k.mail(), k.timers()
	if c.Index != "" {
		ks = append(ks, k.index(c.OldIndex), k.index(c.Index))
	}
	wake := ""
	if c.Releases() {
		wake = strconv.FormatInt(ceilTime(c.Wake), 10)
	}
	sole := ""
	if c.Sole {
		sole = "1"
	}
	args := make([]any, 0, 15+2*len(c.Set)+len(c.Delete))
	args = append(args, c.ID, holder(c.Lease), c.Epoch, c.Previous, c.CommitID, nexts[c.Next], wake,
		c.Absorbed, c.History, c.Outbox, c.Status, c.Index, c.OldIndex, sole, len(c.Set))
	for field, value := range c.Set {
		args = append(args, field, value)
	}
	for _, field := range c.Delete {
		args = append(args, field)
	}
	a, err := s.ask(ctx, s.scripts.commit, ks, args...)
	if err != nil {
		return result, err
	}
	switch a.str(0) {
	case "OK", "MAIL":
		return store.CommitResult{Applied: a.str(0) == "OK", Mailbox: a.mailbox(1)}, nil
	case "CONFLICT":
		return result, fmt.Errorf("commit to %q: %w", c.ID, store.ErrConflict)
	case "INVALID":
		return result, fmt.Errorf("commit to %q: %w: %s", c.ID, store.ErrInvalid, a.str(1))
	}
	return result, failure(a, "commit to", c.ID)
}

// holder is the field n under a lease.
func holder(l store.Lease) string { return strconv.FormatInt(l.Epoch, 10) + ":" + l.Nonce }

var nexts = [...]string{store.Continue: "C", store.Park: "P", store.End: "E"}

// Renew implements store.Executions.
func (s *Store) Renew(ctx context.Context, l store.Lease, d time.Duration, read int64) (store.Renewal, error) {
	if err := errors.Join(l.Validate(), store.CheckDuration("lease", d)); err != nil {
		return store.Renewal{}, err
	}
	k := s.keys.execution(l.ID)
	a, err := s.ask(ctx, s.scripts.renew, []string{k.record(), k.mail()}, holder(l), ceilMillis(d), read)
	if err != nil {
		return store.Renewal{}, err
	}
	if a.str(0) == "OK" {
		return store.Renewal{Now: a.time(1), Mailbox: a.mailbox(2)}, nil
	}
	return store.Renewal{}, failure(a, "renew the lease on", l.ID)
}

// Release implements store.Executions.
func (s *Store) Release(ctx context.Context, l store.Lease, d time.Duration) error {
	if err := l.Validate(); err != nil {
		return err
	}
	k := s.keys.execution(l.ID)
	_, err := s.ask(ctx, s.scripts.release, []string{k.record(), k.timers()}, l.ID, holder(l), ceilMillis(d))
	return err
}

// Purge implements store.Executions.
func (s *Store) Purge(ctx context.Context, id string, d time.Duration) (bool, error) {
	if err := store.CheckDuration("tombstone", d); err != nil {
		return false, err
	}
	k := s.keys.execution(id)
	standing, err := s.field(ctx, id, "s")
	if err != nil {
		return false, fmt.Errorf("redisstore: purge: %w", err)
	}
	_, index, _ := strings.Cut(standing, "\n")
	a, err := s.ask(ctx, s.scripts.purge,
		[]string{k.record(), k.history(), k.mail(), k.seen(), k.timers(), k.tombstones(), k.index(index)},
		id, store.FormatVersion, ceilMillis(d), index)
	if err != nil {
		return false, err
	}
	switch a.str(0) {
	case "OK":
		return true, nil
	case "KEPT":
		return false, nil
	}
	return false, failure(a, "purge", id)
}

func (s *Store) ask(ctx context.Context, sc *script, keys []string, args ...any) (answer, error) {
	reply, err := s.run(ctx, sc, keys, args...)
	return answer(reply), err
}

// failure is the error for the answers that mean the same in every script.
func failure(a answer, verb, id string) error {
	var err error
	switch a.str(0) {
	case "LOST":
		err = store.ErrLeaseLost
	case "MISSING":
		err = store.ErrNotFound
	case "GONE":
		err = store.ErrGone
	case "ENDED":
		err = store.ErrEnded
	case "FULL":
		err = store.ErrMailboxFull
	case "VERSION":
		err = &store.FormatError{
			What: "the format of execution " + strconv.Quote(id),
			Got:  a.str(1), Want: strconv.Itoa(store.FormatVersion),
		}
	default:
		err = fmt.Errorf("redisstore: unexpected answer %q", a.str(0))
	}
	return fmt.Errorf("%s %q: %w", verb, id, err)
}

// opening is the answer of a script that opened the execution under the nonce.
func (a answer) opening(id, nonce string) *store.Opening {
	o := &store.Opening{
		Lease:    store.Lease{ID: id, Epoch: a.int(2), Nonce: nonce},
		Now:      a.time(1),
		Commit:   a.str(3),
		Openings: int(a.int(4)),
		Ended:    a.int(7) == 1,
		Meta:     a.bytes(8),
		Root:     a.bytes(9),
		Outbox:   a.bytes(10),
		Mailbox:  a.mailbox(11),
	}
	_, o.Started, o.Match = origin(a.str(5))
	o.Status, o.Index, _ = strings.Cut(a.str(6), "\n")
	return o
}

func (a answer) mailbox(i int) store.Mailbox {
	mail := a.list(i + 1)
	return store.Mailbox{Mail: mail, Read: a.int(i) + int64(len(mail))}
}
