package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// A keeper keeps what a redrive writes down.
type keeper interface {
	store.Jobs
	store.Audit
}

// A life ends after some calls, of the queues and of the store together, as that
// of a process does that is killed.
type life struct {
	after    int
	answered bool // whether the last answer arrives

	mu sync.Mutex
	n  int
}

var errDead = fmt.Errorf("the process is dead: %w", io.ErrUnexpectedEOF)

func (l *life) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// call makes a call, if there is life for it.
func (l *life) call(do func() error) error {
	l.mu.Lock()
	l.n++
	n := l.n
	l.mu.Unlock()
	if n > l.after {
		return errDead
	}
	err := do()
	if n == l.after && !l.answered {
		return errDead
	}
	return err
}

// A mortalTransport is how a process reaches the queues for as long as it lives.
type mortalTransport struct {
	*life
	next http.RoundTripper
}

func (m mortalTransport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	err = m.call(func() (err error) {
		resp, err = m.next.RoundTrip(r)
		return err
	})
	if err != nil && resp != nil {
		resp.Body.Close()
		resp = nil
	} else if err != nil && r.Body != nil {
		r.Body.Close()
	}
	return resp, err
}

// A mortal is a store that a process reaches for as long as it lives.
type mortal struct {
	keeper
	*life
}

func (m mortal) OpenJob(ctx context.Context, o store.JobOpening) (a store.OpenedJob, err error) {
	return a, m.call(func() (err error) { a, err = m.keeper.OpenJob(ctx, o); return err })
}

func (m mortal) NoteJob(ctx context.Context, n store.JobNote) (a store.JobNoted, err error) {
	return a, m.call(func() (err error) { a, err = m.keeper.NoteJob(ctx, n); return err })
}

func (m mortal) CloseJob(ctx context.Context, c store.JobClosing) error {
	return m.call(func() error { return m.keeper.CloseJob(ctx, c) })
}

func (m mortal) InspectJob(ctx context.Context, subject, id string) (a store.Job, err error) {
	return a, m.call(func() (err error) { a, err = m.keeper.InspectJob(ctx, subject, id); return err })
}

func (m mortal) ListJobs(ctx context.Context, subject string, offset, limit int) (a []store.Job, err error) {
	return a, m.call(func() (err error) { a, err = m.keeper.ListJobs(ctx, subject, offset, limit); return err })
}

func (m mortal) JobEntries(ctx context.Context, subject, id, after string, limit int) (a []store.JobEntry, err error) {
	return a, m.call(func() (err error) { a, err = m.keeper.JobEntries(ctx, subject, id, after, limit); return err })
}

func (m mortal) AppendAudit(ctx context.Context, r store.AuditRecord) error {
	return m.call(func() error { return m.keeper.AppendAudit(ctx, r) })
}

func (m mortal) AppendAuditItems(ctx context.Context, subject, id string, page int, items []string) error {
	return m.call(func() error { return m.keeper.AppendAuditItems(ctx, subject, id, page, items) })
}

// noteFault is a store of which a test sees and spoils the notes.
type noteFault struct {
	keeper
	fault func(n store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error)
}

func (f noteFault) NoteJob(ctx context.Context, n store.JobNote) (store.JobNoted, error) {
	return f.fault(n, func() (store.JobNoted, error) { return f.keeper.NoteJob(ctx, n) })
}

// journalled returns a client that keeps a journal.
func (s *server) journalled(k keeper, edit ...func(*dlq.Config, *aws.Config)) *dlq.Client {
	s.Helper()
	cfg := s.aws
	config := dlq.Config{Jobs: k, Audit: k}
	for _, e := range edit {
		e(&config, &cfg)
	}
	set, err := queue.NewEndpoints(s.ns, fares())
	if err != nil {
		s.Fatal(err)
	}
	if config.Queues, err = queue.NewAdmin(queue.AdminConfig{AWS: cfg, Endpoints: set}); err != nil {
		s.Fatal(err)
	}
	c, err := dlq.New(config)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// mortalClient returns a client that lives for some calls.
func (s *server) mortalClient(k keeper, l *life, edit ...func(*dlq.Config, *aws.Config)) *dlq.Client {
	s.Helper()
	return s.journalled(mortal{k, l}, append(edit, func(_ *dlq.Config, cfg *aws.Config) {
		cfg.HTTPClient = &http.Client{Transport: mortalTransport{l, s.emulator.Client().Transport}}
	})...)
}

// goOn resumes what has not ended, or begins anew.
func goOn(ctx context.Context, c *dlq.Client, opts dlq.Options) (dlq.Report, error) {
	j, err := c.Status(ctx, opts.From, "")
	if errors.Is(err, store.ErrNotFound) || err == nil && j.State == dlq.JobEnded {
		return c.Redrive(ctx, opts)
	}
	if err != nil {
		return dlq.Report{}, err
	}
	return c.Resume(ctx, opts.From, "", dlq.Options{Owner: opts.Owner, Workers: opts.Workers, Visibility: opts.Visibility})
}

// filledFIFO is filled with FIFO queues, and groups of three.
func filledFIFO(t *testing.T, n int) (s *server, ids []string) {
	s = embedded(t)
	for _, name := range []string{"fares-dlq.fifo", "fares.fifo"} {
		attributes := map[string]string{"FifoQueue": "true"}
		if name == "fares.fifo" {
			attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":5}`, s.attribute("fares-dlq.fifo", "QueueArn"))
		}
		if _, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(s.full(name)), Attributes: attributes}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		id := fmt.Sprintf("m%02d", i)
		ids = append(ids, id)
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: s.url("fares-dlq.fifo"), MessageBody: aws.String(id), MessageGroupId: aws.String(fmt.Sprint(i / 3)), MessageDeduplicationId: aws.String(id),
			MessageAttributes: map[string]sqstypes.MessageAttributeValue{queue.AttrUUID: {DataType: aws.String("String"), StringValue: &id}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	return s, ids
}

// entries returns what a job has in hand.
func entries(t *testing.T, k keeper, c *dlq.Client, from string) []store.JobEntry {
	t.Helper()
	j, err := c.Status(t.Context(), from, "")
	if err != nil {
		t.Fatal(err)
	}
	list, err := k.JobEntries(t.Context(), j.Subject, j.ID, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

const leaseOver = dlq.DefaultLease + time.Second
