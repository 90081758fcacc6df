package demo

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/saga"
)

// note notes where everything stands before the repair.
func (d *demo) note(ctx context.Context, s *standing) error {
	l, err := d.read(ctx)
	if err != nil {
		return err
	}
	d.balance(l, s) // to know what the completed fares are; more is not due yet
	r := &d.report
	r.Mode, r.Rides, r.Crashes = string(d.cfg.Mode), len(d.tickets), d.crew.kills
	r.Before, r.BooksBefore, r.Blocked = s.tally(len(d.tickets)), l.books, len(s.blocked)
	r.DeadLetters = d.deadLetters(s)
	r.Unexpected = d.unexpected(s)
	r.SagasPerSecond, r.SagasPerSecondPeak, r.SecondsBefore = d.audience.pace(d.began)
	return nil
}

// conclude completes the report.
func (d *demo) conclude(ctx context.Context, before, after *standing) error {
	l, err := d.read(ctx)
	if err != nil {
		return err
	}
	r := &d.report
	wrong := d.balance(l, after)
	r.LedgerBalanced = len(wrong) == 0
	for _, text := range wrong {
		d.problem("%s", text)
	}
	r.After, r.Books = after.tally(len(d.tickets)), l.books
	r.Open, r.Lost = r.After.Open, r.After.Lost
	r.DeadLetteredAfterRedrive = after.buried()
	r.Completed, r.Compensated, r.DeadLettered = r.After.Completed, r.After.Compensated, r.Before.DeadLettered
	for _, t := range d.tickets { // what needed the dead-letter queue counts there
		if before.fates[t.RideID] != rides.DeadLettered {
			continue
		}
		switch after.fates[t.RideID] {
		case rides.Completed:
			r.Completed--
		case rides.Compensated:
			r.Compensated--
		}
	}
	r.Compensation = d.causes()
	r.Replayed, r.RefusedLate, r.EffectsDoubled = l.stats.Replayed, l.stats.RefusedLate, l.doubled
	if l.doubled > 0 {
		d.problem("%d effects are not the first under their idempotency key", l.doubled)
	}
	for _, id := range after.missing {
		d.problem("ride %s is nowhere to be found", id)
	}
	for _, id := range after.waiting {
		d.problem("of the end of ride %s nobody was told", id)
	}
	if err := d.inReverse(ctx); err != nil {
		return err
	}
	d.hearProblems()
	d.expenses()
	return nil
}

// deadLetters groups the rides in dead-letter queues by why they are there.
func (d *demo) deadLetters(s *standing) []report.Group {
	byRide := map[string]string{}
	for _, letter := range s.letters {
		byRide[letter.ride] = letter.reason()
	}
	counts := map[string]int{}
	for ride, reason := range byRide {
		if s.fates[ride] == rides.DeadLettered {
			counts[reason]++
		}
	}
	return groups(counts)
}

// causes groups the compensated rides by why they were.
func (d *demo) causes() []report.Group {
	d.audience.mu.Lock()
	defer d.audience.mu.Unlock()
	counts := map[string]int{}
	for _, h := range d.audience.heard {
		if h.failed != nil {
			counts[h.failed.Cause]++
		}
	}
	return groups(counts)
}

func groups(counts map[string]int) []report.Group {
	list := []report.Group{}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, report.Group{What: what, Rides: counts[what]})
	}
	slices.SortStableFunc(list, func(a, b report.Group) int { return cmp.Compare(b.Rides, a.Rides) })
	return list
}

// unexpected counts the rides that came to another end than the input says.
func (d *demo) unexpected(s *standing) int {
	n := 0
	for _, t := range d.tickets {
		want := t.Expect
		if want == rides.Blocked && d.cfg.Mode == worker.Pipeline {
			want = rides.DeadLettered
		}
		if want == "" {
			continue
		}
		d.report.Expected++
		if got := s.fates[t.RideID]; got != want {
			n++
			d.say("ride %s is %s, and the input expects %s", t.RideID, cmp.Or(got, "under way"), want)
		}
	}
	return n
}

// inReverse checks by the histories of the sagas that what was done was undone
// in reverse.
func (d *demo) inReverse(ctx context.Context) error {
	if d.cfg.Mode != worker.Saga {
		return nil
	}
	list, err := d.sagas.List(ctx, saga.Query{Status: saga.Compensated, Limit: 2*len(d.tickets) + 100})
	if err != nil {
		return err
	}
	for _, x := range list {
		events, err := d.sagas.History(ctx, x.ID)
		if err != nil {
			return err
		}
		if err := checkOrder(events); err != nil {
			d.problem("saga %s: %v", x.ID, err)
			continue
		}
		d.report.InReverse++
	}
	return nil
}

// checkOrder checks that every step that was done, or may have been, is undone,
// once, and in reverse.
func checkOrder(events []saga.Event) error {
	var entered, undone []string
	succeeded, maybe := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		switch e.Type {
		case saga.TaskStateEntered:
			entered = append(entered, e.Step)
		case saga.TaskSucceeded:
			succeeded[e.Step] = true
		case saga.TaskTimedOut:
			maybe[e.Step] = true
		case saga.CompensationEntered:
			undone = append(undone, e.Step)
		}
	}
	var want []string
	for _, step := range slices.Backward(entered) {
		if succeeded[step] || maybe[step] {
			want = append(want, step)
		}
	}
	if !slices.Equal(undone, want) {
		return fmt.Errorf("it did %v and undid %v; want %v", entered, undone, want)
	}
	return nil
}

// hearProblems notes what the audience complains about.
func (d *demo) hearProblems() {
	d.audience.mu.Lock()
	defer d.audience.mu.Unlock()
	for _, p := range d.audience.problems {
		d.problem("%s", p)
	}
	for ride, h := range d.audience.heard {
		if h.completed != nil && h.failed != nil {
			d.problem("ride %s was announced both as completed and as failed", ride)
		}
	}
	d.report.NoticesAgain = d.audience.repeats
}

// expenses adds up what it took.
func (d *demo) expenses() {
	r := &d.report
	workers, door, audience := d.crew.count(), d.door.stats.Figures(), d.audience.stats.Figures()
	r.QueueRequests = int(workers.Requests + door.Total() + audience.Total())
	r.QueueMessages = int(workers.Received + audience.Received)
	r.RedisScripts = int(workers.Scripts)
	if r.QueueMessages > 0 {
		r.QueueRequestsPerMessage = float64(r.QueueRequests) / float64(r.QueueMessages)
	}
	if n := d.audience.rides(); n > 0 {
		r.RedisScriptsPerSaga = float64(r.RedisScripts) / float64(n)
	}
	r.Seconds = time.Since(d.began).Seconds()
}

// pace returns how many rides came to their end in a second, over all and in the
// best second, and how many seconds that took.
func (a *audience) pace(began time.Time) (average, peak, seconds float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ended) == 0 {
		return 0, 0, 0
	}
	first := 0
	for i, at := range a.ended {
		for at.Sub(a.ended[first]) >= time.Second {
			first++
		}
		peak = max(peak, float64(i-first+1))
	}
	seconds = a.ended[len(a.ended)-1].Sub(began).Seconds()
	return float64(len(a.ended)) / seconds, peak, seconds
}
