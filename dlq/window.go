package dlq

import (
	"fmt"
	"time"
)

// FailedAt is when the message failed last, by its record, or, where no record
// tells, SentAt. It is what Since and Until choose by.
func (l *Letter) FailedAt() time.Time {
	if l.Failure != nil && !l.Failure.LastFailure.IsZero() {
		return l.Failure.LastFailure
	}
	return l.SentAt
}

// firstFailedAt is when the message failed first, as far as that is known.
func (l *Letter) firstFailedAt() time.Time {
	if l.Failure != nil && !l.Failure.FirstFailure.IsZero() {
		return l.Failure.FirstFailure
	}
	return l.FailedAt()
}

// within reports whether a letter failed in a time that begins with since, and
// ends before until. A bound that is zero is none.
func within(l *Letter, since, until time.Time) bool {
	at := l.FailedAt()
	return (since.IsZero() || !at.Before(since)) && (until.IsZero() || at.Before(until))
}

func checkWindow(since, until time.Time) error {
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return fmt.Errorf("want Since before Until, and they are %s and %s", since.Format(time.RFC3339Nano), until.Format(time.RFC3339Nano))
	}
	return nil
}
