package store

import (
	"strconv"
	"strings"
)

// CheckJob tells whether a subject and the id of a job can be used.
func CheckJob(subject, id string) error {
	if err := CheckID("subject", subject); err != nil {
		return err
	}
	return CheckID("job", id)
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (o *JobOpening) Validate() error {
	if err := CheckJob(o.Subject, o.ID); err != nil {
		return err
	}
	if err := CheckID("owner", o.Owner); err != nil {
		return err
	}
	if err := CheckID("token", o.Token); err != nil {
		return err
	}
	if err := checkBlob(o.ID, "spec", o.Spec); err != nil {
		return err
	}
	return CheckDuration("lease", o.Lease)
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (n *JobNote) Validate() error {
	if err := checkHolder(n.Subject, n.ID, n.Token, n.Fence); err != nil {
		return err
	}
	switch entries := len(n.Set) + len(n.Remove); {
	case n.Number < 1 || n.Number > maxNumber:
		return invalid("note to job %q has number %d, want it from 1 on", n.ID, n.Number)
	case entries > MaxJobEntries:
		return invalid("note to job %q is of %d entries, at most %d are allowed", n.ID, entries, MaxJobEntries)
	}
	seen := make(map[string]bool)
	once := func(key string) error {
		if seen[key] {
			return invalid("note to job %q is twice of entry %q", n.ID, key)
		}
		seen[key] = true
		return CheckID("entry of a job", key)
	}
	for _, e := range n.Set {
		if err := once(e.Key); err != nil {
			return err
		}
		if len(e.State) > MaxJobState {
			return invalid("entry %q of job %q has %d bytes, at most %d are allowed", e.Key, n.ID, len(e.State), MaxJobState)
		}
	}
	for _, key := range n.Remove {
		if err := once(key); err != nil {
			return err
		}
	}
	if err := checkBlob(n.ID, "progress", n.Progress); err != nil {
		return err
	}
	return CheckDuration("lease", n.Lease)
}

// maxNumber is the highest number that scripts tell from the next one.
const maxNumber = 1<<53 - 1

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (c *JobClosing) Validate() error {
	if err := checkHolder(c.Subject, c.ID, c.Token, c.Fence); err != nil {
		return err
	}
	if len(c.Status) > MaxID || strings.ContainsAny(c.Status, "\r\n") {
		return invalid("job %q has status %.40q, want one line of at most %d bytes", c.ID, c.Status, MaxID)
	}
	if err := checkBlob(c.ID, "progress", c.Progress); err != nil {
		return err
	}
	if c.Ended {
		return CheckDuration("retention", c.Retention)
	}
	return nil
}

func checkHolder(subject, id, token string, fence int64) error {
	if err := CheckJob(subject, id); err != nil {
		return err
	}
	if fence < 1 {
		return invalid("fence of job %q is %d, want that of an opening", id, fence)
	}
	return CheckID("token", token)
}

func checkBlob(id, what string, blob []byte) error {
	if len(blob) > MaxJobBlob {
		return invalid("%s of job %q has %d bytes, at most %d are allowed", what, id, len(blob), MaxJobBlob)
	}
	return nil
}

// CheckCancel tells whether a job can be told to stop.
func CheckCancel(subject, id, by string) error {
	if err := CheckJob(subject, id); err != nil {
		return err
	}
	return CheckID("who cancels", by)
}

// CheckSubject tells whether a list can be asked for: of a subject, or of all,
// which is the empty one.
func CheckSubject(subject string) error {
	if subject == "" {
		return nil
	}
	return CheckID("subject", subject)
}

// CheckJobPage tells whether a page of a journal can be asked for.
func CheckJobPage(subject, id, after string) error {
	if err := CheckJob(subject, id); err != nil {
		return err
	}
	if len(after) > MaxID {
		return CheckID("entry of a job", after)
	}
	return nil
}

// CheckAudit tells whether a subject and the id of an audit record can be used.
func CheckAudit(subject, id string) error {
	if err := CheckID("subject", subject); err != nil {
		return err
	}
	return CheckID("audit record", id)
}

// Validate reports what no store accepts, as an ErrInvalid. Stores call it.
func (r *AuditRecord) Validate() error {
	if err := CheckAudit(r.Subject, r.ID); err != nil {
		return err
	}
	if len(r.Body) > MaxAuditBody {
		return invalid("audit record %q has %d bytes, at most %d are allowed", r.ID, len(r.Body), MaxAuditBody)
	}
	return CheckDuration("retention", r.Retention)
}

// CheckAuditItems tells whether items can be added to an audit record.
func CheckAuditItems(subject, id string, page int, items []string) error {
	if err := CheckAuditPage(subject, id, page); err != nil {
		return err
	}
	if len(items) < 1 || len(items) > MaxAuditItems {
		return invalid("page %d of audit record %q has %d items, want 1 to %d", page, id, len(items), MaxAuditItems)
	}
	for _, item := range items {
		if err := CheckID("item of an audit record", item); err != nil {
			return err
		}
	}
	return nil
}

// CheckAuditPage tells whether an audit record can have a page of that number.
func CheckAuditPage(subject, id string, page int) error {
	if err := CheckAudit(subject, id); err != nil {
		return err
	}
	if page < 0 || page >= MaxAuditPages {
		return invalid("audit record %q has no page %d, they are from 0 to %d", id, page, MaxAuditPages-1)
	}
	return nil
}

// AuditPosition reads what ListAudit returned as next: the number of the last
// record of that page, and its subject. Stores call it; the empty one is before
// all.
func AuditPosition(next string) (number int64, subject string, err error) {
	if next == "" {
		return maxNumber, "", nil
	}
	text, subject, ok := strings.Cut(next, ":")
	number, parseErr := strconv.ParseInt(text, 10, 64)
	if !ok || parseErr != nil || number < 1 || number > maxNumber {
		return 0, "", invalid("list of audit records goes on at %.40q, want what a page returned as next", next)
	}
	return number, subject, CheckSubject(subject)
}
