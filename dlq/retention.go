package dlq

import (
	"fmt"
	"math"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// A shelf is how long a queue keeps messages. A standard queue counts from when
// a message was first sent, so a dead-letter queue deletes one that is old
// enough also while a job holds it.
type shelf struct {
	retention time.Duration // 0 if the service does not tell
	ahead     time.Duration // how far the service's clock is ahead of ours
}

func newShelf(a queue.QueueAttributes) shelf {
	return shelf{a.Retention, time.Until(a.At)}
}

// maxRetention is the longest that SQS keeps a message.
const maxRetention = 14 * 24 * time.Hour

// left returns how long the queue keeps a message from now on, and false if
// that is not known.
func (s shelf) left(sent time.Time) (time.Duration, bool) {
	if s.retention == 0 || sent.IsZero() {
		return 0, false
	}
	return s.retention - time.Since(sent.Add(-s.ahead)), true
}

// over reports whether the queue has deleted a message for its age.
func (s shelf) over(sent time.Time) bool {
	left, ok := s.left(sent)
	return ok && left <= 0
}

// checkAge warns, once, if by its rate the job takes longer than the queue keeps
// the oldest message that was seen. j.mu is held.
func (j *job) checkAge(letters []*Letter) {
	for _, l := range letters {
		if !l.late && (j.oldest.IsZero() || l.SentAt.Before(j.oldest)) {
			j.oldest = l.SentAt
		}
	}
	n := j.report.Snapshot
	if j.chooses() { // as many of the others as of those seen
		n = n * j.report.Matched / max(j.report.Seen, 1)
	}
	if j.Limit > 0 {
		n = min(n, j.Limit)
	}
	n -= j.report.Sent
	left, ok := j.hold.shelf.left(j.oldest)
	if j.Rate == 0 || j.report.Warning != "" || !ok {
		return
	}
	takes := time.Duration(float64(n) / j.Rate * float64(time.Second))
	if takes <= left {
		return
	}
	enough := math.Ceil(float64(n) / max(left, time.Second).Seconds())
	j.report.Warning = fmt.Sprintf("at a rate of %v a second, %d messages take %v, and the queue deletes the oldest of those seen in %v, for its age; raise Rate to %v or more",
		j.Rate, n, takes.Round(time.Second), max(left, 0).Round(time.Second), enough)
	if j.hold.shelf.retention < maxRetention {
		j.report.Warning += fmt.Sprintf(", or the queue's retention, which is %v", j.hold.shelf.retention)
	}
	j.log.Warn("messages may be deleted before the redrive reaches them", "queue", j.from.Name, "reason", j.report.Warning)
}

// noteExpired notes the messages that the queue deleted for their age while the
// job held them.
func (j *job) noteExpired(gone map[string]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.Expired = len(gone)
	for i, f := range j.report.Failures {
		j.report.Failures[i].Expired = gone[f.MessageID]
	}
}
