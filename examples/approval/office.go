package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/waybill-dev/waybill/saga"
)

// An office is what the saga works with: the register of claims, the budget, the
// bank and the approvers' mail. They would be services of others; here they are
// in memory, and outlive any worker.
type office struct {
	tell   func(claim, line string)
	limit  int64           // of the budget, in cents
	closed map[string]bool // employees whose accounts are

	mu       sync.Mutex
	register map[string]string // by claim: what became of it
	budget   book
	bank     book
	requests []*request
	news     chan struct{} // closed when register or requests change
}

func newOffice(tell func(claim, line string)) *office {
	return &office{
		tell: tell, limit: 50_000_00, closed: map[string]bool{"Mallory": true},
		register: map[string]string{}, budget: book{}, bank: book{}, news: make(chan struct{}),
	}
}

// A request is a mail that asks for an approval.
type request struct {
	Claim, Step, To string
	What            Claim
	Token           string // completes the task: for the approver's eyes alone
	Withdrawn       bool
}

// A book has one entry an id. A repeat changes nothing, and what was struck out
// before it came is not entered any more: steps run at least once, and a late one
// may come after its own undo.
type book map[string]*entry

type entry struct {
	cents  int64
	struck bool
}

var errStruck = saga.Permanent(errors.New("it was taken back before it came"))

func (b book) enter(id string, cents int64) (fresh bool, err error) {
	switch e := b[id]; {
	case e == nil:
		b[id] = &entry{cents: cents}
		return true, nil
	case e.struck:
		return false, errStruck
	}
	return false, nil
}

func (b book) strike(id string) (fresh bool) {
	e := b[id]
	if e == nil {
		b[id] = &entry{struck: true}
		return false
	}
	fresh, e.struck = !e.struck, true
	return fresh
}

func (b book) total() (cents int64) {
	for _, e := range b {
		if !e.struck {
			cents += e.cents
		}
	}
	return cents
}

func (o *office) file(ctx context.Context, c *Claim) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := saga.StepFrom(ctx).Execution
	if _, again := o.register[id]; !again {
		o.stand(id, open)
		o.tell(id, fmt.Sprintf("%s claims %s for %s", c.Employee, euros(c.Cents), c.Purpose))
	}
	return nil
}

func (o *office) reject(ctx context.Context, _ *Claim, _ saga.Outcome) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	info := saga.StepFrom(ctx)
	o.stand(info.Execution, "rejected: "+info.Cause.String())
	return nil
}

func (o *office) reserve(ctx context.Context, c *Claim) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := saga.StepFrom(ctx).Execution
	if left := o.limit - o.budget.total(); c.Cents > left && o.budget[id] == nil {
		return saga.Permanent(fmt.Errorf("the budget has %s left", euros(left)))
	}
	fresh, err := o.budget.enter(id, c.Cents)
	if fresh {
		o.tell(id, "the budget has "+euros(c.Cents)+" reserved")
	}
	return err
}

func (o *office) release(ctx context.Context, c *Claim, _ saga.Outcome) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := saga.StepFrom(ctx).Execution
	if o.budget.strike(id) {
		o.tell(id, "the budget has "+euros(c.Cents)+" back")
	}
	return nil
}

func (o *office) pay(ctx context.Context, c *Claim) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed[c.Employee] {
		return saga.Permanent(fmt.Errorf("%s's account is closed", c.Employee))
	}
	// The bank goes by the key: however often this runs, it pays once.
	info := saga.StepFrom(ctx)
	fresh, err := o.bank.enter(info.Key, c.Cents)
	if fresh {
		o.stand(info.Execution, "paid")
		o.tell(info.Execution, "the bank pays "+euros(c.Cents)+" to "+c.Employee)
	}
	return err
}

// mail hands a task's token to an approver.
func (o *office) mail(ctx context.Context, to string, c Claim) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	info := saga.StepFrom(ctx)
	if r := o.find(info); r != nil { // a repeat: the token is the same
		if r.Withdrawn {
			return errStruck
		}
		return nil
	}
	line := "the " + to + " is asked"
	if info.Caught != nil {
		line += ", because " + info.Caught.String()
	}
	o.tell(info.Execution, line)
	o.put(&request{Claim: info.Execution, Step: info.Step, To: to, What: c, Token: info.Token})
	return nil
}

// withdraw takes a request back. An approver who has answered is told, and one
// whose answer has not come need not give it.
func (o *office) withdraw(ctx context.Context, to string, was saga.Outcome) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	info := saga.StepFrom(ctx)
	r := o.find(info)
	switch {
	case r == nil: // the mail may be under way: it comes too late
		o.put(&request{Claim: info.Execution, Step: info.Step, To: to, Withdrawn: true})
		return nil
	case r.Withdrawn:
		return nil
	}
	r.Withdrawn = true
	line := "the " + to + " need not answer any more"
	if was == saga.Done {
		line = "the " + to + " is told that it came to nothing"
	}
	o.tell(info.Execution, line)
	return nil
}

func (o *office) find(info saga.StepInfo) *request {
	for _, r := range o.requests {
		if r.Claim == info.Execution && r.Step == info.Step {
			return r
		}
	}
	return nil
}

// open is how a claim stands that is not decided.
const open = "open"

func (o *office) stand(claim, how string) {
	o.register[claim] = how
	o.changed()
}

func (o *office) put(r *request) {
	o.requests = append(o.requests, r)
	o.changed()
}

func (o *office) changed() {
	close(o.news)
	o.news = make(chan struct{})
}

// asked waits until an approver has been asked about a claim.
func (o *office) asked(ctx context.Context, claim, who string) (request, error) {
	for {
		o.mu.Lock()
		for _, r := range o.requests {
			if r.Claim == claim && r.To == who {
				defer o.mu.Unlock()
				return *r, nil
			}
		}
		how, news := cmp.Or(o.register[claim], open), o.news
		o.mu.Unlock()
		if how != open {
			return request{}, fmt.Errorf("%s is %s, and the %s was not asked", claim, how, who)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return request{}, fmt.Errorf("%s: wait until the %s is asked: %w", claim, who, context.Cause(ctx))
		}
	}
}

// stands tells where a claim stands, and whose answer its saga waits for.
func (o *office) stands(x *saga.Execution) (status string, r *request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	status = cmp.Or(o.register[x.ID], open)
	if !x.Waiting {
		return status, nil
	}
	for _, r := range o.requests {
		if r.Claim == x.ID && r.Step == x.Step {
			found := *r
			return status, &found
		}
	}
	return status, nil
}
