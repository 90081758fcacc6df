package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/config/payloadstore"
	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store/redisstore"
)

const queueHelp = `

QUEUE is an endpoint, whose dead-letter queue is meant, or the dead-letter queue
itself: its name, with or without the namespace, its URL or its ARN.`

func (a *app) dlqCommand() *cobra.Command {
	return group("dlq", "Look into dead-letter queues, redrive and watch them",
		"Look into dead-letter queues, and send what is in them back to where it failed."+queueHelp,
		a.dlqListCommand(), a.dlqPeekCommand(), a.dlqGroupsCommand(), a.dlqShowCommand(), a.dlqRedriveCommand(), a.dlqWatchCommand(), a.dlqAuditCommand(),
		a.dlqExportCommand(), a.dlqImportCommand(), a.dlqPurgeCommand(), a.dlqIngestCommand(), a.dlqCatalogueCommand())
}

// A graveyard finds dead-letter queues as the command line names them.
type graveyard struct {
	*dlq.Client
	queues *queue.Admin

	stores bool              // a store of payloads is configured
	store  *redisstore.Store // nil where the command has nothing to do with it
	close  func() error      // closes its connections
}

// What a command has to do with the journals of redrives.
type journalling int

const (
	noJournal journalling = iota
	readJournal
	writeJournal
	writeRecords // of work other than a redrive
)

func (a *app) graveyard(ctx context.Context, use journalling) (*graveyard, error) {
	cfg, endpoints, err := a.endpoints()
	if err != nil {
		return nil, err
	}
	awsFor, err := awsFor(ctx, cfg, endpoints)
	if err != nil {
		return nil, err
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWSFor: awsFor, Endpoints: endpoints})
	if err != nil {
		return nil, err
	}
	payloads, closePayloads, err := payloadstore.Open(ctx, cfg)
	if errors.Is(err, config.ErrNoRegion) {
		err = usagef("%w; or give --region", err)
	}
	if err != nil {
		return nil, err
	}
	closeAll := closePayloads
	var st *redisstore.Store
	settings := dlq.Config{Queues: admin, Payloads: payloads, MaxPayload: cfg.Payloads.MaxPayload, Logger: a.logger()}
	if use != noJournal {
		var closeStore func() error
		st, closeStore, err = a.journals(ctx, cfg, use)
		if err != nil {
			return nil, errors.Join(err, closePayloads())
		}
		settings.Jobs, settings.Audit, settings.Records, settings.Catalogue = st, st, st, st
		closeAll = func() error { return errors.Join(closePayloads(), closeStore()) }
	}
	client, err := dlq.New(settings)
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	return &graveyard{client, admin, payloads != nil, st, closeAll}, nil
}

// inQueue opens the graveyard for the dead-letter queue that a QUEUE means.
func (a *app) inQueue(ctx context.Context, arg string, do func(g *graveyard, name string) error) error {
	return a.inQueueWith(ctx, noJournal, arg, do)
}

// inJournal is inQueue for those who look at redrives. An empty QUEUE means all.
func (a *app) inJournal(ctx context.Context, arg string, do func(g *graveyard, name string) error) error {
	return a.inQueueWith(ctx, readJournal, arg, do)
}

func (a *app) inQueueWith(ctx context.Context, use journalling, arg string, do func(g *graveyard, name string) error) error {
	g, err := a.graveyard(ctx, use)
	if err != nil {
		return err
	}
	defer g.close()
	if use == readJournal && arg == "" {
		return do(g, "")
	}
	name, err := g.deadLetters(ctx, arg)
	if err != nil {
		return err
	}
	return do(g, name)
}

// deadLetters returns the dead-letter queue that a QUEUE of the command line
// means: that of the endpoint, if it names one.
func (g *graveyard) deadLetters(ctx context.Context, name string) (string, error) {
	endpoints := g.queues.Endpoints()
	e, err := endpoints.Resolve(name)
	switch {
	case err != nil || e.Name != name || e.URL == name: // no endpoint
		return name, nil
	case e.DeadLetter != "":
		to, err := endpoints.Resolve(e.DeadLetter)
		if err != nil || g.queues.Place(to) != g.queues.Place(e) { // there are others of its name elsewhere
			return g.redriveTarget(ctx, e)
		}
		return e.DeadLetter, nil
	}
	for other := range endpoints.All() { // a dead-letter queue can be an endpoint, too
		if other.DeadLetter != "" && queue.SameQueue(other.DeadLetter, e.URL) {
			return name, nil
		}
	}
	return "", usagef("endpoint %s has no dead_letter; want the name of a dead-letter queue", name)
}

