package dlq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/queue"
)

// A hold is the messages that a job has received and not yet settled. It keeps
// them hidden, so that the job receives no message twice, and returns in the end
// what is left.
type hold struct {
	queue      *queue.Queue
	shelf      shelf
	visibility time.Duration
	log        *slog.Logger
	drawer     *drawer     // where the letters are, if not in the queue
	lapsed     func() bool // whether the job is somebody else's; nil: it never is

	mu   sync.Mutex
	held map[string]*heldMessage // by SQS's id
}

type heldMessage struct {
	raw   queue.RawMessage // what returns it to its queue
	until time.Time        // hidden at least until then
	err   error            // why it could not be extended
}

const (
	// releaseTimeout bounds what is done after the job's context ended:
	// returning messages, and deleting those that were sent.
	releaseTimeout = 20 * time.Second

	// batchSize is how many messages a request receives at most.
	batchSize = 10

	// receiveWait is how long a receive waits for messages. It also has SQS
	// ask all its servers, where a receive that does not wait asks a few.
	receiveWait = time.Second
)

func newHold(q *queue.Queue, s shelf, visibility time.Duration, log *slog.Logger) *hold {
	return &hold{queue: q, shelf: s, visibility: visibility, log: log, held: map[string]*heldMessage{}}
}

// receive receives up to n messages. It does not end with ctx: the messages of
// an answer that nobody waits for would stay hidden.
func (h *hold) receive(ctx context.Context, n int) ([]*Letter, error) {
	if h.drawer != nil {
		return h.drawer.next(ctx, n)
	}
	until := time.Now().Add(h.visibility)
	messages, err := h.queue.Receive(context.WithoutCancel(ctx), n, h.visibility, receiveWait)
	if err != nil {
		return nil, err
	}
	letters := make([]*Letter, len(messages))
	for i, raw := range messages {
		letters[i] = read(raw)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range letters {
		_, l.again = h.held[l.MessageID]
		// With the new receipt, and without the body: there may be 100,000.
		slim := queue.RawMessage{ID: l.raw.ID, Receipt: l.raw.Receipt, SentAt: l.raw.SentAt}
		h.held[l.MessageID] = &heldMessage{raw: slim, until: until}
	}
	return letters, nil
}

// Retries of receives, beyond the SDK's own.
const (
	receiveAttempts = 3
	receiveBackoff  = time.Second
)

// receiveTrying is receive, which tries again what may pass.
func (h *hold) receiveTrying(ctx context.Context, n int) ([]*Letter, error) {
	for attempt := 1; ; attempt++ {
		letters, err := h.receive(ctx, n)
		passing := errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrThrottled)
		if !passing || attempt == receiveAttempts || !sleep(ctx, receiveBackoff<<(attempt-1)) {
			return letters, err
		}
	}
}

// safe returns nil if the message stays hidden long enough to be sent and
// deleted. Otherwise another receiver may have it, and it is given up; but one
// that the queue has deleted for its age nobody else will have.
func (h *hold) safe(l *Letter) error {
	if h.drawer != nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.held[l.MessageID]
	if ok && time.Until(m.until) >= h.visibility/4 || h.shelf.over(l.SentAt) {
		return nil
	}
	delete(h.held, l.MessageID)
	err := fmt.Errorf("dlq: %q: %w", h.queue.Name, queue.ErrVisibilityLost)
	if ok && m.err != nil {
		err = fmt.Errorf("%w: %w", err, m.err)
	}
	return fmt.Errorf("%w; %s", err, h.remedy())
}

// remedy says what helps when messages do not stay hidden.
func (h *hold) remedy() string {
	return fmt.Sprintf("raise Options.Visibility, which is %v, or lower Options.Rate", h.visibility)
}

// drop forgets a message that is deleted, or that is to stay hidden for what is
// left of its time.
func (h *hold) drop(l *Letter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, l.MessageID)
}

// len returns how many messages are held.
func (h *hold) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

// keep extends the visibility of what is held until the function that it
// returns is called, also after ctx ended.
func (h *hold) keep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { h.run(ctx) })
	return func() {
		cancel()
		keeper.Wait()
	}
}

// run extends the visibility of what is held, at half its time, until ctx ends.
func (h *hold) run(ctx context.Context) {
	tick := time.NewTicker(h.visibility / 8)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.extend(ctx)
		}
	}
}

func (h *hold) extend(ctx context.Context) {
	if h.lapsed != nil && h.lapsed() {
		return // who goes on with the job waits for as long as the messages are hidden
	}
	now := time.Now()
	due := h.list(func(m *heldMessage) bool { return m.until.Sub(now) <= h.visibility/2 })
	for i, err := range h.setVisibility(ctx, h.visibility, due) {
		if h.extended(due[i], now, err) && ctx.Err() == nil && !h.shelf.over(due[i].SentAt) {
			h.log.Warn("cannot keep a message hidden; other receivers get it when its time is over", "message_id", due[i].ID, "error", err)
		}
	}
}

// visibilityCalls is how many calls that hide or return messages are under way
// at once: who holds 100,000 has to be through with them in time.
const visibilityCalls = 8

// setVisibility hides messages for d, and returns an error for each.
func (h *hold) setVisibility(ctx context.Context, d time.Duration, messages []queue.RawMessage) []error {
	errs := make([]error, len(messages))
	var calls errgroup.Group
	calls.SetLimit(visibilityCalls)
	for start := 0; start < len(messages); start += batchSize {
		end := min(start+batchSize, len(messages))
		calls.Go(func() error {
			copy(errs[start:end], h.queue.SetVisibility(ctx, d, messages[start:end]))
			return nil
		})
	}
	_ = calls.Wait()
	return errs
}

// extended notes the outcome of an extension, and reports whether one failed
// that is still needed.
func (h *hold) extended(raw queue.RawMessage, at time.Time, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.held[raw.ID]
	if m == nil || m.raw.Receipt != raw.Receipt {
		return false // settled or received again meanwhile
	}
	if m.err = err; err == nil {
		m.until = at.Add(h.visibility)
	}
	return err != nil
}

// list returns the held messages that pass the test, first those that show first.
func (h *hold) list(test func(*heldMessage) bool) []queue.RawMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	var passed []*heldMessage
	for _, m := range h.held {
		if test(m) {
			passed = append(passed, m)
		}
	}
	slices.SortFunc(passed, func(a, b *heldMessage) int { return a.until.Compare(b.until) })
	all := make([]queue.RawMessage, len(passed))
	for i, m := range passed {
		all[i] = m.raw
	}
	return all
}

// release returns everything that is held to the queue, at once, also after ctx
// ended. It returns SQS's ids of what the queue has deleted for its age.
func (h *hold) release(ctx context.Context) (gone map[string]bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	gone = map[string]bool{}
	for _, raw := range h.list(func(m *heldMessage) bool { return !time.Now().Before(m.until) && h.shelf.over(m.raw.SentAt) }) {
		gone[raw.ID] = true
	}
	all := h.list(func(m *heldMessage) bool { return time.Now().Before(m.until) })
	for i, err := range h.setVisibility(ctx, 0, all) {
		switch {
		case err == nil:
		case h.shelf.over(all[i].SentAt):
			gone[all[i].ID] = true
		default:
			h.log.Warn("cannot return a message; it comes back when its visibility timeout ends", "message_id", all[i].ID, "error", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.held)
	return gone
}

// remove deletes messages from where they are, and returns an error for each.
func (h *hold) remove(ctx context.Context, messages []queue.RawMessage) []error {
	if h.drawer != nil {
		return h.drawer.remove(ctx, messages)
	}
	return h.queue.Delete(ctx, messages)
}
