package sagabench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// A recorder notes the scripts of a saga, to send them again.
type recorder struct {
	*redisstore.Store
	mu      sync.Mutex
	start   store.StartRequest
	commits []*store.Commit
}

// complete checks that a whole saga is on record.
func (r *recorder) complete() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.commits); r.start.Nonce == "" || n == 0 || r.commits[n-1].Next != store.End {
		return errors.New("sagabench: the saga did not run where it was started")
	}
	return nil
}

// Start notes what it passes on.
func (r *recorder) Start(ctx context.Context, s store.StartRequest) (store.StartResult, error) {
	r.mu.Lock()
	r.start = s
	r.mu.Unlock()
	return r.Store.Start(ctx, s)
}

// Commit notes what it passes on.
func (r *recorder) Commit(ctx context.Context, c *store.Commit) (store.CommitResult, error) {
	r.mu.Lock()
	r.commits = append(r.commits, c)
	r.mu.Unlock()
	return r.Store.Commit(ctx, c)
}

func (r *recorder) scripts() int { return 1 + len(r.commits) }

// replay sends the scripts for another execution, under ids of the same form.
func (r *recorder) replay(ctx context.Context, st store.Executions, id string) error {
	nonce := fmt.Sprintf("%016s", id[max(0, len(id)-16):])
	own := func(commit string) string { return strings.Replace(commit, r.start.Nonce, nonce, 1) }
	start := r.start
	start.ID, start.Nonce = id, nonce
	result, err := st.Start(ctx, start)
	if err != nil {
		return err
	}
	if !result.Opened {
		return fmt.Errorf("sagabench: start %q: it was there", id)
	}
	for _, recorded := range r.commits {
		c := *recorded
		c.Lease = store.Lease{ID: id, Epoch: 1, Nonce: nonce}
		c.Previous, c.CommitID = own(c.Previous), own(c.CommitID)
		if _, err := st.Commit(ctx, &c); err != nil {
			return err
		}
	}
	return nil
}
