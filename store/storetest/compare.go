package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

// Compare drives two stores with the same random calls, good and bad, and
// checks that they answer alike, and that the answers tell one story: commits
// follow each other, mail comes in order, and nothing loses its wake-up. It
// shrinks a failure to the shortest sequence of calls.
//
// Where both clocks stand still, times are compared to the millisecond; they
// must show the same time at first.
func Compare(t *testing.T, reference, subject Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		c := &comparison{
			T: rt, ctx: t.Context(), ref: reference.New(t), sub: subject.New(t),
			books: make(map[string]*book), step: brief,
		}
		c.setClocks()
		rt.Repeat(map[string]func(*rapid.T){
			"start":   c.with(c.start),
			"open":    c.with(c.open),
			"commit":  c.with(c.commit),
			"commit ": c.with(c.commit), // twice as often
			"renew":   c.with(c.renew),
			"release": c.with(c.release),
			"post":    c.with(c.post),
			"deliver": c.with(c.deliver),
			"due":     c.with(c.due),
			"purge":   c.with(c.purge),
			"claim":   c.with(c.claim),
			"members": c.with(c.members),
			"advance": c.with(c.advance),
			"":        c.with(c.read),
		})
		c.wakeAll()
	})
}

// setClocks looks how exactly times can be compared.
func (c *comparison) setClocks() {
	c.exact = c.ref.Still && c.sub.Still
	if !c.exact {
		c.step = 3 * time.Millisecond // is slept through
	}
}

// A comparison is one run of Compare or CompareJobs.
type comparison struct {
	*rapid.T
	ctx      context.Context
	ref, sub Subject
	exact    bool // times are compared exactly
	step     time.Duration
	awaited  bool // something brief has begun
	passed   time.Duration
	serial   int
	books    map[string]*book
	jobs     map[string]*jobBook // by subject; of CompareJobs
}

// A book is what the answers have told of one execution.
type book struct {
	handles  []*store.Opening // leases that were given, as their holders know them
	history  []string
	accepted []string // mail
	absorbed int64
	commits  []*store.Commit // that were applied
	index    string          // empty until it is started

	early   []waiting // mail that came before the start
	dropped int       // of it
}

// waiting is mail that waits for its execution.
type waiting struct {
	id    string
	until time.Duration
}

// expire drops the first mail whose time is over.
func (b *book) expire(now time.Duration) {
	for len(b.early) > 0 && b.early[0].until <= now {
		b.early = b.early[1:]
		b.dropped++
	}
	if len(b.early) == 0 {
		b.dropped = 0
	}
}

func (c *comparison) with(action func()) func(*rapid.T) {
	return func(rt *rapid.T) {
		c.T = rt
		action()
		// On a clock that runs, what is brief is over before the next call.
		if c.awaited && !c.exact {
			c.pass(c.step)
		}
		c.awaited = false
	}
}

// pass lets time pass on both clocks.
func (c *comparison) pass(d time.Duration) {
	c.passed += d
	c.ref.Advance(d)
	c.sub.Advance(d)
}

// both makes the same call of both stores, compares what they answer, and
// returns the answer. Now and then it calls again, as one that lost an answer.
func both[T any](c *comparison, what string, call func(Store) (T, error)) (T, error) {
	c.Helper()
	times := 1
	// On a clock that runs, what is brief may be over for one store when it is
	// called again, and not for the other.
	if rapid.IntRange(0, 4).Draw(c.T, "repeats") == 4 && (c.exact || !c.awaited) {
		times = 2
	}
	var first T
	var firstErr error
	for i := range times {
		got, err := call(c.sub)
		want, wantErr := call(c.ref)
		if shown, wanted := c.show(got, err), c.show(want, wantErr); shown != wanted {
			c.Fatalf("%s, call %d:\n got %s\nwant %s", what, i+1, shown, wanted)
		}
		if i == 0 {
			first, firstErr = want, wantErr
		}
	}
	return first, firstErr
}

// sentinels are the kinds of errors that callers decide on.
var sentinels = []error{
	store.ErrNotFound, store.ErrGone, store.ErrExists, store.ErrEnded, store.ErrMailboxFull,
	store.ErrLeaseLost, store.ErrConflict, store.ErrInvalid, store.ErrBusy, store.ErrStale,
}

