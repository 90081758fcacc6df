package store

import (
	"fmt"
	"strings"
	"time"
)

// MaxID bounds the length of ids and idempotency keys, in bytes.
const MaxID = 512

// CheckID tells whether an id or a key can be used: what names it in the
// error, which is an ErrInvalid.
func CheckID(what, id string) error {
	if id == "" {
		return invalid("%s is empty", what)
	}
	if len(id) > MaxID {
		return invalid("%s %.40q... has %d bytes, at most %d are allowed", what, id, len(id), MaxID)
	}
	return nil
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (r *StartRequest) Validate() error {
	if err := CheckID("execution id", r.ID); err != nil {
		return err
	}
	switch {
	case r.Match == "":
		return invalid("start of %q has no match", r.ID)
	case r.Commit == "" || hasSpace(r.Commit):
		return invalid("start of %q has commit id %q, want one without spaces", r.ID, r.Commit)
	case r.Index == "":
		return invalid("start of %q has no index", r.ID)
	case strings.Contains(r.Status, "\n"):
		return invalid("start of %q has status %q, want one line", r.ID, r.Status)
	case r.Wake < 0:
		return invalid("start of %q has wake-up %s, want it positive or 0", r.ID, r.Wake)
	case r.Nonce != "":
		return CheckDuration("lease", r.Lease)
	}
	return nil
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (r *OpenRequest) Validate() error {
	if err := (Lease{ID: r.ID, Nonce: r.Nonce}).Validate(); err != nil {
		return err
	}
	return CheckDuration("lease", r.Lease)
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (l Lease) Validate() error {
	if err := CheckID("execution id", l.ID); err != nil {
		return err
	}
	if l.Nonce == "" {
		return invalid("lease on %q has no nonce", l.ID)
	}
	return nil
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (r *PostRequest) Validate() error {
	if err := CheckID("execution id", r.ID); err != nil {
		return err
	}
	if err := CheckID("mail id", r.MailID); err != nil {
		return err
	}
	if r.Limit < 1 {
		return invalid("mailbox limit for %q is %d, want it positive", r.ID, r.Limit)
	}
	if r.Early < 0 {
		return invalid("mail for %q waits %s for its execution, want it positive or 0", r.ID, r.Early)
	}
	return nil
}

// CheckDelivery tells whether the two requests of a delivery can be used, and are
// of one execution.
func CheckDelivery(p *PostRequest, o *OpenRequest) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if p.ID != o.ID {
		return invalid("mail for %q is delivered with an opening of %q, want one execution", p.ID, o.ID)
	}
	return o.Validate()
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (c *Commit) Validate() error {
	if err := c.Lease.Validate(); err != nil {
		return err
	}
	switch {
	case c.CommitID == "" || c.CommitID == c.Previous:
		return invalid("commit to %q has id %q after %q, want one of its own", c.ID, c.CommitID, c.Previous)
	case hasSpace(c.CommitID):
		return invalid("commit to %q has id %q, want one without spaces", c.ID, c.CommitID)
	case c.Next < Continue || c.Next > End:
		return invalid("commit to %q has Next %d", c.ID, c.Next)
	case c.Releases() && c.Wake.IsZero():
		return invalid("commit to %q parks or ends without a wake-up", c.ID)
	case strings.Contains(c.Status, "\n"):
		return invalid("commit to %q has status %q, want one line", c.ID, c.Status)
	case (c.Index == "") != (c.OldIndex == ""):
		return invalid("commit to %q moves from index %q to %q, want both", c.ID, c.OldIndex, c.Index)
	}
	for name := range c.Set {
		if err := checkFrame(c.ID, name); err != nil {
			return err
		}
	}
	for _, name := range c.Delete {
		if err := checkFrame(c.ID, name); err != nil {
			return err
		}
		if _, ok := c.Set[name]; ok || name == RootFrame {
			return invalid("commit to %q deletes frame %q, which it sets or which is the root", c.ID, name)
		}
	}
	return nil
}

func hasSpace(id string) bool { return strings.ContainsAny(id, " \t\n\v\f\r") }

// Releases reports whether the commit gives its lease back.
func (c *Commit) Releases() bool {
	return c.Next == Park || c.Next == End && len(c.Outbox) == 0
}

func checkFrame(id, name string) error {
	if !strings.HasPrefix(name, RootFrame) {
		return invalid("commit to %q writes frame %q, want a name that begins with %q", id, name, RootFrame)
	}
	return nil
}

// CheckDuration tells whether a lease, a retention or the like is positive:
// what names it in the error, which is an ErrInvalid.
func CheckDuration(what string, d time.Duration) error {
	if d <= 0 {
		return invalid("%s is %s, want it positive", what, d)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// CheckPartitions tells whether all partitions exist among n.
func CheckPartitions(partitions []int, n int) error {
	for _, p := range partitions {
		if p < 0 || p >= n {
			return invalid("partition %d does not exist, there are %d", p, n)
		}
	}
	return nil
}

// CheckDefinition tells whether a definition can be stored under a name and a
// version.
func CheckDefinition(name, version string) error {
	if strings.ContainsRune(name, 0) || strings.ContainsRune(version, 0) {
		return invalid("definition %q version %q contains a NUL", name, version)
	}
	return CheckID("name of a definition", name)
}

// CheckClaim tells whether an idempotency key and a token can be used.
func CheckClaim(key, token string) error {
	if err := CheckID("idempotency key", key); err != nil {
		return err
	}
	return CheckID("token", token)
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (c *Claim) Validate() error {
	if err := CheckClaim(c.Key, c.Token); err != nil {
		return err
	}
	if err := checkAttempt(c.Key, c.Attempt); err != nil {
		return err
	}
	if c.Attempt > 0 {
		if err := CheckDuration("time that an attempt is remembered", c.Remember); err != nil {
			return err
		}
	}
	return CheckDuration("lease", c.Lease)
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (c *Completion) Validate() error {
	if err := CheckClaim(c.Key, c.Token); err != nil {
		return err
	}
	if err := checkAttempt(c.Key, c.Attempt); err != nil {
		return err
	}
	return CheckDuration("retention", c.Retention)
}

func checkAttempt(key string, attempt int) error {
	if attempt < 0 || attempt > LastAttempt {
		return invalid("attempt at %q is %d, want 1 to %d, or 0 for work without attempts", key, attempt, LastAttempt)
	}
	return nil
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (r *LockRequest) Validate() error {
	if err := CheckLock(r.Resource, r.Request); err != nil {
		return err
	}
	if err := CheckID("owner", r.Owner); err != nil {
		return err
	}
	if len(r.Group) > MaxID {
		return CheckID("group", r.Group)
	}
	if r.NotAfter.IsZero() {
		return invalid("request for lock %q has no NotAfter", r.Resource)
	}
	return nil
}

// CheckLock tells whether a resource and a request can be used.
func CheckLock(resource, request string) error {
	if err := CheckID("lock", resource); err != nil {
		return err
	}
	return CheckID("request", request)
}
