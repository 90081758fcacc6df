package storetest

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// ErrInjected is a failure for a [Fault], where a test needs no other.
var ErrInjected = errors.New("storetest: injected failure")

// A Call is one call of a store's method.
type Call struct {
	N  int64  // the number of the call, from 1; calls side by side have different ones
	Op string // the name of the method, such as "Commit"
	ID string // of the execution, definition, worker, key, lock or subject; empty where there is none
}

// A Fault is what becomes of a call. The zero value lets it pass.
type Fault struct {
	// Delay holds the call back before anything happens, or until its context
	// ends.
	Delay time.Duration

	// Before is returned without calling the store: the request never came.
	Before error

	// After is returned instead of the store's answer: the work is done, and
	// its answer lost.
	After error

	// Late keeps the answer back that much longer once the work is done, and
	// heeds no context: the caller gets it after its context has ended, as from
	// a process that stood still or a client that does not look.
	Late time.Duration

	// Twice does the work a second time and gives the second answer, as a
	// client does that lost the first one. Reads are as good done once.
	Twice bool
}

// Faulty is a [Store] whose calls fail on demand. Partitions and Partition,
// which reach for nothing, always pass.
type Faulty struct {
	store Store
	fault func(Call) Fault
	calls atomic.Int64
}

var _ Store = (*Faulty)(nil)

// NewFaulty wraps a store. Before each call it asks fault what becomes of it;
// fault may be called side by side. To let a process die at its nth call, fail
// every call from the nth on, and go on with another Faulty over the same
// store:
//
//	crashed := storetest.NewFaulty(st, storetest.CrashAt(n, false))
func NewFaulty(s Store, fault func(Call) Fault) *Faulty {
	return &Faulty{store: s, fault: fault}
}

// Calls returns how many calls there were.
func (f *Faulty) Calls() int64 { return f.calls.Load() }

// CrashAt is a fault function that lets no call pass from the nth on, as if the
// process had died. With done set, the store still does the nth call.
func CrashAt(n int64, done bool) func(Call) Fault {
	return func(c Call) Fault {
		switch {
		case c.N < n:
			return Fault{}
		case c.N == n && done:
			return Fault{After: ErrInjected}
		}
		return Fault{Before: ErrInjected}
	}
}

// do runs one call under its fault.
func do[T any](ctx context.Context, f *Faulty, op, id string, call func() (T, error)) (T, error) {
	var none T
	fault := f.fault(Call{N: f.calls.Add(1), Op: op, ID: id})
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
	if fault.Before != nil {
		return none, fault.Before
	}
	v, err := call()
	if fault.Twice {
		v, err = call()
	}
	time.Sleep(fault.Late)
	if fault.After != nil {
		return none, fault.After
	}
	return v, err
}