// show writes an answer so that equal ones look equal.
func (c *comparison) show(v any, err error) string {
	if err == nil {
		return c.showValue(reflect.ValueOf(v))
	}
	var heldJob *store.JobHeldError
	var overJob *store.JobEndedError
	switch {
	case errors.As(err, &heldJob):
		return "held: " + c.showValue(reflect.ValueOf(heldJob))
	case errors.As(err, &overJob):
		return "ended: " + c.showValue(reflect.ValueOf(overJob))
	}
	for _, kind := range sentinels {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	var held *store.HeldError
	var wait *store.NotDueError
	var open *store.JobOpenError
	var entries *store.JobEntriesError
	switch {
	case errors.As(err, &open):
		return "not ended: " + c.showValue(reflect.ValueOf(open))
	case errors.As(err, &entries):
		return "in hand: " + c.showValue(reflect.ValueOf(entries))
	case errors.As(err, &held):
		return "held until " + c.showTime(held.Until)
	case errors.As(err, &wait):
		return "nothing due until " + c.showTime(wait.Wake)
	}
	return "unexpected: " + err.Error()
}

func (c *comparison) showValue(v reflect.Value) string {
	switch {
	case !v.IsValid():
		return "nil"
	case v.Type() == reflect.TypeFor[time.Time]():
		return c.showTime(v.Interface().(time.Time))
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return c.showValue(v.Elem())
	case v.Kind() == reflect.Struct:
		s := "{"
		for i := range v.NumField() {
			s += " " + v.Type().Field(i).Name + ":" + c.showValue(v.Field(i))
		}
		return s + " }"
	case v.Type() == reflect.TypeFor[[][]byte]():
		return fmt.Sprintf("%q", texts(v.Interface().([][]byte)))
	}
	return fmt.Sprintf("%q", fmt.Sprint(v.Interface()))
}

// showTime rounds where a clock runs; everything lasts long or is over.
func (c *comparison) showTime(t time.Time) string {
	switch {
	case t.IsZero():
		return "none"
	case c.exact:
		return t.UTC().Format("15:04:05.000")
	}
	return time.Until(t).Round(long).String()
}

// lasting draws how long something lasts.
func (c *comparison) lasting(label string) time.Duration {
	durations := []time.Duration{long, c.step}
	if c.exact {
		durations = append(durations, time.Millisecond, c.step+time.Microsecond)
	}
	d := rapid.SampledFrom(durations).Draw(c.T, label)
	c.awaited = c.awaited || d < long
	return d
}

// new returns a name that was not used before.
func (c *comparison) new(prefix string) string {
	c.serial++
	return fmt.Sprintf("%s%d", prefix, c.serial)
}

// id draws one of few executions.
func (c *comparison) id() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(c.T, "id") }

// book returns what is known of an execution.
func (c *comparison) book(id string) *book {
	if c.books[id] == nil {
		c.books[id] = new(book)
	}
	return c.books[id]
}

// handle draws a lease that was once given on an execution, mostly the last.
func (c *comparison) handle(b *book) *store.Opening {
	if len(b.handles) == 0 {
		c.Skip("nobody has opened it")
	}
	back := rapid.SampledFrom([]int{0, 0, 0, 0, 0, 1, 2}).Draw(c.T, "handle")
	return b.handles[max(0, len(b.handles)-1-back)]
}

// received checks mail that was handed over after number read.
func (c *comparison) received(b *book, box store.Mailbox) {
	c.Helper()
	from := int(box.Read) - len(box.Mail)
	if from < 0 || int(box.Read) > len(b.accepted) || int64(from) < b.absorbed {
		c.Fatalf("mail up to number %d with %q, of %q accepted and %d absorbed", box.Read, box.Mail, b.accepted, b.absorbed)
	}
	for i, mail := range box.Mail {
		if b.accepted[from+i] != string(mail) {
			c.Fatalf("mail %d is %q, want %q", from+i+1, mail, b.accepted[from+i])
		}
	}
}
