package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A Claim is a claim for expenses, and the state of its saga.
type Claim struct {
	Employee string   `json:"employee"`
	Purpose  string   `json:"purpose"`
	Cents    int64    `json:"cents"`
	Approved []string `json:"approved,omitempty"` // who has approved it
}

// Validate is asked before a saga starts.
func (c *Claim) Validate() error {
	switch {
	case c.Employee == "" || c.Purpose == "":
		return errors.New("a claim has an employee and a purpose")
	case c.Cents <= 0:
		return fmt.Errorf("a claim is for more than nothing, and this is for %s", euros(c.Cents))
	}
	return nil
}

// An Approval is the result that an approver completes the task with.
type Approval struct {
	By string `json:"by"`
}

// Refused is the error that an approver fails the task with.
const Refused = "Refused"

// Limits of who may approve how much, in cents.
const (
	petty = 50_00    // and nobody is asked
	small = 1_000_00 // and the manager is
)

// Patience is how long approvers may take.
type Patience struct {
	Person    time.Duration // a manager or a director, to answer
	Audit     time.Duration // the auditor, to answer
	Heartbeat time.Duration // the auditor, to be heard of
	Sweep     time.Duration // and how late it may be noticed that they did not
}

// newSaga is what becomes of a claim. The way is in the graph alone, so the graph
// is its version.
func newSaga(o *office, p Patience) *saga.Saga[Claim] {
	return saga.New("claim",
		saga.Do("File", o.file).Undo(o.reject),
		saga.Do("Reserve", o.reserve).Undo(o.release),
		saga.Choose[Claim]("Size").
			If("Pay", saga.Field("cents").AtMost(petty)).
			If("AskManager", saga.Field("cents").AtMost(small)).
			Otherwise("AskAuditor"),

		// Who says no ends the claim. Who says nothing is passed over.
		ask(o, "AskManager", "manager").Timeout(p.Person).
			Catch("AskDirector", saga.ErrorTimeout).
			Next("Pay"),
		ask(o, "AskAuditor", "auditor").Timeout(p.Audit).Heartbeat(p.Heartbeat).
			Catch("AskDirector", saga.ErrorTimeout, saga.ErrorHeartbeat).
			Next("Pay"),
		ask(o, "AskDirector", "director").Timeout(p.Person),

		// Money that has left is not taken back: from here the saga only goes on.
		saga.Do("Pay", o.pay).Pivot(),
	)
}

// ask is a step that asks somebody for an approval, and waits for it.
func ask(o *office, step, who string) *saga.Step[Claim] {
	return saga.Callback(step, func(ctx context.Context, c *Claim) error {
		return o.mail(ctx, who, *c)
	}, func(c *Claim, a Approval) error {
		if a.By == "" {
			return errors.New(`an approval says whose it is: {"by": "..."}`)
		}
		c.Approved = append(c.Approved, a.By)
		return nil
	}).Undo(func(ctx context.Context, _ *Claim, was saga.Outcome) error {
		return o.withdraw(ctx, who, was)
	})
}

func euros(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