// done is do for calls that return an error alone.
func (f *Faulty) done(ctx context.Context, op, id string, call func() error) error {
	_, err := do(ctx, f, op, id, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Start implements store.Executions.
func (f *Faulty) Start(ctx context.Context, r store.StartRequest) (store.StartResult, error) {
	return do(ctx, f, "Start", r.ID, func() (store.StartResult, error) { return f.store.Start(ctx, r) })
}

// Open implements store.Executions.
func (f *Faulty) Open(ctx context.Context, r store.OpenRequest) (*store.Opening, error) {
	return do(ctx, f, "Open", r.ID, func() (*store.Opening, error) { return f.store.Open(ctx, r) })
}

// Commit implements store.Executions.
func (f *Faulty) Commit(ctx context.Context, c *store.Commit) (store.CommitResult, error) {
	return do(ctx, f, "Commit", c.ID, func() (store.CommitResult, error) { return f.store.Commit(ctx, c) })
}

// Renew implements store.Executions.
func (f *Faulty) Renew(ctx context.Context, l store.Lease, d time.Duration, read int64) (store.Renewal, error) {
	return do(ctx, f, "Renew", l.ID, func() (store.Renewal, error) { return f.store.Renew(ctx, l, d, read) })
}

// Release implements store.Executions.
func (f *Faulty) Release(ctx context.Context, l store.Lease, d time.Duration) error {
	return f.done(ctx, "Release", l.ID, func() error { return f.store.Release(ctx, l, d) })
}

// Post implements store.Executions.
func (f *Faulty) Post(ctx context.Context, r store.PostRequest) (bool, error) {
	return do(ctx, f, "Post", r.ID, func() (bool, error) { return f.store.Post(ctx, r) })
}

// Deliver implements store.Executions.
func (f *Faulty) Deliver(ctx context.Context, p store.PostRequest, o store.OpenRequest) (store.Delivery, error) {
	return do(ctx, f, "Deliver", p.ID, func() (store.Delivery, error) { return f.store.Deliver(ctx, p, o) })
}

// Due implements store.Executions.
func (f *Faulty) Due(ctx context.Context, partitions []int, limit int, d time.Duration) ([]string, error) {
	return do(ctx, f, "Due", "", func() ([]string, error) { return f.store.Due(ctx, partitions, limit, d) })
}

// Purge implements store.Executions.
func (f *Faulty) Purge(ctx context.Context, id string, d time.Duration) (bool, error) {
	return do(ctx, f, "Purge", id, func() (bool, error) { return f.store.Purge(ctx, id, d) })
}

// Get implements store.Executions.
func (f *Faulty) Get(ctx context.Context, id string) (*store.Record, error) {
	return do(ctx, f, "Get", id, func() (*store.Record, error) { return f.store.Get(ctx, id) })
}

// Frames implements store.Executions.
func (f *Faulty) Frames(ctx context.Context, id string, names ...string) (map[string][]byte, error) {
	return do(ctx, f, "Frames", id, func() (map[string][]byte, error) { return f.store.Frames(ctx, id, names...) })
}

// History implements store.Executions.
func (f *Faulty) History(ctx context.Context, id string, from int64, limit int) ([][]byte, error) {
	return do(ctx, f, "History", id, func() ([][]byte, error) { return f.store.History(ctx, id, from, limit) })
}

// List implements store.Executions.
func (f *Faulty) List(ctx context.Context, index string, offset, limit int) ([]string, error) {
	return do(ctx, f, "List", index, func() ([]string, error) { return f.store.List(ctx, index, offset, limit) })
}

// Walk implements store.Executions. All of it is one call.
func (f *Faulty) Walk(ctx context.Context, index string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		ids, err := do(ctx, f, "Walk", index, func() (ids []string, err error) {
			for id, err := range f.store.Walk(ctx, index) {
				if err != nil {
					return nil, err
				}
				ids = append(ids, id)
			}
			return ids, nil
		})
		if err != nil {
			yield("", err)
			return
		}
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
	}
}

// Count implements store.Executions.
func (f *Faulty) Count(ctx context.Context, index string) (int64, error) {
	return do(ctx, f, "Count", index, func() (int64, error) { return f.store.Count(ctx, index) })
}

// Partitions implements store.Executions.
func (f *Faulty) Partitions() int { return f.store.Partitions() }

// Partition implements store.Executions.
func (f *Faulty) Partition(id string) int { return f.store.Partition(id) }

// PutDefinition implements store.Definitions.
func (f *Faulty) PutDefinition(ctx context.Context, name, version string, graph, old []byte) (bool, error) {
	return do(ctx, f, "PutDefinition", name, func() (bool, error) { return f.store.PutDefinition(ctx, name, version, graph, old) })
}

// Definition implements store.Definitions.
func (f *Faulty) Definition(ctx context.Context, name, version string) ([]byte, error) {
	return do(ctx, f, "Definition", name, func() ([]byte, error) { return f.store.Definition(ctx, name, version) })
}

// DefinitionVersions implements store.Definitions.
func (f *Faulty) DefinitionVersions(ctx context.Context) (map[string][]string, error) {
	return do(ctx, f, "DefinitionVersions", "", func() (map[string][]string, error) { return f.store.DefinitionVersions(ctx) })
}

// Heartbeat implements store.Members.
func (f *Faulty) Heartbeat(ctx context.Context, worker string, d time.Duration) ([]string, error) {
	return do(ctx, f, "Heartbeat", worker, func() ([]string, error) { return f.store.Heartbeat(ctx, worker, d) })
}

// Leave implements store.Members.
func (f *Faulty) Leave(ctx context.Context, worker string) error {
	return f.done(ctx, "Leave", worker, func() error { return f.store.Leave(ctx, worker) })
}

// Claim implements store.Idempotency.
func (f *Faulty) Claim(ctx context.Context, c store.Claim) (store.Claimed, error) {
	return do(ctx, f, "Claim", c.Key, func() (store.Claimed, error) { return f.store.Claim(ctx, c) })
}

// Complete implements store.Idempotency.
func (f *Faulty) Complete(ctx context.Context, c store.Completion) error {
	return f.done(ctx, "Complete", c.Key, func() error { return f.store.Complete(ctx, c) })
}

// Forget implements store.Idempotency.
func (f *Faulty) Forget(ctx context.Context, key, token string) error {
	return f.done(ctx, "Forget", key, func() error { return f.store.Forget(ctx, key, token) })
}

// InspectKey implements store.KeyRecords.
func (f *Faulty) InspectKey(ctx context.Context, key string) (store.KeyRecord, error) {
	return do(ctx, f, "InspectKey", key, func() (store.KeyRecord, error) { return f.store.InspectKey(ctx, key) })
}

// AcquireLock implements store.Locks.
func (f *Faulty) AcquireLock(ctx context.Context, r store.LockRequest) (store.LockAnswer, error) {
	return do(ctx, f, "AcquireLock", r.Resource, func() (store.LockAnswer, error) { return f.store.AcquireLock(ctx, r) })
}

// ReleaseLock implements store.Locks.
func (f *Faulty) ReleaseLock(ctx context.Context, resource, request string, remember time.Duration) (store.LockUse, error) {
	return do(ctx, f, "ReleaseLock", resource, func() (store.LockUse, error) {
		return f.store.ReleaseLock(ctx, resource, request, remember)
	})
}

// InspectLock implements store.Locks.
func (f *Faulty) InspectLock(ctx context.Context, resource string, waiters int) (store.LockState, error) {
	return do(ctx, f, "InspectLock", resource, func() (store.LockState, error) { return f.store.InspectLock(ctx, resource, waiters) })
}

// ListLocks implements store.Locks.
func (f *Faulty) ListLocks(ctx context.Context, offset, limit int) ([]string, error) {
	return do(ctx, f, "ListLocks", "", func() ([]string, error) { return f.store.ListLocks(ctx, offset, limit) })
}
