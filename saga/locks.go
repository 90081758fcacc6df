package saga

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A LockInfo is a lock as it stands.
type LockInfo struct {
	Resource string    `json:"resource"`         // its name and key, such as "account/4711"
	Holder   *LockUser `json:"holder,omitempty"` // nil: it is free
	// Sharing are others of the holder's family of executions that share it.
	Sharing []LockUser `json:"sharing,omitempty"`
	// Waiting is how many executions wait for it, and Queue the first of them, in
	// order.
	Waiting int        `json:"waiting"`
	Queue   []LockUser `json:"queue,omitempty"`
}

// A LockUser is an execution that holds a lock, or waits for it.
type LockUser struct {
	Execution string    `json:"execution"`
	Fence     int64     `json:"fence,omitempty"` // of the holder
	Since     time.Time `json:"since"`
}

// A LockHeld is a lock that an execution holds, or waits for.
type LockHeld struct {
	Resource string    `json:"resource"`
	Fence    int64     `json:"fence,omitempty"` // 0: it waits
	Since    time.Time `json:"since"`
	Broken   bool      `json:"broken,omitempty"` // an operator gave it to the next: see [Client.BreakLock]
	// Holder is the execution that has it, and Place that in the queue of one
	// that waits, from 1 on; 0 is not known.
	Holder string `json:"holder,omitempty"`
	Place  int    `json:"place,omitempty"`
}

// shownQueue bounds how many who wait for a lock are shown.
const shownQueue = 100

// Lock returns a lock by its name and key, such as "account/4711", as it stands,
// with the first 100 who wait for it.
func (c *Client) Lock(ctx context.Context, resource string) (*LockInfo, error) {
	l, err := c.store.InspectLock(ctx, resource, shownQueue)
	if err != nil {
		return nil, err
	}
	info := &LockInfo{Resource: resource, Waiting: l.Waiting}
	if l.Holder.Request != "" {
		info.Holder = lockUser(l.Holder)
	}
	for _, u := range l.Sharing {
		info.Sharing = append(info.Sharing, *lockUser(u))
	}
	for _, u := range l.Queue {
		info.Queue = append(info.Queue, *lockUser(u))
	}
	return info, nil
}

func lockUser(u store.LockUse) *LockUser {
	return &LockUser{Execution: u.Owner, Fence: u.Fence, Since: u.Since}
}

// Locks returns the locks that are held, those first that have been for longest,
// from the given offset on.
func (c *Client) Locks(ctx context.Context, offset, limit int) ([]*LockInfo, error) {
	resources, err := c.store.ListLocks(ctx, offset, limit)
	if err != nil {
		return nil, err
	}
	var list []*LockInfo
	for _, resource := range resources {
		l, err := c.Lock(ctx, resource)
		if err != nil {
			return nil, err
		}
		if l.Holder != nil { // else it was given back just now
			list = append(list, l)
		}
	}
	return list, nil
}

// ErrNotHolder reports a lock that is not held under the fence that was given.
var ErrNotHolder = errors.New("saga: the lock is not held under this fence")

// BreakLock takes a lock from its holder, and from the family of executions that
// share it, and gives it to the next, or frees it. The fence says which holder is
// meant; it is an error that matches [ErrNotHolder] if another has it by now. The
// holder is not stopped: it goes on, under a fence that what the lock protects can
// refuse, and asks for the lock anew where a later step takes it; for one of the saga
// as a whole it does not. It has the order in its history.
func (c *Client) BreakLock(ctx context.Context, resource string, fence int64, o Order) error {
	for broken := false; ; broken = true {
		l, err := c.store.InspectLock(ctx, resource, 0)
		switch {
		case err != nil:
			return fmt.Errorf("break lock %s: %w", resource, err)
		case l.Holder.Request != "" && l.Holder.Fence == fence:
		case broken:
			return nil
		default:
			return fmt.Errorf("break lock %s: %w", resource, ErrNotHolder)
		}
		if err := c.breakOff(ctx, resource, l.Holder, o); err != nil {
			return fmt.Errorf("break lock %s: %w", resource, err)
		}
	}
}

// breakOff takes a lock from one of its holders. That is told first, so that the
// order may be given again if this fails.
func (c *Client) breakOff(ctx context.Context, resource string, holder store.LockUse, o Order) error {
	told := c.tellLock(ctx, holder.Owner, mail{
		Kind: mailLock, By: o.By, Note: o.Note, Lock: &lockMail{Resource: resource, Request: holder.Request, Broken: true},
	})
	if told != nil && nobody(told) {
		told = nil
	}
	if err := c.handOver(ctx, resource, holder.Request); err != nil {
		return err
	}
	if told != nil {
		return fmt.Errorf("it is broken, and its holder %q was not told: %w", holder.Owner, told)
	}
	return nil
}

// locks shows the locks of an execution, and who holds those that it waits for.
func (c *Client) locks(ctx context.Context, held []heldLock) ([]LockHeld, error) {
	var list []LockHeld
	for _, l := range held {
		shown := LockHeld{Resource: l.Resource, Fence: l.Fence, Since: fromMillis(l.Since), Broken: l.Broken}
		if l.Fence == 0 {
			state, err := c.store.InspectLock(ctx, l.Resource, shownQueue)
			if err != nil {
				return nil, err
			}
			shown.Holder = state.Holder.Owner
			for i, u := range state.Queue {
				if u.Request == l.Request {
					shown.Place = i + 1
				}
			}
		}
		list = append(list, shown)
	}
	return list, nil
}
