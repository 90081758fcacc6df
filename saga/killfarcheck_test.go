package saga_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
	"github.com/waybill-dev/waybill/waybilltest"
)

// A farCheck looks at what TestFarWorkersAreKilled leaves.
type farCheck struct {
	*killProvider
	*testing.T
	sagas  map[string]*saga.Saga[order]
	store  *redisstore.Store
	db     *redis.Client
	prefix string // of keys

	executions map[string]*store.Record // by id
}

// keys are all keys of the namespace, in their order.
func (f *farCheck) keys(ctx context.Context) (keys []string) {
	f.Helper()
	scan := f.db.Scan(ctx, 0, f.prefix+"*", 1000).Iterator()
	for scan.Next(ctx) {
		keys = append(keys, scan.Val())
	}
	if err := scan.Err(); err != nil {
		f.Fatal(err)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// short is a key without its namespace and partition.
func (f *farCheck) short(key string) string {
	key = strings.TrimPrefix(key, f.prefix)
	if strings.HasPrefix(key, "{") {
		_, key, _ = strings.Cut(key, ":")
	}
	return key
}

// settled waits until the queues are empty and all executions, children too, have
// ended and said so: a child ends some time after its parent.
func (f *farCheck) settled(ctx context.Context, stack *waybilltest.Stack) {
	f.Helper()
	for {
		why := f.unsettled(ctx)
		if why == "" {
			why = f.queued(ctx, stack)
		}
		if why == "" {
			return
		}
		select {
		case <-ctx.Done():
			f.Errorf("at the end %s", why)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unsettled tells what has yet to happen in the store.
func (f *farCheck) unsettled(ctx context.Context) (why string) {
	f.executions = make(map[string]*store.Record)
	for _, key := range f.keys(ctx) {
		id, ok := strings.CutPrefix(f.short(key), "x:")
		if !ok {
			continue
		}
		r, err := f.store.Get(ctx, id)
		if err != nil {
			return err.Error()
		}
		f.executions[id] = r
		if !r.Ended || len(r.Outbox) > 0 || !r.LeaseUntil.IsZero() {
			why = fmt.Sprintf("%s is left as %+v", id, r)
		}
	}
	return why
}

// queued tells which queue has messages.
func (f *farCheck) queued(ctx context.Context, stack *waybilltest.Stack) string {
	client := sqs.NewFromConfig(stack.AWS)
	for _, name := range []string{farCommands, farReplies} {
		url, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(stack.Namespace + "-" + name)})
		if err != nil {
			return err.Error()
		}
		got, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
		if err != nil {
			return err.Error()
		}
		for _, attribute := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"} {
			if n := got.Attributes[attribute]; n != "0" {
				return fmt.Sprintf("the queue of %s has %s of %s", name, n, attribute)
			}
		}
	}
	return ""
}

// families are the executions of each order: its own, and those below it.
func (f *farCheck) families() map[string][]string {
	families := make(map[string][]string)
	for id := range f.executions {
		root, _, _ := strings.Cut(id, "/")
		families[root] = append(families[root], id)
	}
	return families
}

// A deed is what became of one step.
type deed struct {
	did, undid  bool // had its effect
	first, last int  // of its undo, in the book
	told        []string
}

// check holds an order to what must become of its kind. It returns how many of its
// effects were undone.
func (f *farCheck) check(id string, family []string) (undone int) {
	f.Helper()
	problem := func(format string, args ...any) { f.Errorf("%s: %s", id, fmt.Sprintf(format, args...)) }
	want := f.kind(id)
	x, err := f.client.Get(f.Context(), id)
	if err != nil || x.Status != want.status && (want.status != "" || x.Status != saga.Completed && x.Status != saga.Compensated) {
		problem("it is %+v (%v), want %s", x, err, want.status)
		return 0
	}
	deeds := f.deeds(id)
	places := want.calls
	switch all := farPlaces[want.saga]; {
	case x.Status == saga.Completed:
		places = all
	case places == nil && want.status != "":
		places = all[:len(all)-1]
	}
	for _, place := range places {
		if d := deeds[place]; d == nil || !d.did {
			problem("%s was never done", place)
		}
	}
	for place, d := range deeds {
		switch {
		case !slices.Contains(farPlaces[want.saga], place):
			problem("there is no %s in it", place)
		case x.Status == saga.Completed && (d.undid || d.told != nil):
			problem("it completed, and %s was undone", place)
		case x.Status == saga.Compensated && d.did && !d.undid:
			problem("it was compensated, and %s is done still", place)
		case d.undid && !d.did && slices.Contains(d.told, string(saga.Done)):
			problem("%s is undone as done, and never was", place)
		case place == want.unknown && (len(d.told) == 0 || slices.Contains(d.told, string(saga.Done))):
			problem("the undo of %s is told of the outcomes %q, want unknown", place, d.told)
		}
		if d.undid {
			undone++
		}
		for other, e := range deeds {
			if d.told != nil && e.told != nil && follows(other, place) && e.last > d.first {
				problem("the undo of %s begins before that of %s is over", place, other)
			}
		}
	}
	for _, member := range family {
		f.checkHistory(member)
	}
	return undone
}

// exclusive checks that those that take the lock were alone with it: what one calls
// for is not in between of what another does.
func (f *farCheck) exclusive() {
	f.Helper()
	seen := make(map[string]bool)
	last := ""
	for _, e := range f.book {
		if f.kind(e.Execution).saga != "locked" || e.Execution == last {
			continue
		}
		if seen[e.Execution] {
			f.Errorf("%s of %s comes after that execution let %s have the lock", e.Name(), e.Execution, last)
		}
		last = e.Execution
		seen[last] = true
	}
	f.Logf("%d executions had the lock", len(seen))
}

// deeds are what became of the steps of an order, by place.
func (f *farCheck) deeds(id string) map[string]*deed {
	deeds := make(map[string]*deed)
	for i, e := range f.book {
		if root, _, _ := strings.Cut(e.Execution, "/"); root != id {
			continue
		}
		d := deeds[farPlace(e.Call)]
		if d == nil {
			d = &deed{}
			deeds[farPlace(e.Call)] = d
		}
		switch {
		case !e.Undo:
			d.did = d.did || e.effect
			continue
		case e.effect:
			d.undid = true
		case d.told == nil:
			d.first = i
		}
		d.last = i
		d.told = append(d.told, e.Outcome)
	}
	return deeds
}

// checkHistory holds an execution's history to the rules, and its calls to it.
func (f *farCheck) checkHistory(id string) {
	f.Helper()
	x, err := f.client.Get(f.Context(), id)
	if err != nil {
		f.Error(err)
		return
	}
	events, err := f.client.History(f.Context(), id)
	if err != nil {
		f.Error(err)
		return
	}
	for _, complaint := range auditHistory(f.sagas[x.Definition].Definition(), x.Status, events) {
		f.Errorf("%s: %s", id, complaint)
	}
	for _, c := range f.ledger.Calls(id) {
		want := saga.TaskScheduled
		if c.Undo {
			want = saga.CompensationTried
		}
		if !slices.ContainsFunc(events, func(e saga.Event) bool {
			return e.Type == want && e.Frame == c.Frame && e.Step == c.Step && e.Attempt == c.Attempt
		}) {
			f.Errorf("%s: %s, attempt %d, is not in the history", id, c.Name(), c.Attempt)
		}
	}
}

// left checks what is in Redis when all has ended: of each execution its record,
// with the root's frame alone, its history, the ids of its mail, a wake-up to purge
// it, and its place in an index; and what came of each command.
func (f *farCheck) left() {
	ctx := f.Context()
	now := time.Now().UnixMilli()
	for id, r := range f.executions {
		if r.Unread != 0 {
			f.Errorf("%s has %d mails unread", id, r.Unread)
		}
	}
	count := make(map[string]int)
	for _, key := range f.keys(ctx) {
		kind, name, _ := strings.Cut(f.short(key), ":")
		count[kind]++
		switch kind {
		case "settings", "workers", "definitions":
		case "x":
			fields, err := f.db.HKeys(ctx, key).Result()
			if err != nil {
				f.Error(err)
			}
			for _, field := range fields {
				if strings.HasPrefix(field, store.RootFrame) && field != store.RootFrame {
					f.Errorf("%s has the frame %q still", key, field)
				}
			}
		case "h", "d", "i":
			if kind != "i" && f.executions[name] == nil {
				f.Errorf("%s is of no execution", key)
			}
		case "t":
			timers, err := f.db.ZRangeWithScores(ctx, key, 0, -1).Result()
			if err != nil {
				f.Error(err)
			}
			for _, z := range timers {
				if f.executions[fmt.Sprint(z.Member)] == nil || int64(z.Score) < now+time.Hour.Milliseconds() {
					f.Errorf("%s has a wake-up of %v in %d ms", key, z.Member, int64(z.Score)-now)
				}
			}
		case "k":
			record, err := f.db.HGetAll(ctx, key).Result()
			if err != nil || record["r"] == "" {
				f.Errorf("%s is left as %v, %v: nothing came of it", key, record, err)
			}
		case "lr", "lf": // of released locks, for a while, and their fences
		default:
			f.Errorf("%s is left", key)
		}
	}
	f.Logf("left in Redis, by kind: %v; %d wake-ups", count, len(f.executions))
}