// redriveTarget asks the queue of an endpoint for its dead-letter queue.
func (g *graveyard) redriveTarget(ctx context.Context, e queue.Endpoint) (string, error) {
	q, err := g.queues.Queue(ctx, e.Name)
	if err != nil {
		return "", err
	}
	a, err := q.Attributes(ctx)
	if err == nil && a.DeadLetter == "" {
		err = fmt.Errorf("the queue of endpoint %s has no dead-letter queue: %w; `waybill topology apply` gives it the one that is configured", e.Name, queue.ErrNotFound)
	}
	return a.DeadLetter, err
}

func (a *app) dlqPeekCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "peek QUEUE",
		Short: "Show messages of a dead-letter queue, and why they are there",
		Long: `Show messages of a dead-letter queue, oldest first, and why they are there. They
stay there. LocalStack and waybill dev show them without their being received; with
SQS they are received and returned at once, and their receive counts rise by one,
which stderr says. A body that is in the store of payloads is fetched from there, if
the configuration names it. Of the catalogue, --limit messages are shown as they come.` + queueHelp,
		Args: takes("QUEUE"),
	}
	limit := cmd.Flags().Int("limit", 10, "look at `N` messages at most")
	filter := cmd.Flags().String("filter", "", filterUsage)
	window := windowFlags(cmd)
	catalogue := catalogueFlag(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if *limit < 1 {
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		f, err := parseFilter(*filter)
		if err != nil {
			return err
		}
		since, until, err := window()
		if err != nil {
			return err
		}
		return a.inEither(cmd.Context(), *catalogue, noJournal, args[0], func(g *graveyard, name string) error {
			letters, err := g.Peek(cmd.Context(), name, *limit)
			if err != nil {
				return err
			}
			a.tellReceived(len(letters), len(letters) == 0 || letters[0].Looked)
			letters = slices.DeleteFunc(letters, func(l *dlq.Letter) bool {
				at := l.FailedAt()
				return at.Before(since) || !until.IsZero() && !at.Before(until)
			})
			if letters, err = chosen(cmd.Context(), f, letters); err != nil {
				return err
			}
			a.tellStored(letters, g.stores)
			return a.print(letters, letterTable(letters))
		})
	})
	return cmd
}

// tellReceived says what it has cost to see messages.
func (a *app) tellReceived(n int, looked bool) {
	switch {
	case looked || n == 0:
	case n == 1:
		a.note("the message was received to look at it, and is back in the queue: its receive count has risen by one")
	default:
		a.note("%d messages were received to look at them, and are back in the queue: their receive counts have risen by one", n)
	}
}

const filterUsage = "only messages for which this expression of `jq` is true, as in '.failure.reason == \"permanent\" and .body.amount > 100'"

func parseFilter(text string) (*dlq.Filter, error) {
	if text == "" {
		return nil, nil
	}
	f, err := dlq.ParseFilter(text)
	if err != nil {
		return nil, usagef("--filter: %w", err)
	}
	return f, nil
}

// chosen returns the letters that the filter chooses. One that it does not fit
// is not chosen.
func chosen(ctx context.Context, f *dlq.Filter, letters []*dlq.Letter) ([]*dlq.Letter, error) {
	list := []*dlq.Letter{}
	for _, l := range letters {
		if f != nil {
			if ok, err := f.Match(ctx, l); ctx.Err() != nil {
				return nil, err
			} else if !ok {
				continue
			}
		}
		list = append(list, l)
	}
	return list, nil
}

func letterTable(letters []*dlq.Letter) table {
	t := table{header: []string{"ID", "REASON", "ATTEMPTS", "FAILED", "FROM", "MESSAGE", "BODY"}}
	for _, l := range letters {
		reason, attempts, failed, text := "unrecorded", strconv.Itoa(l.ReceiveCount), "-", "-"
		if l.Problem != nil {
			text = l.Problem.Error()
		}
		if f := l.Failure; f != nil {
			reason, failed, text = string(f.Reason), timestamp(f.LastFailure), f.Message
			if f.Attempts > 0 {
				attempts = strconv.Itoa(f.Attempts)
			}
			if f.Filter != "" {
				text = f.Filter + ": " + text
			}
		}
		body := shorten(string(l.Body), 60)
		if l.Stored {
			body = "(in the store of payloads)"
		}
		t.add(l.ID, reason, attempts, failed, orDash(queueName(l.Source)), shorten(text, 80), body)
	}
	return t
}

// queueName returns the name that a source has, whatever way it is written.
func queueName(source string) string {
	if name := queue.QueueName(source); name != "" {
		return name
	}
	return source
}

// shorten cuts a text to n characters.
func shorten(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-3]) + "..."
}
